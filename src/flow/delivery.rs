//! The state machine of a delivery, the body of an event, and when a failed attempt is repeated.
//!
//! ```text
//! run ends ► pending ── claimed ──► delivering ── accepted ─► delivered
//!              ▲ ▲                   │ │ │ └───── gone ─────► gone
//!              │ └── interrupted ────┘ │ └─ failed, no budget ─► dead
//!              └── failed, budget left ┘
//! redeliver: from delivered, dead, gone, cancelled and pending back to pending, with a fresh budget; while an attempt
//! is in flight, a fresh budget behind it
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::flow::run::Ending;
use crate::id::Id;
use crate::time::Timestamp;

/// Where a delivery stands. Spelled the same in SQL and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Due at `next_attempt_at`.
    Pending,
    /// An attempt is in flight.
    Delivering,
    /// Accepted by the receiver.
    Delivered,
    /// Given up.
    Dead,
    /// The receiver said 410: never again.
    Gone,
    /// Taken back.
    Cancelled,
}

impl DeliveryStatus {
    /// Every state, in the order of the contract.
    pub const ALL: [DeliveryStatus; 6] = [
        DeliveryStatus::Pending,
        DeliveryStatus::Delivering,
        DeliveryStatus::Delivered,
        DeliveryStatus::Dead,
        DeliveryStatus::Gone,
        DeliveryStatus::Cancelled,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryStatus::Pending => "pending",
            DeliveryStatus::Delivering => "delivering",
            DeliveryStatus::Delivered => "delivered",
            DeliveryStatus::Dead => "dead",
            DeliveryStatus::Gone => "gone",
            DeliveryStatus::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<DeliveryStatus> {
        DeliveryStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Whether nothing is owed any more.
    pub fn is_final(self) -> bool {
        match self {
            DeliveryStatus::Pending | DeliveryStatus::Delivering => false,
            DeliveryStatus::Delivered
            | DeliveryStatus::Dead
            | DeliveryStatus::Gone
            | DeliveryStatus::Cancelled => true,
        }
    }
}

/// What the machine needs to know of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Where it stands.
    pub status: DeliveryStatus,
    /// The claim that holds it, while an attempt is in flight.
    pub claim: Option<i64>,
    /// How many attempts of the present budget have failed.
    pub failures: u32,
}

/// What can happen to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A sender takes it, under this token.
    Claimed(i64),
    /// The attempt under this token came to that.
    Attempted(i64, Verdict),
    /// The attempt was cut by the end of its process. Uses no budget.
    Interrupted,
    /// Someone wants it sent again.
    Redeliver,
    /// It is taken back.
    Cancelled,
}

/// What was heard of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heard {
    /// 2xx, to its end.
    Accepted,
    /// 410.
    Gone,
    /// Anything else, or nothing.
    Failed {
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
        /// Dice in `[0, 1)`, for the jitter.
        fraction: f64,
    },
}

impl Heard {
    /// What it comes to for a delivery with so many failures in its present budget.
    pub fn verdict(self, schedule: &[Duration], failures: u32) -> Verdict {
        match self {
            Heard::Accepted => Verdict::Accepted,
            Heard::Gone => Verdict::Gone,
            Heard::Failed {
                retry_after,
                fraction,
            } => Verdict::Failed(wait_after(schedule, failures + 1, retry_after, fraction)),
        }
    }
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// 2xx.
    Accepted,
    /// 410.
    Gone,
    /// Anything else. `wait` is what [`wait_after`] said; `None`: the budget is used up.
    Failed(Option<Duration>),
}

/// What the delivery becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where it stands now.
    pub status: DeliveryStatus,
    /// The claim that holds it now.
    pub claim: Option<i64>,
    /// How many attempts of the budget have failed.
    pub failures: u32,
    /// When it is due, if it is pending.
    pub next_attempt_at: Option<Timestamp>,
}

/// Why an event is not for this delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nothing is owed any more.
    Final,
    /// The token is not that of the claim that holds it.
    ClaimLost,
    /// An attempt is in flight.
    InFlight,
    /// No attempt is in flight.
    NotClaimed,
}

