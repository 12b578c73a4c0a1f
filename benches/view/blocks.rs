//! What the product keeps beside the rows, so that lists are short to find: which blocks of 1,024 rows hold which
//! values, and runs by the minute. Gathered while the rows are written, in their order, and written behind them.

use std::collections::{BTreeMap, HashSet};

use rusqlite::Connection;

use skep::bench::Result;

use crate::draw::Stand;

/// How many rows are in a block, as a power of two.
const BLOCK: u32 = 10;

/// The facets of runs, and of deliveries, as the product numbers them.
#[derive(Debug, Clone, Copy)]
pub enum Facet {
    Source = 1,
    Delivery = 2,
    Deployment = 3,
    Variant = 4,
    ApiKey = 5,
    User = 6,
    Label = 7,
    LabelValue = 8,
    Ended = 9,
    Settled = 10,
    Origin = 11,
    Class = 12,
    Channel = 13,
}

impl Facet {
    fn is_of_deliveries(self) -> bool {
        self as usize >= Facet::Settled as usize
    }
}

/// How many numbers there are, with none for 0.
const FACETS: usize = 14;

/// What the present block holds.
#[derive(Debug, Default)]
pub struct Notes {
    block: i64,
    seen: [HashSet<String>; FACETS],
}

impl Notes {
    /// The row holds that value. Rows come in order.
    pub fn note(&mut self, conn: &Connection, row: i64, facet: usize, value: &str) -> Result<()> {
        if row >> BLOCK != self.block {
            self.close(conn)?;
            self.block = row >> BLOCK;
        }
        if !self.seen[facet].contains(value) {
            self.seen[facet].insert(value.to_owned());
        }
        Ok(())
    }

    /// The block is over.
    fn close(&mut self, conn: &Connection) -> Result<()> {
        let mut insert = conn.prepare_cached("INSERT INTO temp.notes VALUES (?1, ?2, ?3)")?;
        for (facet, values) in self.seen.iter_mut().enumerate() {
            for value in values.drain() {
                insert.execute((facet, value, self.block))?;
            }
        }
        Ok(())
    }
}

/// All that is kept beside the rows of the runs and of the deliveries.
#[derive(Debug, Default)]
pub struct Beside {
    runs: Notes,
    deliveries: Notes,
    minutes: BTreeMap<(i64, i64), [i64; 4]>,
}

impl Beside {
    /// Ready to gather.
    pub fn new(conn: &Connection) -> Result<Beside> {
        conn.execute_batch(
            "DROP TABLE IF EXISTS temp.notes;
             CREATE TEMP TABLE notes (facet INTEGER, value TEXT, block INTEGER)",
        )?;
        Ok(Beside::default())
    }

    /// The run, or the delivery, holds that value.
    pub fn note(&mut self, conn: &Connection, row: i64, facet: Facet, value: &str) -> Result<()> {
        let notes = match facet.is_of_deliveries() {
            true => &mut self.deliveries,
            false => &mut self.runs,
        };
        notes.note(conn, row, facet as usize, value)
    }

    /// A run of that deployment was accepted then, and stands so.
    pub fn minute(&mut self, deployment: i64, accepted_at: i64, stand: Stand) {
        for deployment in [0, deployment] {
            let key = (deployment, accepted_at.div_euclid(60_000));
            let counts = self.minutes.entry(key).or_default();
            counts[0] += 1;
            match stand {
                Stand::Completed => counts[1] += 1,
                Stand::Failed => counts[2] += 1,
                Stand::Cancelled => counts[3] += 1,
                Stand::Waiting | Stand::Queued => {}
            }
        }
    }

    /// Writes it all.
    pub fn write(mut self, conn: &Connection) -> Result<()> {
        self.runs.close(conn)?;
        self.deliveries.close(conn)?;
        conn.execute_batch(
            "INSERT OR IGNORE INTO facets (facet, value, block)
             SELECT facet, value, block FROM temp.notes WHERE facet < 10
             ORDER BY facet, value, block;
             INSERT OR IGNORE INTO delivery_facets (facet, value, block)
             SELECT facet, value, block FROM temp.notes WHERE facet >= 10
             ORDER BY facet, value, block;
             DROP TABLE temp.notes;",
        )?;
        let mut insert = conn.prepare(
            "INSERT INTO minutes (deployment, minute, accepted, completed, failed, cancelled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
             accepted = accepted + excluded.accepted, completed = completed + excluded.completed,
             failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled",
        )?;
        for ((deployment, minute), [accepted, completed, failed, cancelled]) in self.minutes {
            insert.execute((deployment, minute, accepted, completed, failed, cancelled))?;
        }
        Ok(())
    }
}
