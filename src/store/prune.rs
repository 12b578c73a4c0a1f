//! Retention: what is old goes, in small chunks, never a live run, an owed delivery, or a run that a key answers for.
//!
//! A chunk is one short transaction: at most [`CHUNK`] rows of all tables together, and some MiB of them. A run with more
//! steps than that goes over several chunks, its event and itself last and together. The pages that come free are given
//! back to the file system in steps of their own.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Params};

use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::minutes::{Minutes, Tally, minute_of};
use crate::store::open::{connection, lock, observe, resolved};
use crate::store::runs::run_status;
use crate::store::watch::Watch;
use crate::time::{Timestamp, millis};

/// How many rows one chunk looks at, and how many it deletes in all tables together.
pub const CHUNK: usize = 500;

/// How many bytes of rows one chunk looks at, roughly: large rows lie in many pages.
const CHUNK_BYTES: i64 = 4 << 20;

/// How many pages one step gives back.
const STEP_PAGES: i64 = 256;

/// Free pages that a file of a running server may keep, because what comes next needs them again: a sixteenth of those in
/// use, at least 1 MiB.
const SPARE_PAGES: i64 = 256;

/// How long an idempotency key is kept.
pub const KEYS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How far a pass over a table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Rows up to here were looked at.
    pub through: i64,
    /// How many runs, or attempts, went.
    pub removed: usize,
    /// How many rows went, in all tables together.
    pub rows: usize,
    /// Whether the pass is at its end: what follows is too young.
    pub done: bool,
}

/// What a pass needs to know of a table.
#[derive(Clone, Copy)]
struct Table {
    /// The next rows: id, whether it is old, whether it may go, its bytes.
    seen: &'static str,
    /// Deletes one of them with all that hangs on it, as far as there is room. Says whether it is gone.
    remove: fn(&Connection, i64, &mut Room) -> Result<bool>,
}

const RUNS: Table = Table {
    seen: "SELECT id, created_at < ?2,
               ended_at < ?2
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run = runs.id AND d.ended_at IS NULL)
               AND NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.run_id = runs.run_id),
               octet_length(inputs) + 2 * coalesce(octet_length(output), 0)
           FROM runs WHERE id > ?1 ORDER BY id LIMIT ?3",
    remove: remove_run,
};

const ATTEMPTS: Table = Table {
    seen: "SELECT id, started_at < ?2,
               (SELECT d.ended_at IS NOT NULL FROM deliveries d WHERE d.id = attempts.delivery),
               coalesce(octet_length(response_body), 0)
           FROM attempts WHERE id > ?1 ORDER BY id LIMIT ?3",
    remove: |conn, id, room| {
        conn.prepare_cached("DELETE FROM attempts WHERE id = ?1")?
            .execute([id])?;
        room.rows -= 1;
        Ok(true)
    },
};

/// A run that went: its deployment, its id, and how it had ended.
type Gone = (i64, Id, RunStatus);

/// What may still be deleted in this chunk.
struct Room {
    rows: usize,
    bytes: i64,
    /// The runs that went.
    gone: Vec<Gone>,
}

/// What hangs on a run and may go before it, a part at a time: its rows with their bytes, and how one is deleted.
const PARTS: [(&str, &str); 3] = [
    (
        "SELECT id, coalesce(octet_length(attempts), 0) + coalesce(octet_length(input), 0) + coalesce(octet_length(output), 0)
         FROM steps WHERE run = ?1 LIMIT ?2",
        "DELETE FROM steps WHERE id = ?1",
    ),
    (
        "SELECT a.id, coalesce(octet_length(a.response_body), 0)
         FROM deliveries d JOIN attempts a ON a.delivery = d.id WHERE d.run = ?1 LIMIT ?2",
        "DELETE FROM attempts WHERE id = ?1",
    ),
    // With its recipients, answers, links and notifications: few each.
    (
        "SELECT id, octet_length(ask) + coalesce(octet_length(output), 0) FROM approvals WHERE run = ?1 LIMIT ?2",
        "DELETE FROM approvals WHERE id = ?1",
    ),
];

/// The rows of an answer, up to as many bytes; one at least. Says whether there is more.
fn some<T>(
    conn: &Connection,
    sql: &str,
    given: impl Params,
    bytes: i64,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<(T, i64)>,
) -> Result<(Vec<T>, bool)> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(given)?;
    let (mut kept, mut left) = (Vec::new(), bytes);
    while let Some(row) = rows.next()? {
        if left <= 0 && !kept.is_empty() {
            return Ok((kept, true));
        }
        let (item, weight) = read(row)?;
        left -= weight;
        kept.push(item);
    }
    Ok((kept, false))
}

