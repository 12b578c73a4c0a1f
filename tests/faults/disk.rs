//! Each write and each sync of a short life fails, once or from then on, for want of space or by an error.
//!
//! `SKEP_TEST_FAULTS` says how many of them are tried; `scripts/proof` tries all.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::dice::asked;
use crate::faults::{WORK, ended_saying, is_called_back_once};
use crate::house::{ADMIN, House, callback_body, direct_body, pause, rows, text};
use crate::receiver::Receiver;
use crate::shim::{EIO, ENOSPC, Fault, Kind, Trace, traced, watched};
use crate::wire::{Ask, PATIENCE};

/// How many are tried at once.
const LANES: usize = 4;

/// What the clients of a life were told.
#[derive(Debug, Default)]
struct Told {
    /// By a 2xx (or a 504, which says that it goes on): the run's id, and whether it is to be called back.
    accepted: Vec<(String, bool)>,
    /// By an error: the input that must be nowhere.
    refused: Vec<String>,
}

/// An answer, or none because the connection was closed; silence ends the test.
#[track_caller]
fn ask(ask: &Ask) -> Option<crate::wire::Answer> {
    match ask.try_send() {
        Ok(answer) => Some(answer),
        Err(fault) => {
            let silent = matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!silent, "no answer in {PATIENCE:?}: {fault}");
            None
        }
    }
}

/// Deploys, starts five runs, and lets them be executed and delivered, as far as the disk allows.
fn live(house: &House, receiver: &Receiver, fault: Option<Fault>) -> Told {
    let mut told = Told::default();
    let path = "/v1/deployments/work/variants/prod";
    let address = house.address();
    let deploy = Ask::new(address, "PUT", path).key(ADMIN);
    ask(&deploy.body("application/yaml", receiver.fill(WORK).as_bytes()));
    for number in 0..5 {
        let n = format!("n{number}");
        let inputs = json!({"n": n});
        let body = match number {
            4 => direct_body("work", &inputs),
            _ => callback_body("work", &inputs, &receiver.at("/hook")),
        };
        let invoke = Ask::new(address, "POST", "/v1/workflow/invoke").key(ADMIN);
        match ask(&invoke.json(&body)) {
            Some(answer) if answer.status / 100 == 2 || answer.status == 504 => {
                let id = text(&answer.json()["request_id"]);
                told.accepted.push((id, number < 4));
            }
            Some(answer) => {
                let expected = matches!(answer.status, 404 | 503);
                assert!(expected, "{}: {}", answer.status, answer.text());
                told.refused.push(n);
            }
            None => {}
        }
    }
    // A fault that stays leaves nothing to wait for.
    if fault.is_none_or(|fault| !fault.forever) {
        let owed = told.accepted.iter().filter(|(_, owed)| *owed).count();
        let until = Instant::now() + PATIENCE;
        while house.is_up() && called_back(receiver) < owed {
            assert!(
                Instant::now() < until,
                "it does not go on:\n{}",
                house.log()
            );
            pause(Duration::from_millis(5));
        }
    }
    told
}

fn called_back(receiver: &Receiver) -> usize {
    let events = receiver.arrived("/hook");
    let mut ids: Vec<&str> = events
        .iter()
        .map(|event| event.header("webhook-id"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// Ends it, if it has not ended by itself as documented.
fn end(house: &House) {
    if house.is_up() {
        house.signal("TERM");
    }
    let status = house.ended_by_itself();
    if status.code() != Some(0) {
        ended_saying(house, status.code(), &["ERROR"]);
    }
}

fn new_house() -> (House, Receiver) {
    let house = House::plan()
        .set("workers", "16")
        .set("senders", "4")
        .set("shutdown_grace", "1s")
        .set("direct_timeout", "2s")
        .build();
    (house, Receiver::start())
}

/// What was promised is kept once the disk is well again.
fn judge(house: &House, receiver: &Receiver, told: &Told) {
    house.replan(|plan| plan.unset_env("SHIM_FAIL"));
    house.launch();
    for (id, is_owed) in &told.accepted {
        assert_eq!(house.run_ended(id)["status"], "completed");
        if *is_owed {
            house.delivery_is(id, "delivered");
            is_called_back_once(receiver, id);
        }
    }
    let runs = rows(&house.get("/v1/workflow_runs?limit=500"));
    for n in &told.refused {
        let is_there = runs
            .iter()
            .any(|run| run["start_inputs"]["n"] == n.as_str());
        assert!(!is_there, "{n} was refused and is there");
    }
    let steps: Vec<_> = ["/a", "/b"]
        .iter()
        .flat_map(|path| receiver.arrived(path))
        .collect();
    for step in &steps {
        let key = step.header("idempotency-key");
        assert!(key.split(':').count() == 3, "{key}");
    }
    house.stop();
    let file = rusqlite::Connection::open(house.data()).expect("the file opens");
    let verdict = file.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(verdict.as_deref(), Ok("ok"));
}

fn one(fault: Fault) {
    let (house, receiver) = new_house();
    watched(&house);
    house.replan(|plan| fault.on(plan));
    let told = match house.try_launch() {
        Ok(()) => {
            let told = live(&house, &receiver, Some(fault));
            end(&house);
            told
        }
        Err(status) => {
            ended_saying(&house, status.code(), &["error: "]);
            Told::default()
        }
    };
    judge(&house, &receiver, &told);
}

/// How many writes and syncs such a life has when nothing fails.
fn counted() -> [(&'static str, usize); 2] {
    let (house, receiver) = new_house();
    let trace = traced(&house);
    house.launch();
    let told = live(&house, &receiver, None);
    assert_eq!(told.accepted.len(), 5);
    house.stop();
    let trace = Trace::read(&trace);
    [
        ("write", trace.count(Kind::Write)),
        ("sync", trace.count(Kind::SyncEnds)),
    ]
}

#[test]
fn whichever_write_or_sync_fails_what_was_answered_is_there() {
    let counted = counted();
    let mut faults = Vec::new();
    for (op, count) in counted {
        for nth in 1..=count as u64 {
            for (errno, forever) in [(ENOSPC, false), (ENOSPC, true), (EIO, false), (EIO, true)] {
                faults.push(Fault {
                    op,
                    nth,
                    errno,
                    forever,
                });
            }
        }
    }
    let (all, wanted) = (faults.len(), asked("SKEP_TEST_FAULTS", 80) as usize);
    // A stride that shares no factor with the four kinds of fault meets all of them.
    let stride = (all / wanted.max(1)).max(1) | 1;
    let chosen: Vec<Fault> = faults.into_iter().step_by(stride).collect();
    let begun = Instant::now();
    let (next, bad) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(fault) = chosen.get(number) else {
                        return;
                    };
                    if number % 100 == 99 {
                        eprintln!("{} of {} faults", number + 1, chosen.len());
                    }
                    if catch_unwind(AssertUnwindSafe(|| one(*fault))).is_err() {
                        bad.lock().expect("nobody panics with it").push(*fault);
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().expect("nobody panics with it");
    eprintln!(
        "{counted:?}; {} of {all} faults tried in {:?}",
        chosen.len(),
        begun.elapsed()
    );
    assert!(bad.is_empty(), "{bad:?}");
}
