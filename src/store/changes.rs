//! What changed lately: a ring of the last 10,000 changes, published after their commit. Nothing of it is durable.
//!
//! Changes of runs are always kept, since callers who wait for the end of one read them. The other kinds are made and
//! kept only while somebody listens ([`Store::listen`]): nobody pays for what nobody hears.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::bell::{Bell, locked};
use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// How many changes are kept.
pub const KEPT: usize = 10_000;

/// Something of a run changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The run's row.
    pub run: i64,
    /// What of it.
    pub what: What,
}

/// What of a run changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The run itself came into a state.
    Run {
        /// Which run.
        run_id: Id,
        /// From which state; `None`: it is new.
        before: Option<RunStatus>,
        /// Into which.
        status: RunStatus,
    },
    /// A step of it.
    Step(Arc<StepChange>),
    /// The delivery of that row.
    Delivery(i64),
    /// The approval of that row.
    Approval(i64),
}

/// A step came into a state.
#[derive(Debug, PartialEq, Eq)]
pub struct StepChange {
    /// Where in the definition.
    pub path: String,
    /// The action key.
    pub kind: String,
    /// Into which state.
    pub status: StepStatus,
    /// When.
    pub at: Timestamp,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Changes {
    ring: Mutex<Ring>,
    /// Whether somebody listens, so that changes of every kind are made.
    is_heard: AtomicBool,
    /// Whether the next change is to ring the bell.
    is_armed: AtomicBool,
    /// Rung by the first change after [`Changes::arm`], and by whoever else wants the listener to look.
    pub stirred: Bell,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the next change.
    next: u64,
    kept: VecDeque<Change>,
    /// Since which number changes of every kind are kept; `None`: they are not.
    whole_from: Option<u64>,
}

impl Ring {
    /// The kept changes from number `from` on. `None`: some of them are no longer kept.
    fn since(&self, from: u64) -> Option<impl Iterator<Item = &Change>> {
        let missed = usize::try_from(self.next.saturating_sub(from)).unwrap_or(usize::MAX);
        let skipped = self.kept.len().checked_sub(missed)?;
        Some(self.kept.range(skipped..))
    }
}

impl Changes {
    /// The number the next change will have.
    pub fn next(&self) -> u64 {
        locked(&self.ring).next
    }

    /// The runs that ended from number `from` on, and the number to ask for next time.
    /// `None` in the first place: some of it is no longer kept.
    pub fn ended_since(&self, from: u64) -> (Option<Vec<Id>>, u64) {
        let ended = |change: &Change| match &change.what {
            What::Run { run_id, status, .. } if status.is_final() => Some(*run_id),
            _ => None,
        };
        let ring = locked(&self.ring);
        let runs = ring
            .since(from)
            .map(|changes| changes.filter_map(ended).collect());
        (runs, ring.next)
    }

    /// What is kept of the changes from number `from` to before `end`, and how many of them no longer are.
    pub fn between(&self, from: u64, end: u64) -> (Vec<Change>, u64) {
        let ring = locked(&self.ring);
        let end = end.min(ring.next);
        let oldest = ring.next - ring.kept.len() as u64;
        let start = from.max(oldest).min(end);
        // Both lie within what is kept, which fits in memory.
        let (low, high) = ((start - oldest) as usize, (end - oldest) as usize);
        let changes = ring.kept.range(low..high).cloned().collect();
        (changes, start.saturating_sub(from))
    }

    /// Whether every change of every kind from number `from` on is kept, or is still to come.
    pub fn has_all_since(&self, from: u64) -> bool {
        let ring = locked(&self.ring);
        let is_whole = ring.whole_from.is_some_and(|whole| whole <= from);
        is_whole && from <= ring.next && ring.since(from).is_some()
    }

    /// Whether changes of every kind are to be made.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// The next change rings [`Changes::stirred`], once.
    pub fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// Nobody listens any more: from now on only runs are kept.
    pub fn hush(&self) {
        self.is_heard.store(false, Ordering::SeqCst);
        // From here on the number stands still whatever else changes: it must be none that anyone has left with.
        self.publish(Change {
            run: -1,
            what: What::Delivery(-1),
        });
        locked(&self.ring).whole_from = None;
    }

