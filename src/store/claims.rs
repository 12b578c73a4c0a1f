//! Runs as the loops see them: claimed in batches, recorded step by step, woken, released.
//!
//! A [`Claim`] can be spent once: it is neither `Clone` nor `Copy`, and [`Store::record`] takes it by value. A late
//! record is refused by its token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{OptionalExtension, named_params};
use serde_json::{Map, Value};

use crate::bell::{Stop, locked};
use crate::error::{Error, Result};
use crate::flow::delivery::EventFacts;
use crate::flow::run::{Change, Ending, Event, OpenSteps, Refused, Run, RunStatus, next};
use crate::flow::step::StepRecord;
use crate::id::Id;
use crate::store::Store;
use crate::store::figures;
use crate::store::runs::{SELECT_RUN, run, status_column, time_column};
use crate::store::steps;
use crate::store::steps::{Finished, Opened};
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// A worker's hold on one run.
#[derive(Debug)]
pub struct Claim {
    /// The run's row.
    pub id: i64,
    /// The run.
    pub run_id: Id,
    /// The deployment's name.
    pub deployment: String,
    /// The variant's name.
    pub variant: String,
    /// The version's row.
    pub version_id: i64,
    /// The version's number.
    pub version: i64,
    /// The caller's name for its user.
    pub user: Option<String>,
    /// The caller's labels.
    pub metadata: Map<String, Value>,
    /// The run's inputs.
    pub inputs: Map<String, Value>,
    /// When the run was accepted.
    pub created_at: Timestamp,
    /// What is on record of its steps. Empty at first: [`Store::load_steps`] fills it in, outside the writer.
    pub steps: Vec<StepRecord>,
    /// Whether there may be steps on record.
    pub is_resumed: bool,
    /// Asked when the run is cancelled or the server stops.
    pub stop: Stop,
    token: i64,
    stops: Arc<Mutex<HashMap<i64, Stop>>>,
}

/// What names a claim without holding it.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    id: i64,
    token: i64,
}

impl Claim {
    /// Names the claim, to end the run when the claim itself is gone.
    pub fn ticket(&self) -> Ticket {
        Ticket {
            id: self.id,
            token: self.token,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut stops = locked(&self.stops);
        // Whoever claimed the run since has a stop of its own there.
        if stops.get(&self.id).is_some_and(|stop| stop.is(&self.stop)) {
            stops.remove(&self.id);
        }
    }
}

/// What a worker has to say: what was done, and what comes next. One commit.
#[derive(Debug)]
pub struct Record {
    /// The try that ended.
    pub finished: Option<Finished>,
    /// Steps that came to their end without leaving the process, in order.
    pub results: Vec<crate::flow::step::StepResult>,
    /// What comes next.
    pub then: Next,
}

/// What comes next for a run.
#[derive(Debug)]
pub enum Next {
    /// A try begins; the claim is held for so long.
    Start(Opened, Duration),
    /// A delay begins.
    Delay(Opened, Timestamp),
    /// The finished try is repeated then.
    Retry(Timestamp),
    /// The run ends.
    End(Ending),
}

/// What became of a record.
#[derive(Debug)]
pub enum Recorded {
    /// The run is still in the worker's hands.
    GoOn(Claim),
    /// The run waits; the claim is spent.
    Parked,
    /// The run ended; the claim is spent.
    Ended,
    /// The run was no longer the worker's (cancelled, or the claim expired): nothing was recorded.
    Lost,
    /// Nothing was recorded, for that reason; the claim still stands.
    Refused(Claim, Error),
}

impl Tx<'_> {
    /// The row of a run.
    pub(super) fn run_number(&self, run_id: Id) -> Result<Option<i64>> {
        Ok(self
            .sql("SELECT id FROM runs WHERE run_id = ?1")?
            .query_row([run_id.0], |row| row.get(0))
            .optional()?)
    }

