//! Tests of `api/invoke`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Ask, House, PLAIN, URL};
use crate::flow::run::Ending;

fn callback(deployment: &str) -> Value {
    json!({"deployment": deployment, "async": {"enabled": true, "callback_url": URL}})
}

#[test]
fn a_callback_invoke_is_answered_with_ids_state_and_secret() {
    let house = House::furnished();
    let read = house.invoke(&callback("plain"));
    assert_eq!(read.status, 202);
    let request_id = read.text("request_id");
    let run_id = House::run_id(&request_id);
    let secret = house
        .get("/v1/deployments/plain", ADMIN)
        .text("webhook_secret");
    assert_eq!(
        read.body,
        json!({"request_id": request_id, "run_id": run_id, "run_status": "running", "status": "running",
               "webhook_secret": secret})
    );
    let run = house
        .api
        .store()
        .run(run_id)
        .expect("read")
        .expect("on disk");
    assert_eq!(
        (run.source.as_str(), run.delivery.as_str(), run.api_key),
        ("api", "callback", None)
    );
}

#[test]
fn beyond_the_workers_it_is_queued() {
    let house = House::with(1, 1, 4, Duration::from_secs(60));
    house.deploy("plain", "prod", PLAIN);
    assert_eq!(house.invoke(&callback("plain")).text("status"), "running");
    let full = house.invoke(&callback("plain"));
    assert_eq!(
        (full.status, full.text("error_code")),
        (429, "too_many_requests".to_owned())
    );
    assert_eq!(full.headers["Retry-After"], "1");
    assert!(full.text("error").contains("max_queued"), "{}", full.body);
    let direct = house.invoke(&json!({"deployment": "plain"}));
    assert_eq!(
        (direct.status, direct.text("error_code")),
        (429, "concurrency_limit_reached".to_owned())
    );
    assert_eq!(
        direct.text("error"),
        "You've reached your concurrency limit. Try again later or use async mode."
    );
    assert_eq!(house.api.direct().taken(), 0, "a refused run keeps no seat");
}

/// Every refusal of sections 3 and 4 that the body alone decides: status, code, text (or a part), field.
#[test]
fn every_refusal_has_its_text_and_field() {
    let house = House::furnished();
    house.deploy("plain", "canary", PLAIN);
    let missing = "Missing required field: deployment or variant";
    let url_missing = "callback_url is required when async is enabled";
    let url_wrong = "callback_url must be a valid URL";
    let with_async = |member: Value| json!({"deployment": "asking", "async": member});
    let with_url = |url: Value| with_async(json!({"enabled": true, "callback_url": url}));
    let with = |name: &str, value: Value| json!({"deployment": "asking", "inputs": {"topic": "t"}, name: value});
    for (body, status, code, text, field) in [
        (
            with_async(json!({"enabled": false, "callback_url": 5})),
            400,
            "validation_error",
            url_wrong,
            Some("/async/callback_url"),
        ),
        (
            json!([]),
            400,
            "validation_error",
            "expected a JSON object, got an array",
            Some(""),
        ),
        (
            json!({}),
            400,
            "validation_error",
            missing,
            Some("/deployment"),
        ),
        (
            json!({"deployment": ""}),
            400,
            "validation_error",
            missing,
            Some("/deployment"),
        ),
        (
            json!({"deployment": null}),
            400,
            "validation_error",
            missing,
            Some("/deployment"),
        ),
        (
            json!({"deployment": 7}),
            400,
            "validation_error",
            "deployment must be a text, got the number 7",
            Some("/deployment"),
        ),
        (
            json!({"deployment": "plain"}),
            400,
            "validation_error",
            missing,
            Some("/variant"),
        ),
        (
            json!({"deployment": "plain", "variant": []}),
            400,
            "validation_error",
            "variant must be a text, got an array",
            Some("/variant"),
        ),
        (
            json!({"deployment": "other", "metadata": 7}),
            404,
            "not_found",
            "Deployment \"other\" not found",
            None,
        ),
        (
            json!({"deployment": "plain", "variant": "x"}),
            404,
            "not_found",
            "Variant \"x\" of deployment \"plain\" not found",
            None,
        ),
        (
            with("tool_approval", json!("auto_approve")),
            403,
            "tool_approval_override_not_permitted",
            "auto_approve",
            Some("/tool_approval"),
        ),
        (
            with("tool_approval", json!("maybe")),
            400,
            "invalid_tool_approval",
            "tool_approval",
            Some("/tool_approval"),
        ),
        (
            with("tool_approval", json!(true)),
            400,
            "invalid_tool_approval",
            "tool_approval",
            Some("/tool_approval"),
        ),
        (
            with_async(json!(true)),
            400,
            "validation_error",
            "async must be an object, got a boolean",
            Some("/async"),
        ),
        (
            with_async(json!({"enabled": "yes"})),
            400,
            "validation_error",
            "async.enabled must be a boolean, got a text",
            Some("/async/enabled"),
        ),
        (
            with_async(json!({"enabled": true})),
            400,
            "validation_error",
            url_missing,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("")),
            400,
            "validation_error",
            url_missing,
            Some("/async/callback_url"),
        ),
        (
            with_url(Value::Null),
            400,
            "validation_error",
            url_missing,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!(7)),
            400,
            "validation_error",
            url_wrong,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("receiver.example/hook")),
            400,
            "validation_error",
            url_wrong,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("ftp://receiver.example/")),
            400,
            "validation_error",
            url_wrong,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("https://u:p@receiver.example/")),
            400,
            "validation_error",
            url_wrong,
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("http://0x7f.1/")),
            400,
            "callback_url_forbidden",
            "allow_outbound",
            Some("/async/callback_url"),
        ),
        (
            with_url(json!("http://[::1]:80/")),
            400,
            "callback_url_forbidden",
            "loopback",
            Some("/async/callback_url"),
        ),
        (
            with("metadata", json!({"a": []})),
            400,
            "validation_error",
            "\"a\"",
            Some("/metadata/a"),
        ),
        (
            with("user", json!(7)),
            400,
            "validation_error",
            "user must be a text, got the number 7",
            Some("/user"),
        ),
        (
            with("user", json!("u".repeat(501))),
            400,
            "validation_error",
            "at most 500",
            Some("/user"),
        ),
        (
            with("inputs", json!("x")),
            400,
            "validation_error",
            "inputs must be an object, got the text \"x\"",
            Some("/inputs"),
        ),
        (
            with("inputs", json!({})),
            400,
            "validation_error",
            "topic",
            Some("/inputs/topic"),
        ),
        (
            with("inputs", json!({"topic": "t", "many": "[1]"})),
            400,
            "validation_error",
            "many",
            Some("/inputs/many"),
        ),
        (
            with("inputs", json!({"topic": "t", "unknown": 1})),
            400,
            "validation_error",
            "unknown",
            Some("/inputs/unknown"),
        ),
    ] {
        let read = house.invoke(&body);
        assert_eq!(
            (read.status, read.text("error_code").as_str()),
            (status, code),
            "{body}: {}",
            read.body
        );
        assert!(read.text("error").contains(text), "{body}: {}", read.body);
        assert_eq!(read.body["error"], read.body["message"]);
        assert_eq!(read.body["field"].as_str(), field, "{body}");
    }
    assert_eq!(house.api.store().open_runs().expect("counted"), (0, 0, 0));
}

