//! Lists as programs read them: every format, runs without values, counts and charts that agree with the lists.

use serde_json::{Value, json};

use crate::house::{House, callback_body, has_exactly, rows, text, wait_until};
use crate::receiver::{Receiver, status};
use crate::wire::{Answer, PATIENCE};

const ECHO: &str = "inputs: {n: {type: text, default: x}}\nsteps: [{id: a, set: {n: '{{ n }}'}}]\noutput: '{{ a.output.n }}'";

/// Every list that there is without more than an admin key.
const LISTS: [&str; 10] = [
    "/v1/workflow_runs",
    "/v1/deliveries",
    "/v1/approvals",
    "/v1/members",
    "/v1/deployments",
    "/v1/deployments/echo/variants/prod/versions",
    "/v1/keys",
    "/v1/secrets",
    "/v1/audit",
    "/v1/metadata_keys",
];

fn get(house: &House, path: &str) -> Answer {
    house.ask("GET", path).send()
}

/// The cells of a page of values: lines, and quotes doubled within quotes.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    assert!(!quoted && row.is_empty(), "the last line ends");
    rows
}

#[test]
fn every_list_comes_in_every_format() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("echo", ECHO);
    house.make_key("a reader", "read");
    let hostile = "=cmd|' /C calc'!A0, \"quoted\"\nand broken";
    let mut body = callback_body("echo", &json!({"n": hostile}), &receiver.at("/hook"));
    body["user"] = hostile.into();
    body["metadata"] = json!({"plan": "pro"});
    let id = text(&house.invoke(&body).is(202)["request_id"]);
    house.delivery_is(&id, "delivered");
    for path in LISTS {
        let whole = house.get(path);
        let lines = get(&house, &format!("{path}?format=jsonl"));
        assert_eq!(lines.status, 200, "{path}");
        assert_eq!(lines.header("content-type"), Some("application/jsonl"));
        let each = lines.text();
        let each = each.lines().map(|line| {
            let row: Value = serde_json::from_str(line).expect("a row a line");
            row
        });
        let each: Vec<Value> = each.collect();
        // Reading an audit is not audited, so that both are the same.
        assert_eq!(each, rows(&whole), "{path}");
        let table = get(&house, &format!("{path}?format=csv"));
        assert_eq!(
            table.header("content-type"),
            Some("text/csv; charset=utf-8")
        );
        let table = cells(&table.text());
        assert_eq!(table.len(), each.len() + 1, "{path}");
        assert!(
            table.iter().all(|row| row.len() == table[0].len()),
            "{path}"
        );
        for (row, cells) in each.iter().zip(&table[1..]) {
            for (name, value) in row.as_object().expect("an object") {
                let at = table[0].iter().position(|head| head == name);
                let cell = &cells[at.unwrap_or_else(|| panic!("{path} lacks {name}"))];
                let expected = match value {
                    Value::Null => String::new(),
                    Value::String(text) if text.starts_with('=') => format!("'{text}"),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(*cell, expected, "{path} {name}");
            }
        }
        let bad = get(&house, &format!("{path}?format=xlsx"));
        let said = bad.refused(400, "validation_error");
        assert_eq!(said["field"], "/format", "{path}");
    }
    let steps = format!("/v1/workflow_runs/{id}/steps");
    let lines = get(&house, &format!("{steps}?format=jsonl")).text();
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn lines_go_on_by_a_header() {
    let house = House::plan().set("workers", "0").start();
    house.deploy("echo", ECHO);
    for _ in 0..5 {
        house.start_run("echo", &json!({}), "http://127.0.0.1:9/");
    }
    let expected: Vec<String> = rows(&house.get("/v1/workflow_runs"))
        .iter()
        .map(|row| text(&row["id"]))
        .collect();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/workflow_runs?format=csv&limit=2&values=false&cursor={cursor}");
        let page = get(&house, &path);
        let table = cells(&page.text());
        assert_eq!(table[0][0], "id");
        seen.extend(table[1..].iter().map(|row| row[0].clone()));
        match page.header("x-next-cursor") {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[test]
fn counts_and_charts_agree_with_the_list_through_a_restart() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/down", [status(500)]);
    house.deploy("echo", ECHO);
    let broken = "steps: [{id: call, http: {method: GET, url: 'RECEIVER/down'}}]\noutput: 1";
    house.deploy("broken", &receiver.fill(broken));
    house.deploy("nap", "steps: [{id: nap, delay: 1h}]\noutput: 1\n");
    let hook = receiver.at("/hook");
    let mut ids = Vec::new();
    for (name, count) in [("echo", 5), ("broken", 3), ("nap", 2)] {
        for _ in 0..count {
            ids.push(house.start_run(name, &json!({}), &hook));
        }
    }
    for id in &ids[..8] {
        house.run_ended(id);
    }
    house.run_is(&ids[8], "waiting");
    house.run_is(&ids[9], "waiting");
    let cancel = format!("/v1/workflow_runs/{}/cancel", ids[9]);
    house.post(&cancel, &json!({})).is(200);
    let expected = json!({"accepted": 10, "completed": 5, "failed": 3, "cancelled": 1, "open": 1});
    let agrees = |query: &str| {
        let counts = house.get(&format!("/v1/workflow_runs/counts?{query}"));
        has_exactly(&counts, &["count", "count_is_lower_bound", "statuses"]);
        let list = rows(&house.get(&format!("/v1/workflow_runs?{query}")));
        assert_eq!(counts["count"], list.len(), "{query}");
        for (status, counted) in counts["statuses"].as_object().expect("states") {
            let path = format!("/v1/workflow_runs?{query}&status={status}");
            let listed = rows(&house.get(&path)).len();
            let expected = json!({"count": listed, "count_is_lower_bound": false});
            assert_eq!(*counted, expected, "{query} {status}");
        }
    };
    let charted = || {
        let chart = house.get("/v1/workflow_runs/histogram");
        let bars = chart["bars"].as_array().expect("bars").clone();
        let sum = |name: &str| -> i64 {
            bars.iter()
                .map(|bar| bar[name].as_i64().expect("a number"))
                .sum()
        };
        let names = ["accepted", "completed", "failed", "cancelled", "open"];
        let sums = names.map(|name| (name.to_owned(), sum(name).into()));
        Value::Object(sums.into_iter().collect())
    };
    for _ in 0..2 {
        for query in ["", "deployment=echo", "delivery=callback", "user=nobody"] {
            agrees(query);
        }
        assert_eq!(charted(), expected);
        house.kill();
        house.launch();
    }
    let only = house.get("/v1/workflow_runs/histogram?deployment=broken&bars=1");
    assert_eq!(only["bars"][0]["failed"], 3, "{only}");
}

#[test]
fn a_run_says_how_long_its_values_are_and_what_its_deliveries_came_to() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/hook", [status(503), status(200)]);
    house.deploy("echo", ECHO);
    house.tune("echo", &json!({"retry_schedule": ["0s", "50ms"]}));
    let id = house.start_run(
        "echo",
        &json!({"n": "long ".repeat(1_000)}),
        &receiver.at("/hook"),
    );
    house.delivery_is(&id, "delivered");
    let bare = house.get(&format!("/v1/workflow_runs/{id}?values=false"));
    let run = &bare["workflow_run"];
    for name in ["start_inputs", "output", "output_content"] {
        assert_eq!(run[name], Value::Null, "{name}");
    }
    assert_eq!(run["output_bytes"], 5_002);
    assert_eq!(run["input_bytes"], 5_008);
    assert_eq!(run["steps_count"], 1);
    let attempts = run["deliveries"][0]["attempts"].as_array().expect("a list");
    let statuses: Vec<&Value> = attempts.iter().map(|one| &one["response_status"]).collect();
    assert_eq!(statuses, [&json!(503), &json!(200)]);
    let step = house.get(&format!("/v1/workflow_runs/{id}/steps/a"));
    assert_eq!(step["output_bytes"], 5_008);
    assert_eq!(text(&step["output"]["n"]).len(), 5_000);
}

#[test]
fn a_delivery_says_what_is_sent_and_whose_signature_it_bears() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("echo", ECHO);
    let id = house.start_run("echo", &json!({}), &receiver.at("/hook"));
    let delivery = text(&house.delivery_is(&id, "delivered")["id"]);
    let arrival = receiver.wait_for("/hook", 1).remove(0);
    let signer = || {
        let shown = house.get(&format!("/v1/deliveries/{delivery}"));
        assert_eq!(text(&shown["body"]).as_bytes(), arrival.body);
        text(&shown["attempts"][0]["signed_with"])
    };
    let secret = |verb: &str| {
        let path = format!("/v1/deployments/echo/secret/{verb}");
        house.post(&path, &json!({})).is(200);
    };
    assert_eq!(signer(), "current");
    secret("stage");
    assert_eq!(signer(), "current");
    secret("promote");
    assert_eq!(signer(), "old");
    secret("revoke");
    assert_eq!(signer(), "none");
}