/// What `event` makes of `delivery`.
///
/// # Errors
/// [`Refused`] says why the event is not for this delivery; nothing changes then.
pub fn next(delivery: &Delivery, event: &Event, now: Timestamp) -> Result<Change, Refused> {
    use DeliveryStatus::{Cancelled, Dead, Delivered, Delivering, Gone, Pending};
    let failures = delivery.failures;
    match (delivery.status, *event) {
        (Pending, Event::Claimed(token)) => Ok(Change {
            status: Delivering,
            claim: Some(token),
            failures,
            next_attempt_at: None,
        }),
        (Pending, Event::Attempted(..)) => Err(Refused::ClaimLost),
        (Pending, Event::Interrupted) => Err(Refused::NotClaimed),
        (Pending, Event::Redeliver) => Ok(pending(0, now)),
        (Pending, Event::Cancelled) => Ok(settled(Cancelled, failures)),

        (Delivering, Event::Claimed(_)) => Err(Refused::InFlight),
        (Delivering, Event::Attempted(token, verdict)) if delivery.claim == Some(token) => {
            Ok(match verdict {
                Verdict::Accepted => settled(Delivered, failures),
                Verdict::Gone => settled(Gone, failures + 1),
                Verdict::Failed(Some(wait)) => pending(failures + 1, now.plus(wait)),
                Verdict::Failed(None) => settled(Dead, failures + 1),
            })
        }
        (Delivering, Event::Attempted(..)) => Err(Refused::ClaimLost),
        (Delivering, Event::Interrupted) => Ok(pending(failures, now)),
        // The attempt in flight is the first of the fresh budget.
        (Delivering, Event::Redeliver) => Ok(Change {
            status: Delivering,
            claim: delivery.claim,
            failures: 0,
            next_attempt_at: None,
        }),
        (Delivering, Event::Cancelled) => Ok(settled(Cancelled, failures)),

        (Delivered | Dead | Gone | Cancelled, Event::Redeliver) => Ok(pending(0, now)),
        (
            Delivered | Dead | Gone | Cancelled,
            Event::Claimed(_) | Event::Attempted(..) | Event::Interrupted | Event::Cancelled,
        ) => Err(Refused::Final),
    }
}

fn pending(failures: u32, at: Timestamp) -> Change {
    let status = DeliveryStatus::Pending;
    Change {
        status,
        claim: None,
        failures,
        next_attempt_at: Some(at),
    }
}

fn settled(status: DeliveryStatus, failures: u32) -> Change {
    Change {
        status,
        claim: None,
        failures,
        next_attempt_at: None,
    }
}

const fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The default schedule: how long after the one before each attempt is made. 12 attempts over 75 h 42 min.
pub const SCHEDULE: [Duration; 12] = [
    seconds(0),
    seconds(5),
    seconds(30),
    seconds(2 * 60),
    seconds(10 * 60),
    seconds(30 * 60),
    seconds(2 * 3600),
    seconds(5 * 3600),
    seconds(10 * 3600),
    seconds(14 * 3600),
    seconds(20 * 3600),
    seconds(24 * 3600),
];

/// How long an attempt may take, the answer's body included.
pub const EXCHANGE_DEADLINE: Duration = seconds(15);

/// The longest wait a receiver can ask for.
pub const RETRY_AFTER_MAX: Duration = seconds(24 * 3600);

/// How long to wait after the `failures`-th failed attempt, or `None` if the schedule has no more.
/// Jitter only adds (0 to 20 % of the step, by `fraction` in `[0, 1)`); `retry_after` only lengthens.
pub fn wait_after(
    schedule: &[Duration],
    failures: u32,
    retry_after: Option<Duration>,
    fraction: f64,
) -> Option<Duration> {
    let step = *schedule.get(failures as usize)?;
    let wait = step + step.mul_f64(0.2 * fraction.clamp(0.0, 1.0));
    Some(wait.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)))
}

/// What an event says of the run it tells about.
#[derive(Debug, Clone)]
pub struct EventFacts {
    /// The run.
    pub run_id: Id,
    /// The deployment's name.
    pub deployment: String,
    /// The variant's name.
    pub variant: String,
    /// The version's number.
    pub version: i64,
    /// The caller's name for its user.
    pub user: Option<String>,
    /// The caller's labels.
    pub metadata: Map<String, Value>,
    /// When the event was made.
    pub created_at: Timestamp,
}

/// The id of a run's final event. There is one final event, so it follows from the run's id.
pub fn final_event_id(run_id: Id) -> String {
    run_id.prefixed("evt_")
}

/// The `event_type` that tells of this ending.
pub fn event_type(ending: &Ending) -> &'static str {
    match ending {
        Ending::Completed { .. } => "workflow.completed",
        Ending::Failed { .. } => "workflow.failed",
        Ending::Cancelled { .. } => "workflow.cancelled",
    }
}

