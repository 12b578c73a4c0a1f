//! Copies of a whole file: taken in one moment, checked before they have a name, and named all at once.
//!
//! Backup and restore are both this, in two directions.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::id::Dice;
use crate::store::open::{beside, whose};
use crate::store::watch::{LogGuard, Watch};
use crate::time::Timestamp;

/// Pages copied between two looks: 8 MiB.
const STEP: i32 = 2_048;

/// What lies beside a database while it is open.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a file holds, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// How many runs.
    pub runs: u64,
    /// When its latest change was made; `None`: nothing was ever done in it.
    pub latest: Option<Timestamp>,
}

/// When something last changed. The newest rows of each kind tell, so that it takes no longer for a large file.
const LATEST: &str = "
    SELECT max(at) FROM (
        SELECT max(max(created_at, coalesce(started_at, 0), coalesce(ended_at, 0))) AS at FROM
            (SELECT created_at, started_at, ended_at FROM runs ORDER BY id DESC LIMIT 64)
        UNION ALL SELECT max(max(started_at, coalesce(ended_at, 0))) FROM
            (SELECT started_at, ended_at FROM steps ORDER BY id DESC LIMIT 64)
        UNION ALL SELECT max(max(created_at, coalesce(ended_at, 0))) FROM
            (SELECT created_at, ended_at FROM deliveries ORDER BY id DESC LIMIT 64)
        UNION ALL SELECT max(started_at + coalesce(duration_ms, 0)) FROM
            (SELECT started_at, duration_ms FROM attempts ORDER BY id DESC LIMIT 64)
        UNION ALL SELECT max(at) FROM (SELECT at FROM audit ORDER BY id DESC LIMIT 64)
        UNION ALL SELECT max(created_at) FROM api_keys)";

/// What a file holds.
pub(super) fn facts(conn: &Connection) -> Result<Facts> {
    let latest: Option<i64> = conn.query_row(LATEST, [], |row| row.get(0))?;
    Ok(Facts {
        runs: conn.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?,
        latest: latest.map(Timestamp),
    })
}

/// A copy that has no name yet; gone when dropped.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    /// An empty file beside `target`, for its owner alone.
    pub(super) fn beside(target: &Path) -> Result<Part> {
        let random = u64::from_be_bytes(Dice::System.bytes());
        let path = beside(target, &format!(".part-{random:016x}"));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|fault| {
                Error::unavailable(format!("cannot write beside {}: {fault}", target.display()))
            })?;
        Ok(Part {
            path,
            target: target.to_owned(),
        })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it with what `source` holds in one moment, and says what that is. What is written to the source meanwhile
    /// is not in it, and is not held up.
    pub(super) fn fill(&self, source: &Connection, log: &LogGuard, watch: &Watch) -> Result<Facts> {
        let moment = source.unchecked_transaction()?;
        // The first look at the data is what holds on to the moment.
        let facts = facts(&moment)?;
        let mut copy = self.open()?;
        copy.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;
             PRAGMA cache_size = -8192;",
        )?;
        let backup = Backup::new(&moment, &mut copy)?;
        loop {
            let step = backup.step(STEP)?;
            let progress = backup.progress();
            let (left, total) = (progress.remaining, progress.pagecount);
            watch.tell("copying", (total - left).max(0) as u64, total.max(0) as u64)?;
            match step {
                StepResult::Done => break,
                StepResult::More => log.look()?,
                _ => return Err(Error::unavailable("another program holds the file")),
            }
        }
        drop(backup);
        copy.close().map_err(|(_, fault)| fault)?;
        Ok(facts)
    }

    /// Checks all of it, and puts it on disk.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn settle(&self, watch: &Watch) -> Result<()> {
        let conn = self.open()?;
        // One file that needs nothing beside it, whatever the source was.
        conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE;")?;
        watch.during(&conn, "checking", None, || sound(&conn))?;
        conn.close().map_err(|(_, fault)| fault)?;
        watch.tell("syncing", 0, 0)?;
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(|fault| self.failed(&fault))
    }

    /// Gives it the target's name, which nothing may have.
    pub(super) fn name_new(self) -> Result<u64> {
        let size = self.size()?;
        // A link is refused where something lies; a rename would replace it.
        match fs::hard_link(&self.path, &self.target) {
            Ok(()) => {}
            Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {
                return Err(taken(&self.target));
            }
            // Not every file system has links.
            Err(_) if self.target.symlink_metadata().is_err() => {
                fs::rename(&self.path, &self.target).map_err(|fault| self.failed(&fault))?;
            }
            Err(fault) => return Err(self.failed(&fault)),
        }
        let target = self.target.clone();
        drop(self);
        sync_folder(&target)?;
        Ok(size)
    }

    /// Gives it the target's name, in place of what has it.
    pub(super) fn name_over(self) -> Result<u64> {
        let size = self.size()?;
        fs::rename(&self.path, &self.target).map_err(|fault| self.failed(&fault))?;
        sync_folder(&self.target)?;
        Ok(size)
    }

    fn size(&self) -> Result<u64> {
        let found = self.path.metadata().map_err(|fault| self.failed(&fault))?;
        Ok(found.len())
    }

    fn open(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.execute_batch(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(conn)
    }

    fn failed(&self, fault: &std::io::Error) -> Error {
        Error::unavailable(format!("cannot write {}: {fault}", self.target.display()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Named by now, or of no use to anyone.
        drop(fs::remove_file(&self.path));
        for suffix in COMPANIONS {
            drop(fs::remove_file(beside(&self.path, suffix)));
        }
    }
}

/// The name is taken.
pub(super) fn taken(path: &Path) -> Error {
    Error::unavailable(format!(
        "{} exists; name another file, or move it away",
        path.display()
    ))
}

/// Whether a whole file is sound and ours.
///
/// # Errors
/// If it is not: the first thing that is wrong.
fn sound(conn: &Connection) -> Result<()> {
    let damaged = |why: String| Error::unavailable(format!("the copy is damaged: {why}"));
    whose(conn)?.map_err(damaged)?;
    let found: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(damaged(found.replace('\n', " ")));
    }
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        None => Ok(()),
        Some(row) => {
            let (from, to): (String, String) = (row.get(0)?, row.get(2)?);
            Err(damaged(format!("a row of {from} points to none of {to}")))
        }
    }
}

/// Puts the names in a file's folder on disk.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|fault| Error::unavailable(format!("cannot sync {}: {fault}", folder.display())))
}
