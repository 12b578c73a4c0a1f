//! Logs: text and JSON lines, on standard error, with the ids that find a run again.

use serde_json::{Value, json};

use crate::house::{House, text, wait_until};
use crate::receiver::{Receiver, status};
use crate::wire::PATIENCE;

const CALL: &str = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";

/// A run that fails and is called back; its id.
fn something_to_tell(house: &House, receiver: &Receiver) -> String {
    receiver.on("/down", [status(500)]);
    house.deploy("call", &receiver.fill(CALL));
    let id = house.start_run("call", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    text(&house.run(&id)["run_id"])
}

#[test]
fn json_logs_are_one_object_a_line() {
    let plan = House::plan()
        .set("log_format", "json")
        .set("log_level", "debug");
    let (house, receiver) = (plan.start(), Receiver::start());
    let run_id = something_to_tell(&house, &receiver);
    let lines = || -> Vec<Value> {
        let log = house.log();
        // The last line may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    };
    wait_until("the run is in the log", PATIENCE, || {
        lines()
            .iter()
            .any(|line| line["run_id"] == run_id.as_str())
            .then_some(())
    });
    for line in lines() {
        for name in ["ts", "level", "target", "msg"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
        let at = text(&line["ts"]);
        assert!(
            at.len() == 24 && at.ends_with('Z'),
            "RFC 3339 UTC with milliseconds: {at}"
        );
    }
}

#[test]
fn text_logs_begin_with_the_time() {
    let (house, receiver) = (
        House::plan().set("log_level", "debug").start(),
        Receiver::start(),
    );
    let run_id = something_to_tell(&house, &receiver);
    wait_until("the run is in the log", PATIENCE, || {
        house.log().contains(&run_id).then_some(())
    });
    for line in house.log().lines() {
        let at = line.split(' ').next().unwrap_or_default();
        assert!(at.len() == 24 && at.ends_with('Z'), "{line}");
    }
}

#[test]
fn a_quiet_log_level_is_quiet() {
    let (house, receiver) = (
        House::plan().set("log_level", "error").start(),
        Receiver::start(),
    );
    something_to_tell(&house, &receiver);
    assert_eq!(house.log(), "");
}
