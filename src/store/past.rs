//! What the minutes of the past sum up to, kept in memory: no look at the counts has to add up ten million runs again.
//!
//! The writer says after each commit which minutes it changed; what was known of these is forgotten before anyone is told
//! of the commit. Must not ask the file.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::bell::locked;
use crate::store::minutes::Tally;

/// Sums of all minutes before some minute.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The minute behind the last one of them.
    before: i64,
    /// Counted up when they are forgotten: a sum that was read meanwhile is not kept.
    epoch: u64,
    /// By the row of the deployment.
    sums: HashMap<i64, Tally>,
}

/// A sum that is not known, and is to be read after it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    deployment: i64,
    before: i64,
    epoch: u64,
}

impl Past {
    /// The sum of a deployment's minutes before that one. An error: it is not known, and can be told once it is read.
    pub(super) fn sum(&self, deployment: i64, before: i64) -> Result<Tally, Asked> {
        let mut known = locked(&self.0);
        if known.before != before {
            known.forget();
            known.before = before;
        }
        let epoch = known.epoch;
        known.sums.get(&deployment).copied().ok_or(Asked {
            deployment,
            before,
            epoch,
        })
    }

    /// What was read, unless it may have changed since.
    pub(super) fn tell(&self, asked: Asked, sum: Tally) {
        let mut known = locked(&self.0);
        if (known.epoch, known.before) == (asked.epoch, asked.before) {
            known.sums.insert(asked.deployment, sum);
        }
    }

    /// A commit changed minutes, of which this is the earliest.
    pub(super) fn changed(&self, earliest: i64) {
        let mut known = locked(&self.0);
        if earliest < known.before {
            known.forget();
        }
    }
}

impl Known {
    fn forget(&mut self) {
        self.epoch += 1;
        self.sums.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(past: &Past, deployment: i64, before: i64) -> Asked {
        past.sum(deployment, before).expect_err("not known")
    }

    #[test]
    fn a_sum_is_known_until_a_minute_of_it_changes() {
        let past = Past::default();
        past.tell(asked(&past, 7, 60), Tally::ACCEPTED);
        assert_eq!(past.sum(7, 60), Ok(Tally::ACCEPTED));
        past.changed(60);
        assert_eq!(past.sum(7, 60), Ok(Tally::ACCEPTED));
        asked(&past, 8, 60);
        past.changed(59);
        asked(&past, 7, 60);
    }

    #[test]
    fn what_changed_while_it_was_read_is_not_kept() {
        let past = Past::default();
        let one = asked(&past, 7, 60);
        past.changed(3);
        past.tell(one, Tally::ACCEPTED);
        let other = asked(&past, 7, 60);
        past.tell(asked(&past, 7, 120), Tally::ACCEPTED);
        past.tell(other, Tally::default());
        assert_eq!(past.sum(7, 120), Ok(Tally::ACCEPTED));
    }
}
