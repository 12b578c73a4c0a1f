//! How steps follow each other: failures, conditions, delays, templates, the trace.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::house::{House, text};
use crate::receiver::{Receiver, json as answers, status};

/// A house with that workflow deployed as `flow`, and its receiver.
pub fn ready(yaml: &str) -> (House, Receiver) {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("flow", &receiver.fill(yaml));
    (house, receiver)
}

/// Runs `flow` directly; it must complete. The output.
#[track_caller]
pub fn output(house: &House, inputs: &Value) -> Value {
    let answer = house.direct("flow", inputs);
    assert_eq!(answer["status"], "completed", "{answer}");
    answer["output"].clone()
}

/// Runs `flow` directly; it must fail. The error's text and the run's id.
#[track_caller]
pub fn failure(house: &House, inputs: &Value) -> (String, String) {
    let answer = house.direct("flow", inputs);
    assert_eq!(answer["status"], "failed", "{answer}");
    (text(&answer["error"]), text(&answer["run_id"]))
}

/// The states of a run's steps by path.
#[track_caller]
pub fn states(house: &House, run: &str) -> Vec<(String, String)> {
    house
        .steps(run)
        .iter()
        .map(|step| (text(&step["path"]), text(&step["status"])))
        .collect()
}

/// As `states` answers.
pub fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(path, status)| ((*path).to_owned(), (*status).to_owned()))
        .collect()
}

#[test]
fn a_failure_that_may_continue_leaves_null_and_an_error() {
    let (house, receiver) = ready(
        "
steps:
  - id: call
    http: {method: GET, url: 'RECEIVER/x'}
    on_failure: continue
  - id: after
    set: {output: '{{ call.output }}', below: '{{ call.output.a.b }}', error: '{{ call.error }}'}
output: '{{ after.output }}'
",
    );
    receiver.on("/x", [status(500)]);
    let answer = house.direct("flow", &json!({}));
    assert_eq!(answer["status"], "completed");
    assert!(answer["output"]["output"].is_null() && answer["output"]["below"].is_null());
    assert!(
        answer["output"]["error"].to_string().contains("500"),
        "{answer}"
    );
    let states = states(&house, &text(&answer["run_id"]));
    assert_eq!(states, pairs(&[("call", "failed"), ("after", "completed")]));
}

#[test]
fn nothing_runs_after_a_step_that_terminates_the_run() {
    let (house, receiver) = ready(
        "
steps:
  - {id: a, http: {method: GET, url: 'RECEIVER/a'}}
  - {id: b, http: {method: GET, url: 'RECEIVER/b'}}
output: 1
",
    );
    receiver.on("/a", [status(500)]);
    failure(&house, &json!({}));
    assert!(receiver.arrived("/b").is_empty());
}

#[test]
fn the_branch_not_taken_is_recorded_as_skipped() {
    let (house, _) = ready(
        "
inputs: {score: {type: number}}
steps:
  - id: gate
    condition: {all: [{left: '{{ score }}', op: '>', right: 70}, {not: {left: '{{ score }}', op: is_empty}}]}
    then: [{id: a, set: {x: 1}}, {id: c, set: {y: '{{ a.output.x }}'}}]
    else: [{id: b, set: {x: 2}}]
output: {gate: '{{ gate.output }}', a: '{{ a.output }}', b: '{{ b.output }}'}
",
    );
    let answer = house.direct("flow", &json!({"score": 80}));
    assert_eq!(
        answer["output"],
        json!({"gate": true, "a": {"x": 1}, "b": null})
    );
    let mut seen = states(&house, &text(&answer["run_id"]));
    seen.sort();
    let taken = [
        ("gate", "completed"),
        ("gate.else.b", "skipped"),
        ("gate.then.a", "completed"),
        ("gate.then.c", "completed"),
    ];
    assert_eq!(seen, pairs(&taken));
    let answer = house.direct("flow", &json!({"score": 10}));
    assert_eq!(
        answer["output"],
        json!({"gate": false, "a": null, "b": {"x": 2}})
    );
    let mut seen = states(&house, &text(&answer["run_id"]));
    seen.sort();
    let taken = [
        ("gate", "completed"),
        ("gate.else.b", "completed"),
        ("gate.then.a", "skipped"),
        ("gate.then.c", "skipped"),
    ];
    assert_eq!(seen, pairs(&taken));
}

