//! The three modes of slowhttptest, a thousand connections each, against the limits as shipped: slow heads, slow
//! bodies, slow readers. The healthy client shares the attackers' address.

use super::herd::Herd;
use super::{descriptors, large_run, request, survives};
use crate::house::House;

const COUNT: usize = 1000;

/// As many as this process has descriptors for, a thousand if it can.
fn count() -> usize {
    COUNT.min(descriptors().saturating_sub(200))
}

#[test]
fn slow_heads() {
    let count = count();
    let house = House::start();
    let fate = survives(&house, || {
        Herd {
            address: house.address(),
            count,
            first: b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUser-Agent: slow\r\n",
            more: b"X-a: b\r\n",
            reads: 4096,
            room: None,
        }
        .drive()
    });
    assert_eq!(fate.cut, count, "each head is cut: {fate:?}");
    assert_eq!(
        fate.statuses.get("408"),
        Some(&count),
        "and told why: {fate:?}"
    );
}

#[test]
fn slow_bodies() {
    let count = count();
    let house = House::start();
    let more = "Content-Type: application/json\r\nContent-Length: 4096\r\n";
    let first = request("POST", "/v1/workflow/invoke", more);
    let fate = survives(&house, || {
        Herd {
            address: house.address(),
            count,
            first: first.as_bytes(),
            more: b" ",
            reads: 4096,
            room: None,
        }
        .drive()
    });
    assert_eq!(fate.cut, count, "each body is cut: {fate:?}");
    assert_eq!(
        fate.statuses.get("408"),
        Some(&count),
        "and told why: {fate:?}"
    );
}

#[test]
fn slow_bodies_without_a_key_are_not_waited_for() {
    let house = House::start();
    let fate = survives(&house, || {
        Herd {
            address: house.address(),
            count: 200,
            first: b"POST /v1/workflow/invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4096\r\n\r\n",
            more: b" ",
            reads: 4096,
            room: None,
        }
        .drive()
    });
    assert_eq!(fate.statuses.get("401"), Some(&200), "{fate:?}");
}

#[test]
fn slow_readers_of_the_largest_answer_there_is() {
    let count = count();
    let house = House::start();
    let first = request("GET", &large_run(&house), "").repeat(3);
    let fate = survives(&house, || {
        Herd {
            address: house.address(),
            count,
            first: first.as_bytes(),
            more: b"",
            reads: 32,
            room: Some(1024),
        }
        .drive()
    });
    assert_eq!(fate.cut, count, "none is held for ever: {fate:?}");
}
