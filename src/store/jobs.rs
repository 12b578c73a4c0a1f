//! Jobs: something done to every run, or delivery, that a filter matches.
//!
//! A part of a job is one commit, in which the row from which it goes on moves too: however often the process dies, no
//! thing is left out and none is done twice. Only what was there when the job was asked for is looked at.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Code, Error, Result};
use crate::flow::delivery::Event;
use crate::flow::job::{JobAction, JobStatus, Tally, cancellable, repeatable};
use crate::flow::retry_from::{Begin, How};
use crate::flow::run::RunStatus;
use crate::id::{Dice, Id};
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::deliveries::DeliveryFilter;
use crate::store::listing::RunFilter;
use crate::store::matching::{self, SLICE, Slice};
use crate::store::page::{Page, Paged, weight};
use crate::store::retry::{By, Retry};
use crate::store::runs::{NewRun, Texts, time_column};
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// What a job's public id begins with.
pub const PREFIX: &str = "job_";

/// How many things one commit does something to.
pub const PART: usize = 100;

/// How many rows, and how many bytes, one commit takes over from old runs, roughly.
const PART_ROWS: usize = 500;
const PART_BYTES: usize = 4 << 20;

/// How many runs of a deployment a job leaves in the queue, at least, and for each worker.
const AHEAD: u64 = 256;
const AHEAD_OF_WORKER: u64 = 8;

/// How many jobs may be under way.
pub const RUNNING_MAX: usize = 100;

/// How long a job is kept that has ended.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is done, and to which.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Runs are cancelled.
    CancelRuns {
        /// Which, if they are open.
        filter: RunFilter,
        /// Why.
        reason: String,
    },
    /// Runs are repeated.
    RetryRuns {
        /// Which, if they have ended.
        filter: RunFilter,
        /// From where, in which version.
        how: How,
        /// Whether the dashboard asks for it.
        from_dashboard: bool,
        /// The key that asks for it.
        api_key: Option<i64>,
    },
    /// Deliveries are sent again.
    Redeliver {
        /// Which.
        filter: DeliveryFilter,
    },
}

/// What a job looks at.
enum Targets {
    Runs(RunFilter),
    Deliveries(DeliveryFilter),
    Nothing,
}

impl Targets {
    fn runs(filter: &RunFilter, status: Vec<RunStatus>) -> Targets {
        match status.is_empty() {
            true => Targets::Nothing,
            false => Targets::Runs(RunFilter {
                status,
                ..filter.clone()
            }),
        }
    }

    fn slice(&self, conn: &Connection, below: i64, limit: usize) -> Result<Slice> {
        match self {
            Targets::Runs(filter) => matching::runs(conn, filter, below, limit),
            Targets::Deliveries(filter) => matching::deliveries(conn, filter, below, limit),
            Targets::Nothing => Ok(matching::NONE),
        }
    }

    fn among(&self, conn: &Connection, rows: &[i64]) -> Result<HashSet<i64>> {
        let found = match self {
            Targets::Runs(filter) => matching::runs_among(conn, filter, rows)?,
            Targets::Deliveries(filter) => matching::deliveries_among(conn, filter, rows)?,
            Targets::Nothing => Vec::new(),
        };
        Ok(found.into_iter().collect())
    }
}

impl Work {
    /// What it does.
    pub fn action(&self) -> JobAction {
        match self {
            Work::CancelRuns { .. } => JobAction::CancelRuns,
            Work::RetryRuns { .. } => JobAction::RetryRuns,
            Work::Redeliver { .. } => JobAction::Redeliver,
        }
    }

    fn targets(&self) -> Targets {
        match self {
            Work::CancelRuns { filter, .. } => Targets::runs(filter, cancellable(&filter.status)),
            Work::RetryRuns { filter, how, .. } => {
                Targets::runs(filter, repeatable(&filter.status, &how.from))
            }
            Work::Redeliver { filter } => Targets::Deliveries(filter.clone()),
        }
    }
}

