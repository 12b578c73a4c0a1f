//! Retention: what is old goes, in small chunks, never a live run or an owed delivery.

use crate::error::Result;
use crate::store::Store;
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// How many rows one chunk looks at.
const CHUNK: i64 = 100;

/// How far a pass over a table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Rows up to here were looked at.
    pub through: i64,
    /// How many rows went.
    pub removed: usize,
    /// Whether the pass is at its end: what follows is too young.
    pub done: bool,
}

/// What a pass needs to know of a table: the next rows with their age, and which of them may go.
struct Table {
    seen: &'static str,
    delete: &'static str,
}

const RUNS: Table = Table {
    seen: "SELECT id, created_at FROM runs WHERE id > ?1 ORDER BY id LIMIT ?2",
    delete: "DELETE FROM runs WHERE id > ?1 AND id <= ?2 AND ended_at < ?3
             AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run = runs.id AND d.ended_at IS NULL)
             AND NOT EXISTS (SELECT 1 FROM idempotency i WHERE i.run_id = runs.run_id)",
};

const ATTEMPTS: Table = Table {
    seen: "SELECT id, started_at FROM attempts WHERE id > ?1 ORDER BY id LIMIT ?2",
    delete: "DELETE FROM attempts WHERE id > ?1 AND id <= ?2 AND started_at < ?3
             AND EXISTS (SELECT 1 FROM deliveries d WHERE d.id = attempts.delivery AND d.ended_at IS NOT NULL)",
};

impl Tx<'_> {
    fn prune(&self, table: &Table, after: i64, before: Timestamp) -> Result<Pass> {
        let seen = self
            .sql(table.seen)?
            .query_map((after, CHUNK), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        let Some((through, youngest)) = seen.last().copied() else {
            return Ok(Pass {
                through: after,
                removed: 0,
                done: true,
            });
        };
        let removed = self
            .sql(table.delete)?
            .execute((after, through, before.0))?;
        if removed > 0 {
            // Some of the pages that are free now go back to the file system; never all at once.
            // Each step gives back one page.
            let mut vacuum = self.sql("PRAGMA incremental_vacuum(200)")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(Pass {
            through,
            removed,
            done: seen.len() < CHUNK as usize || youngest >= before.0,
        })
    }
}

impl Store {
    /// Removes runs (with steps, deliveries and attempts) that ended before `before`, from behind row `after` on.
    pub fn prune_runs(&self, after: i64, before: Timestamp) -> Result<Pass> {
        self.write(move |tx| tx.prune(&RUNS, after, before))
    }

    /// Removes attempts of final deliveries that began before `before`, from behind row `after` on.
    pub fn prune_attempts(&self, after: i64, before: Timestamp) -> Result<Pass> {
        self.write(move |tx| tx.prune(&ATTEMPTS, after, before))
    }

    /// Forgets idempotency keys first used before `before`; a chunk. Returns how many.
    pub fn prune_idempotency(&self, before: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            Ok(tx
                .sql(
                    "DELETE FROM idempotency WHERE (scope, key) IN
                         (SELECT scope, key FROM idempotency WHERE created_at < ?1 LIMIT ?2)",
                )?
                .execute((before.0, CHUNK))?)
        })
    }
}
