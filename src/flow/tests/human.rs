//! The step that asks a person: as it is asked, and what follows from the answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::flow::approval::{Ask, Channel, Escalation, Mode, OnTimeout};
use crate::flow::human::{MAX_CONTEXT, MAX_LABEL, MAX_OPTIONS, MAX_QUESTION};
use crate::flow::plan::Then;

const HOUR: u64 = 3_600_000;

/// A definition with that one step.
pub fn asking(params: &str) -> String {
    asking_beside(params, "")
}

pub fn asking_beside(params: &str, beside: &str) -> String {
    steps(&format!(
        "  - id: q\n    human: {{{params}}}\n{}",
        match beside {
            "" => String::new(),
            beside => format!("    {beside}\n"),
        }
    ))
}

/// What it asks, given these inputs.
fn asked_with(text: &str, inputs: Value) -> Ask {
    match run_plan(&yaml(text), inputs, &[]).then {
        Then::Ask { path, ask } => {
            assert_eq!(path, "q");
            *ask
        }
        other => panic!("{other:?}\n{text}"),
    }
}

fn asked(params: &str) -> Ask {
    asked_with(&asking(params), json!({}))
}

/// Why it cannot be asked, given these inputs.
fn unasked(params: &str, inputs: Value) -> String {
    let plan = run_plan(&yaml(&asking(params)), inputs, &[]);
    match plan.then {
        Then::Fail {
            step: Some(step),
            error,
        } if step == "q" => {
            assert_eq!(plan.results[0].kind, "human");
            error.message
        }
        other => panic!("{other:?}\n{params}"),
    }
}

/// Choices among the input `list`, however it is labelled.
fn choices(keys: &str, list: Value) -> Vec<Value> {
    let text = asking(&format!(
        "mode: choices, question: Q, recipient: r, options: '{{{{ start.list }}}}'{keys}"
    ));
    let options = asked_with(&text, json!({ "list": list })).options;
    options.iter().map(|option| json!(option)).collect()
}

// ---- as it is asked ----

#[test]
fn the_least_that_can_be_asked_has_every_default() {
    let ask = asked("question: 'OK?', recipient: anna@example.com");
    assert_eq!(
        ask,
        Ask {
            mode: Mode::Approval,
            question: "OK?".to_owned(),
            context: Map::new(),
            options: Vec::new(),
            min_length: 0,
            max_length: 0,
            fields: Vec::new(),
            recipients: vec!["anna@example.com".to_owned()],
            need: 1,
            not_requester: false,
            channel: Channel::Email,
            link_ttl_ms: HOUR,
            timeout_ms: 72 * HOUR,
            remind_ms: Vec::new(),
            escalate: None,
            on_timeout: OnTimeout::Fail,
        }
    );
}

#[test]
fn all_that_can_be_asked_is_rendered() {
    let text = asking(
        "mode: choices, question: 'Which of {{ start.list | length }}?', options: '{{ start.list }}', label: t.de, \
         value: url, description: d, context: {Topic: '{{ start.topic }}', n: 5}, \
         recipients: ['{{ start.who }}', b@example.com, 'mem_1'], need: 2, not_requester: true, channel: telegram, \
         link_ttl: 2h, timeout: 3d, remind: [4h, 1d], escalate: {after: 2d, recipient: 'boss@{{ start.host }}'}, \
         on_timeout: escalate",
    );
    let list =
        json!([{"t": {"de": " Eins\n"}, "url": "u1", "d": "first"}, {"t": {"de": 2}, "url": null}]);
    let inputs =
        json!({"list": list, "topic": "bees", "who": "a@example.com", "host": "example.com"});
    let ask = asked_with(&text, inputs);
    assert_eq!(ask.question, "Which of 2?");
    assert_eq!(
        json!(ask.options),
        json!([
            {"label": "Eins", "value": "u1", "description": "first", "raw": list[0]},
            {"label": "2", "value": null, "description": "", "raw": list[1]},
        ])
    );
    assert_eq!(json!(ask.context), json!({"Topic": "bees", "n": 5}));
    assert_eq!(ask.recipients, ["a@example.com", "b@example.com", "mem_1"]);
    assert_eq!((ask.need, ask.not_requester), (2, true));
    assert_eq!((ask.link_ttl_ms, ask.timeout_ms), (2 * HOUR, 72 * HOUR));
    assert_eq!(ask.remind_ms, [4 * HOUR, 24 * HOUR]);
    let boss = Escalation {
        after_ms: 48 * HOUR,
        recipient: "boss@example.com".to_owned(),
    };
    assert_eq!(ask.escalate, Some(boss));
    assert_eq!(
        (ask.channel, ask.on_timeout),
        (Channel::Telegram, OnTimeout::Escalate)
    );
}

