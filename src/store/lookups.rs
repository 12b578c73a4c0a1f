//! Small looks at what is on record, each for one question of the front door.

use rusqlite::{Connection, OptionalExtension, Params};

use crate::error::{Code, Error, Result};
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::runs::{Idempotency, run_status};
use crate::time::Timestamp;

/// A step in outline: none of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutline {
    /// Where in the definition.
    pub path: String,
    /// Where it stands.
    pub status: StepStatus,
    /// How many tries it has had, the one in flight included.
    pub tries: u64,
    /// Why the last one failed.
    pub error: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
}

/// How far a delivery has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LastAttempt {
    /// How many attempts there were, the one in flight included.
    pub number: u64,
    /// The status that the last finished one was answered with.
    pub response_status: Option<i64>,
    /// What kind of failure that was.
    pub error_class: Option<String>,
    /// And in words.
    pub error: Option<String>,
}

fn outline(
    conn: &Connection,
    condition: &str,
    values: impl Params,
) -> rusqlite::Result<Option<StepOutline>> {
    conn.prepare_cached(&format!(
        "SELECT path, status, coalesce(json_array_length(attempts), 0) + (tried_at IS NOT NULL), error, started_at
         FROM steps WHERE run = ?1 AND {condition} ORDER BY id DESC LIMIT 1"
    ))?
    .query_row(values, |row| {
        let word: String = row.get(1)?;
        let unknown = || rusqlite::Error::InvalidColumnName(format!("status = {word}"));
        Ok(StepOutline {
            path: row.get(0)?,
            status: StepStatus::parse(&word).ok_or_else(unknown)?,
            tries: row.get(2)?,
            error: row.get(3)?,
            started_at: Timestamp(row.get(4)?),
        })
    })
    .optional()
}

impl Store {
    /// The step of a run at that path.
    pub fn step_at(&self, run: i64, path: &str) -> Result<Option<StepOutline>> {
        self.read(|conn| Ok(outline(conn, "path = ?2", (run, path))?))
    }

    /// The newest step of a run that is in one of these states.
    pub fn step_in_state(&self, run: i64, states: &[StepStatus]) -> Result<Option<StepOutline>> {
        let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let list = serde_json::to_string(&words).unwrap_or_default();
        let condition = "status IN (SELECT value FROM json_each(?2))";
        self.read(|conn| Ok(outline(conn, condition, (run, list))?))
    }

    /// How far the delivery of that row has come.
    pub fn last_attempt(&self, delivery: i64) -> Result<LastAttempt> {
        self.read(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT (SELECT max(number) FROM attempts WHERE delivery = ?1), response_status, error_class, error
                     FROM attempts WHERE delivery = ?1 AND duration_ms IS NOT NULL ORDER BY number DESC LIMIT 1",
                )?
                .query_row([delivery], |row| {
                    Ok(LastAttempt {
                        number: row.get(0)?,
                        response_status: row.get(1)?,
                        error_class: row.get(2)?,
                        error: row.get(3)?,
                    })
                })
                .optional()?;
            Ok(found.unwrap_or_default())
        })
    }

    /// How many runs of the deployment of that row are in a worker's hands.
    pub fn running_of(&self, deployment: i64) -> Result<u64> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT count(*) FROM runs WHERE deployment = ?1 AND status = 'running' AND ended_at IS NULL",
                )?
                .query_row([deployment], |row| row.get(0))?)
        })
    }

    /// The run that this `Idempotency-Key` started, with the status of the first answer. `None`: it is new.
    ///
    /// # Errors
    /// `idempotency_key_reused` if it came with another digest.
    pub fn first_answer(&self, asked: &Idempotency) -> Result<Option<(Id, RunStatus)>> {
        let found: Option<(Id, [u8; 32], RunStatus)> = self.read(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT run_id, digest, status FROM idempotency WHERE scope = ?1 AND key = ?2",
                )?
                .query_row((&asked.scope, &asked.key), |row| {
                    Ok((Id(row.get(0)?), row.get(1)?, run_status(row, "status")?))
                })
                .optional()?)
        })?;
        match found {
            None => Ok(None),
            Some((run_id, digest, status)) if digest == asked.digest => Ok(Some((run_id, status))),
            Some(_) => Err(Error::of(Code::IdempotencyKeyReused)),
        }
    }

    /// The path and the kind of the step that a waiting run waits in.
    pub fn waiting_step(&self, run: i64) -> Result<Option<(String, String)>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT path, kind FROM steps WHERE run = ?1 AND status = 'waiting' LIMIT 1",
                )?
                .query_row([run], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?)
        })
    }

    /// The row of the key with that public id, revoked or not.
    pub fn key_row(&self, key_id: Id) -> Result<Option<i64>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached("SELECT id FROM api_keys WHERE key_id = ?1")?
                .query_row([key_id.0], |row| row.get(0))
                .optional()?)
        })
    }
}
