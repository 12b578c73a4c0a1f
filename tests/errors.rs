//! Every error of the contract's table that these features can give, each by a real request.

use serde_json::{Value, json};

use crate::house::{House, callback_body, direct_body, rows, text};
use crate::wire::{Answer, Ask, Wire};

const ONE: &str = "
inputs:
  topic: {type: text, required: true}
  n: {type: number}
  yes: {type: boolean}
  list: {type: array}
  map: {type: object}
  size: {type: text, enum: [s, m]}
steps: [{id: a, set: {x: 1}}]
output: 1
";

/// Callback runs that never start.
fn ready() -> House {
    let house = House::plan().set("workers", "0").start();
    house.deploy("one", ONE);
    house
}

fn callback(house: &House, change: impl FnOnce(&mut Value)) -> Answer {
    let mut body = callback_body("one", &json!({"topic": "x"}), "http://127.0.0.1:9/hook");
    change(&mut body);
    house.invoke(&body)
}

#[test]
fn the_catalogue_lists_every_code_without_a_key() {
    let house = House::start();
    let answer = Ask::new(house.address(), "GET", "/v1/error_codes")
        .send()
        .is(200);
    let codes = answer["codes"].as_array().expect("a list of codes");
    let expected = [
        ("invalid_access", 401),
        ("insufficient_scope", 403),
        ("validation_error", 400),
        ("callback_url_forbidden", 400),
        ("callback_delivery_required", 400),
        ("malformed_body", 400),
        ("invalid_definition", 400),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("body_too_large", 413),
        ("concurrency_limit_reached", 429),
        ("too_many_requests", 429),
        ("idempotency_key_reused", 409),
        ("runs_open", 409),
        ("already_decided", 409),
        ("tool_approval_override_not_permitted", 403),
        ("invalid_tool_approval", 400),
        ("direct_timeout", 504),
        ("bad_request", 400),
        ("unavailable", 503),
        ("internal_server_error", 500),
    ];
    assert_eq!(codes.len(), expected.len());
    for (code, status) in expected {
        let row = codes.iter().find(|row| row["code"] == code);
        let row = row.unwrap_or_else(|| panic!("{code} is missing"));
        assert_eq!(row["status"], status, "{code}");
        assert!(!text(&row["message"]).is_empty(), "{code}");
    }
}

#[test]
fn a_missing_deployment_or_variant_is_named() {
    let house = ready();
    house.deploy_to("one", "canary", ONE).is(201);
    for body in [
        json!({}),
        json!({"variant": "prod"}),
        json!({"deployment": "one"}),
        json!({"deployment": ""}),
    ] {
        let refused = house.invoke(&body).refused(400, "validation_error");
        assert_eq!(
            refused["error"], "Missing required field: deployment or variant",
            "{body}"
        );
    }
    let absent = house
        .ask("POST", "/v1/workflow/invoke")
        .send()
        .refused(400, "validation_error");
    assert_eq!(
        absent["error"], "Missing required field: deployment or variant",
        "an absent body equals {{}}"
    );
    for body in [
        json!({"deployment": 7, "variant": "prod"}),
        json!({"deployment": "one", "variant": [1]}),
    ] {
        house.invoke(&body).refused(400, "validation_error");
    }
}

#[test]
fn a_workflow_that_asks_a_person_is_not_waited_for() {
    let house = ready();
    let asks = "
inputs: {topic: {type: text}}
steps:
  - id: gate
    condition: false
    then: [{id: ask, human: {question: 'Really?', recipient: anna@example.com}}]
";
    house.deploy("asks", asks);
    let direct = direct_body("asks", &json!({"topic": "x"}));
    let refused = house
        .invoke(&direct)
        .refused(400, "callback_delivery_required");
    assert_eq!(
        refused["error"],
        "callback delivery is required for workflows with a Human in the Loop step"
    );
    let body = callback_body("asks", &json!({"topic": "x"}), "http://127.0.0.1:9/hook");
    house.invoke(&body).is(202);
}