#[test]
fn what_is_asked_survives_being_stored() {
    let ask = asked(
        "mode: form, question: Q, channel: none, fields: {n: {type: number, required: true, enum: [1, 2]}, t: {type: text, default: x}}",
    );
    let stored = serde_json::to_string(&ask).expect("it is JSON");
    assert_eq!(
        serde_json::from_str::<Ask>(&stored).expect("it is an ask"),
        ask
    );
    assert!(ask.recipients.is_empty());
    assert_eq!(
        json!(ask.fields[0]),
        json!({"name": "n", "type": "number", "required": true, "default": null, "description": null, "enum": [1, 2]})
    );
}

#[test]
fn a_timeout_may_stand_at_the_step_and_what_it_does_follows_from_on_failure() {
    let ask = |params: &str, beside: &str| {
        let params = format!("question: Q, recipient: r{params}");
        let ask = asked_with(&asking_beside(&params, beside), json!({}));
        (ask.timeout_ms, ask.on_timeout)
    };
    assert_eq!(ask("", "timeout: 5s"), (5_000, OnTimeout::Fail));
    assert_eq!(ask(", timeout: 6s", ""), (6_000, OnTimeout::Fail));
    assert_eq!(
        ask("", "on_failure: continue"),
        (72 * HOUR, OnTimeout::Continue)
    );
    assert_eq!(ask("", "on_failure: terminate").1, OnTimeout::Fail);
    assert_eq!(
        ask(", on_timeout: fail", "on_failure: continue").1,
        OnTimeout::Fail
    );
    assert_eq!(ask(", on_timeout: continue", "").1, OnTimeout::Continue);
}

#[test]
fn an_escalation_by_the_timeout_alone_comes_when_the_question_times_out() {
    let ask = asked(
        "question: Q, recipient: r, timeout: 2h, on_timeout: escalate, escalate: {recipient: boss}",
    );
    assert_eq!(
        ask.escalate.map(|escalate| escalate.after_ms),
        Some(2 * HOUR)
    );
}

#[test]
fn a_question_is_one_line_whatever_is_put_into_it() {
    let text = asking("question: \"a\\r\\nBcc: {{ start.x }}\", recipient: r");
    let ask = asked_with(&text, json!({"x": "b\n\n\u{2028}c\u{0}\t d  "}));
    assert_eq!(ask.question, "a Bcc: b c d");
    let cut = asked_with(
        &asking("question: '{{ start.x }}', recipient: r"),
        json!({"x": "ä".repeat(MAX_QUESTION)}),
    );
    assert_eq!(cut.question.chars().count(), MAX_QUESTION);
}

