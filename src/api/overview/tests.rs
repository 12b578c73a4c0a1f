//! Tests of `api/overview`.

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Ask, House, NOW, URL};
use crate::flow::run::Ending;
use crate::store::minutes::MINUTE;
use crate::time::Timestamp;

/// A run of `plain` with these labels, for that user.
fn start(house: &House, user: &str, metadata: &Value) -> String {
    let body = json!({"deployment": "plain", "variant": "prod", "user": user, "metadata": metadata,
        "async": {"enabled": true, "callback_url": URL}});
    house.invoke(&body).text("request_id")
}

fn values(house: &House, query: &str) -> Vec<String> {
    let read = house.get(&format!("/v1/metadata_keys?{query}"), ADMIN);
    assert_eq!(read.status, 200, "{query}: {}", read.body);
    let rows = read.body["data"].as_array().expect("a list").clone();
    rows.iter()
        .map(|row| {
            let mut members = row.as_object().expect("an object").values();
            let one = members.next().and_then(Value::as_str).expect("a text");
            assert_eq!(members.next(), None, "{row}");
            one.to_owned()
        })
        .collect()
}

#[test]
fn runs_are_counted_by_state_as_far_as_the_caller_sees_them() {
    let house = House::furnished();
    let (_, own) = house.key("invoke");
    start(&house, "ada", &json!({"plan": "pro"}));
    house.start(&own);
    house.complete_all(json!(1));
    start(&house, "bob", &json!({}));
    house.end_all(&Ending::Failed {
        error: "no".to_owned(),
        code: "step_failed",
        step: None,
    });
    start(&house, "ada", &json!({}));
    let counts = |query: &str, key: &str| {
        let path = format!("/v1/workflow_runs/counts?{query}");
        let body = house.get(&path, key).body;
        let statuses = body["statuses"].as_object().expect("states").clone();
        assert_eq!(statuses.len(), 7);
        let open = ["queued", "running", "awaiting_approval", "waiting"];
        let of = |name: &str| {
            assert_eq!(statuses[name]["count_is_lower_bound"], false, "{query}");
            statuses[name]["count"].as_i64().expect("a number")
        };
        assert_eq!(body["count_is_lower_bound"], false);
        let open: i64 = open.iter().map(|name| of(name)).sum();
        let found = (open, of("completed"), of("failed"), of("cancelled"));
        (body["count"].as_i64().expect("a number"), found)
    };
    assert_eq!(counts("", ADMIN), (4, (1, 2, 1, 0)));
    assert_eq!(counts("status=completed", ADMIN), (2, (1, 2, 1, 0)));
    assert_eq!(counts("deployment=plain&status=queued,failed", ADMIN).0, 2);
    assert_eq!(counts("deployment=asking", ADMIN), (0, (0, 0, 0, 0)));
    assert_eq!(counts("user=ada", ADMIN), (2, (1, 1, 0, 0)));
    assert_eq!(counts("metadata[plan]=pro", ADMIN), (1, (0, 1, 0, 0)));
    assert_eq!(counts("", &own), (1, (0, 1, 0, 0)));
    let read = house.get("/v1/workflow_runs/counts?status=lost", ADMIN);
    assert_eq!((read.status, read.text("field").as_str()), (400, "/status"));
}

