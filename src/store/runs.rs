//! Runs as callers see them: started, shown, listed, cancelled.

use rusqlite::{OptionalExtension, Row, named_params};
use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::flow::run::{Ending, Event, RunStatus};
use crate::id::Id;
use crate::metrics::Fact;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::page::{Page, Paged, weight, weight_of};
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// A run to be started.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub run_id: Id,
    /// The deployment's row.
    pub deployment: i64,
    /// The version's row.
    pub version: i64,
    /// `api`, `webhook`, `schedule`, `dashboard`, `workflow`.
    pub source: &'static str,
    /// Where the result goes; `None`: to whoever waits for the answer.
    pub callback_url: Option<String>,
    /// The key that started it.
    pub api_key: Option<i64>,
    /// The caller's name for its user.
    pub user: Option<String>,
    /// The caller's labels.
    pub metadata: Map<String, Value>,
    /// Checked, with defaults filled in.
    pub inputs: Map<String, Value>,
    /// So that the same request starts one run only.
    pub idempotency: Option<Idempotency>,
    /// Whether someone waits for its end: then it must find a free slot, and is never queued behind others.
    pub waits: bool,
}

/// What an `Idempotency-Key` stands for.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// `key:ID` or `deployment:ID`.
    pub scope: String,
    /// The header's value.
    pub key: String,
    /// SHA-256 of what was asked.
    pub digest: [u8; 32],
}

/// What became of a run to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is on disk: `Running` if a slot was free in that commit, else `Queued`.
    New(RunStatus),
    /// The key was used before: that run, with the status of the first answer.
    Replayed(Id, RunStatus),
}

/// A run as it stands in the file.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct RunRow {
    pub id: i64,
    pub run_id: Id,
    pub deployment_id: i64,
    pub deployment: String,
    pub variant: String,
    pub version: i64,
    pub version_id: i64,
    pub status: RunStatus,
    pub source: String,
    pub delivery: String,
    pub callback_url: Option<String>,
    pub api_key: Option<i64>,
    pub user: Option<String>,
    pub metadata: Map<String, Value>,
    pub inputs: Map<String, Value>,
    pub output: Option<Value>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub error_step: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
}

/// Which runs a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// In one of these states.
    pub status: Vec<RunStatus>,
    /// From one of these sources.
    pub source: Vec<String>,
    /// `direct` or `callback`.
    pub delivery: Option<String>,
    /// Of the deployment of that name.
    pub deployment: Option<String>,
    /// Of the variant of that name.
    pub variant: Option<String>,
    /// Started by one of these keys.
    pub api_key: Vec<i64>,
    /// For that user.
    pub user: Option<String>,
    /// With these labels; `None`: whatever the value.
    pub metadata: Vec<(String, Option<String>)>,
    /// Accepted then or later.
    pub from: Option<Timestamp>,
    /// Accepted before.
    pub to: Option<Timestamp>,
    /// That run alone, if it fits the rest.
    pub run_id: Option<Id>,
}

/// How many rows a page of a list looks at: a filter that matches little gives short pages, not long waits.
const SCAN: i64 = 20_000;

pub(super) const SELECT_RUN: &str = "
    SELECT r.*, d.name AS deployment_name, v.number AS version_number, va.name AS variant_name
    FROM runs r
    JOIN deployments d ON d.id = r.deployment
    JOIN versions v ON v.id = r.version
    JOIN variants va ON va.id = v.variant";

