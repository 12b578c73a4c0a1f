//! What has changed, looked up for those who listen: facts of runs for their filters, rows to be shown.
//!
//! Every look is by the numbers of rows, as many as were asked for. Must not change anything.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use crate::error::Result;
use crate::flow::approval::ApprovalStatus;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::deliveries::{self, DeliveryRow};
use crate::store::listing::RunFilter;
use crate::store::runs::{RunRow, Values, run, run_status};
use crate::time::Timestamp;

/// What filters ask about a run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Which run.
    pub run_id: Id,
    /// Where it stands now.
    pub status: RunStatus,
    source: String,
    delivery: String,
    deployment: String,
    variant: String,
    api_key: Option<i64>,
    user: Option<String>,
    created_at: Timestamp,
    /// As lists compare them.
    labels: Vec<(String, String)>,
}

/// An approval as it is told of.
#[derive(Debug, Clone)]
pub struct ChangedApproval {
    /// The approval's id.
    pub approval_id: Id,
    /// The run that waits for it.
    pub run_id: Id,
    /// Where it stands: the word for it.
    pub status: &'static str,
}

fn is_any<T: PartialEq>(wanted: &[T], found: &T) -> bool {
    wanted.is_empty() || wanted.contains(found)
}

fn is_one<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

impl Facts {
    /// Whether a list with that filter shows the run; but for its state, and for which run it is.
    pub fn fit(&self, filter: &RunFilter) -> bool {
        let has_label = |(key, value): &(String, Option<String>)| {
            let mut labels = self.labels.iter();
            labels.any(|(name, text)| name == key && value.as_ref().is_none_or(|one| one == text))
        };
        let has_key = match self.api_key {
            Some(key) => is_any(&filter.api_key, &key),
            None => filter.api_key.is_empty(),
        };
        has_key
            && is_any(&filter.source, &self.source)
            && is_one(filter.delivery.as_ref(), Some(&self.delivery))
            && is_one(filter.deployment.as_ref(), Some(&self.deployment))
            && is_one(filter.variant.as_ref(), Some(&self.variant))
            && is_one(filter.user.as_ref(), self.user.as_ref())
            && filter.metadata.iter().all(has_label)
            && filter.from.is_none_or(|from| self.created_at >= from)
            && filter.to.is_none_or(|to| self.created_at < to)
    }
}

/// Rows by their numbers, as a parameter.
fn list(rows: &[i64]) -> String {
    serde_json::to_string(rows).unwrap_or_default()
}

/// Whatever the statement finds for those rows, by their `id`.
fn by_row<T>(
    conn: &Connection,
    sql: &str,
    rows: &[i64],
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<HashMap<i64, T>> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map([list(rows)], |row| Ok((row.get("id")?, read(row)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn facts(row: &Row<'_>) -> rusqlite::Result<Facts> {
    Ok(Facts {
        run_id: Id(row.get("run_id")?),
        status: run_status(row, "status")?,
        source: row.get("source")?,
        delivery: row.get("delivery")?,
        deployment: row.get("deployment")?,
        variant: row.get("variant")?,
        api_key: row.get("api_key")?,
        user: row.get("user")?,
        created_at: Timestamp(row.get("created_at")?),
        labels: Vec::new(),
    })
}

impl Store {
    /// What filters ask about these runs. `labels`: also their labels, which take another look.
    pub fn facts_of(&self, runs: &[i64], labels: bool) -> Result<HashMap<i64, Facts>> {
        self.read(|conn| {
            let mut found = by_row(
                conn,
                "SELECT r.id, r.run_id, r.status, r.source, r.delivery, d.name AS deployment, va.name AS variant,
                        r.api_key, r.user, r.created_at
                 FROM runs r
                 JOIN deployments d ON d.id = r.deployment
                 JOIN versions v ON v.id = r.version
                 JOIN variants va ON va.id = v.variant
                 WHERE r.id IN (SELECT value FROM json_each(?1))",
                runs,
                facts,
            )?;
            if labels {
                let mut statement = conn.prepare_cached(
                    "SELECT r.id, label.key,
                            CASE label.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'null' THEN 'null'
                                 ELSE CAST(label.value AS TEXT) END
                     FROM runs r, json_each(r.metadata) label
                     WHERE r.id IN (SELECT value FROM json_each(?1))",
                )?;
                let mut rows = statement.query([list(runs)])?;
                while let Some(row) = rows.next()? {
                    if let Some(facts) = found.get_mut(&row.get(0)?) {
                        facts.labels.push((row.get(1)?, row.get(2)?));
                    }
                }
            }
            Ok(found)
        })
    }

    /// The ids of these runs.
    pub fn run_ids_of(&self, runs: &[i64]) -> Result<HashMap<i64, Id>> {
        let sql = "SELECT id, run_id FROM runs WHERE id IN (SELECT value FROM json_each(?1))";
        self.read(|conn| by_row(conn, sql, runs, |row| Ok(Id(row.get(1)?))))
    }

    /// These runs, without inputs and outputs.
    pub fn bare_runs(&self, runs: &[i64]) -> Result<HashMap<i64, RunRow>> {
        let select = Values::Sizes.select_run();
        let sql = format!("{select} WHERE r.id IN (SELECT value FROM json_each(?1))");
        self.read(|conn| by_row(conn, &sql, runs, run))
    }

    /// These deliveries.
    pub fn deliveries_of(&self, rows: &[i64]) -> Result<HashMap<i64, DeliveryRow>> {
        let select = deliveries::SELECT;
        let sql = format!("{select} WHERE d.id IN (SELECT value FROM json_each(?1))");
        self.read(|conn| by_row(conn, &sql, rows, deliveries::delivery))
    }

    /// These approvals.
    pub fn approvals_of(&self, rows: &[i64]) -> Result<HashMap<i64, ChangedApproval>> {
        let sql = "SELECT a.id, a.approval_id, r.run_id, a.status FROM approvals a JOIN runs r ON r.id = a.run
                   WHERE a.id IN (SELECT value FROM json_each(?1))";
        self.read(|conn| {
            by_row(conn, sql, rows, |row| {
                let word = row.get_ref(3)?.as_str()?;
                let status = ApprovalStatus::parse(word).ok_or_else(|| {
                    rusqlite::Error::InvalidColumnName(format!("status = {word}"))
                })?;
                Ok(ChangedApproval {
                    approval_id: Id(row.get(1)?),
                    run_id: Id(row.get(2)?),
                    status: status.as_str(),
                })
            })
        })
    }
}
