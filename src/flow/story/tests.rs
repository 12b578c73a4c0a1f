//! Tests of `flow/story`: the table of cases is there to be read.

use proptest::prelude::*;

use super::*;

/// 2026-11-22 09:00:00 UTC.
const NOW: Timestamp = Timestamp(1_795_338_000_000);

fn ago(ms: i64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

const S: i64 = 1_000;
const MIN: i64 = 60 * S;
const H: i64 = 60 * MIN;

fn facts(status: RunStatus) -> Facts<'static> {
    let is_final = status.is_final();
    Facts {
        status,
        created_at: ago(2 * MIN),
        started_at: (status != RunStatus::Queued).then_some(ago(2 * MIN)),
        ended_at: is_final.then_some(ago(2 * MIN - 1_230)),
        error: None,
        error_code: None,
        step: None,
        wait: None,
        queue: Queue {
            queued: 41,
            running: 32,
            running_here: 3,
            limit: None,
            workers: 32,
        },
        sent: &[],
        now: NOW,
    }
}

fn step(status: StepStatus, tries: u64) -> Option<Step<'static>> {
    Some(Step {
        path: "fetch",
        status,
        tries,
        error: None,
        started_at: ago(2 * H),
    })
}

fn sent(status: DeliveryStatus, attempts: u64) -> Sent<'static> {
    Sent {
        channel: "callback",
        url: "https://x.example/hook",
        status,
        attempts,
        response_status: None,
        error_class: None,
        error: None,
        next_attempt_at: None,
    }
}

