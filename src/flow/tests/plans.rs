//! What a run does next.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::flow::plan::Then;
use crate::flow::step::{ErrorClass, StepResult, StepStart};

fn http(id: &str, more: &str) -> String {
    format!("  - id: {id}\n    http: {{method: GET, url: 'https://a.example/'}}\n{more}")
}

fn started(plan: &Plan) -> &StepStart {
    match &plan.then {
        Then::Start(start) => start,
        other => panic!("{other:?}"),
    }
}

fn seen(results: &[StepResult]) -> Vec<(&str, &str)> {
    results
        .iter()
        .map(|result| (result.path.as_str(), result.status.as_str()))
        .collect()
}

fn output(plan: &Plan) -> &Value {
    match &plan.then {
        Then::Complete { output } => output,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pure_steps_run_at_once_and_the_last_output_is_the_runs() {
    let plan = run_plan(
        &yaml(
            "inputs: {t: {type: text}}\nsteps:\n  - {id: a, set: {x: 'hi {{ t }}', n: 1}}\n  - {id: b, set: {y: '{{ a.output }}'}}",
        ),
        json!({"t": "you"}),
        &[],
    );
    assert_eq!(
        seen(&plan.results),
        [("a", "completed"), ("b", "completed")]
    );
    assert_eq!(plan.results[0].kind, "set");
    assert_eq!(output(&plan), &json!({"y": {"x": "hi you", "n": 1}}));
}

#[test]
fn a_registered_step_is_started_with_its_rendered_input() {
    let workflow = yaml(
        "inputs: {t: {type: text}}\nsteps:\n  - {id: a, set: {q: {b: 1}}}\n  - id: f\n    timeout: 3s\n    http:\n      method: POST\n      url: 'https://a.example/{{ t }}?q={{ t }}'\n      query: '{{ a.output.q }}'\n      headers: {A: 'Bearer {{ secrets.K }}'}\n      body: '{{ a.output }}'\n      form: '{{ a.output.nothing | default(none) }}'\n".replace("      form: '{{ a.output.nothing | default(none) }}'\n", "").as_str(),
    );
    let plan = run_plan(&workflow, json!({"t": "a/b c?ä"}), &[]);
    assert_eq!(seen(&plan.results), [("a", "completed")]);
    let start = started(&plan);
    assert_eq!(
        (start.path.as_str(), start.kind.as_str(), start.failures),
        ("f", "http", 0)
    );
    assert_eq!(start.timeout, Some(Duration::from_secs(3)));
    assert!(!start.host_from_template);
    assert_eq!(
        start.input["url"],
        "https://a.example/a%2Fb%20c%3F%C3%A4?q=a%2Fb%20c%3F%C3%A4"
    );
    assert_eq!(start.input["query"], json!({"b": 1}));
    assert_eq!(start.input["body"], r#"{"q":{"b":1}}"#);
    assert_eq!(
        mark().mask(&start.input)["headers"],
        json!({"A": "Bearer [secret K]"})
    );
    assert_eq!(mark().names_in(&start.input).len(), 1);
}

#[test]
fn what_is_final_on_record_is_not_evaluated_again() {
    let workflow = yaml(&format!(
        "steps:\n  - {{id: a, set: {{x: '{{{{ start.gone }}}}'}}}}\n{}",
        http("f", "")
    ));
    let done = record("a", StepStatus::Completed, json!({"x": 1}));
    let plan = run_plan(&workflow, json!({}), std::slice::from_ref(&done));
    assert!(plan.results.is_empty());
    assert_eq!(started(&plan).path, "f");
    let fetched = record("f", StepStatus::Completed, json!([1]));
    assert_eq!(
        output(&run_plan(&workflow, json!({}), &[fetched, done])),
        &json!([1])
    );
}

#[test]
fn interrupted_and_due_steps_start_again_and_others_wait() {
    let workflow = yaml(&format!("steps:\n{}", http("f", "    if: start.gone\n")));
    for status in [
        StepStatus::Pending,
        StepStatus::Running,
        StepStatus::Waiting,
    ] {
        let open = StepRecord {
            failures: 2,
            ..record("f", status, Value::Null)
        };
        let plan = run_plan(&workflow, json!({}), &[open]);
        assert_eq!(started(&plan).failures, 2, "{status:?}");
    }
    let due = |at: i64| {
        let waiting = record("f", StepStatus::Waiting, Value::Null);
        run_plan(
            &workflow,
            json!({}),
            &[StepRecord {
                due_at: Some(Timestamp(NOW.0 + at)),
                failures: 1,
                ..waiting
            }],
        )
        .then
    };
    assert!(matches!(due(0), Then::Start(_)));
    match due(1) {
        Then::Park {
            path,
            kind,
            input,
            until,
        } => {
            assert_eq!(
                (path.as_str(), kind.as_str(), until),
                ("f", "http", Timestamp(NOW.0 + 1))
            );
            assert_eq!(input["method"], "GET");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn delays_park_until_their_time() {
    let workflow = yaml("steps:\n  - {id: d, delay: 5s}\n  - {id: a, set: {x: '{{ d.output }}'}}");
    let until = Timestamp(NOW.0 + 5_000);
    let parked = run_plan(&workflow, json!({}), &[]);
    assert_eq!(
        parked.then,
        Then::Park {
            path: "d".into(),
            kind: "delay".into(),
            input: json!("5s"),
            until
        }
    );
    let waiting = |due: Timestamp| StepRecord {
        due_at: Some(due),
        ..record("d", StepStatus::Waiting, Value::Null)
    };
    assert_eq!(
        run_plan(&workflow, json!({}), &[waiting(until)]).then,
        parked.then,
        "the time on record stands"
    );
    let woken = run_plan(&workflow, json!({}), &[waiting(NOW)]);
    assert_eq!(
        seen(&woken.results),
        [("d", "completed"), ("a", "completed")]
    );
    assert_eq!(output(&woken), &json!({"x": null}));
    let past = run_plan(
        &yaml("steps: [{id: d, delay: {until: '2001-01-01T00:00:00Z'}}]"),
        json!({}),
        &[],
    );
    assert_eq!(output(&past), &Value::Null);
    let wrong = run_plan(
        &yaml("steps: [{id: d, delay: '{{ start.s }}'}]"),
        json!({"s": "soon"}),
        &[],
    );
    assert!(
        matches!(wrong.then, Then::Fail { error, .. } if error.message.contains("expected a duration"))
    );
    let computed = run_plan(
        &yaml("steps: [{id: d, delay: '{{ start.n }}ms'}]"),
        json!({"n": 7}),
        &[],
    );
    assert!(matches!(computed.then, Then::Park { until, .. } if until.0 == NOW.0 + 7));
}

const GATE: &str = "steps:
  - id: gate
    condition: 'start.x > 1'
    then:
      - {id: a, set: {v: A}}
      - {id: deep, condition: true, then: [{id: c, set: {v: C}}]}
    else: [{id: b, set: {v: B}}]
  - {id: end, set: {a: '{{ a.output.v }}', b: '{{ b.output.v }}', c: '{{ c.output.v }}', g: '{{ gate.output }}'}}
";

#[test]
fn a_condition_takes_one_branch_and_skips_the_other() {
    let yes = run_plan(&yaml(GATE), json!({"x": 2}), &[]);
    assert_eq!(
        seen(&yes.results),
        [
            ("gate", "completed"),
            ("gate.then.a", "completed"),
            ("gate.then.deep", "completed"),
            ("gate.then.deep.then.c", "completed"),
            ("gate.else.b", "skipped"),
            ("end", "completed"),
        ]
    );
    assert_eq!(
        output(&yes),
        &json!({"a": "A", "b": null, "c": "C", "g": true})
    );
    let no = run_plan(&yaml(GATE), json!({"x": 0}), &[]);
    assert_eq!(
        seen(&no.results)[1..5],
        [
            ("gate.then.a", "skipped"),
            ("gate.then.deep", "skipped"),
            ("gate.then.deep.then.c", "skipped"),
            ("gate.else.b", "completed"),
        ]
    );
    assert_eq!(
        output(&no),
        &json!({"a": null, "b": "B", "c": null, "g": false})
    );
    // The answer on record stands, whatever the inputs would say.
    let answered = run_plan(
        &yaml(GATE),
        json!({"x": 0}),
        &[record("gate", StepStatus::Completed, json!(true))],
    );
    assert_eq!(seen(&answered.results)[0], ("gate.then.a", "completed"));
}

#[test]
fn a_false_if_skips_the_step_and_all_inside() {
    let text = GATE.replace(
        "    condition: 'start.x > 1'",
        "    if: start.x == 9\n    condition: true",
    );
    let plan = run_plan(&yaml(&text), json!({"x": 2}), &[]);
    assert!(
        plan.results[..5]
            .iter()
            .all(|result| result.status == StepStatus::Skipped)
    );
    assert_eq!(
        output(&plan),
        &json!({"a": null, "b": null, "c": null, "g": null})
    );
    let odd = run_plan(&yaml("steps: [{id: a, if: '1', set: {}}]"), json!({}), &[]);
    assert!(
        matches!(odd.then, Then::Fail { error, .. } if error.message.starts_with("`if`: `1` must be true or false"))
    );
}

#[test]
fn a_failed_step_ends_the_run_or_leaves_null_and_its_error() {
    let text = |on: &str| {
        format!(
            "steps:\n{}  - {{id: z, set: {{o: '{{{{ f.output.x }}}}', e: '{{{{ f.error }}}}'}}}}",
            http("f", &format!("    on_failure: {on}\n"))
        )
    };
    let failed = [record("f", StepStatus::Failed, Value::Null)];
    let plan = run_plan(&yaml(&text("terminate")), json!({}), &failed);
    assert!(
        matches!(&plan.then, Then::Fail { step: Some(step), error } if step == "f" && error.message == "boom")
    );
    let plan = run_plan(&yaml(&text("continue")), json!({}), &failed);
    assert_eq!(output(&plan), &json!({"o": null, "e": "boom"}));
}

#[test]
fn a_template_that_fails_fails_its_step() {
    let text = |on: &str| {
        format!(
            "steps:\n  - {{id: a, set: {{x: '{{{{ start.no }}}}'}}, on_failure: {on}}}\n  - {{id: b, set: {{e: '{{{{ a.error }}}}'}}}}"
        )
    };
    let plan = run_plan(&yaml(&text("terminate")), json!({}), &[]);
    assert_eq!(seen(&plan.results), [("a", "failed")]);
    assert_eq!(plan.results[0].input, Value::Null);
    let Then::Fail { step, error } = plan.then else {
        panic!("it goes on")
    };
    assert_eq!(
        (step.as_deref(), error.class),
        (Some("a"), ErrorClass::Step)
    );
    let plan = run_plan(&yaml(&text("continue")), json!({}), &[]);
    assert_eq!(
        output(&plan),
        &json!({"e": "`start.no` does not exist: no such input was given"})
    );
    let plan = run_plan(
        &yaml("steps: [{id: a, set: {}}]\noutput: '{{ a.output.x }}'"),
        json!({}),
        &[],
    );
    assert!(
        matches!(plan.then, Then::Fail { step: None, error } if error.message == "`output`: `a.output.x` does not exist: `output` has no `x`")
    );
    assert_eq!(plan.results.len(), 1);
}

#[test]
fn a_condition_that_cannot_be_answered_takes_no_branch() {
    let text = GATE.replace(
        "    condition: 'start.x > 1'",
        "    on_failure: continue\n    condition: start.no.way",
    );
    let plan = run_plan(&yaml(&text), json!({"x": 2}), &[]);
    assert_eq!(plan.results[0].status, StepStatus::Failed);
    assert!(
        plan.results[1..5]
            .iter()
            .all(|result| result.status == StepStatus::Skipped)
    );
}

#[test]
fn rendered_fields_must_be_what_the_kind_wants() {
    let with = |field: &str, input: Value| {
        let text = format!(
            "steps:\n  - id: f\n    http: {{method: GET, url: 'https://a.example/', {field}: '{{{{ start.x }}}}'}}"
        );
        run_plan(&yaml(&text), json!({"x": input}), &[]).then
    };
    let why = |then: Then| match then {
        Then::Fail { error, .. } => error.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        why(with("query", json!("a"))),
        "`http.query` must be an object, got a text"
    );
    assert_eq!(
        why(with("tags", json!([[1]]))),
        "`http.tags` must be an array of texts, got an array"
    );
    assert!(
        matches!(with("tags", json!(["a", 1])), Then::Start(start) if start.input["tags"] == json!(["a", "1"]))
    );
    assert!(
        matches!(with("query", Value::Null), Then::Start(start) if start.input.get("query").is_none())
    );
    assert!(
        matches!(with("json", Value::Null), Then::Start(start) if start.input["json"].is_null())
    );
    let text = "steps: [{id: f, http: {method: '{{ start.m }}', url: 'https://a.example/'}}]";
    assert_eq!(
        why(run_plan(&yaml(text), json!({"m": "PUT"}), &[]).then),
        "`http.method` must be one of GET, POST, got \"PUT\""
    );
}

#[test]
fn the_host_is_from_a_template_unless_it_is_written_out() {
    for (url, expected) in [
        ("https://a.example/", false),
        ("https://a.example/{{ start.x }}", false),
        ("https://a.example?{{ start.x }}", false),
        ("https://a.example#{{ start.x }}", false),
        ("https://a.example:8080/x/{{ start.x }}", false),
        ("{{ start.x }}", true),
        ("{{ start.x }}/path", true),
        ("https://{{ start.x }}/", true),
        ("https://a.example{{ start.x }}", true),
        ("https://a.example:{{ start.x }}/", true),
        ("https://a.{{ start.x }}.example/", true),
        ("https:///{{ start.x }}", true),
        ("https:{{ start.x }}://a.example/", true),
        ("/a/{{ start.x }}", true),
    ] {
        let text = format!("steps: [{{id: f, http: {{method: GET, url: '{url}'}}}}]");
        let plan = run_plan(&yaml(&text), json!({"x": "b.example"}), &[]);
        assert_eq!(started(&plan).host_from_template, expected, "{url}");
    }
}

#[test]
fn what_is_inserted_cannot_change_where_a_url_leads() {
    let url = |template: &str, value: &str| {
        let text = format!("steps: [{{id: f, http: {{method: GET, url: '{template}'}}}}]");
        match run_plan(&yaml(&text), json!({"x": value, "y": "."}), &[]).then {
            Then::Start(start) => start.input["url"].as_str().map(str::to_owned),
            Then::Fail { error, .. } => {
                assert!(error.message.contains("path segment"), "{}", error.message);
                None
            }
            other => panic!("{other:?}"),
        }
    };
    let whole = "https://b.example/x?y=z&a=/..";
    assert_eq!(url("{{ start.x }}", whole).as_deref(), Some(whole));
    assert_eq!(
        url("{{ start.x }}/{{ start.y }}x", "https://b.example").as_deref(),
        Some("https://b.example/.x")
    );
    assert_eq!(
        url("https://a.example/{{ start.x }}", "/../b?c#d@e:f").as_deref(),
        Some("https://a.example/%2F..%2Fb%3Fc%23d%40e%3Af")
    );
    for (template, value) in [
        ("https://a.example/{{ start.x }}", ".."),
        ("https://a.example/{{ start.x }}/b", "."),
        ("https://a.example/.{{ start.x }}", ""),
        ("https://a.example/.{{ start.x }}", "."),
        ("https://a.example/%2e{{ start.x }}/b", "."),
        ("https://a.example/{{ start.x }}%2E", "."),
        ("https://a.example/b/{{ start.x }}{{ start.y }}?q", "."),
        ("https://a.example\\{{ start.x }}\\b", ".."),
    ] {
        assert_eq!(url(template, value), None, "{template} {value}");
    }
    assert!(url("https://a.example/?q={{ start.x }}", "..").is_some());
    assert!(url("https://a.example/{{ start.x }}", "...").is_some());
}

#[test]
fn values_that_are_too_large_or_too_deep_fail_the_step() {
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    for (value, expected) in [
        (json!("x".repeat(2 << 20)), "larger than 1024 KiB"),
        (deep, "deeper than 100 levels"),
    ] {
        for template in [
            "{{ start.x }}",
            "{{ [start.x] }}",
            "{{ [start.x] | first }}",
            "a{{ start.x }}{{ 1 }}",
        ] {
            let plan = run_plan(
                &yaml(&format!("steps: [{{id: a, set: {{v: '{template}'}}}}]")),
                json!({"x": value}),
                &[],
            );
            match plan.then {
                Then::Fail { error, .. } => assert!(
                    error.message.contains(expected),
                    "{template}: {}",
                    error.message
                ),
                other => assert!(
                    template.starts_with('a') && expected.contains("deeper"),
                    "{other:?}"
                ),
            }
        }
    }
    let many = format!(
        "steps: [{{id: a, set: {{v: [{}]}}}}]",
        vec!["'{{ start.x }}'"; 500].join(",")
    );
    let plan = run_plan(&yaml(&many), json!({"x": "x".repeat(1 << 19)}), &[]);
    assert!(matches!(plan.then, Then::Fail { error, .. } if error.message.contains("larger than")));
}

#[test]
fn ten_thousand_records_are_quick() {
    let body: String = (0..999).map(|n| http(&format!("s{n}"), "")).collect();
    let workflow = yaml(&format!(
        "steps:\n{body}  - {{id: z, set: {{x: '{{{{ s998.output.v }}}}'}}}}"
    ));
    let mut records: Vec<_> = (0..999)
        .map(|n| record(&format!("s{n}"), StepStatus::Completed, json!({"v": n})))
        .collect();
    records.extend(
        (0..9_001).map(|n| record(&format!("other{n}.x"), StepStatus::Completed, json!(n))),
    );
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            output(&run_plan(&workflow, json!({}), &records)),
            &json!({"x": 998})
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}
