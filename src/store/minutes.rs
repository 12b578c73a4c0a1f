//! Runs by the minute of their acceptance, and how they ended: what a chart of any span is drawn from.
//!
//! A run's minute is the one that its id tells. What a commit brings is collected in memory (with the open runs, in
//! [`Counts`](crate::store::counts::Counts), so that a verb that fails takes it back) and written once at its end, a row
//! for each deployment and one for all of them together. A run that is removed is taken away in the same way: the rows
//! always say what the file holds.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::time::Timestamp;

/// How long a minute is, in milliseconds.
pub const MINUTE: i64 = 60_000;

/// The deployment that stands for all of them.
const ALL: i64 = 0;

/// How many runs were accepted, and how many of these came to which end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Accepted.
    pub accepted: i64,
    /// Of these, completed by now.
    pub completed: i64,
    /// Of these, failed by now.
    pub failed: i64,
    /// Of these, cancelled by now.
    pub cancelled: i64,
}

impl Tally {
    /// A run that was accepted.
    pub const ACCEPTED: Tally = Tally {
        accepted: 1,
        completed: 0,
        failed: 0,
        cancelled: 0,
    };

    /// The end of a run; nothing of one that is open.
    pub fn ended(status: RunStatus) -> Tally {
        Tally {
            accepted: 0,
            completed: i64::from(status == RunStatus::Completed),
            failed: i64::from(status == RunStatus::Failed),
            cancelled: i64::from(status == RunStatus::Cancelled),
        }
    }

    /// A run that is no longer there: what it was counted as is taken back.
    pub fn removed(status: RunStatus) -> Tally {
        let was = Tally::ACCEPTED.with(Tally::ended(status));
        Tally {
            accepted: -was.accepted,
            completed: -was.completed,
            failed: -was.failed,
            cancelled: -was.cancelled,
        }
    }