/// Each case, and what is told of it.
fn told(cases: &[(Facts<'_>, &str)]) {
    for (facts, expected) in cases {
        assert_eq!(story(facts), *expected);
    }
}

#[test]
fn a_queued_run_tells_what_it_is_behind() {
    let queued = facts(RunStatus::Queued);
    let with = |change: fn(&mut Queue)| {
        let mut other = queued;
        change(&mut other.queue);
        other
    };
    told(&[
        (
            queued,
            "Queued for 2 min with 40 other runs: all 32 workers are busy.",
        ),
        (
            with(|queue| queue.queued = 2),
            "Queued for 2 min with 1 other run: all 32 workers are busy.",
        ),
        (
            with(|queue| (queue.queued, queue.workers) = (1, 1)),
            "Queued for 2 min: the only worker is busy.",
        ),
        (
            with(|queue| queue.workers = 0),
            "Queued for 2 min with 40 other runs: this server has no workers, it only accepts.",
        ),
        (
            with(|queue| queue.limit = Some(3)),
            "Queued for 2 min with 40 other runs: 3 of its deployment are running, and its limit \
             is 3 at a time.",
        ),
        (
            with(|queue| (queue.queued, queue.running) = (0, 1)),
            "Queued for 2 min: a worker is about to take it.",
        ),
        (
            Facts {
                started_at: Some(ago(H)),
                ..with(|queue| queue.running = 0)
            },
            "Queued to go on with 40 other runs: a worker is about to take it.",
        ),
    ]);
}

#[test]
fn a_running_one_tells_where_it_is() {
    let running = facts(RunStatus::Running);
    let at = |status, tries| Facts {
        step: step(status, tries),
        ..running
    };
    told(&[
        (running, "Running for 2 min."),
        (
            at(StepStatus::Running, 1),
            "Running for 2 min, at step `fetch`.",
        ),
        (
            at(StepStatus::Running, 3),
            "Running for 2 min, at the 3rd try of step `fetch`.",
        ),
        (
            at(StepStatus::Pending, 1),
            "Running for 2 min; step `fetch` was interrupted and is tried again.",
        ),
    ]);
}

#[test]
fn a_parked_one_tells_what_it_waits_for() {
    let waiting = Facts {
        step: step(StepStatus::Waiting, 1),
        ..facts(RunStatus::Waiting)
    };
    let wait = |wait| Facts { wait, ..waiting };
    let retried = Facts {
        step: Some(Step {
            error: Some("GET https://a.example/: answered 503"),
            ..step(StepStatus::Waiting, 2).expect("a step")
        }),
        ..wait(Some(Wait::Retry(Some(ago(-5 * S)))))
    };
    told(&[
        (wait(None), "Waits at step `fetch`, and is about to go on."),
        (
            wait(Some(Wait::Timer(Some(ago(-26 * H))))),
            "Waits at step `fetch` until 2026-11-23 11:00 UTC (1 d 2 h more).",
        ),
        (
            wait(Some(Wait::Timer(Some(ago(1))))),
            "Waits at step `fetch` a moment more.",
        ),
        (
            wait(Some(Wait::Timer(None))),
            "Waits at step `fetch` for a time.",
        ),
        (
            retried,
            "Waits until 09:00:05 UTC (5.0 s more) to try step `fetch` again, which has failed \
             twice: GET https://a.example/: answered 503.",
        ),
        (
            Facts {
                step: None,
                ..retried
            },
            "Waits until 09:00:05 UTC (5.0 s more) to try its step again.",
        ),
    ]);
}

#[test]
fn one_that_waits_for_a_person_tells_for_whom_and_whether_they_were_reached() {
    let person = |recipient, until| Facts {
        step: step(StepStatus::Waiting, 1),
        wait: Some(Wait::Person {
            recipient,
            until: Some(until),
        }),
        ..facts(RunStatus::AwaitingApproval)
    };
    let lost = [Sent {
        channel: "email",
        url: "mailto:ada@example.com",
        error_class: Some("smtp_status"),
        error: Some("mail.example refused the recipient: 550 no such user"),
        ..sent(DeliveryStatus::Dead, 1)
    }];
    told(&[
        (
            person("ada@example.com", ago(-3 * H)),
            "Waits for ada@example.com to answer `fetch`, for 2 h now; times out at 12:00:00 UTC.",
        ),
        (
            person("", ago(-30 * H)),
            "Waits for anyone who may decide to answer `fetch`, for 2 h now; times out on \
             2026-11-23 15:00 UTC.",
        ),
        (
            person("Ada, Bob", ago(S)),
            "Waits for Ada, Bob to answer `fetch`, for 2 h now; its time was over at 08:59:59 UTC.",
        ),
        (
            Facts {
                sent: &lost,
                ..person("Ada", ago(-3 * H))
            },
            "Waits for Ada to answer `fetch`, for 2 h now; times out at 12:00:00 UTC. The e-mail to \
             ada@example.com has not arrived after 1 attempt (last: mail.example refused the \
             recipient: 550 no such user).",
        ),
    ]);
}

#[test]
fn an_ended_one_tells_how_and_why() {
    let failed = Facts {
        error: Some("step `fetch` failed: the server answered 503"),
        error_code: Some("step_failed"),
        step: step(StepStatus::Failed, 3),
        ..facts(RunStatus::Failed)
    };
    let cancelled = facts(RunStatus::Cancelled);
    told(&[
        (facts(RunStatus::Completed), "Completed in 1.2 s."),
        (
            Facts {
                created_at: ago(2 * MIN + 90 * S),
                ..facts(RunStatus::Completed)
            },
            "Completed in 1.2 s, after 1 min 30 s in the queue.",
        ),
        (
            failed,
            "Failed at step `fetch` after 3 tries: the server answered 503.",
        ),
        (
            Facts {
                step: step(StepStatus::Failed, 1),
                error: Some("Nobody answered."),
                ..failed
            },
            "Failed at step `fetch`: Nobody answered.",
        ),
        (
            Facts {
                step: None,
                error: Some("`output`: `x` is undefined"),
                error_code: Some("output_failed"),
                ..failed
            },
            "Failed when its output was put together: `output`: `x` is undefined.",
        ),
        (
            Facts {
                error: Some("too dear"),
                step: step(StepStatus::Cancelled, 1),
                ..cancelled
            },
            "Cancelled after 1.2 s at step `fetch`: too dear.",
        ),
        (
            Facts {
                started_at: None,
                ..cancelled
            },
            "Cancelled after 1.2 s before it began.",
        ),
        (cancelled, "Cancelled after 1.2 s."),
    ]);
}

#[test]
fn a_callback_is_told_in_every_state() {
    use DeliveryStatus::{Cancelled, Dead, Delivered, Delivering, Gone, Pending};
    let refused = Sent {
        error_class: Some("connect"),
        error: Some("connecting to x.example failed: Connection refused"),
        ..sent(Pending, 4)
    };
    let answered = |status| Sent {
        response_status: Some(503),
        error_class: Some("http_status"),
        error: Some("the receiver answered 503"),
        ..sent(status, 12)
    };
    for (sent, expected) in [
        (sent(Pending, 0), "is about to be sent"),
        (
            Sent {
                next_attempt_at: Some(ago(-2 * S)),
                ..sent(Pending, 0)
            },
            "is sent at 09:00:02 UTC",
        ),
        (
            Sent {
                next_attempt_at: Some(ago(-10 * MIN)),
                ..refused
            },
            "has failed 4 times (last: connecting to x.example failed: Connection refused) and is \
             tried again at 09:10:00 UTC",
        ),
        (
            Sent {
                attempts: 1,
                error: None,
                error_class: Some("forbidden_address"),
                ..refused
            },
            "has failed once (last: forbidden address) and is tried again now",
        ),
        (sent(Delivering, 1), "is being sent"),
        (sent(Delivering, 3), "is being sent, the 3rd attempt"),
        (sent(Delivered, 1), "was delivered"),
        (sent(Delivered, 2), "was delivered at the 2nd attempt"),
        (
            answered(Dead),
            "was given up after 12 attempts (last: the server answered 503)",
        ),
        (sent(Gone, 1), "was answered 410, so it is not sent again"),
        (sent(Cancelled, 0), "was taken back"),
    ] {
        let sent = [sent];
        let facts = Facts {
            sent: &sent,
            ..facts(RunStatus::Completed)
        };
        let whole =
            format!("Completed in 1.2 s. Its callback to https://x.example/hook {expected}.");
        assert_eq!(story(&facts), whole);
    }
}

#[test]
fn what_others_wrote_stays_on_its_line_and_is_cut() {
    let long = format!("one\r\ntwo\u{202e}{}", "x".repeat(1_000_000));
    let facts = Facts {
        error: Some(&long),
        ..facts(RunStatus::Cancelled)
    };
    let story = story(&facts);
    let reason = story.strip_prefix("Cancelled after 1.2 s: ");
    let reason = reason.expect("it begins like that");
    assert!(reason.starts_with("one  twoxxx"), "{reason}");
    assert!(reason.ends_with("x…."), "{reason}");
    assert_eq!(reason.chars().count(), REPEATED + 2);
}

#[test]
fn numbers_are_spoken_as_people_do() {
    for (number, spoken) in [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (113, "113th"),
        (121, "121st"),
    ] {
        assert_eq!(nth(number), spoken);
    }
    for (ms, spoken) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_999, "59 s"),
        (90_000, "1 min 30 s"),
        (45 * MIN + 10, "45 min"),
        (2 * H, "2 h"),
        (2 * H + 10 * MIN, "2 h 10 min"),
        (76 * H, "3 d 4 h"),
    ] {
        assert_eq!(span(Timestamp(0), Timestamp(ms)), spoken);
    }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp(i64::MIN)),
        Just(Timestamp(i64::MAX)),
        any::<i64>().prop_map(Timestamp),
        (-400_000_000_000i64..400_000_000_000).prop_map(ago),
    ]
}

