//! Runs as the loops see them: claimed in batches, recorded step by step, woken, released.
//!
//! A [`Claim`] can be spent once: it is neither `Clone` nor `Copy`, and [`Store::record`] takes it by value. A late
//! record is refused by its token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};
use serde_json::{Map, Value};

use crate::bell::{Stop, locked};
use crate::error::{Code, Error, Result};
use crate::flow::delivery::EventFacts;
use crate::flow::expr::SecretMark;
use crate::flow::run::{Change, Ending, Event, OpenSteps, Refused, Run, RunStatus, next};
use crate::flow::step::StepRecord;
use crate::id::Id;
use crate::store::Store;
use crate::store::ahead::{About, Begun};
use crate::store::approvals::Asked;
use crate::store::changes::{self, What};
use crate::store::figures;
use crate::store::owed::Owed;
use crate::store::runs::{NewRun, object, run_status};
use crate::store::steps;
use crate::store::steps::{Finished, Opened};
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// How long a claim is respected that nobody holds any more. Whoever holds one keeps it.
pub const LEASE: Duration = Duration::from_secs(60);

/// A worker's hold on one run.
#[derive(Debug)]
pub struct Claim {
    /// The run's row.
    pub id: i64,
    /// The run.
    pub run_id: Id,
    /// The deployment's row.
    pub deployment_id: i64,
    /// The version's row.
    pub version_id: i64,
    /// Where the result goes.
    pub callback_url: Option<String>,
    /// The caller's name for its user.
    pub user: Option<String>,
    /// The caller's labels.
    pub metadata: Map<String, Value>,
    /// The run's inputs.
    pub inputs: Map<String, Value>,
    /// When the run was accepted.
    pub created_at: Timestamp,
    /// What is on record of its steps.
    pub steps: Vec<StepRecord>,
    /// The try that is on record as begun, if the commit that claimed the run began it.
    pub begun: Option<Begun>,
    /// Asked when the run is cancelled or the server stops.
    pub stop: Stop,
    /// What [`Store::load`] still has to read, outside the writer.
    unread: Unread,
    pub(super) token: i64,
    stops: Stops,
}

/// The stop of every run in a worker's hands, by the run's row.
pub(super) type Stops = Arc<Mutex<HashMap<i64, Stop>>>;

/// What of a claimed run is still as the file has it.
#[derive(Debug, Default)]
struct Unread {
    metadata: Option<String>,
    inputs: Option<String>,
    /// Whether there may be steps on record.
    steps: bool,
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

impl Claim {
    /// What a run becomes that is claimed by the commit that inserts it, and goes on there as `then` says.
    pub(super) fn first_change(&self, then: Option<&Next>, now: Timestamp) -> Result<Change> {
        let queued = Run {
            status: RunStatus::Queued,
            claim: None,
            wake_at: None,
        };
        let claimed = next(&queued, &Event::Claimed(self.token), now);
        let change = claimed.and_then(|change| match then {
            Some(then) => next(&change.run(), &then.event(self.token)?, now),
            None => Ok(change),
        });
        change.map_err(|refused| Error::internal(format!("a new run: {refused:?}")))
    }

    /// What a turn needs to know of the run.
    pub fn about(&self) -> About<'_> {
        About {
            run_id: self.run_id,
            callback_url: self.callback_url.as_deref(),
            user: self.user.as_deref(),
            metadata: &self.metadata,
            inputs: &self.inputs,
            created_at: self.created_at,
            steps: &self.steps,
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
    /// The event that the run's end owes, if its result goes anywhere.
    pub owed: Option<Owed>,
    /// The token of the claim on the next run, which the commit that frees the slot takes, if hands are open.
    pub next_token: i64,
}

impl Record {
    /// Nothing but what comes next.
    pub fn only(then: Next) -> Record {
        Record {
            finished: None,
            results: Vec::new(),
            then,
            owed: None,
            next_token: 0,
        }
    }
}

/// What comes next for a run.
#[derive(Debug)]
pub enum Next {
    /// A try begins.
    Start(Opened),
    /// A delay begins.
    Delay(Opened, Timestamp),
    /// The finished try is repeated then.
    Retry(Timestamp),
    /// A person is asked.
    Ask(Box<Asked>),
    /// The run ends.
    End(Ending),
}

impl Next {
    /// What the state machine is told of it.
    fn event(&self, token: i64) -> Result<Event, Refused> {
        Ok(match self {
            Next::Start(_) => Event::Advanced(token),
            Next::Delay(_, until) | Next::Retry(until) => Event::Parked(token, *until),
            Next::Ask(_) => Event::Asked(token),
            Next::End(Ending::Completed { .. }) => Event::Completed(token),
            Next::End(Ending::Failed { .. }) => Event::Failed(token),
            // A worker does not cancel; a cancellation takes the claim away from it.
            Next::End(Ending::Cancelled { .. }) => return Err(Refused::ClaimLost),
        })
    }

