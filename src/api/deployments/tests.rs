//! Tests of `api/deployments`.

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, ASKING, Ask, House, PLAIN, Read, URL};

const PLACE: &str = "/v1/deployments/plain/variants/prod";

fn put(house: &House, path: &str, media: Option<&str>, body: &str) -> Read {
    let headers: Vec<_> = media
        .map(|media| ("content-type", media))
        .into_iter()
        .collect();
    house.ask(&Ask {
        method: "PUT",
        path,
        key: ADMIN,
        headers: &headers,
        body,
    })
}

fn patch(house: &House, body: &Value) -> Read {
    let body = body.to_string();
    house.ask(&Ask {
        method: "PATCH",
        path: "/v1/deployments/plain",
        key: ADMIN,
        body: &body,
        ..Ask::default()
    })
}

fn delete(house: &House, path: &str) -> Read {
    house.ask(&Ask {
        method: "DELETE",
        path,
        key: ADMIN,
        ..Ask::default()
    })
}

#[test]
fn only_a_staged_secret_is_promoted() {
    let house = House::furnished();
    let to = |what: &str| {
        let path = format!("/v1/deployments/plain/secret/{what}");
        house.post(&path, ADMIN, &json!({}))
    };
    let refused = to("promote");
    assert_eq!(refused.status, 404, "{}", refused.body);
    assert!(refused.text("error").contains("Staged"));
    let stands = || {
        let body = house.get("/v1/deployments/plain", ADMIN).body;
        (
            body["secret_staged"] == true,
            body["old_secret_until"].is_string(),
        )
    };
    assert_eq!(stands(), (false, false));
    let staged = to("stage").text("webhook_secret");
    assert_eq!(stands(), (true, false));
    assert_eq!(to("promote").text("webhook_secret"), staged);
    assert_eq!(to("promote").status, 404, "it is staged no more");
    assert_eq!(stands(), (false, true));
    assert_eq!(to("revoke").status, 200);
    assert_eq!(stands(), (false, false));
}

#[test]
fn a_definition_is_deployed_once() {
    let house = House::new();
    let made = put(&house, PLACE, Some("application/yaml"), PLAIN);
    assert_eq!(made.status, 201);
    let (endpoint, variant) = (made.text("endpoint_id"), made.text("variant_id"));
    assert_eq!(
        made.body,
        json!({"deployment": "plain", "variant": "prod", "version": 1, "endpoint_id": endpoint, "variant_id": variant,
            "webhook_url": format!("https://skep.example/base/v1/workflow/webhooks/{endpoint}/variants/{variant}"),
            "webhook_secret": made.text("webhook_secret")})
    );
    let same = put(&house, PLACE, Some("application/yaml"), PLAIN);
    assert_eq!((same.status, &same.body), (200, &made.body));
    let second = put(&house, PLACE, Some("application/yaml"), ASKING);
    assert_eq!((second.status, &second.body["version"]), (201, &json!(2)));
    assert_eq!(second.body["webhook_secret"], made.body["webhook_secret"]);
    assert_eq!(house.audit(), ["deploy", "secret.show", "deploy"]);
}

#[test]
fn the_form_follows_the_type_and_else_the_look() {
    let house = House::new();
    let written = json!({"steps": [{"id": "a", "set": {"x": 1}}]}).to_string();
    let both = [PLAIN, &written];
    for (media, form, body) in [
        (Some("application/json"), "json", &written),
        (Some("application/json; charset=utf-8"), "json", &written),
        (Some("application/yaml"), "yaml", &PLAIN.to_owned()),
        (Some("text/yaml"), "yaml", &PLAIN.to_owned()),
        (Some("application/x-yaml"), "yaml", &written),
        (None, "json", &written),
        (None, "yaml", &PLAIN.to_owned()),
        (
            Some("application/x-www-form-urlencoded"),
            "yaml",
            &PLAIN.to_owned(),
        ),
    ] {
        assert!(both.contains(&body.as_str()));
        // A version before it, so that this one is new.
        put(&house, PLACE, None, ASKING);
        let version = put(&house, PLACE, media, body).body["version"].clone();
        let shown = house.get(&format!("{PLACE}/versions/{version}"), ADMIN);
        assert_eq!(shown.text("format"), form, "{media:?}");
        assert_eq!(&shown.text("definition"), body);
    }
    let broken = put(&house, PLACE, Some("application/json"), PLAIN);
    assert_eq!(
        (broken.status, broken.text("error_code").as_str()),
        (400, "malformed_body")
    );
    let empty = put(&house, PLACE, None, "");
    assert_eq!(
        (empty.status, empty.text("error_code").as_str()),
        (400, "invalid_definition")
    );
}

