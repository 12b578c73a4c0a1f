//! What the answers decide, and what the step's output is then.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn given(person: usize, answer: Answer) -> Given {
    Given {
        person: format!("mem_{person}"),
        by: format!("p{person}@example.com"),
        answer,
        comment: None,
    }
}

fn votes(votes: &[bool]) -> Vec<Given> {
    let numbered = votes.iter().enumerate();
    numbered
        .map(|(at, yes)| given(at, Answer::Decision(*yes)))
        .collect()
}

fn picks(picks: &[usize]) -> Vec<Given> {
    let numbered = picks.iter().enumerate();
    numbered
        .map(|(at, pick)| given(at, Answer::Choice(*pick)))
        .collect()
}

fn needing(mode: Mode, need: usize) -> Ask {
    Ask { need, ..ask(mode) }
}

#[test]
fn where_one_is_enough_the_first_answer_decides() {
    use ApprovalStatus::{Answered, Approved, Rejected};
    let one = ask(Mode::Approval);
    assert_eq!(verdict(&one, &[], 3), Verdict::Open);
    for asked in [0, 1, 3] {
        assert_eq!(
            verdict(&one, &votes(&[true, false]), asked),
            Verdict::Decided(Approved)
        );
        assert_eq!(
            verdict(&one, &votes(&[false, true]), asked),
            Verdict::Decided(Rejected)
        );
        assert_eq!(
            verdict(&ask(Mode::Choices), &picks(&[1]), asked),
            Verdict::Decided(Answered)
        );
    }
    for (mode, answer) in [
        (Mode::Text, Answer::Text("x".to_owned())),
        (Mode::Form, Answer::Form(Map::new())),
    ] {
        assert_eq!(
            verdict(&ask(mode), &[given(1, answer)], 1),
            Verdict::Decided(Answered)
        );
    }
}

#[test]
fn where_more_are_needed_so_many_must_agree() {
    use ApprovalStatus::{Answered, Approved, Rejected};
    use Verdict::{Deadlock, Decided, Open};
    let two = needing(Mode::Approval, 2);
    for (given, asked, expected) in [
        (&[][..], 3, Open),
        (&[true][..], 3, Open),
        (&[false], 3, Open),
        (&[true, false], 3, Open),
        (&[true, true], 3, Decided(Approved)),
        (&[true, false, true], 3, Decided(Approved)),
        (&[false, false], 3, Decided(Rejected)),
        (&[true, false, false], 3, Decided(Rejected)),
        (&[false], 2, Decided(Rejected)),
        // Someone is gone: that is nobody's no.
        (&[true], 1, Open),
        (&[false], 1, Decided(Rejected)),
        // Anyone may still come.
        (&[false, false, false], 0, Open),
        (&[false, true, true], 0, Decided(Approved)),
    ] {
        assert_eq!(
            verdict(&two, &votes(given), asked),
            expected,
            "{given:?} of {asked}"
        );
    }
    let two = needing(Mode::Choices, 2);
    for (given, asked, expected) in [
        (&[0][..], 3, Open),
        (&[0, 1][..], 3, Open),
        (&[0, 1, 1], 3, Decided(Answered)),
        (&[0, 1, 2], 3, Deadlock),
        (&[0, 1], 2, Deadlock),
        (&[0, 1, 2], 0, Open),
    ] {
        assert_eq!(
            verdict(&two, &picks(given), asked),
            expected,
            "{given:?} of {asked}"
        );
    }
}

#[test]
fn a_person_counts_once() {
    let two = needing(Mode::Approval, 2);
    let mut same = votes(&[true, true]);
    same[1].person = same[0].person.clone();
    assert_eq!(verdict(&two, &same, 3), Verdict::Open);
}

prop_compose! {
    /// Answers of different people, how many must agree, and how many were asked.
    fn any_round()(asked in 2usize..9)(
        asked in Just(asked),
        need in 2usize..=asked,
        picks in prop::collection::vec(0usize..3, 0..=asked),
        is_choice in any::<bool>(),
        order in any::<u64>(),
    ) -> (Ask, Vec<Given>, usize, u64) {
        let (mode, given) = if is_choice {
            (Mode::Choices, self::picks(&picks))
        } else {
            (Mode::Approval, votes(&picks.iter().map(|pick| *pick > 0).collect::<Vec<_>>()))
        };
        (needing(mode, need), given, asked, order)
    }
}