/// A job to be started.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its id.
    pub job_id: Id,
    /// What it does.
    pub work: Work,
    /// How many match, if they were counted.
    pub count: Option<u64>,
    /// What was asked, for the audit.
    pub asked: Value,
}

/// A job as it stands in the file.
#[derive(Debug, Clone)]
pub struct JobRow {
    /// Its row.
    pub id: i64,
    /// Its id: `job_…`.
    pub job_id: Id,
    /// Where it stands.
    pub status: JobStatus,
    /// What it does.
    pub work: Work,
    /// Who asked for it.
    pub by: String,
    /// How many matched when it was asked for, if they were counted; how many there were, once it is through.
    pub count: Option<u64>,
    /// What became of them so far.
    pub tally: Tally,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// Rows below this one are still to be looked at.
    below: i64,
}

/// What a commit does to one thing: a run's or a delivery's row.
#[derive(Debug, Clone)]
enum Deed {
    Cancel,
    Redeliver,
    Retry(Box<Again>),
    Skip,
    Fail,
}

/// A run that is repeated.
#[derive(Debug, Clone)]
struct Again {
    new: NewRun,
    texts: Texts,
    retry: Retry,
}

/// What one commit of a job does.
#[derive(Debug)]
pub struct Part {
    deeds: Vec<(i64, Deed)>,
    below: i64,
}

impl Part {
    /// How many things it does something to.
    pub fn len(&self) -> usize {
        self.deeds.len()
    }

    /// Whether it only moves on.
    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }

    /// The first of its things alone: the rest is for the next part.
    pub fn first(&self) -> Part {
        let deeds: Vec<_> = self.deeds.iter().take(1).cloned().collect();
        let below = match deeds.first() {
            Some((row, _)) if self.deeds.len() > 1 => *row,
            _ => self.below,
        };
        Part { deeds, below }
    }

    /// The same, done to none of them: each counts as failed.
    pub fn given_up(&self) -> Part {
        let rows = self.deeds.iter();
        Part {
            deeds: rows.map(|(row, _)| (*row, Deed::Fail)).collect(),
            below: self.below,
        }
    }
}

/// What a commit of a job came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// There may be more.
    On,
    /// The queue has no place for more.
    Waits,
    /// It is through.
    Through,
    /// It was told to stop meanwhile; nothing was done.
    Stopped,
}

fn unreadable(what: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnName(format!("a job's {what}"))
}

fn job(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let work = row.get_ref("work")?.as_str()?;
    let status = row.get_ref("status")?.as_str()?;
    Ok(JobRow {
        id: row.get("id")?,
        job_id: Id(row.get("job_id")?),
        status: JobStatus::parse(status).ok_or_else(|| unreadable("status"))?,
        work: serde_json::from_str(work).map_err(|_| unreadable("work"))?,
        by: row.get("by")?,
        count: row.get("count")?,
        tally: Tally {
            done: row.get("done")?,
            skipped: row.get("skipped")?,
            failed: row.get("failed")?,
        },
        created_at: Timestamp(row.get("created_at")?),
        ended_at: time_column(row, "ended_at")?,
        below: row.get("below")?,
    })
}

