//! Who changed what. Append only; each row is written in the commit of the change it tells of.
//!
//! The rows are a chain: each bears an HMAC, with the file's own key, over all that it says and over the HMAC before
//! it. How many there are and how the last one ends is kept in `instance`, in the same commit and under the same key,
//! so that rows cut off the end show as well. [`verify`] walks the chain.

pub mod verify;

use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::instance::InstanceKey;
use crate::store::page::{Page, Paged, weight};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// What stands in place of the hash before the first row's.
pub(super) const BEFORE_FIRST: [u8; 32] = [0; 32];

/// Who does something: a key or a person, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// `key NAME`, `admin key`, `dashboard NAME`, `webhook of NAME`, `system`.
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
    /// HMAC-SHA256 over the row and the hash before it.
    pub hash: [u8; 32],
}

/// What a row says, as bytes: what its hash is made over.
struct Said<'a> {
    id: i64,
    at: i64,
    actor: &'a [u8],
    address: Option<&'a [u8]>,
    action: &'a [u8],
    target: &'a [u8],
    detail: Option<&'a [u8]>,
}

impl Said<'_> {
    /// The row's hash, behind that hash.
    fn hash(&self, key: &InstanceKey, previous: &[u8]) -> [u8; 32] {
        // Nothing said is not the same as an empty text said.
        let is_there = |part: Option<&[u8]>| [u8::from(part.is_some())];
        key.mac(
            "audit row",
            &[
                previous,
                &self.id.to_be_bytes(),
                &self.at.to_be_bytes(),
                self.actor,
                &is_there(self.address),
                self.address.unwrap_or_default(),
                self.action,
                self.target,
                &is_there(self.detail),
                self.detail.unwrap_or_default(),
            ],
        )
    }
}

/// The mark of a chain that ends with row `last` and that hash; 0: it has no row.
pub(super) fn end_mac(key: &InstanceKey, last: i64, hash: &[u8]) -> [u8; 32] {
    key.mac("audit end", &[&last.to_be_bytes(), hash])
}

/// How the chain ends: as it lies there, and as it is on record.
struct End {
    /// The last row; 0: none.
    last: i64,
    /// Its hash.
    hash: Vec<u8>,
    /// How many rows there are on record.
    rows: i64,
    /// The mark on record.
    mac: Vec<u8>,
}

impl End {
    fn load(conn: &Connection) -> Result<Option<End>> {
        let mut statement = conn.prepare_cached(
            "SELECT i.audit_rows, coalesce(i.audit_mac, x''), coalesce(a.id, 0), a.hash
             FROM instance i LEFT JOIN (SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1) a ON TRUE
             WHERE i.id = 1",
        )?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        Ok(Some(End {
            rows: row.get(0)?,
            mac: row.get(1)?,
            last: row.get(2)?,
            hash: row
                .get::<_, Option<Vec<u8>>>(3)?
                .unwrap_or_else(|| BEFORE_FIRST.to_vec()),
        }))
    }

    fn is_as_recorded(&self, key: &InstanceKey) -> bool {
        let parts: [&[u8]; 2] = [&self.last.to_be_bytes(), &self.hash];
        self.rows == self.last && key.verifies("audit end", &parts, &self.mac)
    }
}

/// Whether the chain ends where and how it did when it was last written.
pub(super) fn ends_as_recorded(conn: &Connection, key: &InstanceKey) -> Result<bool> {
    Ok(End::load(conn)?.is_some_and(|end| end.is_as_recorded(key)))
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
        // Read each time: a batch that is rolled back leaves nothing in memory that would be wrong.
        let end = End::load(self.conn)?
            .ok_or_else(|| Error::internal("the file has lost its own key; start it anew"))?;
        let detail = (!detail.is_null()).then(|| detail.to_string());
        let id = end.last + 1;
        let said = Said {
            id,
            at: now.0,
            actor: actor.name.as_bytes(),
            address: actor.address.as_deref().map(str::as_bytes),
            action: action.as_bytes(),
            target: target.as_bytes(),
            detail: detail.as_deref().map(str::as_bytes),
        };
        let hash = said.hash(self.instance, &end.hash);
        self.sql(
            "INSERT INTO audit (id, at, actor, address, action, target, detail, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            id,
            now.0,
            &actor.name,
            &actor.address,
            action,
            target,
            detail,
            hash,
        ))?;
        // An end that somebody changed is not made good by what comes after it: it stays wrong for ever.
        let mac = match end.is_as_recorded(self.instance) {
            true => end_mac(self.instance, id, &hash).to_vec(),
            false => end.mac,
        };
        self.sql("UPDATE instance SET audit_rows = ?1, audit_mac = ?2 WHERE id = 1")?
            .execute((end.rows.saturating_add(1), mac))?;
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
                "SELECT id, at, actor, address, action, target, detail, hash FROM audit
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
        hash: row.get("hash")?,
    })
}

#[cfg(test)]
mod tests;
