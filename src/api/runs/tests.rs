//! Tests of `api/runs`.

use serde_json::{Value, json};

use crate::api::testing::{ADMIN, Ask, House, NOW, URL};
use crate::flow::run::Ending;
use crate::flow::step::{ErrorClass, StepError, StepResult, StepStatus};
use crate::store::claims::{Claim, Next, Record, Recorded};
use crate::store::steps::{Finished, Opened};
use crate::time::Timestamp;

fn cancel(house: &House, id: &str, key: &str, body: &Value) -> crate::api::testing::Read {
    house.post(&format!("/v1/workflow_runs/{id}/cancel"), key, body)
}

#[test]
fn a_run_is_shown_by_either_id_with_every_name() {
    let house = House::furnished();
    let body = json!({"deployment": "plain", "variant": "prod", "user": "u7", "metadata": {"plan": "pro"},
        "async": {"enabled": true, "callback_url": URL}});
    let started = house.invoke(&body);
    let (request_id, run_id) = (started.text("request_id"), started.text("run_id"));
    house.api.clock().set(Timestamp(NOW.0 + 1_500));
    house.complete_all(json!({"b": 1, "a": [2]}));
    let read = house.get(&format!("/v1/workflow_runs/{request_id}"), ADMIN);
    assert_eq!(
        read.body,
        house
            .get(&format!("/v1/workflow_runs/{run_id}"), ADMIN)
            .body
    );
    let run = &read.body["workflow_run"];
    let at = Timestamp(NOW.0 + 1_500);
    for (name, value) in [
        ("id", json!(run_id)),
        ("token", json!(request_id)),
        ("run_status", json!("completed")),
        ("run_async", json!(true)),
        ("started_at", json!(at)),
        ("ended_at", json!(at)),
        ("duration", json!(0)),
        ("start_inputs", json!({})),
        ("output_content", json!("{\"b\":1,\"a\":[2]}")),
        ("error_message", json!(null)),
        ("async_webhook_url", json!(URL)),
        ("total_tokens", json!(0)),
        ("total_charge", json!("0")),
        ("request_id", json!(request_id)),
        ("run_id", json!(run_id)),
        ("status", json!("completed")),
        ("source", json!("api")),
        ("delivery", json!("callback")),
        ("deployment", json!("plain")),
        ("variant", json!("prod")),
        ("version", json!(1)),
        ("user", json!("u7")),
        ("user_metadata", json!({"plan": "pro"})),
        ("output", json!({"b": 1, "a": [2]})),
        ("error", json!(null)),
        ("waiting_on", json!(null)),
        ("steps", json!([])),
        ("created_at", json!(NOW)),
    ] {
        assert_eq!(run[name], value, "{name}");
    }
    assert_eq!(run["deliveries"][0]["status"], "pending");
    let story = format!(
        "Completed in 0 ms, after 1.5 s in the queue. Its callback to {URL} is about to be sent."
    );
    assert_eq!(run["story"], story);
    assert_eq!(run["deliveries"][0]["url"], URL);
    let request = house
        .get(&format!("/v1/public/requests/{request_id}"), ADMIN)
        .body;
    assert_eq!(request["request_type"], "workflow");
    assert_eq!(request["data"], json!({"output": {"b": 1, "a": [2]}}));
    assert_eq!(
        (&request["status"], &request["user_metadata"]),
        (&json!("completed"), &json!({"plan": "pro"}))
    );
}

#[test]
fn what_is_not_there_has_the_texts_that_clients_know() {
    let house = House::furnished();
    let unknown = crate::id::Id([7; 16]);
    for id in ["x", &unknown.to_string(), &unknown.request_id(), "req_zz"] {
        for (path, text) in [
            (
                format!("/v1/workflow_runs/{id}"),
                "Prompt workflow run not found",
            ),
            (
                format!("/v1/workflow_runs/{id}/steps"),
                "Prompt workflow run not found",
            ),
            (format!("/v1/public/requests/{id}"), "Request not found"),
        ] {
            let read = house.get(&path, ADMIN);
            assert_eq!(
                (read.status, read.text("error").as_str()),
                (404, text),
                "{path}"
            );
        }
        assert_eq!(
            cancel(&house, id, ADMIN, &json!({})).text("error"),
            "Prompt workflow run not found"
        );
    }
}

