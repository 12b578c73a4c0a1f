//! Fills a stopped Skep's file with a million runs and more: one real run, made by the real binary, is cloned.
//!
//! Knows of the schema only that a run is a row of `runs` and that what belongs to it refers to it by foreign keys; its
//! columns are read from the file. Copies get ids, names and times of their own; wherever a name of the original stands
//! in a text, the copy's stands in its place. Variety (users, labels, other states) would be more than one original.

#[path = "fill/original.rs"]
mod original;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::job::{JOB, NOWHERE, STILL, inputs};
use crate::progress;
use crate::server::{scratch, start};
use original::{Family, ids};
use skep::bench::receiver::Receiver;
use skep::bench::server::{invoke, until};
use skep::bench::{Result, fault};

/// A workflow that will not wake while anybody measures.
const LONG: &str = "\
inputs: {to: {type: text}, body: {type: text}}
steps: [{id: a, delay: 365d}]
";

/// Bump it when cached files are no longer what this file would make.
const FORMAT: u32 = 1;

/// How many runs one transaction inserts.
const BATCH: usize = 50_000;

/// How far copies lie apart, in milliseconds.
const APART: i64 = 1;

/// The state of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ended, its result taken by the direct caller: nothing was delivered.
    Finished,
    /// Ended, its callback delivered.
    Delivered,
    /// Waiting for a worker.
    Queued,
    /// Waiting for a time in a year.
    Delayed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Finished => "finished",
            Kind::Delivered => "delivered",
            Kind::Queued => "queued",
            Kind::Delayed => "delayed",
        }
    }

    /// About how many bytes of file one run takes: to know before whether there is room.
    fn bytes(self) -> u64 {
        match self {
            Kind::Finished => 1_500,
            Kind::Delivered => 3_500,
            Kind::Queued => 800,
            Kind::Delayed => 1_200,
        }
    }
}

/// What a file is filled with.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Their state.
    pub kind: Kind,
    /// How many, beside the original.
    pub count: usize,
    /// How long ago the last of them was accepted.
    pub age: Duration,
}

impl Wanted {
    /// So many of that kind, the last of them new.
    pub fn new(kind: Kind, count: usize) -> Wanted {
        let age = Duration::ZERO;
        Wanted { kind, count, age }
    }
}

/// Where filled files are kept between measurements.
pub fn store() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../scale")
}

/// The bytes that are free on the disk of `target/`.
pub fn free() -> Result<u64> {
    let out = std::process::Command::new("df")
        .args(["--output=avail", "-B1", env!("CARGO_TARGET_TMPDIR")])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let avail = text.lines().nth(1).unwrap_or_default().trim();
    Ok(avail.parse()?)
}

/// The folder of a file filled like that: an earlier one if it is still what would be made now. Who measures on it puts
/// it back by [`put_back`].
pub fn cached(wanted: Wanted) -> Result<PathBuf> {
    let name = format!(
        "{}-{}-{}d",
        wanted.kind.name(),
        wanted.count,
        wanted.age.as_secs() / 86_400
    );
    let folder = store().join(name);
    let note = folder.join("filled.json");
    if let Ok(text) = fs::read_to_string(&note)
        && serde_json::from_str::<Value>(&text)?["made_by"] == json!(made_by())
    {
        put_back(&folder)?;
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fill(&folder, wanted)?;
    let marks = marks(&Connection::open(folder.join("skep.db"))?)?;
    let text = json!({"made_by": made_by(), "marks": marks}).to_string();
    fs::write(note, text)?;
    Ok(folder)
}

/// Removes every cached file.
pub fn clean() -> Result<()> {
    match fs::remove_dir_all(store()) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(why.into()),
        _ => Ok(()),
    }
}

/// A copy of a filled folder, to be used up.
pub fn copy(folder: &Path) -> Result<TempDir> {
    let copied = scratch()?;
    fs::copy(folder.join("skep.db"), copied.path().join("skep.db"))?;
    Ok(copied)
}

/// Takes out again what a measurement put in: every row behind the ones that were filled in. The server is stopped.
pub fn put_back(folder: &Path) -> Result<()> {
    let note: Value = serde_json::from_str(&fs::read_to_string(folder.join("filled.json"))?)?;
    let conn = Connection::open(folder.join("skep.db"))?;
    conn.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN;")?;
    let tables = note["marks"].as_object().into_iter().flatten();
    // Nothing is taken out of the audit, nor could it be.
    for (table, last) in tables.filter(|(table, _)| *table != "audit") {
        // References go before what they refer to in any order: nothing checks them here.
        conn.execute(
            &format!("DELETE FROM \"{table}\" WHERE id > ?1"),
            [last.as_i64()],
        )?;
    }
    conn.execute_batch("COMMIT;")?;
    flush(conn, &folder.join("skep.db"))
}

/// What decides how a filled file looks: the schema, and this module.
fn made_by() -> String {
    let digest = Sha256::digest(include_bytes!("../schema.sql"));
    let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{FORMAT}-{hex}")
}

/// The last id of every table that has ids.
pub fn marks(conn: &Connection) -> Result<BTreeMap<String, i64>> {
    let mut marks = BTreeMap::new();
    for table in original::tables(conn)? {
        if original::columns(conn, &table)?.iter().any(|c| c == "id") {
            let last = conn.query_row(
                &format!("SELECT coalesce(max(id), 0) FROM \"{table}\""),
                [],
                |row| row.get(0),
            )?;
            marks.insert(table, last);
        }
    }
    Ok(marks)
}