pub(super) fn object(text: Option<String>) -> Map<String, Value> {
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

pub(super) fn json_column(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(name)?;
    Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

pub(super) fn time_column(row: &Row<'_>, name: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(name)?.map(Timestamp))
}

pub(super) fn status_column(row: &Row<'_>, name: &str) -> rusqlite::Result<RunStatus> {
    let word: String = row.get(name)?;
    RunStatus::parse(&word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("{name} = {word}")))
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: row.get("id")?,
        run_id: Id(row.get("run_id")?),
        deployment_id: row.get("deployment")?,
        deployment: row.get("deployment_name")?,
        variant: row.get("variant_name")?,
        version: row.get("version_number")?,
        version_id: row.get("version")?,
        status: status_column(row, "status")?,
        source: row.get("source")?,
        delivery: row.get("delivery")?,
        callback_url: row.get("callback_url")?,
        api_key: row.get("api_key")?,
        user: row.get("user")?,
        metadata: object(row.get("metadata")?),
        inputs: object(row.get("inputs")?),
        output: json_column(row, "output")?,
        error: row.get("error")?,
        error_code: row.get("error_code")?,
        error_step: row.get("error_step")?,
        created_at: Timestamp(row.get("created_at")?),
        started_at: time_column(row, "started_at")?,
        ended_at: time_column(row, "ended_at")?,
        wake_at: time_column(row, "wake_at")?,
    })
}

impl Tx<'_> {
    pub(super) fn run_row(&self, id: i64) -> Result<RunRow> {
        Ok(self
            .sql(&format!("{SELECT_RUN} WHERE r.id = ?1"))?
            .query_row([id], run)?)
    }

    /// Whether a new run has a place: in the queue, and, if someone waits for it, in a worker's hands.
    fn admit(&self, new: &NewRun) -> Result<RunStatus> {
        let total = self.counts.total();
        let busy = total.queued + total.running;
        let workers = self.limits.workers as u64;
        if !new.waits {
            if total.queued >= self.limits.max_queued {
                let mut error = Error::new(
                    Code::TooManyRequests,
                    format!(
                        "the queue is full (max_queued is {})",
                        self.limits.max_queued
                    ),
                );
                error.retry_after = Some(1);
                return Err(error);
            }
            return Ok(if busy < workers {
                RunStatus::Running
            } else {
                RunStatus::Queued
            });
        }
        let share = self.limits.share();
        let held: u64 = self
            .counts
            .deployments()
            .map(|(id, open)| {
                let held = open.queued + open.running;
                if id == new.deployment {
                    held
                } else {
                    held.min(share)
                }
            })
            .sum();
        if held >= workers {
            let mut error = Error::of(Code::ConcurrencyLimitReached);
            error.retry_after = Some(1);
            return Err(error);
        }
        Ok(RunStatus::Running)
    }

    fn replay(&self, asked: &Idempotency) -> Result<Option<Inserted>> {
        let found: Option<(Id, [u8; 32], RunStatus)> = self
            .sql("SELECT run_id, digest, status FROM idempotency WHERE scope = ?1 AND key = ?2")?
            .query_row((&asked.scope, &asked.key), |row| {
                Ok((Id(row.get(0)?), row.get(1)?, status_column(row, "status")?))
            })
            .optional()?;
        match found {
            None => Ok(None),
            Some((run_id, digest, status)) if digest == asked.digest => {
                Ok(Some(Inserted::Replayed(run_id, status)))
            }
            Some(_) => Err(Error::of(Code::IdempotencyKeyReused)),
        }
    }

    fn insert_run(&mut self, new: &NewRun, now: Timestamp) -> Result<Inserted> {
        if let Some(asked) = &new.idempotency
            && let Some(replayed) = self.replay(asked)?
        {
            return Ok(replayed);
        }
        let answered = self.admit(new)?;
        let inserted = self
            .sql(
                "INSERT INTO runs (run_id, deployment, version, status, source, delivery, callback_url, api_key,
                                   user, metadata, inputs, created_at)
                 SELECT :run_id, :deployment, :version, 'queued', :source, :delivery, :callback_url, :api_key,
                        :user, :metadata, :inputs, :now
                 FROM deployments WHERE id = :deployment AND deleted_at IS NULL
                     AND EXISTS (SELECT 1 FROM versions v JOIN variants va ON va.id = v.variant
                                 WHERE v.id = :version AND va.deleted_at IS NULL)",
            )?
            .execute(named_params! {
                ":run_id": new.run_id.0,
                ":deployment": new.deployment,
                ":version": new.version,
                ":source": new.source,
                ":delivery": if new.callback_url.is_some() { "callback" } else { "direct" },
                ":callback_url": new.callback_url,
                ":api_key": new.api_key,
                ":user": new.user,
                ":metadata": (!new.metadata.is_empty()).then(|| json!(new.metadata).to_string()),
                ":inputs": json!(new.inputs).to_string(),
                ":now": now.0,
            })?;
        if inserted == 0 {
            return Err(Error::not_found(
                "the deployment or variant was just deleted",
            ));
        }
        if let Some(asked) = &new.idempotency {
            self.sql(
                "INSERT INTO idempotency (scope, key, digest, run_id, status, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                &asked.scope,
                &asked.key,
                asked.digest,
                new.run_id.0,
                answered.as_str(),
                now.0,
            ))?;
        }
        self.counts.enter(new.deployment, RunStatus::Queued);
        let source = new.source;
        self.after(Effect::Count(Fact::Accepted { source, at: now }));
        self.after(Effect::Run(new.run_id, RunStatus::Queued));
        Ok(Inserted::New(answered))
    }

    /// Cancels an open run. A final one stays as it is.
    pub(super) fn cancel(&mut self, row: &RunRow, reason: &str, now: Timestamp) -> Result<bool> {
        let ending = Ending::Cancelled {
            reason: reason.to_owned(),
        };
        let changed = self
            .apply(row.id, &Event::Cancelled, Some(&ending), now)?
            .is_ok();
        if changed {
            self.after(Effect::StopStep(row.id));
        }
        Ok(changed)
    }
}

