//! Which blocks of runs, or of deliveries, hold which values: what lets a list skip millions of rows that cannot match.
//!
//! A block is 1,024 runs by their row (and the same of deliveries). The first run of a block that has a value of a facet (a source, a user, a label …)
//! notes it; the others find it noted in memory, so that a filter costs an insert next to nothing. A note says "may
//! hold": who lists looks at the block's rows themselves. Must not decide what matches.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

use crate::error::Result;
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::store::Store;
use crate::store::writer::Tx;

/// How many runs are in a block, as a power of two.
const BLOCK: u32 = 10;

/// How many notes are remembered. More than a busy block has; beyond it they are asked of the file again.
const REMEMBERED: usize = 50_000;

/// What a list of runs can be filtered by. The number is the one in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facet {
    /// `api`, `webhook` …
    Source = 1,
    /// `direct`, `callback`.
    Delivery = 2,
    /// The deployment's name.
    Deployment = 3,
    /// The variant's name.
    Variant = 4,
    /// The key's row.
    ApiKey = 5,
    /// The caller's user.
    User = 6,
    /// A label's key.
    Label = 7,
    /// A label's key and value, as [`pair`] writes them.
    LabelValue = 8,
    /// How it ended. Open runs are found by an index of their own.
    Ended = 9,
    /// Of a delivery: how it ended. Open ones are found by indexes of their own.
    Settled = 10,
    /// Of a delivery: the row of where it goes.
    Origin = 11,
    /// Of a delivery: the class of a failed attempt.
    Class = 12,
    /// Of a delivery: `callback`, or how a person is told.
    Channel = 13,
}

impl Facet {
    /// The table of its notes.
    const fn table(self) -> &'static str {
        match self {
            Facet::Settled | Facet::Origin | Facet::Class | Facet::Channel => "delivery_facets",
            _ => "facets",
        }
    }
}

/// One facet that a list asks for: any of these values.
pub type Wanted = (Facet, Vec<String>);

/// A label as a value: no key can hold a NUL and be taken for another's beginning.
pub fn pair(key: &str, value: &str) -> String {
    format!("{key}\0{value}")
}

/// The block of a run's row.
pub fn block_of(id: i64) -> i64 {
    id >> BLOCK
}

/// The first row of a block.
pub fn first_of(block: i64) -> i64 {
    block << BLOCK
}

/// What is known to be noted, of commits that are on disk or on their way.
#[derive(Debug, Default)]
pub struct Noted {
    notes: HashSet<Vec<u8>>,
    key: Vec<u8>,
}

impl Noted {
    /// Whether this was not noted yet, as far as is known; it is from now on.
    fn is_new(&mut self, facet: Facet, value: &str, block: i64) -> bool {
        self.key.clear();
        self.key.push(facet as u8);
        self.key.extend_from_slice(&block.to_le_bytes());
        self.key.extend_from_slice(value.as_bytes());
        if self.notes.contains(&self.key) {
            return false;
        }
        if self.notes.len() >= REMEMBERED {
            self.notes.clear();
        }
        self.notes.insert(self.key.clone());
        true
    }

    /// Something was rolled back: what was noted may not be.
    pub fn forget(&mut self) {
        self.notes.clear();
    }
}

impl Tx<'_> {
    /// Notes that the block of this row holds that value.
    pub(super) fn note(&mut self, id: i64, facet: Facet, value: &str) -> Result<()> {
        let block = block_of(id);
        if self.noted.is_new(facet, value, block) {
            let table = facet.table();
            self.sql(&format!(
                "INSERT OR IGNORE INTO {table} (facet, value, block) VALUES (?1, ?2, ?3)"
            ))?
            .execute((facet as i64, value, block))?;
        }
        Ok(())
    }

    /// Notes how a run ended.
    pub(super) fn note_end(&mut self, id: i64, status: RunStatus) -> Result<()> {
        match status.is_final() {
            true => self.note(id, Facet::Ended, status.as_str()),
            false => Ok(()),
        }
    }

    /// What a delivery that is new can be found by.
    pub(super) fn note_delivery(&mut self, id: i64, origin: i64, channel: &str) -> Result<()> {
        self.note(id, Facet::Origin, &origin.to_string())?;
        self.note(id, Facet::Channel, channel)
    }

    /// Notes how a delivery ended.
    pub(super) fn note_settled(&mut self, id: i64, status: DeliveryStatus) -> Result<()> {
        match status.is_final() {
            true => self.note(id, Facet::Settled, status.as_str()),
            false => Ok(()),
        }
    }
}

