//! Bounds: the queue, the slots, direct runs in progress and their time, connections.

use std::thread;

use serde_json::{Value, json};

use crate::house::{House, callback_body, direct_body, text, wait_until};
use crate::receiver::{Act, Receiver};
use crate::wire::{Answer, PATIENCE, Wire};

const QUICK: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";
const CALL: &str = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/step'}}]\noutput: done";
const FULL: &str = "You've reached your concurrency limit. Try again later or use async mode.";

fn retry_after(answer: &Answer) -> u64 {
    let value = answer.header("retry-after").expect("Retry-After is there");
    value.parse().expect("seconds")
}

#[track_caller]
fn no_slot(answer: &Answer) {
    let refused = answer.refused(429, "concurrency_limit_reached");
    assert_eq!(refused["error"], FULL);
    assert!(retry_after(answer) >= 1);
}

#[test]
fn a_full_queue_is_refused_with_its_limit() {
    let house = House::plan()
        .set("workers", "0")
        .set("max_queued", "2")
        .start();
    house.deploy("quick", QUICK);
    let body = callback_body("quick", &json!({}), "http://127.0.0.1:9/");
    house.invoke(&body).is(202);
    let second = house.invoke(&body).is(202);
    let answer = house.invoke(&body);
    let refused = answer.refused(429, "too_many_requests");
    assert!(text(&refused["error"]).contains("max_queued"), "{refused}");
    assert!(retry_after(&answer) >= 1);
    // A place that becomes free can be taken.
    let id = text(&second["run_id"]);
    house
        .post(&format!("/v1/workflow_runs/{id}/cancel"), &json!({}))
        .is(200);
    house.invoke(&body).is(202);
}

#[test]
fn the_queue_stays_bounded_when_many_come_at_once() {
    let house = House::plan()
        .set("workers", "0")
        .set("max_queued", "20")
        .start();
    house.deploy("quick", QUICK);
    let body = callback_body("quick", &json!({}), "http://127.0.0.1:9/");
    let accepted: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5).filter(|_| house.invoke(&body).status == 202).count()))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("answered"))
            .sum()
    });
    assert_eq!(accepted, 20);
}

#[test]
fn a_direct_invoke_without_a_free_slot_is_refused() {
    let (house, receiver) = (House::plan().set("workers", "1").start(), Receiver::start());
    receiver.on("/step", [Act::Gate]);
    house.deploy("call", &receiver.fill(CALL));
    house.deploy("quick", QUICK);
    let id = house.start_run("call", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    no_slot(&house.invoke(&direct_body("call", &json!({}))));
    let queued = callback_body("call", &json!({}), &receiver.at("/hook"));
    assert_eq!(house.invoke(&queued).is(202)["status"], "queued");
    receiver.open_gate();
    house.run_is(&id, "completed");
    wait_until("a slot is free", PATIENCE, || {
        (house.invoke(&direct_body("quick", &json!({}))).status == 200).then_some(())
    });
}

#[test]
fn a_direct_invoke_with_no_workers_is_refused() {
    let house = House::plan().set("workers", "0").start();
    house.deploy("quick", QUICK);
    no_slot(&house.invoke(&direct_body("quick", &json!({}))));
}

#[test]
fn another_deployment_cannot_take_every_slot() {
    let (house, receiver) = (House::plan().set("workers", "4").start(), Receiver::start());
    receiver.on("/step", [Act::Gate]);
    house.deploy("greedy", &receiver.fill(CALL));
    house.deploy("quick", QUICK);
    for _ in 0..8 {
        house.start_run("greedy", &json!({}), &receiver.at("/hook"));
    }
    // Its runs count for three of the four slots, so the call is let in and, once a slot is free, answered.
    let answer = thread::scope(|scope| {
        let caller = scope.spawn(|| house.invoke(&direct_body("quick", &json!({}))));
        receiver.wait_for("/step", 3);
        receiver.open_gate();
        caller.join().expect("answered")
    });
    assert_eq!(answer.is(200)["output"], 1);
}

#[test]
fn direct_runs_in_progress_are_bounded() {
    let plan = House::plan().set("workers", "8").set("max_direct", "2");
    let (house, receiver) = (plan.start(), Receiver::start());
    receiver.on("/step", [Act::Gate]);
    house.deploy("call", &receiver.fill(CALL));
    thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| house.invoke(&direct_body("call", &json!({})))))
            .collect();
        receiver.wait_for("/step", 2);
        no_slot(&house.invoke(&direct_body("call", &json!({}))));
        receiver.open_gate();
        for caller in callers {
            caller.join().expect("answered").is(200);
        }
    });
}

#[test]
fn a_direct_run_that_takes_too_long_goes_on_without_its_caller() {
    let plan = House::plan().set("direct_timeout", "300ms");
    let (house, receiver) = (plan.start(), Receiver::start());
    receiver.on("/step", [Act::Gate]);
    house.deploy("call", &receiver.fill(CALL));
    let refused = house
        .invoke(&direct_body("call", &json!({})))
        .refused(504, "direct_timeout");
    let id = text(&refused["request_id"]);
    assert_eq!(house.run(&id)["status"], "running");
    receiver.open_gate();
    assert_eq!(house.run_is(&id, "completed")["output"], "done");
    assert_eq!(receiver.arrived("/step").len(), 1);
}

#[test]
fn a_parked_direct_run_times_out_and_goes_on_too() {
    let house = House::plan()
        .set("direct_timeout", "200ms")
        .set("workers", "1")
        .start();
    house.deploy("sleepy", "steps: [{id: nap, delay: 700ms}]\noutput: 1");
    let refused = house
        .invoke(&direct_body("sleepy", &json!({})))
        .refused(504, "direct_timeout");
    house.run_is(&text(&refused["request_id"]), "completed");
}

#[test]
fn more_connections_than_allowed_are_told_so() {
    let house = House::plan().set("max_connections", "4").start();
    let held: Vec<Wire> = (0..4)
        .map(|_| Wire::open(house.address()).expect("the server accepts"))
        .collect();
    let status = wait_until("one is refused", PATIENCE, || {
        let answer = house.ask("GET", "/healthz").try_send().ok()?;
        (answer.status != 200).then_some(answer.status)
    });
    assert_eq!(status, 503);
    drop(held);
    wait_until("there is room again", PATIENCE, || {
        let answer = house.ask("GET", "/healthz").try_send().ok()?;
        (answer.status == 200).then_some(())
    });
}

#[test]
fn a_large_but_allowed_run_goes_through() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy(
        "big",
        "inputs: {t: {type: text}}\nsteps: [{id: a, set: {t: '{{ t }}'}}]\noutput: '{{ a.output.t }}'",
    );
    let big = "x".repeat(900 * 1024);
    house.start_run("big", &json!({"t": big}), &receiver.at("/hook"));
    let event = receiver.wait_for("/hook", 1)[0].json();
    assert_eq!(event["data"]["output"], Value::from(big));
}
