//! Rows of steps: opened before they are tried, closed with what they came to, listed as the trace.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::flow::step::{LogLine, StepError, StepRecord, StepResult, StepStatus};
use crate::store::Store;
use crate::store::page::{Page, Paged, weight};
use crate::store::runs::{Values, json_column, time_column};
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
    /// What the try wrote down.
    pub logs: Vec<LogLine>,
}

/// A step as it stands in the file. Its bytes are those of input and output as compact JSON; 0 of none.
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
    pub input_bytes: i64,
    pub output: Value,
    pub output_bytes: i64,
    pub meta: Option<Value>,
    pub error: Option<String>,
    pub error_class: Option<String>,
    pub due_at: Option<Timestamp>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Whether it was taken over from the run that this one repeats.
    pub reused: bool,
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
    /// What it wrote down, in order.
    pub logs: Vec<LogLine>,
}

/// What a try wrote down, as a past try has it: `[[when, what], …]`.
fn logs_json(logs: &[LogLine]) -> String {
    let lines: Value = logs
        .iter()
        .map(|line| json!([line.at.0, line.text]))
        .collect();
    lines.to_string()
}

fn logs_of(value: Option<&Value>) -> Vec<LogLine> {
    let lines = value.and_then(Value::as_array).into_iter().flatten();
    lines
        .filter_map(|line| {
            Some(LogLine {
                at: Timestamp(line.get(0)?.as_i64()?),
                text: line.get(1)?.as_str()?.to_owned(),
            })
        })
        .collect()
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
        logs: logs_of(value.get("logs")),
    }
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    let past: Vec<Map<String, Value>> = match row.get::<_, Option<String>>("attempts")? {
        Some(text) => serde_json::from_str(&text).unwrap_or_default(),
        None => Vec::new(),
    };
    let mut attempts: Vec<StepAttempt> = past.iter().map(attempt).collect();
    let (ended_at, error_class, error) = (
        time_column(row, "ended_at")?,
        row.get::<_, Option<String>>("error_class")?,
        row.get::<_, Option<String>>("error")?,
    );
    if let Some(started_at) = time_column(row, "tried_at")? {
        attempts.push(StepAttempt {
            number: attempts.len() as i64 + 1,
            started_at,
            ended_at,
            error_class: error_class.clone(),
            error: error.clone(),
            logs: Vec::new(),
        });
    }
    Ok(StepRow {
        id: row.get("id")?,
        path: row.get("path")?,
        kind: row.get("kind")?,
        status: status(row)?,
        attempts,
        input: json_column(row, "input")?.unwrap_or_default(),
        input_bytes: row.get("input_bytes")?,
        output: json_column(row, "output")?.unwrap_or_default(),
        output_bytes: row.get("output_bytes")?,
        meta: json_column(row, "meta")?,
        error,
        error_class,
        due_at: time_column(row, "due_at")?,
        started_at: Timestamp(row.get("started_at")?),
        ended_at,
        reused: row.get("reused")?,
    })
}

/// What is selected of a step, after its values.
macro_rules! select_step {
    ($values:literal) => {
        concat!(
            "SELECT ",
            $values,
            ", coalesce(octet_length(input), 0) AS input_bytes, coalesce(octet_length(output), 0) AS output_bytes,
                 id, path, kind, status, attempts, tried_at, error, error_class, due_at, started_at, ended_at, reused
             FROM steps"
        )
    };
}

const SELECT: &str = select_step!("input, output, meta");

