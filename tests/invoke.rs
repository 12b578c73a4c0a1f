//! `POST /v1/workflow/invoke`: direct and callback delivery, the variant, and `Idempotency-Key`.

use std::thread;

use serde_json::{Value, json};

use crate::house::{House, callback_body, direct_body, has_exactly, rows, text};
use crate::receiver::{Act, Receiver, status};
use crate::wire::{Answer, Ask, Wire};

const ECHO: &str = "
inputs:
  topic: {type: text, required: true}
steps:
  - id: made
    set: {topic: '{{ topic }}', length: 3}
output: '{{ made.output }}'
";

fn keyed(house: &House, key: &str, body: &Value) -> Ask {
    house
        .ask("POST", "/v1/workflow/invoke")
        .header("Idempotency-Key", key)
        .json(body)
}

#[track_caller]
fn is_a_replay(answer: &Answer) {
    assert_eq!(
        answer.header("idempotent-replayed"),
        Some("true"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_direct_invoke_answers_with_the_output() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let answer = house.direct("echo", &json!({"topic": "bees"}));
    has_exactly(
        &answer,
        &["request_id", "run_id", "run_status", "status", "output"],
    );
    assert_eq!(answer["status"], "completed");
    assert_eq!(answer["run_status"], "completed");
    assert_eq!(answer["output"], json!({"topic": "bees", "length": 3}));
    let run_id = text(&answer["run_id"]);
    assert_eq!(run_id.len(), 36, "a UUID with dashes: {run_id}");
    assert_eq!(run_id.as_bytes()[14], b'7', "a version 7 UUID: {run_id}");
    assert_eq!(
        answer["request_id"],
        format!("req_{}", run_id.replace('-', ""))
    );
    assert!(
        house.deliveries(&run_id).is_empty(),
        "a direct run owes nobody a callback"
    );
}

#[test]
fn a_failed_direct_run_is_a_200_that_says_so() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/down", [status(500)]);
    let yaml = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";
    house.deploy("broken", &receiver.fill(yaml));
    let answer = house.direct("broken", &json!({}));
    has_exactly(
        &answer,
        &[
            "request_id",
            "run_id",
            "run_status",
            "status",
            "output",
            "error",
        ],
    );
    assert_eq!(answer["run_status"], "failed");
    assert_eq!(answer["status"], "failed");
    assert!(answer["output"].is_null());
    assert!(text(&answer["error"]).contains("500"), "{answer}");
}

#[test]
fn a_callback_invoke_is_a_202_with_the_secret() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("echo", ECHO);
    let body = callback_body("echo", &json!({"topic": "bees"}), &receiver.at("/hook"));
    let answer = house.invoke(&body).is(202);
    has_exactly(
        &answer,
        &[
            "request_id",
            "run_id",
            "run_status",
            "status",
            "webhook_secret",
        ],
    );
    assert_eq!(answer["status"], "running", "slots are free");
    assert_eq!(answer["run_status"], "running");
    let secret = text(&answer["webhook_secret"]);
    assert!(
        secret.starts_with("whsec_") && !secret.contains(['+', '/']),
        "safe in a query"
    );
    assert_eq!(
        receiver.wait_for("/hook", 1)[0].json()["request_id"],
        answer["request_id"]
    );
}

#[test]
fn a_callback_run_without_a_free_slot_is_queued() {
    let house = House::plan().set("workers", "0").start();
    house.deploy("echo", ECHO);
    let body = callback_body("echo", &json!({"topic": "bees"}), "http://127.0.0.1:9/hook");
    let answer = house.invoke(&body).is(202);
    assert_eq!(answer["status"], "queued");
    assert_eq!(answer["run_status"], "queued");
    assert_eq!(house.run(&text(&answer["request_id"]))["status"], "queued");
}

#[test]
fn the_variant_may_be_left_out_while_there_is_only_one() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let body = json!({"deployment": "echo", "inputs": {"topic": "bees"}});
    assert_eq!(house.invoke(&body).is(200)["output"]["topic"], "bees");
    house.deploy_to("echo", "canary", ECHO).is(201);
    let refused = house.invoke(&body).refused(400, "validation_error");
    assert_eq!(
        refused["error"],
        "Missing required field: deployment or variant"
    );
}

#[test]
fn async_that_is_not_enabled_is_a_direct_invoke() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let mut body = callback_body("echo", &json!({"topic": "bees"}), "http://127.0.0.1:9/hook");
    body["async"]["enabled"] = false.into();
    assert_eq!(house.invoke(&body).is(200)["output"]["topic"], "bees");
}

#[test]
fn the_request_can_be_read_back() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let mut body = direct_body("echo", &json!({"topic": "bees"}));
    body["user"] = "u-7".into();
    body["metadata"] = json!({"order": 7});
    let answer = house.invoke(&body).is(200);
    let request = house.get(&format!(
        "/v1/public/requests/{}",
        text(&answer["request_id"])
    ));
    let members = [
        "request_id",
        "status",
        "request_type",
        "id",
        "requestable_type",
        "requestable_id",
        "message",
        "generated_at",
        "started_at",
        "ended_at",
        "metadata",
        "user_metadata",
        "data",
    ];
    has_exactly(&request, &members);
    assert_eq!(request["request_id"], answer["request_id"]);
    assert_eq!(request["status"], "completed");
    assert_eq!(request["request_type"], "workflow");
    assert_eq!(request["user_metadata"], json!({"order": 7}));
}

