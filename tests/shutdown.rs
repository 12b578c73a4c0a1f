//! A clean stop: what goes on, what is answered, what waits for the next start.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::house::{House, direct_body, text, wait_until};
use crate::receiver::{Act, Receiver, status};
use crate::wire::PATIENCE;

const CALLS: &str = "
steps:
  - {id: a, http: {method: GET, url: 'RECEIVER/a'}}
  - {id: b, http: {method: GET, url: 'RECEIVER/b'}}
output: done
";

fn ready(grace: &str) -> (House, Receiver) {
    let (house, receiver) = (
        House::plan().set("shutdown_grace", grace).start(),
        Receiver::start(),
    );
    house.deploy("calls", &receiver.fill(CALLS));
    (house, receiver)
}

#[test]
fn an_idle_server_stops_at_once_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let (house, _) = ready("7s");
        let from = Instant::now();
        house.signal(signal);
        assert_eq!(house.ended_by_itself().code(), Some(0), "{signal}");
        assert!(
            from.elapsed() < Duration::from_secs(4),
            "{signal}: {:?}",
            from.elapsed()
        );
    }
}

#[test]
fn a_direct_run_is_finished_step_after_step_and_answered() {
    let (house, receiver) = ready("7s");
    receiver.on("/a", [Act::Gate]);
    let answer = thread::scope(|scope| {
        let caller = scope.spawn(|| house.invoke(&direct_body("calls", &json!({}))));
        receiver.wait_for("/a", 1);
        house.signal("TERM");
        receiver.open_gate();
        caller.join().expect("the caller is answered")
    });
    assert_eq!(answer.is(200)["output"], "done");
    assert_eq!(house.ended_by_itself().code(), Some(0));
    assert_eq!(
        receiver.arrived("/b").len(),
        1,
        "the second step was run too"
    );
}

#[test]
fn a_direct_run_over_the_grace_is_answered_504_and_goes_on_at_the_next_start() {
    let (house, receiver) = ready("300ms");
    receiver.on("/a", [Act::Hang, status(200)]);
    let answer = thread::scope(|scope| {
        let caller = scope.spawn(|| house.invoke(&direct_body("calls", &json!({}))));
        receiver.wait_for("/a", 1);
        house.signal("TERM");
        caller.join().expect("the caller is answered")
    });
    let id = text(&answer.refused(504, "direct_timeout")["request_id"]);
    assert_eq!(house.ended_by_itself().code(), Some(0));
    house.launch();
    assert_eq!(house.run_is(&id, "completed")["output"], "done");
    let keys: Vec<String> = receiver
        .arrived("/a")
        .iter()
        .map(|arrival| arrival.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the same key");
}

#[test]
fn nothing_new_is_claimed_while_stopping() {
    let (house, receiver) = ready("7s");
    house.replan(|plan| plan.set("workers", "1"));
    house.restart();
    receiver.on("/a", [Act::Gate]);
    let first = house.start_run("calls", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/a", 1);
    let second = house.start_run("calls", &json!({}), &receiver.at("/hook"));
    house.signal("TERM");
    wait_until("no new request is accepted", PATIENCE, || {
        match house.ask("GET", "/healthz").try_send() {
            Ok(answer) => (answer.status == 503).then_some(()),
            Err(_) => Some(()),
        }
    });
    receiver.open_gate();
    assert_eq!(house.ended_by_itself().code(), Some(0));
    assert_eq!(
        receiver.arrived("/a").len(),
        1,
        "the second run was not begun"
    );
    house.launch();
    for id in [&first, &second] {
        house.delivery_is(id, "delivered");
        assert_eq!(house.run(id)["status"], "completed");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (house, receiver) = ready("60s");
    receiver.on("/a", [Act::Hang]);
    house.start_run("calls", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/a", 1);
    house.signal("TERM");
    wait_until("the stop has begun", PATIENCE, || {
        house
            .ask("GET", "/healthz")
            .try_send()
            .map_or(true, |answer| answer.status != 200)
            .then_some(())
    });
    let from = Instant::now();
    house.signal("TERM");
    house.ended_by_itself();
    assert!(from.elapsed() < Duration::from_secs(5));
}

#[test]
fn parked_runs_do_not_hold_up_a_stop() {
    let (house, _) = ready("7s");
    house.deploy("sleepy", "steps: [{id: nap, delay: 1h}]\noutput: 1");
    let id = house.start_run("sleepy", &json!({}), "http://127.0.0.1:9/");
    house.run_is(&id, "waiting");
    let from = Instant::now();
    house.stop();
    assert!(
        from.elapsed() < Duration::from_secs(4),
        "{:?}",
        from.elapsed()
    );
    house.launch();
    assert_eq!(house.run(&id)["status"], "waiting");
}

#[test]
fn a_clean_stop_leaves_no_log_of_writes_behind() {
    let (house, _) = ready("7s");
    house.direct("calls", &json!({}));
    house.stop();
    let wal = std::fs::metadata(house.path("skep.db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal, 0, "the WAL is checkpointed");
}