#[test]
fn a_broken_body_says_where() {
    let house = House::furnished();
    let ask = Ask {
        method: "POST",
        path: "/v1/workflow/invoke",
        key: ADMIN,
        body: "{\n \"a\": }",
        ..Ask::default()
    };
    let read = house.ask(&ask);
    assert_eq!(
        (read.status, read.text("error_code")),
        (400, "malformed_body".to_owned())
    );
    assert_eq!(
        (&read.body["line"], &read.body["column"]),
        (&json!(2), &json!(7))
    );
}

#[test]
fn async_that_is_not_enabled_is_a_direct_invoke() {
    let house = House::furnished();
    for member in [
        json!(null),
        json!({"enabled": false, "callback_url": "nonsense"}),
        json!({}),
    ] {
        let body = json!({"deployment": "plain", "async": member}).to_string();
        let ask = Ask {
            method: "POST",
            path: "/v1/workflow/invoke",
            key: ADMIN,
            body: &body,
            ..Ask::default()
        };
        let receiver = house.send(&ask).expect_err("waits");
        house.complete_all(json!({"x": 1}));
        house.look();
        let read = crate::api::testing::Read::from(receiver.try_recv().expect("answered"));
        assert_eq!(
            (read.status, &read.body["output"]),
            (200, &json!({"x": 1})),
            "{body}"
        );
    }
}

#[test]
fn a_failed_direct_run_is_a_200_that_says_so() {
    let house = House::furnished();
    let body = json!({"deployment": "plain"}).to_string();
    let ask = Ask {
        method: "POST",
        path: "/v1/workflow/invoke",
        key: ADMIN,
        body: &body,
        ..Ask::default()
    };
    let receiver = house.send(&ask).expect_err("waits");
    house.end_all(&Ending::Failed {
        error: "no luck".to_owned(),
        code: "step_failed",
        step: None,
    });
    house.look();
    let read = crate::api::testing::Read::from(receiver.try_recv().expect("answered"));
    assert_eq!(read.status, 200);
    let expected = json!({"request_id": read.text("request_id"), "run_id": read.text("run_id"),
        "run_status": "failed", "status": "failed", "output": null, "error": "no luck"});
    assert_eq!(read.body, expected);
}

