//! `/metrics`, `/v1/stats` and `/v1/system`: the text by a strict reader, what moves, what never falls, who may look.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::house::{ADMIN, House, direct_body, text, wait_until};
use crate::receiver::{Act, Receiver, status};
use crate::scrape::{Scrape, read};
use crate::wire::{PATIENCE, Wire};

const OPEN: &str = "application/openmetrics-text; version=1.0.0";

fn rows_of(list: &Value) -> Vec<Value> {
    list.as_array().expect("a list").clone()
}

#[track_caller]
fn scrape(house: &House) -> Scrape {
    let answer = house.ask("GET", "/metrics").no_key().send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    read(&answer.text(), false)
}

/// Waits until a sample has that value, and says what the scrape was.
#[track_caller]
fn is_counted(house: &House, sample: &str, value: f64) -> Scrape {
    wait_until(&format!("{sample} is {value}"), PATIENCE, || {
        let seen = scrape(house);
        assert!(
            seen.value(sample) <= value,
            "{sample}: {}",
            seen.value(sample)
        );
        (seen.value(sample) == value).then_some(seen)
    })
}

const LOCAL: &str = "
steps:
  - {id: call, http: {method: GET, url: 'RECEIVER/step'}, retry: {max: 1, backoff: 10ms..10ms}}
output: done";