impl Store {
    /// Starts a run: it is on disk when this returns.
    ///
    /// # Errors
    /// `concurrency_limit_reached`, `too_many_requests`, `idempotency_key_reused`, `not_found`, `unavailable`.
    pub fn insert_run(&self, new: NewRun, now: Timestamp) -> Result<Inserted> {
        self.write(move |tx| tx.insert_run(&new, now))
    }

    /// Cancels a run, whatever it is doing: it is `cancelled` in this commit. A final one is returned unchanged.
    /// `None`: no such run.
    pub fn cancel_run(
        &self,
        run_id: Id,
        reason: String,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<RunRow>> {
        self.write(move |tx| {
            let Some(id) = tx.run_number(run_id)? else {
                return Ok(None);
            };
            let row = tx.run_row(id)?;
            if tx.cancel(&row, &reason, now)? {
                tx.audit(
                    &actor,
                    "run.cancel",
                    &run_id.request_id(),
                    &json!({"reason": reason}),
                    now,
                )?;
            }
            tx.run_row(id).map(Some)
        })
    }

    /// One run. `None`: no such run.
    pub fn run(&self, run_id: Id) -> Result<Option<RunRow>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached(&format!("{SELECT_RUN} WHERE r.run_id = ?1"))?
                .query_row([run_id.0], run)
                .optional()?)
        })
    }

    /// How many runs are queued, running and parked.
    pub fn open_runs(&self) -> Result<(u64, u64, u64)> {
        self.write(|tx| {
            let total = tx.counts.total();
            Ok((total.queued, total.running, total.parked))
        })
    }

    /// Runs, newest first. A page may be short and still have a next one.
    pub fn list_runs(&self, filter: &RunFilter, page: Page) -> Result<Paged<RunRow>> {
        self.read(|conn| {
            let (sql, values) = conditions(filter);
            if let Some(run_id) = filter.run_id {
                let mut all: Vec<rusqlite::types::Value> =
                    vec![run_id.0.to_vec().into(), page.below().into()];
                all.extend(values);
                let found = conn
                    .prepare_cached(&format!(
                        "{SELECT_RUN} WHERE r.run_id = ? AND r.id < ?{sql}"
                    ))?
                    .query_row(rusqlite::params_from_iter(all), run)
                    .optional()?;
                return Ok(Paged {
                    rows: found.into_iter().collect(),
                    next: None,
                });
            }
            // Run ids sort by time, so their index finds where a span of time begins and ends.
            let at = |time: Timestamp, slack: i64| -> rusqlite::Result<Option<i64>> {
                let mut bound = [0; 16];
                bound[..6].copy_from_slice(&(time.0 + slack).max(0).to_be_bytes()[2..]);
                conn.prepare_cached(
                    "SELECT id FROM runs WHERE run_id >= ?1 ORDER BY run_id LIMIT 1",
                )?
                .query_row([bound], |row| row.get(0))
                .optional()
            };
            let mut below = page.below();
            if let Some(to) = filter.to
                && let Some(id) = at(to, 60_000)?
            {
                below = below.min(id);
            }
            let lowest = match filter.from {
                Some(from) => at(from, -60_000)?.unwrap_or(i64::MAX),
                None => conn.query_row("SELECT coalesce(min(id), 0) FROM runs", [], |row| {
                    row.get(0)
                })?,
            };
            let newest: i64 =
                conn.query_row("SELECT coalesce(max(id), 0) FROM runs", [], |row| {
                    row.get(0)
                })?;
            let floor = (below.min(newest + 1).saturating_sub(SCAN)).max(lowest);
            let mut statement = conn.prepare_cached(&format!(
                "{SELECT_RUN} WHERE r.id < ? AND r.id >= ?{sql} ORDER BY r.id DESC LIMIT ?"
            ))?;
            let mut all: Vec<rusqlite::types::Value> = vec![below.into(), floor.into()];
            all.extend(values);
            all.push((page.limit as i64 + 1).into());
            let rows = statement.query(rusqlite::params_from_iter(all))?;
            // The output is shown under two names.
            let shown = |row: &Row<'_>| weight(row) + weight_of(row, "output");
            let mut page = Paged::gather(rows, page.limit, run, shown, |row| row.id)?;
            if page.next.is_none() && floor > lowest {
                page.next = Some(floor);
            }
            Ok(page)
        })
    }
}