/// Another order, by numbers drawn from a seed.
fn shuffled(given: &[Given], mut seed: u64) -> Vec<Given> {
    let mut left = given.to_vec();
    let mut shuffled = Vec::new();
    while !left.is_empty() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(seed >> 33).unwrap_or_default() % left.len();
        shuffled.push(left.remove(at));
    }
    shuffled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_decided_stays_decided_and_the_order_does_not_matter((ask, given, asked, order) in any_round()) {
        let mut stands = Verdict::Open;
        for count in 0..=given.len() {
            let now = verdict(&ask, &given[..count], asked);
            prop_assert!(stands == Verdict::Open || stands == now, "{:?} became {:?} at {}", stands, now, count);
            stands = now;
        }
        prop_assert_eq!(verdict(&ask, &shuffled(&given, order), asked), stands);
        // Everyone has answered: it is never left open.
        if given.len() == asked {
            prop_assert_ne!(stands, Verdict::Open);
        }
    }

    #[test]
    fn whoever_made_the_decision_stands_for_it((ask, given, asked, _) in any_round()) {
        let Some(count) = (1..=given.len()).find(|count| verdict(&ask, &given[..*count], asked) != Verdict::Open) else {
            return Ok(());
        };
        let (before, last) = (&given[..count - 1], &given[count - 1]);
        let alike = before.iter().filter(|one| one.answer == last.answer).count() + 1;
        match verdict(&ask, &given[..count], asked) {
            Verdict::Decided(ApprovalStatus::Approved) => {
                prop_assert_eq!((&last.answer, alike), (&Answer::Decision(true), ask.need));
            }
            Verdict::Decided(ApprovalStatus::Answered) => prop_assert_eq!(alike, ask.need),
            Verdict::Decided(ApprovalStatus::Rejected) => {
                prop_assert_eq!((&last.answer, alike), (&Answer::Decision(false), asked - ask.need + 1));
            }
            other => prop_assert_eq!(other, Verdict::Deadlock),
        }
    }

    #[test]
    fn nothing_that_is_offered_makes_the_reader_panic(
        pairs in prop::collection::vec(("(choice|text|decision|comment|form|field\\.[tnbaoxdey]?)", any::<String>()), 0..6),
        mode in prop::sample::select(Mode::ALL),
    ) {
        let ask = Ask { mode, options: choices(&[json!(1)]).options, ..all_types() };
        let _ = read_answer(&ask, Offered::Form(&pairs));
        let body: Map<String, Value> = pairs
            .iter()
            .map(|(key, text)| (key.clone(), serde_json::from_str(text).unwrap_or_else(|_| json!(text))))
            .collect();
        let _ = read_answer(&ask, Offered::Body(&body));
    }
}

#[test]
fn the_same_answer_again_is_the_same() {
    let form = |n: Value| Answer::Form(json!({ "n": n }).as_object().cloned().unwrap_or_default());
    assert!(is_same_answer(&form(json!(1)), &form(json!(1.0))));
    assert!(!is_same_answer(&form(json!(1)), &form(json!(2))));
    assert!(!is_same_answer(&Answer::Choice(0), &Answer::Choice(1)));
    assert!(!is_same_answer(
        &Answer::Text("1".to_owned()),
        &Answer::Choice(1)
    ));
}

// ---- output ----

const AT: Timestamp = Timestamp(1_700_000_000_000);

#[test]
fn the_output_has_every_key_in_every_mode() {
    let two = choices(&[json!("a"), json!("b")]);
    let by = Given {
        comment: Some("why".to_owned()),
        ..given(1, Answer::Choice(1))
    };
    assert_eq!(
        output(&two, ApprovalStatus::Answered, Some(&by), AT),
        json!({
            "mode": "choices",
            "text": "",
            "choice": {"label": "L1", "value": "b", "description": "D1", "raw": {"v": "b"}},
            "approved": null,
            "decision": "answered",
            "form": null,
            "comment": "why",
            "responded_at": "2023-11-14T22:13:20.000Z",
            "responded_by": "p1@example.com",
            "channel": "email",
            "timed_out": false,
        })
    );
    let form = json!({"n": 1}).as_object().cloned().unwrap_or_default();
    for (mode, status, answer, changed) in [
        (
            Mode::Approval,
            ApprovalStatus::Approved,
            Some(Answer::Decision(true)),
            json!({"approved": true}),
        ),
        (
            Mode::Approval,
            ApprovalStatus::Rejected,
            Some(Answer::Decision(false)),
            json!({"approved": false}),
        ),
        (
            Mode::Text,
            ApprovalStatus::Answered,
            Some(Answer::Text("x".to_owned())),
            json!({"text": "x"}),
        ),
        (
            Mode::Form,
            ApprovalStatus::Answered,
            Some(Answer::Form(form)),
            json!({"form": {"n": 1}}),
        ),
        (
            Mode::Approval,
            ApprovalStatus::TimedOut,
            None,
            json!({"timed_out": true, "responded_at": null, "responded_by": null}),
        ),
    ] {
        let by = answer.map(|answer| given(1, answer));
        let mut expected = json!({
            "mode": mode,
            "text": "",
            "choice": {"label": "", "value": null, "description": "", "raw": null},
            "approved": null,
            "decision": status,
            "form": null,
            "comment": null,
            "responded_at": "2023-11-14T22:13:20.000Z",
            "responded_by": "p1@example.com",
            "channel": "email",
            "timed_out": false,
        });
        for (key, value) in changed.as_object().expect("an object") {
            expected[key] = value.clone();
        }
        assert_eq!(output(&ask(mode), status, by.as_ref(), AT), expected);
    }
}

#[test]
fn an_answer_is_shown_in_words() {
    let ask = choices(&[json!(1)]);
    for (answer, words) in [
        (Answer::Choice(0), "L0"),
        (Answer::Choice(5), "option 6"),
        (Answer::Text("so".to_owned()), "so"),
        (Answer::Decision(true), "approved"),
        (Answer::Decision(false), "rejected"),
        (Answer::Form(Map::new()), "{}"),
    ] {
        assert_eq!(shown(&ask, &answer), words);
    }
}
