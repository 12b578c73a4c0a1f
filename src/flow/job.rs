//! What can be done to many things at once: the states of such a job, what it can do anything to, and how it is counted.

use serde::{Deserialize, Serialize};

use crate::flow::retry_from::Begin;
use crate::flow::run::RunStatus;

/// What a job does to each thing. Spelled the same in SQL and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobAction {
    /// Cancels runs.
    CancelRuns,
    /// Repeats runs.
    RetryRuns,
    /// Sends deliveries again.
    Redeliver,
}

impl JobAction {
    /// Every action.
    pub const ALL: [JobAction; 3] = [
        JobAction::CancelRuns,
        JobAction::RetryRuns,
        JobAction::Redeliver,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobAction::CancelRuns => "cancel_runs",
            JobAction::RetryRuns => "retry_runs",
            JobAction::Redeliver => "redeliver",
        }
    }

    /// The action of that word.
    pub fn parse(word: &str) -> Option<JobAction> {
        JobAction::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Where a job stands. Spelled the same in SQL and JSON.
///
/// ```text
/// asked for ► running ── nothing is left ─► completed
///                └────── told to stop ────► cancelled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    /// Goes on, a part at a time.
    Running,
    /// Has looked at everything.
    Completed,
    /// Was told to stop: what is done stays done.
    Cancelled,
}

impl JobStatus {
    /// Every state.
    pub const ALL: [JobStatus; 3] = [
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Cancelled,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<JobStatus> {
        JobStatus::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// What became of the things that a job has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// It was done.
    pub done: u64,
    /// There was nothing to do any more.
    pub skipped: u64,
    /// It could not be done.
    pub failed: u64,
}

impl Tally {
    /// Both together.
    pub fn plus(self, other: Tally) -> Tally {
        Tally {
            done: self.done + other.done,
            skipped: self.skipped + other.skipped,
            failed: self.failed + other.failed,
        }
    }

    /// How many were looked at.
    pub fn total(self) -> u64 {
        self.done + self.skipped + self.failed
    }

    /// The figures of a job that is through, of which so many matched when it was asked for: those that matched no more
    /// when their turn came were skipped, and none is left out of the count.
    pub fn settle(self, counted: Option<u64>) -> (Tally, u64) {
        let missing = counted.unwrap_or(0).saturating_sub(self.total());
        let tally = Tally {
            skipped: self.skipped + missing,
            ..self
        };
        (tally, tally.total())
    }
}

/// The states in which a run can be cancelled, of those asked for (none: all). Empty: it cannot be in any.
pub fn cancellable(asked: &[RunStatus]) -> Vec<RunStatus> {
    among(asked, |status| !status.is_final())
}

/// The states in which a run can be repeated from there, of those asked for (none: all). Empty: it cannot be in any.
pub fn repeatable(asked: &[RunStatus], from: &Begin) -> Vec<RunStatus> {
    among(asked, |status| match from {
        Begin::Failed => status == RunStatus::Failed,
        Begin::Start | Begin::Step(_) => status.is_final(),
    })
}

fn among(asked: &[RunStatus], may: impl Fn(RunStatus) -> bool) -> Vec<RunStatus> {
    let is_asked = |status: &RunStatus| asked.is_empty() || asked.contains(status);
    let all = RunStatus::ALL.into_iter();
    all.filter(|status| is_asked(status) && may(*status))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_concerns_only_the_states_in_which_something_can_be_done() {
        use RunStatus::{AwaitingApproval, Cancelled, Completed, Failed, Queued, Running, Waiting};
        let open = vec![Queued, Running, AwaitingApproval, Waiting];
        assert_eq!(cancellable(&[]), open);
        assert_eq!(cancellable(&[Failed, Queued]), [Queued]);
        assert_eq!(cancellable(&[Failed]), []);
        assert_eq!(
            repeatable(&[], &Begin::Start),
            [Completed, Failed, Cancelled]
        );
        assert_eq!(repeatable(&[], &Begin::Failed), [Failed]);
        assert_eq!(repeatable(&[Completed, Queued], &Begin::Failed), []);
    }

    #[test]
    fn a_job_that_is_through_leaves_none_out_of_its_count() {
        let tally = |done, skipped, failed| Tally {
            done,
            skipped,
            failed,
        };
        let seen = tally(5, 1, 2);
        assert_eq!(seen.settle(Some(8)), (seen, 8));
        assert_eq!(seen.settle(Some(10)), (tally(5, 3, 2), 10));
        assert_eq!(
            seen.settle(Some(6)),
            (seen, 8),
            "more came to match on the way"
        );
        assert_eq!(seen.settle(None), (seen, 8));
    }
}
