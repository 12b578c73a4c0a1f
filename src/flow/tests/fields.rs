//! What each key of a definition may hold: the fields of kinds, the common keys, inputs. What a run's inputs may be.

use serde_json::{Value, json};

use super::*;
use crate::flow::workflow::UnknownInputs;

#[test]
fn fields_of_kinds_are_checked() {
    let http = |fields: &str| steps(&format!("  - id: a\n    http: {{{fields}}}"));
    let good = "method: GET, url: 'https://a.example/'";
    for (fields, expected) in [
        ("url: x", "`http` needs `method`"),
        ("method: GET, url: ", "`http` needs `url`"),
        (
            "method: GETT, url: x",
            "`method` must be one of GET, POST, got the text \"GETT\", did you mean `GET`?",
        ),
        (
            "method: GET, url: 5",
            "`url` must be a URL, got the number 5",
        ),
        (
            &format!("{good}, quary: {{}}"),
            "unknown key `quary`, did you mean `query`?",
        ),
        (
            &format!("{good}, query: x"),
            "`query` must be an object, got the text \"x\"",
        ),
        (
            &format!("{good}, query: 'a {{{{ run.id }}}}'"),
            "`query` must be an object",
        ),
        (
            &format!("{good}, hosts: [[a]]"),
            "`hosts` must be an array of texts",
        ),
        (
            &format!("{good}, json: 1, body: x"),
            "`http` takes only one of `json`, `body`",
        ),
    ] {
        assert!(
            refusal(&http(fields)).contains(expected),
            "{fields}: {}",
            refusal(&http(fields))
        );
    }
    yaml(&http(&format!(
        "{good}, query: '{{{{ run }}}}', json: null, headers: "
    )));
    yaml(&steps("  - {id: a, own: {anything: [1, '{{ run.id }}']}}"));
}

#[test]
fn a_literal_field_takes_no_expression() {
    let http = |hosts: &str| {
        steps(&format!(
            "  - {{id: a, http: {{method: GET, url: 'https://a.example/', hosts: {hosts}}}}}"
        ))
    };
    yaml(&http("[a.example, '*.b.example', 10.0.0.1]"));
    for hosts in [
        "'{{ run.hosts }}'",
        "['{{ run.host }}']",
        "[a.example, '{{ run.host }}:80']",
        "['{{ \"a.example\" }}']",
    ] {
        let problems = problems(&http(hosts));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            (problems[0].field.as_str(), problems[0].message.as_str()),
            (
                "/steps/0/http/hosts",
                "`hosts` must be written out, without expressions"
            )
        );
    }
    let schema = crate::flow::schema::json_schema(&KINDS);
    let of =
        |field: &str| schema["$defs"]["step"]["properties"]["http"]["properties"][field].clone();
    assert!(of("tags")["anyOf"].is_array() && of("hosts").get("anyOf").is_none());
    assert_eq!(
        of("hosts")["items"]["not"],
        json!({"type": "string", "pattern": r"\{\{"})
    );
}

#[test]
fn the_common_keys_are_checked() {
    let with = |keys: &str| steps(&format!("  - {{id: a, set: {{}}, {keys}}}"));
    yaml(&with(
        "name: A, if: true, retry: {max: 0, backoff: 250ms..1m, on: [timeout, '429', 429, 5xx]}, timeout: 1d",
    ));
    for (keys, expected) in [
        ("retry: {max: -1}", "whole number from 0 to 1000"),
        ("retry: {max: 1.5}", "whole number"),
        ("retry: {backoff: 5s}", "two durations"),
        ("retry: {backoff: 5s..1s}", "two durations"),
        (
            "retry: {on: [404]}",
            "`on` knows connect, timeout, 429, 5xx, got the number 404",
        ),
        ("retry: {maxx: 1}", "did you mean `max`?"),
        ("timeout: 20", "expected a duration such as 250ms"),
        ("timeout: 0s", "longer than nothing"),
        ("on_failure: ignore", "`terminate` or `continue`"),
        ("if: 5", "expected a bare expression"),
        ("if: 'x >'", "`x >`"),
        ("name: 5", "expected a text"),
    ] {
        assert!(
            refusal(&with(keys)).contains(expected),
            "{keys}: {}",
            refusal(&with(keys))
        );
    }
}

