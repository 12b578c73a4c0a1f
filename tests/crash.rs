//! kill -9 at random moments: whatever was answered with a 2xx ends, is delivered, and did nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::dice::{Dice, asked};
use crate::house::{ADMIN, House, callback_body, pause, rows, text, wait_until};
use crate::receiver::{Act, Arrival, Receiver};
use crate::wire::{Ask, PATIENCE, Wire};

const WORK: &str = "
inputs: {n: {type: text}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: nap, delay: 20ms}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {n: '{{ n }}'}}}
output: {n: '{{ n }}'}
";

/// Starts runs one after the other until the server is gone; keeps what was answered with a 2xx.
fn load(
    address: SocketAddr,
    hook: &str,
    prefix: &str,
    over: &AtomicBool,
    accepted: &Mutex<Vec<String>>,
) {
    let Ok(mut wire) = Wire::open(address) else {
        return;
    };
    for at in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let body = callback_body("work", &json!({"n": format!("{prefix}-{at}")}), hook);
        let ask = Ask::new(address, "POST", "/v1/workflow/invoke")
            .key(ADMIN)
            .json(&body);
        if wire.send(&ask.bytes(false)).is_err() {
            return;
        }
        let Ok(answer) = wire.answer() else { return };
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = text(&answer.json()["request_id"]);
        accepted.lock().expect("no loader panicked").push(id);
        // The moments of the kills matter, not the load: a few hundred runs a second are enough.
        pause(Duration::from_millis(4));
    }
}

/// Every run of the server, by request id.
fn every_run(house: &House) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = house.get(&format!("/v1/workflow_runs?limit=500{cursor}"));
        for run in rows(&page) {
            all.insert(text(&run["request_id"]), run);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// How many runs, or deliveries, are in one of these states: asked for at once, because they move between them.
fn in_states(house: &House, list: &str, states: &[&str]) -> usize {
    let states = states.join(",");
    rows(&house.get(&format!("/v1/{list}?limit=500&status={states}"))).len()
}

fn kill_rounds(house: &House, receiver: &Receiver) -> Vec<String> {
    let kills = asked("SKEP_TEST_KILLS", 20);
    let seed = asked("SKEP_TEST_SEED", 2);
    let mut dice = Dice(seed);
    let accepted = Mutex::new(Vec::new());
    let hook = receiver.at("/hook");
    let mut back = Vec::new();
    for round in 0..kills {
        let over = AtomicBool::new(false);
        let address = house.address();
        thread::scope(|scope| {
            for loader in 0..3 {
                let (hook, over, accepted) = (&hook, &over, &accepted);
                scope.spawn(move || {
                    load(address, hook, &format!("{round}-{loader}"), over, accepted)
                });
            }
            pause(Duration::from_millis(10 + dice.next() % 250));
            house.kill();
            over.store(true, Ordering::SeqCst);
        });
        let from = Instant::now();
        house.launch();
        house.ask("GET", "/healthz").send().is(200);
        back.push(from.elapsed());
    }
    back.sort();
    let accepted = accepted.into_inner().expect("no loader panicked");
    let (median, worst) = (back[back.len() / 2], back[back.len() - 1]);
    eprintln!(
        "{kills} kills (seed {seed}), {} runs accepted; serving again after {median:?} (median), {worst:?} (worst)",
        accepted.len()
    );
    accepted
}

/// One event id a run; duplicates only where an attempt was interrupted, and that is on record.
fn judge_deliveries(house: &House, runs: &BTreeMap<String, Value>, receiver: &Receiver) {
    let mut events: BTreeMap<String, Vec<Arrival>> = BTreeMap::new();
    for arrival in receiver.arrived("/hook") {
        events
            .entry(text(&arrival.json()["request_id"]))
            .or_default()
            .push(arrival);
    }
    let mut duplicates = 0;
    for id in runs.keys() {
        let arrivals = events
            .remove(id)
            .unwrap_or_else(|| panic!("{id} was never called back"));
        let ids: BTreeSet<&str> = arrivals
            .iter()
            .map(|arrival| arrival.header("webhook-id"))
            .collect();
        assert_eq!(ids.len(), 1, "{id} has exactly one final event");
        assert!(
            arrivals
                .iter()
                .all(|arrival| arrival.body == arrivals[0].body),
            "{id}: other bytes"
        );
        assert_eq!(
            arrivals[0].json()["event_type"],
            "workflow.completed",
            "{id}"
        );
        if arrivals.len() > 1 {
            duplicates += arrivals.len() - 1;
            let attempts = house.delivery(id)["attempts"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let cut = attempts
                .iter()
                .filter(|row| row["error_class"] == "interrupted")
                .count();
            assert!(
                arrivals.len() - 1 <= cut,
                "{id}: {} arrivals, {cut} interrupted",
                arrivals.len()
            );
        }
    }
    assert!(
        events.is_empty(),
        "events of runs that do not exist: {:?}",
        events.keys()
    );
    eprintln!(
        "{} runs called back, {duplicates} duplicates, each an interrupted attempt",
        runs.len()
    );
}

/// A step runs again only with the same key, and never once the run has gone past it.
fn judge_steps(receiver: &Receiver) {
    let by_key = |path: &str| {
        let mut seen: BTreeMap<String, Vec<Arrival>> = BTreeMap::new();
        for arrival in receiver.arrived(path) {
            let key = arrival.header("idempotency-key");
            let run = key.split(':').next().unwrap_or_default().to_owned();
            assert!(
                key.ends_with(&format!(":{}:0", &path[1..])),
                "an interruption keeps the key: {key}"
            );
            seen.entry(run).or_default().push(arrival);
        }
        seen
    };
    let (first, second) = (by_key("/a"), by_key("/b"));
    let mut hooks: BTreeMap<String, Instant> = BTreeMap::new();
    for arrival in receiver.arrived("/hook") {
        hooks
            .entry(text(&arrival.json()["run_id"]))
            .or_insert(arrival.at);
    }
    let again = |seen: &BTreeMap<String, Vec<Arrival>>| -> usize {
        seen.values().map(|arrivals| arrivals.len() - 1).sum()
    };
    eprintln!(
        "steps run again because a kill came in between: {} a, {} b",
        again(&first),
        again(&second)
    );
    for (run, arrivals) in &second {
        let began = arrivals[0].at;
        let late = first[run]
            .iter()
            .filter(|arrival| arrival.at > began)
            .count();
        assert_eq!(late, 0, "{run}: step a ran again after it had finished");
        let ended = hooks.get(run).expect("every run is called back");
        assert!(
            arrivals.iter().all(|arrival| arrival.at <= *ended),
            "{run}: b ran after the end"
        );
    }
}

#[test]
fn kills_under_load_lose_nothing_and_repeat_nothing() {
    let receiver = Receiver::start();
    let house = House::plan()
        .set("workers", "16")
        .set("senders_per_origin", "8")
        .start();
    house.deploy("work", &receiver.fill(WORK));
    let accepted = kill_rounds(&house, &receiver);
    let within = Duration::from_secs(120);
    wait_until("every run has ended", within, || {
        let open = ["queued", "running", "waiting"];
        (in_states(&house, "workflow_runs", &open) == 0).then_some(())
    });
    wait_until("every delivery has ended", within, || {
        (in_states(&house, "deliveries", &["pending", "delivering"]) == 0).then_some(())
    });
    let runs = every_run(&house);
    for id in &accepted {
        assert!(
            runs.contains_key(id),
            "{id} was answered with 202 and is lost"
        );
    }
    for (id, run) in &runs {
        assert_eq!(run["status"], "completed", "{id}");
    }
    assert_eq!(
        in_states(&house, "deliveries", &["dead", "gone", "cancelled"]),
        0
    );
    judge_deliveries(&house, &runs, &receiver);
    judge_steps(&receiver);
    house.stop();
}

#[test]
fn a_finished_step_is_not_run_again_and_one_in_flight_keeps_its_key() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/b", [Act::Hang, crate::receiver::status(200)]);
    house.deploy("work", &receiver.fill(WORK));
    let id = house.start_run("work", &json!({"n": "1"}), &receiver.at("/hook"));
    receiver.wait_for("/b", 1);
    house.kill();
    house.launch();
    house.run_is(&id, "completed");
    receiver.wait_for("/hook", 1);
    assert_eq!(receiver.arrived("/a").len(), 1);
    let second = receiver.arrived("/b");
    assert_eq!(second.len(), 2);
    assert_eq!(
        second[0].header("idempotency-key"),
        second[1].header("idempotency-key")
    );
}

#[test]
fn an_attempt_cut_by_a_kill_is_interrupted_and_due_again_at_once() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/hook", [Act::Hang, crate::receiver::status(200)]);
    house.deploy("work", &receiver.fill(WORK));
    let id = house.start_run("work", &json!({"n": "1"}), &receiver.at("/hook"));
    receiver.wait_for("/hook", 1);
    house.kill();
    house.launch();
    let arrivals = receiver.wait_for("/hook", 2);
    assert_eq!(arrivals[0].body, arrivals[1].body);
    assert_eq!(
        arrivals[0].header("webhook-id"),
        arrivals[1].header("webhook-id")
    );
    let delivery = house.delivery_is(&id, "delivered");
    let attempts = delivery["attempts"].as_array().expect("attempts are shown");
    let classes: Vec<&Value> = attempts
        .iter()
        .map(|attempt| &attempt["error_class"])
        .collect();
    assert_eq!(classes, [&json!("interrupted"), &Value::Null]);
}

