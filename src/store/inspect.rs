//! What the file and the memory of an inline store say, side by side, for tests that hold one against the other.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use crate::bell::locked;
use crate::flow::approval::ApprovalStatus;
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::counts::{Counts, Open};
use crate::store::minutes::{Tally, minute_of};
use crate::time::Timestamp;

/// All that matters of a file, between two commits.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By row.
    pub runs: BTreeMap<i64, RunState>,
    /// By run's row and path.
    pub steps: BTreeMap<(i64, String), StepState>,
    /// By row.
    pub deliveries: BTreeMap<i64, DeliveryState>,
    /// By row.
    pub approvals: BTreeMap<i64, ApprovalState>,
    /// The origins that did not answer last, by row.
    pub silent_origins: Vec<i64>,
    /// What each origin's row counts as in flight.
    pub in_flight: Vec<(i64, usize)>,
    /// By row.
    pub deployments: BTreeMap<i64, DeploymentState>,
    /// The keys that still answer for a run.
    pub remembered: Vec<Id>,
    /// Open runs by deployment, as counted in memory.
    pub counted: BTreeMap<i64, Open>,
    /// And of all.
    pub total: Open,
    /// By deployment (0: all) and minute, what the file says of the runs that were accepted then.
    pub minutes: BTreeMap<(i64, i64), Tally>,
    /// The runs that are in a worker's hands, by row.
    pub in_hand: Vec<i64>,
}

impl Snapshot {
    /// The runs of a minute are those that its row says: what is wrong, if something is.
    pub fn minutes_off(&self) -> Option<String> {
        let mut found: BTreeMap<(i64, i64), Tally> = BTreeMap::new();
        for run in self.runs.values() {
            let tally = Tally::ACCEPTED.with(Tally::ended(run.status));
            for deployment in [0, run.deployment] {
                let key = (deployment, minute_of(run.run_id));
                let sum = found.entry(key).or_default();
                *sum = sum.with(tally);
            }
        }
        let said = &self.minutes;
        (found != *said).then(|| format!("minutes say {said:?}, the file holds {found:?}"))
    }
}

/// A run's row.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub run_id: Id,
    pub deployment: i64,
    pub status: RunStatus,
    pub is_direct: bool,
    pub token: Option<i64>,
    pub expires_at: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Output, error, code and step, as one text.
    pub ending: String,
}

/// A step's row.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    pub status: StepStatus,
    pub failures: u32,
    /// How many tries are listed.
    pub tries: u32,
    pub output: Option<String>,
    pub due_at: Option<Timestamp>,
}

/// A delivery's row, and what its attempts come to.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryState {
    pub delivery_id: Id,
    pub run: i64,
    /// What a notification is about.
    pub approval: Option<i64>,
    pub event_id: String,
    pub event_type: String,
    pub origin: i64,
    pub status: DeliveryStatus,
    pub failures: u32,
    pub token: Option<i64>,
    pub next_attempt_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Attempts in flight.
    pub open: u32,
    /// Attempts that were interrupted.
    pub interrupted: u32,
    /// Attempts that came to something else than 2xx.
    pub failed: u32,
    /// Attempts that were answered 2xx.
    pub accepted: u32,
}

/// A question's row, and what hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalState {
    pub approval_id: Id,
    pub run: i64,
    pub path: String,
    pub status: ApprovalStatus,
    pub expires_at: Timestamp,
    /// When its `expire` timers are due.
    pub ends: Option<String>,
    /// How many timers there are in all.
    pub timers: u32,
    pub answers: u32,
    pub output: Option<String>,
}

/// A deployment's row.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentState {
    pub limit: Option<u64>,
}

/// What a number of changes brought. A snapshot is needed only when it has moved.
pub fn changes(store: &Store) -> u64 {
    let counted = store.channel.look(|conn, _| conn.total_changes());
    counted.expect("an inline store")
}

