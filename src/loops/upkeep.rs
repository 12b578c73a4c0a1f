//! What time brings: runs that wake, claims that expire, rows that are old enough to go.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::bell::locked;
use crate::error::Result;
use crate::loops::NAP;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::prune::{KEYS_KEPT, Pass};
use crate::time::{Clock, Timestamp};

/// How many runs one commit wakes.
const WAKE: usize = 200;

/// How often expired claims are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// How often a pass over old rows begins.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// The longest rest between two chunks of old rows.
const REST_MAX: Duration = Duration::from_millis(250);

/// What upkeep works with.
#[derive(Debug)]
pub struct Upkeep {
    /// The file.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Clock,
    /// How long runs are kept after their end; `None`: for ever.
    pub retain_runs: Option<Duration>,
    /// How long attempts of final deliveries are kept; `None`: for ever.
    pub retain_attempts: Option<Duration>,
    /// How long after a start what fell due before it still waits for an answer.
    pub downtime_grace: Duration,
    /// Nothing is executed and nothing is sent, so that someone can look at a copy: then nothing is woken or removed
    /// either.
    pub is_paused: bool,
    /// How far the work has come.
    pub state: Mutex<State>,
}

/// How far upkeep has come.
#[derive(Debug, Default)]
pub struct State {
    expired_at: Option<Timestamp>,
    pruned_at: Option<Timestamp>,
    /// Not before then comes the next chunk.
    rest_until: Option<Timestamp>,
    pass: Passes,
}

#[derive(Debug, Default, Clone, Copy)]
struct Passes {
    runs: Option<i64>,
    attempts: Option<i64>,
    idempotency: bool,
    notes: bool,
    pages: bool,
    removed: (usize, usize),
}

impl Passes {
    fn is_over(self) -> bool {
        let rows = self.runs.is_some() || self.attempts.is_some() || self.idempotency;
        !(rows || self.notes || self.pages)
    }
}

fn is_due(last: Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    // A clock that was set back must not stop the work for as long as it was set back.
    last.is_none_or(|last| now.since(last) >= every || last > now)
}

fn before(now: Timestamp, kept: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(crate::time::millis(kept)))
}

impl Upkeep {
    /// At start: every claim is that of a dead process, and who could not answer in time could not help it.
    pub fn recover(&self) -> Result<(usize, usize)> {
        let now = self.clock.now();
        if !self.is_paused {
            let late = self.store.grant_grace(self.downtime_grace, now)?;
            if late > 0 {
                log::info!(
                    "{late} approvals would have ended before anyone could answer; they have a grace"
                );
            }
        }
        let (mut runs, mut deliveries) = (0, 0);
        loop {
            let released = (
                self.store.release_runs(true, now)?,
                self.store.release_deliveries(true, now)?,
            );
            runs += released.0;
            deliveries += released.1;
            if released == (0, 0) {
                return Ok((runs, deliveries));
            }
        }
    }

    /// Does what is due; says how long there is nothing to do, unless the timer bell rings.
    pub fn turn(&self) -> Duration {
        let now = self.clock.now();
        // It needs no write, and a key that was revoked must not live as long as the disk is full.
        if let Err(fault) = self.store.refresh_if_stale() {
            log::error!("keys and deployments cannot be read: {fault}; trying again");
        }
        if self.is_paused {
            return NAP;
        }
        // Each whatever the others came to: what one of them cannot do must not stop the rest.
        let woken = self.store.wake_due(WAKE, now);
        let fired = self.store.fire_timers(WAKE, now);
        let expired = self.expire(now);
        let pruned = self.prune(now);
        let is_more = [&woken, &fired].map(|done| matches!(done, Ok(WAKE)));
        let faults = [woken.err(), fired.err(), expired.err()];
        let (rest, fault) = match pruned {
            Ok(rest) => (rest.unwrap_or(NAP), None),
            Err(fault) => (NAP, Some(fault)),
        };
        let mut has_failed = false;
        for fault in faults.into_iter().flatten().chain(fault) {
            log::error!("upkeep failed: {fault}; trying again");
            has_failed = true;
        }
        if has_failed {
            return NAP;
        }
        if is_more.contains(&true) {
            return Duration::ZERO;
        }
        match self.store.next_wake() {
            Ok(Some(at)) => at.since(self.clock.now()).min(rest),
            Ok(None) | Err(_) => rest,
        }
    }