#[test]
fn a_wrong_definition_or_name_changes_nothing() {
    let house = House::new();
    let wrong = "steps: [{id: a, sett: {x: 1}}, {id: a, set: {x: 1}}]\n";
    for path in [PLACE, &format!("{PLACE}?dry_run=true")] {
        let read = put(&house, path, None, wrong);
        assert_eq!(
            (read.status, read.text("error_code").as_str()),
            (400, "invalid_definition")
        );
        assert!(
            read.body["errors"]
                .as_array()
                .is_some_and(|errors| errors.len() >= 2),
            "{}",
            read.body
        );
    }
    let dry = put(&house, &format!("{PLACE}?dry_run=true"), None, PLAIN);
    assert_eq!((dry.status, &dry.body["valid"]), (200, &json!(true)));
    let bare = put(&house, &format!("{PLACE}?dry_run"), None, PLAIN);
    assert_eq!((bare.status, &bare.body), (200, &dry.body));
    assert!(
        house
            .get("/v1/deployments", ADMIN)
            .ids("deployment")
            .is_empty()
    );
    for (path, field) in [
        ("/v1/deployments/Plain/variants/prod", "/deployment"),
        ("/v1/deployments/plain/variants/-x", "/variant"),
        ("/v1/deployments/a%2Fb/variants/prod", "/deployment"),
        (&format!("{PLACE}?dry_run=maybe"), "/dry_run"),
    ] {
        let dry = match path.contains('?') {
            true => path.to_owned(),
            false => format!("{path}?dry_run"),
        };
        for path in [path, &dry] {
            let read = put(&house, path, None, PLAIN);
            assert_eq!(
                (read.status, read.text("field").as_str()),
                (400, field),
                "{path}"
            );
        }
    }
    let bytes = b"name: \xff";
    let head = House::head(&Ask {
        method: "PUT",
        path: PLACE,
        key: ADMIN,
        ..Ask::default()
    });
    let call = crate::api::call::Call {
        head,
        body: bytes.to_vec(),
    };
    let error = super::definition(&call).expect_err("not UTF-8");
    assert_eq!(
        (error.status(), error.code.row().name),
        (400, "malformed_body")
    );
}

#[test]
fn the_secret_is_shown_to_an_admin_alone_and_noted() {
    let house = House::furnished();
    let (_, reader) = house.key("read");
    let (_, deployer) = house.key("deploy");
    for key in [&reader, &deployer] {
        let read = house.get("/v1/deployments/plain", key);
        assert_eq!(
            (read.status, &read.body["webhook_secret"]),
            (200, &Value::Null)
        );
    }
    let before = house.audit().len();
    let without = house.get("/v1/deployments/plain?secret=false", ADMIN);
    assert_eq!(
        (without.status, &without.body["webhook_secret"]),
        (200, &Value::Null)
    );
    assert_eq!(house.audit().len(), before, "nothing was shown");
    let shown = house.get("/v1/deployments/plain", ADMIN);
    assert!(shown.text("webhook_secret").starts_with("whsec_"));
    assert_eq!(
        (house.audit().len(), house.audit()[0].as_str()),
        (before + 1, "secret.show")
    );
    let audit = house.get("/v1/audit?limit=1", ADMIN).body;
    assert_eq!(
        (
            &audit["data"][0]["actor"],
            &audit["data"][0]["address"],
            &audit["data"][0]["target"]
        ),
        (&json!("admin key"), &json!("192.0.2.7"), &json!("plain"))
    );
    assert_eq!(shown.body["variants"][0]["variant"], "prod");
    let list = house.get("/v1/deployments", &reader);
    assert_eq!(list.ids("deployment"), ["asking", "plain"]);
    assert!(!list.body.to_string().contains("whsec_"));
    assert_eq!(list.body["data"][0].get("variants"), None);
    let missing = house.get("/v1/deployments/none", ADMIN);
    assert_eq!(
        (missing.status, missing.text("error").as_str()),
        (404, "Deployment \"none\" not found")
    );
}