/// Reads it all; of runs, their steps and deliveries, only those of one run, if it is named.
pub fn snapshot(store: &Store, of: Option<Id>) -> Snapshot {
    let read = |conn: &Connection, counts: &Counts| -> rusqlite::Result<Snapshot> {
        // No row is below the first.
        let row = match of {
            Some(run) => list(
                conn,
                "SELECT id FROM runs WHERE run_id = ?1",
                [run.0],
                |row| row.get(0),
            )?
            .first()
            .copied()
            .or(Some(0)),
            None => None,
        };
        Ok(Snapshot {
            runs: runs(conn, row)?,
            steps: steps(conn, row)?,
            deliveries: deliveries(conn, row)?,
            approvals: approvals(conn, row)?,
            silent_origins: list(
                conn,
                "SELECT id FROM origins WHERE health <> 'answered'",
                [],
                |row| row.get(0),
            )?,
            in_flight: list(conn, "SELECT id, in_flight FROM origins", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?,
            deployments: deployments(conn)?,
            remembered: list(conn, "SELECT run_id FROM idempotency", [], |row| {
                Ok(Id(row.get(0)?))
            })?,
            counted: counts.deployments().collect(),
            total: counts.total(),
            minutes: minutes(conn)?,
            in_hand: Vec::new(),
        })
    };
    let snapshot = store.channel.look(read).expect("an inline store");
    Snapshot {
        in_hand: locked(&store.stops).keys().copied().collect(),
        ..snapshot.expect("the file is readable")
    }
}

/// Whether SQLite finds the file sound, and what is wrong with it.
pub fn unsound(store: &Store) -> Option<String> {
    let check = |conn: &Connection, _: &Counts| -> rusqlite::Result<String> {
        conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    };
    let found = store.channel.look(check).expect("an inline store");
    Some(found.expect("the file is readable")).filter(|found| found != "ok")
}

/// How many runs each key from that row on started that repeat others, and how many others.
pub fn repeated(store: &Store, from: i64) -> BTreeMap<i64, (u64, u64)> {
    let read = |conn: &Connection, _: &Counts| -> rusqlite::Result<BTreeMap<i64, (u64, u64)>> {
        conn.prepare_cached(
            "SELECT api_key, count(*), count(DISTINCT retry_of) FROM runs
             WHERE api_key >= ?1 GROUP BY api_key",
        )?
        .query_map([from], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?
        .collect()
    };
    let found = store.channel.look(read).expect("an inline store");
    found.expect("the file is readable")
}

/// The steps that runs have taken over.
pub fn taken_over(store: &Store) -> Vec<(Id, String)> {
    let read = |conn: &Connection, _: &Counts| -> rusqlite::Result<Vec<(Id, String)>> {
        conn.prepare_cached(
            "SELECT r.run_id, s.path FROM steps s JOIN runs r ON r.id = s.run WHERE s.reused = 1",
        )?
        .query_map([], |row| Ok((Id(row.get(0)?), row.get(1)?)))?
        .collect()
    };
    let found = store.channel.look(read).expect("an inline store");
    found.expect("the file is readable")
}

/// The tries of a step as the file lists them: the class of each, `None` for one that has not failed.
pub fn tries(store: &Store, run: i64, path: &str) -> Vec<Option<String>> {
    let read = |conn: &Connection, _: &Counts| -> rusqlite::Result<Vec<Option<String>>> {
        conn.prepare_cached(
            "SELECT json_extract(tried.value, '$.error_class') FROM steps, json_each(coalesce(steps.attempts, '[]')) tried
             WHERE steps.run = ?1 AND steps.path = ?2",
        )?
        .query_map((run, path), |row| row.get(0))?
        .collect()
    };
    let found = store.channel.look(read).expect("an inline store");
    found.expect("the file is readable")
}

/// One recorded attempt: its number, the status that came back, the class of its error.
pub type Heard = (u32, Option<u16>, Option<String>);

/// What is on record of a delivery's attempts that are over.
pub fn attempts(store: &Store, delivery: i64) -> Vec<Heard> {
    let read = |conn: &Connection, _: &Counts| -> rusqlite::Result<Vec<Heard>> {
        conn.prepare_cached(
            "SELECT number, response_status, error_class FROM attempts
             WHERE delivery = ?1 AND duration_ms IS NOT NULL ORDER BY number",
        )?
        .query_map([delivery], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect()
    };
    let found = store.channel.look(read).expect("an inline store");
    found.expect("the file is readable")
}

fn list<T>(
    conn: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(sql)?
        .query_map(values, |row| read(row))?
        .collect()
}

/// What is read of one run or of all: two statements, so that SQLite uses its index for the one.
fn some<T>(
    conn: &Connection,
    [all, one]: [&str; 2],
    of: Option<i64>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    match of {
        Some(run) => list(conn, one, [run], read),
        None => list(conn, all, [], read),
    }
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp))
}

fn word(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    row.get(index)
}

macro_rules! of_all_and_one {
    ($select:literal, $filter:literal) => {
        [$select, concat!($select, " ", $filter)]
    };
}

const RUNS: [&str; 2] = of_all_and_one!(
    "SELECT id, run_id, deployment, status, callback_url IS NULL, claim_token, claim_expires_at, wake_at, ended_at,
            coalesce(output, '') || coalesce(error, '') || coalesce(error_code, '') || coalesce(error_step, '')
     FROM runs",
    "WHERE id = ?1"
);

fn runs(conn: &Connection, of: Option<i64>) -> rusqlite::Result<BTreeMap<i64, RunState>> {
    let rows = some(conn, RUNS, of, |row| {
        let state = RunState {
            run_id: Id(row.get(1)?),
            deployment: row.get(2)?,
            status: RunStatus::parse(&word(row, 3)?).expect("the CHECK knows the word"),
            is_direct: row.get(4)?,
            token: row.get(5)?,
            expires_at: time(row, 6)?,
            wake_at: time(row, 7)?,
            ended_at: time(row, 8)?,
            ending: row.get(9)?,
        };
        Ok((row.get(0)?, state))
    })?;
    Ok(rows.into_iter().collect())
}

const STEPS: [&str; 2] = of_all_and_one!(
    "SELECT run, path, status, failures, coalesce(json_array_length(attempts), 0) + (tried_at IS NOT NULL), output, due_at FROM steps",
    "WHERE run = ?1"
);

fn steps(
    conn: &Connection,
    of: Option<i64>,
) -> rusqlite::Result<BTreeMap<(i64, String), StepState>> {
    let rows = some(conn, STEPS, of, |row| {
        let state = StepState {
            status: StepStatus::parse(&word(row, 2)?).expect("the CHECK knows the word"),
            failures: row.get(3)?,
            tries: row.get(4)?,
            output: row.get(5)?,
            due_at: time(row, 6)?,
        };
        Ok(((row.get(0)?, row.get(1)?), state))
    })?;
    Ok(rows.into_iter().collect())
}

const DELIVERIES: [&str; 2] = of_all_and_one!(
    "SELECT d.id, d.delivery_id, d.run, d.event_id, d.event_type, d.origin, d.status, d.failures, d.claim_token,
            d.next_attempt_at, d.ended_at,
            (SELECT count(*) FROM attempts a WHERE a.delivery = d.id AND a.duration_ms IS NULL),
            (SELECT count(*) FROM attempts a WHERE a.delivery = d.id AND a.error_class IS 'interrupted'),
            (SELECT count(*) FROM attempts a WHERE a.delivery = d.id AND a.duration_ms IS NOT NULL
                AND a.error_class IS NOT NULL AND a.error_class <> 'interrupted'),
            (SELECT count(*) FROM attempts a WHERE a.delivery = d.id AND a.duration_ms IS NOT NULL
                AND a.error_class IS NULL), d.approval
     FROM deliveries d",
    "WHERE d.run = ?1"
);

fn deliveries(
    conn: &Connection,
    of: Option<i64>,
) -> rusqlite::Result<BTreeMap<i64, DeliveryState>> {
    let rows = some(conn, DELIVERIES, of, |row| {
        let state = DeliveryState {
            delivery_id: Id(row.get(1)?),
            run: row.get(2)?,
            event_id: row.get(3)?,
            event_type: row.get(4)?,
            origin: row.get(5)?,
            status: DeliveryStatus::parse(&word(row, 6)?).expect("the CHECK knows the word"),
            failures: row.get(7)?,
            token: row.get(8)?,
            next_attempt_at: time(row, 9)?,
            ended_at: time(row, 10)?,
            open: row.get(11)?,
            interrupted: row.get(12)?,
            failed: row.get(13)?,
            accepted: row.get(14)?,
            approval: row.get(15)?,
        };
        Ok((row.get(0)?, state))
    })?;
    Ok(rows.into_iter().collect())
}

const APPROVALS: [&str; 2] = of_all_and_one!(
    "SELECT a.id, a.approval_id, a.run, a.path, a.status, a.expires_at,
            (SELECT group_concat(due_at) FROM approval_timers t WHERE t.approval = a.id AND t.what = 'expire'),
            (SELECT count(*) FROM approval_timers t WHERE t.approval = a.id),
            (SELECT count(*) FROM answers n WHERE n.approval = a.id), a.output
     FROM approvals a",
    "WHERE a.run = ?1"
);

fn approvals(conn: &Connection, of: Option<i64>) -> rusqlite::Result<BTreeMap<i64, ApprovalState>> {
    let rows = some(conn, APPROVALS, of, |row| {
        let state = ApprovalState {
            approval_id: Id(row.get(1)?),
            run: row.get(2)?,
            path: row.get(3)?,
            status: ApprovalStatus::parse(&word(row, 4)?).expect("the CHECK knows the word"),
            expires_at: Timestamp(row.get(5)?),
            ends: row.get(6)?,
            timers: row.get(7)?,
            answers: row.get(8)?,
            output: row.get(9)?,
        };
        Ok((row.get(0)?, state))
    })?;
    Ok(rows.into_iter().collect())
}

fn minutes(conn: &Connection) -> rusqlite::Result<BTreeMap<(i64, i64), Tally>> {
    let rows = list(conn, "SELECT * FROM minutes", [], |row| {
        let tally = Tally {
            accepted: row.get(2)?,
            completed: row.get(3)?,
            failed: row.get(4)?,
            cancelled: row.get(5)?,
        };
        Ok(((row.get(0)?, row.get(1)?), tally))
    })?;
    Ok(rows.into_iter().collect())
}

fn deployments(conn: &Connection) -> rusqlite::Result<BTreeMap<i64, DeploymentState>> {
    let rows = list(
        conn,
        "SELECT id, concurrency_limit FROM deployments",
        [],
        |row| {
            let state = DeploymentState { limit: row.get(1)? };
            Ok((row.get(0)?, state))
        },
    )?;
    Ok(rows.into_iter().collect())
}