#[test]
fn an_invoke_key_sees_only_what_it_started() {
    let house = House::furnished();
    let ((own_id, own), (_, other), (_, reader)) =
        (house.key("invoke"), house.key("invoke"), house.key("read"));
    let run = house.start(&own);
    let foreign = house.start(&other);
    house.complete_all(json!(1));
    assert_eq!(
        house.get("/v1/workflow_runs", &own).ids("request_id"),
        [run.as_str()]
    );
    assert_eq!(
        house
            .get("/v1/workflow_runs", &reader)
            .ids("request_id")
            .len(),
        2
    );
    let by_key = format!("/v1/workflow_runs?api_key_id={own_id}");
    assert_eq!(house.get(&by_key, ADMIN).ids("request_id"), [run.as_str()]);
    assert!(house.get(&by_key, &other).ids("request_id").is_empty());
    assert!(
        house
            .get(&format!("/v1/workflow_runs?q={foreign}"), &own)
            .ids("request_id")
            .is_empty()
    );
    let deliveries = house.get("/v1/deliveries", &own);
    assert_eq!(deliveries.ids("request_id"), [run.as_str()]);
    let all = house.get("/v1/deliveries", ADMIN);
    for (id, request_id) in all.ids("id").iter().zip(all.ids("request_id")) {
        let status = if request_id == run { 200 } else { 404 };
        let path = format!("/v1/deliveries/{id}");
        assert_eq!(house.get(&path, &own).status, status);
        let again = house.post(&format!("{path}/redeliver"), &own, &json!({}));
        assert_eq!(again.status, 403, "sending again takes an admin");
    }
    for path in ["/v1/workflow_runs/", "/v1/public/requests/"] {
        assert_eq!(house.get(&format!("{path}{run}"), &own).status, 200);
        assert_eq!(house.get(&format!("{path}{foreign}"), &own).status, 404);
    }
    assert_eq!(
        house
            .get(&format!("/v1/workflow_runs/{foreign}/steps"), &own)
            .status,
        404
    );
    let waiting = house.start(&other);
    assert_eq!(cancel(&house, &waiting, &own, &json!({})).status, 404);
    assert_eq!(cancel(&house, &waiting, &other, &json!({})).status, 200);
}

#[test]
fn a_cancelled_run_is_shown_so_at_once_and_a_final_one_stays() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    let read = cancel(&house, &run, ADMIN, &json!({"reason": "enough"}));
    assert_eq!(read.status, 200);
    let shown = &read.body["workflow_run"];
    assert_eq!(
        (&shown["status"], &shown["error"]),
        (&json!("cancelled"), &json!("enough"))
    );
    assert_eq!(house.audit()[0], "run.cancel");
    let again = cancel(&house, &run, ADMIN, &json!({"reason": "other"}));
    assert_eq!((again.status, &again.body), (200, &read.body));
    let told = "Cancelled after 0 ms before it began: enough. Its callback to";
    assert!(shown["story"].as_str().expect("text").starts_with(told));
    let silent = cancel(&house, &house.start(ADMIN), ADMIN, &json!({}));
    assert_eq!(silent.body["workflow_run"]["error"], super::NO_REASON);
    let silent = silent.body["workflow_run"]["story"].to_string();
    assert!(silent.contains("before it began. Its"), "{silent}");
    for reason in [json!(7), json!("r".repeat(501))] {
        let read = cancel(&house, &run, ADMIN, &json!({"reason": reason}));
        assert_eq!((read.status, read.text("field").as_str()), (400, "/reason"));
    }
    let request = house.get(&format!("/v1/public/requests/{run}"), ADMIN).body;
    assert_eq!(
        request["data"],
        json!({"error": "enough", "reason": "cancelled"})
    );
}

