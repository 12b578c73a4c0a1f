//! The http step in all its forms: methods, bodies, answers, retries, timeouts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::house::text;
use crate::receiver::{Act, json as answers, status, with_header};
use crate::steps::{failure, output, pairs, ready, states};

#[test]
fn an_http_step_speaks_every_method() {
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    let steps: String = methods
        .iter()
        .map(|name| {
            format!("  - {{id: m_{name}, http: {{method: {name}, url: 'RECEIVER/{name}'}}}}\n")
        })
        .collect();
    let (house, receiver) = ready(&format!("steps:\n{steps}output: done"));
    output(&house, &json!({}));
    for name in methods {
        let arrivals = receiver.arrived(&format!("/{name}"));
        assert_eq!(arrivals.len(), 1, "{name}");
        assert_eq!(arrivals[0].method, name);
        assert!(arrivals[0].body.is_empty(), "{name} was told no body");
    }
}

#[test]
fn query_headers_and_json_bodies_arrive_as_written() {
    let (house, receiver) = ready(
        "
inputs: {q: {type: text}, list: {type: array}}
steps:
  - id: call
    http:
      method: POST
      url: 'RECEIVER/all?fixed=1'
      query: {q: '{{ q }}', n: 5}
      headers: {X-Trace: 't-{{ q }}'}
      json: {q: '{{ q }}', list: '{{ list }}', text: 'has {{ list }}'}
output: done
",
    );
    output(&house, &json!({"q": "a b&c=é", "list": [1, {"x": null}]}));
    let arrival = receiver.arrived("/all").remove(0);
    let query = arrival.query();
    for (name, value) in [("fixed", "1"), ("q", "a b&c=é"), ("n", "5")] {
        assert!(
            query.contains(&(name.to_owned(), value.to_owned())),
            "{name} in {query:?}"
        );
    }
    assert!(
        arrival
            .header("content-type")
            .starts_with("application/json")
    );
    let body = json!({"q": "a b&c=é", "list": [1, {"x": null}], "text": "has [1,{\"x\":null}]"});
    assert_eq!(arrival.json(), body);
}

#[test]
fn a_header_value_cannot_break_out_of_its_line() {
    let (house, receiver) = ready(
        "
inputs: {q: {type: text}}
steps: [{id: call, http: {method: GET, url: 'RECEIVER/x', headers: {X-Q: '{{ q }}'}}}]
output: done
",
    );
    failure(&house, &json!({"q": "a\r\nX-Injected: yes"}));
    assert!(
        receiver
            .arrived("/x")
            .iter()
            .all(|arrival| arrival.header("x-injected").is_empty())
    );
}

#[test]
fn form_and_raw_bodies_arrive_as_written() {
    let (house, receiver) = ready(
        "
inputs: {q: {type: text}}
steps:
  - id: form
    http: {method: POST, url: 'RECEIVER/form', form: {q: '{{ q }}', n: 5}}
  - id: raw
    http: {method: PUT, url: 'RECEIVER/raw', headers: {Content-Type: text/csv}, body: 'a;{{ q }}'}
output: done
",
    );
    output(&house, &json!({"q": "x & y"}));
    let form = receiver.arrived("/form").remove(0);
    assert_eq!(
        form.header("content-type"),
        "application/x-www-form-urlencoded"
    );
    let sent: HashSet<(String, String)> = url::form_urlencoded::parse(&form.body)
        .into_owned()
        .collect();
    let expected = [
        ("q".to_owned(), "x & y".to_owned()),
        ("n".to_owned(), "5".to_owned()),
    ];
    assert_eq!(sent, HashSet::from(expected));
    let raw = receiver.arrived("/raw").remove(0);
    assert_eq!(
        (raw.header("content-type"), raw.body.as_slice()),
        ("text/csv", b"a;x & y".as_slice())
    );
}

#[test]
fn a_json_response_is_parsed_and_any_other_is_text() {
    let (house, receiver) = ready(
        "
steps:
  - {id: a, http: {method: GET, url: 'RECEIVER/json'}}
  - {id: b, http: {method: GET, url: 'RECEIVER/text'}}
  - id: all
    set: {title: '{{ a.output.items[1].title }}', text: '{{ b.output }}', status: '{{ b.meta.status }}', trace: '{{ b.meta.headers[\"x-trace\"] }}'}
output: '{{ all.output }}'
",
    );
    receiver.on(
        "/json",
        [answers(
            &json!({"items": [{"title": "x"}, {"title": ["kept"]}]}),
        )],
    );
    let headers = vec![
        ("Content-Type".to_owned(), "text/plain".to_owned()),
        ("X-Trace".to_owned(), "t-1".to_owned()),
    ];
    receiver.on(
        "/text",
        [Act::Answer(201, headers, b"{\"not\": \"parsed\"}".to_vec())],
    );
    let seen = output(&house, &json!({}));
    let text = "{\"not\": \"parsed\"}";
    assert_eq!(
        seen,
        json!({"title": ["kept"], "text": text, "status": 201, "trace": "t-1"})
    );
}

