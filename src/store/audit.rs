//! Who changed what. Append only; each row is written in the commit of the change it tells of.

use rusqlite::Row;
use serde_json::Value;

use crate::error::Result;
use crate::store::Store;
use crate::store::page::{Page, Paged, weight};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// Who does something: a key or a person, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// `key NAME`, `admin key`, `webhook of NAME`, `system`.
    pub name: String,
    /// The client's address.
    pub address: Option<String>,
}

impl Actor {
    /// Skep itself, or the program that embeds it.
    pub fn system() -> Actor {
        Actor {
            name: "system".to_owned(),
            address: None,
        }
    }
}

/// One row of the audit.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where.
    pub address: Option<String>,
    /// What: `deploy`, `key.create`, `run.cancel` …
    pub action: String,
    /// To what.
    pub target: String,
    /// More of it.
    pub detail: Value,
}

impl Tx<'_> {
    /// Notes a change, in its own commit.
    pub(super) fn audit(
        &self,
        actor: &Actor,
        action: &str,
        target: &str,
        detail: &Value,
        now: Timestamp,
    ) -> Result<()> {
        let detail = (!detail.is_null()).then(|| detail.to_string());
        self.sql(
            "INSERT INTO audit (at, actor, address, action, target, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((now.0, &actor.name, &actor.address, action, target, detail))?;
        Ok(())
    }
}

impl Store {
    /// Notes something that changes nothing by itself: a secret that was shown.
    pub fn note(
        &self,
        actor: Actor,
        action: &'static str,
        target: String,
        now: Timestamp,
    ) -> Result<()> {
        self.write(move |tx| tx.audit(&actor, action, &target, &Value::Null, now))
    }

    /// The audit, newest first.
    pub fn list_audit(&self, page: Page) -> Result<Paged<AuditRow>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT id, at, actor, address, action, target, detail FROM audit
                 WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query((page.below(), page.limit + 1))?;
            Ok(Paged::gather(rows, page.limit, audited, weight, |row| {
                row.id
            })?)
        })
    }
}

fn audited(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let detail: Option<String> = row.get("detail")?;
    Ok(AuditRow {
        id: row.get("id")?,
        at: Timestamp(row.get("at")?),
        actor: row.get("actor")?,
        address: row.get("address")?,
        action: row.get("action")?,
        target: row.get("target")?,
        detail: detail
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default(),
    })
}