/// Four runs: completed, failed, one by webhook, one queued; each with its labels.
fn filled() -> (House, Vec<String>) {
    let house = House::furnished();
    let asking = json!({"deployment": "asking", "inputs": {"topic": "t"}, "user": "u1",
        "metadata": {"plan": "pro", "n": 12, "yes": true, "a.b": null}, "async": {"enabled": true, "callback_url": URL}});
    let mut ids = vec![house.invoke(&asking).text("request_id")];
    house.complete_all(json!(1));
    house.api.clock().set(Timestamp(NOW.0 + 120_000));
    ids.push(house.start(ADMIN));
    house.end_all(&Ending::Failed {
        error: "e".to_owned(),
        code: "step_failed",
        step: Some("a".to_owned()),
    });
    house.api.clock().set(Timestamp(NOW.0 + 240_000));
    let shown = house.get("/v1/deployments/plain", ADMIN);
    let url = shown.body["variants"][0]["webhook_url"]
        .as_str()
        .expect("a URL")
        .to_owned();
    let path = format!(
        "{}?secret={}",
        url.trim_start_matches("https://skep.example/base"),
        shown.text("webhook_secret")
    );
    let body = json!({"async": {"callback_url": URL}}).to_string();
    ids.push(
        house
            .ask(&Ask {
                method: "POST",
                path: &path,
                body: &body,
                ..Ask::default()
            })
            .text("request_id"),
    );
    let body = json!({"deployment": "plain"}).to_string();
    drop(house.send(&Ask {
        method: "POST",
        path: "/v1/workflow/invoke",
        key: ADMIN,
        body: &body,
        ..Ask::default()
    }));
    ids.push(
        house
            .get("/v1/workflow_runs?delivery=direct", ADMIN)
            .ids("request_id")
            .remove(0),
    );
    (house, ids)
}

#[test]
fn every_filter_shows_what_it_names() {
    let (house, ids) = filled();
    let run_id = House::run_id(&ids[1]).to_string();
    let from = |ms: i64| Timestamp(NOW.0 + ms).to_string();
    for (query, expected) in [
        (String::new(), vec![3, 2, 1, 0]),
        ("status=completed".to_owned(), vec![0]),
        ("status=completed,failed".to_owned(), vec![1, 0]),
        ("status=completed&status=queued".to_owned(), vec![3, 2, 0]),
        ("source=webhook".to_owned(), vec![2]),
        ("source=api,webhook".to_owned(), vec![3, 2, 1, 0]),
        ("delivery=callback".to_owned(), vec![2, 1, 0]),
        ("delivery=direct".to_owned(), vec![3]),
        ("delivery=direct,callback".to_owned(), vec![3, 2, 1, 0]),
        ("deployment=asking".to_owned(), vec![0]),
        (
            "deployment=plain&variant=prod&status=failed".to_owned(),
            vec![1],
        ),
        ("variant=canary".to_owned(), vec![]),
        ("user=u1".to_owned(), vec![0]),
        ("metadata[plan]".to_owned(), vec![0]),
        ("metadata[plan]=pro".to_owned(), vec![0]),
        ("metadata[plan]=free".to_owned(), vec![]),
        ("metadata%5Bn%5D=12&metadata[yes]=true".to_owned(), vec![0]),
        ("metadata[a.b]=null".to_owned(), vec![0]),
        (format!("from={}", from(1)), vec![3, 2, 1]),
        (format!("from={}&to={}", from(0), from(240_000)), vec![1, 0]),
        (format!("q={}", ids[2]), vec![2]),
        (format!("q={run_id}"), vec![1]),
        (format!("q={run_id}&status=failed"), vec![1]),
        (format!("q={run_id}&status=completed"), vec![]),
        (format!("q={run_id}&metadata[plan]=pro"), vec![]),
        (format!("q={}&to={}", ids[2], from(1)), vec![]),
        (
            "api_key_id=key_00000000000070008000000000000000".to_owned(),
            vec![],
        ),
        ("status=&user=&unknown=x".to_owned(), vec![3, 2, 1, 0]),
    ] {
        let read = house.get(&format!("/v1/workflow_runs?{query}"), ADMIN);
        assert_eq!(read.status, 200, "{query}: {}", read.body);
        let expected: Vec<String> = expected
            .into_iter()
            .map(|at: usize| ids[at].clone())
            .collect();
        assert_eq!(read.ids("request_id"), expected, "{query}");
    }
    for (query, field) in [
        ("status=done", "/status"),
        ("source=mail", "/source"),
        ("delivery=post", "/delivery"),
        ("from=yesterday", "/from"),
        ("to=1", "/to"),
        ("q=abc", "/q"),
        ("api_key_id=7", "/api_key_id"),
        ("limit=0", "/limit"),
        ("cursor=x", "/cursor"),
        ("metadata[]=x", "/metadata"),
        (&"metadata[a]&".repeat(1_200), "/metadata"),
        (&format!("status=queued{}", ",queued".repeat(50)), "/status"),
        (&"source=api&".repeat(51), "/source"),
        (&"api_key_id=x&".repeat(51), "/api_key_id"),
    ] {
        let read = house.get(&format!("/v1/workflow_runs?{query}"), ADMIN);
        assert_eq!(
            (read.status, read.text("field").as_str()),
            (400, field),
            "{query}"
        );
        assert_eq!(read.text("error_code"), "validation_error");
    }
}