#[test]
fn a_value_in_a_path_stays_one_segment() {
    let (house, receiver) = ready(
        "
inputs: {id: {type: text}}
steps: [{id: call, http: {method: GET, url: 'RECEIVER/items/{{ id }}/show'}}]
output: done
",
    );
    output(&house, &json!({"id": "a/b c?d#e%"}));
    assert_eq!(receiver.all()[0].path, "/items/a%2Fb%20c%3Fd%23e%25/show");
    for climbing in [".", ".."] {
        failure(&house, &json!({"id": climbing}));
    }
    assert_eq!(
        receiver.all().len(),
        1,
        "nothing was sent for a path that climbs"
    );
}

#[test]
fn an_answer_that_is_not_2xx_fails_the_step() {
    let (house, receiver) =
        ready("steps: [{id: call, http: {method: GET, url: 'RECEIVER/x'}}]\noutput: 1");
    for code in [302, 400, 404, 500] {
        receiver.on(
            "/x",
            [with_header(code, "Location", &receiver.at("/elsewhere"))],
        );
        let (error, run) = failure(&house, &json!({}));
        assert!(error.contains(&code.to_string()), "{error}");
        assert_eq!(states(&house, &run), pairs(&[("call", "failed")]));
    }
    assert!(
        receiver.arrived("/elsewhere").is_empty(),
        "redirects are not followed"
    );
    assert_eq!(
        receiver.arrived("/x").len(),
        4,
        "without `retry` there is one try"
    );
}

#[test]
fn a_retry_gets_a_new_idempotency_key_for_each_recorded_failure() {
    let (house, receiver) = ready(
        "
steps:
  - id: call
    http: {method: POST, url: 'RECEIVER/x', json: {a: 1}}
    retry: {max: 3, backoff: 10ms..20ms}
output: '{{ call.output }}'
",
    );
    receiver.on(
        "/x",
        [status(500), status(429), answers(&json!("in the end"))],
    );
    let answer = house.direct("flow", &json!({}));
    assert_eq!(answer["output"], "in the end");
    let arrivals = receiver.arrived("/x");
    let sent: Vec<&str> = arrivals
        .iter()
        .map(|arrival| arrival.header("idempotency-key"))
        .collect();
    let run = text(&answer["run_id"]);
    assert_eq!(
        sent,
        [
            format!("{run}:call:0"),
            format!("{run}:call:1"),
            format!("{run}:call:2")
        ]
    );
}

#[test]
fn retries_end_at_the_maximum_and_only_for_what_is_listed() {
    let (house, receiver) = ready(
        "
inputs: {path: {type: text}}
steps:
  - id: call
    http: {method: GET, url: 'RECEIVER/{{ path }}'}
    retry: {max: 2, backoff: 10ms..10ms, on: [5xx]}
output: 1
",
    );
    for (code, tries) in [(500, 3), (503, 3), (404, 1), (429, 1)] {
        let path = format!("/c{code}");
        receiver.on(&path, [status(code)]);
        failure(&house, &json!({"path": path[1..]}));
        assert_eq!(receiver.arrived(&path).len(), tries, "{code}");
    }
}

#[test]
fn each_try_writes_down_what_was_sent_and_what_came() {
    let (house, receiver) = ready(
        "
steps:
  - id: call
    http: {method: POST, url: 'RECEIVER/logged', json: {a: 1}}
    retry: {max: 1, backoff: 10ms..10ms, on: [5xx]}
output: 1
",
    );
    receiver.on("/logged", [status(503), status(200)]);
    let run = text(&house.direct("flow", &json!({}))["run_id"]);
    let logs: Vec<String> = house.steps(&run)[0]["attempts"]
        .as_array()
        .expect("its tries")
        .iter()
        .map(|one| {
            let lines = one["logs"].as_array().expect("its lines");
            assert_eq!(lines.len(), 1, "{one}");
            let at = lines[0]["at"].as_str().expect("when");
            assert!(Some(at) >= one["started_at"].as_str(), "{one}");
            lines[0]["text"].as_str().expect("what").to_owned()
        })
        .collect();
    assert_eq!(logs.len(), 2, "{logs:?}");
    for (line, status) in logs.iter().zip(["503", "200"]) {
        let to = receiver.url().replace("http://", "POST ");
        let begin = format!("{to}/logged, 7 bytes: {status} after ");
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.contains("first byte "), "{line}");
    }
    let path = format!("/v1/workflow_runs/{run}/steps?values=false");
    let bare = house.get(&path);
    assert_eq!(bare["data"][0]["attempts"][1]["logs"], json!([]), "{bare}");
}

#[test]
fn a_step_that_hangs_is_cut_at_its_timeout() {
    let (house, receiver) = ready(
        "
steps:
  - id: call
    http: {method: GET, url: 'RECEIVER/x'}
    timeout: 300ms
output: 1
",
    );
    for act in [Act::Hang, Act::HangInHead, Act::HangInBody, Act::Drip] {
        receiver.on("/x", [act.clone()]);
        let from = Instant::now();
        let (error, _) = failure(&house, &json!({}));
        assert!(error.contains("within 300ms"), "{act:?}: {error}");
        assert!(
            from.elapsed() < Duration::from_secs(5),
            "{act:?} took {:?}",
            from.elapsed()
        );
    }
}