    pub(super) fn publish(&self, change: Change) {
        let mut ring = locked(&self.ring);
        // What falls out is dropped after the lock.
        let _oldest = match ring.kept.len() == KEPT {
            true => ring.kept.pop_front(),
            false => None,
        };
        ring.kept.push_back(change);
        ring.next += 1;
        drop(ring);
    }

    /// Something of that run happened.
    #[cfg(test)]
    pub(crate) fn publish_for_tests(&self, run: i64) {
        self.publish(Change {
            run,
            what: What::Delivery(0),
        });
    }

    /// Wakes who asked to be woken by what was published.
    pub(super) fn stir(&self) {
        if self.is_armed.load(Ordering::SeqCst) && self.is_armed.swap(false, Ordering::SeqCst) {
            self.stirred.ring();
        }
    }
}

impl Store {
    /// From now on, until [`Changes::hush`], changes of every kind are kept: of every commit that ends after this returns.
    ///
    /// # Errors
    /// `unavailable` if the server is stopping.
    pub fn listen(&self) -> Result<()> {
        if self.changes.is_heard.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        // Behind whatever verb has not yet seen that somebody listens.
        if let Err(fault) = self.write(|_| Ok(())) {
            self.changes.hush();
            return Err(fault);
        }
        let mut ring = locked(&self.changes.ring);
        ring.whole_from = Some(ring.next);
        Ok(())
    }
}

impl Tx<'_> {
    /// Tells of something that happened to a run, if somebody listens.
    pub(super) fn stir(&mut self, run: i64, what: impl FnOnce() -> What) {
        if self.changes.is_heard() {
            let what = what();
            self.after(Effect::Changed(Change { run, what }));
        }
    }

    /// Tells of a delivery, if somebody listens.
    pub(super) fn stir_delivery(&mut self, run: i64, delivery: i64) {
        self.stir(run, || What::Delivery(delivery));
    }

    /// Tells of a step, if somebody listens.
    pub(super) fn stir_step(
        &mut self,
        run: i64,
        (path, kind): (&str, &str),
        status: StepStatus,
        at: Timestamp,
    ) {
        self.stir(run, || {
            What::Step(Arc::new(StepChange {
                path: path.to_owned(),
                kind: kind.to_owned(),
                status,
                at,
            }))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(status: RunStatus) -> Change {
        let what = What::Run {
            run_id: Id([0; 16]),
            before: None,
            status,
        };
        Change { run: 1, what }
    }

    fn delivery(row: i64) -> Change {
        Change {
            run: 1,
            what: What::Delivery(row),
        }
    }

    #[test]
    fn who_comes_too_late_is_told_so() {
        let changes = Changes::default();
        for _ in 0..KEPT + 1 {
            changes.publish(run(RunStatus::Failed));
        }
        assert_eq!(changes.ended_since(0).0, None);
        let (since, next) = changes.ended_since(KEPT as u64);
        assert_eq!(since.map(|list| list.len()), Some(1));
        assert_eq!(changes.ended_since(next).0, Some(Vec::new()));
        let (kept, missed) = changes.between(0, next);
        assert_eq!((kept.len(), missed), (KEPT, 1));
    }

    #[test]
    fn a_stretch_of_changes_has_an_end() {
        let changes = Changes::default();
        for row in 0..5 {
            changes.publish(delivery(row));
        }
        assert_eq!(changes.between(1, 3), (vec![delivery(1), delivery(2)], 0));
        assert_eq!(changes.between(4, 99), (vec![delivery(4)], 0));
        assert_eq!(changes.between(5, 5), (Vec::new(), 0));
        assert_eq!(changes.between(9, 5), (Vec::new(), 0));
    }

    #[test]
    fn only_ends_of_runs_are_told_to_those_who_wait_for_one() {
        let changes = Changes::default();
        changes.publish(run(RunStatus::Running));
        changes.publish(delivery(1));
        changes.publish(run(RunStatus::Completed));
        assert_eq!(changes.ended_since(0), (Some(vec![Id([0; 16])]), 3));
    }

    #[test]
    fn the_bell_is_rung_once_for_whoever_asked() {
        let changes = Changes::default();
        changes.stir();
        assert_eq!(changes.stirred.count(), 0, "nobody asked");
        changes.arm();
        changes.stir();
        changes.stir();
        assert_eq!(changes.stirred.count(), 1);
    }
}
