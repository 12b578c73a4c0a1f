//! One thread's turn per file: take, do, record.
//!
//! Every turn is one short write, then work with no transaction or lock open, then one short write. The bodies are
//! callable without threads; `engine.rs` gives them threads. Loops meet each other and the API only in the store.

pub mod delivery;
#[cfg(test)]
mod simulation;
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
        let hand = Hand { taken: VecDeque::new(), idle: 0, has_leader: false };
        Pool { hand: Mutex::new(hand), turn: Condvar::new(), stopping: AtomicBool::new(false) }
    }
}

impl<T> Pool<T> {
    /// The next piece of work: handed over by the leader, or, as the leader, found by `take` (which is told how many
    /// threads are idle). `nap` says how long to wait for the bell when there is nothing. `None`: stopped, and
    /// nothing taken is left.
    pub fn next(&self, bell: &Bell, take: impl Fn(usize) -> Vec<T>, nap: impl Fn() -> Duration) -> Option<T> {
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

    /// Whether nothing more is taken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Logs why a write was refused and waits a little; false if the loop is to end instead.
fn wait_out(what: &str, fault: &Error, bell: &Bell, halt: &AtomicBool) -> bool {
    log::error!("{what} could not be recorded: {fault}; trying again");
    if halt.load(Ordering::SeqCst) {
        return false;
    }
    bell.wait(bell.count(), REFUSED_NAP);
    !halt.load(Ordering::SeqCst)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_the_leader_finds_is_shared_with_the_idle() {
        let (pool, bell) = (Arc::new(Pool::<u32>::default()), Arc::new(Bell::default()));
        let source = Arc::new(Mutex::new((0..100).collect::<Vec<u32>>()));
        let (sender, done) = crossbeam_channel::unbounded();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (pool, bell, source, sender) =
                    (pool.clone(), bell.clone(), source.clone(), sender.clone());
                std::thread::spawn(move || {
                    let take = |idle: usize| {
                        let mut source = locked(&source);
                        let at = source.len().saturating_sub(idle);
                        source.split_off(at)
                    };
                    while let Some(work) = pool.next(&bell, take, || NAP) {
                        sender.send(work).expect("the test listens");
                    }
                })
            })
            .collect();
        let mut got: Vec<u32> = (0..100).map(|_| done.recv().expect("all is handed out")).collect();
        got.sort_unstable();
        assert_eq!(got, (0..100).collect::<Vec<u32>>());
        pool.stop(&bell);
        for thread in threads {
            thread.join().expect("the thread ends");
        }
    }
}
