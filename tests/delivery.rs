//! Callback events: what is sent, how it is signed, when it is tried again, and what is kept of it.

use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{House, has_all, has_exactly, keys, rows, text};
use crate::receiver::{Act, Arrival, Receiver, status, with_header};
use crate::verify::{event, is_signed, outside_opinion};

const GIVE: &str = "
inputs: {n: {type: number, default: 1}}
steps: [{id: made, set: {n: '{{ n }}'}}]
output: '{{ made.output }}'
";

/// A house with `give` deployed, tried again after 50 ms, twice; a receiver; the deployment's secret.
fn ready() -> (House, Receiver, String) {
    let (house, receiver) = (House::start(), Receiver::start());
    let secret = text(&house.deploy("give", GIVE)["webhook_secret"]);
    let quick = json!({"retry_schedule": ["0s", "50ms", "50ms"], "exchange_deadline": "1s"});
    house.tune("give", &quick);
    (house, receiver, secret)
}

#[test]
fn a_completed_run_is_called_back_signed() {
    let (house, receiver, secret) = ready();
    let body = json!({
        "deployment": "give", "variant": "prod", "inputs": {"n": 7}, "user": "u-1",
        "metadata": {"order": 7, "vip": true},
        "async": {"enabled": true, "callback_url": receiver.at("/hook?from=skep")},
    });
    let request_id = text(&house.invoke(&body).is(202)["request_id"]);
    let arrival = receiver.wait_for("/hook", 1).remove(0);
    let event = event(&arrival, "workflow.completed");
    assert_eq!(event["data"], json!({"output": {"n": 7}}));
    assert_eq!(event["request_id"], request_id.as_str());
    assert_eq!(
        (&event["deployment"], &event["variant"]),
        (&json!("give"), &json!("prod"))
    );
    assert_eq!(
        (&event["version"], &event["user"]),
        (&json!(1), &json!("u-1"))
    );
    assert_eq!(event["metadata"], json!({"order": 7, "vip": true}));
    assert!(text(&event["created_at"]).ends_with('Z'));
    assert_eq!(
        (arrival.method.as_str(), arrival.path.as_str()),
        ("POST", "/hook?from=skep")
    );
    assert_eq!(arrival.header("content-type"), "application/json");
    assert_eq!(
        arrival.header("user-agent"),
        format!("skep/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(arrival.header("x-skep-attempt"), "1");
    is_signed(&arrival, &secret);
}

#[test]
fn a_failed_run_says_what_failed_and_where() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/down", [status(503)]);
    let yaml = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";
    let secret = text(&house.deploy("broken", &receiver.fill(yaml))["webhook_secret"]);
    house.start_run("broken", &json!({}), &receiver.at("/hook"));
    let arrival = receiver.wait_for("/hook", 1).remove(0);
    let event = event(&arrival, "workflow.failed");
    has_exactly(&event["data"], &["error", "error_code", "step"]);
    assert!(text(&event["data"]["error"]).contains("503"), "{event}");
    assert_eq!(event["data"]["step"], "call");
    assert!(!text(&event["data"]["error_code"]).is_empty());
    is_signed(&arrival, &secret);
}

#[test]
fn a_cancelled_run_gives_the_reason() {
    let (house, receiver) = (House::plan().set("workers", "0").start(), Receiver::start());
    let secret = text(&house.deploy("give", GIVE)["webhook_secret"]);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    house
        .post(
            &format!("/v1/workflow_runs/{id}/cancel"),
            &json!({"reason": "no longer needed"}),
        )
        .is(200);
    let arrival = receiver.wait_for("/hook", 1).remove(0);
    let event = event(&arrival, "workflow.cancelled");
    assert_eq!(
        event["data"],
        json!({"error": "no longer needed", "reason": "cancelled"})
    );
    is_signed(&arrival, &secret);
}

#[test]
fn a_changed_callback_is_refused_by_the_verifier() {
    let (house, receiver, secret) = ready();
    house.start_run("give", &json!({}), &receiver.at("/hook"));
    let good = receiver.wait_for("/hook", 1).remove(0);
    let changed = |change: &dyn Fn(&mut Arrival)| {
        let mut bad = good.clone();
        change(&mut bad);
        outside_opinion(&secret, &bad.headers, &bad.body)
    };
    let set = |name: &'static str, value: String| {
        move |bad: &mut Arrival| {
            for header in bad.headers.iter_mut().filter(|header| header.0 == name) {
                header.1.clone_from(&value);
            }
        }
    };
    assert!(changed(&|_| ()));
    assert!(!changed(&|bad| bad.body[0] = b' '), "one byte of the body");
    assert!(
        !changed(&set("webhook-id", "evt_other".to_owned())),
        "the id"
    );
    let stamp: i64 = good.header("webhook-timestamp").parse().expect("seconds");
    assert!(
        !changed(&set("webhook-timestamp", (stamp - 301).to_string())),
        "too old"
    );
    assert!(
        !changed(&set("webhook-timestamp", (stamp + 301).to_string())),
        "too new"
    );
    let bare = |bad: &mut Arrival| bad.headers.retain(|header| header.0 != "webhook-signature");
    assert!(!changed(&bare), "no signature");
    let other = text(&house.deploy("other", GIVE)["webhook_secret"]);
    assert!(
        !outside_opinion(&other, &good.headers, &good.body),
        "another deployment's secret"
    );
}

