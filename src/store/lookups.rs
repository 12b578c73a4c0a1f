//! Small looks at what is on record, each for one question of the front door.

use rusqlite::OptionalExtension;

use crate::error::{Code, Error, Result};
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::runs::{Idempotency, run_status};

impl Store {
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
