//! Tests of `steps/http`.

use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::bell::{Stop, locked};
use crate::flow::expr::SecretMark;
use crate::id::{Dice, Id};
use crate::outbound::{Exchange, Outside};
use crate::steps::logs::Logs;
use crate::steps::perform;
use crate::steps::secrets::Secrets;
use crate::time::{Clock, Timestamp};

/// What was sent: method, URL, headers, body, and whether only to public addresses.
#[derive(Debug, Clone, Default)]
struct Sent {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: String,
    public_only: bool,
}

impl Sent {
    fn header(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// Records what is sent and gives one answer.
struct Fake {
    sent: Mutex<Vec<Sent>>,
    exchange: Exchange,
}

impl Outside for Fake {
    fn exchange(&self, request: &Request<'_>, _: &Stop) -> Exchange {
        locked(&self.sent).push(Sent {
            method: request.method.to_owned(),
            url: request.url.to_owned(),
            headers: request.headers.to_vec(),
            body: String::from_utf8_lossy(request.body).into_owned(),
            public_only: request.public_only,
        });
        self.exchange.clone()
    }
}

fn mark() -> SecretMark {
    SecretMark::new([7; 16])
}

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Exchange {
    let response = Response {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_vec(),
        bytes_seen: body.len() as u64,
        truncated: false,
    };
    Exchange {
        response: Some(response),
        ..Exchange::default()
    }
}

fn run_with(input: &Value, exchange: Exchange, host_from_template: bool) -> (Outcome, Vec<Sent>) {
    let outside = Fake {
        sent: Mutex::default(),
        exchange,
    };
    let secrets = Secrets::none(mark()).with("KEY", "hunter22 &", &["api.example".to_owned()]);
    let outcome = perform(
        &Http,
        &StepContext {
            input,
            run_id: Id::new(Timestamp(0), &Dice::seeded(1)),
            path: "fetch",
            attempt: 1,
            idempotency_key: "run:fetch:0".to_owned(),
            timeout: Duration::from_secs(1),
            host_from_template,
            stop: &Stop::default(),
            outside: &outside,
            secrets: &secrets,
            logs: &Logs::new(Clock::manual(Timestamp(0))),
        },
    );
    (
        outcome,
        outside
            .sent
            .into_inner()
            .expect("no panic while it was held"),
    )
}

/// What one input sends.
fn sent(input: &Value) -> Sent {
    let (outcome, sent) = run_with(input, answer(204, &[], b""), false);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    sent.first().cloned().expect("something was sent")
}

/// Why one input sends nothing.
fn refused(input: &Value) -> String {
    let (outcome, sent) = run_with(input, answer(204, &[], b""), false);
    assert!(sent.is_empty(), "{sent:?}");
    match outcome {
        Outcome::Failed {
            error,
            status: None,
            ..
        } if error.class == ErrorClass::Step => error.message,
        other => panic!("{other:?}"),
    }
}

/// What one answer becomes.
fn became(exchange: Exchange) -> Outcome {
    run_with(
        &json!({"url": "https://api.example:8443/path?key=1"}),
        exchange,
        false,
    )
    .0
}

fn failure(exchange: Exchange) -> (StepError, Option<u16>, Option<Duration>) {
    match became(exchange) {
        Outcome::Failed {
            error,
            status,
            retry_after,
            ..
        } => (error, status, retry_after),
        done => panic!("{done:?}"),
    }
}

#[test]
fn a_plain_url_is_a_get_with_an_idempotency_key() {
    let sent = sent(&json!({"url": "https://api.example/x"}));
    assert_eq!(
        (sent.method.as_str(), sent.url.as_str(), sent.body.as_str()),
        ("GET", "https://api.example/x", "")
    );
    assert_eq!(sent.header("idempotency-key"), ["run:fetch:0"]);
    assert!(sent.header("content-type").is_empty() && !sent.public_only);
}

#[test]
fn a_query_is_appended_and_encoded() {
    let query = json!({"q": "a b&c=ä/~", "n": [1, true, null, "x"], "none": null, "t": false});
    let sent_bare = sent(&json!({"url": "https://api.example/x", "query": query}));
    assert_eq!(
        sent_bare.url,
        "https://api.example/x?q=a%20b%26c%3D%C3%A4%2F~&n=1&n=true&n=x&t=false"
    );
    let sent_more = sent(&json!({"url": "https://api.example/x?a=1#f", "query": {"b": "2"}}));
    assert_eq!(sent_more.url, "https://api.example/x?a=1&b=2#f");
    assert_eq!(
        sent(&json!({"url": "https://api.example/x?a=1", "query": {}})).url,
        "https://api.example/x?a=1"
    );
}

#[test]
fn each_form_of_a_body_has_its_content_type() {
    let url = "https://api.example/";
    for (field, value, content_type, body) in [
        (
            "json",
            json!({"b": [1, "ä"], "a": null}),
            "application/json",
            r#"{"b":[1,"ä"],"a":null}"#,
        ),
        ("json", json!("text"), "application/json", r#""text""#),
        (
            "form",
            json!({"a": "x y", "b": [1, 2]}),
            "application/x-www-form-urlencoded",
            "a=x+y&b=1&b=2",
        ),
        ("body", json!("raw"), "text/plain; charset=utf-8", "raw"),
        (
            "body",
            json!({"a": 1}),
            "text/plain; charset=utf-8",
            r#"{"a":1}"#,
        ),
    ] {
        let sent = sent(&json!({"method": "POST", "url": url, field: value}));
        assert_eq!(sent.body, body);
        assert_eq!(sent.header("content-type"), [content_type]);
    }
    let headers =
        json!({"content-TYPE": "text/csv", "IDEMPOTENCY-key": "mine", "X-N": 5, "X-None": null});
    let own = sent(&json!({"method": "put", "url": url, "body": "a,b", "headers": headers}));
    assert_eq!(
        (own.method.as_str(), own.header("content-type")),
        ("PUT", vec!["text/csv"])
    );
    assert_eq!(
        (own.header("idempotency-key"), own.header("x-n")),
        (vec!["mine"], vec!["5"])
    );
    assert!(own.header("x-none").is_empty());
}

#[test]
fn what_cannot_be_sent_is_told_by_field() {
    let url = "https://api.example/";
    for (input, hint) in [
        (json!({}), "url is missing"),
        (json!({"url": 5}), "url: expected text, got a number"),
        (json!({"url": "api.example"}), "url: expected an absolute"),
        (
            json!({"url": "https://u:p@api.example/"}),
            "url: the URL holds a user name",
        ),
        (
            json!({"url": url, "method": "BREW"}),
            "method: expected one of GET",
        ),
        (
            json!({"url": url, "query": [1]}),
            "query: expected an object, got an array",
        ),
        (
            json!({"url": url, "query": {"a": {"b": 1}}}),
            "query.a: expected text",
        ),
        (
            json!({"url": url, "headers": {"X": {}}}),
            "headers.X: expected text",
        ),
        (
            json!({"url": url, "headers": {"X": "a\r\nb"}}),
            "headers: the value of the header X",
        ),
        (
            json!({"url": url, "headers": {"Host": "x"}}),
            "headers: the header Host cannot be set",
        ),
        (
            json!({"url": url, "json": 1, "body": "x"}),
            "at most one of json, form, body",
        ),
        (
            json!({"url": url, "hosts": "x"}),
            "hosts: expected an array of hosts, got a text",
        ),
        (
            json!({"url": url, "hosts": ["x/y"]}),
            "hosts: expected a host",
        ),
        (
            json!({"url": url, "hosts": []}),
            "api.example:443 is not among the step's hosts",
        ),
        (
            json!({"url": url, "hosts": ["other.example", "api.example:8443"]}),
            "api.example:443 is not among",
        ),
    ] {
        let why = refused(&input);
        assert!(why.contains(hint), "{why:?} without {hint:?}");
    }
}

#[test]
fn a_host_from_a_template_is_public_or_listed() {
    let public_only = |input: Value| {
        run_with(&input, answer(204, &[], b""), true)
            .1
            .first()
            .map(|sent| sent.public_only)
    };
    assert_eq!(
        public_only(json!({"url": "https://api.example/"})),
        Some(true)
    );
    assert_eq!(
        public_only(json!({"url": "https://api.example/", "hosts": ["*.example"]})),
        Some(false)
    );
    assert_eq!(
        public_only(json!({"url": "https://api.example/", "hosts": ["x.example"]})),
        None
    );
}

#[test]
fn a_secret_goes_to_its_host_in_headers_query_and_body_and_nowhere_else() {
    let key = mark().of("KEY");
    for (field, value) in [
        ("headers", json!({"Authorization": format!("Bearer {key}")})),
        ("query", json!({"key": key})),
        ("json", json!({"a": [key]})),
        ("form", json!({"a": key})),
        ("body", json!(format!("a={key}"))),
    ] {
        let (_, sent) = run_with(
            &json!({"url": "https://api.example/", field: value}),
            answer(204, &[], b""),
            false,
        );
        let sent = format!("{sent:?}");
        assert!(
            sent.contains("hunter22") && !sent.contains("skep_07"),
            "{sent}"
        );
        let why = refused(&json!({"url": "https://evil.example/", field: value}));
        assert!(
            why.contains("KEY") && why.contains("evil.example") && !why.contains("hunter22"),
            "{why}"
        );
    }
    let why = refused(&json!({"url": "https://api.example/", "headers": {key.clone(): "x"}}));
    assert!(
        why.contains("a secret cannot stand in the name of a header"),
        "{why}"
    );
    let why = refused(&json!({"url": format!("https://api.example/{key}")}));
    assert!(why.contains("url: a secret cannot stand in a URL"), "{why}");
}

#[test]
fn a_secret_that_comes_back_is_masked() {
    let echo = answer(
        200,
        &[("x-echo", "hunter22 &")],
        br#"{"all": "key=hunter22%20%26 aHVudGVyMjIgJg=="}"#,
    );
    let refusal = answer(
        500,
        &[],
        format!("{}hunter22 &", "x".repeat(196)).as_bytes(),
    );
    for exchange in [echo, refusal] {
        let outcome = format!("{:?}", became(exchange));
        assert!(
            !outcome.contains("hunt") && !outcome.contains("aHVudGVy"),
            "{outcome}"
        );
    }
}

#[test]
fn an_answer_is_json_or_text_or_nothing() {
    for (content_type, body, output) in [
        (Some("application/json"), r#"{"a": 1}"#, json!({"a": 1})),
        (Some("Application/JSON; charset=utf-8"), "5", json!(5)),
        (Some("application/problem+json"), "\u{feff}[1]", json!([1])),
        (Some("text/plain"), r#"{"a": 1}"#, json!(r#"{"a": 1}"#)),
        (Some("text/html"), "<p>ä", json!("<p>ä")),
        (None, " [1]", json!([1])),
        (None, "[1", json!("[1")),
        (None, "5", json!("5")),
        (Some("application/json"), "", json!(null)),
        (Some("application/json"), "{", json!("{")),
    ] {
        let headers: Vec<_> = content_type
            .iter()
            .map(|value| ("content-type", *value))
            .collect();
        match became(answer(200, &headers, body.as_bytes())) {
            Outcome::Done { output: got, meta } => {
                assert_eq!(got, output, "{content_type:?} {body}");
                assert_eq!(
                    meta.and_then(|meta| meta.get("status").cloned()),
                    Some(json!(200))
                );
            }
            failed => panic!("{failed:?}"),
        }
    }
    let repeated = answer(200, &[("x-a", "1"), ("x-a", "2"), ("x-b", "3")], b"");
    let expected = json!({"status": 200, "headers": {"x-a": "1, 2", "x-b": "3"}});
    assert_eq!(
        became(repeated),
        Outcome::Done {
            output: Value::Null,
            meta: Some(expected)
        }
    );
}

#[test]
fn an_answer_in_a_wrong_form_fails_the_step() {
    let png = [("content-type", "image/png")];
    let (error, status, _) = failure(answer(200, &png, b"\x89PNG"));
    assert_eq!((error.class, status), (ErrorClass::Step, None));
    assert!(
        error.message.contains(
            "answered 200, but the body is neither JSON nor UTF-8 text (image/png, 4 bytes)"
        ),
        "{error:?}"
    );
    let mut large = answer(200, &[], b"x");
    large
        .response
        .iter_mut()
        .for_each(|response| response.truncated = true);
    let (error, ..) = failure(large);
    assert!(error.message.contains("larger than 1 MiB"), "{error:?}");
}

#[test]
fn a_refusal_is_told_short_and_without_the_query() {
    let headers = [("retry-after", "7"), ("content-type", "text/plain")];
    let (error, status, retry_after) = failure(answer(503, &headers, "ä".repeat(5000).as_bytes()));
    let expected = format!(
        "GET api.example:8443/path answered 503: {}",
        "ä".repeat(200)
    );
    assert_eq!(
        error,
        StepError {
            class: ErrorClass::HttpStatus,
            message: expected
        }
    );
    assert_eq!(
        (status, retry_after),
        (Some(503), Some(Duration::from_secs(7)))
    );
    let (error, ..) = failure(answer(302, &[], b""));
    assert_eq!(
        error.message,
        "GET api.example:8443/path answered 302 (redirects are not followed)"
    );
}

#[test]
fn whatever_the_other_side_says_is_told_short_and_behind_the_status() {
    let long = "x".repeat(5000);
    let short = |text: &str| assert!(text.chars().count() < 500, "{text}");
    let (error, ..) = failure(answer(500, &[], long.as_bytes()));
    assert!(error.message.find("500") < error.message.find("xxx"));
    short(&error.message);
    let kind = format!("image/{long}");
    short(
        &failure(answer(200, &[("content-type", &kind)], b"\x89"))
            .0
            .message,
    );
    let broken = Exchange {
        error: Some((ErrorClass::Reset, long.clone())),
        ..Exchange::default()
    };
    short(&failure(broken).0.message);
    let url = format!("https://api.example/{long}");
    match run_with(&json!({"url": url}), answer(500, &[], b""), false).0 {
        Outcome::Failed { error, .. } => {
            assert!(error.message.contains("answered 500"));
            short(&error.message);
        }
        done => panic!("{done:?}"),
    }
}

#[test]
fn a_failed_exchange_keeps_its_class() {
    let exchange = Exchange {
        error: Some((ErrorClass::Timeout, "no answer".to_owned())),
        ..Exchange::default()
    };
    let (error, status, _) = failure(exchange);
    assert_eq!((error.class, status), (ErrorClass::Timeout, None));
    assert_eq!(error.message, "GET api.example:8443/path: no answer");
}