#[test]
fn settings_are_changed_and_put_back() {
    let house = House::furnished();
    let settings = json!({"callback_url": URL, "callback_hosts": ["receiver.example"],
        "retry_schedule": ["0s", "250ms", "90s", "2h", "1d"], "exchange_deadline": "5s", "concurrency_limit": 3});
    let read = patch(&house, &settings);
    assert_eq!(read.status, 200, "{}", read.body);
    assert_eq!(
        read.body["retry_schedule"],
        json!(["0s", "250ms", "90s", "2h", "1d"])
    );
    for (name, value) in settings.as_object().expect("an object") {
        assert_eq!(&read.body[name], value, "{name}");
        assert_eq!(
            &house.get("/v1/deployments/plain", ADMIN).body[name],
            value,
            "{name}"
        );
    }
    let audit = house.get("/v1/audit", ADMIN).body;
    let rows = audit["data"].as_array().expect("a list");
    let change = rows.iter().find(|row| row["action"] == "deployment.change");
    let names = [
        "callback_url",
        "callback_hosts",
        "retry_schedule",
        "exchange_deadline",
        "concurrency_limit",
    ];
    assert_eq!(
        change.expect("it is noted")["detail"],
        json!({"changed": names})
    );
    assert!(!audit.to_string().contains("receiver.example"));
    assert_eq!(
        patch(&house, &json!({"unknown": 1})).body,
        read.body,
        "what is not named stays"
    );
    let back: Value = settings
        .as_object()
        .expect("an object")
        .keys()
        .map(|name| (name.clone(), Value::Null))
        .collect();
    let read = patch(&house, &back);
    assert!(
        back.as_object()
            .expect("an object")
            .keys()
            .all(|name| read.body[name].is_null()),
        "{}",
        read.body
    );
}

#[test]
fn a_wrong_setting_is_named() {
    let house = House::furnished();
    for (body, code, field) in [
        (
            json!({"callback_url": 7}),
            "validation_error",
            "/callback_url",
        ),
        (
            json!({"callback_url": "x"}),
            "validation_error",
            "/callback_url",
        ),
        (
            json!({"callback_url": "http://10.0.0.1/"}),
            "callback_url_forbidden",
            "/callback_url",
        ),
        (
            json!({"callback_url": URL, "callback_hosts": ["other.example"]}),
            "callback_url_forbidden",
            "/callback_url",
        ),
        (
            json!({"callback_hosts": []}),
            "validation_error",
            "/callback_hosts",
        ),
        (
            json!({"callback_hosts": ["a", "b/c"]}),
            "validation_error",
            "/callback_hosts/1",
        ),
        (
            json!({"retry_schedule": ["5"]}),
            "validation_error",
            "/retry_schedule/0",
        ),
        (
            json!({"retry_schedule": ["31d"]}),
            "validation_error",
            "/retry_schedule/0",
        ),
        (
            json!({"retry_schedule": vec!["1s"; 51]}),
            "validation_error",
            "/retry_schedule",
        ),
        (
            json!({"retry_schedule": "5s"}),
            "validation_error",
            "/retry_schedule",
        ),
        (
            json!({"exchange_deadline": "99ms"}),
            "validation_error",
            "/exchange_deadline",
        ),
        (
            json!({"exchange_deadline": "31s"}),
            "validation_error",
            "/exchange_deadline",
        ),
        (
            json!({"exchange_deadline": 15}),
            "validation_error",
            "/exchange_deadline",
        ),
        (
            json!({"concurrency_limit": 0}),
            "validation_error",
            "/concurrency_limit",
        ),
        (
            json!({"concurrency_limit": 1.5}),
            "validation_error",
            "/concurrency_limit",
        ),
    ] {
        let read = patch(&house, &body);
        assert_eq!(read.status, 400, "{body}");
        assert_eq!(
            (
                read.text("error_code").as_str(),
                read.text("field").as_str()
            ),
            (code, field),
            "{body}"
        );
    }
    let ask = Ask {
        method: "PATCH",
        path: "/v1/deployments/none",
        key: ADMIN,
        ..Ask::default()
    };
    assert_eq!(house.ask(&ask).status, 404);
}

#[test]
fn a_version_tells_what_it_takes() {
    let house = House::new();
    let definition =
        "inputs: {size: {type: text, enum: [s, l], default: s}, n: {type: number, required: true}}
steps: [{id: a, set: {x: 1}}]";
    put(&house, PLACE, None, definition);
    let shown = house.get(&format!("{PLACE}/versions/1"), ADMIN);
    assert_eq!(
        shown.body["inputs"],
        json!([
            {"name": "size", "type": "text", "required": false, "default": "s", "description": null, "enum": ["s", "l"]},
            {"name": "n", "type": "number", "required": true, "default": null, "description": null, "enum": []},
        ])
    );
}