    /// How the run ends, if it does.
    pub(super) fn ending(&self) -> Option<&Ending> {
        match self {
            Next::End(ending) => Some(ending),
            Next::Start(_) | Next::Delay(..) | Next::Retry(_) | Next::Ask(_) => None,
        }
    }
}

/// What became of a record.
#[derive(Debug)]
pub enum Recorded {
    /// The run is still in the worker's hands.
    GoOn(Claim),
    /// The run waits; the claim is spent. With the next run, if one was taken.
    Parked(Option<Claim>),
    /// The run ended; the claim is spent. With the next run, if one was taken.
    Ended(Option<Claim>),
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

    /// Asks the state machine, and writes what it says. With an `ending`, the final event is owed in the same commit:
    /// `owed`, if the worker has made it ready.
    pub(super) fn apply(
        &mut self,
        id: i64,
        event: &Event,
        ending: Option<(&Ending, Option<&Owed>)>,
        now: Timestamp,
    ) -> Result<Result<RunStatus, Refused>> {
        let (before, deployment, run_id, times) = self
            .sql(
                "SELECT status, claim_token, wake_at, deployment, run_id, created_at, started_at
                 FROM runs WHERE id = ?1",
            )?
            .query_row([id], |row| {
                let before = Run {
                    status: run_status(row, 0)?,
                    claim: row.get(1)?,
                    wake_at: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                };
                let times = (row.get(5)?, row.get(6)?);
                Ok((before, row.get::<_, i64>(3)?, Id(row.get(4)?), times))
            })?;
        let change = match next(&before, event, now) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        if change.status == before.status && change.claim == before.claim {
            return Ok(Ok(change.status));
        }
        self.write_change(id, &change, ending.map(|(ending, _)| ending), now)?;
        match change.steps {
            OpenSteps::Keep => {}
            OpenSteps::Interrupt => self.interrupt_steps(id, now)?,
            OpenSteps::Cancel => self.cancel_steps(id, now)?,
        }
        if before.status == RunStatus::AwaitingApproval && change.status.is_final() {
            self.cancel_approval(id, now)?;
        }
        if before.status == RunStatus::Running && change.status != RunStatus::Running {
            // Its slot is free: whoever was over a limit may go on.
            self.after(Effect::SlotFree);
        }
        self.counts.leave(deployment, before.status);
        self.counts.enter(deployment, change.status);
        self.counts.note_ended(deployment, run_id, change.status);
        let what = What::Run {
            run_id,
            before: Some(before.status),
            status: change.status,
        };
        self.after(Effect::Changed(changes::Change { run: id, what }));
        if let Some(fact) = figures::of_run(change.status, times, now) {
            self.after(Effect::Count(fact));
        }
        self.note_end(id, change.status)?;
        if let (true, Some((ending, owed))) = (change.status.is_final(), ending) {
            match owed {
                Some(owed) => self.insert_delivery(id, deployment, owed, now)?,
                None => self.owe_final_event(id, ending, now)?,
            }
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
            "UPDATE runs SET status = ?2, wake_at = ?3, claim_token = ?4, claim_expires_at = ?5,
                 started_at = CASE WHEN ?4 IS NULL THEN started_at ELSE coalesce(started_at, ?6) END,
                 ended_at = ?7, output = ?8, error = ?9, error_code = ?10, error_step = ?11
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            change.status.as_str(),
            change.wake_at.map(|at| at.0),
            change.claim,
            change.claim.map(|_| now.plus(LEASE).0),
            now.0,
            change.status.is_final().then_some(now.0),
            output,
            error,
            code,
            step,
        ])?;
        Ok(())
    }

    /// Inserts the delivery of a run's end that came from outside a worker, if its result goes anywhere.
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
        let owed = Owed::new(url, &facts, ending)?;
        self.insert_delivery(id, row.deployment_id, &owed, now)
    }

