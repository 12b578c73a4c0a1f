//! Runs as callers see them: started, shown, listed, cancelled.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, RowIndex, params};
use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::flow::run::{Change, Ending, Event, OpenSteps, RunStatus};
use crate::id::Id;
use crate::metrics::Fact;
use crate::store::Store;
use crate::store::ahead::Ahead;
use crate::store::audit::Actor;
use crate::store::changes::{self, What};
use crate::store::claims::{LEASE, Next};
use crate::store::facets::{Facet, pair};
use crate::store::figures;
use crate::store::retry::Retry;
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

impl NewRun {
    /// How its result goes back.
    fn delivery(&self) -> &'static str {
        match self.callback_url {
            Some(_) => "callback",
            None => "direct",
        }
    }
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

/// A run that no worker has yet.
const NEW: Change = Change {
    status: RunStatus::Queued,
    claim: None,
    wake_at: None,
    steps: OpenSteps::Keep,
};

/// What of a new run is stored as text: written out before the writer has to wait for it.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    metadata: Option<String>,
    inputs: String,
}

impl Texts {
    /// How many bytes that is.
    pub(super) fn len(&self) -> usize {
        self.inputs.len() + self.metadata.as_ref().map_or(0, String::len)
    }

    pub(super) fn of(new: &NewRun) -> Result<Texts> {
        let text = |map| serde_json::to_string(map).map_err(Error::internal);
        Ok(Texts {
            metadata: match new.metadata.is_empty() {
                true => None,
                false => Some(text(&new.metadata)?),
            },
            inputs: text(&new.inputs)?,
        })
    }
}

/// What became of a run to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is on disk: `Running` if a slot was free in that commit, else `Queued`.
    New(RunStatus),
    /// The key was used before: that run, with the status of the first answer.
    Replayed(Id, RunStatus),
}

/// Whether what may be long is read of a row, or only how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Inputs and outputs are read.
    Whole,
    /// Inputs are `{}`, outputs null.
    Sizes,
}

/// A run as it stands in the file. Its bytes are those of the inputs and the output as compact JSON; 0 of no output.
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
    pub api_key_id: Option<Id>,
    pub user: Option<String>,
    pub metadata: Map<String, Value>,
    pub inputs: Map<String, Value>,
    pub input_bytes: i64,
    pub output: Option<Value>,
    pub output_bytes: i64,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub error_step: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub retry_of: Option<Id>,
}

/// What is selected of a run: its row first, where looks by rows find it, then its values.
macro_rules! select_run {
    ($values:literal) => {
        concat!(
            "SELECT r.id, ",
            $values,
            ", octet_length(r.inputs) AS input_bytes, coalesce(octet_length(r.output), 0) AS output_bytes,
                 r.run_id, r.deployment, r.version, r.status, r.source, r.delivery, r.callback_url, r.api_key, k.key_id,
                 r.user, r.metadata, r.error, r.error_code, r.error_step, r.created_at, r.started_at, r.ended_at,
                 r.wake_at, r.retry_of, d.name AS deployment_name, v.number AS version_number, va.name AS variant_name
             FROM runs r
             JOIN deployments d ON d.id = r.deployment
             JOIN versions v ON v.id = r.version
             JOIN variants va ON va.id = v.variant
             LEFT JOIN api_keys k ON k.id = r.api_key"
        )
    };
}

pub(super) const SELECT_RUN: &str = select_run!("r.inputs, r.output");

impl Values {
    /// A run's row, to be read by [`run`]; conditions follow.
    pub(super) const fn select_run(self) -> &'static str {
        match self {
            Values::Whole => SELECT_RUN,
            Values::Sizes => select_run!("NULL AS inputs, NULL AS output"),
        }
    }
}

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

