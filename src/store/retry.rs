//! Runs repeated: what a new run takes over from the one that it repeats, written in the commit that inserts it.
//!
//! Which steps those are is decided by [`crate::flow::retry_from`]. Must not change the old run.

use rusqlite::{OptionalExtension, params};
use serde_json::json;

use crate::error::{Code, Error, Result};
use crate::flow::hosts::judge_callback_host;
use crate::flow::names::excerpt;
use crate::flow::retry_from::{Begin, Edition, How, NoPlace, Outline, reused};
use crate::flow::run::RunStatus;
use crate::flow::source;
use crate::flow::step::StepStatus;
use crate::flow::workflow::UnknownInputs;
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::deployments;
use crate::store::directory::DeploymentEntry;
use crate::store::runs::{Inserted, NewRun, RunRow, Texts};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// What a run that repeats another takes over.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The run that it repeats.
    of: Id,
    /// That run's row.
    row: i64,
    /// The paths of the steps, as a JSON list.
    paths: String,
    /// How many those are.
    pub(super) steps: usize,
    /// And how long what is on record of them is, in bytes.
    pub(super) bytes: usize,
}

/// Who repeats runs.
#[derive(Debug, Clone)]
pub struct By {
    /// `api` or `dashboard`.
    pub source: &'static str,
    /// The key's row.
    pub api_key: Option<i64>,
}

/// A run of which nothing more is there to be taken over.
const STEPS_GONE: &str =
    "The run's steps are no longer kept; repeat it from the start, or start a new one";

impl Tx<'_> {
    /// Whether what is to be taken over is there.
    pub(super) fn judge_retry(&self, retry: &Retry) -> Result<()> {
        if retry.steps == 0 {
            return Ok(());
        }
        let kept: usize = self
            .sql(
                "SELECT count(*) FROM steps WHERE run = (SELECT id FROM runs WHERE id = ?1 AND run_id = ?2)
                     AND status IN ('completed', 'skipped') AND path IN (SELECT value FROM json_each(?3))",
            )?
            .query_row((retry.row, retry.of.0, &retry.paths), |row| row.get(0))?;
        match kept == retry.steps {
            true => Ok(()),
            false => Err(Error::not_found(STEPS_GONE)),
        }
    }

    /// Writes what a run takes over. `id`: its row.
    pub(super) fn take_over(&self, id: i64, retry: &Retry) -> Result<()> {
        self.sql("UPDATE runs SET retry_of = ?2 WHERE id = ?1")?
            .execute((id, retry.of.0))?;
        if retry.steps == 0 {
            return Ok(());
        }
        self.sql(
            "INSERT INTO steps (run, path, kind, status, failures, attempts, tried_at, input, output, meta, error,
                                error_class, started_at, ended_at, reused)
             SELECT ?1, path, kind, status, failures, attempts, tried_at, input, output, meta, error,
                    error_class, started_at, ended_at, 1
             FROM steps WHERE run = ?2 AND status IN ('completed', 'skipped')
                 AND path IN (SELECT value FROM json_each(?3)) ORDER BY id",
        )?
        .execute(params![id, retry.row, retry.paths])?;
        Ok(())
    }
}

impl Store {
    /// Judges whether a run can be repeated, and says what is to be inserted for it.
    ///
    /// # Errors
    /// `runs_open` if it has not ended; `not_found` if its deployment or variant is gone; `validation_error` if it has no
    /// such step or its inputs do not fit; `callback_url_forbidden`, `callback_delivery_required`.
    pub fn prepare_retry(
        &self,
        old: &RunRow,
        how: &How,
        by: &By,
        run_id: Id,
    ) -> Result<(NewRun, Retry)> {
        if !old.status.is_final() {
            let message = format!("the run is still {}; cancel it first", old.status.as_str());
            return Err(Error::new(Code::RunsOpen, message));
        }
        let directory = self.directory();
        let entry = directory.deployment_of(old.deployment_id);
        let entry = entry.ok_or_else(|| {
            let name = &old.deployment;
            Error::not_found(format!("the run's deployment {name:?} is deleted"))
        })?;
        judge_host(entry, old.callback_url.as_deref())?;
        let version = match how.version {
            Edition::Same => old.version_id,
            Edition::Latest => latest(entry, &old.variant)?,
        };
        let deployed = self.deployed(version)?;
        let inputs = match how.version {
            Edition::Same => old.inputs.clone(),
            Edition::Latest => {
                if old.callback_url.is_none() && deployed.workflow.asks_a_person() {
                    return Err(Error::of(Code::CallbackDeliveryRequired));
                }
                // What the new version does not declare any more does it no harm.
                let given = old.inputs.clone();
                deployed
                    .workflow
                    .accept_inputs(given, UnknownInputs::Keep)?
            }
        };
        let (paths, bytes) = self.steps_reused(old, version, &how.from)?;
        let new = NewRun {
            run_id,
            deployment: old.deployment_id,
            version,
            source: by.source,
            callback_url: old.callback_url.clone(),
            api_key: by.api_key,
            user: old.user.clone(),
            metadata: old.metadata.clone(),
            inputs,
            idempotency: None,
            waits: false,
        };
        let retry = Retry {
            of: old.run_id,
            row: old.id,
            steps: paths.len(),
            bytes,
            paths: json!(paths).to_string(),
        };
        Ok((new, retry))
    }