#[test]
fn every_documented_operator_decides() {
    let cases = [
        ("equals", json!(5), Some(json!(5)), true),
        ("equals", json!(5), Some(json!("5")), false),
        ("does_not_equal", json!("a"), Some(json!("b")), true),
        (">", json!(2), Some(json!(1)), true),
        (">=", json!(1), Some(json!(1)), true),
        ("<", json!(2), Some(json!(1)), false),
        ("<=", json!(1), Some(json!(1)), true),
        ("contains", json!("honey bee"), Some(json!("bee")), true),
        ("contains", json!([1, 2]), Some(json!(3)), false),
        ("starts_with", json!("honey"), Some(json!("hon")), true),
        ("ends_with", json!("honey"), Some(json!("hon")), false),
        ("is_one_of", json!("b"), Some(json!(["a", "b"])), true),
        ("exists", json!("x"), None, true),
        ("exists", Value::Null, None, false),
        ("is_empty", json!([]), None, true),
        ("is_empty", json!("x"), None, false),
    ];
    let mut steps = Vec::new();
    let mut wanted = serde_json::Map::new();
    let mut shown = serde_json::Map::new();
    for (at, (op, left, right, holds)) in cases.iter().enumerate() {
        let mut condition = json!({"left": left, "op": op});
        if let Some(right) = right {
            condition["right"] = right.clone();
        }
        steps.push(json!({"id": format!("c{at}"), "condition": condition}));
        shown.insert(
            format!("{at} {op}"),
            format!("{{{{ c{at}.output }}}}").into(),
        );
        wanted.insert(format!("{at} {op}"), (*holds).into());
    }
    let house = House::start();
    let definition = json!({"steps": steps, "output": shown});
    house
        .put("/v1/deployments/flow/variants/prod", &definition)
        .is(201);
    assert_eq!(output(&house, &json!({})), Value::Object(wanted));
}

#[test]
fn groups_and_bare_expressions_decide() {
    let (house, _) = ready(
        "
inputs: {n: {type: number}}
steps:
  - {id: any, condition: {any: [{left: '{{ n }}', op: equals, right: 1}, {left: '{{ n }}', op: equals, right: 2}]}}
  - {id: bare, condition: 'n > 1 and n < 5'}
output: ['{{ any.output }}', '{{ bare.output }}']
",
    );
    assert_eq!(output(&house, &json!({"n": 1})), json!([true, false]));
    assert_eq!(output(&house, &json!({"n": 2})), json!([true, true]));
    assert_eq!(output(&house, &json!({"n": 9})), json!([false, false]));
}

#[test]
fn a_step_whose_if_is_false_is_skipped() {
    let (house, receiver) = ready(
        "
inputs: {go: {type: boolean}}
steps:
  - {id: call, if: go, http: {method: GET, url: 'RECEIVER/x'}}
output: {below: '{{ call.output.a }}'}
",
    );
    let answer = house.direct("flow", &json!({"go": false}));
    assert_eq!(answer["output"], json!({"below": null}));
    assert_eq!(
        states(&house, &text(&answer["run_id"])),
        pairs(&[("call", "skipped")])
    );
    assert!(receiver.all().is_empty());
    receiver.on("/x", [answers(&json!({"a": 1}))]);
    assert_eq!(output(&house, &json!({"go": true})), json!({"below": 1}));
}

