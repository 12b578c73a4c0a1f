//! Tests of `api/webhook`.

use serde_json::{Map, Value, json};

use crate::api::testing::{ADMIN, ASKING, Ask, House, Read, URL};

/// A house with a webhook for a workflow that asks for `topic`: its path and secret.
fn house() -> (House, String, String) {
    let house = House::new();
    let put = house.deploy("asking", "prod", ASKING);
    let url = put["webhook_url"].as_str().expect("a URL").to_owned();
    let path = url
        .strip_prefix("https://skep.example/base")
        .expect("headed by public_url")
        .to_owned();
    (
        house,
        path,
        put["webhook_secret"].as_str().expect("a secret").to_owned(),
    )
}

fn trigger(house: &House, path: &str, secret: &str, body: &Value) -> Read {
    let headers = [("x-fetch-hive-webhook-secret", secret)];
    house.ask(&Ask {
        method: "POST",
        path,
        headers: &headers,
        body: &body.to_string(),
        ..Ask::default()
    })
}

fn run_of(house: &House, read: &Read) -> crate::store::runs::RunRow {
    assert_eq!(read.status, 202, "{}", read.body);
    house
        .api
        .store()
        .run(House::run_id(&read.text("request_id")))
        .expect("read")
        .expect("there")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

#[test]
fn the_wrapped_form_carries_everything() {
    let (house, path, secret) = house();
    let body = json!({"inputs": {"topic": "bees"}, "user": "u", "metadata": {"plan": "pro"}, "async": {"callback_url": URL}});
    let read = trigger(&house, &path, &secret, &body);
    let run = run_of(&house, &read);
    assert_eq!(
        read.body["webhook_secret"],
        Value::Null,
        "never handed out here"
    );
    assert_eq!(
        (read.text("run_status"), read.text("status")),
        ("running".to_owned(), "running".to_owned())
    );
    assert_eq!(
        (run.source.as_str(), run.delivery.as_str()),
        ("webhook", "callback")
    );
    assert_eq!(
        (run.user.as_deref(), run.callback_url.as_deref()),
        (Some("u"), Some(URL))
    );
    assert_eq!(
        (run.inputs, run.metadata),
        (
            object(json!({"topic": "bees"})),
            object(json!({"plan": "pro"}))
        )
    );
}

#[test]
fn the_bare_form_is_wholly_inputs_but_for_async() {
    let (house, path, secret) = house();
    let body = json!({"topic": "bees", "metadata": {"deep": [1]}, "user": 7, "extra": true,
        "async": {"enabled": false, "callback_url": URL}});
    let run = run_of(&house, &trigger(&house, &path, &secret, &body));
    let mut inputs = object(body);
    inputs.shift_remove("async");
    assert_eq!(
        (run.inputs, run.metadata, run.user),
        (inputs, Map::new(), None)
    );
}

#[test]
fn every_refusal_of_a_body_has_its_text_and_field() {
    let (house, path, secret) = house();
    let url_missing = "callback_url is required when async is enabled";
    let callback = json!({"callback_url": URL});
    for (body, code, text, field) in [
        (json!([]), "validation_error", "expected a JSON object", ""),
        (
            json!({"inputs": [], "async": callback}),
            "validation_error",
            "inputs must be an object, got an array",
            "/inputs",
        ),
        (
            json!({"inputs": null, "async": callback}),
            "validation_error",
            "inputs must be an object, got null",
            "/inputs",
        ),
        (
            json!({"topic": "t"}),
            "validation_error",
            url_missing,
            "/async/callback_url",
        ),
        (
            json!({"topic": "t", "async": {}}),
            "validation_error",
            url_missing,
            "/async/callback_url",
        ),
        (
            json!({"topic": "t", "async": 7}),
            "validation_error",
            "async must be an object, got the number 7",
            "/async",
        ),
        (
            json!({"inputs": {"topic": "t"}}),
            "validation_error",
            url_missing,
            "/async/callback_url",
        ),
        (
            json!({"topic": "t", "async": {"callback_url": "x"}}),
            "validation_error",
            "callback_url must be a valid URL",
            "/async/callback_url",
        ),
        (
            json!({"topic": "t", "async": {"callback_url": "http://127.1/"}}),
            "callback_url_forbidden",
            "loopback",
            "/async/callback_url",
        ),
        (
            json!({"async": callback}),
            "validation_error",
            "topic",
            "/topic",
        ),
        (
            json!({"inputs": {}, "async": callback}),
            "validation_error",
            "topic",
            "/inputs/topic",
        ),
        (
            json!({"inputs": {"topic": "t", "x": 1}, "async": callback}),
            "validation_error",
            "x",
            "/inputs/x",
        ),
        (
            json!({"inputs": {"topic": "t"}, "metadata": [], "async": callback}),
            "validation_error",
            "metadata",
            "/metadata",
        ),
        (
            json!({"inputs": {"topic": "t"}, "user": 7, "async": callback}),
            "validation_error",
            "user",
            "/user",
        ),
    ] {
        let read = trigger(&house, &path, &secret, &body);
        assert_eq!(
            (read.status, read.text("error_code").as_str()),
            (400, code),
            "{body}: {}",
            read.body
        );
        assert!(read.text("error").contains(text), "{body}: {}", read.body);
        assert_eq!(read.text("field"), field, "{body}");
    }
    let body =
        json!({"inputs": {"topic": "t"}, "tool_approval": "auto_approve", "async": callback});
    let read = trigger(&house, &path, &secret, &body);
    assert_eq!(
        (read.status, read.text("error_code").as_str()),
        (403, "tool_approval_override_not_permitted")
    );
}

#[test]
fn the_secret_comes_by_header_or_query_and_the_header_wins() {
    let (house, path, secret) = house();
    let status = |query: &str, header: Option<&str>| {
        let path = format!("{path}{query}");
        let headers: Vec<_> = header
            .map(|value| ("x-fetch-hive-webhook-secret", value))
            .into_iter()
            .collect();
        let admitted = house.admit(&Ask {
            method: "POST",
            path: &path,
            headers: &headers,
            ..Ask::default()
        });
        admitted.map_or_else(|error| error.status(), |_| 200)
    };
    let right = format!("?secret={secret}");
    assert_eq!(status("", Some(&secret)), 200);
    assert_eq!(status(&right, None), 200);
    assert_eq!(status("?secret=wrong", Some(&secret)), 200);
    assert_eq!(status(&right, Some("wrong")), 401);
    assert_eq!(status(&right, Some("")), 401);
    assert_eq!(status("", None), 401);
    assert_eq!(status("?secret=", None), 401);
    assert_eq!(status("", Some(&secret[..secret.len() - 1])), 401);
}

#[test]
fn unknown_ids_look_like_a_wrong_secret() {
    let (house, path, secret) = house();
    let other = house.deploy("other", "prod", ASKING);
    let other_id = other["variant_id"].as_str().expect("an id");
    let swapped = format!("{}/{other_id}", path.rsplit_once('/').expect("segments").0);
    for path in [
        &swapped,
        "/v1/workflow/webhooks/x/variants/y",
        &path.replace("variants/0", "variants/1"),
    ] {
        let read = trigger(&house, path, &secret, &json!({}));
        assert_eq!(
            (read.status, read.text("error").as_str()),
            (401, "Invalid access."),
            "{path}"
        );
    }
    let ask = Ask {
        method: "POST",
        path: &path,
        key: ADMIN,
        ..Ask::default()
    };
    assert_eq!(house.ask(&ask).status, 401, "a key is no secret");
}

#[test]
fn the_default_url_makes_an_empty_body_enough() {
    let house = House::furnished();
    let change = json!({"callback_url": URL}).to_string();
    house.ask(&Ask {
        method: "PATCH",
        path: "/v1/deployments/plain",
        key: ADMIN,
        body: &change,
        ..Ask::default()
    });
    let shown = house.get("/v1/deployments/plain", ADMIN);
    let url = shown.body["variants"][0]["webhook_url"]
        .as_str()
        .expect("a URL")
        .to_owned();
    let path = url
        .strip_prefix("https://skep.example/base")
        .expect("headed");
    let query = format!("{path}?secret={}", shown.text("webhook_secret"));
    let read = house.ask(&Ask {
        method: "POST",
        path: &query,
        ..Ask::default()
    });
    assert_eq!(run_of(&house, &read).callback_url.as_deref(), Some(URL));
}

#[test]
fn a_repeated_trigger_is_one_run() {
    let (house, path, secret) = house();
    let body = json!({"topic": "bees", "async": {"callback_url": URL}}).to_string();
    let headers = [
        ("x-fetch-hive-webhook-secret", secret.as_str()),
        ("idempotency-key", "k"),
    ];
    let ask = Ask {
        method: "POST",
        path: &path,
        headers: &headers,
        body: &body,
        ..Ask::default()
    };
    let (first, second) = (house.ask(&ask), house.ask(&ask));
    assert_eq!(first.body, second.body);
    assert_eq!(second.headers["Idempotent-Replayed"], "true");
    assert_eq!(second.body["webhook_secret"], Value::Null);
}
