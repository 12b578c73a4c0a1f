//! Opening the file: who may, what it must look like, how its connections are set.
//!
//! Everything that could be wrong is found before a byte is written.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::store::{READER_WAIT, upgrade};
use crate::time::Timestamp;

/// "skep" in ASCII: marks the file as ours.
const APPLICATION_ID: i32 = 0x736b_6570;

/// Files up to this size are looked through at every start; larger ones only by `skep check`.
const QUICK_CHECK_MAX: u64 = 64 << 20;

/// How many links are followed to a file that is still to be made; as many as Linux follows.
const LINKS_MAX: usize = 40;

fn refused(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("cannot open {}: {why}", path.display()))
}

/// The path with `suffix` behind the file's name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The file that a path leads to, whatever links lie on the way: two servers must not come to one file by two names.
pub fn resolved(path: &Path) -> PathBuf {
    resolved_through(path, 0)
}

fn resolved_through(path: &Path, links: usize) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    if links > LINKS_MAX {
        return path.to_owned();
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A link to a file that is still to be made leads to where it is wanted.
    if let Ok(target) = path.read_link() {
        return resolved_through(&folder.join(target), links + 1);
    }
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        // What is wrong with it shows when it is opened.
        _ => path.to_owned(),
    }
}

/// Opens a file, making it if it is missing: readable by its owner alone from its first byte.
pub(super) fn owned_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Puts a file that was made on disk with its name: without a sync of its folder, a file may be gone after a power cut,
/// whatever was synced of its contents.
pub(super) fn make_durable(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes this process the file's only server, for as long as the lock lives.
///
/// # Errors
/// If another server has the file, or the directory cannot be written.
pub fn lock(path: &Path) -> Result<File> {
    let lock_path = beside(path, ".lock");
    let file = owned_file(&lock_path)
        .map_err(|fault| refused(path, format!("its directory cannot be written ({fault})")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(refused(
            path,
            "another skep server has it open; stop that one first, or talk to it with --url",
        )),
        Err(TryLockError::Error(fault)) => {
            Err(refused(path, format!("it cannot be locked ({fault})")))
        }
    }
}

/// The write connection to a sound file of the present version.
pub fn connection(path: &Path, now: Timestamp) -> Result<Connection> {
    if judge(path)? {
        make(path)?;
    }
    let conn = opened(path)?;
    settings(&conn).map_err(|fault| refused(path, fault))?;
    upgrade::bring_up(&conn, path, upgrade::UPGRADES, now)?;
    Ok(conn)
}

fn opened(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|fault| refused(path, fault))
}

/// Makes the file under another name and gives it its own once it is whole and on disk: a power cut leaves no half-made
/// file behind, which the next start would have to refuse.
fn make(path: &Path) -> Result<()> {
    let cannot = |fault: std::io::Error| refused(path, format!("it cannot be made ({fault})"));
    let aside = beside(path, ".new");
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match std::fs::remove_file(beside(&aside, suffix)) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(cannot(fault)),
            Ok(()) | Err(_) => {}
        }
    }
    // The file is 0600 from its first byte; SQLite gives its -wal and -shm the same mode.
    drop(owned_file(&aside).map_err(cannot)?);
    let conn = opened(&aside)?;
    shape(&conn).map_err(|fault| refused(path, fault))?;
    // Without a log so far: moving it into the file would be left to the close, which tells nobody when that fails.
    upgrade::create(&conn)?;
    log_ahead(&conn).map_err(|fault| refused(path, fault))?;
    conn.close().map_err(|(_, fault)| refused(path, fault))?;
    make_durable(&aside).map_err(cannot)?;
    std::fs::rename(&aside, path).map_err(cannot)?;
    make_durable(path).map_err(cannot)
}

/// Whether the file is still to be made.
///
/// # Errors
/// If it is not ours, of a newer version, or damaged. Nothing is changed by looking.
fn judge(path: &Path) -> Result<bool> {
    let size = match File::open(path) {
        Ok(file) => match header(&file) {
            Ok(0) => return Ok(true),
            Ok(size) => size,
            Err(why) => return Err(refused(path, format!("{why}; nothing was changed"))),
        },
        Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(true),
        Err(fault) => return Err(refused(path, fault)),
    };
    let look = || -> rusqlite::Result<(Result<(), String>, Option<String>)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.pragma_update(None, "query_only", true)?;
        // Only looking: whoever looked last must not move the log into the file.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let whose = whose(&conn)?;
        let fault: Option<String> = match size <= QUICK_CHECK_MAX {
            true => conn
                .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
                .map(Some)?,
            false => None,
        };
        Ok((whose, fault.filter(|text| text != "ok")))
    };
    let (whose, fault) = look().map_err(|fault| {
        refused(
            path,
            format!("it is damaged ({fault}); nothing was changed, restore a backup"),
        )
    })?;
    if let Some(fault) = fault {
        let why = format!(
            "it is damaged ({}); nothing was changed, restore a backup",
            fault.replace('\n', " ")
        );
        return Err(refused(path, why));
    }
    whose.map_err(|why| refused(path, format!("{why}; nothing was changed")))?;
    Ok(false)
}

