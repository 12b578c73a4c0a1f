//! One thread's turn per file: take, do, record.
//!
//! Every turn is one short write, then work with no transaction or lock open, then one short write. The bodies are
//! callable without threads; `engine.rs` gives them threads. Loops meet each other and the API only in the store.

pub mod delivery;
pub mod jobs;
#[cfg(test)]
mod tests;
pub mod upkeep;
pub mod worker;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::bell::{Bell, locked};
use crate::error::Error;

/// The longest nap of the one thread of a pool that watches the bell: what a lost ring costs.
pub const NAP: Duration = Duration::from_secs(1);

/// How long to wait before a write is tried again that the file refused.
const REFUSED_NAP: Duration = Duration::from_secs(1);

/// The threads of one kind: one of them looks for work, for all that are idle; the others sleep unbounded.
pub struct Pool<T> {
    hand: Mutex<Hand<T>>,
    turn: Condvar,
    stopping: AtomicBool,
}

struct Hand<T> {
    /// Taken (on record as claimed), not yet in anyone's hands.
    taken: VecDeque<T>,
    idle: usize,
    has_leader: bool,
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        let hand = Hand {
            taken: VecDeque::new(),
            idle: 0,
            has_leader: false,
        };
        Pool {
            hand: Mutex::new(hand),
            turn: Condvar::new(),
            stopping: AtomicBool::new(false),
        }
    }
}

impl<T> Pool<T> {
    /// The next piece of work: handed over by the leader, or, as the leader, found by `take` (which is told how many
    /// threads are idle). `nap` says how long to wait for the bell when there is nothing. `None`: stopped, and
    /// nothing taken is left.
    pub fn next(
        &self,
        bell: &Bell,
        take: impl Fn(usize) -> Vec<T>,
        nap: impl Fn() -> Duration,
    ) -> Option<T> {
        let mut hand = locked(&self.hand);
        hand.idle += 1;
        loop {
            if let Some(work) = hand.taken.pop_front() {
                hand.idle -= 1;
                return Some(work);
            }
            if self.stopping.load(Ordering::SeqCst) {
                hand.idle -= 1;
                return None;
            }
            if hand.has_leader {
                hand = self.turn.wait(hand).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            hand.has_leader = true;
            let idle = hand.idle;
            drop(hand);
            // The count is noted before looking, so that what comes in between is not slept over.
            let seen = bell.count();
            let found = take(idle);
            if found.is_empty() && !self.stopping.load(Ordering::SeqCst) {
                bell.wait(seen, nap().min(NAP));
            }
            hand = locked(&self.hand);
            hand.has_leader = false;
            // One for each piece beyond our own, and one to lead.
            for _ in 0..found.len() {
                self.turn.notify_one();
            }
            hand.taken.extend(found);
        }
    }

    /// Nothing more is taken; idle threads come home. The bell is rung for the leader.
    pub fn stop(&self, bell: &Bell) {
        self.stopping.store(true, Ordering::SeqCst);
        bell.ring();
        // Under the lock, so that nobody is between looking at the flag and sleeping.
        let _hand = locked(&self.hand);
        self.turn.notify_all();
    }

    /// How many threads have nothing to do.
    pub fn idle(&self) -> usize {
        locked(&self.hand).idle
    }

    /// Whether nothing more is taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Logs why a write was refused and waits a little; false if the loop is to end instead.
fn wait_out(what: &str, fault: &Error, bell: &Bell, halt: &AtomicBool) -> bool {
    log::error!("{what} has to wait: {fault}; trying again");
    if halt.load(Ordering::SeqCst) {
        return false;
    }
    bell.wait(bell.count(), REFUSED_NAP);
    !halt.load(Ordering::SeqCst)
}
