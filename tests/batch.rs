//! Many invokes in one request: one commit, an answer for each.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::house::{House, callback_body, direct_body, rows, text};
use crate::receiver::Receiver;
use crate::wire::Answer;

const ECHO: &str =
    "inputs: {n: {type: number, required: true}}\nsteps: [{id: a, set: {n: '{{ n }}'}}]";

fn batch(house: &House, runs: &[Value]) -> Answer {
    house.post("/v1/workflow/invoke/batch", &json!({"runs": runs}))
}

#[test]
fn each_run_of_a_batch_gets_its_own_answer_in_order() {
    let (house, receiver) = (House::start(), Receiver::start());
    let secret = house.deploy("echo", ECHO)["webhook_secret"].clone();
    let hook = receiver.at("/hook");
    let run = |n: Value| callback_body("echo", &json!({"n": n}), &hook);
    let answer = batch(
        &house,
        &[
            run(json!(1)),
            run(json!("two")),
            direct_body("echo", &json!({"n": 3})),
            json!("four"),
            callback_body("nothing", &json!({}), &hook),
            callback_body("echo", &json!({"n": 6}), "nowhere"),
            run(json!(7)),
        ],
    )
    .is(200);
    let data = rows(&answer);
    let shown: Vec<(u64, &Value, &Value)> = data
        .iter()
        .map(|it| {
            let status = it["http_status"].as_u64().expect("a status");
            (status, &it["error_code"], &it["field"])
        })
        .collect();
    let null = Value::Null;
    let words = [
        "validation_error",
        "not_found",
        "/inputs/n",
        "/async/enabled",
        "/async/callback_url",
    ];
    let words = words.map(Value::from);
    assert_eq!(
        shown,
        [
            (202, &null, &null),
            (400, &words[0], &words[2]),
            (400, &words[0], &words[3]),
            (400, &words[0], &null),
            (404, &words[1], &null),
            (400, &words[0], &words[4]),
            (202, &null, &null),
        ]
    );
    assert_eq!(data[0]["webhook_secret"], secret);
    for (at, n) in [(0, 1), (6, 7)] {
        let id = text(&data[at]["request_id"]);
        let run = house.run_is(&id, "completed");
        assert_eq!(run["output"], json!({"n": n}));
        house.delivery_is(&id, "delivered");
    }
    assert_eq!(rows(&house.get("/v1/workflow_runs")).len(), 2);
}

#[test]
fn a_whole_batch_is_on_disk_when_it_is_answered() {
    let house = House::plan().set("workers", "0").start();
    house.deploy("echo", ECHO);
    let run = |n: usize| callback_body("echo", &json!({"n": n}), "http://127.0.0.1:9/");
    let runs: Vec<Value> = (0..500).map(run).collect();
    let answer = batch(&house, &runs).is(200);
    house.kill();
    house.launch();
    let answered: Vec<String> = rows(&answer)
        .iter()
        .map(|it| text(&it["request_id"]))
        .collect();
    let kept = rows(&house.get("/v1/workflow_runs?limit=500"));
    let mut kept: Vec<String> = kept.iter().map(|it| text(&it["request_id"])).collect();
    kept.reverse();
    assert_eq!(kept, answered, "all of them, in the order of the batch");
    let refused = batch(&house, &vec![json!({}); 501]).refused(400, "validation_error");
    assert_eq!(refused["field"], "/runs");
    house
        .post("/v1/workflow/invoke/batch", &json!({}))
        .refused(400, "validation_error");
    assert_eq!(batch(&house, &[]).is(200), json!({"data": []}));
}

#[test]
fn a_repeated_batch_starts_nothing_and_a_full_queue_refuses_the_rest() {
    let house = House::plan()
        .set("workers", "0")
        .set("max_queued", "3")
        .start();
    house.deploy("echo", ECHO);
    let run = |n: usize| callback_body("echo", &json!({"n": n}), "http://127.0.0.1:9/");
    let send = |runs: &[Value]| {
        let ask = house.ask("POST", "/v1/workflow/invoke/batch");
        ask.header("Idempotency-Key", "K")
            .json(&json!({"runs": runs}))
            .send()
    };
    let first = send(&[run(0), run(1)]);
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = send(&[run(0), run(1)]);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let ids = |answer: &Answer| -> Vec<String> {
        rows(&answer.is(200))
            .iter()
            .map(|it| text(&it["request_id"]))
            .collect()
    };
    assert_eq!(ids(&first), ids(&again));
    // Another body in the first place, one more, and one for which there is no place.
    let third = rows(&send(&[run(9), run(1), run(2), run(3)]).is(200));
    let codes: Vec<&Value> = third.iter().map(|it| &it["error_code"]).collect();
    assert_eq!(
        codes,
        [
            &json!("idempotency_key_reused"),
            &Value::Null,
            &Value::Null,
            &json!("too_many_requests")
        ]
    );
    assert_eq!(third[1]["replayed"], true);
    let all = rows(&house.get("/v1/workflow_runs"));
    let all: BTreeSet<String> = all.iter().map(|it| text(&it["request_id"])).collect();
    assert_eq!(all.len(), 3);
}