/// Makes `folder/skep.db` and fills it.
///
/// # Errors
/// If the disk has no room for it, or the original cannot be made.
pub fn fill(folder: &Path, wanted: Wanted) -> Result<()> {
    let (room, need) = (free()?, wanted.kind.bytes() * wanted.count as u64);
    if need + need / 4 > room {
        return Err(fault(format!(
            "{} {} runs need about {} MB of disk, and {} MB are free",
            wanted.count,
            wanted.kind.name(),
            need >> 20,
            room >> 20
        )));
    }
    make_one(folder, wanted.kind)?;
    let path = folder.join("skep.db");
    let conn = Connection::open(&path)?;
    // A fill that is cut short is thrown away whole; so nothing has to be undone, and nothing flushed on the way.
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF;
         PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA locking_mode = EXCLUSIVE;",
    )?;
    let last: i64 = conn.query_row("SELECT max(id) FROM runs", [], |row| row.get(0))?;
    let family = Family::of(&conn, last)?;
    let now = chrono::Utc::now().timestamp_millis();
    let age = i64::try_from(wanted.age.as_millis())?;
    let begin = now - age - wanted.count as i64 * APART;
    family.clone_into(&conn, wanted.count, BATCH, |copy| {
        begin + copy as i64 * APART
    })?;
    by_block(&conn, last, family.last_id(wanted.count))?;
    conn.execute_batch("PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL;")?;
    flush(conn, &path)?;
    // The first start of a file this large may look at its statistics; later ones find them.
    let server = start(folder, &STILL)?;
    server.settle()?;
    server.stop()
}

/// Writes the log into the file, and the file to the disk.
pub fn flush(conn: Connection, path: &Path) -> Result<()> {
    conn.execute_batch("PRAGMA synchronous = FULL;")?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    conn.close().map_err(|(_, why)| why)?;
    Ok(File::open(path)?.sync_all()?)
}

/// Tables that say which blocks of 1,024 ids hold a value (`block` is `id >> 10`): every block says what the
/// original's says.
fn by_block(conn: &Connection, original: i64, last: i64) -> Result<()> {
    for table in original::tables(conn)? {
        let columns = original::columns(conn, &table)?;
        if !columns.iter().any(|column| column == "block") {
            continue;
        }
        let picked: Vec<String> = columns
            .iter()
            .map(|column| match column.as_str() {
                "block" => "b.block".to_owned(),
                other => format!("t.\"{other}\""),
            })
            .collect();
        let sql = format!(
            "WITH RECURSIVE b (block) AS
                 (SELECT ?1 UNION ALL SELECT block + 1 FROM b WHERE block < ?2)
             INSERT OR IGNORE INTO \"{table}\" ({})
             SELECT {} FROM b, \"{table}\" t WHERE t.block = ?1",
            columns.join(", "),
            picked.join(", ")
        );
        conn.execute(&sql, [original >> 10, last >> 10])?;
    }
    Ok(())
}

/// A new file with one real run of that kind.
fn make_one(folder: &Path, kind: Kind) -> Result<()> {
    let flags: &[&str] = match kind {
        Kind::Queued => &STILL,
        Kind::Finished | Kind::Delivered | Kind::Delayed => &[],
    };
    let receiver = Receiver::start()?;
    let server = start(folder, flags)?;
    server.deploy("job", JOB)?;
    let mut client = server.connect()?;
    let url = receiver.url("callback");
    match kind {
        Kind::Finished => drop(client.expect(&invoke("job", &inputs(), None), &[200])?),
        Kind::Queued => drop(client.expect(&invoke("job", &inputs(), Some(NOWHERE)), &[202])?),
        Kind::Delivered => {
            client.expect(&invoke("job", &inputs(), Some(&url)), &[202])?;
            let patience = Duration::from_secs(10);
            let came = receiver.arrivals.recv_timeout(patience);
            came.map_err(|_| fault("the original's callback did not come"))?;
        }
        Kind::Delayed => {
            server.deploy("later", LONG)?;
            client.expect(&invoke("later", &inputs(), Some(NOWHERE)), &[202])?;
        }
    }
    let status = match kind {
        Kind::Finished | Kind::Delivered => "completed",
        Kind::Queued => "queued",
        Kind::Delayed => "waiting",
    };
    let look = Connection::open(folder.join("skep.db"))?;
    let sql = "SELECT count(*) FROM runs WHERE status = ?1";
    until("the original run", Duration::from_secs(10), || {
        Ok(look.query_row(sql, [status], |row| row.get::<_, i64>(0))? == 1)
    })?;
    if kind == Kind::Delivered {
        let sql = "SELECT count(*) FROM deliveries WHERE status = 'delivered'";
        until("the original's delivery", Duration::from_secs(10), || {
            Ok(look.query_row(sql, [], |row| row.get::<_, i64>(0))? == 1)
        })?;
    }
    drop(look);
    server.settle()?;
    server.stop()
}

/// A line on how far a fill has come, every other second.
struct Told(Instant);

impl Told {
    fn tell(&mut self, done: usize, of: usize) {
        if self.0.elapsed() > Duration::from_secs(2) {
            self.0 = Instant::now();
            progress(&format!("filling: {done} of {of} runs"));
        }
    }
}

impl Family {
    /// Inserts `count` copies, `batch` in a transaction; `time` says when a copy was accepted.
    fn clone_into(
        &self,
        conn: &Connection,
        count: usize,
        batch: usize,
        time: impl Fn(usize) -> i64,
    ) -> Result<()> {
        let mut writers = self.writers(conn)?;
        let mut told = Told(Instant::now());
        for first in (0..count).step_by(batch) {
            conn.execute_batch("BEGIN")?;
            for copy in first..count.min(first + batch) {
                let names = ids(copy, self.names.len(), time(copy));
                for writer in &mut writers {
                    writer.write(copy, time(copy) - self.accepted_at, &names)?;
                }
            }
            conn.execute_batch("COMMIT")?;
            told.tell(count.min(first + batch), count);
        }
        Ok(())
    }
}
