//! What a file holds, and whether that is what was promised.
//!
//! Reads rows, not the API: a promise that is kept on disk is what counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::house::{FINAL, text};
use crate::receiver::Arrival;
use crate::replay::load::{Promise, Recording, SLOW};

/// A run's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub deployment: String,
    pub status: String,
    pub is_callback: bool,
    pub inputs: Value,
    pub output: Value,
}

impl Run {
    /// Whether it is in a state that never changes.
    pub fn is_final(&self) -> bool {
        FINAL.contains(&self.status.as_str())
    }
}

/// A step's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub status: String,
    pub failures: u64,
    pub output: Value,
}

/// A delivery's row, and its attempts.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub status: String,
    pub event_id: String,
    pub body: String,
    pub attempts: usize,
    pub is_manual: bool,
}

/// What a file holds. Runs are named by the 32 digits that both their ids share.
#[derive(Debug, Default)]
pub struct Rows {
    pub runs: BTreeMap<String, Run>,
    pub steps: BTreeMap<(String, String), Step>,
    pub deliveries: BTreeMap<String, Vec<Delivery>>,
    idempotency: BTreeSet<String>,
    versions: BTreeMap<String, i64>,
    keys: BTreeSet<String>,
}

/// The digits that a run's ids share.
pub fn digits(id: &str) -> String {
    id.trim_start_matches("req_").replace('-', "")
}

fn json(text: Option<String>) -> Value {
    text.map_or(Value::Null, |text| {
        serde_json::from_str(&text).expect("a CHECK keeps it JSON")
    })
}

fn all<T>(
    file: &Connection,
    sql: &str,
    one: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    file.prepare(sql)?.query_map([], |row| one(row))?.collect()
}

impl Rows {
    /// Reads a file that must be sound. A missing one, or one that has no shape yet, holds nothing.
    pub fn read(path: &Path) -> Result<Rows, String> {
        if !path.exists() {
            return Ok(Rows::default());
        }
        Rows::open(path).map_err(|fault| format!("the file cannot be read: {fault}"))?
    }

    fn open(path: &Path) -> rusqlite::Result<Result<Rows, String>> {
        let file = Connection::open(path)?;
        // Only looking: the log stays where it is.
        file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        for check in ["PRAGMA integrity_check", "PRAGMA foreign_key_check"] {
            let found = all(&file, check, |row| row.get::<_, String>(0))?;
            if found.iter().any(|line| line != "ok") {
                return Ok(Err(format!("{check}: {found:?}")));
            }
        }
        let shaped = "SELECT count(*) FROM sqlite_schema WHERE name = 'runs'";
        if file.query_row(shaped, [], |row| row.get::<_, i64>(0))? == 0 {
            return Ok(Ok(Rows::default()));
        }
        let mut rows = Rows::default();
        rows.read_runs(&file)?;
        rows.read_others(&file)?;
        Ok(Ok(rows))
    }

    fn read_runs(&mut self, file: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT lower(hex(r.run_id)), d.name, r.status, r.delivery, r.inputs, r.output
                   FROM runs r JOIN deployments d ON d.id = r.deployment";
        let runs = all(file, sql, |row| {
            let run = Run {
                deployment: row.get(1)?,
                status: row.get(2)?,
                is_callback: row.get::<_, String>(3)? == "callback",
                inputs: json(row.get(4)?),
                output: json(row.get(5)?),
            };
            Ok((row.get(0)?, run))
        })?;
        self.runs = runs.into_iter().collect();
        let sql = "SELECT lower(hex(r.run_id)), s.path, s.status, s.failures, s.output
                   FROM steps s JOIN runs r ON r.id = s.run";
        let steps = all(file, sql, |row| {
            let step = Step {
                status: row.get(2)?,
                failures: row.get(3)?,
                output: json(row.get(4)?),
            };
            Ok(((row.get(0)?, row.get(1)?), step))
        })?;
        self.steps = steps.into_iter().collect();
        Ok(())
    }