#[test]
fn callback_urls_are_required_and_must_be_valid() {
    let house = ready();
    for wrong in [
        json!({"enabled": true}),
        json!({"enabled": true, "callback_url": null}),
    ] {
        let refused =
            callback(&house, |body| body["async"] = wrong).refused(400, "validation_error");
        assert_eq!(
            refused["error"],
            "callback_url is required when async is enabled"
        );
    }
    for url in [
        "nonsense",
        "/hook",
        "//x.example/",
        "ftp://x.example/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@x.example/",
        "http://user:pw@x.example/",
        "http://x.example:99999/",
        "http://[::1/",
        "http://x y.example/",
    ] {
        let answer = callback(&house, |body| body["async"]["callback_url"] = url.into());
        let refused = answer.refused(400, "validation_error");
        assert_eq!(
            refused["error"], "callback_url must be a valid URL",
            "{url}"
        );
        assert_eq!(refused["field"], "/async/callback_url", "{url}");
    }
    for wrong in [json!(7), json!(["http://x.example/"]), json!({})] {
        callback(&house, |body| body["async"]["callback_url"] = wrong)
            .refused(400, "validation_error");
    }
    for wrong in [json!([]), json!("yes"), json!({"enabled": "yes"})] {
        callback(&house, |body| body["async"] = wrong).refused(400, "validation_error");
    }
    assert!(rows(&house.get("/v1/workflow_runs")).is_empty());
}

#[test]
fn inputs_that_break_the_definition_are_named() {
    let house = ready();
    let cases = [
        (json!({}), "topic", "required"),
        (json!({"topic": null}), "topic", ""),
        (json!({"topic": 7}), "topic", "text"),
        (json!({"topic": "x", "n": "7"}), "n", "number"),
        (json!({"topic": "x", "yes": "true"}), "yes", "boolean"),
        (json!({"topic": "x", "list": "[1]"}), "list", "array"),
        (json!({"topic": "x", "map": [1]}), "map", "object"),
        (json!({"topic": "x", "size": "xl"}), "size", "s"),
        (json!({"topic": "x", "other": 1}), "other", ""),
    ];
    for (inputs, name, expected) in cases {
        let answer = house.invoke(&callback_body("one", &inputs, "http://127.0.0.1:9/"));
        let refused = answer.refused(400, "validation_error");
        let said = text(&refused["error"]);
        assert!(
            said.contains(name) && said.contains(expected),
            "{inputs}: {said}"
        );
        assert_eq!(refused["field"], format!("/inputs/{name}"), "{inputs}");
    }
    for inputs in [json!([]), json!("topic"), json!(7)] {
        let answer = house.invoke(&callback_body("one", &inputs, "http://127.0.0.1:9/"));
        answer.refused(400, "validation_error");
    }
}

#[test]
fn metadata_is_flat_and_small() {
    let house = ready();
    let many: serde_json::Map<String, Value> =
        (0..51).map(|at| (format!("k{at}"), at.into())).collect();
    let wrong = [
        (json!({"deep": {"a": 1}}), "deep"),
        (json!({"list": [1]}), "list"),
        (json!({"": 1}), ""),
        (json!({"a".repeat(41): 1}), "aaa"),
        (json!({"long": "x".repeat(501)}), "long"),
        (Value::Object(many), ""),
        (json!([1]), ""),
        (json!("text"), ""),
    ];
    for (metadata, name) in wrong {
        let answer = callback(&house, |body| body["metadata"] = metadata.clone());
        let refused = answer.refused(400, "validation_error");
        assert!(text(&refused["error"]).contains(name), "{name}: {refused}");
    }
    let mut many: serde_json::Map<String, Value> =
        (0..46).map(|at| (format!("k{at}"), at.into())).collect();
    many.insert("b".repeat(40), "x".repeat(500).into());
    many.insert("none".into(), Value::Null);
    many.insert("yes".into(), true.into());
    many.insert("é".repeat(40), "é".repeat(500).into());
    callback(&house, |body| body["metadata"] = Value::Object(many)).is(202);
}

