//! The secrets of a deployment, and their rotation: stage, promote, revoke.
//!
//! At any time one secret is current: it alone makes `X-Fetch-Hive-Signature`. A staged one and, for a day, the one before
//! are accepted inbound too, and sign beside it in `webhook-signature`.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::runs::time_column;
use crate::store::seal::{Sealer, deployment_owner};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// The 404 of a secret that is to be promoted.
const NONE_STAGED: &str = "Staged secret not found: POST …/secret/stage first";

/// How long the secret before is valid after a promotion.
const OLD_KEPT: Duration = Duration::from_secs(24 * 3600);

/// A deployment's secrets, sealed.
pub(super) struct SealedSecrets {
    owner: String,
    current: Vec<u8>,
    staged: Option<Vec<u8>>,
    old: Option<(Vec<u8>, Timestamp)>,
}

/// A deployment's secrets. Never logged.
#[derive(Clone)]
pub struct Secrets {
    /// Makes `X-Fetch-Hive-Signature`; is shown.
    pub current: String,
    staged: Option<String>,
    old: Option<(String, Timestamp)>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// What signs: the current one, and during a rotation one more.
    pub fn signing(&self, now: Timestamp) -> Vec<&str> {
        self.valid(now).into_iter().take(2).collect()
    }

    /// Whether the next secret is there.
    pub fn is_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Until when the one before is accepted, if it still is.
    pub fn old_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.old.as_ref().map(|(_, until)| *until);
        until.filter(|until| now < *until)
    }

    /// Every secret that is accepted: the current one first.
    pub fn valid(&self, now: Timestamp) -> Vec<&str> {
        let old = self
            .old
            .iter()
            .filter(|(_, until)| now < *until)
            .map(|(old, _)| old.as_str());
        std::iter::once(self.current.as_str())
            .chain(self.staged.as_deref())
            .chain(old)
            .collect()
    }
}

/// Which of a deployment's secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that is shown and signs.
    Current,
    /// The next one, during a rotation.
    Staged,
    /// The one before, whether it is still valid or not.
    Old,
}

impl Secrets {
    /// Every secret that is known, each with which it is.
    pub fn each(&self) -> impl Iterator<Item = (Which, &str)> {
        let current = (Which::Current, self.current.as_str());
        let staged = self.staged.as_deref().map(|text| (Which::Staged, text));
        let old = self
            .old
            .as_ref()
            .map(|(text, _)| (Which::Old, text.as_str()));
        std::iter::once(current).chain(staged).chain(old)
    }
}

impl SealedSecrets {
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<SealedSecrets> {
        let old: Option<Vec<u8>> = row.get("old_secret")?;
        Ok(SealedSecrets {
            owner: deployment_owner(&row.get::<_, [u8; 16]>("endpoint_id")?),
            current: row.get("secret")?,
            staged: row.get("staged_secret")?,
            old: old.zip(time_column(row, "old_secret_until")?),
        })
    }

    pub(super) fn open(&self, sealer: &Sealer) -> Result<Secrets> {
        let open = |blob: &Vec<u8>| sealer.open(blob, &self.owner);
        Ok(Secrets {
            current: open(&self.current)?,
            staged: self.staged.as_ref().map(open).transpose()?,
            old: match &self.old {
                Some((blob, until)) => Some((open(blob)?, *until)),
                None => None,
            },
        })
    }
}

impl Tx<'_> {
    fn rotate(
        &self,
        name: &str,
        sql: &str,
        values: impl rusqlite::Params,
        action: &Action<'_>,
    ) -> Result<bool> {
        let changed = self.sql(sql)?.execute(values)? > 0;
        if changed {
            self.audit(action.actor, action.name, name, &Value::Null, action.now)?;
        }
        Ok(changed)
    }
}

struct Action<'a> {
    name: &'static str,
    actor: &'a Actor,
    now: Timestamp,
}

impl Store {
    /// Stages `secret` as the next one, in place of one staged before. False: no such deployment.
    pub fn stage_secret(
        &self,
        name: String,
        secret: String,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool> {
        let done =
            self.write(move |tx| {
                let endpoint_id: Option<[u8; 16]> = tx
                .sql("SELECT endpoint_id FROM deployments WHERE name = ?1 AND deleted_at IS NULL")?
                .query_row([&name], |row| row.get(0))
                .optional()?;
                let Some(endpoint_id) = endpoint_id else {
                    return Ok(false);
                };
                let sealed = tx.sealer.seal(&secret, &deployment_owner(&endpoint_id))?;
                tx.rotate(
                &name,
                "UPDATE deployments SET staged_secret = ?2 WHERE name = ?1 AND deleted_at IS NULL",
                (&name, sealed),
                &Action { name: "secret.stage", actor: &actor, now },
            )
            })?;
        self.refresh_directory()?;
        Ok(done)
    }

    /// Makes the staged secret the current one; the one before stays valid for a day. False: no such deployment.
    ///
    /// # Errors
    /// `not_found` if none is staged.
    pub fn promote_secret(&self, name: String, actor: Actor, now: Timestamp) -> Result<bool> {
        let done = self.write(move |tx| {
            let staged: Option<bool> = tx
                .sql("SELECT staged_secret IS NOT NULL FROM deployments WHERE name = ?1 AND deleted_at IS NULL")?
                .query_row([&name], |row| row.get(0))
                .optional()?;
            match staged {
                None => Ok(false),
                Some(false) => Err(Error::not_found(NONE_STAGED)),
                Some(true) => tx.rotate(
                    &name,
                    "UPDATE deployments SET old_secret = secret, old_secret_until = ?2, secret = staged_secret,
                         staged_secret = NULL
                     WHERE name = ?1 AND deleted_at IS NULL",
                    (&name, now.plus(OLD_KEPT).0),
                    &Action { name: "secret.promote", actor: &actor, now },
                ),
            }
        })?;
        self.refresh_directory()?;
        Ok(done)
    }

    /// Ends every secret but the current one, at once. False: no such deployment.
    pub fn revoke_secret(&self, name: String, actor: Actor, now: Timestamp) -> Result<bool> {
        let done = self.write(move |tx| {
            tx.rotate(
                &name,
                "UPDATE deployments SET staged_secret = NULL, old_secret = NULL, old_secret_until = NULL
                 WHERE name = ?1 AND deleted_at IS NULL",
                [&name],
                &Action { name: "secret.revoke", actor: &actor, now },
            )
        })?;
        self.refresh_directory()?;
        Ok(done)
    }
}
