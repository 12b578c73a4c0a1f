//! Deployments, variants, versions, rollback, deletion; and definitions that are refused, with reasons.

use serde_json::{Value, json};

use crate::house::{House, has_all, has_exactly, rows, text};
use crate::receiver::Receiver;

fn one(value: u32) -> String {
    format!("steps: [{{id: a, set: {{x: {value}}}}}]\noutput: '{{{{ a.output.x }}}}'\n")
}

#[test]
fn a_deploy_creates_what_is_missing_and_answers_with_the_urls() {
    let house = House::start();
    let made = house.deploy_to("research", "prod", &one(1)).is(201);
    let members = [
        "deployment",
        "variant",
        "version",
        "endpoint_id",
        "variant_id",
        "webhook_url",
        "webhook_secret",
    ];
    has_exactly(&made, &members);
    assert_eq!(
        (&made["deployment"], &made["variant"]),
        (&json!("research"), &json!("prod"))
    );
    assert_eq!(made["version"], 1);
    let same = house.deploy_to("research", "prod", &one(1)).is(200);
    assert_eq!(same, made, "the same definition is no new version");
    let next = house.deploy_to("research", "prod", &one(2)).is(201);
    assert_eq!(next["version"], 2);
    assert_eq!(
        next["webhook_secret"], made["webhook_secret"],
        "one secret per deployment"
    );
    let canary = house.deploy_to("research", "canary", &one(3)).is(201);
    assert_eq!(canary["version"], 1, "versions are numbered per variant");
    assert_eq!(canary["endpoint_id"], made["endpoint_id"]);
    assert_ne!(canary["variant_id"], made["variant_id"]);
}

#[test]
fn json_and_yaml_of_the_same_definition_are_the_same_version() {
    let house = House::start();
    house.deploy("research", &one(1));
    let definition = json!({"steps": [{"id": "a", "set": {"x": 1}}], "output": "{{ a.output.x }}"});
    house
        .put("/v1/deployments/research/variants/prod", &definition)
        .is(200);
}

#[test]
fn a_dry_run_only_validates() {
    let house = House::start();
    let path = "/v1/deployments/research/variants/prod?dry_run=true";
    let ask = |yaml: &str| {
        house
            .ask("PUT", path)
            .body("application/yaml", yaml.as_bytes())
            .send()
    };
    ask(&one(1)).is(200);
    ask("steps: [{id: a, sett: {x: 1}}]").refused(400, "invalid_definition");
    house
        .ask("GET", "/v1/deployments/research")
        .send()
        .refused(404, "not_found");
}

#[test]
fn versions_can_be_read_and_rolled_back() {
    let house = House::start();
    for value in 1..=3 {
        house.deploy("research", &one(value));
    }
    let base = "/v1/deployments/research/variants/prod";
    let numbers: Vec<Value> = rows(&house.get(&format!("{base}/versions")))
        .iter()
        .map(|row| row["version"].clone())
        .collect();
    assert_eq!(numbers, [3, 2, 1], "newest first");
    let first = house.get(&format!("{base}/versions/1"));
    assert!(
        first.to_string().contains("a.output.x"),
        "the definition is shown: {first}"
    );
    house
        .ask("GET", &format!("{base}/versions/9"))
        .send()
        .refused(404, "not_found");

    let rolled = house.post(&format!("{base}/rollback"), &json!({"version": 1}));
    assert!(matches!(rolled.status, 200 | 201), "{}", rolled.text());
    assert_eq!(
        rolled.json()["version"],
        4,
        "a new version equal to the old"
    );
    assert_eq!(house.direct("research", &json!({}))["output"], 1);
    house
        .post(&format!("{base}/rollback"), &json!({"version": 9}))
        .refused(404, "not_found");
}