    /// Of these, open.
    pub fn open(&self) -> i64 {
        self.accepted - self.completed - self.failed - self.cancelled
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Tally) -> Tally {
        Tally {
            accepted: self.accepted + other.accepted,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

/// The minute in which a run was accepted, counted from 1970.
pub fn minute_of(run_id: Id) -> i64 {
    let mut time = [0; 8];
    time[2..].copy_from_slice(&run_id.0[..6]);
    i64::from_be_bytes(time) / MINUTE
}

/// What is to be added to some minutes; of what is taken from them, less than nothing.
#[derive(Debug, Default)]
pub(super) struct Minutes(BTreeMap<(i64, i64), Tally>);

impl Minutes {
    /// Of a run of that deployment and minute.
    pub(super) fn note(&mut self, deployment: i64, minute: i64, tally: Tally) {
        for key in [(deployment, minute), (ALL, minute)] {
            let sum = self.0.entry(key).or_default();
            *sum = sum.with(tally);
        }
    }

    /// Adds it; a minute of which nothing is left goes.
    pub(super) fn add(&self, conn: &Connection) -> Result<()> {
        for ((deployment, minute), sum) in &self.0 {
            conn.prepare_cached(
                "INSERT INTO minutes (deployment, minute, accepted, completed, failed, cancelled)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (deployment, minute) DO UPDATE SET
                     accepted = accepted + ?3, completed = completed + ?4, failed = failed + ?5,
                     cancelled = cancelled + ?6",
            )?
            .execute((
                deployment,
                minute,
                sum.accepted,
                sum.completed,
                sum.failed,
                sum.cancelled,
            ))?;
            // Runs that came may hide as many that went.
            if sum.accepted <= 0 {
                conn.prepare_cached(
                    "DELETE FROM minutes WHERE deployment = ?1 AND minute = ?2 AND accepted <= 0",
                )?
                .execute((deployment, minute))?;
            }
        }
        Ok(())
    }
}

/// The rows of the deployments of that name, of which all but one are deleted; of none: that of all together.
pub(super) fn rows_of(conn: &Connection, deployment: Option<&str>) -> Result<Vec<i64>> {
    let Some(name) = deployment else {
        return Ok(vec![ALL]);
    };
    Ok(conn
        .prepare_cached("SELECT id FROM deployments WHERE name = ?1")?
        .query_map([name], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// Four columns, from that one on.
fn tally(row: &Row<'_>, from: usize) -> rusqlite::Result<Tally> {
    Ok(Tally {
        accepted: row.get(from)?,
        completed: row.get(from + 1)?,
        failed: row.get(from + 2)?,
        cancelled: row.get(from + 3)?,
    })
}

/// The sum of a deployment's minutes from `from` on and before `to`.
pub(super) fn sum(conn: &Connection, deployment: i64, from: i64, to: i64) -> Result<Tally> {
    Ok(conn
        .prepare_cached(
            "SELECT coalesce(sum(accepted), 0), coalesce(sum(completed), 0), coalesce(sum(failed), 0),
                 coalesce(sum(cancelled), 0)
             FROM minutes WHERE deployment = ?1 AND minute >= ?2 AND minute < ?3",
        )?
        .query_row((deployment, from, to), |row| tally(row, 0))?)
}

/// The last minute that has a row; `None`: there is no run.
pub(super) fn last(conn: &Connection) -> Result<Option<i64>> {
    Ok(conn
        .prepare_cached(
            "SELECT minute FROM minutes WHERE deployment = ?1 ORDER BY minute DESC LIMIT 1",
        )?
        .query_row([ALL], |row| row.get(0))
        .optional()?)
}

/// Bars of equal width over a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bars {
    /// The first one's first minute.
    pub from: i64,
    /// How many minutes a bar is wide.
    pub width: i64,
    /// How many there are.
    pub count: i64,
}

impl Bars {
    /// The widest span: a thousand years.
    const LONGEST: i64 = 1_000 * 366 * 24 * 60;

    /// At most `most` bars from the minute of `from` to that of `to`; one at least.
    pub fn new(from: Timestamp, to: Timestamp, most: i64) -> Bars {
        let from = from.0.div_euclid(MINUTE);
        let end = to.0.saturating_add(MINUTE - 1).div_euclid(MINUTE);
        let minutes = (end - from).clamp(1, Bars::LONGEST);
        let width = (minutes + most - 1) / most.max(1);
        Bars {
            from,
            width,
            count: (minutes + width - 1) / width,
        }
    }

    /// When a bar begins; that of `count` is when the last one ends.
    pub fn at(&self, bar: i64) -> Timestamp {
        Timestamp((self.from + bar * self.width) * MINUTE)
    }
}

impl Store {
    /// The minute of the oldest run there is, of that deployment or of any.
    pub fn first_minute(&self, deployment: Option<&str>) -> Result<Option<Timestamp>> {
        self.read(|conn| {
            let mut first: Option<i64> = None;
            for row in rows_of(conn, deployment)? {
                let found: Option<i64> = conn
                    .prepare_cached(
                        "SELECT minute FROM minutes WHERE deployment = ?1 ORDER BY minute LIMIT 1",
                    )?
                    .query_row([row], |row| row.get(0))
                    .optional()?;
                first = match (first, found) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
            Ok(first.map(|minute| Timestamp(minute * MINUTE)))
        })
    }

    /// What each bar sums up to, of that deployment or of all.
    pub fn histogram(&self, deployment: Option<&str>, bars: Bars) -> Result<Vec<Tally>> {
        self.read(|conn| {
            // Of one moment, so that no run is in two bars' sums or in none's.
            let moment = conn.unchecked_transaction()?;
            let end = bars.from + bars.count * bars.width;
            let mut statement = moment.prepare_cached(
                "SELECT (minute - ?2) / ?4, sum(accepted), sum(completed), sum(failed), sum(cancelled)
                 FROM minutes WHERE deployment = ?1 AND minute >= ?2 AND minute < ?3 GROUP BY 1",
            )?;
            let mut sums = vec![Tally::default(); usize::try_from(bars.count).unwrap_or(0)];
            for row in rows_of(&moment, deployment)? {
                let mut found = statement.query((row, bars.from, end, bars.width))?;
                while let Some(row) = found.next()? {
                    if let Some(sum) = sums.get_mut(row.get::<_, usize>(0)?) {
                        *sum = sum.with(tally(row, 1)?);
                    }
                }
            }
            Ok(sums)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Connection {
        let conn = Connection::open_in_memory().expect("memory");
        conn.execute_batch(crate::store::upgrade::SCHEMA)
            .expect("the schema is sound");
        conn
    }

    #[test]
    fn bars_are_whole_minutes_wide_and_no_more_than_asked_for() {
        let bars = |from, to, most| Bars::new(Timestamp(from), Timestamp(to), most);
        let is = |from, width, count| Bars { from, width, count };
        assert_eq!(bars(0, 60 * MINUTE, 60), is(0, 1, 60));
        assert_eq!(bars(0, 60 * MINUTE + 1, 60), is(0, 2, 31));
        assert_eq!(bars(MINUTE - 1, MINUTE + 1, 60), is(0, 1, 2));
        assert_eq!(bars(5 * MINUTE, 5 * MINUTE, 60), is(5, 1, 1));
        assert_eq!(bars(-1, 1, 1), is(-1, 2, 1));
        assert_eq!(bars(0, 1_000 * MINUTE, 1), is(0, 1_000, 1));
        let all = bars(i64::MIN, i64::MAX, 500);
        assert!(all.count <= 500 && all.width > 0, "{all:?}");
    }

    #[test]
    fn what_is_added_and_taken_leaves_nothing() {
        let conn = file();
        let mut both = Minutes::default();
        both.note(7, 3, Tally::ACCEPTED);
        both.note(7, 3, Tally::ended(RunStatus::Failed));
        both.note(8, 3, Tally::ACCEPTED);
        both.note(8, 3, Tally::ended(RunStatus::Queued));
        both.add(&conn).expect("written");
        let of = |rows: &[i64]| {
            let sums = rows.iter().map(|row| sum(&conn, *row, 3, 4));
            sums.map(|sum| sum.expect("readable"))
                .fold(Tally::default(), Tally::with)
        };
        let failed = Tally::ACCEPTED.with(Tally::ended(RunStatus::Failed));
        assert_eq!((of(&[7]), of(&[8])), (failed, Tally::ACCEPTED));
        assert_eq!((of(&[0]), of(&[7, 8])), (of(&[7, 8]), of(&[0])));
        assert_eq!((of(&[0]).open(), of(&[0]).accepted), (1, 2));
        let mut gone = Minutes::default();
        gone.note(7, 3, Tally::removed(RunStatus::Failed));
        gone.note(8, 3, Tally::removed(RunStatus::Queued));
        gone.add(&conn).expect("written");
        let left: i64 = conn
            .query_row("SELECT count(*) FROM minutes", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(left, 0);
    }

    #[test]
    fn a_run_that_ends_and_goes_in_one_commit_leaves_nothing() {
        let conn = file();
        let mut minutes = Minutes::default();
        minutes.note(7, 3, Tally::ACCEPTED);
        minutes.add(&conn).expect("written");
        let mut both = Minutes::default();
        both.note(7, 3, Tally::ended(RunStatus::Completed));
        both.note(7, 3, Tally::removed(RunStatus::Completed));
        both.add(&conn).expect("written");
        let left: i64 = conn
            .query_row("SELECT count(*) FROM minutes", [], |row| row.get(0))
            .expect("readable");
        assert_eq!(left, 0);
    }
}