    fn expire(&self, now: Timestamp) -> Result<()> {
        if is_due(locked(&self.state).expired_at, EXPIRE_EVERY, now) {
            locked(&self.state).expired_at = Some(now);
            let runs = self.store.release_runs(false, now)?;
            let deliveries = self.store.release_deliveries(false, now)?;
            if runs + deliveries > 0 {
                log::warn!(
                    "{runs} runs and {deliveries} deliveries were left lying and are given back"
                );
            }
        }
        Ok(())
    }

    /// One chunk of each pass that is under way. Says when the next one comes; `None`: not in this pass.
    ///
    /// Rests for as long as the chunk took, so that whatever the disk can do, half of it is others'.
    fn prune(&self, now: Timestamp) -> Result<Option<Duration>> {
        let mut pass = {
            let mut state = locked(&self.state);
            if let Some(until) = state.rest_until
                && until > now
            {
                // However long it seems: time may have been set back.
                return Ok(Some(until.since(now).min(REST_MAX)));
            }
            if is_due(state.pruned_at, PRUNE_EVERY, now) && state.pass.is_over() {
                state.pruned_at = Some(now);
                state.pass = Passes {
                    runs: self.retain_runs.map(|_| 0),
                    attempts: self.retain_attempts.map(|_| 0),
                    idempotency: true,
                    notes: true,
                    pages: true,
                    removed: (0, 0),
                };
                while self
                    .store
                    .cancel_deleted(None, &Actor::system(), now)?
                    .is_some()
                {}
                while self.store.purge_deleted()? {}
            }
            state.pass
        };
        if pass.is_over() {
            return Ok(None);
        }
        let began = self.clock.now();
        self.prune_some(&mut pass, now)?;
        if pass.is_over() && pass.removed != (0, 0) {
            let (runs, attempts) = pass.removed;
            log::info!("removed {runs} runs and {attempts} attempts that were old enough");
        }
        let mut state = locked(&self.state);
        state.pass = pass;
        let ended = self.clock.now();
        let rest = ended.since(began).min(REST_MAX);
        state.rest_until = Some(ended.plus(rest));
        Ok((!pass.is_over()).then_some(rest))
    }

    fn prune_some(&self, pass: &mut Passes, now: Timestamp) -> Result<()> {
        let goes_on = |chunk: Pass| (!chunk.done).then_some(chunk.through);
        // What a key no longer answers for goes in this very pass.
        if pass.idempotency {
            pass.idempotency = self.store.prune_idempotency(before(now, KEYS_KEPT))? > 0;
        }
        if let (Some(after), Some(kept)) = (pass.runs, self.retain_runs) {
            let chunk = self.store.prune_runs(after, before(now, kept))?;
            pass.removed.0 += chunk.removed;
            pass.runs = goes_on(chunk);
        }
        if let (Some(after), Some(kept)) = (pass.attempts, self.retain_attempts) {
            let chunk = self.store.prune_attempts(after, before(now, kept))?;
            pass.removed.1 += chunk.removed;
            pass.attempts = goes_on(chunk);
        }
        if pass.notes && pass.runs.is_none() {
            pass.notes = self.store.prune_notes()? > 0;
        }
        if pass.pages {
            // There will be more as long as rows go.
            let rows = pass.runs.is_some() || pass.attempts.is_some() || pass.idempotency;
            let is_last = !rows && !pass.notes;
            pass.pages = self.store.give_back_pages()? || !is_last;
        }
        Ok(())
    }
}
