//! The state machine of a run. One pure function; `schema.sql`'s CHECKs are the second lock.
//!
//! ```text
//!            ┌──────────────── due ────────────────┐
//!            ▼                                     │
//! invoke ► queued ── claimed ──► running ── parked ► waiting
//!          ▲ ▲ │                  │ │ │ └─── asked ──► awaiting_approval ─┐
//!          │ │ │    claim lost ───┘ │ └─ completed ─► completed           │
//!          │ └─┼────────────────────┘ └─ failed ────► failed              │
//!          │   └──────── cancelled (from any open state) ────► cancelled  │
//!          └───────────────────────── answered ───────────────────────────┘
//! ```
//!
//! `awaiting_approval` is where a run waits for a person. An answer, or that none came in time, is on record before the
//! run is queued again: the plan finds the step completed or failed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// Where a run stands. Spelled the same in SQL and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// Waits for a person; holds nothing.
    AwaitingApproval,
    /// Waits for a time; holds nothing.
    Waiting,
    /// Ended well.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended by request.
    Cancelled,
}

impl RunStatus {
    /// Every state, in the order of the contract.
    pub const ALL: [RunStatus; 7] = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::AwaitingApproval,
        RunStatus::Waiting,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Cancelled,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::AwaitingApproval => "awaiting_approval",
            RunStatus::Waiting => "waiting",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<RunStatus> {
        RunStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Whether the run has ended; such a state never changes.
    pub fn is_final(self) -> bool {
        match self {
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::AwaitingApproval
            | RunStatus::Waiting => false,
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => true,
        }
    }
}

/// What the machine needs to know of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it stands.
    pub status: RunStatus,
    /// The claim that holds it, while it runs.
    pub claim: Option<i64>,
    /// When it goes on, while it waits.
    pub wake_at: Option<Timestamp>,
}

/// What can happen to a run. What a worker reports carries the token of its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A worker takes it, under this token.
    Claimed(i64),
    /// Steps are recorded and the run goes on in the same hands.
    Advanced(i64),
    /// The run waits until then.
    Parked(i64, Timestamp),
    /// The run waits for a person.
    Asked(i64),
    /// The run ended well.
    Completed(i64),
    /// The run ended badly.
    Failed(i64),
    /// The worker died, or took too long.
    ClaimLost,
    /// A timer fired.
    Due,
    /// The person has answered, or has not in time: what came of it is on record.
    Answered,
    /// Someone wants it to end.
    Cancelled,
}

/// What the run becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where it stands now.
    pub status: RunStatus,
    /// The claim that holds it now.
    pub claim: Option<i64>,
    /// When it goes on.
    pub wake_at: Option<Timestamp>,
    /// What becomes of its open step.
    pub steps: OpenSteps,
}

impl Change {
    /// The run as it is then.
    pub fn run(&self) -> Run {
        Run {
            status: self.status,
            claim: self.claim,
            wake_at: self.wake_at,
        }
    }
}

/// What a change does to steps that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenSteps {
    /// Nothing.
    Keep,
    /// A running step was interrupted and will run again.
    Interrupt,
    /// Open steps are cancelled.
    Cancel,
}

/// Why an event is not for this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The run has ended.
    Final,
    /// The token is not that of the claim that holds the run.
    ClaimLost,
    /// It is not queued.
    NotQueued,
    /// Nobody holds it.
    NotClaimed,
    /// It waits for no time.
    NotWaiting,
    /// Its time has not come.
    NotDue,
    /// It waits for nobody.
    NotAsked,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With this output.
    Completed {
        /// The run's output.
        output: Value,
    },
    /// With this error.
    Failed {
        /// One sentence.
        error: String,
        /// `step_failed`, `output_failed`, `definition_unavailable`.
        code: &'static str,
        /// Which step.
        step: Option<String>,
    },
    /// By request.
    Cancelled {
        /// The reason given.
        reason: String,
    },
}

