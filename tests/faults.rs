//! What breaks around the process: whatever it is, what clients were told is true, nothing hangs, and Skep goes on or
//! ends as README's table says.

use crate::house::House;
use crate::receiver::Receiver;

mod disk;
mod file;
mod limits;
mod time;

const WORK: &str = "
inputs: {n: {type: text}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: mid, set: {n: '{{ n }}'}}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {n: '{{ n }}'}}, retry: {max: 5, backoff: 10ms..100ms}}
output: {n: '{{ n }}'}
";

/// It ended by itself with exit code 1, said why, and did not panic.
#[track_caller]
fn ended_saying(house: &House, code: Option<i32>, words: &[&str]) {
    let log = house.log();
    assert_eq!(code, Some(1), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    let is_said = words.iter().any(|word| log.contains(word));
    assert!(is_said, "expected one of {words:?} in: {log}");
}

/// The final events of a run: all of them are one event, byte for byte.
#[track_caller]
fn is_called_back_once(receiver: &Receiver, id: &str) {
    let events = receiver.arrived("/hook");
    let events: Vec<_> = events
        .iter()
        .filter(|event| event.json()["request_id"] == id)
        .collect();
    let first = events
        .first()
        .unwrap_or_else(|| panic!("{id} was never called back"));
    for event in &events {
        let same =
            event.header("webhook-id") == first.header("webhook-id") && event.body == first.body;
        assert!(same, "{id} has two final events");
    }
}