/// How large the file is, if it is a database; 0: it is empty.
pub(super) fn header(mut file: &File) -> Result<u64, String> {
    let size = file.metadata().map_err(|fault| fault.to_string())?.len();
    let mut header = [0u8; 16];
    if size > 0 && (file.read_exact(&mut header).is_err() || &header != b"SQLite format 3\0") {
        return Err("it is not a database".to_owned());
    }
    Ok(size)
}

/// Why the database is not one that this program can work with.
pub(super) fn whose(conn: &Connection) -> rusqlite::Result<Result<(), String>> {
    let application: i32 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Ok(Err("it is a database of another program".to_owned()));
    }
    if version > upgrade::VERSION {
        return Ok(Err(format!(
            "it was written by a newer skep (file version {version}, this one knows {})",
            upgrade::VERSION
        )));
    }
    Ok(Ok(()))
}

/// Looks at a file without changing it or anything beside it, whether a server has it open or not.
///
/// A file without a log is read as it lies there, which needs no right but to read it and leaves nothing behind. If it
/// turns out to have changed meanwhile (a server was started), or has a log, `look` is done as a server's reader does.
///
/// # Errors
/// If there is no such file, it is not one of ours, or is of a newer version; and what `look` answers.
pub(super) fn observe<T>(path: &Path, mut look: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
    if let Some(before) = at_rest(path) {
        let seen = observer(path, true).and_then(|conn| look(&conn));
        if at_rest(path) == Some(before) {
            return seen;
        }
    }
    look(&observer(path, false)?)
}

/// Size and age of a file that nobody writes to; `None` if it has a log.
fn at_rest(path: &Path) -> Option<(u64, std::time::SystemTime)> {
    if beside(path, "-wal").symlink_metadata().is_ok() {
        return None;
    }
    let file = path.metadata().ok()?;
    Some((file.len(), file.modified().ok()?))
}

fn observer(path: &Path, is_at_rest: bool) -> Result<Connection> {
    let bad = |why: String| Error::unavailable(format!("cannot read {}: {why}", path.display()));
    let file = File::open(path).map_err(|fault| bad(fault.to_string()))?;
    if header(&file).map_err(bad)? == 0 {
        return Err(bad("it is empty".to_owned()));
    }
    let open = || -> rusqlite::Result<(Connection, Result<(), String>)> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = match is_at_rest {
            true => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Connection::open_with_flags(immutable_uri(path), flags)?
            }
            false => Connection::open_with_flags(path, flags)?,
        };
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.execute_batch(
            "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
             PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;",
        )?;
        let whose = whose(&conn)?;
        Ok((conn, whose))
    };
    let (conn, whose) = open().map_err(|fault| bad(format!("it is damaged ({fault})")))?;
    whose.map_err(bad)?;
    Ok(conn)
}

/// `file:PATH?immutable=1`
fn immutable_uri(path: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02X}").bytes()),
            // Two at the beginning would name another machine.
            b'/' if uri == b"file:/" => {}
            other => uri.push(*other),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsString::from_vec(uri))
}

/// What can only be said before the first table.
pub(super) fn shape(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)
}

/// As in the reference: WAL, an fsync for every commit, and no trust in what the schema may have become.
pub(super) fn settings(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    log_ahead(conn)?;
    conn.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA wal_autocheckpoint = 1000;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -8192;
         PRAGMA temp_store = MEMORY;",
    )?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // A bound LIMIT must not prepare its statement anew each time.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(128);
    conn.execute_batch("PRAGMA optimize = 0x10012;")
}

fn log_ahead(conn: &Connection) -> rusqlite::Result<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "the file system allows no write-ahead log (journal mode is {mode})"
        )));
    }
    Ok(())
}

/// The pool of read-only connections.
pub fn readers(path: &Path, size: u32) -> Result<r2d2::Pool<SqliteConnectionManager>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let manager = SqliteConnectionManager::file(path)
        .with_flags(flags)
        .with_init(|conn| {
            conn.busy_timeout(Duration::from_secs(2))?;
            conn.set_prepared_statement_cache_capacity(64);
            conn.execute_batch(
                "PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -2048;",
            )
        });
    let pool = r2d2::Pool::builder()
        .max_size(size)
        .test_on_check_out(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .connection_timeout(READER_WAIT);
    // The pool starts threads of its own, and panics where it cannot.
    catch_unwind(AssertUnwindSafe(|| pool.build(manager)))
        .map_err(|_| refused(path, "its readers' threads cannot be started"))?
        .map_err(|fault| refused(path, fault))
}
