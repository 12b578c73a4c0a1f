//! What time brings: runs that wake, claims that expire, rows that are old enough to go.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::bell::locked;
use crate::error::Result;
use crate::loops::NAP;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::prune::Pass;
use crate::time::{Clock, Timestamp};

/// How many runs one commit wakes.
const WAKE: usize = 200;

/// How often expired claims are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// How often a pass over old rows begins.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// How long an idempotency key is kept.
const IDEMPOTENCY_KEPT: Duration = Duration::from_secs(24 * 3600);

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
    /// How far the work has come.
    pub state: Mutex<State>,
}

/// How far upkeep has come.
#[derive(Debug, Default)]
pub struct State {
    expired_at: Option<Timestamp>,
    pruned_at: Option<Timestamp>,
    pass: Passes,
}

#[derive(Debug, Default, Clone, Copy)]
struct Passes {
    runs: Option<i64>,
    attempts: Option<i64>,
    idempotency: bool,
}

fn is_due(last: Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    // A clock that was set back must not stop the work for as long as it was set back.
    last.is_none_or(|last| now.since(last) >= every || last > now)
}

fn before(now: Timestamp, kept: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(crate::time::millis(kept)))
}

impl Upkeep {
    /// At start: every claim is that of a dead process.
    pub fn recover(&self) -> Result<(usize, usize)> {
        let now = self.clock.now();
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
        let work = || -> Result<bool> {
            let woken = self.store.wake_due(WAKE, now)?;
            self.expire(now)?;
            Ok(self.prune(now)? || woken == WAKE)
        };
        match work() {
            Ok(true) => Duration::ZERO,
            Ok(false) => match self.store.next_wake() {
                Ok(Some(at)) => at.since(self.clock.now()).min(NAP),
                Ok(None) | Err(_) => NAP,
            },
            Err(fault) => {
                log::error!("upkeep failed: {fault}; trying again");
                NAP
            }
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

    /// One chunk of each pass that is under way. True if there is more.
    fn prune(&self, now: Timestamp) -> Result<bool> {
        let mut pass = {
            let mut state = locked(&self.state);
            if is_due(state.pruned_at, PRUNE_EVERY, now) {
                state.pruned_at = Some(now);
                state.pass = Passes {
                    runs: Some(0),
                    attempts: Some(0),
                    idempotency: true,
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
        let goes_on = |chunk: Pass| (!chunk.done).then_some(chunk.through);
        pass.runs = match (pass.runs, self.retain_runs) {
            (Some(after), Some(kept)) => goes_on(self.store.prune_runs(after, before(now, kept))?),
            _ => None,
        };
        pass.attempts = match (pass.attempts, self.retain_attempts) {
            (Some(after), Some(kept)) => {
                goes_on(self.store.prune_attempts(after, before(now, kept))?)
            }
            _ => None,
        };
        pass.idempotency = pass.idempotency
            && self
                .store
                .prune_idempotency(before(now, IDEMPOTENCY_KEPT))?
                > 0;
        locked(&self.state).pass = pass;
        Ok(pass.runs.is_some() || pass.attempts.is_some() || pass.idempotency)
    }
}