#[test]
fn a_kill_right_after_the_answer_loses_nothing() {
    let (house, receiver) = (House::plan().set("workers", "0").start(), Receiver::start());
    house.deploy("work", &receiver.fill(WORK));
    let ids: Vec<String> = (0..3)
        .map(|at| {
            let id = house.start_run("work", &json!({"n": at.to_string()}), &receiver.at("/hook"));
            house.kill();
            house.launch();
            id
        })
        .collect();
    assert!(ids.iter().all(|id| house.run(id)["status"] == "queued"));
    house.replan(|plan| plan.unset("workers"));
    house.restart();
    receiver.wait_for("/hook", 3);
    for id in &ids {
        house.run_is(id, "completed");
    }
}

#[test]
fn a_kill_in_the_middle_of_many_writes_leaves_a_sound_file() {
    let receiver = Receiver::start();
    let house = House::plan().set("workers", "4").start();
    house.deploy("work", &receiver.fill(WORK));
    let (over, accepted) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (address, hook) = (house.address(), receiver.at("/hook"));
    thread::scope(|scope| {
        scope.spawn(|| load(address, &hook, "w", &over, &accepted));
        wait_until("there is something to lose", PATIENCE, || {
            (accepted.lock().expect("no loader panicked").len() > 20).then_some(())
        });
        house.kill();
        over.store(true, Ordering::SeqCst);
    });
    let file = rusqlite::Connection::open(house.data()).expect("the file opens");
    let verdict: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the check answers");
    assert_eq!(verdict, "ok");
    let strangers: i64 = file
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
            row.get(0)
        })
        .expect("the check answers");
    assert_eq!(strangers, 0);
}