/// SQL that moves the last try into the list of past ones, with its end and its error.
macro_rules! put_away {
    ($ended_at:literal, $class:literal, $error:literal $(, $logs:literal)?) => {
        concat!(
            "attempts = CASE WHEN tried_at IS NULL THEN attempts ELSE
                 json_insert(coalesce(attempts, '[]'), '$[#]', json_object(
                     'number', json_array_length(coalesce(attempts, '[]')) + 1, 'started_at', tried_at,
                     'ended_at', ", $ended_at, ", 'error_class', ", $class, ", 'error', ", $error, $(" , 'logs', json(", $logs, ")",)? ")) END,
             tried_at = NULL"
        )
    };
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
        &mut self,
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
            "INSERT INTO steps (run, path, kind, status, input, due_at, started_at, tried_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
             ON CONFLICT (run, path) DO UPDATE SET
                 status = ?4, input = ?5, due_at = ?6, tried_at = ?7, error = NULL, error_class = NULL",
        )?
        .execute(params![
            run,
            opened.path,
            opened.kind,
            status.as_str(),
            opened.input.to_string(),
            due_at.map(|at| at.0),
            now.0,
        ])?;
        self.stir_step(run, (&opened.path, &opened.kind), status, now);
        Ok(())
    }

    /// A try ended.
    pub(super) fn finish_step(
        &mut self,
        run: i64,
        finished: &Finished,
        now: Timestamp,
    ) -> Result<()> {
        let failed = finished.error.as_ref();
        let class = failed.map(|error| error.class.as_str());
        let error = failed.map(|error| cut(&error.message));
        let is_done = finished.status == StepStatus::Completed;
        self.sql(
            "UPDATE steps SET status = ?3, output = ?4, meta = ?5, error = ?6, error_class = ?7, due_at = ?8,
                 ended_at = ?9, failures = failures + ?10
             WHERE run = ?1 AND path = ?2",
        )?
        .execute(params![
            run,
            finished.path,
            finished.status.as_str(),
            is_done.then(|| finished.output.to_string()),
            finished.meta.as_ref().map(Value::to_string),
            error,
            class,
            finished.due_at.map(|at| at.0),
            finished.status.is_final().then_some(now.0),
            failed.is_some(),
        ])?;
        // The last try of a step stands in its row alone, unless it has more to say than the row has room for.
        if !finished.logs.is_empty() {
            let logs = logs_json(&finished.logs);
            self.sql(concat!(
                "UPDATE steps SET ",
                put_away!("?3", "?4", "?5", "?6"),
                " WHERE run = ?1 AND path = ?2"
            ))?
            .execute(params![run, finished.path, now.0, class, error, logs])?;
        } else if finished.due_at.is_some() {
            self.sql(concat!(
                "UPDATE steps SET ",
                put_away!("?3", "?4", "?5"),
                " WHERE run = ?1 AND path = ?2"
            ))?
            .execute(params![run, finished.path, now.0, class, error])?;
        }
        if self.changes.is_heard() {
            let kind: String = self
                .sql("SELECT kind FROM steps WHERE run = ?1 AND path = ?2")?
                .query_row((run, &finished.path), |row| row.get(0))?;
            self.stir_step(run, (&finished.path, &kind), finished.status, now);
        }
        Ok(())
    }

    /// A step that came to its end without leaving the process.
    pub(super) fn insert_result(
        &mut self,
        run: i64,
        result: &StepResult,
        now: Timestamp,
    ) -> Result<()> {
        let error = result.error.as_ref();
        let is_tried = result.status != StepStatus::Skipped;
        self.sql(
            "INSERT INTO steps (run, path, kind, status, failures, input, output, error, error_class,
                                started_at, tried_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?10)
             ON CONFLICT (run, path) DO UPDATE SET status = ?4, failures = failures + ?5, output = ?7, error = ?8,
                 error_class = ?9, due_at = NULL, ended_at = ?10",
        )?
        .execute(params![
            run,
            result.path,
            result.kind,
            result.status.as_str(),
            error.is_some(),
            result.input.to_string(),
            (result.status == StepStatus::Completed).then(|| result.output.to_string()),
            error.map(|error| cut(&error.message)),
            error.map(|error| error.class.as_str()),
            now.0,
            is_tried.then_some(now.0),
        ])?;
        self.stir_step(run, (&result.path, &result.kind), result.status, now);
        Ok(())
    }

    /// Tells that the open steps of a run are about to come into a state, if somebody listens.
    fn stir_open_steps(&mut self, run: i64, status: StepStatus, now: Timestamp) -> Result<()> {
        if !self.changes.is_heard() {
            return Ok(());
        }
        let open = match status {
            StepStatus::Pending => "status = 'running'",
            _ => "status IN ('pending', 'running', 'waiting')",
        };
        let found = self
            .sql(&format!(
                "SELECT path, kind FROM steps WHERE run = ?1 AND {open}"
            ))?
            .query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        for (path, kind) in found {
            self.stir_step(run, (&path, &kind), status, now);
        }
        Ok(())
    }

    /// The process died in the middle of a try: it stays visible, and the step runs again.
    pub(super) fn interrupt_steps(&mut self, run: i64, now: Timestamp) -> Result<()> {
        self.stir_open_steps(run, StepStatus::Pending, now)?;
        self.sql(concat!(
            "UPDATE steps SET status = 'pending', ",
            put_away!(
                "?2",
                "'interrupted'",
                "'the process ended in the middle of it'"
            ),
            " WHERE run = ?1 AND status = 'running'"
        ))?
        .execute((run, now.0))?;
        Ok(())
    }

    /// The run was cancelled: nothing of it goes on.
    pub(super) fn cancel_steps(&mut self, run: i64, now: Timestamp) -> Result<()> {
        self.stir_open_steps(run, StepStatus::Cancelled, now)?;
        self.sql(concat!(
            "UPDATE steps SET status = 'cancelled', due_at = NULL, ended_at = ?2, ",
            put_away!("?2", "'cancelled'", "'the run was cancelled'"),
            " WHERE run = ?1 AND status IN ('pending', 'running', 'waiting')"
        ))?
        .execute((run, now.0))?;
        Ok(())
    }
}

impl Store {
    /// The trace of a run: its steps in order of execution, from behind the cursor on.
    pub fn list_steps(&self, run: i64, page: Page, values: Values) -> Result<Paged<StepRow>> {
        let select = match values {
            Values::Whole => SELECT,
            Values::Sizes => select_step!("NULL AS input, NULL AS output, NULL AS meta"),
        };
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                // By the index that makes a path unique: the rows themselves are read only for the page.
                &format!(
                    "{select} WHERE id IN (
                         SELECT id FROM steps INDEXED BY sqlite_autoindex_steps_1
                         WHERE run = ?1 AND +id > ?2 ORDER BY +id LIMIT ?3)
                     ORDER BY id"
                ),
            )?;
            let rows = statement.query((run, page.cursor.unwrap_or(0), page.limit + 1))?;
            let mut page = Paged::gather(rows, page.limit, step, weight, |row| row.id)?;
            if values == Values::Sizes {
                let tries = page.rows.iter_mut().flat_map(|step| &mut step.attempts);
                tries.for_each(|attempt| attempt.logs.clear());
            }
            Ok(page)
        })
    }

    /// One step of a run. `None`: no such step, or it has not begun.
    pub fn step(&self, run: i64, path: &str) -> Result<Option<StepRow>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached(&format!("{SELECT} WHERE run = ?1 AND path = ?2"))?
                .query_row((run, path), step)
                .optional()?)
        })
    }

    /// How many steps of a run have begun, or were skipped.
    pub fn count_steps(&self, run: i64) -> Result<u64> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached("SELECT count(*) FROM steps WHERE run = ?1")?
                .query_row([run], |row| row.get(0))?)
        })
    }
}
