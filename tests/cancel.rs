//! Cancelling at every state: at once, for good, with exactly one final event.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{House, direct_body, text, wait_until};
use crate::receiver::{Act, Receiver, status};
use crate::wire::PATIENCE;

const CALL: &str = "
steps:
  - {id: call, http: {method: GET, url: 'RECEIVER/step'}, retry: {max: 5, backoff: 1h..1h}}
  - {id: after, http: {method: GET, url: 'RECEIVER/after'}}
output: 1
";

#[track_caller]
fn cancel(house: &House, id: &str) -> Value {
    let body = json!({"reason": "enough"});
    let shown = house
        .post(&format!("/v1/workflow_runs/{id}/cancel"), &body)
        .is(200);
    shown["workflow_run"].clone()
}

/// Exactly one event came, and it says cancelled; nothing ran after the step in flight.
#[track_caller]
fn one_cancelled_event(house: &House, receiver: &Receiver, id: &str) {
    house.delivery_is(id, "delivered");
    let events: Vec<Value> = receiver
        .arrived("/hook")
        .iter()
        .map(|arrival| arrival.json())
        .collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["event_type"], "workflow.cancelled");
    assert_eq!(
        events[0]["data"],
        json!({"error": "enough", "reason": "cancelled"})
    );
    assert!(
        receiver.arrived("/after").is_empty(),
        "nothing after the step starts"
    );
}

fn ready() -> (House, Receiver) {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("flow", &receiver.fill(CALL));
    (house, receiver)
}

#[test]
fn a_queued_run_is_cancelled() {
    let (house, receiver) = (House::plan().set("workers", "0").start(), Receiver::start());
    house.deploy("flow", &receiver.fill(CALL));
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    let run = cancel(&house, &id);
    assert_eq!(
        (&run["status"], &run["run_status"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    assert_eq!(run["error"], "enough");
    one_cancelled_event(&house, &receiver, &id);
    assert!(receiver.arrived("/step").is_empty());
}

#[test]
fn a_step_in_flight_is_told_to_stop_at_once() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Hang]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    let run = cancel(&house, &id);
    assert_eq!(run["status"], "cancelled", "in that commit");
    assert!(
        receiver.callers_leave(1, Duration::from_secs(5)),
        "the call goes on after the cancel"
    );
    one_cancelled_event(&house, &receiver, &id);
    assert_eq!(house.steps(&id)[0]["status"], "cancelled");
}

#[test]
fn a_result_that_comes_after_the_cancel_is_dropped() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Gate]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    cancel(&house, &id);
    receiver.open_gate();
    one_cancelled_event(&house, &receiver, &id);
    let run = house.run(&id);
    assert_eq!(run["status"], "cancelled");
    assert!(run["output"].is_null());
    assert_eq!(house.steps(&id).len(), 1);
}

#[test]
fn a_run_waiting_for_a_timer_is_cancelled() {
    let (house, receiver) = ready();
    house.deploy("flow", "steps: [{id: nap, delay: 1h}]\noutput: 1");
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    house.run_is(&id, "waiting");
    assert_eq!(cancel(&house, &id)["status"], "cancelled");
    one_cancelled_event(&house, &receiver, &id);
    assert_eq!(house.steps(&id)[0]["status"], "cancelled");
}

#[test]
fn a_run_waiting_for_a_retry_is_cancelled() {
    let (house, receiver) = ready();
    receiver.on("/step", [status(500)]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    house.run_is(&id, "waiting");
    assert_eq!(cancel(&house, &id)["status"], "cancelled");
    one_cancelled_event(&house, &receiver, &id);
    assert_eq!(receiver.arrived("/step").len(), 1);
}

#[test]
fn a_final_run_stays_as_it_is() {
    let (house, receiver) = ready();
    for (answer, state) in [(status(200), "completed"), (status(404), "failed")] {
        receiver.on("/step", [answer]);
        let id = house.start_run("flow", &json!({}), &receiver.at(&format!("/hook/{state}")));
        house.delivery_is(&id, "delivered");
        let before = house.run(&id);
        assert_eq!(before["status"], state);
        assert_eq!(cancel(&house, &id), before, "unchanged");
        assert_eq!(house.deliveries(&id).len(), 1);
        assert_eq!(receiver.arrived(&format!("/hook/{state}")).len(), 1);
    }
}

#[test]
fn a_second_cancel_changes_nothing() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Hang]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    cancel(&house, &id);
    let other = json!({"reason": "another reason"});
    let again = house
        .post(&format!("/v1/workflow_runs/{id}/cancel"), &other)
        .is(200);
    assert_eq!(again["workflow_run"]["error"], "enough");
    one_cancelled_event(&house, &receiver, &id);
}

#[test]
fn a_cancelled_direct_run_answers_its_caller() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Hang]);
    let answer = thread::scope(|scope| {
        let caller = scope.spawn(|| house.invoke(&direct_body("flow", &json!({}))));
        receiver.wait_for("/step", 1);
        let id = wait_until("the run is listed", PATIENCE, || {
            house.get("/v1/workflow_runs")["data"][0]["run_id"]
                .as_str()
                .map(str::to_owned)
        });
        cancel(&house, &id);
        caller.join().expect("the caller is answered")
    });
    let answer = answer.is(200);
    assert_eq!(answer["run_status"], "cancelled");
    assert!(answer["output"].is_null());
    assert_eq!(text(&answer["error"]), "enough");
}

#[test]
fn a_cancelled_run_stays_cancelled_after_a_kill() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Hang]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    cancel(&house, &id);
    house.kill();
    house.launch();
    house.delivery_is(&id, "delivered");
    assert_eq!(house.run(&id)["status"], "cancelled");
    assert!(receiver.arrived("/after").is_empty());
    assert_eq!(
        receiver.arrived("/step").len(),
        1,
        "the step is not run again"
    );
}

#[test]
fn many_cancels_at_once_owe_one_event() {
    let (house, receiver) = ready();
    receiver.on("/step", [Act::Gate]);
    let id = house.start_run("flow", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/step", 1);
    thread::scope(|scope| {
        for at in 0..8 {
            let (house, receiver, id) = (&house, &receiver, id.as_str());
            scope.spawn(move || {
                if at == 4 {
                    receiver.open_gate();
                }
                cancel(house, id);
            });
        }
    });
    house.run_ended(&id);
    house.delivery_is(&id, "delivered");
    assert_eq!(house.deliveries(&id).len(), 1);
    let ids: std::collections::HashSet<String> = receiver
        .arrived("/hook")
        .iter()
        .map(|arrival| arrival.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
}
