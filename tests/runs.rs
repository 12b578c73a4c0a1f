//! Reading runs back: the list with every filter, paging, and a run by either id.

use serde_json::{Value, json};

use crate::house::{House, direct_body, has_all, has_exactly, rows, text};
use crate::receiver::{Receiver, status};

const OK: &str = "inputs: {n: {type: number, default: 1}}\nsteps: [{id: a, set: {n: '{{ n }}'}}]\noutput: '{{ a.output }}'";

#[test]
fn a_run_is_shown_by_either_id_under_both_sets_of_names() {
    let house = House::start();
    house.deploy("order", OK);
    let mut body = direct_body("order", &json!({"n": 7}));
    body["user"] = "u-1".into();
    body["metadata"] = json!({"order": 7});
    let answer = house.invoke(&body).is(200);
    let (run_id, request_id) = (text(&answer["run_id"]), text(&answer["request_id"]));
    let shown = house.get(&format!("/v1/workflow_runs/{run_id}"));
    has_exactly(&shown, &["workflow_run"]);
    assert_eq!(shown, house.get(&format!("/v1/workflow_runs/{request_id}")));
    let run = &shown["workflow_run"];
    let legacy = [
        "id",
        "token",
        "run_status",
        "run_async",
        "started_at",
        "ended_at",
        "duration",
        "start_inputs",
        "output_content",
        "error_message",
        "async_webhook_url",
        "total_tokens",
        "total_charge",
    ];
    has_all(run, &legacy);
    let ours = [
        "request_id",
        "run_id",
        "status",
        "source",
        "delivery",
        "deployment",
        "variant",
        "version",
        "user",
        "user_metadata",
        "output",
        "error",
        "waiting_on",
        "steps",
        "deliveries",
    ];
    has_all(run, &ours);
    assert_eq!(
        (&run["run_id"], &run["request_id"]),
        (&json!(run_id), &json!(request_id))
    );
    assert_eq!(
        (&run["status"], &run["run_status"]),
        (&json!("completed"), &json!("completed"))
    );
    assert_eq!(
        (&run["source"], &run["delivery"]),
        (&json!("api"), &json!("direct"))
    );
    assert_eq!(
        (&run["run_async"], &run["version"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&run["user"], &run["user_metadata"]),
        (&json!("u-1"), &json!({"order": 7}))
    );
    assert_eq!(
        (&run["start_inputs"], &run["output"]),
        (&json!({"n": 7}), &json!({"n": 7}))
    );
    assert!(run["duration"].is_number(), "milliseconds");
    assert!(
        run["waiting_on"].is_null() && run["error"].is_null() && run["async_webhook_url"].is_null()
    );
    assert_eq!(run["steps"][0]["path"], "a");
    for name in ["started_at", "ended_at"] {
        let at = text(&run[name]);
        assert!(
            at.len() == 24 && at.ends_with('Z'),
            "RFC 3339 with milliseconds: {at}"
        );
    }
}

/// Six runs that differ in everything that can be filtered by.
fn assorted() -> (House, Receiver, Vec<Value>, String) {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/down", [status(500)]);
    let deployed = house.deploy("order", OK);
    house.deploy_to("order", "canary", OK).is(201);
    let broken = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";
    house.deploy("broken", &receiver.fill(broken));
    house.deploy("sleepy", "steps: [{id: nap, delay: 1h}]\noutput: 1");
    let (key_id, key) = house.make_key("shop", "invoke");
    let hook = receiver.at("/hook");
    let ask = |body: Value| house.ask("POST", "/v1/workflow/invoke").json(&body);
    let callback = json!({"enabled": true, "callback_url": hook});
    let mut made = vec![
        ask(json!({"deployment": "order", "variant": "prod", "user": "ann", "metadata": {"vip": true}})).send(),
        ask(json!({"deployment": "order", "variant": "canary", "user": "bob", "metadata": {"vip": false}})).send(),
        ask(json!({"deployment": "order", "variant": "prod", "async": callback})).key(&key).send(),
        ask(json!({"deployment": "broken", "variant": "prod", "metadata": {"shop": "x"}})).send(),
        ask(json!({"deployment": "sleepy", "variant": "prod", "async": callback})).send(),
    ];
    let trigger = format!(
        "/v1/workflow/webhooks/{}/variants/{}",
        text(&deployed["endpoint_id"]),
        text(&deployed["variant_id"])
    );
    made.push(
        house
            .ask("POST", &trigger)
            .no_key()
            .header(
                "X-Fetch-Hive-Webhook-Secret",
                &text(&deployed["webhook_secret"]),
            )
            .json(&json!({"inputs": {}, "async": callback}))
            .send(),
    );
    let made: Vec<Value> = made.iter().map(crate::wire::Answer::json).collect();
    house.run_is(&text(&made[2]["run_id"]), "completed");
    house.run_is(&text(&made[4]["run_id"]), "waiting");
    house.run_is(&text(&made[5]["run_id"]), "completed");
    (house, receiver, made, key_id)
}

#[test]
fn the_list_filters_by_everything() {
    let (house, _receiver, made, key_id) = assorted();
    let request_id = text(&made[1]["request_id"]);
    let run_id = text(&made[1]["run_id"]);
    let cases: Vec<(String, Vec<usize>)> = vec![
        (String::new(), vec![0, 1, 2, 3, 4, 5]),
        ("status=completed".into(), vec![0, 1, 2, 5]),
        ("status=failed".into(), vec![3]),
        ("status=waiting".into(), vec![4]),
        ("status=cancelled".into(), vec![]),
        ("source=api".into(), vec![0, 1, 2, 3, 4]),
        ("source=webhook".into(), vec![5]),
        ("delivery=direct".into(), vec![0, 1, 3]),
        ("delivery=callback".into(), vec![2, 4, 5]),
        ("deployment=order".into(), vec![0, 1, 2, 5]),
        ("deployment=nobody".into(), vec![]),
        ("deployment=order&variant=canary".into(), vec![1]),
        (format!("api_key_id={key_id}"), vec![2]),
        ("user=ann".into(), vec![0]),
        ("metadata[vip]".into(), vec![0, 1]),
        ("metadata%5Bvip%5D=true".into(), vec![0]),
        ("metadata[shop]=x".into(), vec![3]),
        ("metadata[shop]=y".into(), vec![]),
        (format!("q={request_id}"), vec![1]),
        (format!("q={run_id}"), vec![1]),
        ("from=2020-01-01T00:00:00Z".into(), vec![0, 1, 2, 3, 4, 5]),
        ("to=2020-01-01T00:00:00Z".into(), vec![]),
        (
            "status=completed&delivery=callback&source=api".into(),
            vec![2],
        ),
    ];
    for (query, expected) in cases {
        let list = house.get(&format!("/v1/workflow_runs?{query}"));
        let mut seen: Vec<usize> = rows(&list)
            .iter()
            .map(|row| {
                made.iter()
                    .position(|run| run["run_id"] == row["run_id"])
                    .expect("one of ours")
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{query}");
    }
    let row = rows(&house.get("/v1/workflow_runs?limit=1")).remove(0);
    assert!(
        row.get("steps").is_none() && row.get("deliveries").is_none(),
        "rows lack nested lists"
    );
}

#[test]
fn pages_follow_each_other_newest_first() {
    let house = House::start();
    house.deploy("order", OK);
    let mut made: Vec<String> = (0..7)
        .map(|_| text(&house.direct("order", &json!({}))["run_id"]))
        .collect();
    made.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    // A page may be short, but the pages must come to an end.
    for _ in 0..20 {
        let page = house.get(&format!("/v1/workflow_runs?limit=3{cursor}"));
        has_exactly(&page, &["data", "next_cursor"]);
        assert!(rows(&page).len() <= 3);
        seen.extend(rows(&page).iter().map(|row| text(&row["run_id"])));
        match page["next_cursor"].as_str() {
            Some(next) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                cursor = format!("&cursor={next}");
            }
            None => break,
        }
    }
    assert_eq!(seen, made);
}

#[test]
fn filters_that_make_no_sense_are_refused() {
    let house = House::start();
    for query in [
        "status=asleep",
        "source=moon",
        "delivery=pigeon",
        "from=yesterday",
        "limit=x",
        "cursor=%00",
    ] {
        let answer = house
            .ask("GET", &format!("/v1/workflow_runs?{query}"))
            .send();
        answer.refused(400, "validation_error");
    }
}

#[test]
fn an_invoking_key_reads_its_own_runs_only() {
    let house = House::start();
    house.deploy("order", OK);
    let (_, ours) = house.make_key("ours", "invoke");
    let (_, theirs) = house.make_key("theirs", "invoke");
    let body = direct_body("order", &json!({}));
    let run = house
        .ask("POST", "/v1/workflow/invoke")
        .json(&body)
        .key(&ours)
        .send()
        .is(200);
    let paths = [
        format!("/v1/workflow_runs/{}", text(&run["run_id"])),
        format!("/v1/workflow_runs/{}/steps", text(&run["run_id"])),
        format!("/v1/public/requests/{}", text(&run["request_id"])),
    ];
    for path in paths {
        house.ask("GET", &path).key(&ours).send().is(200);
        let refused = house.ask("GET", &path).key(&theirs).send();
        assert!(
            matches!(refused.status, 403 | 404),
            "{path}: {}",
            refused.text()
        );
    }
}

#[test]
fn runs_are_all_there_after_a_restart() {
    let house = House::start();
    house.deploy("order", OK);
    for _ in 0..3 {
        house.direct("order", &json!({}));
    }
    let before = house.get("/v1/workflow_runs");
    house.restart();
    assert_eq!(house.get("/v1/workflow_runs"), before);
}
