//! The step that asks a person, as it is written: what is told of a definition, and its schema.

use serde_json::{Map, json};

use super::human::{asking, asking_beside};
use super::*;
use crate::flow::human::{MAX_FIELDS, MAX_QUESTION};

/// What is written (after `+`: beside `human`), and below it where in `human` a fault is told, and how.
const FAULTS: &str = r#"recipient: r
    / `human` needs a `question`
question: Q
    / needs a `recipient`; only with `channel: none`
question: ' ', recipient: r
    /question `question` is empty
question: [a], recipient: r
    /question `question` must be a text, got an array
question: '{{ secrets.K }}', recipient: r
    /question a secret must stand alone
question: '{{ nope }}', recipient: r
    /question unknown name `nope`
question: '{{ q.output }}', recipient: r
    /question step `q` cannot use its own result
queston: Q, question: Q, recipient: r
    /queston did you mean `question`?
mode: choice, question: Q, recipient: r
    /mode `mode` must be one of choices, text, approval, form, got the text "choice", did you mean `choices`?
mode: '{{ run.id }}', question: Q, recipient: r
    /mode `mode` must be written out
channel: sms, question: Q, recipient: r
    /channel `channel` must be one of email, telegram, webhook, none
channel: emial, question: Q, recipient: r
    /channel did you mean `email`?
options: [1], question: Q, recipient: r
    /options `options` belongs to mode `choices`; this step's is `approval`, as it is without `mode`
mode: form, fields: {a: {type: text}}, max_length: 5, question: Q, recipient: r
    /max_length `max_length` belongs to mode `text`; this step's is `form`
mode: choices, question: Q, recipient: r
    / mode `choices` needs `options`
mode: choices, options: [], question: Q, recipient: r
    /options `options` is empty
mode: choices, options: 5, question: Q, recipient: r
    /options `options` must be an array, got the number 5
mode: choices, options: 'a {{ run.id }}', question: Q, recipient: r
    /options `options` must be an array
mode: choices, options: [1], label: '{{ item.title }}', question: Q, recipient: r
    /label `label` must be a path into each option, such as title or source.title
mode: choices, options: [1], value: a..b, question: Q, recipient: r
    /value `value` must be a path
mode: choices, options: [1], value: 'a[x]', question: Q, recipient: r
    /value `value` must be a path
mode: choices, options: [1], description: 5, question: Q, recipient: r
    /description `description` must be a path
mode: text, min_length: -1, question: Q, recipient: r
    /min_length `min_length` must be a whole number from 0 to 100000, got the number -1
mode: text, max_length: 0, question: Q, recipient: r
    /max_length from 1 to 100000
mode: text, min_length: 6, max_length: 5, question: Q, recipient: r
    /min_length `min_length` is more than `max_length`, which is 5
mode: form, question: Q, recipient: r
    / mode `form` needs `fields`
mode: form, fields: {}, question: Q, recipient: r
    /fields `fields` is empty
mode: form, fields: {a: {type: txt}}, question: Q, recipient: r
    /fields/a/type did you mean `text`?
mode: form, fields: {a: {}}, question: Q, recipient: r
    /fields/a field `a` needs a `type`
mode: form, fields: {a: {type: number, default: x}}, question: Q, recipient: r
    /fields/a/default field `a` must be a number, got a text
mode: form, fields: {a: {type: number, requird: true}}, question: Q, recipient: r
    /fields/a/requird did you mean `required`?
mode: form, fields: {a-b: {type: text}}, question: Q, recipient: r
    /fields/a-b the field name `a-b` must be a letter
mode: form, fields: {a: {type: text, default: '{{ run.id }}'}}, question: Q, recipient: r
    /fields/a `fields` must be written out, without expressions
recipient: r, recipients: [r], question: Q
    /recipients only one of `recipient`, `recipients`
recipients: [], question: Q
    /recipients nobody would be asked
