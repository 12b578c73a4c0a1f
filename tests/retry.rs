//! A run that has ended, once more: what of it is taken over, and what is done again.

use serde_json::{Value, json};

use crate::house::{House, direct_body, rows, text};
use crate::receiver::{Receiver, json as answers, status};
use crate::wire::Answer;

const TWO: &str = "
inputs: {n: {type: number, default: 1}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: sum, set: {x: '{{ a.output.x }}', n: '{{ n }}'}}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {x: '{{ sum.output.x }}'}}}
output: '{{ sum.output }}'
";

fn retry(house: &House, id: &str, body: &Value) -> Answer {
    house.post(&format!("/v1/workflow_runs/{id}/retry"), body)
}

/// The new run's request id.
fn retried(house: &House, id: &str, body: &Value) -> String {
    let answer = retry(house, id, body).is(202);
    let run = text(&answer["run_id"]).replace('-', "");
    assert_eq!(answer["request_id"], format!("req_{run}"));
    assert_eq!(answer["status"], answer["run_status"]);
    text(&answer["request_id"])
}

/// Whether each step was taken over, by path.
fn taken_over(house: &House, id: &str) -> Vec<(String, bool)> {
    let steps = house.steps(id);
    let one = |step: &Value| (text(&step["path"]), step["reused"] == true);
    steps.iter().map(one).collect()
}

fn named(steps: &[(&str, bool)]) -> Vec<(String, bool)> {
    let one = |(path, reused): &(&str, bool)| ((*path).to_owned(), *reused);
    steps.iter().map(one).collect()
}

/// A house where `b` fails once, and a run that failed so.
fn failed_once() -> (House, Receiver, String) {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/a", [answers(&json!({"x": 7}))]);
    receiver.on("/b", [status(500), status(200)]);
    house.deploy("two", &receiver.fill(TWO));
    let mut body = crate::house::callback_body("two", &json!({"n": 3}), &receiver.at("/hook"));
    body["user"] = json!("u-1");
    body["metadata"] = json!({"plan": "pro"});
    let id = text(&house.invoke(&body).is(202)["request_id"]);
    house.run_is(&id, "failed");
    (house, receiver, id)
}

#[test]
fn a_failed_run_goes_on_from_the_step_that_failed() {
    let (house, receiver, old) = failed_once();
    let before = house.run(&old);
    let new = retried(&house, &old, &json!({}));
    let run = house.run_is(&new, "completed");
    assert_eq!(run["output"], json!({"x": 7, "n": 3}));
    assert_eq!(
        taken_over(&house, &new),
        named(&[("a", true), ("sum", true), ("b", false)])
    );
    assert_eq!(receiver.arrived("/a").len(), 1, "a is not executed again");
    let keys: Vec<String> = receiver
        .arrived("/b")
        .iter()
        .map(|it| it.header("idempotency-key").to_owned())
        .collect();
    assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
    let (one, other) = (house.steps(&old), house.steps(&new));
    for name in [
        "path",
        "status",
        "input",
        "output",
        "meta",
        "attempts",
        "started_at",
        "ended_at",
    ] {
        assert_eq!(one[0][name], other[0][name], "{name}");
    }
    for name in [
        "deployment",
        "variant",
        "version",
        "user",
        "user_metadata",
        "start_inputs",
        "delivery",
    ] {
        assert_eq!(run[name], before[name], "{name}");
    }
    assert_eq!(run["async_webhook_url"], before["async_webhook_url"]);
    assert_eq!(
        (&run["retry_of"], &run["retries"], &run["source"]),
        (&json!(old), &json!([]), &json!("api"))
    );
    let after = house.run(&old);
    assert_eq!(
        (&after["retry_of"], &after["retries"], &after["status"]),
        (&Value::Null, &json!([new]), &json!("failed"))
    );
    house.delivery_is(&new, "delivered");
    assert_eq!(house.delivery(&new)["event_type"], "workflow.completed");
    let audit = rows(&house.get("/v1/audit"));
    assert_eq!(audit[0]["action"], "run.retry");
    assert_eq!(
        (
            &audit[0]["target"],
            &audit[0]["detail"]["new"],
            &audit[0]["detail"]["steps_reused"]
        ),
        (&json!(old), &json!(new), &json!(2))
    );
}