#[test]
fn both_formats_are_sound_and_hold_the_same_series() {
    let house = House::start();
    house.deploy("local", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    house.direct("local", &json!({}));
    let plain = house.ask("GET", "/metrics").no_key().send();
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let open = house
        .ask("GET", "/metrics")
        .no_key()
        .header("Accept", OPEN)
        .send();
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let (plain, open) = (read(&plain.text(), false), read(&open.text(), true));
    let names = |scrape: &Scrape| -> BTreeSet<String> {
        let all = scrape.0.values().flat_map(|family| family.samples.keys());
        all.filter(|name| !name.contains("/metrics"))
            .cloned()
            .collect()
    };
    assert_eq!(names(&plain), names(&open));
    for name in [
        "skep_build_info",
        "process_start_time_seconds",
        "skep_workers",
    ] {
        assert!(plain.0.contains_key(name), "{name}");
    }
    assert_eq!(plain.value("skep_workers"), 32.0);
    assert!(plain.value("process_resident_memory_bytes") > 1e6);
    assert!(plain.value("skep_file_bytes") >= 4096.0);
    assert!(
        plain.0["skep_file_free_bytes"]
            .samples
            .contains_key("skep_file_free_bytes")
    );
    assert!(plain.value("skep_disk_free_bytes") > 0.0);
}

#[test]
fn what_happens_is_counted_and_no_counter_falls() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/step", [status(500), status(200)]);
    house.deploy("local", &receiver.fill(LOCAL));
    house.deploy("plain", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    let before = scrape(&house);
    let id = house.start_run("local", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    house.direct("plain", &json!({}));
    let seen = is_counted(&house, "skep_runs_ended_total{status=\"completed\"}", 2.0);
    for (sample, value) in [
        ("skep_runs_accepted_total{source=\"api\"}", 2.0),
        ("skep_run_queue_time_seconds_count", 2.0),
        ("skep_run_duration_seconds_count", 2.0),
        ("skep_runs_open{state=\"queued\"}", 0.0),
        ("skep_runs_open{state=\"running\"}", 0.0),
        (
            "skep_steps_ended_total{kind=\"http\",status=\"completed\"}",
            1.0,
        ),
        (
            "skep_steps_ended_total{kind=\"set\",status=\"completed\"}",
            1.0,
        ),
        (
            "skep_step_attempts_total{kind=\"http\",outcome=\"http_status\"}",
            1.0,
        ),
        (
            "skep_step_attempts_total{kind=\"http\",outcome=\"done\"}",
            1.0,
        ),
        ("skep_step_retries_total{kind=\"http\"}", 1.0),
        ("skep_step_duration_seconds_count{kind=\"http\"}", 2.0),
        ("skep_deliveries_created_total", 1.0),
        ("skep_deliveries_ended_total{status=\"delivered\"}", 1.0),
        ("skep_deliveries_open{status=\"pending\"}", 0.0),
        ("skep_delivery_attempts_total{outcome=\"2xx\"}", 1.0),
        ("skep_delivery_lag_seconds_count", 1.0),
    ] {
        assert_eq!(seen.value(sample), value, "{sample}");
    }
    assert!(seen.value("skep_commit_duration_seconds_count") >= 4.0);
    assert_eq!(
        seen.value("skep_commit_duration_seconds_count"),
        seen.value("skep_commit_verbs_count")
    );
    let after = seen.counters();
    for (name, value) in before.counters() {
        assert!(
            after.get(name).is_some_and(|now| *now >= value),
            "{name} fell or is gone"
        );
    }
}

#[test]
fn what_waits_is_shown_and_what_was_there_before_the_start_too() {
    let plan = House::plan().set("workers", "0");
    let (house, receiver) = (plan.start(), Receiver::start());
    house.deploy("plain", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    let ids: Vec<String> = (0..3)
        .map(|_| house.start_run("plain", &json!({}), &receiver.at("/hook")))
        .collect();
    is_counted(&house, "skep_runs_open{state=\"queued\"}", 3.0);
    let age = "skep_run_oldest_queued_age_seconds";
    wait_until("the oldest has an age", PATIENCE, || {
        (scrape(&house).value(age) > 0.0).then_some(())
    });
    house.restart();
    let seen = scrape(&house);
    assert_eq!(seen.value("skep_runs_open{state=\"queued\"}"), 3.0);
    assert_eq!(
        seen.value("skep_runs_accepted_total{source=\"api\"}"),
        0.0,
        "a process counts its own"
    );
    house
        .post(&format!("/v1/workflow_runs/{}/cancel", ids[0]), &json!({}))
        .is(200);
    is_counted(&house, "skep_runs_ended_total{status=\"cancelled\"}", 1.0);
    // Executed, but with nobody to deliver: two results and the cancellation are owed, and still are after a restart.
    house.stop();
    house.replan(|plan| plan.set("workers", "2").set("senders", "0"));
    house.launch();
    is_counted(&house, "skep_runs_ended_total{status=\"completed\"}", 2.0);
    house.restart();
    assert!(scrape(&house).value("skep_deliveries_open{status=\"pending\"}") >= 2.0);
}

#[test]
fn a_delivery_that_fails_is_told_by_its_class_and_named_in_the_system() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/hook", [status(503)]);
    house.deploy("plain", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    house.tune("plain", &json!({"retry_schedule": ["0ms", "1h"]}));
    let id = house.start_run("plain", &json!({}), &receiver.at("/hook"));
    house.first_attempt(&id);
    is_counted(&house, "skep_delivery_attempts_total{outcome=\"5xx\"}", 1.0);
    let system = house.get("/v1/system");
    assert_eq!(system["status"], "degraded");
    let problems = rows_of(&system["problems"]);
    let origin = receiver.url();
    let named = |problem: &Value| {
        let problem = text(problem);
        problem.starts_with("1 delivery to ") && problem.contains(origin.trim_end_matches('/'))
    };
    assert!(problems.iter().any(named), "{problems:?}");
}

#[test]
fn a_request_is_counted_by_its_pattern_whatever_was_asked() {
    let house = House::start();
    house
        .ask("GET", "/v1/workflow_runs/made-up-by-a-caller")
        .send();
    house
        .ask("GET", "/v1/deployments/x")
        .no_key()
        .send()
        .refused(401, "invalid_access");
    house.ask("GET", "/made/up").send();
    house.ask("BREW", "/v1/keys").send();
    house.invoke(&json!({"deployment": 7}));
    house
        .ask("POST", "/v1/workflow/invoke")
        .no_key()
        .json(&json!({}))
        .send();
    let mut wire = Wire::open(house.address()).expect("the server accepts");
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .expect("it is sent");
    assert_eq!(wire.answer().expect("an answer").status, 400);
    let answer = house.ask("GET", "/metrics").no_key().send();
    let shown = answer.text();
    assert!(
        !shown.contains("made-up") && !shown.contains("made/up"),
        "{shown}"
    );
    let seen = read(&answer.text(), false);
    for (labels, count) in [
        (
            "method=\"GET\",route=\"/v1/workflow_runs/{id}\",status=\"404\"",
            1.0,
        ),
        (
            "method=\"GET\",route=\"/v1/deployments/{deployment}\",status=\"401\"",
            1.0,
        ),
        ("method=\"GET\",route=\"unmatched\",status=\"404\"", 1.0),
        ("method=\"other\",route=\"unmatched\",status=\"405\"", 1.0),
        ("method=\"GET\",route=\"unmatched\",status=\"400\"", 1.0),
        (
            "method=\"POST\",route=\"/v1/workflow/invoke\",status=\"400\"",
            1.0,
        ),
        (
            "method=\"POST\",route=\"/v1/workflow/invoke\",status=\"401\"",
            1.0,
        ),
    ] {
        let sample = format!("skep_http_requests_total{{{labels}}}");
        assert_eq!(seen.value(&sample), count, "{sample}");
    }
    assert_eq!(
        seen.value("skep_runs_refused_total{code=\"validation_error\"}"),
        1.0
    );
    assert_eq!(
        seen.value("skep_runs_refused_total{code=\"invalid_access\"}"),
        1.0
    );
    let times =
        "skep_http_request_duration_seconds_count{method=\"GET\",route=\"/v1/workflow_runs/{id}\"}";
    assert_eq!(seen.value(times), 1.0);
    assert!(seen.value("skep_http_connections") >= 1.0);
    assert_eq!(seen.value("skep_http_connections_limit"), limit(&house));
}

fn limit(house: &House) -> f64 {
    let system = house.get("/v1/system");
    system["connections"]["limit"].as_f64().expect("a number")
}

#[test]
fn refused_connections_are_counted() {
    let house = House::plan().set("max_connections", "2").start();
    let held: Vec<Wire> = (0..2)
        .map(|_| Wire::open(house.address()).expect("the server accepts"))
        .collect();
    wait_until("one is refused", PATIENCE, || {
        let answer = house.ask("GET", "/healthz").try_send().ok()?;
        (answer.status == 503).then_some(())
    });
    drop(held);
    let seen = wait_until("there is room again", PATIENCE, || {
        let answer = house.ask("GET", "/metrics").no_key().try_send().ok()?;
        (answer.status == 200).then(|| read(&answer.text(), false))
    });
    assert!(seen.value("skep_http_connections_refused_total") >= 1.0);
}

#[test]
fn metrics_ask_for_a_key_once_one_is_set() {
    let key = "a-scraper-s-own-key-0123456789";
    let house = House::plan().env("SKEP_METRICS_KEY", key).start();
    let look = |key: &str| house.ask("GET", "/metrics").key(key).send();
    house
        .ask("GET", "/metrics")
        .no_key()
        .send()
        .refused(401, "invalid_access");
    look("a-scraper-s-own-key-0123456780").refused(401, "invalid_access");
    assert_eq!(look(key).status, 200);
    assert_eq!(look(ADMIN).status, 200);
    let (_, reader) = house.make_key("reader", "read");
    let (_, invoker) = house.make_key("invoker", "invoke");
    assert_eq!(look(&reader).status, 200);
    look(&invoker).refused(403, "insufficient_scope");
    // It opens nothing else, and is never shown.
    house
        .ask("GET", "/v1/stats")
        .key(key)
        .send()
        .refused(401, "invalid_access");
    let system = house.get("/v1/system");
    assert!(!system.to_string().contains(key));
    let settings = rows_of(&system["settings"]);
    let shown = |name: &str| {
        let found = settings.iter().find(|row| row["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is shown")).clone()
    };
    assert_eq!(shown("metrics_key")["value"], "set");
    assert_eq!(shown("metrics_key")["from"], "variable SKEP_METRICS_KEY");
    assert_eq!(shown("master_key")["value"], "not set");
}

#[test]
fn stats_tell_the_last_hour_and_day() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("plain", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    house.deploy(
        "bad",
        "steps: [{id: a, set: {x: '{{ 1 / 0 }}'}}]\noutput: 1",
    );
    let id = house.start_run("plain", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    let id = house.start_run("bad", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    is_counted(
        &house,
        "skep_deliveries_ended_total{status=\"delivered\"}",
        2.0,
    );
    let stats = house.get("/v1/stats");
    assert_eq!(stats["since"], house.get("/v1/system")["started_at"]);
    for (track, span) in [("hour", 60_000), ("day", 900_000)] {
        let track = &stats[track];
        assert_eq!(track["span"], span);
        let spans = rows_of(&track["spans"]);
        // The tests of a moment may lie on both sides of a boundary.
        assert!((1..=3).contains(&spans.len()), "{track}");
        let sum = |name: &str| {
            spans
                .iter()
                .filter_map(|span| span[name].as_u64())
                .sum::<u64>()
        };
        let found = ["accepted", "completed", "failed", "cancelled", "delivered"].map(sum);
        assert_eq!(found, [2, 1, 1, 0, 2], "{track}");
        let spreads = spans.iter().filter(|span| !span["run_duration"].is_null());
        for span in spreads {
            let (p50, p99) = (&span["run_duration"]["p50"], &span["run_duration"]["p99"]);
            assert!(p50.as_u64() <= p99.as_u64(), "{span}");
        }
        let last = spans.last().expect("checked above");
        assert_eq!(last["backlog"], stats["backlog"], "{track}");
    }
}

#[test]
fn the_system_shows_folders_to_admins_alone() {
    let house = House::plan().set("max_queued", "7").start();
    let (_, reader) = house.make_key("reader", "read");
    let whole = house.get("/v1/system");
    let seen = house.ask("GET", "/v1/system").key(&reader).send().is(200);
    assert_eq!(seen["file"]["path"], "skep.db");
    let folder = house.path("").display().to_string();
    assert!(
        !seen.to_string().contains(folder.trim_end_matches('/')),
        "{seen}"
    );
    assert!(text(&whole["file"]["path"]).ends_with("/skep.db"));
    assert_eq!(seen["status"], "ok", "{seen}");
    assert_eq!(seen["problems"], json!([]));
    assert_eq!(seen["runs"]["max_queued"], 7);
    assert_eq!(seen["file"]["secrets_sealed"], false);
    assert_eq!(seen["retention"]["runs"], 30 * 24 * 3_600_000_u64);
    let settings = rows_of(&seen["settings"]);
    let queued = settings.iter().find(|row| row["name"] == "max_queued");
    assert_eq!(
        queued,
        Some(&json!({"name": "max_queued", "value": "7", "from": "flag --max-queued"}))
    );
    let (_, invoker) = house.make_key("invoker", "invoke");
    for path in ["/v1/system", "/v1/stats"] {
        house
            .ask("GET", path)
            .key(&invoker)
            .send()
            .refused(403, "insufficient_scope");
    }
}

#[test]
fn what_holds_a_slot_is_shown_while_it_does() {
    let (house, receiver) = (House::plan().set("workers", "4").start(), Receiver::start());
    receiver.on("/step", [Act::Gate]);
    house.deploy("local", &receiver.fill(LOCAL));
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| house.invoke(&direct_body("local", &json!({}))));
        receiver.wait_for("/step", 1);
        is_counted(&house, "skep_direct_waiting", 1.0);
        let seen = is_counted(&house, "skep_workers_busy", 1.0);
        assert_eq!(seen.value("skep_runs_open{state=\"running\"}"), 1.0);
        receiver.open_gate();
        caller.join().expect("answered").is(200);
    });
}