fn remove_run(conn: &Connection, id: i64, room: &mut Room) -> Result<bool> {
    for (find, delete) in PARTS {
        // One more than there is room for says that there are more.
        let (ids, mut more) = some(conn, find, (id, room.rows as i64 + 1), room.bytes, |row| {
            let weight: i64 = row.get(1)?;
            Ok(((row.get::<_, i64>(0)?, weight), weight))
        })?;
        more |= ids.len() > room.rows;
        for (part, weight) in ids.into_iter().take(room.rows) {
            conn.prepare_cached(delete)?.execute([part])?;
            room.rows -= 1;
            room.bytes -= weight;
        }
        if more {
            return Ok(false);
        }
    }
    let events: usize = conn
        .prepare_cached("SELECT count(*) FROM deliveries WHERE run = ?1")?
        .query_row([id], |row| row.get(0))?;
    // Together, so that at no time an ended run lacks its event.
    if room.rows < (events + 1).min(CHUNK) {
        return Ok(false);
    }
    conn.prepare_cached("DELETE FROM deliveries WHERE run = ?1")?
        .execute([id])?;
    let gone = conn
        .prepare_cached("DELETE FROM runs WHERE id = ?1 RETURNING deployment, run_id, status")?
        .query_row([id], |row| {
            Ok((row.get(0)?, Id(row.get(1)?), run_status(row, 2)?))
        })?;
    room.gone.push(gone);
    room.rows = room.rows.saturating_sub(events + 1);
    Ok(true)
}

/// One chunk of a pass, from behind row `after` on; and the runs that went, for whoever keeps the minutes.
fn chunk(
    conn: &Connection,
    table: Table,
    after: i64,
    before: Timestamp,
) -> Result<(Pass, Vec<Gone>)> {
    struct Seen {
        id: i64,
        is_old: bool,
        may_go: bool,
    }
    let given = (after, before.0, CHUNK as i64);
    let (seen, cut) = some(conn, table.seen, given, CHUNK_BYTES, |row| {
        let seen = Seen {
            id: row.get(0)?,
            is_old: row.get(1)?,
            may_go: row.get::<_, Option<bool>>(2)?.unwrap_or(false),
        };
        Ok((seen, row.get(3)?))
    })?;
    let mut room = Room {
        rows: CHUNK,
        bytes: CHUNK_BYTES,
        gone: Vec::new(),
    };
    let mut pass = Pass {
        through: after,
        removed: 0,
        rows: 0,
        // One row with a time from the future must not hide the old ones behind it; a whole chunk of young ones ends it.
        done: !cut && (seen.len() < CHUNK || seen.iter().all(|row| !row.is_old)),
    };
    for row in seen {
        if row.is_old && row.may_go {
            let is_full = room.rows == 0 || room.bytes <= 0;
            if is_full || !(table.remove)(conn, row.id, &mut room)? {
                pass.done = false;
                break;
            }
            pass.removed += 1;
        }
        pass.through = row.id;
    }
    pass.rows = CHUNK - room.rows;
    Ok((pass, room.gone))
}

fn forget_keys(conn: &Connection, before: Timestamp) -> Result<usize> {
    Ok(conn
        .prepare_cached(
            "DELETE FROM idempotency WHERE (scope, key) IN
                 (SELECT scope, key FROM idempotency WHERE created_at < ?1 LIMIT ?2)",
        )?
        .execute((before.0, CHUNK as i64))?)
}

/// A table of notes, and that of the rows whose blocks they are of.
type Notes = (&'static str, &'static str);

const NOTES: [Notes; 2] = [("facets", "runs"), ("delivery_facets", "deliveries")];