    /// Takes queued runs for `free` slots, fairly by deployment. Their tokens follow `token`.
    fn claim(&mut self, free: usize, token: i64, now: Timestamp) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for (deployment, count) in self.counts.turns(self.conn, self.limits, free)? {
            let found = self
                .sql(
                    "SELECT id, run_id, deployment, version, callback_url, user, metadata, inputs, created_at,
                         started_at IS NOT NULL OR retry_of IS NOT NULL
                     FROM runs WHERE deployment = ?1 AND status = 'queued' AND ended_at IS NULL ORDER BY id LIMIT ?2",
                )?
                .query_map((deployment, count), |row| unclaimed(row, self.stops))?
                .collect::<Result<Vec<Claim>, _>>()?;
            for mut claim in found {
                claim.token = token.wrapping_add(claims.len() as i64);
                let event = Event::Claimed(claim.token);
                if self.apply(claim.id, &event, None, now)?.is_ok() {
                    locked(self.stops).insert(claim.id, claim.stop.clone());
                    claims.push(claim);
                }
            }
        }
        Ok(claims)
    }

    /// Claims a run in the very commit that inserts it, if hands are open, a slot is free and nobody waits for one.
    pub(super) fn hands_on(&mut self, new: &NewRun, now: Timestamp) -> Result<Option<Claim>> {
        let total = self.counts.total();
        let is_free = total.queued == 0 && total.running < self.limits.workers as u64;
        if !self.hands.are_open() || !is_free || self.counts.room(self.conn, new.deployment)? == 0 {
            return Ok(None);
        }
        Ok(Some(Claim {
            id: 0,
            run_id: new.run_id,
            deployment_id: new.deployment,
            version_id: new.version,
            callback_url: new.callback_url.clone(),
            user: new.user.clone(),
            metadata: new.metadata.clone(),
            inputs: new.inputs.clone(),
            created_at: now,
            steps: Vec::new(),
            begun: None,
            stop: Stop::default(),
            unread: Unread::default(),
            // The first claim of a run: no other of it can have the same.
            token: new.run_id.tail(),
            stops: self.stops.clone(),
        }))
    }

    /// Hands the claim over after the commit. `id`: the run's row.
    pub(super) fn hand(&mut self, mut claim: Claim, id: i64) {
        claim.id = id;
        locked(self.stops).insert(id, claim.stop.clone());
        self.after(Effect::Hand(Box::new(claim)));
    }

    fn record(
        &mut self,
        id: i64,
        token: i64,
        record: &Record,
        now: Timestamp,
    ) -> Result<Result<RunStatus, Refused>> {
        let event = match record.then.event(token) {
            Ok(event) => event,
            Err(refused) => return Ok(Err(refused)),
        };
        let ending = record
            .then
            .ending()
            .map(|ending| (ending, record.owed.as_ref()));
        let status = match self.apply(id, &event, ending, now)? {
            Ok(status) => status,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(finished) = &record.finished {
            self.finish_step(id, finished, now)?;
        }
        self.write_steps(id, record, now)?;
        Ok(Ok(status))
    }

    /// What a record says of steps that did not leave the process, and of the one that begins.
    pub(super) fn write_steps(&mut self, id: i64, record: &Record, now: Timestamp) -> Result<()> {
        for result in &record.results {
            self.insert_result(id, result, now)?;
        }
        match &record.then {
            Next::Start(opened) => self.open_step(id, opened, None, now),
            Next::Delay(opened, until) => self.open_step(id, opened, Some(*until), now),
            Next::Ask(asked) => self.ask(id, asked, now),
            Next::Retry(_) | Next::End(_) => Ok(()),
        }
    }
}

/// A run as it is found in the queue; its token and its place among the stops are still to come.
fn unclaimed(row: &Row<'_>, stops: &Stops) -> rusqlite::Result<Claim> {
    Ok(Claim {
        id: row.get(0)?,
        run_id: Id(row.get(1)?),
        deployment_id: row.get(2)?,
        version_id: row.get(3)?,
        callback_url: row.get(4)?,
        user: row.get(5)?,
        metadata: Map::new(),
        inputs: Map::new(),
        created_at: Timestamp(row.get(8)?),
        steps: Vec::new(),
        begun: None,
        stop: Stop::default(),
        unread: Unread {
            metadata: row.get(6)?,
            inputs: row.get(7)?,
            steps: row.get(9)?,
        },
        token: 0,
        stops: stops.clone(),
    })
}

impl Store {
    /// Takes up to `limit` queued runs, fairly by deployment. Their tokens follow `token`.
    pub fn claim_runs(&self, limit: usize, token: i64, now: Timestamp) -> Result<Vec<Claim>> {
        self.write(move |tx| tx.claim(limit, token, now))
    }