#[test]
fn a_delay_parks_the_run_and_holds_no_slot() {
    let house = House::plan().set("workers", "1").start();
    house.deploy("sleepy", "steps: [{id: nap, delay: 1h}]\noutput: 1");
    house.deploy("quick", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    let asleep: Vec<String> = (0..3)
        .map(|_| house.start_run("sleepy", &json!({}), "http://127.0.0.1:9/"))
        .collect();
    for id in &asleep {
        let run = house.run_is(id, "waiting");
        assert_eq!(run["run_status"], "waiting");
        assert!(!run["waiting_on"].is_null(), "{run}");
        assert_eq!(house.steps(id)[0]["status"], "waiting");
    }
    house.direct("quick", &json!({}));
    assert_eq!(house.run(&asleep[0])["status"], "waiting");
}

#[test]
fn a_delay_wakes_after_its_time_with_null() {
    let (house, _) = ready(
        "
steps:
  - {id: nap, delay: 300ms}
  - {id: past, delay: {until: '2020-01-01T00:00:00Z'}}
output: ['{{ nap.output }}', '{{ past.output }}']
",
    );
    let from = Instant::now();
    assert_eq!(output(&house, &json!({})), json!([null, null]));
    assert!(from.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_delay_goes_on_after_a_kill() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("sleepy", "steps: [{id: nap, delay: 1s}]\noutput: 1");
    let id = house.start_run("sleepy", &json!({}), &receiver.at("/hook"));
    house.run_is(&id, "waiting");
    house.kill();
    house.launch();
    house.run_is(&id, "completed");
    receiver.wait_for("/hook", 1);
}

#[test]
fn templates_keep_types_alone_and_make_text_inside_text() {
    let (house, _) = ready(
        "
inputs: {n: {type: number}, map: {type: object}}
steps:
  - id: first
    set: {n: '{{ n }}', map: '{{ start.map }}', inside: 'n={{ n }} map={{ map }} none={{ none }}.'}
  - id: second
    set: {again: '{{ step_1.output.n }}', fallback: '{{ first.output.missing | default(7) }}'}
output: {first: '{{ first.output }}', second: '{{ second.output }}'}
",
    );
    let seen = output(&house, &json!({"n": 1.5, "map": {"b": [true, null]}}));
    let first = json!({
        "n": 1.5, "map": {"b": [true, null]}, "inside": "n=1.5 map={\"b\":[true,null]} none=.",
    });
    assert_eq!(
        seen,
        json!({"first": first, "second": {"again": 1.5, "fallback": 7}})
    );
}

#[test]
fn a_missing_path_fails_the_step_and_is_named() {
    let (house, _) = ready(
        "
inputs: {map: {type: object}}
steps:
  - {id: first, set: {a: '{{ map }}'}}
  - {id: second, set: {b: '{{ first.output.a.items[2].url }}'}}
output: 1
",
    );
    let (error, run) = failure(&house, &json!({"map": {"items": [{"url": "x"}]}}));
    assert!(error.contains("first.output.a.items[2]"), "{error}");
    assert_eq!(
        states(&house, &run),
        pairs(&[("first", "completed"), ("second", "failed")])
    );
}

#[test]
fn expressions_see_no_clock_no_dice_and_no_environment() {
    let house = House::plan().env("SKEP_TEST_VARIABLE", "seen").start();
    for expression in [
        "now()",
        "range(3) | random",
        "env.SKEP_TEST_VARIABLE",
        "env('HOME')",
    ] {
        let yaml = format!(
            "steps: [{{id: a, set: {{x: \"{{{{ {expression} }}}}\"}}}}]\noutput: '{{{{ a.output }}}}'"
        );
        let deployed = house.deploy_to("flow", "prod", &yaml);
        if deployed.status == 400 {
            deployed.refused(400, "invalid_definition");
        } else {
            failure(&house, &json!({}));
        }
    }
}

#[test]
fn the_trace_shows_input_output_error_and_times() {
    let (house, receiver) = ready(
        "
inputs: {q: {type: text}}
steps:
  - {id: made, set: {q: '{{ q }}'}}
  - {id: call, http: {method: POST, url: 'RECEIVER/x', json: {q: '{{ made.output.q }}'}}}
output: 1
",
    );
    receiver.on("/x", [status(500)]);
    let (_, run) = failure(&house, &json!({"q": "bees"}));
    let steps = house.steps(&run);
    for step in &steps {
        let members = [
            "path",
            "type",
            "status",
            "attempts",
            "input",
            "output",
            "error",
            "started_at",
            "ended_at",
        ];
        crate::house::has_all(step, &members);
        assert!(
            text(&step["started_at"]) <= text(&step["ended_at"]),
            "{step}"
        );
    }
    assert_eq!(
        (&steps[0]["type"], &steps[1]["type"]),
        (&json!("set"), &json!("http"))
    );
    assert_eq!(steps[0]["output"], json!({"q": "bees"}));
    assert_eq!(steps[1]["input"]["json"], json!({"q": "bees"}));
    assert!(steps[1]["output"].is_null());
    assert!(steps[1]["error"].to_string().contains("500"));
}