/// Blocks with notes and without a row, but for the newest; some of one table, as a JSON list.
fn empty_blocks(conn: &Connection) -> Result<Option<(Notes, String)>> {
    for (notes, rows) in NOTES {
        let sql = format!(
            "WITH RECURSIVE noted (block) AS (
                 SELECT min(block) FROM {notes}
                 UNION ALL
                 SELECT (SELECT min(block) FROM {notes} WHERE block > noted.block) FROM noted
                 WHERE noted.block IS NOT NULL)
             SELECT count(*), json_group_array(block) FROM (
                 SELECT block FROM noted
                 WHERE block < coalesce((SELECT max(id) >> 10 FROM {rows}), 9223372036854775807)
                     AND NOT EXISTS (SELECT 1 FROM {rows} WHERE id >= block << 10 AND id < (block + 1) << 10)
                 LIMIT ?1)"
        );
        let (count, blocks): (u64, String) = conn
            .prepare_cached(&sql)?
            .query_row([CHUNK as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count > 0 {
            return Ok(Some(((notes, rows), blocks)));
        }
    }
    Ok(None)
}

/// Forgets what was noted of these blocks; a chunk.
fn forget_notes(conn: &Connection, of: Notes, blocks: &str) -> Result<usize> {
    let (notes, rows) = of;
    let sql = format!(
        "DELETE FROM {notes} WHERE (facet, value, block) IN
             (SELECT facet, value, block FROM {notes}
              WHERE block IN (SELECT value FROM json_each(?1))
                  AND NOT EXISTS (SELECT 1 FROM {rows} WHERE id >= block << 10 AND id < (block + 1) << 10)
              LIMIT ?2)"
    );
    Ok(conn.prepare_cached(&sql)?.execute((blocks, CHUNK as i64))?)
}

fn number(conn: &Connection, pragma: &str) -> Result<i64> {
    Ok(conn
        .prepare_cached(&format!("PRAGMA {pragma}"))?
        .query_row([], |row| row.get(0))?)
}

/// Gives back some of the pages that are free, up to `spare`. Says how many are still to be given back.
fn give_back(conn: &Connection, step: i64, spare: impl Fn(i64) -> i64) -> Result<i64> {
    let free = number(conn, "freelist_count")?;
    let surplus = free - spare(number(conn, "page_count")? - free);
    if surplus <= 0 {
        return Ok(0);
    }
    {
        let sql = format!("PRAGMA incremental_vacuum({})", surplus.min(step));
        let mut vacuum = conn.prepare_cached(&sql)?;
        let mut pages = vacuum.query([])?;
        // Each row is a page.
        while pages.next()?.is_some() {}
    }
    let left = number(conn, "freelist_count")?;
    // A file that was not made by us may not be able to.
    Ok(if left < free {
        surplus - (free - left)
    } else {
        0
    })
}

impl Store {
    /// Removes runs (with steps, deliveries and attempts) that ended before `before`, from behind row `after` on; a chunk.
    pub fn prune_runs(&self, after: i64, before: Timestamp) -> Result<Pass> {
        self.write(move |tx| {
            let (pass, gone) = chunk(tx.conn, RUNS, after, before)?;
            for (deployment, run_id, status) in gone {
                tx.counts.note_removed(deployment, run_id, status);
            }
            Ok(pass)
        })
    }

    /// Removes attempts of final deliveries that began before `before`, from behind row `after` on; a chunk.
    pub fn prune_attempts(&self, after: i64, before: Timestamp) -> Result<Pass> {
        self.write(move |tx| Ok(chunk(tx.conn, ATTEMPTS, after, before)?.0))
    }

    /// Forgets idempotency keys first used before `before`; a chunk. Returns how many.
    pub fn prune_idempotency(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| forget_keys(tx.conn, before))
    }

    /// Forgets what lists knew of runs and deliveries that are gone; a chunk. Returns how many notes.
    pub fn prune_notes(&self) -> Result<usize> {
        let Some((of, blocks)) = self.look(empty_blocks)? else {
            return Ok(0);
        };
        self.write(move |tx| {
            // Rows may be numbered from 1 again: what is remembered as noted need not be.
            tx.noted.forget();
            forget_notes(tx.conn, of, &blocks)
        })
    }

    /// Gives some of the free pages back to the file system; a step. Says whether there are more.
    pub fn give_back_pages(&self) -> Result<bool> {
        let spare = |used: i64| (used / 16).max(SPARE_PAGES);
        self.write(move |tx| Ok(give_back(tx.conn, STEP_PAGES, spare)? > 0))
    }
}

/// How long things are kept; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Runs, after their end.
    pub runs: Option<Duration>,
    /// Attempts of final deliveries.
    pub attempts: Option<Duration>,
}

/// What went out of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many runs.
    pub runs: u64,
    /// How many attempts, beside those of these runs.
    pub attempts: u64,
    /// How many rows of all tables together; 0 if nothing was to be done but looked at.
    pub rows: u64,
    /// How large the file was and is, in bytes.
    pub bytes: (u64, u64),
}

/// Chunks that share a commit where nobody waits for one.
const CHUNKS: usize = 20;