#[test]
fn options_are_labelled_by_what_they_have() {
    let label = |item: Value| choices("", json!([item]))[0]["label"].clone();
    assert_eq!(label(json!("plain")), "plain");
    assert_eq!(label(json!(7)), "7");
    assert_eq!(label(json!({"name": "n", "title": "t"})), "t");
    assert_eq!(label(json!({"label": "", "name": "n"})), "n");
    assert_eq!(label(json!({"title": {"de": "x"}, "name": "n"})), "n");
    assert_eq!(label(json!({"x": 1})), r#"{"x":1}"#);
    assert_eq!(label(json!(["a", 1])), r#"["a",1]"#);
    assert_eq!(label(json!(null)), "null");
    assert_eq!(label(json!(" ")), r#"" ""#);
    let long = choices(
        "",
        json!(["ä".repeat(MAX_LABEL + 1), "ä".repeat(MAX_LABEL)]),
    );
    let length = |option: &Value| option["label"].as_str().map(|text| text.chars().count());
    assert_eq!(
        (length(&long[0]), length(&long[1])),
        (Some(MAX_LABEL), Some(MAX_LABEL))
    );
    assert!(
        long[0]["label"]
            .as_str()
            .is_some_and(|text| text.ends_with('…'))
    );
    assert_eq!(long[0]["raw"], "ä".repeat(MAX_LABEL + 1));
}

#[test]
fn a_path_leads_into_objects_and_arrays() {
    let item = json!({"a": [{"b": "x"}], "c d": 1, "og:title": "t", "7": "seven"});
    let label =
        |path: &str| choices(&format!(", label: '{path}'"), json!([item]))[0]["label"].clone();
    assert_eq!(label("a[0].b"), "x");
    assert_eq!(label("a.0.b"), "x");
    assert_eq!(label("og:title"), "t");
    let pair = choices(", label: '[1]', value: '[0]'", json!([[5, "five"]]));
    assert_eq!(
        (&pair[0]["label"], &pair[0]["value"]),
        (&json!("five"), &json!(5))
    );
}

#[test]
fn options_may_be_one_or_a_thousand_and_no_more() {
    let many = |count: usize| json!({"list": vec![json!({"title": "t"}); count]});
    let params =
        "mode: choices, question: Q, recipient: r, options: '{{ start.list }}', label: title";
    for count in [1, MAX_OPTIONS] {
        let ask = asked_with(&asking(params), many(count));
        assert_eq!(ask.options.len(), count);
    }
    assert_eq!(
        unasked(params, many(MAX_OPTIONS + 1)),
        "`human.options` has 1001 options; at most 1000 can be asked"
    );
    assert_eq!(
        unasked(params, many(0)),
        "`human.options` is empty: there is nothing to choose from"
    );
}

#[test]
fn a_rendering_that_gives_no_question_fails_the_step_and_says_why() {
    let cases = [
        (
            "question: '{{ start.x }}', recipient: r",
            json!({"x": null}),
            "`human.question` is empty",
        ),
        (
            "question: '{{ start.x }}', recipient: r",
            json!({"x": [1]}),
            "`human.question` must be a text, got an array",
        ),
        (
            "question: '{{ start.x }}', recipient: r",
            json!({"x": "a".repeat(1_001)}),
            "`human.question` has 1001 characters; at most 1000 can be asked",
        ),
        (
            "question: '{{ start.y }}', recipient: r",
            json!({}),
            "`human.question`: `start.y` does not exist: no such input was given",
        ),
        (
            "question: Q, recipient: '{{ start.x }}'",
            json!({"x": " "}),
            "`human.recipient` is empty: nobody would be asked",
        ),
        (
            "question: Q, channel: none, recipient: '{{ start.x }}'",
            json!({"x": null}),
            "`human.recipient` is empty: nobody would be asked",
        ),
        (
            "question: Q, recipients: '{{ start.x }}'",
            json!({"x": []}),
            "`human.recipients` is empty: nobody would be asked",
        ),
        (
            "question: Q, recipients: '{{ start.x }}'",
            json!({"x": "a@b"}),
            "`human.recipients` must be an array of texts, got a text",
        ),
        (
            "question: Q, recipients: '{{ start.x }}'",
            json!({"x": ["a", {}]}),
            "`human.recipients[1]` must be a text, got an object",
        ),
        (
            "question: Q, recipients: '{{ start.x }}', need: 2",
            json!({"x": ["a@b", "A@B"]}),
            "`human.need` is 2, but only 1 different recipients are asked",
        ),
        (
            "question: Q, recipient: r, context: '{{ start.x }}'",
            json!({"x": [1]}),
            "`human.context` must be an object, got an array",
        ),
        (
            "question: Q, recipient: r, escalate: {after: 1h, recipient: '{{ start.x }}'}",
            json!({"x": ""}),
            "`human.escalate.recipient` is empty: nobody would be asked",
        ),
        (
            "mode: choices, question: Q, recipient: r, options: '{{ start.x }}'",
            json!({"x": {"a": 1}}),
            "`human.options` must be an array, got an object",
        ),
        (
            "mode: choices, question: Q, recipient: r, options: '{{ start.x }}', label: a.b",
            json!({"x": [{"a": {"b": 1}}, {"a": {}}]}),
            "`human.label`: `options[1].a.b` does not exist: `a` has no `b`",
        ),
        (
            "mode: choices, question: Q, recipient: r, options: '{{ start.x }}', value: url",
            json!({"x": ["text"]}),
            "`human.value`: `options[0].url` does not exist: `options[0]` is a text",
        ),
    ];
    for (params, inputs, expected) in cases {
        assert_eq!(unasked(params, inputs), expected, "{params}");
    }
    let rows: Map<String, Value> = (0..=MAX_CONTEXT)
        .map(|row| (format!("r{row}"), json!(row)))
        .collect();
    let message = unasked(
        "question: Q, recipient: r, context: '{{ start.x }}'",
        json!({ "x": rows }),
    );
    assert_eq!(
        message,
        "`human.context` has 51 rows; at most 50 can be shown"
    );
}

#[test]
fn a_question_that_no_page_could_show_is_not_asked() {
    let context = "question: Q, recipient: r, context: '{{ start.x }}'";
    let long = |length: usize| json!({"x": {"a": "x".repeat(length)}});
    asked_with(&asking(context), long(65_536 - 8));
    assert_eq!(
        unasked(context, long(65_536 - 7)),
        "`human.context` has 65537 bytes as JSON; at most 65536 can be shown"
    );
    let options = "mode: choices, question: Q, recipient: r, options: '{{ start.x }}'";
    let item = json!({"label": "l", "text": "x".repeat(1_100)});
    let message = unasked(options, json!({"x": vec![item; 500]}));
    assert!(
        message.ends_with("bytes with its options and context; at most 1048576 can be asked"),
        "{message}"
    );
}

// ---- what follows ----

#[test]
fn a_question_that_is_on_record_as_waiting_is_asked_no_other_way() {
    let workflow = yaml(&asking("question: Q, recipient: r"));
    let waiting = StepRecord {
        due_at: Some(Timestamp(NOW.0 - 1)),
        ..record("q", StepStatus::Waiting, Value::Null)
    };
    let first = run_plan(&workflow, json!({}), &[]);
    assert_eq!(run_plan(&workflow, json!({}), &[waiting]), first);
    assert!(matches!(first.then, Then::Ask { .. }) && first.results.is_empty());
}

const GATED: &str = "steps:
  - {id: q, human: {question: Q, recipient: r}}
  - id: gate
    condition: '{{ q.output.approved }}'
    then:
      - {id: again, human: {mode: text, question: 'Why, {{ q.output.responded_by }}?', recipient: r}}
    else: [{id: no, set: {v: 'rejected by {{ q.output.responded_by }}'}}]
output: '{{ no.output.v | default(again.output.text) }}'
";

#[test]
fn an_answer_on_record_goes_on_and_a_condition_branches_by_it() {
    let workflow = yaml(GATED);
    assert!(workflow.asks_a_person());
    let answered = |approved: bool| {
        record(
            "q",
            StepStatus::Completed,
            json!({"approved": approved, "responded_by": "Anna", "text": ""}),
        )
    };
    let rejected = run_plan(&workflow, json!({}), &[answered(false)]);
    assert_eq!(
        rejected.then,
        Then::Complete {
            output: json!("rejected by Anna")
        }
    );
    let skipped = &rejected.results[1];
    assert_eq!(
        (skipped.path.as_str(), skipped.kind.as_str(), skipped.status),
        ("gate.then.again", "human", StepStatus::Skipped)
    );
    let approved = run_plan(&workflow, json!({}), &[answered(true)]);
    let Then::Ask { path, ask } = approved.then else {
        panic!("{approved:?}");
    };
    assert_eq!(
        (path.as_str(), ask.question.as_str(), ask.mode),
        ("gate.then.again", "Why, Anna?", Mode::Text)
    );
    let done = [
        answered(true),
        record("gate", StepStatus::Completed, json!(true)),
        record(
            "gate.then.again",
            StepStatus::Completed,
            json!({"text": "so"}),
        ),
    ];
    assert!(matches!(
        run_plan(&workflow, json!({}), &done).then,
        Then::Complete { output } if output == "so"
    ));
}

#[test]
fn only_a_workflow_with_such_a_step_asks_a_person() {
    assert!(yaml(&asking("question: Q, recipient: r")).asks_a_person());
    assert!(!yaml("steps: [{id: human, set: {mode: text}}]").asks_a_person());
    let inside =
        "steps: [{id: g, condition: false, else: [{id: q, human: {question: Q, recipient: r}}]}]";
    assert!(yaml(inside).asks_a_person());
}

#[test]
fn a_question_that_failed_ends_the_run_unless_the_step_says_to_go_on() {
    let text = |beside: &str| {
        asking_beside("question: Q, recipient: r", beside)
            + "output: {is: '{{ q.error }}', of: '{{ q.output.text }}'}"
    };
    let failed = [StepRecord {
        error: Some("nobody answered within 3d".to_owned()),
        ..record("q", StepStatus::Failed, Value::Null)
    }];
    let ended = run_plan(&yaml(&text("")), json!({}), &failed);
    assert!(
        matches!(&ended.then, Then::Fail { step: Some(step), error } if step == "q" && error.message == "nobody answered within 3d"),
        "{ended:?}"
    );
    let on = run_plan(&yaml(&text("on_failure: continue")), json!({}), &failed);
    assert_eq!(
        on.then,
        Then::Complete {
            output: json!({"is": "nobody answered within 3d", "of": null})
        }
    );
    // One that could not even be asked, likewise.
    let unasked = steps(
        "  - {id: q, on_failure: continue, human: {question: '{{ start.x }}', recipient: r}}\noutput: '{{ q.error }}'",
    );
    assert_eq!(
        run_plan(&yaml(&unasked), json!({"x": ""}), &[]).then,
        Then::Complete {
            output: json!("`human.question` is empty")
        }
    );
    let skipped = asking_beside("question: Q, recipient: r", "if: false");
    assert!(matches!(
        run_plan(&yaml(&skipped), json!({}), &[]).then,
        Then::Complete {
            output: Value::Null
        }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_inserted_a_question_is_whole_or_refused(
        question in any::<String>(),
        who in any::<String>(),
        labels in prop::collection::vec(any::<String>(), 0..5),
    ) {
        let text = asking(
            "mode: choices, question: '{{ start.q }}', recipient: '{{ start.w }}', options: '{{ start.o }}'",
        );
        let plan = run_plan(&yaml(&text), json!({"q": question, "w": who, "o": labels}), &[]);
        match plan.then {
            Then::Ask { ask, .. } => {
                let is_line = |text: &str| !text.is_empty() && !text.contains(char::is_control);
                prop_assert!(is_line(&ask.question) && is_line(&ask.recipients[0]));
                prop_assert_eq!(ask.options.len(), labels.len());
                for (option, label) in ask.options.iter().zip(&labels) {
                    prop_assert!(is_line(&option.label), "{:?}", option);
                    prop_assert_eq!(&option.raw, &json!(label));
                }
            }
            Then::Fail { error, .. } => prop_assert!(error.message.contains("empty") || error.message.contains("at most")),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
