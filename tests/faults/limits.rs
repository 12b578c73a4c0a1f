//! What the system has no more of: threads, descriptors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::dice::asked;
use crate::faults::{WORK, ended_saying};
use crate::house::{ADMIN, BINARY, House};
use crate::receiver::Receiver;
use crate::shim::{EAGAIN, Fault, Kind, Trace, traced, watched};
use crate::wire::{Ask, Wire};

/// How many are tried at once.
const LANES: usize = 4;

const SET: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

fn plan() -> crate::house::Plan {
    House::plan().set("workers", "4").set("senders", "4")
}

/// It serves, or it ends and says that it has no thread.
fn without_a_thread(fault: Fault) {
    let house = plan().build();
    watched(&house);
    house.replan(|plan| fault.on(plan));
    match house.try_launch() {
        Ok(()) => {
            house.deploy("a", SET);
            assert_eq!(house.direct("a", &json!({}))["output"], 1);
            house.stop();
        }
        Err(status) => ended_saying(&house, status.code(), &["cannot be started"]),
    }
    house.replan(|plan| plan.unset_env("SHIM_FAIL"));
    house.launch();
    house.deploy("a", SET);
    assert_eq!(house.direct("a", &json!({}))["output"], 1);
}

#[test]
fn whichever_thread_cannot_be_started_it_serves_or_says_so() {
    let house = plan().build();
    let trace = traced(&house);
    house.launch();
    house.stop();
    let count = Trace::read(&trace).count(Kind::Thread);
    let stride = (count / asked("SKEP_TEST_FAULTS", 80).max(1) as usize).max(count.min(5));
    let stride = if asked("SKEP_TEST_FAULTS", 80) > 1_000 {
        1
    } else {
        stride
    };
    let nths: Vec<usize> = (1..=count).step_by(stride).collect();
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(&nth) = nths.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let fault = Fault {
                        op: "thread",
                        nth: nth as u64,
                        errno: EAGAIN,
                        forever: nth % 2 == 0,
                    };
                    if catch_unwind(AssertUnwindSafe(|| without_a_thread(fault))).is_err() {
                        bad.lock().expect("nobody panics with it").push(fault);
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().expect("nobody panics with it");
    eprintln!("{} of {count} threads at start", nths.len());
    assert!(bad.is_empty(), "{bad:?}");
}

/// The binary under those limits of descriptors.
fn limited(house: &House, soft: u32, hard: u32) {
    let script = house.path("limited");
    let text =
        format!("#!/bin/sh\nulimit -Sn {soft} && ulimit -Hn {hard} && exec {BINARY} \"$@\"\n");
    fs::write(&script, text).expect("the folder is writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).expect("it is ours");
    house.replan(|plan| plan.binary(&script));
}

/// Takes connections until they are refused; those that are served.
fn crowd(house: &House, count: usize) -> Vec<Wire> {
    let ask = Ask::new(house.address(), "GET", "/v1/deployments").key(ADMIN);
    let mut served = Vec::new();
    for _ in 0..count {
        let Ok(mut wire) = Wire::open(house.address()) else {
            continue;
        };
        let answer = wire.send(&ask.bytes(false)).and_then(|()| wire.answer());
        match answer {
            Ok(answer) if answer.status == 200 => served.push(wire),
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            // Too many to tell each.
            Err(_) => {}
        }
    }
    served
}

#[test]
fn with_256_descriptors_it_serves_and_runs_go_on_beside_a_crowd() {
    for (soft, hard) in [(256, 256), (64, 256)] {
        let (house, receiver) = (House::plan().build(), Receiver::start());
        limited(&house, soft, hard);
        house.launch();
        let limits = fs::read_to_string(format!("/proc/{}/limits", house.pid()));
        let limits = limits.expect("the process lives");
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let numbers: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        assert_eq!(numbers[3..5], ["256", "256"], "soft {soft}");
        house.deploy("work", &receiver.fill(WORK));
        let ids: Vec<String> = (0..40)
            .map(|n| house.start_run("work", &json!({"n": n.to_string()}), &receiver.at("/hook")))
            .collect();
        let mut served = crowd(&house, 300);
        assert!(served.len() >= 32, "{} were served", served.len());
        receiver.wait_for("/hook", ids.len());
        let ask = Ask::new(house.address(), "GET", "/v1/deployments").key(ADMIN);
        for wire in &mut served {
            wire.send(&ask.bytes(false)).expect("it stays open");
            assert_eq!(wire.answer().expect("it is answered").status, 200);
        }
        drop(served);
        crate::house::wait_until("there is room again", crate::wire::PATIENCE, || {
            let answer = ask.try_send().ok()?;
            (answer.status == 200).then_some(())
        });
        for id in &ids {
            house.delivery_is(id, "delivered");
        }
        house.stop();
    }
}