#[test]
fn deliveries_are_found_by_what_they_failed_with() {
    let (house, receiver) = (House::start(), Receiver::start());
    receiver.on("/gone", [status(410)]);
    house.deploy("echo", ECHO);
    let gone = house.start_run("echo", &json!({}), &receiver.at("/gone"));
    house.delivery_is(&gone, "gone");
    let fine = house.start_run("echo", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&fine, "delivered");
    // Nobody listens there.
    let lost = house.start_run("echo", &json!({}), "http://127.0.0.1:9/");
    wait_until("it has failed once", PATIENCE, || {
        (house.delivery(&lost)["class"] == "connect").then_some(())
    });
    let found = |query: &str| -> Vec<String> {
        let list = rows(&house.get(&format!("/v1/deliveries?{query}")));
        list.iter().map(|row| text(&row["request_id"])).collect()
    };
    assert_eq!(found("class=http_status"), [gone.as_str()]);
    assert_eq!(found("class=connect"), [lost.as_str()]);
    assert_eq!(found("class=connect,http_status").len(), 2);
    assert_eq!(found("class=dns").len(), 0);
    assert_eq!(found("channel=callback").len(), 3);
    assert_eq!(found("channel=email").len(), 0);
    assert_eq!(found("status=gone"), [gone.as_str()]);
    assert_eq!(found("status=delivered"), [fine.as_str()]);
    assert_eq!(found("status=pending,delivering"), [lost.as_str()]);
}
