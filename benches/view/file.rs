//! The file that the view is measured on: made once, kept below `target/`, put back before each use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use skep::bench::{Result, fault};

use crate::fill::{flush, free, marks, put_back, store};
use crate::job::STILL;
use crate::rows::{World, Writer};
use crate::server::start;
use crate::{progress, world};

/// Bump it when kept files are no longer what this would make.
const FORMAT: u32 = 1;

/// How many runs the claims speak of.
pub const RUNS: usize = 10_000_000;

/// The time that the runs are spread over, in milliseconds.
const SPAN: i64 = 30 * 86_400_000;

/// About how many bytes of file one run takes, with all that belongs to it.
const BYTES: u64 = 1_700;

/// A file that is there.
#[derive(Debug, Clone)]
pub struct Filled {
    pub folder: PathBuf,
    pub runs: usize,
    /// The run that would like to be more than text.
    pub hostile: String,
    /// When the first run was accepted, and the last.
    pub begin: i64,
    pub end: i64,
    /// How large it is, in bytes, and how long it took to make, in seconds.
    pub bytes: u64,
    pub seconds: f64,
}

/// The kept file of that many runs, made if it is not there or was made otherwise.
pub fn cached(runs: usize) -> Result<Filled> {
    let folder = store().join(format!("view-{runs}"));
    if let Some(filled) = noted(&folder, runs)? {
        put_back(&folder)?;
        forget_minutes(&filled)?;
        return Ok(filled);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    make(&folder, runs)
}

/// What is noted of a file, if it is still what would be made.
fn noted(folder: &Path, runs: usize) -> Result<Option<Filled>> {
    let Ok(text) = fs::read_to_string(folder.join("filled.json")) else {
        return Ok(None);
    };
    let note: Value = serde_json::from_str(&text)?;
    if note["made_by"] != json!(made_by()) {
        return Ok(None);
    }
    Ok(Some(Filled {
        folder: folder.to_owned(),
        runs,
        hostile: note["hostile"].as_str().unwrap_or_default().to_owned(),
        begin: note["begin"].as_i64().unwrap_or_default(),
        end: note["end"].as_i64().unwrap_or_default(),
        bytes: note["bytes"].as_u64().unwrap_or_default(),
        seconds: note["seconds"].as_f64().unwrap_or_default(),
    }))
}

/// What the measurements added to the counts by the minute: they came after the world's end.
fn forget_minutes(filled: &Filled) -> Result<()> {
    let path = filled.folder.join("skep.db");
    let conn = Connection::open(&path)?;
    conn.execute(
        "DELETE FROM minutes WHERE minute > ?1",
        [filled.end / 60_000 + 1],
    )?;
    flush(conn, &path)
}

/// What decides how a file looks: the schema, and these modules.
fn made_by() -> String {
    let mut digest = Sha256::new();
    for part in [
        include_str!("../../schema.sql"),
        include_str!("draw.rs"),
        include_str!("rows.rs"),
        include_str!("blocks.rs"),
        include_str!("hostile.rs"),
        include_str!("world.rs"),
    ] {
        digest.update(part);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{FORMAT}-{hex}")
}

/// Makes `folder/skep.db`: first what the product makes itself, then the history, then the open questions, then the
/// queue.
///
/// # Errors
/// If the disk has no room for it.
pub fn make(folder: &Path, runs: usize) -> Result<Filled> {
    let (room, need) = (free()?, BYTES * runs as u64);
    if need + need / 4 > room {
        return Err(fault(format!(
            "{runs} runs need about {} MB of disk, and {} MB are free",
            need >> 20,
            room >> 20
        )));
    }
    fs::create_dir_all(folder)?;
    let begun = Instant::now();
    let server = start(folder, &STILL)?;
    world::furnish(&server, (runs / 10_000).clamp(50, 1_000))?;
    server.stop()?;
    let end = chrono::Utc::now().timestamp_millis();
    let (world, hostile) = history(folder, runs, end)?;

    let server = start(folder, &KEEPS)?;
    world::questions(&server, folder, (runs / 5_000).clamp(40, 2_000))?;
    server.settle()?;
    server.stop()?;
    queue(folder, world, (runs / 200).max(100))?;

    // The first start of a file this large may look at its statistics; later ones find them.
    let server = start(folder, &STILL)?;
    server.settle()?;
    server.stop()?;
    let path = folder.join("skep.db");
    let filled = Filled {
        folder: folder.to_owned(),
        runs,
        hostile,
        begin: end - SPAN,
        end: chrono::Utc::now().timestamp_millis(),
        bytes: fs::metadata(&path)?.len(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    let note = json!({"made_by": made_by(), "marks": marks(&Connection::open(&path)?)?,
        "hostile": filled.hostile, "begin": filled.begin, "end": filled.end,
        "bytes": filled.bytes, "seconds": filled.seconds});
    fs::write(folder.join("filled.json"), note.to_string())?;
    Ok(filled)
}

/// The flags of a server that works and removes nothing.
const KEEPS: [&str; 4] = ["--retain-runs", "forever", "--retain-attempts", "forever"];

/// A fill that is cut short is thrown away whole; so nothing has to be undone, and nothing flushed on the way.
fn unguarded(path: &Path) -> Result<Connection> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF;
         PRAGMA synchronous = OFF; PRAGMA cache_size = -524288; PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA ignore_check_constraints = ON; PRAGMA temp_store = FILE;",
    )?;
    Ok(conn)
}

/// As the product has it, and on the disk.
fn guarded(conn: Connection, path: &Path) -> Result<()> {
    conn.flush_prepared_statement_cache();
    conn.close().map_err(|(_, why)| why)?;
    let conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA journal_mode = WAL;")?;
    flush(conn, path)
}

/// The indexes that rows need not keep up while they are written: taken away, and how to make them again.
fn put_aside(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
               AND tbl_name IN ('runs', 'steps', 'deliveries', 'attempts', 'facets', 'delivery_facets')";
    let mut find = conn.prepare(sql)?;
    let found = find.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let indexes = found.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    for (name, _) in &indexes {
        conn.execute_batch(&format!("DROP INDEX \"{name}\""))?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

fn history(folder: &Path, runs: usize, end: i64) -> Result<(World, String)> {
    let path = folder.join("skep.db");
    let conn = unguarded(&path)?;
    let (places, keys) = world::places(&conn)?;
    let world = World {
        places,
        keys,
        runs: runs as u64,
        begin: end - SPAN,
        end,
    };
    let indexes = put_aside(&conn)?;
    let mut writer = Writer::new(&conn, &world)?;
    writer.history()?;
    let hostile = writer.hostile.clone();
    progress("what is kept beside the rows");
    writer.finish()?;
    progress("the indexes");
    for sql in indexes {
        conn.execute_batch(&sql)?;
    }
    guarded(conn, &path)?;
    Ok((world, hostile))
}

fn queue(folder: &Path, world: World, count: usize) -> Result<()> {
    let path = folder.join("skep.db");
    let conn = unguarded(&path)?;
    let world = World {
        end: chrono::Utc::now().timestamp_millis(),
        ..world
    };
    let mut writer = Writer::new(&conn, &world)?;
    writer.queue(count as u64)?;
    writer.finish()?;
    guarded(conn, &path)
}
