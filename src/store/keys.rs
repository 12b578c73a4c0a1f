//! API keys: only their hashes are here.

use rusqlite::{OptionalExtension, Row};
use serde_json::json;

use crate::error::Result;
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::page::{Page, Paged};
use crate::time::Timestamp;

/// An API key, without the key.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Its row; runs remember it.
    pub id: i64,
    /// Its public id (`key_…`).
    pub key_id: Id,
    /// What people call it.
    pub name: String,
    /// `production`, `staging`, `development`.
    pub environment: String,
    /// `invoke`, `read`, `approve`, `deploy`, `admin`.
    pub scope: String,
    /// Its first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its public id.
    pub key_id: Id,
    /// What people call it.
    pub name: String,
    /// `production`, `staging`, `development`.
    pub environment: String,
    /// `invoke`, `read`, `approve`, `deploy`, `admin`.
    pub scope: String,
    /// Its first characters.
    pub prefix: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
}

const COLUMNS: &str =
    "id, key_id, name, environment, scope, prefix, created_at, last_used_at, revoked_at";

fn key(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        id: row.get("id")?,
        key_id: Id(row.get("key_id")?),
        name: row.get("name")?,
        environment: row.get("environment")?,
        scope: row.get("scope")?,
        prefix: row.get("prefix")?,
        created_at: Timestamp(row.get("created_at")?),
        last_used_at: row.get::<_, Option<i64>>("last_used_at")?.map(Timestamp),
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(Timestamp),
    })
}

impl Store {
    /// Whether there was ever a key.
    pub fn has_keys(&self) -> Result<bool> {
        self.read(|conn| {
            Ok(
                conn.query_row("SELECT EXISTS (SELECT 1 FROM api_keys)", [], |row| {
                    row.get(0)
                })?,
            )
        })
    }

    /// Stores a key.
    pub fn create_key(&self, new: NewKey, actor: Actor, now: Timestamp) -> Result<KeyRow> {
        let row = self.write(move |tx| {
            let row = tx
                .sql(&format!(
                    "INSERT INTO api_keys (key_id, name, environment, scope, prefix, hash, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING {COLUMNS}"
                ))?
                .query_row(
                    (new.key_id.0, &new.name, &new.environment, &new.scope, &new.prefix, new.hash, now.0),
                    key,
                )?;
            let detail = json!({"name": row.name, "scope": row.scope, "environment": row.environment});
            tx.audit(&actor, "key.create", &row.key_id.prefixed("key_"), &detail, now)?;
            Ok(row)
        })?;
        self.refresh_directory()?;
        Ok(row)
    }

    /// Gives a key a new secret; the old one ends with this commit. `None`: no such key, or it is revoked.
    pub fn rotate_key(
        &self,
        key_id: Id,
        prefix: String,
        hash: [u8; 32],
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<KeyRow>> {
        let row = self.write(move |tx| {
            let row = tx
                .sql(&format!(
                    "UPDATE api_keys SET prefix = ?2, hash = ?3 WHERE key_id = ?1 AND revoked_at IS NULL
                     RETURNING {COLUMNS}"
                ))?
                .query_row((key_id.0, &prefix, hash), key)
                .optional()?;
            if let Some(row) = &row {
                tx.audit(&actor, "key.rotate", &key_id.prefixed("key_"), &json!({"name": row.name}), now)?;
            }
            Ok(row)
        })?;
        self.refresh_directory()?;
        Ok(row)
    }

    /// Ends a key. Revoked already: unchanged. `None`: no such key.
    pub fn revoke_key(&self, key_id: Id, actor: Actor, now: Timestamp) -> Result<Option<KeyRow>> {
        let row = self.write(move |tx| {
            let changed = tx
                .sql(
                    "UPDATE api_keys SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL",
                )?
                .execute((key_id.0, now.0))?;
            let row = tx
                .sql(&format!("SELECT {COLUMNS} FROM api_keys WHERE key_id = ?1"))?
                .query_row([key_id.0], key)
                .optional()?;
            if let (1, Some(row)) = (changed, &row) {
                tx.audit(
                    &actor,
                    "key.revoke",
                    &key_id.prefixed("key_"),
                    &json!({"name": row.name}),
                    now,
                )?;
            }
            Ok(row)
        })?;
        self.refresh_directory()?;
        Ok(row)
    }

    /// The keys, newest first, revoked ones too.
    pub fn list_keys(&self, page: Page) -> Result<Paged<KeyRow>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM api_keys WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
            ))?;
            let rows = statement
                .query_map((page.below(), page.limit + 1), key)?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Paged::cut(rows, page.limit, |row| row.id))
        })
    }
}
