//! Secrets for steps: sealed values, each bound to the hosts it may be sent to.

use std::collections::BTreeSet;

use rusqlite::OptionalExtension;
use serde_json::json;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::seal::secret_owner;
use crate::time::Timestamp;

/// A secret, without its value.
#[derive(Debug, Clone)]
pub struct SecretRow {
    /// How definitions call it.
    pub name: String,
    /// The hosts it may be sent to.
    pub hosts: Vec<String>,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// Where a secret stands in the list: when it was last set, and its row.
pub type SecretPlace = (i64, i64);

/// A secret with its value, for a step in flight.
#[derive(Clone)]
pub struct OpenSecret {
    /// How definitions call it.
    pub name: String,
    /// The value. Never logged, never stored in clear.
    pub value: String,
    /// The hosts it may be sent to.
    pub hosts: Vec<String>,
}

impl std::fmt::Debug for OpenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenSecret({})", self.name)
    }
}

fn hosts(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text)
        .map_err(|fault| Error::internal(format!("a secret's hosts are unreadable: {fault}")))
}

impl Store {
    /// Sets a secret. True if it is new.
    pub fn put_secret(
        &self,
        name: String,
        value: String,
        hosts: Vec<String>,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool> {
        self.write(move |tx| {
            let sealed = tx.sealer.seal(&value, &secret_owner(&name))?;
            let is_new: bool = tx
                .sql("SELECT NOT EXISTS (SELECT 1 FROM secrets WHERE name = ?1)")?
                .query_row([&name], |row| row.get(0))?;
            tx.sql(
                "INSERT INTO secrets (name, value, hosts, updated_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET value = ?2, hosts = ?3, updated_at = ?4",
            )?
            .execute((&name, sealed, json!(hosts).to_string(), now.0))?;
            tx.audit(&actor, "secret.set", &name, &json!({"hosts": hosts}), now)?;
            Ok(is_new)
        })
    }

    /// Removes a secret. False if there was none.
    pub fn delete_secret(&self, name: String, actor: Actor, now: Timestamp) -> Result<bool> {
        self.write(move |tx| {
            let found = tx
                .sql("DELETE FROM secrets WHERE name = ?1")?
                .execute([&name])?
                > 0;
            if found {
                tx.audit(&actor, "secret.remove", &name, &json!(null), now)?;
            }
            Ok(found)
        })
    }

    /// The secrets, those that were set last first, from behind `after` on; and where the next page begins.
    pub fn list_secrets(
        &self,
        after: Option<SecretPlace>,
        limit: usize,
    ) -> Result<(Vec<SecretRow>, Option<SecretPlace>)> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT name, hosts, updated_at, rowid FROM secrets WHERE (updated_at, rowid) < (?1, ?2)
                 ORDER BY updated_at DESC, rowid DESC LIMIT ?3",
            )?;
            let (time, row) = after.unwrap_or((i64::MAX, i64::MAX));
            let mut rows = statement.query((time, row, limit + 1))?;
            let (mut secrets, mut last) = (Vec::new(), None);
            while let Some(row) = rows.next()? {
                if secrets.len() == limit {
                    return Ok((secrets, last));
                }
                let updated_at = row.get(2)?;
                last = Some((updated_at, row.get(3)?));
                secrets.push(SecretRow {
                    name: row.get(0)?,
                    hosts: hosts(&row.get::<_, String>(1)?)?,
                    updated_at: Timestamp(updated_at),
                });
            }
            Ok((secrets, None))
        })
    }

    /// The values of these secrets; names that are not there are left out.
    pub fn open_secrets(&self, names: &BTreeSet<String>) -> Result<Vec<OpenSecret>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.look(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT value, hosts FROM secrets WHERE name = ?1")?;
            let mut secrets = Vec::new();
            for name in names {
                let found: Option<(Vec<u8>, String)> = statement
                    .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                if let Some((sealed, allowed)) = found {
                    let value = self.sealer.open(&sealed, &secret_owner(name))?;
                    secrets.push(OpenSecret {
                        name: name.clone(),
                        value,
                        hosts: hosts(&allowed)?,
                    });
                }
            }
            Ok(secrets)
        })
    }
}
