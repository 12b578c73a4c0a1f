//! Deployments, their variants and versions: deployed, changed, listed, rolled back, deleted.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::json;

use crate::error::{Error, Result};
use crate::flow::source::Format;
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::page::{Page, Paged, weight};
use crate::store::rotation::SealedSecrets;
use crate::store::runs::time_column;
use crate::store::seal::deployment_owner;
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// A version to be put. Ids and secret are used where the deployment or variant is new.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NewVersion {
    pub deployment: String,
    pub variant: String,
    pub format: Format,
    pub definition: String,
    /// SHA-256 of what the definition says, however it is written.
    pub digest: [u8; 32],
    pub endpoint_id: Id,
    pub variant_id: Id,
    pub secret: String,
}

/// What is there after a version was put.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PutVersion {
    pub version: i64,
    pub endpoint_id: Id,
    pub variant_id: Id,
    pub secret: String,
    /// Whether the version is new, and not equal to the one before.
    pub is_new: bool,
}

/// A deployment as it stands in the file.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct DeploymentRow {
    pub id: i64,
    pub name: String,
    pub endpoint_id: Id,
    pub callback_url: Option<String>,
    pub callback_hosts: Option<Vec<String>>,
    pub retry_schedule: Option<Vec<Duration>>,
    pub exchange_deadline: Option<Duration>,
    pub concurrency_limit: Option<u64>,
    pub created_at: Timestamp,
    pub variants: Vec<VariantRow>,
}

/// A variant with its present version.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct VariantRow {
    pub id: i64,
    pub name: String,
    pub variant_id: Id,
    pub version: i64,
    pub version_id: i64,
    pub created_at: Timestamp,
}

/// A version.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct VersionRow {
    pub number: i64,
    pub format: Format,
    pub definition: String,
    pub created_at: Timestamp,
    pub created_by: String,
}

/// What to change of a deployment. Outer `None`: leave it; inner `None`: back to the default.
#[derive(Debug, Clone, Default)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, section 7"
)]
pub struct Patch {
    pub callback_url: Option<Option<String>>,
    pub callback_hosts: Option<Option<Vec<String>>>,
    pub retry_schedule: Option<Option<Vec<Duration>>>,
    pub exchange_deadline: Option<Option<Duration>>,
    pub concurrency_limit: Option<Option<u64>>,
}

impl Patch {
    /// The names of what it changes.
    fn members(&self) -> Vec<&'static str> {
        let members = [
            ("callback_url", self.callback_url.is_some()),
            ("callback_hosts", self.callback_hosts.is_some()),
            ("retry_schedule", self.retry_schedule.is_some()),
            ("exchange_deadline", self.exchange_deadline.is_some()),
            ("concurrency_limit", self.concurrency_limit.is_some()),
        ];
        let changed = members.into_iter().filter(|(_, is_there)| *is_there);
        changed.map(|(name, _)| name).collect()
    }
}

/// How a definition is written: format, text, digest.
type Written = (String, String, [u8; 32]);

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Yaml => "yaml",
        Format::Json => "json",
    }
}

fn format_of(name: &str) -> Format {
    if name == "json" {
        Format::Json
    } else {
        Format::Yaml
    }
}

/// A version's text.
/// A version with its definition and the names of where it stands.
pub(super) struct Stored {
    pub(super) definition: String,
    pub(super) format: Format,
    pub(super) deployment: String,
    pub(super) variant: String,
    pub(super) number: i64,
}

pub(super) fn stored(conn: &Connection, version: i64) -> Result<Stored> {
    conn.prepare_cached(
        "SELECT v.definition, v.format, d.name, va.name, v.number
         FROM versions v JOIN variants va ON va.id = v.variant JOIN deployments d ON d.id = va.deployment
         WHERE v.id = ?1",
    )?
    .query_row([version], |row| {
        Ok(Stored {
            definition: row.get(0)?,
            format: format_of(&row.get::<_, String>(1)?),
            deployment: row.get(2)?,
            variant: row.get(3)?,
            number: row.get(4)?,
        })
    })
    .optional()?
    .ok_or_else(|| Error::internal(format!("version {version} is gone")))
}