#[test]
fn a_run_keeps_the_version_it_started_with() {
    let house = House::start();
    house.deploy(
        "research",
        "steps: [{id: nap, delay: 300ms}, {id: a, set: {x: 1}}]\noutput: '{{ a.output.x }}'",
    );
    let id = house.start_run("research", &json!({}), "http://127.0.0.1:9/");
    house.run_is(&id, "waiting");
    house.deploy("research", &one(2));
    let run = house.run_is(&id, "completed");
    assert_eq!((&run["version"], &run["output"]), (&json!(1), &json!(1)));
    assert_eq!(house.direct("research", &json!({}))["output"], 2);
}

#[test]
fn deployments_are_listed_and_shown() {
    let house = House::start();
    house.deploy("one", &one(1));
    house.deploy("two", &one(1));
    house.deploy_to("two", "canary", &one(2)).is(201);
    let list = house.get("/v1/deployments");
    has_exactly(&list, &["data", "next_cursor"]);
    let names: Vec<String> = rows(&list)
        .iter()
        .map(|row| text(&row["deployment"]))
        .collect();
    assert_eq!(names, ["two", "one"], "newest first");
    let shown = house.get("/v1/deployments/two");
    has_all(
        &shown,
        &["deployment", "endpoint_id", "variants", "webhook_secret"],
    );
    assert_eq!(
        shown["variants"].as_array().map(Vec::len),
        Some(2),
        "{shown}"
    );
    let (_, reader) = house.make_key("reader", "read");
    let theirs = house
        .ask("GET", "/v1/deployments/two")
        .key(&reader)
        .send()
        .is(200);
    assert!(
        !theirs.to_string().contains("whsec_"),
        "the secret is for admin keys"
    );
}

#[test]
fn deleting_what_has_open_runs_needs_a_word() {
    let (house, receiver) = (House::plan().set("workers", "0").start(), Receiver::start());
    let first = house.deploy("research", &one(1));
    let id = house.start_run("research", &json!({}), &receiver.at("/hook"));
    let refused = house
        .delete("/v1/deployments/research")
        .refused(409, "runs_open");
    assert!(
        text(&refused["error"]).contains('1'),
        "says how many: {refused}"
    );
    let gone = house.delete("/v1/deployments/research?cancel_runs=true");
    assert!(matches!(gone.status, 200 | 204), "{}", gone.text());
    assert_eq!(house.run(&id)["status"], "cancelled", "history lives on");
    assert_eq!(
        receiver.wait_for("/hook", 1)[0].json()["event_type"],
        "workflow.cancelled"
    );
    house
        .ask("GET", "/v1/deployments/research")
        .send()
        .refused(404, "not_found");
    let again = house.deploy_to("research", "prod", &one(1)).is(201);
    assert_eq!(again["version"], 1, "the name is free at once");
    assert_ne!(again["endpoint_id"], first["endpoint_id"]);
    assert_ne!(again["webhook_secret"], first["webhook_secret"]);
}

#[test]
fn a_variant_can_be_deleted_alone() {
    let house = House::start();
    house.deploy("research", &one(1));
    house.deploy_to("research", "canary", &one(2)).is(201);
    let gone = house.delete("/v1/deployments/research/variants/canary");
    assert!(matches!(gone.status, 200 | 204), "{}", gone.text());
    let body = json!({"deployment": "research", "variant": "canary"});
    house.invoke(&body).refused(404, "not_found");
    house.direct("research", &json!({}));
}

#[test]
fn names_have_a_form() {
    let house = House::start();
    let long = "a".repeat(65);
    for name in ["Upper", "-dash", "sp%20ace", "_x", long.as_str()] {
        let answer = house.deploy_to(name, "prod", &one(1));
        answer.refused(400, "validation_error");
        house
            .deploy_to("fine", name, &one(1))
            .refused(400, "validation_error");
    }
    for name in ["a", "0.x_y-z", &"a".repeat(64)] {
        house.deploy_to(name, "prod", &one(1)).is(201);
    }
}