recipients: r, question: Q
    /recipients `recipients` must be an array of texts, got the text "r"
recipients: [[r]], question: Q
    /recipients/0 must be a text, got an array
recipients: ['{{ secrets.K }}'], question: Q
    /recipients/0 a secret must stand alone
need: 0, recipient: r, question: Q
    /need a whole number from 1 to 100, got the number 0
need: 2, recipient: r, question: Q
    /need `need` above 1 needs `recipients`
need: 2, channel: none, question: Q
    /need `need` above 1 needs `recipients`
need: 3, recipients: [a, b], question: Q
    /need `need` is 3, but `recipients` has only 2
mode: text, need: 2, recipients: [a, b], question: Q
    /need belongs to the modes `approval` and `choices`; this step's is `text`
need: '{{ run.n }}', recipients: [a, b], question: Q
    /need must be a whole number
not_requester: 'yes', recipient: r, question: Q
    /not_requester expected true or false
link_ttl: 60, recipient: r, question: Q
    /link_ttl expected a duration
link_ttl: 0s, recipient: r, question: Q
    /link_ttl `link_ttl` must be longer than nothing
timeout: 0s, recipient: r, question: Q
    /timeout `timeout` must be longer than nothing
timeout: '{{ run.t }}', recipient: r, question: Q
    /timeout expected a duration
timeout: 3d, recipient: r, question: Q + timeout: 1d
    /timeout `timeout` is given twice
remind: 4h, recipient: r, question: Q
    /remind `remind` must be an array
remind: [4h, 4h], recipient: r, question: Q
    /remind/1 each must be longer than the one before
remind: [72h], recipient: r, question: Q
    /remind/0 has timed out by then
remind: [6h], recipient: r, question: Q + timeout: 5h
    /remind/0 has timed out by then
remind: [4h], channel: none, question: Q
    /remind `remind` needs a `channel`
escalate: {after: 1h}, recipient: r, question: Q
    /escalate `escalate` needs a `recipient`: who else
escalate: {recipient: b}, recipient: r, question: Q
    /escalate `escalate` needs `after`
escalate: {after: 3d, recipient: b}, recipient: r, question: Q
    /escalate/after has timed out by then
escalate: {afer: 1h, after: 1h, recipient: b}, recipient: r, question: Q
    /escalate/afer did you mean `after`?
escalate: {after: 1h, recipient: b}, channel: none, question: Q
    /escalate this question anyone may answer
escalate: b, recipient: r, question: Q
    /escalate `escalate` must be an object
on_timeout: escalate, recipient: r, question: Q
    /on_timeout needs `escalate: {recipient}`
on_timeout: contine, recipient: r, question: Q
    /on_timeout did you mean `continue`?
context: [1], recipient: r, question: Q
    /context `context` must be an object, got an array
context: {a: '{{ secrets.K }}'}, recipient: r, question: Q
    /context/a a secret must stand alone
"#;

#[test]
fn every_fault_of_a_definition_is_told_with_its_place() {
    let mut lines = FAULTS.lines();
    while let (Some(written), Some(told)) = (lines.next(), lines.next()) {
        let (params, beside) = written.split_once(" + ").unwrap_or((written, ""));
        let (field, expected) = told.trim().split_once(' ').expect("where, and what");
        let found = problems(&asking_beside(params, beside));
        assert_eq!(found.len(), 1, "{params}: {found:?}");
        let (at, message) = (&found[0].field, &found[0].message);
        assert_eq!(
            *at,
            format!("/steps/0/human{}", field.trim_end_matches('/')),
            "{params}: {message}"
        );
        assert!(message.contains(expected), "{params}: {message}");
    }
    let retried = problems(&asking_beside(
        "question: Q, recipient: r",
        "retry: {max: 1}",
    ));
    assert_eq!(
        (retried[0].field.as_str(), retried[0].message.as_str()),
        (
            "/steps/0/retry",
            "a `human` step is not tried again; `remind` asks again"
        )
    );
    assert_eq!(
        refusal("steps: [{id: q, human: yes}]"),
        "`human` must be an object, got the text \"yes\""
    );
}

