//! What an `Idempotency-Key` stands for: looked up and kept in the commit that starts a run.

use rusqlite::OptionalExtension;

use crate::error::{Code, Error, Result};
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::runs::{Idempotency, Inserted, run_status};
use crate::store::writer::Tx;
use crate::time::Timestamp;

impl Tx<'_> {
    /// What a key stands for that was used before.
    ///
    /// # Errors
    /// `idempotency_key_reused` if something else was asked under it.
    pub(super) fn replay(&self, asked: &Idempotency) -> Result<Option<Inserted>> {
        let found: Option<(Id, [u8; 32], RunStatus)> = self
            .sql("SELECT run_id, digest, status FROM idempotency WHERE scope = ?1 AND key = ?2")?
            .query_row((&asked.scope, &asked.key), |row| {
                Ok((Id(row.get(0)?), row.get(1)?, run_status(row, "status")?))
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

    /// From now on the key stands for that run.
    pub(super) fn keep_key(
        &self,
        asked: &Idempotency,
        run_id: Id,
        answered: RunStatus,
        now: Timestamp,
    ) -> Result<()> {
        self.sql(
            "INSERT INTO idempotency (scope, key, digest, run_id, status, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            &asked.scope,
            &asked.key,
            asked.digest,
            run_id.0,
            answered.as_str(),
            now.0,
        ))?;
        Ok(())
    }
}