fn any_wait(text: String) -> impl Strategy<Value = (u8, Option<Timestamp>, String)> {
    (0..4u8, prop::option::of(any_time()), Just(text))
}

proptest! {
    #[test]
    fn odd_values_make_one_line_that_ends_with_a_full_stop(
        (status, step_status, sent_status) in (0..7usize, 0..7usize, 0..6usize),
        times in prop::collection::vec(prop::option::of(any_time()), 6),
        texts in prop::collection::vec(prop::option::of(any::<String>()), 8),
        numbers in prop::collection::vec(any::<u64>(), 8),
        (kind, until, recipient) in any::<String>().prop_flat_map(any_wait),
        now in any_time(),
        has in any::<(bool, bool, bool)>(),
    ) {
        let text = |at: usize| texts[at].as_deref();
        let sent = [Sent {
            channel: if has.2 { "callback" } else { "email" },
            url: text(0).unwrap_or_default(),
            status: DeliveryStatus::ALL[sent_status],
            attempts: numbers[0],
            response_status: has.0.then_some(numbers[1] as i64),
            error_class: text(1),
            error: text(2),
            next_attempt_at: times[0],
        }];
        let facts = Facts {
            status: RunStatus::ALL[status],
            created_at: times[1].unwrap_or(NOW),
            started_at: times[2],
            ended_at: times[3],
            error: text(3),
            error_code: text(4),
            step: has.1.then(|| Step {
                path: text(5).unwrap_or_default(),
                status: StepStatus::ALL[step_status],
                tries: numbers[2],
                error: text(6),
                started_at: times[4].unwrap_or(NOW),
            }),
            wait: match kind {
                0 => None,
                1 => Some(Wait::Timer(until)),
                2 => Some(Wait::Retry(until)),
                _ => Some(Wait::Person { recipient: &recipient, until }),
            },
            queue: Queue {
                queued: numbers[3],
                running: numbers[4],
                running_here: numbers[5],
                limit: has.0.then_some(numbers[6]),
                workers: numbers[7],
            },
            sent: &sent,
            now,
        };
        let story = story(&facts);
        prop_assert!(story.ends_with('.') && !story.contains(|c: char| c.is_control()), "{story:?}");
        prop_assert!(story.chars().count() < 6 * REPEATED, "{story:?}");
    }
}