/// What `event` makes of `run`.
///
/// # Errors
/// [`Refused`] says why the event is not for this run; nothing changes then.
pub fn next(run: &Run, event: &Event, now: Timestamp) -> Result<Change, Refused> {
    use RunStatus::{AwaitingApproval, Cancelled, Completed, Failed, Queued, Running, Waiting};
    let held = |token: i64, change: Change| match run.claim == Some(token) {
        true => Ok(change),
        false => Err(Refused::ClaimLost),
    };
    match (run.status, *event) {
        (Queued, Event::Claimed(token)) => Ok(running(token)),
        (Running | AwaitingApproval | Waiting, Event::Claimed(_)) => Err(Refused::NotQueued),

        (Running, Event::Advanced(token)) => held(token, running(token)),
        (Running, Event::Parked(token, until)) => held(token, waiting(until)),
        (Running, Event::Asked(token)) => held(token, awaiting()),
        (Running, Event::Completed(token)) => held(token, ended(Completed)),
        (Running, Event::Failed(token)) => held(token, ended(Failed)),
        (
            Queued | AwaitingApproval | Waiting,
            Event::Advanced(_)
            | Event::Parked(..)
            | Event::Asked(_)
            | Event::Completed(_)
            | Event::Failed(_),
        ) => Err(Refused::ClaimLost),

        (Running, Event::ClaimLost) => Ok(queued(OpenSteps::Interrupt)),
        (Queued | AwaitingApproval | Waiting, Event::ClaimLost) => Err(Refused::NotClaimed),

        (Waiting, Event::Due) => match run.wake_at {
            Some(at) if at > now => Err(Refused::NotDue),
            Some(_) | None => Ok(queued(OpenSteps::Keep)),
        },
        (Queued | Running | AwaitingApproval, Event::Due) => Err(Refused::NotWaiting),

        (AwaitingApproval, Event::Answered) => Ok(queued(OpenSteps::Keep)),
        (Queued | Running | Waiting, Event::Answered) => Err(Refused::NotAsked),

        (Queued | Running | AwaitingApproval | Waiting, Event::Cancelled) => Ok(ended(Cancelled)),

        (
            Completed | Failed | Cancelled,
            Event::Claimed(_)
            | Event::Advanced(_)
            | Event::Parked(..)
            | Event::Asked(_)
            | Event::Completed(_)
            | Event::Failed(_)
            | Event::ClaimLost
            | Event::Due
            | Event::Answered
            | Event::Cancelled,
        ) => Err(Refused::Final),
    }
}

fn queued(steps: OpenSteps) -> Change {
    Change {
        status: RunStatus::Queued,
        claim: None,
        wake_at: None,
        steps,
    }
}

fn running(token: i64) -> Change {
    let steps = OpenSteps::Keep;
    Change {
        status: RunStatus::Running,
        claim: Some(token),
        wake_at: None,
        steps,
    }
}

fn waiting(until: Timestamp) -> Change {
    let steps = OpenSteps::Keep;
    Change {
        status: RunStatus::Waiting,
        claim: None,
        wake_at: Some(until),
        steps,
    }
}

fn awaiting() -> Change {
    let steps = OpenSteps::Keep;
    Change {
        status: RunStatus::AwaitingApproval,
        claim: None,
        wake_at: None,
        steps,
    }
}

