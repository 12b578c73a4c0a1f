//! Who waits for the end of a run: a bounded table of replies that are owed, and one thread's turn that pays them.
//!
//! A seat is taken before the run is inserted, so that no run is started for a caller who could not be kept. Whoever
//! waits holds no thread. Knows the store's bell and its changes; starts no thread itself.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::api::call::Reply;
use crate::api::door::Responder;
use crate::api::wire::Ended;
use crate::bell::locked;
use crate::error::{Code, Error, Result};
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::runs::RunRow;

/// Which runs ended since a number, and the next number; `None`: some of it is no longer kept.
type Since = (Option<Vec<Id>>, u64);

/// How often the table is looked through for those who left or have waited long enough.
const SWEEP: Duration = Duration::from_millis(250);

/// The table.
#[derive(Debug)]
pub struct Direct {
    max: usize,
    timeout: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// How many seats are taken: promised, or with someone in them.
    seats: usize,
    runs: HashMap<Id, Watched>,
    /// Runs that have ended, or may have.
    ready: Vec<Id>,
    /// The number of the next change to be read.
    seen: u64,
    swept: Option<Instant>,
    closed: bool,
}

/// A run whose end someone waits for, or is about to.
#[derive(Debug, Default)]
struct Watched {
    /// When the seats were taken whose responder is still to come.
    promised: Vec<Instant>,
    waiters: Vec<Waiter>,
    /// It has ended, or may have before it was watched.
    look: bool,
}

#[derive(Debug)]
struct Waiter {
    responder: Responder,
    replayed: bool,
    since: Instant,
}

/// A place in the table, given back when it is dropped unless it is kept for a run.
#[derive(Debug)]
pub struct Seat<'a> {
    direct: &'a Direct,
    run_id: Id,
    kept: bool,
}

impl Seat<'_> {
    /// Keeps the seat for whoever will wait for `run_id`: the run it was taken for, or the one it repeats.
    pub fn keep(mut self, run_id: Id) {
        self.kept = true;
        if run_id == self.run_id {
            return;
        }
        let mut table = locked(&self.direct.table);
        table.forget_promise(self.run_id);
        let watched = table.runs.entry(run_id).or_default();
        watched.promised.push(Instant::now());
        // That run is older than this watch: its end may have gone by unseen.
        watched.look = true;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.kept {
            let mut table = locked(&self.direct.table);
            if table.forget_promise(self.run_id) {
                table.seats -= 1;
            }
        }
    }
}

impl Table {
    /// Takes one promise back. False: there was none (it was swept away, or the table is closed).
    fn forget_promise(&mut self, run_id: Id) -> bool {
        let Some(watched) = self.runs.get_mut(&run_id) else {
            return false;
        };
        let found = watched.promised.pop().is_some();
        if watched.promised.is_empty() && watched.waiters.is_empty() {
            self.runs.remove(&run_id);
        }
        found
    }

    /// Everyone who waits for that run; their seats are free.
    fn take_waiters(&mut self, run_id: Id) -> Vec<Waiter> {
        let Some(watched) = self.runs.get_mut(&run_id) else {
            return Vec::new();
        };
        let waiters = std::mem::take(&mut watched.waiters);
        if watched.promised.is_empty() {
            self.runs.remove(&run_id);
        }
        self.seats -= waiters.len();
        waiters
    }

    /// Those who waited for `timeout`; who left is let go, and promises that nobody came for.
    fn sweep(&mut self, timeout: Duration, now: Instant) -> Vec<(Id, Waiter)> {
        let is_late = |since: Instant| now.saturating_duration_since(since) >= timeout;
        let mut late = Vec::new();
        let mut freed = 0;
        self.runs.retain(|run_id, watched| {
            let before = watched.promised.len() + watched.waiters.len();
            watched.promised.retain(|since| !is_late(*since));
            late.extend(
                watched
                    .waiters
                    .extract_if(.., |waiter| is_late(waiter.since))
                    .map(|waiter| (*run_id, waiter)),
            );
            watched.waiters.retain(|waiter| !waiter.responder.is_gone());
            let after = watched.promised.len() + watched.waiters.len();
            freed += before - after;
            after > 0
        });
        self.seats -= freed;
        self.swept = Some(now);
        late
    }
}

impl Direct {
    /// An empty table. Changes of runs from now on are seen.
    pub fn new(store: &Store, max: usize, timeout: Duration) -> Direct {
        let table = Table {
            seen: store.changes().next(),
            ..Table::default()
        };
        Direct {
            max,
            timeout,
            table: Mutex::new(table),
        }
    }

