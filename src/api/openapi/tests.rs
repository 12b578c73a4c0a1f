//! The description against the route table, and against itself. Against the real server: `tests/outside/api.py`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{OPERATIONS, document, find};
use crate::api::table::ROUTES;
use crate::api::testing::{House, Read};
use crate::steps::Registry;

fn built() -> Value {
    document(&Registry::builtin().specs(), "https://skep.example/base")
}

/// Every object within, with its path.
fn walk<'a>(value: &'a Value, at: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(at, value);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                walk(member, &format!("{at}/{name}"), visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &format!("{at}/{index}"), visit);
            }
        }
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let routes: BTreeSet<_> = ROUTES.iter().map(|it| (it.method, it.pattern)).collect();
    let operations: Vec<_> = OPERATIONS
        .iter()
        .copied()
        .flatten()
        .map(|it| (it.method, it.pattern))
        .collect();
    let described: BTreeSet<_> = operations.iter().copied().collect();
    let missing: Vec<_> = routes.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "in api/table.rs, but not in api/openapi: {missing:?}"
    );
    let surplus: Vec<_> = described.difference(&routes).collect();
    assert!(
        surplus.is_empty(),
        "in api/openapi, but not in api/table.rs: {surplus:?}"
    );
    assert_eq!(operations.len(), described.len(), "one is described twice");
}

#[test]
fn an_operation_names_the_parameters_of_its_pattern_and_has_an_id_of_its_own() {
    let mut ids = BTreeSet::new();
    for operation in OPERATIONS.iter().copied().flatten() {
        let of_pattern: Vec<&str> = operation
            .pattern
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let named: Vec<&str> = operation.path.iter().map(|it| it.name).collect();
        assert_eq!(named, of_pattern, "{}", operation.pattern);
        assert!(ids.insert(operation.id), "{} twice", operation.id);
        assert!(
            !operation.answers.is_empty(),
            "{} is never answered",
            operation.id
        );
    }
    for link in OPERATIONS
        .iter()
        .copied()
        .flatten()
        .flat_map(|it| it.answers)
        .flat_map(|it| it.links)
    {
        assert!(ids.contains(link.operation), "a link to {}", link.operation);
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = built();
    let mut dangling = Vec::new();
    let mut count = 0;
    walk(&document, "", &mut |at, value| {
        let Some(to) = value.get("$ref").and_then(Value::as_str) else {
            return;
        };
        count += 1;
        if to
            .strip_prefix('#')
            .is_none_or(|pointer| document.pointer(pointer).is_none())
        {
            dangling.push(format!("{at}: {to}"));
        }
    });
    assert!(count > 100, "only {count} references were found");
    assert!(dangling.is_empty(), "{dangling:#?}");
}

#[test]
fn a_member_that_is_always_sent_is_required() {
    let document = built();
    let required = |name: &str| {
        let schema = &document["components"]["schemas"][name];
        let of = |member: &str| schema[member].as_array().cloned().unwrap_or_default();
        let properties = schema["properties"].as_object().expect(name);
        let optional: Vec<String> = properties
            .keys()
            .filter(|name| !of("required").contains(&Value::from(name.as_str())))
            .cloned()
            .collect();
        (properties.len(), optional)
    };
    let none: [&str; 0] = [];
    for (name, members, optional) in [
        ("Run", 32, &none[..]),
        ("WholeRun", 38, &none),
        ("Step", 15, &none),
        ("WholeDelivery", 14, &none),
        ("WholeApproval", 24, &none),
        ("ApprovalAnswer", 6, &none),
        ("Attempt", 16, &["response_encoding"]),
        ("WholeDeployment", 12, &["webhook_secret"]),
        ("Accepted", 5, &["webhook_secret"]),
        ("Job", 10, &none),
        ("BatchAccepted", 7, &["webhook_secret", "replayed"]),
        ("Ended", 6, &["error"]),
        ("Deleted", 4, &["variant"]),
        ("NewApiKey", 10, &none),
        ("Session", 4, &none),
        ("Member", 9, &none),
        ("AuditEntry", 8, &none),
        ("StatsSpan", 11, &none),
        ("System", 19, &none),
        ("ShownSetting", 3, &none),
    ] {
        let (count, found) = required(name);
        assert_eq!(found, optional, "{name}");
        assert_eq!(count, members, "{name}");
    }
}

#[test]
fn each_error_of_a_route_is_among_its_responses() {
    let document = built();
    for (method, path, status, code) in [
        (
            "post",
            "/v1/workflow/invoke",
            429,
            "concurrency_limit_reached",
        ),
        ("post", "/v1/workflow/invoke", 504, "direct_timeout"),
        ("get", "/v1/keys", 403, "insufficient_scope"),
        ("get", "/healthz", 503, "unavailable"),
        ("delete", "/v1/deployments/{deployment}", 409, "runs_open"),
    ] {
        let reference = &document["paths"][path][method]["responses"][status.to_string()]["$ref"];
        let pointer = reference.as_str().and_then(|to| to.strip_prefix('#'));
        let response = document.pointer(pointer.unwrap_or("none"));
        let response = response.unwrap_or_else(|| panic!("{method} {path} {status}"));
        let example = &response["content"]["application/json"]["examples"][code]["value"];
        assert_eq!(example["error_code"], code, "{method} {path} {status}");
    }
    let open = &document["paths"]["/healthz"]["get"]["responses"];
    assert!(
        open.get("401").is_none() && open.get("403").is_none(),
        "{open}"
    );
}

#[test]
fn metrics_come_in_two_formats_and_say_when_they_ask_for_a_key() {
    let document = built();
    let metrics = &document["paths"]["/metrics"]["get"];
    assert_eq!(
        metrics["security"],
        json!([{}, {"key": []}, {"session": []}])
    );
    let about = metrics["description"].as_str().unwrap_or_default();
    assert!(
        about.contains("unless `metrics_key` is set")
            && about.contains("`read`, `deploy` or `admin`"),
        "{about}"
    );
    let responses = &metrics["responses"];
    for status in ["401", "403"] {
        assert!(responses.get(status).is_some(), "{responses}");
    }
    for (media, counter, end) in [
        ("text/plain", "skep_runs_ended_total", "17"),
        ("application/openmetrics-text", "skep_runs_ended", "# EOF"),
    ] {
        let example = responses["200"]["content"][media]["example"].as_str();
        let example = example.unwrap_or_else(|| panic!("{media} has an example"));
        let kind = format!("\n# TYPE {counter} counter\n");
        assert!(example.contains(&kind), "{media}: {example}");
        assert!(example.trim_end().ends_with(end), "{media}: {example}");
    }
}

#[test]
fn anyone_may_ask_for_it_and_it_names_the_public_url() {
    let house = House::new();
    let read: Read = house.get("/openapi.json", "");
    assert_eq!(read.status, 200);
    assert_eq!(read.body["servers"][0]["url"], "https://skep.example/base");
    assert_eq!(
        read.body["paths"].as_object().map(|paths| paths.is_empty()),
        Some(false)
    );
    let row = ROUTES
        .iter()
        .find(|row| row.pattern == "/openapi.json")
        .expect("in the table");
    assert!(find(row.method, row.pattern).is_some());
    let again = house.get("/openapi.json", "");
    assert_eq!(again.body, read.body);
}