fn ended(status: RunStatus) -> Change {
    let steps = match status {
        RunStatus::Cancelled => OpenSteps::Cancel,
        _ => OpenSteps::Keep,
    };
    Change {
        status,
        claim: None,
        wake_at: None,
        steps,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    /// A run in that state, held (if running) by claim 7, due (if waiting) now.
    fn run(status: RunStatus) -> Run {
        Run {
            status,
            claim: (status == RunStatus::Running).then_some(7),
            wake_at: (status == RunStatus::Waiting).then_some(NOW),
        }
    }

    const EVENTS: [(&str, Event); 10] = [
        ("claimed", Event::Claimed(7)),
        ("advanced", Event::Advanced(7)),
        ("parked", Event::Parked(7, Timestamp(9_000))),
        ("asked", Event::Asked(7)),
        ("completed", Event::Completed(7)),
        ("failed", Event::Failed(7)),
        ("claim_lost", Event::ClaimLost),
        ("due", Event::Due),
        ("answered", Event::Answered),
        ("cancelled", Event::Cancelled),
    ];

    /// The matrix is the documentation: state by event, what the run becomes or why not.
    const MATRIX: &str = "\
queued             claimed→running  advanced✗ClaimLost  parked✗ClaimLost  asked✗ClaimLost  completed✗ClaimLost  failed✗ClaimLost  claim_lost✗NotClaimed  due✗NotWaiting  answered✗NotAsked  cancelled→cancelled
running            claimed✗NotQueued  advanced→running  parked→waiting  asked→awaiting_approval  completed→completed  failed→failed  claim_lost→queued  due✗NotWaiting  answered✗NotAsked  cancelled→cancelled
awaiting_approval  claimed✗NotQueued  advanced✗ClaimLost  parked✗ClaimLost  asked✗ClaimLost  completed✗ClaimLost  failed✗ClaimLost  claim_lost✗NotClaimed  due✗NotWaiting  answered→queued  cancelled→cancelled
waiting            claimed✗NotQueued  advanced✗ClaimLost  parked✗ClaimLost  asked✗ClaimLost  completed✗ClaimLost  failed✗ClaimLost  claim_lost✗NotClaimed  due→queued  answered✗NotAsked  cancelled→cancelled
completed          claimed✗Final  advanced✗Final  parked✗Final  asked✗Final  completed✗Final  failed✗Final  claim_lost✗Final  due✗Final  answered✗Final  cancelled✗Final
failed             claimed✗Final  advanced✗Final  parked✗Final  asked✗Final  completed✗Final  failed✗Final  claim_lost✗Final  due✗Final  answered✗Final  cancelled✗Final
cancelled          claimed✗Final  advanced✗Final  parked✗Final  asked✗Final  completed✗Final  failed✗Final  claim_lost✗Final  due✗Final  answered✗Final  cancelled✗Final
";

    #[test]
    #[expect(clippy::print_stdout, reason = "the whole matrix is there to be read")]
    fn the_whole_matrix_is_as_written() {
        let mut matrix = String::new();
        for status in RunStatus::ALL {
            let cells: Vec<String> = EVENTS
                .iter()
                .map(|(name, event)| match next(&run(status), event, NOW) {
                    Ok(change) => format!("{name}→{}", change.status.as_str()),
                    Err(refused) => format!("{name}✗{refused:?}"),
                })
                .collect();
            matrix.push_str(&format!("{:<17}  {}\n", status.as_str(), cells.join("  ")));
        }
        println!("{matrix}");
        assert_eq!(matrix, MATRIX);
    }

    #[test]
    fn a_lost_claim_cannot_record() {
        for event in [
            Event::Advanced(8),
            Event::Parked(8, NOW),
            Event::Asked(8),
            Event::Completed(8),
            Event::Failed(8),
        ] {
            assert_eq!(
                next(&run(RunStatus::Running), &event, NOW),
                Err(Refused::ClaimLost)
            );
        }
    }

    #[test]
    fn a_timer_does_not_fire_early() {
        let early = Run {
            wake_at: Some(Timestamp(1_001)),
            ..run(RunStatus::Waiting)
        };
        assert_eq!(next(&early, &Event::Due, NOW), Err(Refused::NotDue));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let token = 1..4i64;
        prop_oneof![
            token.clone().prop_map(Event::Claimed),
            token.clone().prop_map(Event::Advanced),
            (token.clone(), 0..5_000i64).prop_map(|(t, at)| Event::Parked(t, Timestamp(at))),
            token.clone().prop_map(Event::Asked),
            token.clone().prop_map(Event::Completed),
            token.prop_map(Event::Failed),
            Just(Event::ClaimLost),
            Just(Event::Due),
            Just(Event::Answered),
            Just(Event::Cancelled),
        ]
    }

    proptest! {
        #[test]
        fn any_history_keeps_what_schema_sql_checks(events in prop::collection::vec((any_event(), 0..5_000i64), 0..60)) {
            let mut run = Run { status: RunStatus::Queued, claim: None, wake_at: None };
            for (event, now) in events {
                let before = run;
                match next(&run, &event, Timestamp(now)) {
                    Ok(change) => {
                        prop_assert!(!before.status.is_final(), "a final state changed");
                        run = Run { status: change.status, claim: change.claim, wake_at: change.wake_at };
                    }
                    Err(_) => prop_assert_eq!(run, before),
                }
                prop_assert_eq!(run.status == RunStatus::Running, run.claim.is_some());
                prop_assert_eq!(run.status == RunStatus::Waiting, run.wake_at.is_some());
            }
        }
    }
}