#[test]
fn a_receiver_that_fails_twice_gets_the_same_bytes_a_third_time() {
    let (house, receiver, secret) = ready();
    receiver.on("/hook", [status(500), status(404), status(204)]);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let arrivals = receiver.wait_for("/hook", 3);
    for (at, arrival) in arrivals.iter().enumerate() {
        assert_eq!(arrival.header("x-skep-attempt"), (at + 1).to_string());
        assert_eq!(arrival.body, arrivals[0].body, "byte-identical");
        assert_eq!(
            arrival.header("webhook-id"),
            arrivals[0].header("webhook-id")
        );
        is_signed(arrival, &secret);
    }
    let delivery = house.delivery_is(&id, "delivered");
    let statuses: Vec<&Value> = delivery["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| &row["response_status"])
        .collect();
    assert_eq!(statuses, [&json!(500), &json!(404), &json!(204)]);
    assert!(delivery["next_attempt_at"].is_null());
}

#[test]
fn a_receiver_that_never_accepts_leaves_a_dead_delivery() {
    let (house, receiver, _) = ready();
    receiver.on("/hook", [status(500)]);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let delivery = house.delivery_is(&id, "dead");
    assert_eq!(
        delivery["attempts"].as_array().map(Vec::len),
        Some(3),
        "the whole schedule"
    );
    assert_eq!(receiver.arrived("/hook").len(), 3);
}

#[test]
fn retry_after_makes_the_wait_longer() {
    let (house, receiver, _) = ready();
    receiver.on("/hook", [with_header(503, "Retry-After", "1"), status(200)]);
    house.start_run("give", &json!({}), &receiver.at("/hook"));
    let arrivals = receiver.wait_for("/hook", 2);
    let gap = arrivals[1].at - arrivals[0].at;
    assert!(
        gap >= Duration::from_millis(950),
        "the schedule says 50 ms, the receiver 1 s: {gap:?}"
    );
}

#[test]
fn gone_stops_at_once() {
    let (house, receiver, _) = ready();
    receiver.on("/hook", [status(410)]);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let delivery = house.delivery_is(&id, "gone");
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1));
    assert!(delivery["next_attempt_at"].is_null());
}

#[test]
fn redirects_are_failures_and_not_followed() {
    let (house, receiver, _) = ready();
    for code in [301, 302, 303, 307, 308] {
        let path = format!("/moved/{code}");
        receiver.on(
            &path,
            [with_header(code, "Location", &receiver.at("/elsewhere"))],
        );
        let id = house.start_run("give", &json!({}), &receiver.at(&path));
        let attempt = house.first_attempt(&id);
        assert_eq!(attempt["response_status"], code);
        assert_eq!(attempt["error_class"], "http_status");
    }
    assert!(receiver.arrived("/elsewhere").is_empty());
}