/// Removes what is old from a file that no server has, and gives all free pages back.
///
/// # Errors
/// If a server has the file, it cannot be opened, or nobody wants it any more; what went until then is gone.
pub fn prune(path: &Path, keep: Keep, now: Timestamp, watch: &Watch) -> Result<Pruned> {
    let path = resolved(path);
    // Pruning makes no new file.
    observe(&path, |_| Ok(()))?;
    let _lock = lock(&path)?;
    let size = || path.metadata().map_or(0, |found| found.len());
    let conn = connection(&path, now)?;
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    let mut pruned = Pruned {
        bytes: (size(), 0),
        ..Pruned::default()
    };
    let cutoff = |kept: Duration| Timestamp(now.0.saturating_sub(millis(kept)));
    while commit(&conn, || forget_keys(&conn, cutoff(KEYS_KEPT)))? > 0 {}
    for (name, table, kept) in [
        ("runs", RUNS, keep.runs),
        ("attempts", ATTEMPTS, keep.attempts),
    ] {
        let Some(kept) = kept else { continue };
        let last = number_of_last(&conn, name)?;
        let mut next = Some(0);
        while let Some(after) = next {
            let (passes, then) = commit(&conn, || several(&conn, table, after, cutoff(kept)))?;
            for pass in passes {
                pruned.rows += pass.rows as u64;
                match name {
                    "runs" => pruned.runs += pass.removed as u64,
                    _ => pruned.attempts += pass.removed as u64,
                }
            }
            next = then;
            watch.tell("pruning", next.map_or(last, |at| at as u64), last)?;
        }
    }
    while let Some((of, blocks)) = empty_blocks(&conn)? {
        if commit(&conn, || forget_notes(&conn, of, &blocks))? == 0 {
            break;
        }
    }
    let free = number(&conn, "freelist_count")?;
    loop {
        let left = commit(&conn, || give_back(&conn, 16 * STEP_PAGES, |_| 0))?;
        watch.tell(
            "giving pages back",
            (free - left).max(0) as u64,
            free.max(0) as u64,
        )?;
        if left == 0 {
            break;
        }
    }
    conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?;
    pruned.bytes.1 = size();
    Ok(pruned)
}

/// What [`prune`] would remove. Looks only, beside a running server or a stopped one.
///
/// # Errors
/// If the file cannot be read, or nobody wants to know any more.
pub fn would_prune(path: &Path, keep: Keep, now: Timestamp, watch: &Watch) -> Result<Pruned> {
    let path = resolved(path);
    // A time before all times keeps everything.
    let cutoff =
        |kept: Option<Duration>| kept.map_or(i64::MIN, |kept| now.0.saturating_sub(millis(kept)));
    let (runs, attempts) = (cutoff(keep.runs), cutoff(keep.attempts));
    let keys = cutoff(Some(KEYS_KEPT));
    let count = |conn: &Connection| -> Result<Pruned> {
        let goes = "r.ended_at < ?1 AND r.created_at < ?1
             AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.run = r.id AND o.ended_at IS NULL)
             AND NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.run_id = r.run_id AND i.created_at >= ?2)";
        let of_runs = format!("SELECT count(*) FROM runs r WHERE {goes}");
        let of_attempts = format!(
            "SELECT count(*) FROM attempts a JOIN deliveries d ON d.id = a.delivery JOIN runs r ON r.id = d.run
             WHERE a.started_at < ?3 AND d.ended_at IS NOT NULL AND NOT ({goes})"
        );
        let size = path.metadata().map_or(0, |found| found.len());
        Ok(Pruned {
            runs: conn.query_row(&of_runs, (runs, keys), |row| row.get(0))?,
            attempts: conn.query_row(&of_attempts, (runs, keys, attempts), |row| row.get(0))?,
            rows: 0,
            bytes: (size, size),
        })
    };
    observe(&path, |conn| {
        watch.during(conn, "counting", None, || count(conn))
    })
}

fn number_of_last(conn: &Connection, table: &str) -> Result<u64> {
    let sql = format!("SELECT coalesce(max(id), 0) FROM {table}");
    Ok(conn.query_row(&sql, [], |row| row.get(0))?)
}

/// Some chunks, and where the next one begins; `None`: the pass is over.
fn several(
    conn: &Connection,
    table: Table,
    after: i64,
    before: Timestamp,
) -> Result<(Vec<Pass>, Option<i64>)> {
    let (mut passes, mut next) = (Vec::new(), Some(after));
    let mut minutes = Minutes::default();
    while let Some(after) = next
        && passes.len() < CHUNKS
    {
        let (pass, gone) = chunk(conn, table, after, before)?;
        next = (!pass.done).then_some(pass.through);
        passes.push(pass);
        for (deployment, run_id, status) in gone {
            minutes.note(deployment, minute_of(run_id), Tally::removed(status));
        }
    }
    minutes.add(conn)?;
    Ok((passes, next))
}

fn commit<T>(conn: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let transaction = conn.unchecked_transaction()?;
    let result = work()?;
    transaction.commit()?;
    Ok(result)
}

#[cfg(test)]
mod tests;