#[test]
fn pages_follow_each_other_without_gaps() {
    let (house, ids) = filled();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let read = house.get(&format!("/v1/workflow_runs?limit=3&cursor={cursor}"), ADMIN);
        seen.extend(read.ids("request_id"));
        assert!(
            read.body["data"][0].get("steps").is_none(),
            "rows have no nested lists"
        );
        match read.body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
}

/// Takes the one queued run.
fn claim(house: &House) -> Claim {
    let store = house.api.store();
    store.claim_runs(1, 1, NOW).expect("claimed").remove(0)
}

fn record(house: &House, claim: Claim, record: Record) -> Recorded {
    let store = house.api.store();
    store.record(claim, std::sync::Arc::new(record), NOW)
}

fn begins(path: &str, kind: &str) -> Opened {
    Opened {
        path: path.to_owned(),
        kind: kind.to_owned(),
        input: json!("5s"),
    }
}

/// A record of that next thing alone.
#[test]
fn a_parked_run_says_what_it_waits_for() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    let until = Timestamp(NOW.0 + 5_000);
    let recorded = record(
        &house,
        claim(&house),
        Record::only(Next::Delay(begins("nap", "delay"), until)),
    );
    assert!(matches!(recorded, Recorded::Parked(None)));
    let waiting = json!({"step": "nap", "kind": "timer", "until": until});
    let shown = house.get(&format!("/v1/workflow_runs/{run}"), ADMIN).body;
    assert_eq!(shown["workflow_run"]["waiting_on"], waiting);
    assert_eq!(
        house.get("/v1/workflow_runs?status=waiting", ADMIN).body["data"][0]["waiting_on"],
        waiting
    );
    let steps = house
        .get(&format!("/v1/workflow_runs/{run}/steps"), ADMIN)
        .body;
    let step = &steps["data"][0];
    assert_eq!(
        (&step["path"], &step["type"], &step["status"]),
        (&json!("nap"), &json!("delay"), &json!("waiting"))
    );
    assert_eq!(
        (&step["attempts"][0]["number"], &step["ended_at"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(shown["workflow_run"]["steps"], steps["data"]);
}

#[test]
fn a_run_that_tries_a_step_again_says_so() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    let until = Timestamp(NOW.0 + 5_000);
    let start = Next::Start(begins("fetch", "http"));
    let Recorded::GoOn(claim) = record(&house, claim(&house), Record::only(start)) else {
        panic!("the try was not begun")
    };
    let finished = Finished {
        path: "fetch".to_owned(),
        status: StepStatus::Waiting,
        output: Value::Null,
        meta: None,
        error: Some(StepError {
            class: ErrorClass::Timeout,
            message: "too slow".to_owned(),
        }),
        due_at: Some(until),
        logs: Vec::new(),
    };
    let failed = Record {
        finished: Some(finished),
        ..Record::only(Next::Retry(until))
    };
    assert!(matches!(
        record(&house, claim, failed),
        Recorded::Parked(None)
    ));
    let shown = house.get(&format!("/v1/workflow_runs/{run}"), ADMIN).body;
    assert_eq!(
        shown["workflow_run"]["waiting_on"],
        json!({"step": "fetch", "kind": "retry", "until": until})
    );
    let story = shown["workflow_run"]["story"].as_str().expect("a story");
    assert!(
        story.ends_with("(5.0 s more) to try step `fetch` again, which has failed once: too slow."),
        "{story}"
    );
}

/// Every page of a list: how many rows each has.
fn page_sizes(house: &House, path: &str) -> Vec<usize> {
    let (mut sizes, mut cursor) = (Vec::new(), String::new());
    loop {
        let read = house.get(&format!("{path}?limit=500&cursor={cursor}"), ADMIN);
        sizes.push(read.body["data"].as_array().expect("a list").len());
        match read.body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return sizes,
        }
    }
}