#[test]
fn delays_and_conditions_are_checked() {
    for good in [
        "delay: 5s",
        "delay: {until: '2027-01-01T00:00:00Z'}",
        "delay: '{{ run.n }}s'",
        "condition: 'run.x > 5'",
        "condition: '{{ run.x }}'",
        "condition: true",
    ] {
        yaml(&steps(&format!("  - {{id: a, {good}}}")));
    }
    for (bad, expected) in [
        ("delay: 5", "expected a duration"),
        ("delay: {until: tomorrow}", "expected a time"),
        ("delay: {untill: x}", "did you mean `until`?"),
        ("condition: {left: 1, op: '>'}", "`>` needs a `right`"),
        (
            "condition: {left: 1, op: exists, right: 2}",
            "`exists` takes no `right`",
        ),
        (
            "condition: {left: 1, op: equal, right: 2}",
            "did you mean `equals`?",
        ),
        ("condition: {left: 1}", "needs `left` and `op`"),
        ("condition: {all: [], any: []}", "stands alone"),
        ("condition: {all: []}", "is empty"),
        ("condition: {all: {}}", "must be an array"),
        ("condition: [1]", "expected {left, op, right}"),
    ] {
        let text = steps(&format!("  - {{id: a, {bad}}}"));
        assert!(
            refusal(&text).contains(expected),
            "{bad}: {}",
            refusal(&text)
        );
    }
}

#[test]
fn inputs_are_declared_with_a_type() {
    let with = |input: &str| format!("inputs: {{x: {input}}}\nsteps: [{{id: a, set: {{}}}}]");
    yaml(&with(
        "{type: text, enum: [a, b], default: a, description: d, required: true}",
    ));
    for (input, expected) in [
        (
            "{}",
            "needs a `type`: one of text, number, boolean, array, object",
        ),
        ("{type: txt}", "did you mean `text`?"),
        (
            "{type: number, default: a}",
            "the default does not fit: input `x` must be a number, got a text",
        ),
        (
            "{type: text, enum: [1]}",
            "input `x` must be a text, got a number",
        ),
        (
            "{type: text, enum: [a], default: b}",
            "must be one of \"a\", got \"b\"",
        ),
        ("{type: text, requierd: true}", "did you mean `required`?"),
        ("text", "must be an object"),
    ] {
        assert!(
            refusal(&with(input)).contains(expected),
            "{input}: {}",
            refusal(&with(input))
        );
    }
}

#[test]
fn inputs_of_a_run_are_checked_and_filled_in() {
    let text = "inputs:\n  t: {type: text, required: true}\n  n: {type: number, default: 3, enum: [1, 3]}\n  list: {type: array}\nsteps: [{id: a, set: {}}]";
    let workflow = yaml(text);
    let accept = |given: Value| workflow.accept_inputs(object(given), UnknownInputs::Refuse);
    assert_eq!(
        accept(json!({"t": "x", "list": null})).expect("fits"),
        object(json!({"t": "x", "n": 3}))
    );
    assert_eq!(
        accept(json!({"t": "x", "n": 1.0})).expect("1.0 is 1")["n"],
        json!(1.0)
    );
    for (given, field, message) in [
        (
            json!({}),
            "/inputs/t",
            "input `t` is required: expected a text, got nothing",
        ),
        (
            json!({"t": null}),
            "/inputs/t",
            "input `t` is required: expected a text, got nothing",
        ),
        (
            json!({"t": 5}),
            "/inputs/t",
            "input `t` must be a text, got a number",
        ),
        (
            json!({"t": "x", "n": 2}),
            "/inputs/n",
            "input `n` must be one of 1, 3, got 2",
        ),
        (
            json!({"t": "x", "list": "[1]"}),
            "/inputs/list",
            "input `list` must be a JSON array, got a text",
        ),
        (
            json!({"t": "x", "lits": []}),
            "/inputs/lits",
            "unknown input `lits`, did you mean `list`?",
        ),
    ] {
        let error = accept(given).expect_err("it does not fit");
        assert_eq!(
            (error.field.as_deref(), error.message.as_str()),
            (Some(field), message)
        );
    }
    let kept = workflow.accept_inputs(
        object(json!({"t": "x", "event": {"id": 1}})),
        UnknownInputs::Keep,
    );
    assert_eq!(kept.expect("kept")["event"], json!({"id": 1}));
}

#[test]
fn the_schema_speaks_of_every_kind_and_key() {
    let schema = crate::flow::schema::json_schema(&KINDS);
    let step = &schema["$defs"]["step"];
    for key in crate::flow::workflow::COMMON_KEYS
        .iter()
        .chain(&crate::flow::workflow::PURE_KINDS)
        .chain(&["http", "own"])
    {
        assert!(step["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(step["oneOf"].as_array().map(Vec::len), Some(6));
    assert_eq!(
        step["properties"]["http"]["required"],
        json!(["method", "url"])
    );
    assert_eq!(
        step["properties"]["http"]["not"]["anyOf"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
}