#[test]
fn a_run_is_repeated_from_the_start_or_from_any_step() {
    let (house, receiver, old) = failed_once();
    let from_start = retried(&house, &old, &json!({"from": "start"}));
    house.run_is(&from_start, "completed");
    assert_eq!(receiver.arrived("/a").len(), 2);
    // One that completed, and is itself a repetition, and again.
    let from_sum = retried(&house, &from_start, &json!({"from": "sum"}));
    house.run_is(&from_sum, "completed");
    assert_eq!(
        taken_over(&house, &from_sum),
        named(&[("a", true), ("sum", false), ("b", false)])
    );
    let again = retried(&house, &from_sum, &json!({"from": "b"}));
    house.run_is(&again, "completed");
    assert_eq!(
        taken_over(&house, &again),
        named(&[("a", true), ("sum", true), ("b", false)])
    );
    assert_eq!(receiver.arrived("/a").len(), 2);
    assert_eq!(house.run(&old)["retries"], json!([from_start]));
}

#[test]
fn the_latest_version_takes_over_what_it_has_in_common_with_the_old() {
    let (house, receiver, old) = failed_once();
    let mended = TWO
        .replace("/b'", "/mended'")
        .replace("n: {type", "m: {type: number, default: 9}, n: {type");
    house.deploy("two", &receiver.fill(&mended));
    let new = retried(&house, &old, &json!({"version": "latest"}));
    let run = house.run_is(&new, "completed");
    assert_eq!(
        (&run["version"], &run["start_inputs"]["m"]),
        (&json!(2), &json!(9))
    );
    assert_eq!(
        taken_over(&house, &new),
        named(&[("a", true), ("sum", true), ("b", false)])
    );
    assert_eq!(receiver.arrived("/mended").len(), 1);
    // Written differently at the very beginning: nothing can be taken over.
    house.deploy(
        "two",
        &receiver.fill(&mended.replace("RECEIVER/a", "RECEIVER/a?x=1")),
    );
    let new = retried(&house, &old, &json!({"version": "latest"}));
    house.run_is(&new, "completed");
    assert!(taken_over(&house, &new).iter().all(|(_, reused)| !reused));
    // Its inputs do not fit any more.
    house.deploy(
        "two",
        &receiver.fill(&TWO.replace("number, default: 1", "text")),
    );
    let refused =
        retry(&house, &old, &json!({"version": "latest"})).refused(400, "validation_error");
    assert_eq!(refused["field"], "/inputs/n");
    retried(&house, &old, &json!({"version": "same"}));
}

#[test]
fn a_person_is_not_asked_again_what_was_answered_and_is_what_was_not() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/b", [status(500), status(200)]);
    let asks = "
steps:
  - {id: ask, human: {mode: approval, question: 'Go?', channel: none}}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {by: '{{ ask.output.responded_by }}'}}}
output: '{{ ask.output.decision }}'";
    house.deploy("asks", &receiver.fill(asks));
    let pending = |run: &str| {
        house.run_is(run, "awaiting_approval");
        let found = rows(&house.get(&format!("/v1/approvals?status=pending&run={run}")));
        assert_eq!(found.len(), 1);
        text(&found[0]["id"])
    };
    let answer = |run: &str| {
        let path = format!("/v1/approvals/{}/decide", pending(run));
        let decision = json!({"by": "Zoe", "decision": "approved"});
        house.post(&path, &decision).is(200);
    };
    let old = house.start_run("asks", &json!({}), &receiver.at("/hook"));
    answer(&old);
    house.run_is(&old, "failed");
    let new = retried(&house, &old, &json!({}));
    assert_eq!(house.run_is(&new, "completed")["output"], "approved");
    assert_eq!(receiver.arrived("/b")[1].json(), json!({"by": "Zoe"}));
    let asked = |run: &str| rows(&house.get(&format!("/v1/approvals?run={run}"))).len();
    assert_eq!((asked(&old), asked(&new)), (1, 0));
    // One that is still waiting cannot be repeated; cancelled, it asks anew.
    let open = house.start_run("asks", &json!({}), &receiver.at("/hook"));
    pending(&open);
    let refused = retry(&house, &open, &json!({"from": "ask"})).refused(409, "runs_open");
    assert_eq!(
        refused["error"],
        "the run is still awaiting_approval; cancel it first"
    );
    house
        .post(&format!("/v1/workflow_runs/{open}/cancel"), &json!({}))
        .is(200);
    let again = retried(&house, &open, &json!({"from": "ask"}));
    answer(&again);
    house.run_is(&again, "completed");
    assert_eq!(asked(&again), 1);
}