/// Deploys what must be refused as a definition; the errors.
#[track_caller]
fn definition_errors(house: &House, yaml: &str) -> Vec<Value> {
    let refused = house
        .deploy_to("bad", "prod", yaml)
        .refused(400, "invalid_definition");
    let errors = refused["errors"]
        .as_array()
        .expect("all errors are listed")
        .clone();
    assert!(!errors.is_empty());
    for error in &errors {
        has_all(error, &["line", "column", "field", "message"]);
    }
    assert!(
        text(&refused["error"]).contains(&text(&errors[0]["message"])),
        "the first error is the text: {refused}"
    );
    errors
}

#[test]
fn a_misspelt_key_is_answered_with_a_suggestion_and_a_place() {
    let house = House::start();
    let yaml = "inputs:\n  topic: {type: text}\nsteps:\n  - id: call\n    htpp: {method: GET, url: 'http://x/'}\n";
    let errors = definition_errors(&house, yaml);
    let error = errors
        .iter()
        .find(|error| error["line"] == 5)
        .expect("an error on line 5");
    assert_eq!(error["column"], 5, "{error}");
    assert!(text(&error["message"]).contains("did you mean"), "{error}");
    assert!(text(&error["message"]).contains("http"), "{error}");
    assert!(text(&error["field"]).starts_with("/steps/0"), "{error}");
}

#[test]
fn a_misspelt_step_is_answered_with_a_suggestion() {
    let house = House::start();
    let yaml = "steps:\n  - {id: fetched, set: {x: 1}}\n  - {id: b, set: {y: '{{ fetchd.output.x }}'}}\noutput: 1\n";
    let errors = definition_errors(&house, yaml);
    let message = text(&errors[0]["message"]);
    assert!(
        message.contains("fetchd") && message.contains("did you mean"),
        "{message}"
    );
    assert_eq!(errors[0]["line"], 3);
}

#[test]
fn every_rule_of_a_definition_is_checked() {
    let house = House::start();
    let cases = [
        ("no steps at all", "output: 1"),
        ("no action", "steps: [{id: a}]"),
        ("two actions", "steps: [{id: a, set: {x: 1}, delay: 5s}]"),
        ("no id", "steps: [{set: {x: 1}}]"),
        ("a bad id", "steps: [{id: 1a, set: {x: 1}}]"),
        ("a reserved id", "steps: [{id: start, set: {x: 1}}]"),
        (
            "an id twice",
            "steps: [{id: a, set: {x: 1}}, {id: a, set: {x: 1}}]",
        ),
        (
            "a step named as an input",
            "inputs: {a: {type: text}}\nsteps: [{id: a, set: {x: 1}}]",
        ),
        (
            "a reference to nothing",
            "steps: [{id: a, set: {x: '{{ b.output }}'}}]",
        ),
        (
            "a reference to later",
            "steps: [{id: a, set: {x: '{{ b.output }}'}}, {id: b, set: {x: 1}}]",
        ),
        (
            "a template that does not end",
            "steps: [{id: a, set: {x: '{{ 1 '}}]",
        ),
        ("a duration without a unit", "steps: [{id: a, delay: 5}]"),
        (
            "an unknown operator",
            "steps: [{id: a, condition: {left: 1, op: '~', right: 1}}]",
        ),
        (
            "an unknown input type",
            "inputs: {n: {type: integer}}\nsteps: [{id: a, set: {x: 1}}]",
        ),
        (
            "a default of another type",
            "inputs: {n: {type: number, default: x}}\nsteps: [{id: a, set: {x: 1}}]",
        ),
        (
            "an unknown method",
            "steps: [{id: a, http: {method: FETCH, url: 'http://x/'}}]",
        ),
        (
            "two bodies",
            "steps: [{id: a, http: {method: POST, url: 'http://x/', json: 1, body: x}}]",
        ),
        (
            "a secret outside http",
            "steps: [{id: a, set: {x: '{{ secrets.K }}'}}]",
        ),
        (
            "an unknown on_failure",
            "steps: [{id: a, set: {x: 1}, on_failure: shrug}]",
        ),
        (
            "an unknown retry word",
            "steps: [{id: a, http: {method: GET, url: 'http://x/'}, retry: {on: [4xx]}}]",
        ),
    ];
    for (what, yaml) in cases {
        let answer = house.deploy_to("bad", "prod", yaml);
        assert_eq!(answer.status, 400, "{what} was taken: {}", answer.text());
        definition_errors(&house, yaml);
    }
}