#[test]
fn malformed_json_is_answered_with_line_and_column() {
    let house = ready();
    for body in [
        "{",
        "{\"deployment\": }",
        "nonsense",
        "{} {}",
        "{\"a\": 1e999}",
        "\u{1}",
    ] {
        let ask = house
            .ask("POST", "/v1/workflow/invoke")
            .body("application/json", body.as_bytes());
        let refused = ask.send().refused(400, "malformed_body");
        let said = text(&refused["error"]);
        assert!(
            said.matches("line").count() == 1 && said.matches("column").count() == 1,
            "{body}: {said}"
        );
    }
    let ask = house
        .ask("POST", "/v1/workflow/invoke")
        .body("application/json", b"{\"a\": \"\xff\"}");
    ask.send().refused(400, "malformed_body");
    for body in ["[]", "7", "\"x\"", "null"] {
        let ask = house
            .ask("POST", "/v1/workflow/invoke")
            .body("application/json", body.as_bytes());
        ask.send().refused(400, "validation_error");
    }
}

#[test]
fn what_is_not_here_is_named() {
    let house = ready();
    let nobody = "0190a0b0-0000-7000-8000-000000000000";
    let gets = [
        (
            format!("/v1/workflow_runs/{nobody}"),
            Some("Prompt workflow run not found"),
        ),
        (
            "/v1/workflow_runs/nonsense".to_owned(),
            Some("Prompt workflow run not found"),
        ),
        (
            format!("/v1/public/requests/req_{}", nobody.replace('-', "")),
            Some("Request not found"),
        ),
        (
            format!("/v1/workflow_runs/{nobody}/steps"),
            Some("Prompt workflow run not found"),
        ),
        ("/v1/deliveries/dlv_nobody".to_owned(), None),
        ("/v1/deployments/nobody".to_owned(), None),
        (
            "/v1/deployments/one/variants/nobody/versions".to_owned(),
            None,
        ),
        ("/v1/nothing/here".to_owned(), None),
        ("/nothing".to_owned(), None),
        ("/v1/workflow_runs/".to_owned(), None),
        ("/%2e%2e/etc/passwd".to_owned(), None),
    ];
    for (path, said) in gets {
        let refused = house.ask("GET", &path).send().refused(404, "not_found");
        if let Some(said) = said {
            assert_eq!(refused["error"], said, "{path}");
        }
    }
    let posts = [
        format!("/v1/workflow_runs/{nobody}/cancel"),
        "/v1/deliveries/dlv_nobody/redeliver".to_owned(),
        "/v1/keys/key_nobody/rotate".to_owned(),
        "/v1/deployments/nobody/secret/stage".to_owned(),
    ];
    for path in posts {
        house.post(&path, &json!({})).refused(404, "not_found");
    }
    house
        .invoke(&direct_body("nobody", &json!({})))
        .refused(404, "not_found");
    let body = json!({"deployment": "one", "variant": "nobody", "inputs": {"topic": "x"}});
    house.invoke(&body).refused(404, "not_found");
    for path in [
        "/v1/deployments/nobody",
        "/v1/keys/key_nobody",
        "/v1/secrets/NOBODY",
    ] {
        house.delete(path).refused(404, "not_found");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let house = ready();
    let cases = [
        ("GET", "/v1/workflow/invoke", vec!["POST"]),
        ("DELETE", "/v1/workflow_runs", vec!["GET"]),
        (
            "POST",
            "/v1/deployments/one",
            vec!["GET", "PATCH", "DELETE"],
        ),
        ("PATCH", "/v1/keys", vec!["GET", "POST"]),
        ("PUT", "/healthz", vec!["GET"]),
    ];
    for (method, path, allowed) in cases {
        let answer = house.ask(method, path).send();
        answer.refused(405, "method_not_allowed");
        let allow = answer.header("allow").unwrap_or_default().to_owned();
        let named: Vec<&str> = allow.split(',').map(str::trim).collect();
        assert!(
            allowed.iter().all(|method| named.contains(method)),
            "{method} {path}: {allow}"
        );
        assert!(!named.contains(&method), "{method} {path}: {allow}");
    }
}

#[test]
fn a_body_over_the_limit_is_answered_and_read_by_the_client() {
    let house = House::plan().set("body_limit", "64KiB").start();
    let big = vec![b' '; 3 * 1024 * 1024];
    let ask = house
        .ask("POST", "/v1/workflow/invoke")
        .body("application/json", &big);
    let refused = ask.send().refused(413, "body_too_large");
    let said = text(&refused["error"]);
    assert!(
        said.contains("64") || said.contains("65536"),
        "names the limit: {said}"
    );
    let fits = vec![b' '; 60 * 1024];
    let ask = house
        .ask("POST", "/v1/workflow/invoke")
        .body("application/json", &fits);
    ask.send().refused(400, "validation_error");
}

#[test]
fn a_chunked_body_over_the_limit_is_refused_too() {
    let house = House::plan().set("body_limit", "64KiB").start();
    let mut wire = Wire::open(house.address()).expect("the server accepts");
    let head = format!(
        "POST /v1/workflow/invoke HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        crate::house::ADMIN
    );
    wire.send(head.as_bytes()).expect("the head is sent");
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    for _ in 0..16 {
        if wire.send(&chunk).is_err() {
            break;
        }
    }
    wire.answer()
        .expect("an answer")
        .refused(413, "body_too_large");
}

#[test]
fn tool_approval_takes_one_word() {
    let house = ready();
    callback(&house, |body| body["tool_approval"] = "policy".into()).is(202);
    let refused = callback(&house, |body| body["tool_approval"] = "auto_approve".into());
    refused.refused(403, "tool_approval_override_not_permitted");
    for wrong in [json!("always"), json!(7), json!({})] {
        let refused = callback(&house, |body| body["tool_approval"] = wrong);
        refused.refused(400, "invalid_tool_approval");
    }
}

#[test]
fn unknown_members_of_an_invoke_are_ignored() {
    let house = ready();
    callback(&house, |body| {
        body["streaming"] = false.into();
        body["anything"] = json!({"a": 1});
    })
    .is(202);
}

#[test]
fn keys_secrets_and_settings_are_checked() {
    let house = ready();
    let keys = [
        json!({}),
        json!({"name": "x", "environment": "staging", "scope": "god"}),
        json!({"name": "x", "environment": "moon", "scope": "read"}),
        json!({"name": 7, "environment": "staging", "scope": "read"}),
    ];
    for body in keys {
        house
            .post("/v1/keys", &body)
            .refused(400, "validation_error");
    }
    for body in [
        json!({}),
        json!({"value": "x"}),
        json!({"value": 7, "hosts": ["a.example"]}),
    ] {
        house
            .put("/v1/secrets/NAME", &body)
            .refused(400, "validation_error");
    }
    for body in [
        json!({"callback_url": "nonsense"}),
        json!({"exchange_deadline": "soon"}),
        json!({"exchange_deadline": "10h"}),
        json!({"retry_schedule": "often"}),
        json!({"retry_schedule": ["soon"]}),
    ] {
        let ask = house.ask("PATCH", "/v1/deployments/one").json(&body);
        ask.send().refused(400, "validation_error");
    }
}

#[test]
fn a_client_that_is_too_slow_is_cut() {
    let house = ready();
    let mut wires: Vec<Wire> = ["", "GET /healthz HTTP/1.1\r\nHos"]
        .iter()
        .map(|begin| {
            let mut wire = Wire::open(house.address()).expect("the server accepts");
            wire.send(begin.as_bytes()).expect("the beginning is sent");
            wire
        })
        .collect();
    let mut body = Wire::open(house.address()).expect("the server accepts");
    let head = format!(
        "POST /v1/workflow/invoke HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        crate::house::ADMIN
    );
    body.send(head.as_bytes()).expect("the beginning is sent");
    assert_eq!(body.answer().expect("an answer").status, 408);
    for wire in &mut wires {
        assert!(wire.is_closed(), "an idle connection is still open");
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let house = ready();
    let mut wire = Wire::open(house.address()).expect("the server accepts");
    let body = callback_body("one", &json!({"topic": "x"}), "http://127.0.0.1:9/").to_string();
    let head = format!(
        "POST /v1/workflow/invoke HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        crate::house::ADMIN,
        body.len()
    );
    wire.send(head.as_bytes()).expect("the head is sent");
    wire.send(body.as_bytes()).expect("the body is sent");
    wire.answer().expect("an answer").is(202);
}