    /// From now on a commit that finds a free slot claims for it at once: the one that inserts a run, and the one in
    /// which a worker gives its run up. Whoever opens hands must take what is handed.
    /// `mark` is theirs: what secrets look like until they are sent.
    pub fn open_hands(&self, mark: SecretMark) {
        // Opened again, it is by the same engine.
        drop(self.mark.set(mark));
        self.hands.set_open(true);
    }

    /// From now on nothing is claimed but by [`Store::claim_runs`].
    pub fn close_hands(&self) {
        self.hands.set_open(false);
    }

    /// Up to `limit` of the runs that were claimed when they were inserted.
    pub fn handed(&self, limit: usize) -> Vec<Claim> {
        self.hands.take(limit)
    }

    /// Records what a worker did and what comes next, in one commit. Spends the claim unless the run goes on.
    pub fn record(&self, claim: Claim, record: Arc<Record>, now: Timestamp) -> Recorded {
        let (id, token) = (claim.id, claim.token);
        let all = move |tx: &mut Tx<'_>, takes: bool| {
            let status = match tx.record(id, token, &record, now)? {
                Ok(status) => status,
                Err(_) => return Ok(None),
            };
            let mut taken = Vec::new();
            if takes && status != RunStatus::Running {
                taken = tx.claim(1, record.next_token, now)?;
            }
            Ok(Some((status, taken.pop())))
        };
        let again = all.clone();
        let mut written = self.write(move |tx| {
            // Whoever was handed over and found nobody free goes first.
            let takes = tx.hands.are_open() && tx.hands.is_empty();
            all(tx, takes)
        });
        // What is next must not cost what was done.
        if written
            .as_ref()
            .is_err_and(|fault| fault.code != Code::Unavailable)
        {
            written = self.write(move |tx| again(tx, false));
        }
        match written {
            Ok(Some((RunStatus::Running, _))) => Recorded::GoOn(claim),
            Ok(Some((status, taken))) if status.is_final() => Recorded::Ended(taken),
            Ok(Some((_, taken))) => Recorded::Parked(taken),
            Ok(None) => Recorded::Lost,
            Err(fault) => Recorded::Refused(claim, fault),
        }
    }

    /// Gives back to the queue what is held longer than its claim allows and is in nobody's hands any more; with `all`
    /// (at start, when every claim is that of a dead process) whatever is held. Returns how many.
    pub fn release_runs(&self, all: bool, now: Timestamp) -> Result<usize> {
        let before = if all { i64::MAX } else { now.0 };
        self.write(move |tx| {
            let ids = tx
                .sql(
                    "SELECT id FROM runs WHERE deployment IN (SELECT id FROM deployments) AND status = 'running'
                         AND ended_at IS NULL AND claim_expires_at < ?1 LIMIT 1000",
                )?
                .query_map([before], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut released = 0;
            for id in ids {
                // A clock that leaps, or a step that takes its time, must not take a run from a worker that lives.
                let is_held = locked(tx.stops).contains_key(&id);
                let may_go = all || !is_held;
                if may_go && tx.apply(id, &Event::ClaimLost, None, now)?.is_ok() {
                    released += 1;
                    // Should it be in someone's hands after all, nothing more is begun there.
                    tx.after(Effect::StopStep(id));
                }
            }
            Ok(released)
        })
    }

    /// Fills in what the file knows of a claimed run: outside the writer, which has better things to do.
    pub fn load(&self, claim: &mut Claim) -> Result<()> {
        if claim.unread.steps {
            claim.steps = self.look(|conn| steps::records(conn, claim.id))?;
        }
        let unread = std::mem::take(&mut claim.unread);
        if unread.metadata.is_some() {
            claim.metadata = object(unread.metadata);
        }
        if unread.inputs.is_some() {
            claim.inputs = object(unread.inputs);
        }
        Ok(())
    }

    /// Ends a run that its worker cannot go on with. Nothing happens if the ticket's claim is lost.
    pub fn give_up(&self, ticket: Ticket, ending: Ending, now: Timestamp) -> Result<()> {
        self.write(move |tx| {
            // Refused: the run is someone else's, or final.
            match tx.apply(
                ticket.id,
                &Event::Failed(ticket.token),
                Some((&ending, None)),
                now,
            )? {
                Ok(_) => tx.cancel_steps(ticket.id, now),
                Err(_) => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