    fn read_others(&mut self, file: &Connection) -> rusqlite::Result<()> {
        let sql = "SELECT lower(hex(r.run_id)), d.status, d.event_id, d.body,
                     (SELECT count(*) FROM attempts a WHERE a.delivery = d.id),
                     d.trigger = 'manual' OR EXISTS
                       (SELECT 1 FROM attempts a WHERE a.delivery = d.id AND a.trigger = 'manual')
                   FROM deliveries d JOIN runs r ON r.id = d.run";
        let deliveries = all(file, sql, |row| {
            let delivery = Delivery {
                status: row.get(1)?,
                event_id: row.get(2)?,
                body: row.get(3)?,
                attempts: row.get(4)?,
                is_manual: row.get(5)?,
            };
            Ok((row.get::<_, String>(0)?, delivery))
        })?;
        for (run, delivery) in deliveries {
            self.deliveries.entry(run).or_default().push(delivery);
        }
        let names = |sql: &str| all(file, sql, |row| row.get::<_, String>(0));
        self.idempotency = names("SELECT key FROM idempotency")?.into_iter().collect();
        self.keys = names("SELECT name FROM api_keys")?.into_iter().collect();
        let sql = "SELECT d.name, max(n.number) FROM versions n JOIN variants v ON v.id = n.variant
                   JOIN deployments d ON d.id = v.deployment GROUP BY d.id";
        let versions = all(file, sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.versions = versions.into_iter().collect();
        Ok(())
    }

    /// The only delivery of a run, if it has one.
    pub fn delivery(&self, run: &str) -> Option<&Delivery> {
        self.deliveries.get(run).and_then(|all| all.first())
    }

    fn completed(&self, run: &str, path: &str) -> Option<&Step> {
        let step = self.steps.get(&(run.to_owned(), path.to_owned()))?;
        (step.status == "completed").then_some(step)
    }

    /// Everything that had been promised, or shown to the world, before that time, and is not here.
    pub fn missing(&self, life: &Recording, until: u64) -> Vec<String> {
        let mut lost = Vec::new();
        for (_, promise) in life.promises.iter().filter(|(at, _)| *at <= until) {
            lost.extend(self.broken(promise));
        }
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        for (_, arrival) in life.arrivals.iter().filter(|(at, _)| *at <= until) {
            if arrival.route() == "/hook" {
                lost.extend(self.unlike_event(arrival));
                *calls.entry(event_run(arrival)).or_default() += 1;
            } else {
                lost.extend(self.unlike_call(arrival));
            }
        }
        for (run, calls) in calls {
            let attempts = self.delivery(&run).map_or(0, |delivery| delivery.attempts);
            if attempts < calls {
                lost.push(format!(
                    "run {run} was called back {calls} times, {attempts} are recorded"
                ));
            }
        }
        lost.extend(self.inconsistent());
        lost
    }

    fn broken(&self, promise: &Promise) -> Option<String> {
        let kept = match promise {
            Promise::Run { id, n, output } => {
                let keyed = !n.starts_with("call-") || !n.ends_with(['0', '2', '4', '6', '8']);
                self.runs.get(&digits(id)).is_some_and(|run| {
                    run.inputs["n"] == n.as_str()
                        && (keyed || self.idempotency.contains(n))
                        && output
                            .as_ref()
                            .is_none_or(|output| run.status == "completed" && run.output == *output)
                })
            }
            Promise::Cancelled(id) => self
                .runs
                .get(&digits(id))
                .is_some_and(|run| run.status == "cancelled"),
            Promise::Redelivered(id) => self
                .delivery(&digits(id))
                .is_some_and(|delivery| delivery.is_manual),
            Promise::Deployed(name, version) => {
                self.versions.get(name).is_some_and(|at| at >= version)
            }
            Promise::Key(name) => self.keys.contains(name),
        };
        (!kept).then(|| format!("answered, and not there: {promise:?}"))
    }

    /// A step's call proves that its run is recorded, and each step before it, and each failed attempt before it.
    fn unlike_call(&self, arrival: &Arrival) -> Option<String> {
        let (run, path, failures) = called(arrival);
        let kept = self.runs.contains_key(&run)
            && match path.as_str() {
                "b" => {
                    let failed = self
                        .steps
                        .get(&(run.clone(), path.clone()))
                        .map_or(0, |step| step.failures);
                    failed >= failures
                        && self
                            .completed(&run, "a")
                            .is_some_and(|a| a.output["number"] == arrival.json()["a"])
                }
                _ => true,
            };
        (!kept).then(|| format!("step {path} of run {run} was called ({failures} failures before): what led to it is not recorded"))
    }

    /// An event that was sent proves that the run's end is recorded, and what is owed.
    fn unlike_event(&self, arrival: &Arrival) -> Option<String> {
        let run = event_run(arrival);
        let is_final = self.runs.get(&run).is_some_and(Run::is_final);
        let same = self.delivery(&run).is_some_and(|delivery| {
            delivery.event_id == arrival.header("webhook-id")
                && delivery.body.as_bytes() == arrival.body
        });
        (!is_final || !same).then(|| format!("run {run} was called back: its end is not recorded"))
    }

    /// What must hold in every file: one delivery for each callback run that has ended, none for others.
    fn inconsistent(&self) -> Vec<String> {
        let owed = |run: &Run| usize::from(run.is_callback && run.is_final());
        self.runs
            .iter()
            .map(|(id, run)| (id, run, self.deliveries.get(id).map_or(0, Vec::len)))
            .filter(|(_, run, there)| *there != owed(run))
            .map(|(id, run, there)| {
                format!("run {id} is {} and has {there} deliveries", run.status)
            })
            .collect()
    }

    /// What is wrong with a file in which everything has come to its end, against what it was after the crash, and
    /// what the world outside saw in between.
    pub fn wrong_end(&self, before: &Rows, arrivals: &[Arrival]) -> Vec<String> {
        let mut wrong = self.inconsistent();
        if let Some(run) = self.runs.keys().find(|run| !before.runs.contains_key(*run)) {
            wrong.push(format!("run {run} was started by nobody"));
        }
        for (id, was) in &before.runs {
            let same = self.runs.get(id).is_some_and(|is| match was.is_final() {
                true => is == was,
                false if was.deployment == SLOW => is.status == "waiting" || is == was,
                false => is.status == "completed" && is.inputs == was.inputs,
            });
            if !same {
                let is = self.runs.get(id);
                wrong.push(format!("run {id} was {was:?} and is {is:?}"));
            }
            let status = before.delivery(id).map(|delivery| delivery.status.as_str());
            let is_sent = self.delivery(id).is_none_or(|delivery| {
                delivery.status == "delivered" || status == Some(delivery.status.as_str())
            });
            if !is_sent {
                wrong.push(format!(
                    "run {id} is not called back: {:?}",
                    self.delivery(id)
                ));
            }
        }
        for arrival in arrivals {
            wrong.extend(self.needless(before, arrival));
        }
        wrong
    }

    fn needless(&self, before: &Rows, arrival: &Arrival) -> Option<String> {
        if arrival.route() == "/hook" {
            let run = event_run(arrival);
            let was = before
                .delivery(&run)
                .map(|delivery| delivery.status.as_str());
            let is_again = was.is_some_and(|status| !matches!(status, "pending" | "delivering"));
            let other = self.unlike_event(arrival);
            return other.or_else(|| is_again.then(|| format!("run {run} was called back again")));
        }
        let (run, path, _) = called(arrival);
        let is_again = before.completed(&run, &path).is_some()
            || before.runs.get(&run).is_some_and(Run::is_final);
        let other = self.unlike_call(arrival);
        other.or_else(|| is_again.then(|| format!("step {path} of run {run} was executed again")))
    }
}

fn event_run(arrival: &Arrival) -> String {
    digits(&text(&arrival.json()["request_id"]))
}

/// The run, the step and how often it had failed before.
fn called(arrival: &Arrival) -> (String, String, u64) {
    let key = arrival.header("idempotency-key");
    let mut parts = key.split(':');
    let mut part = || parts.next().unwrap_or_default();
    let (run, path, failures) = (digits(part()), part().to_owned(), part().parse());
    (run, path, failures.expect("the key ends in a number"))
}