#[test]
fn the_same_key_and_body_give_the_first_answer_again() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let body = callback_body("echo", &json!({"topic": "bees"}), "http://127.0.0.1:9/hook");
    let first = keyed(&house, "order-1", &body).send();
    first.is(202);
    assert_eq!(first.header("idempotent-replayed"), None);
    let second = keyed(&house, "order-1", &body).send();
    assert_eq!(second.is(202), first.json());
    is_a_replay(&second);
    let other = keyed(&house, "order-2", &body).send().is(202);
    assert_ne!(other["request_id"], first.json()["request_id"]);
    assert_eq!(rows(&house.get("/v1/workflow_runs")).len(), 2);
}

#[test]
fn the_same_key_with_another_body_is_a_conflict() {
    let house = House::start();
    house.deploy("echo", ECHO);
    keyed(
        &house,
        "order-1",
        &direct_body("echo", &json!({"topic": "bees"})),
    )
    .send()
    .is(200);
    let other = direct_body("echo", &json!({"topic": "wasps"}));
    keyed(&house, "order-1", &other)
        .send()
        .refused(409, "idempotency_key_reused");
    assert_eq!(rows(&house.get("/v1/workflow_runs")).len(), 1);
}

#[test]
fn idempotency_is_scoped_to_the_api_key() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let (_, key) = house.make_key("shop", "invoke");
    let body = direct_body("echo", &json!({"topic": "bees"}));
    let first = keyed(&house, "order-1", &body).send().is(200);
    let theirs = keyed(&house, "order-1", &body).key(&key).send().is(200);
    assert_ne!(first["request_id"], theirs["request_id"]);
}

#[test]
fn idempotency_survives_a_restart_and_a_kill() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let body = direct_body("echo", &json!({"topic": "bees"}));
    let first = keyed(&house, "order-1", &body).send().is(200);
    for restart in [House::restart, |house: &House| {
        house.kill();
        house.launch();
    }] {
        restart(&house);
        let again = keyed(&house, "order-1", &body).send();
        assert_eq!(again.is(200), first);
        is_a_replay(&again);
    }
}

#[test]
fn a_direct_replay_waits_for_the_same_run() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/slow", [Act::Gate]);
    let yaml = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/slow'}}]\noutput: done";
    house.deploy("slow", &receiver.fill(yaml));
    let ask = keyed(&house, "order-1", &direct_body("slow", &json!({})));
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| ask.send());
        receiver.wait_for("/slow", 1);
        let second = scope.spawn(|| ask.send());
        // The second is on its way or waits already; either way it must not start a run of its own.
        receiver.open_gate();
        (
            first.join().expect("the first is answered"),
            second.join().expect("so is the second"),
        )
    });
    assert_eq!(first.is(200), second.is(200));
    is_a_replay(&second);
    assert_eq!(receiver.arrived("/slow").len(), 1, "one run");
}

#[test]
fn a_refused_invoke_does_not_use_up_its_idempotency_key() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let wrong = direct_body("echo", &json!({}));
    keyed(&house, "order-1", &wrong)
        .send()
        .refused(400, "validation_error");
    let right = direct_body("echo", &json!({"topic": "bees"}));
    let answer = keyed(&house, "order-1", &right).send();
    answer.is(200);
    assert_eq!(answer.header("idempotent-replayed"), None);
}

#[test]
fn defaults_are_filled_in_and_native_types_kept() {
    let house = House::start();
    house.deploy(
        "typed",
        "
inputs:
  n: {type: number, default: 5}
  yes: {type: boolean, required: true}
  list: {type: array, default: [1]}
  map: {type: object, default: {a: 1}}
  size: {type: text, enum: [s, m], default: m}
steps: [{id: all, set: {n: '{{ n }}', yes: '{{ yes }}', list: '{{ list }}', map: '{{ map }}', size: '{{ size }}'}}]
output: '{{ all.output }}'
",
    );
    let output = house.direct("typed", &json!({"yes": false}))["output"].clone();
    assert_eq!(
        output,
        json!({"n": 5, "yes": false, "list": [1], "map": {"a": 1}, "size": "m"})
    );
}

#[test]
fn an_idempotency_key_that_is_not_text_is_refused_not_dropped() {
    let house = House::start();
    house.deploy("echo", ECHO);
    let mark = b"MARK";
    let body = direct_body("echo", &json!({"topic": "bees"}));
    let mut bytes = keyed(&house, "MARK", &body).bytes(true);
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)
        .expect("the header was sent");
    bytes[at..at + mark.len()].copy_from_slice(b"k\xff\xfe1");
    let mut wire = Wire::open(house.address()).expect("the server accepts");
    wire.send(&bytes).expect("sent");
    let answer = wire.answer().expect("an answer");
    answer.refused(400, "validation_error");
    assert!(rows(&house.get("/v1/workflow_runs")).is_empty());
}