#[test]
fn a_histogram_has_bars_of_whole_minutes() {
    let house = House::furnished();
    let begin = NOW.0.div_euclid(MINUTE) * MINUTE;
    for minute in [0, 0, 2] {
        house.api.clock().set(Timestamp(begin + minute * MINUTE));
        start(&house, "ada", &json!({}));
        if minute == 2 {
            house.complete_all(json!(1));
        }
    }
    let at = |minute: i64| Timestamp(begin + minute * MINUTE);
    let shown = |query: &str| {
        let read = house.get(&format!("/v1/workflow_runs/histogram?{query}"), ADMIN);
        assert_eq!(read.status, 200, "{query}: {}", read.body);
        read.body
    };
    let bar = |minute, count, completed| {
        json!({"at": at(minute), "accepted": count, "completed": completed, "failed": 0,
            "cancelled": 0, "open": count - completed})
    };
    let body = shown(&format!("from={}&to={}", at(0), at(3)));
    assert_eq!(
        body,
        json!({"from": at(0), "to": at(3), "span_ms": MINUTE,
            "bars": [bar(0, 2, 2), bar(1, 0, 0), bar(2, 1, 1)]})
    );
    let two = shown(&format!("from={}&to={}&bars=2", at(0), at(3)));
    assert_eq!(two["span_ms"], 2 * MINUTE);
    assert_eq!(two["bars"], json!([bar(0, 2, 2), bar(2, 1, 1)]));
    let none = shown(&format!("from={}&to={}&deployment=asking", at(0), at(3)));
    assert_eq!(none["bars"][0]["accepted"], 0);
    let hour = shown("");
    assert_eq!(
        (&hour["from"], &hour["to"]),
        (&json!(at(-58)), &json!(at(2)))
    );
    house.api.clock().set(at(90));
    assert_eq!(shown("")["from"], json!(at(0)), "from the first run on");
    for (query, field) in [
        ("bars=0", "/bars"),
        ("bars=501", "/bars"),
        ("bars=x", "/bars"),
        ("from=x", "/from"),
        ("from=2027-01-01T00:00:00Z&to=2027-01-01T00:00:00Z", "/from"),
    ] {
        let path = format!("/v1/workflow_runs/histogram?{query}");
        let read = house.get(&path, ADMIN);
        assert_eq!((read.status, read.text("field").as_str()), (400, field));
    }
    let (_, invoke) = house.key("invoke");
    assert_eq!(
        house.get("/v1/workflow_runs/histogram", &invoke).status,
        403
    );
}

#[test]
fn keys_values_and_users_are_suggested() {
    let house = House::furnished();
    start(
        &house,
        "ada",
        &json!({"plan": "pro", "place": "here", "n": 1}),
    );
    start(
        &house,
        "bob",
        &json!({"plan": "free", "plan b": "pro", "n": 1.5}),
    );
    start(&house, "ada", &json!({"plan": "premium", "n": true}));
    assert_eq!(values(&house, ""), ["n", "place", "plan", "plan b"]);
    assert_eq!(values(&house, "prefix=pla"), ["place", "plan", "plan b"]);
    assert_eq!(values(&house, "key=plan"), ["free", "premium", "pro"]);
    assert_eq!(values(&house, "key=plan&prefix=pr"), ["premium", "pro"]);
    assert_eq!(values(&house, "key=n"), ["1", "1.5", "true"]);
    assert_eq!(values(&house, "key=none"), [""; 0]);
    assert_eq!(values(&house, "kind=user"), ["ada", "bob"]);
    assert_eq!(values(&house, "kind=user&prefix=b"), ["bob"]);
    let first = house.get("/v1/metadata_keys?key=plan&limit=2", ADMIN).body;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let rest = values(&house, &format!("key=plan&limit=2&cursor={cursor}"));
    assert_eq!(rest, ["pro"]);
    for (query, field) in [
        ("kind=runs", "/kind"),
        ("cursor=c1", "/cursor"),
        ("cursor=v!!", "/cursor"),
        ("cursor=v123", "/cursor"),
        ("format=xml", "/format"),
    ] {
        let read = house.get(&format!("/v1/metadata_keys?{query}"), ADMIN);
        assert_eq!((read.status, read.text("field").as_str()), (400, field));
    }
    let (_, invoke) = house.key("invoke");
    let asked = house.ask(&Ask {
        method: "GET",
        path: "/v1/metadata_keys",
        key: &invoke,
        ..Ask::default()
    });
    assert_eq!(asked.status, 403);
}