pub(super) fn run_status<I: RowIndex>(row: &Row<'_>, column: I) -> rusqlite::Result<RunStatus> {
    let word = row.get_ref(column)?.as_str()?;
    RunStatus::parse(word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("status = {word}")))
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
        status: run_status(row, "status")?,
        source: row.get("source")?,
        delivery: row.get("delivery")?,
        callback_url: row.get("callback_url")?,
        api_key: row.get("api_key")?,
        api_key_id: row.get::<_, Option<[u8; 16]>>("key_id")?.map(Id),
        user: row.get("user")?,
        metadata: object(row.get("metadata")?),
        inputs: object(row.get("inputs")?),
        input_bytes: row.get("input_bytes")?,
        output: json_column(row, "output")?,
        output_bytes: row.get("output_bytes")?,
        error: row.get("error")?,
        error_code: row.get("error_code")?,
        error_step: row.get("error_step")?,
        created_at: Timestamp(row.get("created_at")?),
        started_at: time_column(row, "started_at")?,
        ended_at: time_column(row, "ended_at")?,
        wake_at: time_column(row, "wake_at")?,
        retry_of: row.get::<_, Option<[u8; 16]>>("retry_of")?.map(Id),
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

    /// `retry`: what the run takes over from the one that it repeats. What is refused is refused before anything is
    /// written.
    pub(super) fn insert_run(
        &mut self,
        new: &NewRun,
        texts: &Texts,
        ahead: Option<Arc<Ahead>>,
        retry: Option<&Retry>,
        now: Timestamp,
    ) -> Result<Inserted> {
        if let Some(asked) = &new.idempotency
            && let Some(replayed) = self.replay(asked)?
        {
            return Ok(replayed);
        }
        let answered = self.admit(new)?;
        let place = self.place(new.version)?;
        let claim = match retry {
            None => self.hands_on(new, now)?,
            // Whoever takes it has to read what it takes over, and so takes it from the queue.
            Some(retry) => self.judge_retry(retry).map(|()| None)?,
        };
        // Its first turn is written only with a worker's slot for it.
        let ahead = ahead.filter(|_| claim.is_some());
        let then = ahead.as_ref().map(|ahead| &ahead.record.then);
        let change = match &claim {
            Some(claim) => claim.first_change(then, now)?,
            None => NEW,
        };
        let is_started = claim.is_some();
        let id = self.write_run(
            new,
            texts,
            &change,
            then.and_then(Next::ending),
            is_started,
            now,
        )?;
        if let Some(retry) = retry {
            self.take_over(id, retry)?;
        }
        self.note_run(id, new, &place)?;
        if let Some(asked) = &new.idempotency {
            self.keep_key(asked, new.run_id, answered, now)?;
        }
        self.counts.enter(new.deployment, change.status);
        self.counts.note_accepted(new.deployment, new.run_id);
        self.counts
            .note_ended(new.deployment, new.run_id, change.status);
        let source = new.source;
        self.after(Effect::Count(Fact::Accepted { source, at: now }));
        let what = What::Run {
            run_id: new.run_id,
            before: None,
            status: change.status,
        };
        self.after(Effect::Changed(changes::Change { run: id, what }));
        if is_started {
            let waited = Duration::ZERO;
            self.after(Effect::Count(Fact::Started { waited, at: now }));
        }
        if let Some(ahead) = &ahead {
            self.write_ahead(id, new.deployment, change.status, ahead, now)?;
        }
        if let (Some(mut claim), RunStatus::Running) = (claim, change.status) {
            claim.begun = ahead.and_then(|ahead| ahead.begun.clone());
            self.hand(claim, id);
        }
        Ok(Inserted::New(answered))
    }

    /// What a run's first turn adds to its row, which stands as the turn leaves it.
    fn write_ahead(
        &mut self,
        id: i64,
        deployment: i64,
        status: RunStatus,
        ahead: &Arc<Ahead>,
        now: Timestamp,
    ) -> Result<()> {
        self.write_steps(id, &ahead.record, now)?;
        self.after(Effect::Stepped(ahead.clone()));
        if status.is_final() {
            self.note_end(id, status)?;
            let times = (now.0, Some(now.0));
            if let Some(fact) = figures::of_run(status, times, now) {
                self.after(Effect::Count(fact));
            }
        }
        match &ahead.record.owed {
            Some(owed) => self.insert_delivery(id, deployment, owed, now),
            None => Ok(()),
        }
    }

    /// The names of where a version stands.
    ///
    /// # Errors
    /// `not_found` if its deployment or variant was deleted.
    fn place(&self, version: i64) -> Result<(String, String)> {
        self.sql(
            "SELECT d.name, va.name FROM versions v JOIN variants va ON va.id = v.variant
                 JOIN deployments d ON d.id = va.deployment
             WHERE v.id = ?1 AND va.deleted_at IS NULL AND d.deleted_at IS NULL",
        )?
        .query_row([version], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| Error::not_found("the deployment or variant was just deleted"))
    }

    fn write_run(
        &self,
        new: &NewRun,
        texts: &Texts,
        change: &Change,
        ending: Option<&Ending>,
        is_started: bool,
        now: Timestamp,
    ) -> Result<i64> {
        let output = match ending {
            Some(Ending::Completed { output }) => Some(output.to_string()),
            Some(Ending::Failed { .. } | Ending::Cancelled { .. }) | None => None,
        };
        self.sql(
            "INSERT INTO runs (run_id, deployment, version, status, source, delivery, callback_url, api_key, user,
                               metadata, inputs, created_at, started_at, claim_token, claim_expires_at, wake_at,
                               ended_at, output)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            new.run_id.0,
            new.deployment,
            new.version,
            change.status.as_str(),
            new.source,
            new.delivery(),
            new.callback_url,
            new.api_key,
            new.user,
            texts.metadata,
            texts.inputs,
            now.0,
            is_started.then_some(now.0),
            change.claim,
            change.claim.map(|_| now.plus(LEASE).0),
            change.wake_at.map(|at| at.0),
            change.status.is_final().then_some(now.0),
            output,
        ])?;
        Ok(self.conn.last_insert_rowid())
    }

    /// A label's value as lists compare it: the way the database writes it.
    fn label_text(&self, value: &Value) -> Result<String> {
        Ok(match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.as_i64().is_none() => self
                .sql("SELECT CAST(?1 AS TEXT)")?
                .query_row([number.as_f64()], |row| row.get(0))?,
            other => other.to_string(),
        })
    }

    /// What the run can be found by.
    fn note_run(&mut self, id: i64, new: &NewRun, place: &(String, String)) -> Result<()> {
        self.note(id, Facet::Source, new.source)?;
        self.note(id, Facet::Delivery, new.delivery())?;
        self.note(id, Facet::Deployment, &place.0)?;
        self.note(id, Facet::Variant, &place.1)?;
        if let Some(key) = new.api_key {
            self.note(id, Facet::ApiKey, &key.to_string())?;
        }
        if let Some(user) = &new.user {
            self.note(id, Facet::User, user)?;
        }
        for (key, value) in &new.metadata {
            self.note(id, Facet::Label, key)?;
            let text = self.label_text(value)?;
            self.note(id, Facet::LabelValue, &pair(key, &text))?;
        }
        Ok(())
    }

    /// Cancels an open run. A final one stays as it is.
    pub(super) fn cancel(&mut self, id: i64, reason: &str, now: Timestamp) -> Result<bool> {
        let ending = Ending::Cancelled {
            reason: reason.to_owned(),
        };
        let changed = self
            .apply(id, &Event::Cancelled, Some((&ending, None)), now)?
            .is_ok();
        if changed {
            self.after(Effect::StopStep(id));
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
        let texts = Texts::of(&new)?;
        let mut ahead = self.ahead(&new, now);
        // Run a second time, because something in its batch failed, it does without.
        self.write(move |tx| tx.insert_run(&new, &texts, ahead.take(), None, now))
    }

    /// The same, without waiting: `then` hears of it in the writer's thread, and must not block.
    pub fn insert_run_then(
        &self,
        new: NewRun,
        now: Timestamp,
        then: impl FnOnce(Result<Inserted>) + Send + 'static,
    ) {
        let texts = match Texts::of(&new) {
            Ok(texts) => texts,
            Err(fault) => return then(Err(fault)),
        };
        let mut ahead = self.ahead(&new, now);
        self.write_then(
            move |tx| tx.insert_run(&new, &texts, ahead.take(), None, now),
            then,
        );
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
            if tx.cancel(id, &reason, now)? {
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
        self.run_with(run_id, Values::Whole)
    }

    /// One run, with so much of it. `None`: no such run.
    pub fn run_with(&self, run_id: Id, values: Values) -> Result<Option<RunRow>> {
        let select = values.select_run();
        self.read(|conn| {
            Ok(conn
                .prepare_cached(&format!("{select} WHERE r.run_id = ?1"))?
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
}