impl Tx<'_> {
    fn job(&self, id: i64) -> Result<JobRow> {
        Ok(self
            .sql("SELECT * FROM jobs WHERE id = ?1")?
            .query_row([id], job)?)
    }

    fn start_job(&mut self, new: &NewJob, actor: &Actor, now: Timestamp) -> Result<JobRow> {
        let running: usize = self
            .sql("SELECT count(*) FROM jobs WHERE status = 'running'")?
            .query_row([], |row| row.get(0))?;
        if running >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} jobs are under way; wait for one, or cancel one");
            let mut error = Error::new(Code::TooManyRequests, message);
            error.retry_after = Some(10);
            return Err(error);
        }
        let action = new.work.action();
        let newest = match action {
            JobAction::CancelRuns | JobAction::RetryRuns => "SELECT coalesce(max(id), 0) FROM runs",
            JobAction::Redeliver => "SELECT coalesce(max(id), 0) FROM deliveries",
        };
        let newest: i64 = self.sql(newest)?.query_row([], |row| row.get(0))?;
        self.sql("DELETE FROM jobs WHERE ended_at < ?1")?
            .execute([now.0.saturating_sub(millis(KEPT))])?;
        let work = serde_json::to_string(&new.work).map_err(Error::internal)?;
        self.sql(
            "INSERT INTO jobs (job_id, action, status, work, by, below, count, created_at)
             VALUES (?1, ?2, 'running', ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            new.job_id.0,
            action.as_str(),
            work,
            actor.name,
            newest + 1,
            new.count,
            now.0,
        ])?;
        let id = self.conn.last_insert_rowid();
        let target = new.job_id.prefixed(PREFIX);
        let detail = json!({"action": action.as_str(), "asked": new.asked});
        self.audit(actor, "job.start", &target, &detail, now)?;
        self.job(id)
    }

    /// One part of a job, and the row from which it goes on.
    fn carry_out(&mut self, known: &JobRow, part: &Part, now: Timestamp) -> Result<Carried> {
        let goes_on_below: Option<i64> = self
            .sql("SELECT below FROM jobs WHERE id = ?1 AND job_id = ?2 AND status = 'running'")?
            .query_row((known.id, known.job_id.0), |row| row.get(0))
            .optional()?;
        if goes_on_below != Some(known.below) {
            return Ok(Carried::Stopped);
        }
        let rows: Vec<i64> = part.deeds.iter().map(|(row, _)| *row).collect();
        // Between the look and this commit others may have changed them.
        let matching = known.work.targets().among(self.conn, &rows)?;
        let (mut tally, mut below) = (Tally::default(), part.below);
        for (row, deed) in &part.deeds {
            if let Deed::Retry(again) = deed
                && !self.has_place_for_more(again.new.deployment)
            {
                below = row + 1;
                break;
            }
            match deed {
                _ if !matching.contains(row) => tally.skipped += 1,
                Deed::Skip => tally.skipped += 1,
                Deed::Fail => tally.failed += 1,
                Deed::Cancel => match self.cancel(*row, reason_of(&known.work), now)? {
                    true => tally.done += 1,
                    false => tally.skipped += 1,
                },
                Deed::Redeliver => self.redeliver_one(*row, &mut tally, now)?,
                Deed::Retry(again) => self.retry_one(again, &mut tally, now)?,
            }
        }
        if below != part.below && below == known.below {
            return Ok(Carried::Waits);
        }
        self.sql(
            "UPDATE jobs SET below = ?2, done = done + ?3, skipped = skipped + ?4, failed = failed + ?5
             WHERE id = ?1",
        )?
        .execute(params![
            known.id,
            below,
            tally.done,
            tally.skipped,
            tally.failed
        ])?;
        match (below, below == part.below) {
            (0, _) => self.end_job(known.id, now).map(|()| Carried::Through),
            (_, true) => Ok(Carried::On),
            (_, false) => Ok(Carried::Waits),
        }
    }

    fn end_job(&self, id: i64, now: Timestamp) -> Result<()> {
        let job = self.job(id)?;
        let (tally, count) = job.tally.settle(job.count);
        self.sql(
            "UPDATE jobs SET status = 'completed', ended_at = ?2, skipped = ?3, count = ?4 WHERE id = ?1",
        )?
        .execute(params![id, now.0, tally.skipped, count])?;
        Ok(())
    }

    /// Whether the queue takes another run of a job: a tenth of it is kept free for callers, and no deployment has more
    /// queued than keeps the workers busy for a while, since what its callers start comes behind it.
    fn has_place_for_more(&self, deployment: i64) -> bool {
        let most = self.limits.max_queued;
        let own = AHEAD.max(AHEAD_OF_WORKER * self.limits.workers as u64);
        self.counts.total().queued < most - most / 10 && self.counts.of(deployment).queued < own
    }

    fn redeliver_one(&mut self, row: i64, tally: &mut Tally, now: Timestamp) -> Result<()> {
        // Without its deployment's secret nothing can be signed.
        let became = match self.can_be_signed(row)? {
            false => &mut tally.failed,
            true => match self.apply_delivery(row, &Event::Redeliver, None, now)? {
                Ok(_) => &mut tally.done,
                Err(_) => &mut tally.skipped,
            },
        };
        *became += 1;
        Ok(())
    }

    fn retry_one(&mut self, again: &Again, tally: &mut Tally, now: Timestamp) -> Result<()> {
        let inserted = self.insert_run(&again.new, &again.texts, None, Some(&again.retry), now);
        match inserted {
            Ok(_) => tally.done += 1,
            // Refused before anything was written.
            Err(fault) if fault.code == Code::NotFound => tally.failed += 1,
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}

/// What a log may hold of it: what is wrong with a run's inputs may repeat them.
fn reason_to_log(fault: &Error) -> String {
    match fault.code {
        Code::InternalServerError => fault.to_string(),
        code => code.row().name.to_owned(),
    }
}

fn reason_of(work: &Work) -> &str {
    match work {
        Work::CancelRuns { reason, .. } => reason,
        Work::RetryRuns { .. } | Work::Redeliver { .. } => "",
    }
}

impl Store {
    /// How many things a job would concern now; a slice at a time, for as long as `goes_on` says. `None`: it said no.
    pub fn count_matching(&self, work: &Work, goes_on: impl Fn() -> bool) -> Result<Option<u64>> {
        let targets = work.targets();
        let (mut count, mut below) = (0, i64::MAX);
        while below > 0 {
            if !goes_on() {
                return Ok(None);
            }
            let slice = self.read(|conn| targets.slice(conn, below, SLICE))?;
            count += slice.rows.len() as u64;
            below = slice.below;
        }
        Ok(Some(count))
    }

    /// Starts a job: it is on disk when this returns, and goes on by itself.
    ///
    /// # Errors
    /// `too_many_requests` if many are under way.
    pub fn start_job(&self, new: NewJob, actor: Actor, now: Timestamp) -> Result<JobRow> {
        let row = self.write(move |tx| tx.start_job(&new, &actor, now))?;
        self.bells.jobs.ring();
        Ok(row)
    }

    /// One job. `None`: no such job.
    pub fn job(&self, job_id: Id) -> Result<Option<JobRow>> {
        self.read(|conn| {
            Ok(conn
                .prepare_cached("SELECT * FROM jobs WHERE job_id = ?1")?
                .query_row([job_id.0], job)
                .optional()?)
        })
    }

    /// Jobs, newest first.
    pub fn list_jobs(&self, page: Page) -> Result<Paged<JobRow>> {
        self.read(|conn| {
            let mut statement =
                conn.prepare_cached("SELECT * FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
            let rows = statement.query((page.below(), page.limit + 1))?;
            Ok(Paged::gather(rows, page.limit, job, weight, |row| row.id)?)
        })
    }

    /// Stops a job; what is done stays done. One that has ended is returned unchanged. `None`: no such job.
    pub fn cancel_job(&self, job_id: Id, actor: Actor, now: Timestamp) -> Result<Option<JobRow>> {
        self.write(move |tx| {
            let changed = tx
                .sql(
                    "UPDATE jobs SET status = 'cancelled', ended_at = ?2
                     WHERE job_id = ?1 AND status = 'running'",
                )?
                .execute((job_id.0, now.0))?;
            if changed > 0 {
                let target = job_id.prefixed(PREFIX);
                tx.audit(&actor, "job.cancel", &target, &Value::Null, now)?;
            }
            Ok(tx
                .sql("SELECT * FROM jobs WHERE job_id = ?1")?
                .query_row([job_id.0], job)
                .optional()?)
        })
    }

    /// The jobs that are under way, oldest first.
    pub fn running_jobs(&self) -> Result<Vec<JobRow>> {
        self.look(|conn| {
            Ok(conn
                .prepare_cached("SELECT * FROM jobs WHERE status = 'running' ORDER BY id")?
                .query_map([], job)?
                .collect::<rusqlite::Result<_>>()?)
        })
    }

    /// What a job does next, outside the writer. The runs that it starts get their ids from `dice`.
    pub fn job_part(&self, job: &JobRow, dice: &Dice, now: Timestamp) -> Result<Part> {
        let targets = job.work.targets();
        let slice = self.look(|conn| targets.slice(conn, job.below, PART))?;
        let all = |deed: Deed| Part {
            deeds: slice.rows.iter().map(|row| (*row, deed.clone())).collect(),
            below: slice.below,
        };
        match &job.work {
            Work::CancelRuns { .. } => Ok(all(Deed::Cancel)),
            Work::Redeliver { .. } => Ok(all(Deed::Redeliver)),
            Work::RetryRuns {
                how,
                from_dashboard,
                api_key,
                ..
            } => {
                let by = By {
                    source: if *from_dashboard { "dashboard" } else { "api" },
                    api_key: *api_key,
                };
                self.retries_of(job, &slice, how, &by, dice, now)
            }
        }
    }

    /// The runs of a slice, ready to be repeated: as many as a commit may take over.
    fn retries_of(
        &self,
        job: &JobRow,
        slice: &Slice,
        how: &How,
        by: &By,
        dice: &Dice,
        now: Timestamp,
    ) -> Result<Part> {
        let (mut rows, mut bytes, mut below) = (0, 0, slice.below);
        let mut deeds = Vec::with_capacity(slice.rows.len());
        let (mut failed, mut why) = (0, String::new());
        for row in &slice.rows {
            if rows >= PART_ROWS || bytes >= PART_BYTES {
                below = deeds.last().map_or(below, |(last, _)| *last);
                break;
            }
            let deed = match self.retry_deed(*row, how, by, Id::new(now, dice)) {
                Ok(Some(again)) => {
                    rows += again.retry.steps + 1;
                    bytes += again.retry.bytes + again.texts.len();
                    Deed::Retry(Box::new(again))
                }
                Ok(None) => Deed::Skip,
                Err(fault) if fault.code == Code::Unavailable => return Err(fault),
                Err(fault) => {
                    (failed, why) = (failed + 1, reason_to_log(&fault));
                    Deed::Fail
                }
            };
            deeds.push((*row, deed));
        }
        if failed > 0 {
            let id = job.job_id.prefixed(PREFIX);
            log::warn!("{id} cannot repeat {failed} of {} runs: {why}", deeds.len());
        }
        Ok(Part { deeds, below })
    }

    /// `None`: there is nothing to repeat.
    fn retry_deed(&self, row: i64, how: &How, by: &By, run_id: Id) -> Result<Option<Again>> {
        let Some(old) = self.run_of_row(row)? else {
            return Ok(None);
        };
        if how.from == Begin::Failed && old.error_step.is_none() {
            return Ok(None);
        }
        let (new, retry) = self.prepare_retry(&old, how, by, run_id)?;
        let texts = Texts::of(&new)?;
        Ok(Some(Again { new, texts, retry }))
    }

    /// Does a part of a job, in one commit.
    pub fn carry_out(&self, job: &JobRow, part: &Arc<Part>, now: Timestamp) -> Result<Carried> {
        let (known, part) = (job.clone(), Arc::clone(part));
        self.write(move |tx| tx.carry_out(&known, &part, now))
    }
}

#[cfg(test)]
mod tests;
