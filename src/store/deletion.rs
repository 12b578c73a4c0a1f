//! Deletion of deployments and variants: the name is free at once, what is open is cancelled, the secret is forgotten
//! when nothing can need it any more.

use std::time::Duration;

use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// How many runs one commit cancels, so that others' commits are not held up.
const CHUNK: usize = 200;

/// How long after a deletion its open runs are looked for: a crash in between is made good at the next start.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 3600);

impl Store {
    /// Deletes a deployment, or one variant of it; its name is free at once. With `cancel_runs` its open runs are
    /// cancelled. Answers how many were; `None`: no such deployment or variant.
    ///
    /// # Errors
    /// `runs_open` if there are open runs and they are not to be cancelled.
    pub fn delete_deployment(
        &self,
        name: String,
        variant: Option<String>,
        cancel_runs: bool,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<usize>> {
        let who = actor.clone();
        let found = self.write(move |tx| {
            let Some(id) = tx.deployment_id(&name)? else {
                return Ok(None);
            };
            let variant = match &variant {
                Some(variant) => match tx.variant(id, variant)? {
                    Some((row, _)) => Some((row, variant.clone())),
                    None => return Ok(None),
                },
                None => None,
            };
            let variant_row = variant.as_ref().map(|(row, _)| *row);
            let open = tx.open_run_count(id, variant_row)?;
            if open > 0 && !cancel_runs {
                let message =
                    format!("there are {open} open runs; cancel them, or pass cancel_runs=true");
                return Err(Error::new(Code::RunsOpen, message).with("open_runs", open));
            }
            match variant {
                Some((row, variant)) => {
                    tx.sql("UPDATE variants SET deleted_at = ?2 WHERE id = ?1")?
                        .execute((row, now.0))?;
                    tx.audit(
                        &who,
                        "variant.delete",
                        &format!("{name}/{variant}"),
                        &Value::Null,
                        now,
                    )?;
                }
                None => {
                    tx.sql("UPDATE deployments SET deleted_at = ?2 WHERE id = ?1")?
                        .execute((id, now.0))?;
                    tx.audit(&who, "deployment.delete", &name, &Value::Null, now)?;
                }
            }
            Ok(Some(id))
        })?;
        self.refresh_directory()?;
        let Some(found) = found else { return Ok(None) };
        let mut cancelled = 0;
        while let Some(count) = self.cancel_deleted(Some(found), &actor, now)? {
            cancelled += count;
        }
        Ok(Some(cancelled))
    }

    /// Cancels some of the runs that are still open although their deployment or variant is deleted: of one deployment,
    /// or of any. Says how many it cancelled; `None`: there are none left.
    pub fn cancel_deleted(
        &self,
        of: Option<i64>,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<usize>> {
        let since = now.0.saturating_sub(millis(LOOK_BACK));
        let ids = self.look(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT r.id FROM runs r JOIN versions v ON v.id = r.version
                     JOIN variants va ON va.id = v.variant JOIN deployments d ON d.id = r.deployment
                     WHERE r.ended_at IS NULL AND (d.deleted_at IS NOT NULL OR va.deleted_at IS NOT NULL)
                         AND r.deployment IN (SELECT id FROM deployments WHERE deleted_at >= ?1
                                              UNION SELECT deployment FROM variants WHERE deleted_at >= ?1)
                         AND (?2 IS NULL OR r.deployment = ?2)
                     LIMIT ?3",
                )?
                .query_map((since, of, CHUNK), |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?)
        })?;
        if ids.is_empty() {
            return Ok(None);
        }
        let actor = actor.clone();
        self.write(move |tx| {
            let mut cancelled = 0;
            for id in &ids {
                cancelled += usize::from(tx.cancel_one(*id, &actor, now)?);
            }
            Ok(Some(cancelled))
        })
    }

    /// Forgets the secret of one deleted deployment whose last run and delivery are final. False: there is none.
    pub fn purge_deleted(&self) -> Result<bool> {
        let gone: Option<i64> = self.look(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT d.id FROM deployments d WHERE d.deleted_at IS NOT NULL AND length(d.secret) > 0
                     AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.deployment = d.id AND r.ended_at IS NULL)
                     AND NOT EXISTS (SELECT 1 FROM deliveries o CROSS JOIN runs r
                         WHERE o.status = 'pending' AND r.id = o.run AND r.deployment = d.id)
                     AND NOT EXISTS (SELECT 1 FROM deliveries o CROSS JOIN runs r
                         WHERE o.status = 'delivering' AND r.id = o.run AND r.deployment = d.id) LIMIT 1",
                )?
                .query_row([], |row| row.get(0))
                .optional()?)
        })?;
        let Some(id) = gone else { return Ok(false) };
        self.write(move |tx| {
            tx.sql(
                "UPDATE deployments SET secret = x'', staged_secret = NULL, old_secret = NULL,
                     old_secret_until = NULL
                 WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries o CROSS JOIN runs r
                         WHERE o.status = 'pending' AND r.id = o.run AND r.deployment = ?1)
                     AND NOT EXISTS (SELECT 1 FROM deliveries o CROSS JOIN runs r
                         WHERE o.status = 'delivering' AND r.id = o.run AND r.deployment = ?1)",
            )?
            .execute([id])?;
            Ok(true)
        })
    }
}

impl Tx<'_> {
    fn open_run_count(&self, deployment: i64, variant: Option<i64>) -> Result<i64> {
        Ok(self
            .sql(
                "SELECT count(*) FROM runs r JOIN versions v ON v.id = r.version
                 WHERE r.deployment = ?1 AND r.ended_at IS NULL AND (?2 IS NULL OR v.variant = ?2)",
            )?
            .query_row((deployment, variant), |row| row.get(0))?)
    }

    fn cancel_one(&mut self, id: i64, actor: &Actor, now: Timestamp) -> Result<bool> {
        let row = self.run_row(id)?;
        let reason = "its deployment or variant was deleted";
        let cancelled = self.cancel(id, reason, now)?;
        if cancelled {
            let target = row.run_id.request_id();
            self.audit(
                actor,
                "run.cancel",
                &target,
                &json!({"reason": reason}),
                now,
            )?;
        }
        Ok(cancelled)
    }
}