    /// The paths of the steps that a run of `version` takes over, and how long what is on record of them is.
    fn steps_reused(
        &self,
        old: &RunRow,
        version: i64,
        from: &Begin,
    ) -> Result<(Vec<String>, usize)> {
        if *from == Begin::Start {
            return Ok((Vec::new(), 0));
        }
        let (mut rows, weights, ran, runs) = self.look(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT path, status, coalesce(octet_length(input), 0) + coalesce(octet_length(output), 0)
                         + coalesce(octet_length(meta), 0) + coalesce(octet_length(attempts), 0)
                     FROM steps WHERE run = ?1 ORDER BY id",
                )?
                .query_map([old.id], |row| {
                    let word = row.get_ref(1)?.as_str()?;
                    let status = StepStatus::parse(word).unwrap_or(StepStatus::Failed);
                    let weight: usize = row.get(2)?;
                    Ok(((row.get::<_, String>(0)?, status), weight))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let (rows, weights): (Vec<_>, Vec<usize>) = found.into_iter().unzip();
            let ran = deployments::stored(conn, old.version_id)?;
            let runs = match version == old.version_id {
                true => None,
                false => Some(deployments::stored(conn, version)?),
            };
            Ok((rows, weights, ran, runs))
        })?;
        let ran = outline(&ran)?;
        let runs = runs.as_ref().map(outline).transpose()?;
        let failed = old.error_step.as_deref();
        let kept = reused(&ran, runs.as_ref().unwrap_or(&ran), from, failed, &rows);
        let kept = kept.map_err(|why| no_place(&why, old))?;
        let bytes = kept.iter().map(|at| weights[*at]).sum();
        let paths = kept.into_iter().map(|at| std::mem::take(&mut rows[at].0));
        Ok((paths.collect(), bytes))
    }

    /// Starts a run that repeats another: it is on disk when this returns. Answers as an insert does.
    pub fn insert_retry(
        &self,
        new: NewRun,
        retry: Retry,
        how: &How,
        actor: Actor,
        now: Timestamp,
    ) -> Result<RunStatus> {
        let texts = Texts::of(&new)?;
        let detail = json!({
            "new": new.run_id.request_id(), "from": how.from, "version": how.version,
            "steps_reused": retry.steps,
        });
        self.write(move |tx| {
            let inserted = tx.insert_run(&new, &texts, None, Some(&retry), now)?;
            let target = retry.of.request_id();
            tx.audit(&actor, "run.retry", &target, &detail, now)?;
            Ok(match inserted {
                Inserted::New(status) | Inserted::Replayed(_, status) => status,
            })
        })
    }

    /// The runs that repeat a run, newest first; with `own`, those that this key started.
    pub fn retries(&self, of: Id, own: Option<i64>, limit: usize) -> Result<Vec<Id>> {
        self.read(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT run_id FROM runs WHERE retry_of = ?1 AND (?2 IS NULL OR api_key = ?2)
                     ORDER BY id DESC LIMIT ?3",
                )?
                .query_map((of.0, own, limit), |row| Ok(Id(row.get(0)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(found)
        })
    }

    /// One run, by its row, for the loops. `None`: it is gone.
    pub(super) fn run_of_row(&self, id: i64) -> Result<Option<RunRow>> {
        self.look(|conn| {
            Ok(conn
                .prepare_cached(&format!("{} WHERE r.id = ?1", super::runs::SELECT_RUN))?
                .query_row([id], super::runs::run)
                .optional()?)
        })
    }
}

fn outline(stored: &deployments::Stored) -> Result<Outline> {
    let node = source::read(&stored.definition, stored.format)
        .map_err(|problem| Error::internal(format!("a stored definition: {}", problem.message)))?;
    Ok(Outline::of(&node.to_json()))
}

fn no_place(why: &NoPlace, old: &RunRow) -> Error {
    let message = match why {
        NoPlace::NothingFailed => format!(
            "the run is {} and has no failed step to begin with: give `from`, `start` or a step",
            old.status.as_str()
        ),
        NoPlace::NoStep(step) => format!(
            "from must be `start`, `failed`, or a step's path or id, got {:?}, which the workflow does not have",
            excerpt(step)
        ),
    };
    Error::invalid("/from", message)
}

fn latest(entry: &DeploymentEntry, variant: &str) -> Result<i64> {
    let found = entry.row.variants.iter().find(|it| it.name == variant);
    found.map(|it| it.version_id).ok_or_else(|| {
        Error::not_found(format!(
            "the run's variant {variant:?} of deployment {:?} is deleted",
            entry.row.name
        ))
    })
}

/// Whether results of that deployment may go to that URL still.
fn judge_host(entry: &DeploymentEntry, callback_url: Option<&str>) -> Result<()> {
    let (Some(hosts), Some(url)) = (&entry.row.callback_hosts, callback_url) else {
        return Ok(());
    };
    let refused = |why: String| Error::new(Code::CallbackUrlForbidden, why);
    let url = url::Url::parse(url).map_err(|fault| refused(fault.to_string()))?;
    judge_callback_host(hosts, &url).map_err(refused)
}
