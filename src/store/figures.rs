//! What the figures need of the file: what is counted when a state changes, and what a scrape looks up.
//!
//! A look reads sizes, headers and partial indexes only: with ten million runs in the file it takes as long as with none.

use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use crate::error::Result;
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::flow::workflow::{KindSpec, PURE_KINDS};
use crate::metrics::{Fact, Looked, Metrics};
use crate::store::Store;
use crate::store::open::beside;
use crate::time::Timestamp;

/// Of how many of a deployment's queued runs the first start is looked at: those in front may be woken ones.
const FRONT: i64 = 10;

/// How many origins of each sort a look at what is overdue goes through.
const ORIGINS: i64 = 1_000;

/// How many deliveries of one origin are counted at most.
pub const COUNTED: u64 = 1_000;

/// How many deliveries wait.
const PENDING: &str = "SELECT count(*) FROM deliveries WHERE status = 'pending'";

/// How many are in flight.
const DELIVERING: &str = "SELECT count(*) FROM deliveries WHERE status = 'delivering'";

/// The origins in front, with their deliveries that failed: those are due later than what was never tried.
const FAILING: &str = "SELECT o.origin, count(*), min(f.created_at)
    FROM (SELECT id, origin FROM origins WHERE ready_at IS NOT NULL ORDER BY ready_at LIMIT ?1) o
    JOIN deliveries f ON f.id IN (
    SELECT id FROM deliveries WHERE origin = o.id AND status = 'pending'
    ORDER BY next_attempt_at DESC LIMIT ?2)
    WHERE f.failures > 0 GROUP BY o.id";

/// When the oldest of the queued runs was accepted that were never started.
const OLDEST_QUEUED: &str = "SELECT min((SELECT min(created_at) FROM (
    SELECT created_at, started_at FROM runs
    WHERE deployment = d.id AND status = 'queued' AND ended_at IS NULL ORDER BY id LIMIT ?1)
    WHERE started_at IS NULL))
    FROM deployments d";

/// When the most overdue delivery became due: of the origins that are ready, and of those whose share is in flight.
const OLDEST_DUE: &str = "SELECT min((SELECT min(next_attempt_at) FROM deliveries
    WHERE origin = o.id AND status = 'pending' AND next_attempt_at <= ?1))
    FROM (SELECT id FROM (SELECT id FROM origins WHERE ready_at IS NOT NULL
    ORDER BY ready_at LIMIT ?2)
    UNION SELECT id FROM origins WHERE in_flight > 0) o";

/// The figures of a store that is being opened: what is owed is counted once, from the index of what is owed.
pub(super) fn metrics(conn: &Connection, kinds: &[KindSpec], now: Timestamp) -> Result<Metrics> {
    let leaving: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let metrics = Metrics::new(&PURE_KINDS, &leaving, now);
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get(0));
    metrics.pending.set(count(PENDING)?);
    metrics.delivering.set(count(DELIVERING)?);
    Ok(metrics)
}

/// What is to be counted when a run comes into a state. `times`: when it was accepted, and first started.
pub(super) fn of_run(to: RunStatus, times: (i64, Option<i64>), now: Timestamp) -> Option<Fact> {
    let (created, started) = (Timestamp(times.0), times.1.map(Timestamp));
    match (to, started) {
        (RunStatus::Running, None) => Some(Fact::Started {
            waited: now.since(created),
            at: now,
        }),
        (to, started) if to.is_final() => Some(Fact::Ended {
            status: to.as_str(),
            ran: started.map(|started| now.since(started)),
            at: now,
        }),
        _ => None,
    }
}

/// What is to be counted when a delivery changes its state. `owed`: since when, and whether it is sent again by hand,
/// when its age says nothing.
pub(super) fn of_delivery(
    from: DeliveryStatus,
    to: DeliveryStatus,
    owed: (i64, bool),
    now: Timestamp,
) -> Fact {
    let (created, is_manual) = owed;
    Fact::Moved {
        from: from.as_str(),
        to: to.as_str(),
        lag: (!is_manual).then(|| now.since(Timestamp(created))),
        at: now,
    }
}

/// An origin whose deliveries fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingOrigin {
    /// Scheme, host and port.
    pub origin: String,
    /// How many deliveries to it have failed and are due again; stops at [`COUNTED`].
    pub count: u64,
    /// Since when the oldest of them is owed.
    pub since: Timestamp,
}