#[test]
fn pages_are_bounded_by_their_bytes_too() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    let long = json!("x".repeat(225_000));
    let results = (0..12)
        .map(|number| StepResult {
            path: format!("s{number}"),
            kind: "set".to_owned(),
            status: StepStatus::Completed,
            input: Value::Null,
            output: long.clone(),
            error: None,
        })
        .collect();
    let then = Next::End(Ending::Completed {
        output: long.clone(),
    });
    let end = Record {
        results,
        ..Record::only(then)
    };
    assert!(matches!(
        record(&house, claim(&house), end),
        Recorded::Ended(None)
    ));
    let path = format!("/v1/workflow_runs/{run}");
    assert_eq!(page_sizes(&house, &format!("{path}/steps")), [4, 4, 4]);
    let shown = house.get(&path, ADMIN).body;
    let steps = shown["workflow_run"]["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), 4);
    assert!(shown.to_string().len() < 2 << 20);
    // An output is shown under two names.
    for _ in 0..4 {
        house.start(ADMIN);
    }
    house.complete_all(long);
    assert_eq!(page_sizes(&house, "/v1/workflow_runs"), [2, 2, 1]);
    // A delivery's row does not show its body.
    assert_eq!(page_sizes(&house, "/v1/deliveries"), [5]);
}

#[test]
fn a_run_can_be_had_without_its_values_and_a_step_alone() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    let claim = house
        .api
        .store()
        .claim_runs(1, 1, NOW)
        .expect("claimed")
        .remove(0);
    let result = |path: &str, output: Value| StepResult {
        path: path.to_owned(),
        kind: "set".to_owned(),
        status: StepStatus::Completed,
        input: json!({"x": "ü"}),
        output,
        error: None,
    };
    let record = Record {
        results: vec![
            result("a", json!({"x": 1})),
            result("b.then.c", json!(null)),
        ],
        ..Record::only(Next::End(Ending::Completed {
            output: json!("done"),
        }))
    };
    let recorded = house
        .api
        .store()
        .record(claim, std::sync::Arc::new(record), NOW);
    assert!(matches!(recorded, Recorded::Ended(None)));
    let get = |path: &str| house.get(path, ADMIN).body;
    let one = format!("/v1/workflow_runs/{run}");
    let rows = |body: &Value| body["data"].as_array().expect("a list").clone();
    let whole = get(&one)["workflow_run"].clone();
    let bare = get(&format!("{one}?values=false"))["workflow_run"].clone();
    let listed = rows(&get("/v1/workflow_runs?values=false"))[0].clone();
    for (run, is_whole) in [(&whole, true), (&bare, false), (&listed, false)] {
        let shown = |value: Value| if is_whole { value } else { Value::Null };
        assert_eq!(run["start_inputs"], shown(json!({})));
        assert_eq!(run["output"], shown(json!("done")));
        assert_eq!(run["output_content"], shown(json!("done")));
        assert_eq!(
            (&run["input_bytes"], &run["output_bytes"]),
            (&json!(2), &json!(6))
        );
    }
    assert_eq!(
        (&whole["steps_count"], &bare["steps_count"]),
        (&json!(2), &json!(2))
    );
    let steps = rows(&get(&format!("{one}/steps?values=false")));
    assert_eq!(bare["steps"], json!(steps));
    for step in steps {
        assert_eq!(
            (&step["input"], &step["output"]),
            (&json!(null), &json!(null))
        );
        assert_eq!(step["input_bytes"], "{\"x\":\"ü\"}".len());
    }
    for (at, path) in ["a", "b.then.c", "b%2Ethen.c"].into_iter().enumerate() {
        let step = get(&format!("{one}/steps/{path}"));
        assert_eq!(step, whole["steps"][at.min(1)], "{path}");
    }
    for path in ["c", "a/b", "A"] {
        let read = house.get(&format!("{one}/steps/{path}"), ADMIN);
        assert_eq!(read.status, 404, "{path}");
    }
    let read = house.get(&format!("{one}?values=maybe"), ADMIN);
    assert_eq!((read.status, read.text("field").as_str()), (400, "/values"));
    let owed = &whole["deliveries"][0];
    assert_eq!(
        (&owed["channel"], &owed["attempts"]),
        (&json!("callback"), &json!([]))
    );
}
