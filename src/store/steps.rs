//! Rows of steps: opened before they are tried, closed with what they came to, listed as the trace.

use rusqlite::{Connection, Row, named_params};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::flow::step::{StepError, StepRecord, StepResult, StepStatus};
use crate::store::Store;
use crate::store::page::{Page, Paged, weight};
use crate::store::runs::{json_column, time_column};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// The longest error text that is kept.
const ERROR_KEPT: usize = 4_096;

/// A step that begins.
#[derive(Debug)]
pub struct Opened {
    /// Where in the definition.
    pub path: String,
    /// The action key.
    pub kind: String,
    /// Rendered parameters, secrets masked.
    pub input: Value,
}

/// What a try came to.
#[derive(Debug)]
pub struct Finished {
    /// Where in the definition.
    pub path: String,
    /// `Completed`, `Failed`, or `Waiting` for the next try.
    pub status: StepStatus,
    /// Its output; null unless completed.
    pub output: Value,
    /// What stands beside it.
    pub meta: Option<Value>,
    /// Why it failed.
    pub error: Option<StepError>,
    /// When the next try is, if it waits.
    pub due_at: Option<Timestamp>,
}

/// A step as it stands in the file.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct StepRow {
    pub id: i64,
    pub path: String,
    pub kind: String,
    pub status: StepStatus,
    pub attempts: Vec<StepAttempt>,
    pub input: Value,
    pub output: Value,
    pub meta: Option<Value>,
    pub error: Option<String>,
    pub error_class: Option<String>,
    pub due_at: Option<Timestamp>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// One try of a step.