#[test]
fn versions_are_listed_shown_and_rolled_back_to() {
    let house = House::new();
    put(&house, PLACE, None, PLAIN);
    put(&house, PLACE, None, ASKING);
    let list = house.get(&format!("{PLACE}/versions?limit=1"), ADMIN);
    assert_eq!(
        (
            &list.body["data"][0]["version"],
            &list.body["data"][0]["created_by"]
        ),
        (&json!(2), &json!("admin key"))
    );
    let next = format!("{PLACE}/versions?cursor={}", list.text("next_cursor"));
    assert_eq!(house.get(&next, ADMIN).body["data"][0]["version"], 1);
    let back = house.post(&format!("{PLACE}/rollback"), ADMIN, &json!({"version": 1}));
    assert_eq!((back.status, &back.body["version"]), (200, &json!(3)));
    assert_eq!(
        house
            .get(&format!("{PLACE}/versions/3"), ADMIN)
            .text("definition"),
        PLAIN
    );
    assert_eq!(house.audit()[0], "rollback");
    for (body, status) in [
        (json!({}), 400),
        (json!({"version": "1"}), 400),
        (json!({"version": 0}), 400),
        (json!({"version": 9}), 404),
    ] {
        assert_eq!(
            house
                .post(&format!("{PLACE}/rollback"), ADMIN, &body)
                .status,
            status,
            "{body}"
        );
    }
    for path in [
        &format!("{PLACE}/versions/9"),
        &format!("{PLACE}/versions/x"),
        "/v1/deployments/plain/variants/none/versions",
    ] {
        assert_eq!(house.get(path, ADMIN).status, 404, "{path}");
    }
}

#[test]
fn deleting_waits_for_open_runs_or_cancels_them() {
    let house = House::furnished();
    house.deploy("plain", "canary", PLAIN);
    let body = json!({"deployment": "plain", "variant": "prod", "async": {"enabled": true, "callback_url": URL}});
    let run = house.invoke(&body).text("request_id");
    assert_eq!(
        delete(&house, "/v1/deployments/plain/variants/canary").status,
        200
    );
    for path in [PLACE, "/v1/deployments/plain"] {
        let read = delete(&house, path);
        assert_eq!(
            (read.status, read.text("error_code").as_str()),
            (409, "runs_open"),
            "{path}"
        );
        assert!(read.text("error").contains('1'), "{}", read.body);
    }
    let read = delete(&house, "/v1/deployments/plain?cancel_runs=true");
    assert_eq!(
        (read.status, &read.body["cancelled_runs"]),
        (200, &json!(1))
    );
    let shown = house.get(&format!("/v1/workflow_runs/{run}"), ADMIN).body;
    assert_eq!(
        (
            &shown["workflow_run"]["status"],
            &shown["workflow_run"]["deployment"]
        ),
        (&json!("cancelled"), &json!("plain"))
    );
    assert_eq!(delete(&house, "/v1/deployments/plain").status, 404);
    assert_eq!(
        delete(&house, "/v1/deployments/asking/variants/none").text("error"),
        "Variant \"none\" of deployment \"asking\" not found"
    );
    let again = put(&house, PLACE, None, PLAIN);
    assert_eq!(
        (again.status, &again.body["version"]),
        (201, &json!(1)),
        "the name is free at once"
    );
}

#[test]
fn a_definition_with_over_a_hundred_errors_says_that_there_are_more() {
    let house = House::new();
    for (count, more) in [(100, Value::Null), (101, json!(true)), (150, json!(true))] {
        let steps: String = (0..count)
            .map(|number| format!("  - {{id: s{number}, set: {{x: 1}}, wrong: 1}}\n"))
            .collect();
        let read = put(&house, PLACE, None, &format!("steps:\n{steps}"));
        let errors = read.body["errors"].as_array().expect("a list");
        assert_eq!((errors.len(), &read.body["more"]), (100, &more), "{count}");
    }
}

#[test]
fn versions_are_listed_with_their_definitions_a_few_long_ones_at_a_time() {
    let house = House::new();
    let definition = |number: usize| {
        let comment = "c".repeat(225_000);
        format!("steps: [{{id: a, set: {{x: {number}}}}}]\n# {comment}\n")
    };
    for number in 1..=6 {
        house.deploy("plain", "prod", &definition(number));
    }
    let first = house.get(&format!("{PLACE}/versions"), ADMIN);
    assert_eq!(first.ids("definition").len(), 4);
    assert_eq!(first.ids("definition")[0], definition(6));
    let cursor = first.text("next_cursor");
    let second = house.get(&format!("{PLACE}/versions?cursor={cursor}"), ADMIN);
    assert_eq!(second.ids("definition"), [definition(2), definition(1)]);
    assert_eq!(second.body["next_cursor"], Value::Null);
}
