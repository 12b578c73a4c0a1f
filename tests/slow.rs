//! What is slow holds up nothing else: long direct runs, hung receivers.
//!
//! Order is asserted, never how long something took.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::house::{House, direct_body, rows, wait_until};
use crate::receiver::{Act, Receiver};
use crate::wire::PATIENCE;

const QUICK: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

#[test]
fn direct_runs_in_progress_keep_nobody_from_being_served() {
    let house = House::plan().set("workers", "128").start();
    house.deploy("sleepy", "steps: [{id: nap, delay: 3s}]\noutput: 1");
    house.deploy("quick", QUICK);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let answer = house.invoke(&direct_body("sleepy", &json!({})));
                    answered.fetch_add(1, Ordering::SeqCst);
                    answer
                })
            })
            .collect();
        wait_until("all of them are parked", PATIENCE, || {
            let waiting = house.get("/v1/workflow_runs?status=waiting&limit=500");
            (rows(&waiting).len() == 64).then_some(())
        });
        for _ in 0..10 {
            house.ask("GET", "/healthz").send().is(200);
            house.direct("quick", &json!({}));
        }
        assert_eq!(
            answered.load(Ordering::SeqCst),
            0,
            "the quick ones were answered first"
        );
        for caller in callers {
            assert_eq!(
                caller.join().expect("answered").is(200)["status"],
                "completed"
            );
        }
    });
}

#[test]
fn direct_runs_inside_a_slow_step_keep_nobody_from_being_served() {
    let (house, receiver) = (
        House::plan().set("workers", "128").start(),
        Receiver::start(),
    );
    receiver.on("/slow", [Act::Gate]);
    let call = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/slow'}}]\noutput: 1";
    house.deploy("call", &receiver.fill(call));
    house.deploy("quick", QUICK);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| house.invoke(&direct_body("call", &json!({})))))
            .collect();
        receiver.wait_for("/slow", 64);
        for _ in 0..10 {
            house.ask("GET", "/healthz").send().is(200);
            house.direct("quick", &json!({}));
        }
        receiver.open_gate();
        for caller in callers {
            assert_eq!(
                caller.join().expect("answered").is(200)["status"],
                "completed"
            );
        }
    });
}

#[test]
fn forty_hung_receivers_delay_only_their_own() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("quick", QUICK);
    // Connected by the kernel, never read: each is an origin of its own.
    let hung: Vec<TcpListener> = (0..40)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .collect();
    for listener in &hung {
        let address = listener.local_addr().expect("it is bound");
        for _ in 0..2 {
            house.start_run("quick", &json!({}), &format!("http://{address}/"));
        }
    }
    let delivering = || rows(&house.get("/v1/deliveries?status=delivering&limit=500")).len();
    wait_until("all of them are being tried", PATIENCE, || {
        (delivering() >= 40).then_some(())
    });
    for count in 1..=10 {
        let id = house.start_run("quick", &json!({}), &receiver.at("/hook"));
        receiver.wait_for("/hook", count);
        house.delivery_is(&id, "delivered");
    }
    assert_eq!(
        delivering(),
        40,
        "the healthy ones were all delivered while these still hung"
    );
}

#[test]
fn one_hung_path_does_not_stop_its_whole_origin() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("quick", QUICK);
    // An origin that has answered gets several senders; one that hangs holds one of them.
    let id = house.start_run("quick", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    receiver.on("/hang", [Act::Hang]);
    house.start_run("quick", &json!({}), &receiver.at("/hang"));
    receiver.wait_for("/hang", 1);
    house.start_run("quick", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/hook", 2);
}