/// The highest block of their table, not above `from`, that may hold what every one of `wanted` asks for.
pub fn next_block(conn: &Connection, wanted: &[Wanted], from: i64) -> Result<Option<i64>> {
    let mut block = from;
    let mut agreed = 0;
    // Round and round: each lowers the block to one of its own, until all agree.
    for (facet, values) in wanted.iter().cycle() {
        let mut best = None;
        let sql = format!(
            "SELECT block FROM {} WHERE facet = ?1 AND value = ?2 AND block <= ?3
             ORDER BY block DESC LIMIT 1",
            facet.table()
        );
        for value in values {
            let at: Option<i64> = conn
                .prepare_cached(&sql)?
                .query_row((*facet as i64, value, block), |row| row.get(0))
                .optional()?;
            best = best.max(at);
        }
        match best {
            None => return Ok(None),
            Some(at) if at == block => agreed += 1,
            Some(at) => {
                block = at;
                agreed = 1;
            }
        }
        if agreed >= wanted.len() {
            return Ok(Some(block));
        }
    }
    Ok(None)
}

impl Store {
    /// The values of a facet that runs have, or had until lately, in order: those that begin with `prefix`, from behind
    /// `after` on.
    pub fn facet_values(
        &self,
        facet: Facet,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        self.read(|conn| {
            let mut next = match after {
                Some(after) if after >= prefix => behind(after),
                Some(_) | None => prefix.to_owned(),
            };
            let mut values = Vec::new();
            // A value has a note in each block that holds it: from one to the next by the index.
            let mut statement = conn.prepare_cached(
                "SELECT value FROM facets WHERE facet = ?1 AND value >= ?2 ORDER BY value LIMIT 1",
            )?;
            while values.len() < limit {
                let found: Option<String> = statement
                    .query_row((facet as i64, &next), |row| row.get(0))
                    .optional()?;
                let Some(value) = found.filter(|value| value.starts_with(prefix)) else {
                    break;
                };
                next = behind(&value);
                values.push(value);
            }
            Ok(values)
        })
    }
}

/// The first text behind another.
fn behind(text: &str) -> String {
    format!("{text}\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(rows: &[(Facet, &str, i64)]) -> Connection {
        let conn = Connection::open_in_memory().expect("memory");
        conn.execute_batch("CREATE TABLE facets (facet INTEGER, value TEXT, block INTEGER)")
            .expect("a table");
        for (facet, value, block) in rows {
            conn.execute(
                "INSERT INTO facets VALUES (?1, ?2, ?3)",
                (*facet as i64, value, block),
            )
            .expect("a row");
        }
        conn
    }

    #[test]
    fn a_block_is_one_that_every_facet_may_be_in() {
        let conn = noted(&[
            (Facet::Source, "api", 9),
            (Facet::Source, "api", 7),
            (Facet::Source, "webhook", 8),
            (Facet::User, "ada", 8),
            (Facet::User, "ada", 7),
            (Facet::User, "ada", 2),
        ]);
        let one = |facet, values: &[&str]| -> Wanted {
            (
                facet,
                values.iter().map(|value| (*value).to_owned()).collect(),
            )
        };
        let next = |wanted: &[Wanted], from| next_block(&conn, wanted, from).expect("readable");
        let both = [one(Facet::Source, &["api"]), one(Facet::User, &["ada"])];
        assert_eq!(next(&both, 100), Some(7));
        assert_eq!(next(&both, 6), None);
        let either = [
            one(Facet::Source, &["api", "webhook"]),
            one(Facet::User, &["ada"]),
        ];
        assert_eq!(next(&either, 100), Some(8));
        assert_eq!(next(&[one(Facet::User, &["bob"])], 100), None);
        assert_eq!(next(&[], 100), None);
    }

    #[test]
    fn a_note_is_written_once_until_something_is_rolled_back() {
        let mut noted = Noted::default();
        assert!(noted.is_new(Facet::User, "ada", 1));
        assert!(!noted.is_new(Facet::User, "ada", 1));
        assert!(noted.is_new(Facet::User, "ada", 2));
        assert!(noted.is_new(Facet::Source, "ada", 1));
        noted.forget();
        assert!(noted.is_new(Facet::User, "ada", 1));
    }
}