    /// Takes a seat for a run that is about to be inserted.
    ///
    /// # Errors
    /// `concurrency_limit_reached` if none is free, `unavailable` once the table is closed.
    pub fn reserve(&self, run_id: Id) -> Result<Seat<'_>> {
        let mut table = locked(&self.table);
        if table.closed {
            return Err(Error::unavailable(
                "the server is stopping; nothing was accepted",
            ));
        }
        if table.seats >= self.max {
            let mut error = Error::of(Code::ConcurrencyLimitReached);
            error.retry_after = Some(1);
            return Err(error);
        }
        table.seats += 1;
        table
            .runs
            .entry(run_id)
            .or_default()
            .promised
            .push(Instant::now());
        Ok(Seat {
            direct: self,
            run_id,
            kept: false,
        })
    }

    /// Takes a seat for whoever will wait for a run that was inserted before: its end may have gone by unseen.
    ///
    /// # Errors
    /// As [`Direct::reserve`].
    pub fn reserve_old(&self, run_id: Id) -> Result<()> {
        let seat = self.reserve(run_id)?;
        if let Some(watched) = locked(&self.table).runs.get_mut(&run_id) {
            watched.look = true;
        }
        seat.keep(run_id);
        Ok(())
    }

    /// Leaves a responder until the run has ended. Does not block.
    pub fn wait(&self, store: &Store, run_id: Id, replayed: bool, responder: Responder) {
        let mut table = locked(&self.table);
        if table.closed {
            drop(table);
            responder.send(Ok(timed_out(run_id)));
            return;
        }
        let watched = table.runs.entry(run_id).or_default();
        let was_promised = watched.promised.pop().is_some();
        // Nobody watched the run until now: its end may have gone by unseen.
        watched.look |= !was_promised;
        watched.waiters.push(Waiter {
            responder,
            replayed,
            since: Instant::now(),
        });
        let look = watched.look;
        // The thread may be in a long nap, because nobody waited until now.
        let is_first = table.runs.len() == 1;
        if !was_promised {
            table.seats += 1;
        }
        if look {
            table.ready.push(run_id);
        }
        drop(table);
        if look || is_first {
            store.bells().ended.ring();
        }
    }

    /// One turn of the thread that answers: looks, then naps until a run ends, `nap` at the longest.
    pub fn turn(&self, store: &Store, nap: Duration) {
        let seen = store.bells().ended.count();
        self.look(store, Instant::now());
        store.bells().ended.wait(seen, self.nap().min(nap));
    }

    /// How long nobody who waits can be late by more than a sweep's pause.
    fn nap(&self) -> Duration {
        match locked(&self.table).runs.is_empty() {
            true => Duration::MAX,
            false => self.pause(),
        }
    }

    fn pause(&self) -> Duration {
        SWEEP.min(self.timeout / 2).max(Duration::from_millis(1))
    }

    /// Answers whoever can be answered now.
    pub fn look(&self, store: &Store, now: Instant) {
        self.answer_ended(store, |from| store.changes().ended_since(from));
        let late = {
            let mut table = locked(&self.table);
            let pause = self.pause();
            match table.swept {
                Some(swept) if now.saturating_duration_since(swept) < pause => Vec::new(),
                _ => table.sweep(self.timeout, now),
            }
        };
        for (run_id, waiter) in late {
            waiter.responder.send(Ok(timed_out(run_id)));
        }
    }

    fn answer_ended(&self, store: &Store, since: impl FnOnce(u64) -> Since) {
        for run_id in self.ended(since) {
            match store.run(run_id) {
                Ok(Some(run)) if run.status.is_final() => {
                    self.answer(run_id, |replayed| ended_reply(&run, replayed));
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let error = Error::not_found(super::runs::NO_RUN);
                    self.answer(run_id, |_| Reply::error(&error));
                }
                Err(error) => {
                    log::warn!("the end of run {run_id} could not be read, trying again: {error}");
                    locked(&self.table).ready.push(run_id);
                }
            }
        }
    }

    /// The watched runs that have ended, or may have, since the last look.
    fn ended(&self, since: impl FnOnce(u64) -> Since) -> Vec<Id> {
        let mut table = locked(&self.table);
        let (ended, next) = since(table.seen);
        table.seen = next;
        let Table { runs, ready, .. } = &mut *table;
        match ended {
            Some(ended) => {
                for run_id in ended {
                    if let Some(watched) = runs.get_mut(&run_id) {
                        watched.look = true;
                        ready.push(run_id);
                    }
                }
            }
            // Too much happened to know what: look at every one.
            None => ready.extend(runs.iter_mut().map(|(run_id, watched)| {
                watched.look = true;
                *run_id
            })),
        }
        let mut ended = std::mem::take(ready);
        // Who has only a promise is looked at when the responder comes.
        ended.retain(|run_id| {
            runs.get(run_id)
                .is_some_and(|watched| !watched.waiters.is_empty())
        });
        ended.sort_unstable();
        ended.dedup();
        ended
    }

    fn answer(&self, run_id: Id, reply: impl Fn(bool) -> Reply) {
        let waiters = locked(&self.table).take_waiters(run_id);
        for waiter in waiters {
            waiter.responder.send(Ok(reply(waiter.replayed)));
        }
    }

    /// Answers everyone who still waits, and whoever comes later, with `direct_timeout`; their runs go on.
    pub fn close(&self) {
        let runs = {
            let mut table = locked(&self.table);
            table.closed = true;
            table.seats = 0;
            std::mem::take(&mut table.runs)
        };
        for (run_id, watched) in runs {
            for waiter in watched.waiters {
                waiter.responder.send(Ok(timed_out(run_id)));
            }
        }
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        locked(&self.table).seats
    }
}

fn timed_out(run_id: Id) -> Reply {
    let error = Error::of(Code::DirectTimeout)
        .with("request_id", run_id.request_id())
        .with("run_id", run_id.to_string());
    Reply::error(&error)
}

/// The answer to a direct invoke whose run has ended.
pub fn ended_reply(run: &RunRow, replayed: bool) -> Reply {
    let status = run.status.as_str();
    let body = Ended {
        request_id: run.run_id.request_id(),
        run_id: run.run_id,
        run_status: status,
        status,
        output: run.output.as_ref(),
        error: match run.status {
            RunStatus::Completed => None,
            _ => Some(run.error.as_deref().unwrap_or_default()),
        },
    };
    super::start::with_replay(Reply::json(200, &body), replayed)
}

#[cfg(test)]
mod tests;
