//! Time: the clock is wrong, jumps, or the process is stopped for a while.
//!
//! `SKEP_TEST_PAUSE` says for how many seconds it is stopped.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::dice::asked;
use crate::faults::{WORK, is_called_back_once};
use crate::house::{House, direct_body, pause, text};
use crate::receiver::{Act, Receiver, status};
use crate::shim::watched;
use crate::wire::{PATIENCE, Wire};

const HOUR: i64 = 3_600_000_000_000;

/// A house whose clock goes wrong by what is written into a file.
fn with_clock(wrong: i64) -> (House, Receiver) {
    let house = House::plan().build();
    watched(&house);
    set_clock(&house, wrong);
    let clock = house.path("clock").display().to_string();
    house.replan(|plan| plan.env("SHIM_CLOCK", &clock));
    house.launch();
    let receiver = Receiver::start();
    house.deploy("work", &receiver.fill(WORK));
    (house, receiver)
}

/// Written in place: the process has it mapped.
fn set_clock(house: &House, wrong: i64) {
    use std::io::Write;
    let mut file = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(house.path("clock"))
        .expect("the folder is writable");
    file.write_all(&wrong.to_ne_bytes()).expect("8 bytes fit");
}

const NAP: &str = "
inputs: {n: {type: text}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: nap, delay: 300ms}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {n: '{{ n }}'}}}
output: {n: '{{ n }}'}
";

#[track_caller]
fn all_end_once(house: &House, receiver: &Receiver, ids: &[String]) {
    for id in ids {
        house.run_is(id, "completed");
        house.delivery_is(id, "delivered");
        is_called_back_once(receiver, id);
    }
}

#[test]
fn a_clock_that_jumps_loses_nothing_and_stops_nothing() {
    let (house, receiver) = with_clock(0);
    house.deploy("nap", &receiver.fill(NAP));
    receiver.on("/hook", [status(503), status(200)]);
    house.tune("nap", &json!({"retry_schedule": ["0s", "300ms", "300ms"]}));
    let mut ids = Vec::new();
    // Each in the middle of delays and of callbacks that are to be repeated.
    for wrong in [HOUR, 0, -HOUR, HOUR, -HOUR, 0, HOUR] {
        for n in 0..3 {
            ids.push(house.start_run("nap", &json!({"n": n.to_string()}), &receiver.at("/hook")));
        }
        set_clock(&house, wrong);
        let direct = house.direct("work", &json!({"n": "direct"}));
        assert_eq!(direct["output"]["n"], "direct");
    }
    all_end_once(&house, &receiver, &ids);
    house.restart();
    all_end_once(&house, &receiver, &ids);
}

#[test]
fn a_clock_an_hour_off_at_the_next_start_stops_nothing() {
    for (before, after) in [(HOUR, 0), (0, HOUR), (0, -HOUR)] {
        let (house, receiver) = with_clock(before);
        receiver.on("/b", [Act::Hang, status(200)]);
        let id = house.start_run("work", &json!({"n": "1"}), &receiver.at("/hook"));
        receiver.wait_for("/b", 1);
        house.kill();
        set_clock(&house, after);
        house.launch();
        all_end_once(&house, &receiver, &[id]);
        assert_eq!(
            receiver.arrived("/a").len(),
            1,
            "a finished step is not repeated"
        );
    }
}

#[test]
fn a_process_stopped_for_a_while_goes_on_where_it_was() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("work", &receiver.fill(WORK));
    let invoke = |n: &str| house.start_run("work", &json!({"n": n}), &receiver.at("/hook"));
    // One callback and one step are in flight, one direct caller waits, and the world goes on meanwhile.
    receiver.on("/hook", [Act::Gate]);
    let delivered = invoke("delivering");
    receiver.wait_for("/hook", 1);
    receiver.on("/b", [Act::Gate]);
    let executed = invoke("executing");
    receiver.wait_for("/b", 2);
    let stopped = Duration::from_secs(asked("SKEP_TEST_PAUSE", 3));
    let ask = house
        .ask("POST", "/v1/workflow/invoke")
        .json(&direct_body("work", &json!({"n": "direct"})));
    let mut wire = Wire::open(house.address()).expect("it accepts");
    wire.wait_for(stopped + PATIENCE)
        .expect("a socket can wait");
    wire.send(&ask.bytes(false)).expect("it reads");
    receiver.wait_for("/b", 3);
    house.signal("STOP");
    receiver.open_gate();
    pause(stopped);
    house.signal("CONT");
    let direct = wire.answer().expect("the caller is answered").is(200);
    assert_eq!(direct["output"]["n"], "direct");
    all_end_once(&house, &receiver, &[delivered, executed]);
    house.run_is(&text(&direct["request_id"]), "completed");
    let first: Vec<_> = receiver.arrived("/a");
    assert_eq!(first.len(), 3, "a finished step is not repeated");
}