#[test]
fn what_is_written_out_is_held_to_its_limits() {
    let long = "x".repeat(MAX_QUESTION + 1);
    assert!(refusal(&asking(&format!("question: {long}, recipient: r"))).contains("at most 1000"));
    let long = "x".repeat(321);
    assert!(refusal(&asking(&format!("question: Q, recipient: {long}"))).contains("at most 320"));
    let list = |count: usize| vec!["x"; count].join(", ");
    let rows = |count: usize, value: &str| {
        let rows: Vec<_> = (0..count).map(|row| format!("r{row}: {value}")).collect();
        rows.join(", ")
    };
    for (params, expected) in [
        (
            format!(
                "mode: choices, question: Q, recipient: r, options: [{}]",
                list(1_001)
            ),
            "at most 1000 options, got 1001",
        ),
        (
            format!("question: Q, recipients: [{}]", list(101)),
            "at most 100 people",
        ),
        (
            format!("question: Q, recipient: r, context: {{{}}}", rows(51, "1")),
            "at most 50 rows, got 51",
        ),
        (
            format!(
                "mode: form, question: Q, recipient: r, fields: {{{}}}",
                rows(MAX_FIELDS + 1, "{type: text}")
            ),
            "at most 100 fields",
        ),
        (
            format!(
                "question: Q, recipient: r, remind: [{}]",
                vec!["1h"; 21].join(", ")
            ),
            "at most 20 reminders",
        ),
    ] {
        assert!(
            refusal(&asking(&params)).contains(expected),
            "{}",
            refusal(&asking(&params))
        );
    }
    let just: Vec<String> = (1..=20).map(|hour| format!("{hour}h")).collect();
    for params in [
        format!("mode: choices, question: Q, recipient: r, options: [{}]", list(1_000)),
        format!("question: Q, recipient: r, context: {{{}}}", rows(50, "1")),
        format!("question: Q, recipient: r, remind: [{}]", just.join(", ")),
        format!(
            "mode: form, question: Q, recipient: r, fields: {{{}}}",
            rows(MAX_FIELDS, "{type: text}")
        ),
        "mode: text, question: Q, recipient: r, min_length: 20000".to_owned(),
        "question: Q, recipient: r, context: null, escalate: null, timeout: null".to_owned(),
        "mode: form, question: Q, recipient: r, fields: {item: {type: array}, start: {type: object}}".to_owned(),
    ] {
        yaml(&asking(&params));
    }
}

#[test]
fn the_schema_knows_every_key_and_which_belong_together() {
    let schema = crate::flow::schema::json_schema(&KINDS);
    let human = &schema["$defs"]["step"]["properties"]["human"];
    let keys = [
        "mode",
        "question",
        "options",
        "label",
        "value",
        "description",
        "min_length",
        "max_length",
        "fields",
        "context",
        "recipient",
        "recipients",
        "need",
        "not_requester",
        "channel",
        "link_ttl",
        "timeout",
        "remind",
        "escalate",
        "on_timeout",
    ];
    for key in keys {
        let form = &human["properties"][key];
        assert!(
            form["description"]
                .as_str()
                .is_some_and(|doc| doc.ends_with('.')),
            "{key}"
        );
    }
    assert_eq!(
        human["properties"].as_object().map(Map::len),
        Some(keys.len())
    );
    assert_eq!(
        human["properties"]["mode"]["enum"],
        json!(["choices", "text", "approval", "form"])
    );
    assert_eq!(human["required"], json!(["question"]));
    assert_eq!(human["additionalProperties"], json!(false));
    assert!(schema["$defs"]["step"]["dependentSchemas"]["human"].is_object());
}