#[derive(Debug, Clone)]
pub struct StepAttempt {
    /// From 1.
    pub number: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None`: in flight.
    pub ended_at: Option<Timestamp>,
    /// Why it failed: its class.
    pub error_class: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

fn cut(text: &str) -> &str {
    match text.char_indices().nth(ERROR_KEPT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn status(row: &Row<'_>) -> rusqlite::Result<StepStatus> {
    let word: String = row.get("status")?;
    StepStatus::parse(&word)
        .ok_or_else(|| rusqlite::Error::InvalidColumnName(format!("status = {word}")))
}

fn attempt(value: &Map<String, Value>) -> StepAttempt {
    let time = |name: &str| value.get(name).and_then(Value::as_i64).map(Timestamp);
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    StepAttempt {
        number: value
            .get("number")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
        started_at: time("started_at").unwrap_or(Timestamp(0)),
        ended_at: time("ended_at"),
        error_class: text("error_class"),
        error: text("error"),
    }
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    let attempts: Vec<Map<String, Value>> =
        serde_json::from_str(&row.get::<_, String>("attempts")?).unwrap_or_default();
    Ok(StepRow {
        id: row.get("id")?,
        path: row.get("path")?,
        kind: row.get("kind")?,
        status: status(row)?,
        attempts: attempts.iter().map(attempt).collect(),
        input: json_column(row, "input")?.unwrap_or_default(),
        output: json_column(row, "output")?.unwrap_or_default(),
        meta: json_column(row, "meta")?,
        error: row.get("error")?,
        error_class: row.get("error_class")?,
        due_at: time_column(row, "due_at")?,
        started_at: Timestamp(row.get("started_at")?),
        ended_at: time_column(row, "ended_at")?,
    })
}

/// What the plan needs to know of a run's steps, in any order.
pub(super) fn records(conn: &Connection, run: i64) -> Result<Vec<StepRecord>> {
    let mut statement = conn.prepare_cached(
        "SELECT path, status, output, meta, error, failures, due_at FROM steps WHERE run = ?1",
    )?;
    let records = statement
        .query_map([run], |row| {
            Ok(StepRecord {
                path: row.get("path")?,
                status: status(row)?,
                output: json_column(row, "output")?.unwrap_or_default(),
                meta: json_column(row, "meta")?,
                error: row.get("error")?,
                failures: row.get("failures")?,
                due_at: time_column(row, "due_at")?,
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(records)
}

impl Tx<'_> {
    /// A try (or, with `due_at`, a delay) begins.
    pub(super) fn open_step(
        &self,
        run: i64,
        opened: &Opened,
        due_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        let status = if due_at.is_some() {
            StepStatus::Waiting
        } else {
            StepStatus::Running
        };
        self.sql(
            "INSERT INTO steps (run, path, kind, status, attempts, input, due_at, started_at)
             VALUES (:run, :path, :kind, :status, json_array(json_object('number', 1, 'started_at', :now)),
                     :input, :due_at, :now)
             ON CONFLICT (run, path) DO UPDATE SET
                 status = :status, due_at = :due_at, input = :input, error = NULL, error_class = NULL,
                 attempts = json_insert(attempts, '$[#]',
                     json_object('number', json_array_length(attempts) + 1, 'started_at', :now))",
        )?
        .execute(named_params! {
            ":run": run,
            ":path": opened.path,
            ":kind": opened.kind,
            ":status": status.as_str(),
            ":input": opened.input.to_string(),
            ":due_at": due_at.map(|at| at.0),
            ":now": now.0,
        })?;
        Ok(())
    }

    /// A try ended.
    pub(super) fn finish_step(&self, run: i64, finished: &Finished, now: Timestamp) -> Result<()> {
        let failed = finished.error.as_ref();
        let patch = serde_json::json!({
            "ended_at": now.0,
            "error_class": failed.map(|error| error.class.as_str()),
            "error": failed.map(|error| cut(&error.message)),
        });
        self.sql(
            "UPDATE steps SET
                 status = :status, output = :output, meta = :meta, error = :error, error_class = :class,
                 due_at = :due_at, ended_at = :ended_at, failures = failures + :failed,
                 attempts = json_set(attempts, '$[#-1]', json_patch(json_extract(attempts, '$[#-1]'), :patch))
             WHERE run = :run AND path = :path",
        )?
        .execute(named_params! {
            ":run": run,
            ":path": finished.path,
            ":status": finished.status.as_str(),
            ":output": (finished.status == StepStatus::Completed).then(|| finished.output.to_string()),
            ":meta": finished.meta.as_ref().map(Value::to_string),
            ":error": failed.map(|error| cut(&error.message)),
            ":class": failed.map(|error| error.class.as_str()),
            ":due_at": finished.due_at.map(|at| at.0),
            ":ended_at": finished.status.is_final().then_some(now.0),
            ":failed": failed.is_some(),
            ":patch": patch.to_string(),
        })?;
        Ok(())
    }

    /// A step that came to its end without leaving the process.
    pub(super) fn insert_result(
        &self,
        run: i64,
        result: &StepResult,
        now: Timestamp,
    ) -> Result<()> {
        let error = result.error.as_ref();
        self.sql(
            "INSERT INTO steps (run, path, kind, status, failures, attempts, input, output, error, error_class,
                                started_at, ended_at)
             VALUES (:run, :path, :kind, :status, :failed,
                     CASE :status WHEN 'skipped' THEN '[]' ELSE json_array(json_object('number', 1,
                         'started_at', :now, 'ended_at', :now, 'error_class', :class, 'error', :error)) END,
                     :input, :output, :error, :class, :now, :now)
             ON CONFLICT (run, path) DO UPDATE SET
                 status = :status, output = :output, error = :error, error_class = :class, due_at = NULL,
                 failures = failures + :failed, ended_at = :now,
                 attempts = json_set(attempts, '$[#-1].ended_at', :now)",
        )?
        .execute(named_params! {
            ":run": run,
            ":path": result.path,
            ":kind": result.kind,
            ":status": result.status.as_str(),
            ":failed": error.is_some(),
            ":input": result.input.to_string(),
            ":output": (result.status == StepStatus::Completed).then(|| result.output.to_string()),
            ":error": error.map(|error| cut(&error.message)),
            ":class": error.map(|error| error.class.as_str()),
            ":now": now.0,
        })?;
        Ok(())
    }

    /// The process died in the middle of a try: it stays visible, and the step runs again.
    pub(super) fn interrupt_steps(&self, run: i64, now: Timestamp) -> Result<()> {
        self.sql(
            "UPDATE steps SET status = 'pending',
                 attempts = json_set(attempts, '$[#-1].ended_at', ?2, '$[#-1].error_class', 'interrupted',
                     '$[#-1].error', 'the process ended in the middle of it')
             WHERE run = ?1 AND status = 'running'",
        )?
        .execute((run, now.0))?;
        Ok(())
    }

    /// The run was cancelled: nothing of it goes on.
    pub(super) fn cancel_steps(&self, run: i64, now: Timestamp) -> Result<()> {
        self.sql(
            "UPDATE steps SET
                 attempts = CASE status WHEN 'running' THEN
                     json_set(attempts, '$[#-1].ended_at', ?2, '$[#-1].error_class', 'cancelled',
                         '$[#-1].error', 'the run was cancelled') ELSE attempts END,
                 status = 'cancelled', due_at = NULL, ended_at = ?2
             WHERE run = ?1 AND status IN ('pending', 'running', 'waiting')",
        )?
        .execute((run, now.0))?;
        Ok(())
    }
}

impl Store {
    /// The trace of a run: its steps in order of execution, from behind the cursor on.
    pub fn list_steps(&self, run: i64, page: Page) -> Result<Paged<StepRow>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT * FROM steps WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows = statement.query((run, page.cursor.unwrap_or(0), page.limit + 1))?;
            Ok(Paged::gather(rows, page.limit, step, weight, |row| row.id)?)
        })
    }
}