#[test]
fn the_deployments_own_url_and_hosts_are_obeyed() {
    let house = House::furnished();
    let change = |body: Value| {
        let ask = Ask {
            method: "PATCH",
            path: "/v1/deployments/plain",
            key: ADMIN,
            body: &body.to_string(),
            ..Ask::default()
        };
        let read = house.ask(&ask);
        assert_eq!(read.status, 200, "{}", read.body);
    };
    change(
        json!({"callback_url": "https://own.example/x", "callback_hosts": ["own.example", "*.far.example:8443"]}),
    );
    let read = house.invoke(&json!({"deployment": "plain", "async": {"enabled": true}}));
    let run = house
        .api
        .store()
        .run(House::run_id(&read.text("request_id")))
        .expect("read")
        .expect("there");
    assert_eq!(run.callback_url.as_deref(), Some("https://own.example/x"));
    for (url, status) in [
        ("https://own.example:444/y", 202),
        ("https://a.far.example:8443/", 202),
        ("https://a.far.example/", 400),
        (URL, 400),
    ] {
        let read = house.invoke(
            &json!({"deployment": "plain", "async": {"enabled": true, "callback_url": url}}),
        );
        assert_eq!(read.status, status, "{url}: {}", read.body);
        if status == 400 {
            assert_eq!(read.text("error_code"), "callback_url_forbidden");
            assert_eq!(read.text("field"), "/async/callback_url");
        }
    }
}

fn keyed<'a>(key: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Ask<'a> {
    Ask {
        method: "POST",
        path: "/v1/workflow/invoke",
        key,
        headers,
        body,
    }
}

#[test]
fn the_same_key_and_body_is_one_run() {
    let house = House::furnished();
    let headers = [("idempotency-key", "one")];
    let body = callback("plain").to_string();
    let first = house.ask(&keyed(ADMIN, &headers, &body));
    assert_eq!(first.headers.get("Idempotent-Replayed"), None);
    house.complete_all(json!(1));
    // What changed since does not matter.
    house.deploy("plain", "prod", crate::api::testing::ASKING);
    let again = house.ask(&keyed(ADMIN, &headers, &body));
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.headers["Idempotent-Replayed"], "true");
    let spaced = body.replace(':', " : ");
    assert_eq!(
        house
            .ask(&keyed(
                ADMIN,
                &headers,
                &spaced.replace("https : ", "https:")
            ))
            .body,
        first.body
    );
    let other = callback("asking").to_string();
    let reused = house.ask(&keyed(ADMIN, &headers, &other));
    assert_eq!(
        (reused.status, reused.text("error_code")),
        (409, "idempotency_key_reused".to_owned())
    );
    // Another API key has keys of its own.
    let (_, second) = house.key("invoke");
    assert_eq!(
        house.ask(&keyed(&second, &headers, &other)).status,
        400,
        "the input is missing, nothing is replayed"
    );
    let twice = [("idempotency-key", "one"), ("idempotency-key", "one")];
    assert_eq!(house.ask(&keyed(ADMIN, &twice, &body)).status, 202);
    for bad in [
        &[("idempotency-key", "a b")][..],
        &[("idempotency-key", "\u{fffd}")],
        &[("idempotency-key", "one"), ("idempotency-key", "two")],
    ] {
        let refused = house.ask(&keyed(ADMIN, bad, &body));
        assert_eq!(
            (refused.status, refused.text("error_code")),
            (400, "validation_error".to_owned()),
            "{bad:?}"
        );
    }
}

#[test]
fn a_refused_request_does_not_use_its_key_up() {
    let house = House::furnished();
    let headers = [("idempotency-key", "two")];
    assert_eq!(
        house
            .ask(&keyed(ADMIN, &headers, "{\"deployment\": \"later\"}"))
            .status,
        404
    );
    house.deploy("later", "prod", PLAIN);
    assert!(
        house
            .send(&keyed(ADMIN, &headers, "{\"deployment\": \"later\"}"))
            .is_err(),
        "starts a run now"
    );
}

#[test]
fn a_direct_replay_waits_for_the_same_run() {
    let house = House::furnished();
    let headers = [("idempotency-key", "three")];
    let body = json!({"deployment": "plain"}).to_string();
    let first = house
        .send(&keyed(ADMIN, &headers, &body))
        .expect_err("waits");
    let second = house
        .send(&keyed(ADMIN, &headers, &body))
        .expect_err("waits too");
    house.look();
    assert!(first.is_empty() && second.is_empty());
    assert_eq!(house.complete_all(json!("done")), 1);
    house.look();
    let third = house
        .send(&keyed(ADMIN, &headers, &body))
        .expect_err("waits for what has ended");
    house.look();
    let reads: Vec<crate::api::testing::Read> = [first, second, third]
        .map(|receiver| receiver.try_recv().expect("answered").into())
        .into();
    assert!(
        reads
            .iter()
            .all(|read| read.body == reads[0].body && read.body["output"] == "done")
    );
    let replayed: Vec<bool> = reads
        .iter()
        .map(|read| read.headers.contains_key("Idempotent-Replayed"))
        .collect();
    assert_eq!(replayed, [false, true, true]);
    assert_eq!(house.api.direct().taken(), 0);
}

#[test]
fn nothing_is_started_while_stopping() {
    let house = House::furnished();
    house.api.stop();
    let read = house.invoke(&callback("plain"));
    assert_eq!(
        (read.status, read.text("error_code")),
        (503, "unavailable".to_owned())
    );
    assert!(read.headers.contains_key("Retry-After"));
}
