//! What changed lately: a ring of the last 10,000 changes, published after their commit. Nothing of it is durable.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::bell::locked;
use crate::flow::run::RunStatus;
use crate::id::Id;

/// How many changes are kept.
const KEPT: usize = 10_000;

/// A run came into a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Which run.
    pub run_id: Id,
    /// Into which state.
    pub status: RunStatus,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    /// The number of the next change.
    next: u64,
    kept: VecDeque<Change>,
}

impl Changes {
    /// The number the next change will have.
    pub fn next(&self) -> u64 {
        locked(&self.0).next
    }

    /// Everything from number `from` on, and the number to ask for next time.
    /// `None` in the first place: some of it is no longer kept.
    pub fn since(&self, from: u64) -> (Option<Vec<Change>>, u64) {
        let ring = locked(&self.0);
        let missed = ring.next.saturating_sub(from) as usize;
        let changes = (missed <= ring.kept.len()).then(|| {
            ring.kept
                .iter()
                .skip(ring.kept.len() - missed)
                .copied()
                .collect()
        });
        (changes, ring.next)
    }

    pub(super) fn publish(&self, run_id: Id, status: RunStatus) {
        let mut ring = locked(&self.0);
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Change { run_id, status });
        ring.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_late_is_told_so() {
        let changes = Changes::default();
        let run_id = Id([0; 16]);
        for _ in 0..KEPT + 1 {
            changes.publish(run_id, RunStatus::Queued);
        }
        assert_eq!(changes.since(0).0, None);
        let (since, next) = changes.since(KEPT as u64);
        assert_eq!(since.map(|list| list.len()), Some(1));
        assert_eq!(changes.since(next).0, Some(Vec::new()));
    }
}