/// The bytes of an event: serialised once, sent identically on every attempt.
pub fn event_body(facts: &EventFacts, ending: &Ending) -> String {
    let data = match ending {
        Ending::Completed { output } => json!({"output": output}),
        Ending::Failed { error, code, step } => {
            json!({"error": error, "error_code": code, "step": step})
        }
        Ending::Cancelled { reason } => json!({"error": reason, "reason": "cancelled"}),
    };
    json!({
        "event_type": event_type(ending),
        "request_id": facts.run_id.request_id(),
        "data": data,
        "event_id": final_event_id(facts.run_id),
        "run_id": facts.run_id,
        "deployment": facts.deployment,
        "variant": facts.variant,
        "version": facts.version,
        "created_at": facts.created_at,
        "user": facts.user,
        "metadata": facts.metadata,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn delivery(status: DeliveryStatus) -> Delivery {
        let claim = (status == DeliveryStatus::Delivering).then_some(7);
        Delivery {
            status,
            claim,
            failures: 1,
        }
    }

    const MATRIX: &str = "\
pending     claimed→delivering  accepted✗ClaimLost  gone✗ClaimLost  failed✗ClaimLost  used_up✗ClaimLost  interrupted✗NotClaimed  redeliver→pending  cancelled→cancelled
delivering  claimed✗InFlight  accepted→delivered  gone→gone  failed→pending  used_up→dead  interrupted→pending  redeliver→delivering  cancelled→cancelled
delivered   claimed✗Final  accepted✗Final  gone✗Final  failed✗Final  used_up✗Final  interrupted✗Final  redeliver→pending  cancelled✗Final
dead        claimed✗Final  accepted✗Final  gone✗Final  failed✗Final  used_up✗Final  interrupted✗Final  redeliver→pending  cancelled✗Final
gone        claimed✗Final  accepted✗Final  gone✗Final  failed✗Final  used_up✗Final  interrupted✗Final  redeliver→pending  cancelled✗Final
cancelled   claimed✗Final  accepted✗Final  gone✗Final  failed✗Final  used_up✗Final  interrupted✗Final  redeliver→pending  cancelled✗Final
";

    #[test]
    #[expect(clippy::print_stdout, reason = "the whole matrix is there to be read")]
    fn the_whole_matrix_is_as_written() {
        let events = [
            ("claimed", Event::Claimed(7)),
            ("accepted", Event::Attempted(7, Verdict::Accepted)),
            ("gone", Event::Attempted(7, Verdict::Gone)),
            (
                "failed",
                Event::Attempted(7, Verdict::Failed(Some(seconds(5)))),
            ),
            ("used_up", Event::Attempted(7, Verdict::Failed(None))),
            ("interrupted", Event::Interrupted),
            ("redeliver", Event::Redeliver),
            ("cancelled", Event::Cancelled),
        ];
        let mut matrix = String::new();
        for status in DeliveryStatus::ALL {
            let cells: Vec<String> = events
                .iter()
                .map(|(name, event)| match next(&delivery(status), event, NOW) {
                    Ok(change) => format!("{name}→{}", change.status.as_str()),
                    Err(refused) => format!("{name}✗{refused:?}"),
                })
                .collect();
            matrix.push_str(&format!("{:<10}  {}\n", status.as_str(), cells.join("  ")));
        }
        println!("{matrix}");
        assert_eq!(matrix, MATRIX);
    }

    #[test]
    fn an_interrupted_attempt_is_due_at_once_and_uses_no_budget() {
        let change = next(
            &delivery(DeliveryStatus::Delivering),
            &Event::Interrupted,
            NOW,
        );
        let expected = Change {
            status: DeliveryStatus::Pending,
            claim: None,
            failures: 1,
            next_attempt_at: Some(NOW),
        };
        assert_eq!(change, Ok(expected));
    }

    #[test]
    fn the_schedule_is_that_of_the_contract() {
        let total: Duration = SCHEDULE.iter().sum();
        assert_eq!(total, seconds(75 * 3600 + 42 * 60 + 35));
        assert_eq!(wait_after(&SCHEDULE, 1, None, 0.0), Some(seconds(5)));
        assert_eq!(
            wait_after(&SCHEDULE, 11, None, 0.0),
            Some(seconds(24 * 3600))
        );
        assert_eq!(wait_after(&SCHEDULE, 12, None, 0.0), None);
    }

    proptest! {
        #[test]
        fn jitter_and_retry_after_only_lengthen(
            failures in 0u32..14,
            hint in prop::option::of(0u64..200_000),
            fraction in 0.0f64..1.0,
        ) {
            if let Some(wait) = wait_after(&SCHEDULE, failures, hint.map(seconds), fraction) {
                let step = SCHEDULE[failures as usize];
                let hint = hint.map(seconds).unwrap_or_default().min(RETRY_AFTER_MAX);
                prop_assert!(wait >= step && wait >= hint);
                prop_assert!(wait <= step.mul_f64(1.2).max(hint));
            }
        }

        #[test]
        fn any_history_keeps_what_schema_sql_checks(choices in prop::collection::vec((0usize..8, 1..4i64), 0..60)) {
            let mut delivery = Delivery { status: DeliveryStatus::Pending, claim: None, failures: 0 };
            for (choice, token) in choices {
                let event = [
                    Event::Claimed(token),
                    Event::Attempted(token, Verdict::Accepted),
                    Event::Attempted(token, Verdict::Gone),
                    Event::Attempted(token, Verdict::Failed(Some(seconds(1)))),
                    Event::Attempted(token, Verdict::Failed(None)),
                    Event::Interrupted,
                    Event::Redeliver,
                    Event::Cancelled,
                ][choice];
                if let Ok(change) = next(&delivery, &event, NOW) {
                    prop_assert!(!delivery.status.is_final() || event == Event::Redeliver);
                    prop_assert_eq!(change.status == DeliveryStatus::Pending, change.next_attempt_at.is_some());
                    delivery = Delivery { status: change.status, claim: change.claim, failures: change.failures };
                }
                prop_assert_eq!(delivery.status == DeliveryStatus::Delivering, delivery.claim.is_some());
            }
        }
    }
}