    /// Asks the state machine, and writes what it says. With an `ending`, the final event is owed in the same commit.
    pub(super) fn apply(
        &mut self,
        id: i64,
        event: &Event,
        ending: Option<&Ending>,
        now: Timestamp,
    ) -> Result<Result<RunStatus, Refused>> {
        let (before, deployment, run_id, times) = self
            .sql(
                "SELECT status, claim_token, wake_at, deployment, run_id, created_at, started_at
                 FROM runs WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let before = Run {
                    status: status_column(row, "status")?,
                    claim: row.get(1)?,
                    wake_at: time_column(row, "wake_at")?,
                };
                let times = (row.get(5)?, row.get(6)?);
                Ok((before, row.get::<_, i64>(3)?, Id(row.get(4)?), times))
            })?;
        let change = match next(&before, event, now) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        self.write_change(id, &change, ending, now)?;
        match change.steps {
            OpenSteps::Keep => {}
            OpenSteps::Interrupt => self.interrupt_steps(id, now)?,
            OpenSteps::Cancel => self.cancel_steps(id, now)?,
        }
        if before.status == RunStatus::Running && change.status != RunStatus::Running {
            // Its slot is free: whoever was over a limit may go on.
            self.after(Effect::SlotFree);
        }
        if before.status != change.status {
            self.counts.leave(deployment, before.status);
            self.counts.enter(deployment, change.status);
            self.after(Effect::Run(run_id, change.status));
            if let Some(fact) = figures::of_run(change.status, times, now) {
                self.after(Effect::Count(fact));
            }
        }
        if let (true, Some(ending)) = (change.status.is_final(), ending) {
            self.owe_final_event(id, ending, now)?;
        }
        Ok(Ok(change.status))
    }

    fn write_change(
        &self,
        id: i64,
        change: &Change,
        ending: Option<&Ending>,
        now: Timestamp,
    ) -> Result<()> {
        let (output, error, code, step) = match ending {
            Some(Ending::Completed { output }) => (Some(output.to_string()), None, None, None),
            Some(Ending::Failed { error, code, step }) => {
                (None, Some(error.as_str()), Some(*code), step.as_deref())
            }
            Some(Ending::Cancelled { reason }) => (None, Some(reason.as_str()), None, None),
            None => (None, None, None, None),
        };
        self.sql(
            "UPDATE runs SET
                 status = :status, wake_at = :wake_at,
                 claim_token = :token,
                 claim_expires_at = CASE WHEN :token IS NULL THEN NULL ELSE coalesce(claim_expires_at, :now) END,
                 started_at = CASE WHEN :token IS NULL THEN started_at ELSE coalesce(started_at, :now) END,
                 ended_at = CASE WHEN :final THEN :now END,
                 output = :output, error = :error, error_code = :code, error_step = :step
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": id,
            ":status": change.status.as_str(),
            ":wake_at": change.wake_at.map(|at| at.0),
            ":token": change.claim,
            ":now": now.0,
            ":final": change.status.is_final(),
            ":output": output,
            ":error": error,
            ":code": code,
            ":step": step,
        })?;
        Ok(())
    }

    /// Inserts the delivery of the run's end, if its result goes anywhere.
    fn owe_final_event(&mut self, id: i64, ending: &Ending, now: Timestamp) -> Result<()> {
        let goes: bool = self
            .sql("SELECT callback_url IS NOT NULL FROM runs WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        if !goes {
            return Ok(());
        }
        let row = self.run_row(id)?;
        let Some(url) = row.callback_url else {
            return Ok(());
        };
        let facts = EventFacts {
            run_id: row.run_id,
            deployment: row.deployment,
            variant: row.variant,
            version: row.version,
            user: row.user,
            metadata: row.metadata,
            created_at: now,
        };
        self.insert_delivery(id, row.deployment_id, &url, &facts, ending, now)
    }

    /// How many runs of each deployment to take: round after round, one each, within their shares.
    fn shares_of(&mut self, free: usize) -> Result<Vec<(i64, usize)>> {
        let waiting: Vec<(i64, u64, u64)> = self
            .counts
            .deployments()
            .filter(|(_, open)| open.queued > 0)
            .map(|(id, open)| (id, open.queued, open.running))
            .collect();
        let mut rooms = Vec::new();
        for (id, queued, running) in waiting {
            let limit: Option<u64> = self
                .sql("SELECT concurrency_limit FROM deployments WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            let room = limit
                .unwrap_or(u64::MAX)
                .saturating_sub(running)
                .min(queued);
            rooms.push((id, room, running));
        }
        // Whoever is held back by a limit of its own does not wait for a slot.
        let cap = match rooms.iter().filter(|(_, room, _)| *room > 0).count() {
            0 => return Ok(Vec::new()),
            1 => self.limits.workers as u64,
            _ => self.limits.share(),
        };
        let mut rooms: Vec<(i64, usize)> = rooms
            .into_iter()
            .map(|(id, room, running)| (id, room.min(cap.saturating_sub(running)) as usize))
            .collect();
        // The round goes on where the last one stopped.
        let turn = self.counts.turn;
        let start = rooms.iter().position(|(id, _)| *id > turn).unwrap_or(0);
        rooms.rotate_left(start);
        let mut taken: Vec<(i64, usize)> = rooms.iter().map(|(id, _)| (*id, 0)).collect();
        let mut left = free;
        while left > 0 {
            let mut any = false;
            for ((id, room), (_, count)) in rooms.iter().zip(&mut taken) {
                if left > 0 && *count < *room {
                    *count += 1;
                    left -= 1;
                    any = true;
                    self.counts.turn = *id;
                }
            }
            if !any {
                break;
            }
        }
        taken.retain(|(_, count)| *count > 0);
        Ok(taken)
    }

    fn claim_one(
        &mut self,
        id: i64,
        token: i64,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Option<RunStatus>> {
        let claimed = self.apply(id, &Event::Claimed(token), None, now)?.ok();
        if claimed.is_some() {
            self.extend_claim(id, now.plus(lease))?;
        }
        Ok(claimed)
    }

    fn extend_claim(&self, id: i64, until: Timestamp) -> Result<()> {
        self.sql("UPDATE runs SET claim_expires_at = ?2 WHERE id = ?1")?
            .execute((id, until.0))?;
        Ok(())
    }

    fn record(
        &mut self,
        id: i64,
        token: i64,
        record: &Record,
        now: Timestamp,
    ) -> Result<Result<RunStatus, Refused>> {
        let (event, ending) = match &record.then {
            Next::Start(..) => (Event::Advanced(token), None),
            Next::Delay(_, until) | Next::Retry(until) => (Event::Parked(token, *until), None),
            Next::End(ending @ Ending::Completed { .. }) => (Event::Completed(token), Some(ending)),
            Next::End(ending @ Ending::Failed { .. }) => (Event::Failed(token), Some(ending)),
            // A worker does not cancel; a cancellation takes the claim away from it.
            Next::End(Ending::Cancelled { .. }) => return Ok(Err(Refused::ClaimLost)),
        };
        let status = match self.apply(id, &event, ending, now)? {
            Ok(status) => status,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(finished) = &record.finished {
            self.finish_step(id, finished, now)?;
        }
        for result in &record.results {
            self.insert_result(id, result, now)?;
        }
        match &record.then {
            Next::Start(opened, lease) => {
                self.open_step(id, opened, None, now)?;
                self.extend_claim(id, now.plus(*lease))?;
            }
            Next::Delay(opened, until) => self.open_step(id, opened, Some(*until), now)?,
            Next::Retry(_) | Next::End(_) => {}
        }
        Ok(Ok(status))
    }
}

impl Store {
    /// Takes up to `limit` queued runs, fairly by deployment, each held for `lease`. Their tokens follow `token`.
    pub fn claim_runs(
        &self,
        limit: usize,
        token: i64,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Claim>> {
        let stops = self.stops.clone();
        self.write(move |tx| {
            let busy = tx.counts.total().running as usize;
            let free = limit.min(tx.limits.workers.saturating_sub(busy));
            let mut claims = Vec::new();
            for (deployment, count) in tx.shares_of(free)? {
                let ids = tx
                    .sql(
                        "SELECT id, started_at IS NOT NULL FROM runs
                         WHERE deployment = ?1 AND status = 'queued' AND ended_at IS NULL ORDER BY id LIMIT ?2",
                    )?
                    .query_map((deployment, count), |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<Result<Vec<(i64, bool)>, _>>()?;
                for (id, was_started) in ids {
                    let token = token.wrapping_add(claims.len() as i64);
                    if tx.claim_one(id, token, lease, now)?.is_some() {
                        let row = tx.sql(&format!("{SELECT_RUN} WHERE r.id = ?1"))?.query_row([id], run)?;
                        let stop = Stop::default();
                        locked(&stops).insert(id, stop.clone());
                        claims.push(Claim {
                            id,
                            run_id: row.run_id,
                            deployment: row.deployment,
                            variant: row.variant,
                            version_id: row.version_id,
                            version: row.version,
                            user: row.user,
                            metadata: row.metadata,
                            inputs: row.inputs,
                            created_at: row.created_at,
                            steps: Vec::new(),
                            is_resumed: was_started,
                            stop,
                            token,
                            stops: stops.clone(),
                        });
                    }
                }
            }
            Ok(claims)
        })
    }

    /// Records what a worker did and what comes next, in one commit. Spends the claim unless the run goes on.
    pub fn record(&self, claim: Claim, record: Arc<Record>, now: Timestamp) -> Recorded {
        let (id, token) = (claim.id, claim.token);
        match self.write(move |tx| tx.record(id, token, &record, now)) {
            Ok(Ok(RunStatus::Running)) => Recorded::GoOn(claim),
            Ok(Ok(status)) if status.is_final() => Recorded::Ended,
            Ok(Ok(_)) => Recorded::Parked,
            Ok(Err(_)) => Recorded::Lost,
            Err(fault) => Recorded::Refused(claim, fault),
        }
    }

    /// Wakes up to `limit` runs whose time has come. Returns how many.
    pub fn wake_due(&self, limit: usize, now: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let ids = tx
                .sql("SELECT id FROM runs WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2")?
                .query_map((now.0, limit), |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut woken = 0;
            for id in ids {
                woken += usize::from(tx.apply(id, &Event::Due, None, now)?.is_ok());
            }
            Ok(woken)
        })
    }

    /// When the next waiting run is due.
    pub fn next_wake(&self) -> Result<Option<Timestamp>> {
        self.look(|conn| {
            let at: Option<i64> = conn
                .prepare_cached("SELECT min(wake_at) FROM runs WHERE wake_at IS NOT NULL")?
                .query_row([], |row| row.get(0))?;
            Ok(at.map(Timestamp))
        })
    }

    /// Gives back to the queue what is held longer than its claim allows and is in nobody's hands any more; with `all`
    /// (at start, when every claim is that of a dead process) whatever is held. Returns how many.
    pub fn release_runs(&self, all: bool, now: Timestamp) -> Result<usize> {
        let before = if all { i64::MAX } else { now.0 };
        let stops = self.stops.clone();
        self.write(move |tx| {
            let ids = tx
                .sql("SELECT id FROM runs WHERE claim_expires_at < ?1 ORDER BY claim_expires_at LIMIT 1000")?
                .query_map([before], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut released = 0;
            for id in ids {
                // A clock that leaps, or a step that takes its time, must not take a run from a worker that lives.
                if all || !locked(&stops).contains_key(&id) {
                    released += usize::from(tx.apply(id, &Event::ClaimLost, None, now)?.is_ok());
                }
            }
            Ok(released)
        })
    }

    /// Fills in what is on record of a claimed run's steps.
    pub fn load_steps(&self, claim: &mut Claim) -> Result<()> {
        if claim.is_resumed {
            claim.steps = self.look(|conn| steps::records(conn, claim.id))?;
            claim.is_resumed = false;
        }
        Ok(())
    }

    /// Ends a run that its worker cannot go on with. Nothing happens if the ticket's claim is lost.
    pub fn give_up(&self, ticket: Ticket, ending: Ending, now: Timestamp) -> Result<()> {
        self.write(move |tx| {
            // Refused: the run is someone else's, or final.
            match tx.apply(ticket.id, &Event::Failed(ticket.token), Some(&ending), now)? {
                Ok(_) => tx.cancel_steps(ticket.id, now),
                Err(_) => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