#[test]
fn what_cannot_be_repeated_is_refused_with_what_to_do() {
    let (house, receiver, old) = failed_once();
    let done = text(&house.invoke(&direct_body("two", &json!({}))).is(200)["request_id"]);
    let refused = retry(&house, &done, &json!({})).refused(400, "validation_error");
    assert_eq!(refused["field"], "/from");
    assert!(
        text(&refused["error"]).contains("no failed step"),
        "{refused}"
    );
    for (body, field) in [
        (json!({"from": "nowhere"}), "/from"),
        (json!({"from": ""}), "/from"),
        (json!({"from": 7}), "/from"),
        (json!({"version": "newest"}), "/version"),
    ] {
        let refused = retry(&house, &old, &body).refused(400, "validation_error");
        assert_eq!(refused["field"], field);
    }
    retry(&house, "req_nothing", &json!({})).refused(404, "not_found");
    let (_, key) = house.make_key("other", "invoke");
    let path = format!("/v1/workflow_runs/{old}/retry");
    house
        .ask("POST", &path)
        .key(&key)
        .send()
        .refused(404, "not_found");
    // A direct run has nobody who waits any more; its result is there to be read.
    let again = retried(&house, &done, &json!({"from": "start"}));
    let run = house.run_is(&again, "completed");
    assert_eq!(run["delivery"], "direct");
    house.tune("two", &json!({"callback_hosts": ["elsewhere.example"]}));
    retry(&house, &old, &json!({})).refused(400, "callback_url_forbidden");
    house.delete("/v1/deployments/two").is(200);
    retry(&house, &old, &json!({})).refused(404, "not_found");
    drop(receiver);
}

#[test]
fn the_command_line_repeats_sends_again_by_filter_and_writes_lists_as_lines() {
    let (house, receiver, old) = failed_once();
    house.delivery_is(&old, "delivered");
    let said = |args: &[&str]| {
        let output = house.cli(args);
        let printed = crate::process::printed(&output);
        assert_eq!(output.status.code(), Some(0), "{printed}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let new: Value = serde_json::from_str(&said(&["runs", "retry", &old, "--json"]))
        .expect("--json prints JSON");
    let new = text(&new["request_id"]);
    house.delivery_is(&new, "delivered");
    let from = said(&["runs", "retry", &new, "--from", "b", "--version", "latest"]);
    assert!(from.contains("req_"), "{from}");
    crate::house::wait_until("all three are delivered", crate::wire::PATIENCE, || {
        let all = rows(&house.get("/v1/deliveries?status=delivered"));
        (all.len() == 3).then_some(())
    });
    let redeliver = |more: &[&str]| said(&[&["deliveries", "redeliver"], more].concat());
    let dry = redeliver(&["--status", "delivered", "--dry-run"]);
    assert_eq!(dry, "3 deliveries would be sent again\n");
    let done = redeliver(&["--run", &old]);
    assert_eq!(
        done,
        "1 of 1 deliveries are owed again, 0 skipped, 0 failed\n"
    );
    let refused = house.cli(&["deliveries", "redeliver"]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "all of them have to be asked for"
    );
    let lines = said(&["runs", "list", "--format", "jsonl"]);
    let ids: Vec<Value> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("a row a line")["request_id"].clone()
        })
        .collect();
    assert_eq!((ids.len(), &ids[1], &ids[2]), (3, &json!(new), &json!(old)));
    let csv = said(&["runs", "list", "--format", "csv", "--status", "failed"]);
    let csv: Vec<&str> = csv.lines().collect();
    assert_eq!(csv.len(), 2, "a head and a row: {csv:?}");
    assert!(csv[1].contains(&old));
    let page = said(&["runs", "list", "--format", "jsonl", "--limit", "1"]);
    assert_eq!(page.lines().count(), 1);
    drop(receiver);
}