impl Store {
    /// The figures, to count in and to read.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What only the file knows. What cannot be read is left out.
    pub fn look_around(&self, now: Timestamp) -> Looked {
        let size = |suffix: &str| {
            let path = beside(&self.path, suffix);
            fs::metadata(path).ok().map(|file| file.len())
        };
        let read = self.read(|conn| {
            let free: u64 = conn
                .prepare_cached("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")?
                .query_row([], |row| row.get(0))?;
            let queued: Option<i64> = conn
                .prepare_cached(OLDEST_QUEUED)?
                .query_row([FRONT], |row| row.get(0))?;
            let due: Option<i64> = conn
                .prepare_cached(OLDEST_DUE)?
                .query_row((now.0, ORIGINS), |row| row.get(0))?;
            Ok((free, queued, due))
        });
        let read = read
            .inspect_err(|fault| log::warn!("the figures of the file cannot be read: {fault}"))
            .ok();
        let age = |at: Option<i64>| at.map_or(Duration::ZERO, |at| now.since(Timestamp(at)));
        let disk = rustix::fs::statvfs(&self.path).ok();
        Looked {
            file_bytes: size(""),
            free_bytes: read.map(|(free, _, _)| free),
            wal_bytes: size("-wal"),
            wal_resets: Some(self.wal_resets()),
            disk_free: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            oldest_queued: read.map(|(_, queued, _)| age(queued)),
            oldest_due: read.map(|(_, _, due)| age(due)),
            writer_queue: Some(self.channel.waiting() as u64),
        }
    }

    /// The checkpoint sequence number in the log's header: SQLite counts it up when the log begins anew. A log that was
    /// just emptied has no header.
    fn wal_resets(&self) -> u64 {
        let mut header = [0; 16];
        let read = File::open(beside(&self.path, "-wal"))
            .and_then(|mut file| file.read_exact(&mut header));
        let [.., a, b, c, d] = header;
        let seen = read.map_or(0, |()| u64::from(u32::from_be_bytes([a, b, c, d])));
        self.metrics.wal_resets(seen)
    }

    /// The origins with the most deliveries that failed and are due again, at most `limit`.
    pub fn failing_origins(&self, limit: usize) -> Result<Vec<FailingOrigin>> {
        let mut failing = self.read(|conn| {
            let mut statement = conn.prepare_cached(FAILING)?;
            let rows = statement.query_map((ORIGINS / 10, COUNTED), |row| {
                Ok(FailingOrigin {
                    origin: row.get(0)?,
                    count: row.get(1)?,
                    since: Timestamp(row.get(2)?),
                })
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        failing.sort_by(|one, other| {
            other
                .count
                .cmp(&one.count)
                .then(one.since.cmp(&other.since))
        });
        failing.truncate(limit);
        Ok(failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    #[test]
    fn a_look_never_goes_through_all_runs_or_deliveries() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let conn =
            open::connection(&folder.path().join("skep.db"), Timestamp(0)).expect("a new file");
        for sql in [PENDING, DELIVERING, FAILING, OLDEST_QUEUED, OLDEST_DUE] {
            let mut plan = conn
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .expect("the statement is sound");
            // The plan does not depend on what is bound.
            let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps: Vec<String> = plan
                .query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))
                .expect("it can be explained")
                .collect::<Result<_, _>>()
                .expect("it can be read");
            for step in &steps {
                let whole = ["SCAN runs", "SCAN deliveries", "SCAN f"];
                let is_whole = whole.iter().any(|table| step.starts_with(table));
                let by_open = ["deliveries_due", "deliveries_sending"];
                assert!(
                    !is_whole || by_open.iter().any(|index| step.ends_with(index)),
                    "{step} in {steps:?} of {sql}"
                );
            }
        }
    }

    #[test]
    fn a_run_is_counted_when_it_is_first_started_and_when_it_ends() {
        let now = Timestamp(10_000);
        let told = |to, started| format!("{:?}", of_run(to, (1_000, started), now));
        assert!(told(RunStatus::Running, None).contains("waited: 9s"));
        assert_eq!(
            told(RunStatus::Running, Some(2_000)),
            "None",
            "woken, or taken again"
        );
        assert_eq!(told(RunStatus::Queued, Some(2_000)), "None");
        assert!(told(RunStatus::Failed, Some(2_000)).contains("ran: Some(8s)"));
        assert!(told(RunStatus::Cancelled, None).contains("ran: None"));
    }

    #[test]
    fn the_age_of_what_is_sent_again_by_hand_says_nothing() {
        use DeliveryStatus::{Delivered, Delivering};
        let now = Timestamp(10_000);
        let lag = |is_manual| match of_delivery(Delivering, Delivered, (4_000, is_manual), now) {
            Fact::Moved { lag, .. } => lag,
            other => panic!("{other:?}"),
        };
        assert_eq!(lag(false), Some(Duration::from_secs(6)));
        assert_eq!(lag(true), None);
    }
}