/// The filter as conditions, each beginning with AND, and their values in order.
fn conditions(filter: &RunFilter) -> (String, Vec<rusqlite::types::Value>) {
    let mut sql = String::new();
    let mut values: Vec<rusqlite::types::Value> = Vec::new();
    let mut any_of = |column: &str, list: Vec<rusqlite::types::Value>| {
        if !list.is_empty() {
            sql.push_str(&format!(
                " AND {column} IN ({})",
                vec!["?"; list.len()].join(", ")
            ));
            values.extend(list);
        }
    };
    let texts = |list: &[String]| {
        list.iter()
            .map(|text| text.clone().into())
            .collect::<Vec<_>>()
    };
    let text = |one: &Option<String>| {
        one.iter()
            .map(|text| text.clone().into())
            .collect::<Vec<_>>()
    };
    any_of(
        "r.status",
        filter
            .status
            .iter()
            .map(|status| status.as_str().to_owned().into())
            .collect(),
    );
    any_of("r.source", texts(&filter.source));
    any_of("r.delivery", text(&filter.delivery));
    any_of("d.name", text(&filter.deployment));
    any_of("va.name", text(&filter.variant));
    any_of(
        "r.api_key",
        filter.api_key.iter().map(|id| (*id).into()).collect(),
    );
    any_of("r.user", text(&filter.user));
    for (key, value) in &filter.metadata {
        // The key is a parameter of a path, so that no character of it means anything.
        sql.push_str(" AND EXISTS (SELECT 1 FROM json_each(r.metadata) label WHERE label.key = ?");
        values.push(key.clone().into());
        if let Some(value) = value {
            sql.push_str(
                " AND CASE label.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'
                  WHEN 'null' THEN 'null' ELSE CAST(label.value AS TEXT) END = ?",
            );
            values.push(value.clone().into());
        }
        sql.push(')');
    }
    for (comparison, time) in [
        ("r.created_at >= ?", filter.from),
        ("r.created_at < ?", filter.to),
    ] {
        if let Some(time) = time {
            sql.push_str(&format!(" AND {comparison}"));
            values.push(time.0.into());
        }
    }
    (sql, values)
}
