//! When a failed try is made again.
//!
//! Pure: the time and the dice are arguments. Deliveries have their own schedule, see `delivery`.

use std::time::Duration;

use crate::flow::step::{ErrorClass, Outcome};
use crate::time::Timestamp;

/// The longest that the other side can ask us to wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How much is added to a wait at most, as a fraction of it: never less than asked, a little more.
const JITTER: f64 = 0.2;

/// What `retry` says of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Tries after the first.
    pub max: u32,
    /// The first wait; it doubles each time.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// Which failures are tried again.
    pub on: Vec<Trouble>,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            max: 0,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            on: Trouble::ALL.to_vec(),
        }
    }
}

/// A failure that may pass: the words of `retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No connection came about, or it was cut: name, connection, TLS, reset.
    Connect,
    /// Out of time.
    Timeout,
    /// The answer was 429.
    TooMany,
    /// The answer was 500 to 599.
    Server,
}

impl Trouble {
    /// All of them: what `on` is where it is not given.
    pub const ALL: [Trouble; 4] = [
        Trouble::Connect,
        Trouble::Timeout,
        Trouble::TooMany,
        Trouble::Server,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Connect => "connect",
            Trouble::Timeout => "timeout",
            Trouble::TooMany => "429",
            Trouble::Server => "5xx",
        }
    }

    /// The trouble of that word.
    pub fn parse(word: &str) -> Option<Trouble> {
        Trouble::ALL
            .into_iter()
            .find(|trouble| trouble.as_str() == word)
    }
}

/// What a failure is, if it is one that may pass.
fn trouble(class: ErrorClass, status: Option<u16>) -> Option<Trouble> {
    match class {
        ErrorClass::Dns | ErrorClass::Connect | ErrorClass::Tls | ErrorClass::Reset => {
            Some(Trouble::Connect)
        }
        ErrorClass::Timeout => Some(Trouble::Timeout),
        ErrorClass::HttpStatus => match status {
            Some(429) => Some(Trouble::TooMany),
            Some(500..=599) => Some(Trouble::Server),
            _ => None,
        },
        ErrorClass::ForbiddenAddress
        | ErrorClass::SmtpStatus
        | ErrorClass::Interrupted
        | ErrorClass::Step
        | ErrorClass::Cancelled => None,
    }
}

/// When the step is tried again; `None`: it is not. `failures` counts this one; `fraction` is in `[0, 1)`.
pub fn next_try(
    policy: &Retry,
    failures: u32,
    failed: &Outcome,
    now: Timestamp,
    fraction: f64,
) -> Option<Timestamp> {
    let Outcome::Failed {
        error,
        status,
        retry_after,
        ..
    } = failed
    else {
        return None;
    };
    let trouble = trouble(error.class, *status)?;
    if failures > policy.max || !policy.on.contains(&trouble) {
        return None;
    }
    let doublings = failures.saturating_sub(1).min(31);
    let wait = policy
        .first
        .saturating_mul(1 << doublings)
        .min(policy.longest);
    let jitter = wait.mul_f64(JITTER * fraction.clamp(0.0, 1.0));
    let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    Some(now.plus((wait + jitter).max(asked)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::step::StepError;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn failed(class: ErrorClass, status: Option<u16>, retry_after: Option<u64>) -> Outcome {
        Outcome::Failed {
            error: StepError {
                class,
                message: String::new(),
            },
            status,
            retry_after: retry_after.map(Duration::from_secs),
            meta: None,
        }
    }

    fn policy(max: u32) -> Retry {
        Retry {
            max,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            on: Trouble::ALL.to_vec(),
        }
    }

    fn wait(policy: &Retry, failures: u32, failed: &Outcome, fraction: f64) -> Option<i64> {
        next_try(policy, failures, failed, NOW, fraction).map(|at| at.0 - NOW.0)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_stop_after_max() {
        let down = failed(ErrorClass::Connect, None, None);
        let waits: Vec<_> = (1..=5)
            .map(|failures| wait(&policy(4), failures, &down, 0.0))
            .collect();
        assert_eq!(
            waits,
            [Some(1000), Some(2000), Some(4000), Some(5000), None]
        );
        assert_eq!(
            wait(&Retry::default(), 1, &down, 0.0),
            None,
            "by default there is one try"
        );
        assert_eq!(wait(&policy(u32::MAX), u32::MAX, &down, 0.0), Some(5000));
    }

    #[test]
    fn jitter_only_lengthens() {
        let down = failed(ErrorClass::Timeout, None, None);
        assert_eq!(wait(&policy(1), 1, &down, 0.5), Some(1100));
        assert_eq!(wait(&policy(1), 1, &down, 0.999_999), Some(1199));
        assert_eq!(wait(&policy(1), 1, &down, f64::INFINITY), Some(1200));
    }

    #[test]
    fn retry_after_lengthens_up_to_a_day() {
        let busy = |seconds| failed(ErrorClass::HttpStatus, Some(429), Some(seconds));
        assert_eq!(wait(&policy(1), 1, &busy(30), 0.0), Some(30_000));
        assert_eq!(wait(&policy(1), 1, &busy(0), 0.0), Some(1000));
        assert_eq!(wait(&policy(1), 1, &busy(u64::MAX), 0.0), Some(86_400_000));
    }

    #[test]
    fn only_what_is_listed_and_may_pass_is_tried_again() {
        let every = policy(1);
        let tried = |policy: &Retry, class, status| {
            wait(policy, 1, &failed(class, status, None), 0.0).is_some()
        };
        for class in [
            ErrorClass::Dns,
            ErrorClass::Connect,
            ErrorClass::Tls,
            ErrorClass::Reset,
            ErrorClass::Timeout,
        ] {
            assert!(tried(&every, class, None), "{class:?}");
        }
        for class in [
            ErrorClass::Step,
            ErrorClass::ForbiddenAddress,
            ErrorClass::Cancelled,
            ErrorClass::HttpStatus,
        ] {
            assert!(!tried(&every, class, None), "{class:?}");
        }
        for (status, expected) in [
            (404, false),
            (429, true),
            (500, true),
            (599, true),
            (600, false),
        ] {
            assert_eq!(
                tried(&every, ErrorClass::HttpStatus, Some(status)),
                expected,
                "{status}"
            );
        }
        let timeouts = Retry {
            on: vec![Trouble::Timeout],
            ..policy(1)
        };
        assert!(tried(&timeouts, ErrorClass::Timeout, None));
        assert!(!tried(&timeouts, ErrorClass::Dns, None));
        assert_eq!(
            next_try(
                &every,
                1,
                &Outcome::Done {
                    output: serde_json::Value::Null,
                    meta: None
                },
                NOW,
                0.0
            ),
            None
        );
    }
}