fn json_list<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    name: &str,
) -> rusqlite::Result<Option<Vec<T>>> {
    let text: Option<String> = row.get(name)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn deployment(row: &Row<'_>) -> rusqlite::Result<DeploymentRow> {
    Ok(DeploymentRow {
        id: row.get("id")?,
        name: row.get("name")?,
        endpoint_id: Id(row.get("endpoint_id")?),
        callback_url: row.get("callback_url")?,
        callback_hosts: json_list(row, "callback_hosts")?,
        retry_schedule: json_list(row, "retry_schedule")?
            .map(|list| list.into_iter().map(Duration::from_millis).collect()),
        exchange_deadline: row
            .get::<_, Option<u64>>("exchange_deadline_ms")?
            .map(Duration::from_millis),
        concurrency_limit: row.get("concurrency_limit")?,
        created_at: Timestamp(row.get("created_at")?),
        variants: Vec::new(),
    })
}

/// Fills in the variants, each with its present (highest) version.
pub(super) fn with_variants(conn: &Connection, mut row: DeploymentRow) -> Result<DeploymentRow> {
    row.variants = conn
        .prepare_cached(
            "SELECT va.id, va.name, va.variant_id, va.created_at, v.number, v.id AS version_id
             FROM variants va JOIN versions v ON v.variant = va.id
                 AND v.number = (SELECT max(number) FROM versions WHERE variant = va.id)
             WHERE va.deployment = ?1 AND va.deleted_at IS NULL ORDER BY va.id",
        )?
        .query_map([row.id], |row| {
            Ok(VariantRow {
                id: row.get("id")?,
                name: row.get("name")?,
                variant_id: Id(row.get("variant_id")?),
                version: row.get("number")?,
                version_id: row.get("version_id")?,
                created_at: Timestamp(row.get("created_at")?),
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(row)
}

/// Every deployment that is there, with its sealed secrets.
pub(super) fn all(conn: &Connection) -> Result<Vec<(DeploymentRow, SealedSecrets)>> {
    let rows = conn
        .prepare_cached("SELECT * FROM deployments WHERE deleted_at IS NULL ORDER BY id")?
        .query_map([], |row| Ok((deployment(row)?, SealedSecrets::of(row)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    rows.into_iter()
        .map(|(row, secrets)| Ok((with_variants(conn, row)?, secrets)))
        .collect()
}

/// What a delivery needs of its deployment, deleted or not; without its variants.
pub(super) fn terms(conn: &Connection, id: i64) -> Result<(DeploymentRow, SealedSecrets)> {
    Ok(conn
        .prepare_cached("SELECT * FROM deployments WHERE id = ?1")?
        .query_row([id], |row| Ok((deployment(row)?, SealedSecrets::of(row)?)))?)
}

impl Tx<'_> {
    pub(super) fn deployment_id(&self, name: &str) -> Result<Option<i64>> {
        Ok(self
            .sql("SELECT id FROM deployments WHERE name = ?1 AND deleted_at IS NULL")?
            .query_row([name], |row| row.get(0))
            .optional()?)
    }

    pub(super) fn variant(&self, deployment: i64, name: &str) -> Result<Option<(i64, Id)>> {
        Ok(self
            .sql("SELECT id, variant_id FROM variants WHERE deployment = ?1 AND name = ?2 AND deleted_at IS NULL")?
            .query_row((deployment, name), |row| Ok((row.get(0)?, Id(row.get(1)?))))
            .optional()?)
    }

    fn insert_version(
        &self,
        variant: i64,
        written: &Written,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<i64> {
        let (format, text, digest) = written;
        Ok(self
            .sql(
                "INSERT INTO versions (variant, number, format, definition, digest, created_at, created_by)
                 SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM versions WHERE variant = ?1
                 RETURNING number",
            )?
            .query_row((variant, format, text, digest, now.0, &actor.name), |row| row.get(0))?)
    }

    fn put_version(&self, new: &NewVersion, actor: &Actor, now: Timestamp) -> Result<PutVersion> {
        let deployment = match self.deployment_id(&new.deployment)? {
            Some(id) => id,
            None => {
                let sealed = self
                    .sealer
                    .seal(&new.secret, &deployment_owner(&new.endpoint_id.0))?;
                self.sql(
                    "INSERT INTO deployments (name, endpoint_id, secret, created_at) VALUES (?1, ?2, ?3, ?4)
                     RETURNING id",
                )?
                .query_row((&new.deployment, new.endpoint_id.0, sealed, now.0), |row| row.get(0))?
            }
        };
        let (endpoint_id, sealed): ([u8; 16], Vec<u8>) = self
            .sql("SELECT endpoint_id, secret FROM deployments WHERE id = ?1")?
            .query_row([deployment], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let secret = self.sealer.open(&sealed, &deployment_owner(&endpoint_id))?;
        let (variant, variant_id) = match self.variant(deployment, &new.variant)? {
            Some(found) => found,
            None => {
                let id = self
                    .sql(
                        "INSERT INTO variants (deployment, name, variant_id, created_at) VALUES (?1, ?2, ?3, ?4)
                         RETURNING id",
                    )?
                    .query_row((deployment, &new.variant, new.variant_id.0, now.0), |row| row.get(0))?;
                (id, new.variant_id)
            }
        };
        let standing: Option<i64> = self
            .sql(
                "SELECT number FROM versions WHERE variant = ?1 AND digest = ?2
                     AND number = (SELECT max(number) FROM versions WHERE variant = ?1)",
            )?
            .query_row((variant, new.digest), |row| row.get(0))
            .optional()?;
        let version = match standing {
            Some(number) => number,
            None => {
                let written = (
                    format_name(new.format).to_owned(),
                    new.definition.clone(),
                    new.digest,
                );
                self.insert_version(variant, &written, actor, now)?
            }
        };
        let is_new = standing.is_none();
        if is_new {
            let target = format!("{}/{}", new.deployment, new.variant);
            self.audit(actor, "deploy", &target, &json!({"version": version}), now)?;
        }
        Ok(PutVersion {
            version,
            endpoint_id: Id(endpoint_id),
            variant_id,
            secret,
            is_new,
        })
    }
}

impl Store {
    /// Deploys a definition that was checked. Creates what is missing; equal to the present version, it changes nothing.
    pub fn put_version(&self, new: NewVersion, actor: Actor, now: Timestamp) -> Result<PutVersion> {
        let put = self.write(move |tx| tx.put_version(&new, &actor, now))?;
        self.refresh_directory()?;
        Ok(put)
    }

    /// Makes a new version equal to an old one. `None`: no such deployment, variant or version.
    pub fn roll_back(
        &self,
        deployment: String,
        variant: String,
        to: i64,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<i64>> {
        let version = self.write(move |tx| {
            let Some(id) = tx.deployment_id(&deployment)? else { return Ok(None) };
            let Some((variant_row, _)) = tx.variant(id, &variant)? else { return Ok(None) };
            let old: Option<Written> = tx
                .sql("SELECT format, definition, digest FROM versions WHERE variant = ?1 AND number = ?2")?
                .query_row((variant_row, to), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some(written) = old else { return Ok(None) };
            let version = tx.insert_version(variant_row, &written, &actor, now)?;
            let detail = json!({"version": version, "equal_to": to});
            tx.audit(&actor, "rollback", &format!("{deployment}/{variant}"), &detail, now)?;
            Ok(Some(version))
        })?;
        self.refresh_directory()?;
        Ok(version)
    }

    /// Changes a deployment's settings. False: no such deployment.
    pub fn patch_deployment(
        &self,
        name: String,
        patch: Patch,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool> {
        let changed = patch.members();
        let found = self.write(move |tx| {
            let Some(id) = tx.deployment_id(&name)? else { return Ok(false) };
            let ms = |list: &Vec<Duration>| json!(list.iter().copied().map(millis).collect::<Vec<_>>()).to_string();
            tx.sql(
                "UPDATE deployments SET
                     callback_url = CASE WHEN :set_url THEN :url ELSE callback_url END,
                     callback_hosts = CASE WHEN :set_hosts THEN :hosts ELSE callback_hosts END,
                     retry_schedule = CASE WHEN :set_schedule THEN :schedule ELSE retry_schedule END,
                     exchange_deadline_ms = CASE WHEN :set_deadline THEN :deadline ELSE exchange_deadline_ms END,
                     concurrency_limit = CASE WHEN :set_limit THEN :limit ELSE concurrency_limit END
                 WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": id,
                ":set_url": patch.callback_url.is_some(),
                ":url": patch.callback_url.as_ref().and_then(Option::as_ref),
                ":set_hosts": patch.callback_hosts.is_some(),
                ":hosts": patch.callback_hosts.iter().flatten().next().map(|hosts| json!(hosts).to_string()),
                ":set_schedule": patch.retry_schedule.is_some(),
                ":schedule": patch.retry_schedule.iter().flatten().next().map(ms),
                ":set_deadline": patch.exchange_deadline.is_some(),
                ":deadline": patch.exchange_deadline.flatten().map(millis),
                ":set_limit": patch.concurrency_limit.is_some(),
                ":limit": patch.concurrency_limit.flatten(),
            })?;
            tx.counts.forget_own_limits();
            tx.audit(&actor, "deployment.change", &name, &json!({"changed": changed}), now)?;
            Ok(true)
        })?;
        self.refresh_directory()?;
        Ok(found)
    }

    /// The deployments, newest first, with their variants.
    pub fn list_deployments(&self, page: Page) -> Result<Paged<DeploymentRow>> {
        self.read(|conn| {
            let rows = conn
                .prepare_cached(
                    "SELECT * FROM deployments WHERE deleted_at IS NULL AND id < ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map((page.below(), page.limit + 1), deployment)?
                .collect::<Result<Vec<_>, _>>()?;
            let rows = rows.into_iter().map(|row| with_variants(conn, row)).collect::<Result<_>>()?;
            Ok(Paged::cut(rows, page.limit, |row| row.id))
        })
    }

    /// The versions of a variant, newest first.
    pub fn list_versions(&self, variant: i64, page: Page) -> Result<Paged<VersionRow>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT number, format, definition, created_at, created_by FROM versions
                 WHERE variant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
            )?;
            let rows = statement.query((variant, page.below(), page.limit + 1))?;
            Ok(Paged::gather(rows, page.limit, version, weight, |row| {
                row.number
            })?)
        })
    }

    /// One version of a variant.
    pub fn version(&self, variant: i64, number: i64) -> Result<Option<VersionRow>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached(
                    "SELECT number, format, definition, created_at, created_by FROM versions
                     WHERE variant = ?1 AND number = ?2",
                )?
                .query_row((variant, number), version)
                .optional()?)
        })
    }
}

fn version(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        number: row.get("number")?,
        format: format_of(&row.get::<_, String>("format")?),
        definition: row.get("definition")?,
        created_at: time_column(row, "created_at")?.unwrap_or(Timestamp(0)),
        created_by: row.get("created_by")?,
    })
}