#[test]
fn all_errors_come_at_once() {
    let house = House::start();
    let yaml =
        "steps:\n  - {id: a, sett: {x: 1}}\n  - {id: b, delay: soon}\n  - {id: 9c, set: {x: 1}}\n";
    let errors = definition_errors(&house, yaml);
    let lines: Vec<u64> = errors
        .iter()
        .filter_map(|error| error["line"].as_u64())
        .collect();
    for line in [2, 3, 4] {
        assert!(lines.contains(&line), "line {line} is missing: {errors:?}");
    }
}

#[test]
fn malformed_text_is_answered_with_line_and_column() {
    let house = House::start();
    let refused = house
        .deploy_to("bad", "prod", "steps:\n  - id: [a\n")
        .refused(400, "malformed_body");
    let said = text(&refused["error"]);
    assert!(said.contains("line") && said.contains("column"), "{said}");
    let path = "/v1/deployments/bad/variants/prod";
    let refused = house
        .ask("PUT", path)
        .body("application/json", b"{\n \"steps\": [}")
        .send();
    let said = text(&refused.refused(400, "malformed_body")["error"]);
    assert!(said.contains("line 2") && said.contains("column"), "{said}");
}

#[test]
fn step_kinds_that_are_not_here_yet_are_refused_by_name() {
    let house = House::start();
    let kinds = [
        ("each", "'{{ start.list }}'"),
        ("parallel", "{left: [{id: l, set: {x: 1}}]}"),
        ("workflow", "{deployment: other, variant: prod}"),
        ("wait_signal", "{key: k}"),
        ("prompt", "{provider: default, model: m, messages: []}"),
        ("image", "{provider: default, model: m, prompt: p}"),
        ("rss", "{url: 'http://x/'}"),
        ("shell", "{argv: [df]}"),
    ];
    for (kind, body) in kinds {
        let yaml = format!("steps: [{{id: a, {kind}: {body}}}]\noutput: 1");
        let errors = definition_errors(&house, &yaml);
        assert!(
            errors
                .iter()
                .any(|error| text(&error["message"]).contains(kind)),
            "{kind}: {errors:?}"
        );
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let house = House::start();
    let many: String = (0..10_000)
        .map(|at| format!("- {{id: s{at}, set: {{x: 1}}}}\n"))
        .collect();
    let many = format!("steps:\n{many}output: 1\n");
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let list = vec![format!("*a{}", at - 1); 10].join(", ");
        aliases.push_str(&format!("a{at}: &a{at} [{list}]\n"));
    }
    aliases.push_str("steps: [{id: a, set: {x: *a11}}]\noutput: 1\n");
    let brackets = format!("steps: {}{}", "[".repeat(5_000), "]".repeat(5_000));
    let deep = format!(
        "steps: [{{id: a, set: {{x: '{{{{ {}1{} }}}}'}}}}]",
        "(".repeat(5_000),
        ")".repeat(5_000)
    );
    for (what, yaml) in [
        ("steps", many),
        ("aliases", aliases),
        ("brackets", brackets.clone()),
        ("parentheses", deep),
    ] {
        // The client's own patience is what a hang would run into.
        let answer = house.deploy_to("bomb", "prod", &yaml);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    }
    let json = format!("{{\"steps\": {}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let path = "/v1/deployments/bomb/variants/prod";
    assert_eq!(
        house
            .ask("PUT", path)
            .body("application/json", json.as_bytes())
            .send()
            .status,
        400
    );
    house.deploy("fine", &one(1));
}