#[test]
fn a_redelivery_keeps_the_webhook_id_and_gets_a_fresh_budget() {
    let (house, receiver, secret) = ready();
    receiver.on("/hook", [status(500)]);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let delivery = text(&house.delivery_is(&id, "dead")["id"]);
    receiver.on("/hook", [status(500), status(200)]);
    house
        .post(&format!("/v1/deliveries/{delivery}/redeliver"), &json!({}))
        .is(202);
    let arrivals = receiver.wait_for("/hook", 5);
    let ids: HashSet<&str> = arrivals
        .iter()
        .map(|arrival| arrival.header("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 1, "the same webhook-id");
    assert!(
        arrivals
            .iter()
            .all(|arrival| arrival.body == arrivals[0].body),
        "the same bytes"
    );
    is_signed(&arrivals[4], &secret);
    let shown = house.delivery_is(&id, "delivered");
    let attempts = shown["attempts"]
        .as_array()
        .expect("attempts are shown")
        .clone();
    assert_eq!(attempts.len(), 5);
    let triggers: Vec<&Value> = attempts.iter().map(|attempt| &attempt["trigger"]).collect();
    assert!(
        triggers[..3].iter().all(|trigger| **trigger == "automatic"),
        "{triggers:?}"
    );
    assert_eq!(triggers[3], "manual");
    let numbers: Vec<&Value> = attempts.iter().map(|attempt| &attempt["number"]).collect();
    assert_eq!(
        numbers,
        [&json!(1), &json!(2), &json!(3), &json!(4), &json!(5)]
    );
}

#[test]
fn a_delivered_event_can_be_sent_again() {
    let (house, receiver, _) = ready();
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let delivery = text(&house.delivery_is(&id, "delivered")["id"]);
    house
        .post(&format!("/v1/deliveries/{delivery}/redeliver"), &json!({}))
        .is(202);
    let arrivals = receiver.wait_for("/hook", 2);
    assert_eq!(
        arrivals[0].header("webhook-id"),
        arrivals[1].header("webhook-id")
    );
}

#[test]
fn what_is_kept_of_an_attempt_is_everything_but_the_secret() {
    let (house, receiver, secret) = ready();
    let long = vec![b'x'; 40_000];
    let binary = vec![0xff, 0xfe, 0x00];
    let headers = vec![("X-Trace".to_owned(), "t-1".to_owned())];
    receiver.on("/long", [Act::Answer(200, headers, long)]);
    receiver.on("/binary", [Act::Answer(200, Vec::new(), binary)]);

    let id = house.start_run("give", &json!({}), &receiver.at("/long"));
    let delivery = house.delivery_is(&id, "delivered");
    let members = [
        "id",
        "request_id",
        "event_id",
        "event_type",
        "url",
        "status",
        "next_attempt_at",
        "attempts",
    ];
    has_all(&delivery, &members);
    assert_eq!(delivery["url"], receiver.at("/long"));
    let attempt = &delivery["attempts"][0];
    let members = [
        "number",
        "trigger",
        "started_at",
        "duration_ms",
        "timings",
        "remote_address",
        "request_headers",
        "response_status",
        "response_headers",
        "response_body",
        "truncated",
        "bytes_seen",
        "error_class",
        "error",
    ];
    has_all(attempt, &members);
    assert_eq!(
        keys(&attempt["timings"]),
        ["connect_ms", "dns_ms", "first_byte_ms", "tls_ms"]
    );
    assert_eq!(
        text(&attempt["response_body"]),
        "x".repeat(32 * 1024),
        "the first 32 KiB"
    );
    assert_eq!(attempt["truncated"], true);
    assert!(
        attempt["bytes_seen"]
            .as_u64()
            .is_some_and(|seen| seen > 32 * 1024),
        "{attempt}"
    );
    assert!(
        text(&attempt["remote_address"]).starts_with("127.0.0.1"),
        "{attempt}"
    );
    assert!(attempt["response_headers"].to_string().contains("t-1"));
    assert!(
        attempt["request_headers"]
            .to_string()
            .to_lowercase()
            .contains("x-skep-attempt")
    );
    assert!(attempt["error_class"].is_null() && attempt["error"].is_null());
    assert!(!delivery.to_string().contains(&secret));

    let id = house.start_run("give", &json!({}), &receiver.at("/binary"));
    let attempt = house.delivery_is(&id, "delivered")["attempts"][0].clone();
    assert_eq!(
        (&attempt["response_encoding"], &attempt["response_body"]),
        (&json!("base64"), &json!("//4A"))
    );
}

#[test]
fn every_way_to_fail_ends_within_the_deadline_and_has_its_class() {
    let (house, receiver, _) = ready();
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let silent_url = format!("http://{}/", silent.local_addr().expect("it is bound"));
    let closed = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let closed_url = format!("http://{}/", closed.local_addr().expect("it is bound"));
    drop(closed);
    let mut expected = vec![
        (silent_url, "timeout"),
        (closed_url, "connect"),
        // A label over 63 letters cannot be asked for, so no resolver is needed to say no.
        (format!("http://{}.example/", "a".repeat(70)), "dns"),
    ];
    let acts = [
        ("/hang", Act::Hang, "timeout"),
        ("/head", Act::HangInHead, "timeout"),
        ("/body", Act::HangInBody, "timeout"),
        ("/drip", Act::Drip, "timeout"),
        ("/cut", Act::Cut, "reset"),
        ("/no", status(418), "http_status"),
    ];
    for (path, act, class) in acts {
        receiver.on(path, [act]);
        expected.push((receiver.at(path), class));
    }
    let runs: Vec<(String, &str, &str)> = expected
        .iter()
        .map(|(url, class)| {
            (
                house.start_run("give", &json!({}), url),
                url.as_str(),
                *class,
            )
        })
        .collect();
    for (id, url, class) in runs {
        let attempt = house.first_attempt(&id);
        assert_eq!(attempt["error_class"], class, "{url}: {attempt}");
        assert!(!text(&attempt["error"]).is_empty(), "{url}");
        let took = attempt["duration_ms"].as_u64().expect("a duration");
        assert!(
            took <= 3_000,
            "{url}: the deadline of 1 s was not kept: {took} ms"
        );
    }
}

#[test]
fn nothing_is_sent_while_there_are_no_senders() {
    let (house, receiver) = (House::plan().set("senders", "0").start(), Receiver::start());
    house.deploy("give", GIVE);
    let id = house.start_run("give", &json!({}), &receiver.at("/hook"));
    house.run_ended(&id);
    assert_eq!(house.delivery(&id)["status"], "pending");
    house.replan(|plan| plan.unset("senders"));
    house.restart();
    house.delivery_is(&id, "delivered");
    assert_eq!(receiver.arrived("/hook").len(), 1);
}

#[test]
fn deliveries_can_be_listed_by_state_host_and_run() {
    let (house, receiver, _) = ready();
    receiver.on("/gone", [status(410)]);
    let good = house.start_run("give", &json!({}), &receiver.at("/hook"));
    let gone = house.start_run("give", &json!({}), &receiver.at("/gone"));
    house.delivery_is(&good, "delivered");
    house.delivery_is(&gone, "gone");
    let count = |query: &str| rows(&house.get(&format!("/v1/deliveries?{query}"))).len();
    assert_eq!(count(""), 2);
    assert_eq!(count("status=gone"), 1);
    assert_eq!(count("status=dead"), 0);
    assert_eq!(count("host=127.0.0.1"), 2);
    assert_eq!(count("host=elsewhere.example"), 0);
    assert_eq!(count(&format!("run={gone}")), 1);
    assert_eq!(count("to=2020-01-01T00:00:00Z"), 0);
    assert_eq!(count("from=2020-01-01T00:00:00Z"), 2);
    assert!(
        rows(&house.get("/v1/deliveries"))[0]
            .get("attempts")
            .is_none(),
        "rows lack nested lists"
    );
}

#[test]
fn a_rotation_signs_with_both_secrets_and_then_the_new_one() {
    let (house, receiver, old) = ready();
    let call = |verb: &str| house.post(&format!("/v1/deployments/give/secret/{verb}"), &json!({}));
    let next = |count: usize| {
        house.start_run("give", &json!({}), &receiver.at("/hook"));
        receiver.wait_for("/hook", count).remove(count - 1)
    };
    let accepts =
        |arrival: &Arrival, secret: &str| outside_opinion(secret, &arrival.headers, &arrival.body);
    let new = text(&call("stage").is(200)["webhook_secret"]);
    assert_ne!(old, new);
    let staged = next(1);
    is_signed(&staged, &old);
    assert!(accepts(&staged, &new), "both in webhook-signature");
    assert_eq!(call("promote").status, 200);
    let promoted = next(2);
    is_signed(&promoted, &new);
    assert!(accepts(&promoted, &old), "the old one is still valid");
    assert_eq!(call("revoke").status, 200);
    let revoked = next(3);
    is_signed(&revoked, &new);
    assert!(!accepts(&revoked, &old));
}
