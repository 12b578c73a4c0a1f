//! Ten thousand generated requests: no 500, no hang, no panic. One seed, one sequence.

use std::io;
use std::thread;

use serde_json::{Value, json};

use crate::dice::{Dice, asked};
use crate::house::{ADMIN, House, text};
use crate::wire::{Ask, Wire};

const FLOW: &str = "
inputs: {topic: {type: text}, n: {type: number}, list: {type: array}}
steps:
  - {id: a, set: {t: '{{ topic | default(none) }}', n: '{{ n | default(1) }}'}}
  - {id: gate, condition: 'n | default(1) > 1', then: [{id: b, set: {x: 1}}]}
output: '{{ a.output }}'
";

/// A sequence of requests by a seed.
struct Muddle {
    dice: Dice,
}

impl Muddle {
    fn below(&mut self, bound: usize) -> usize {
        self.dice.below(bound)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        self.dice.pick(from)
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Value::Null,
            1 => (self.dice.next() & 1 == 0).into(),
            2 => (self.dice.next() as i64).into(),
            3 => json!((self.dice.next() as f64) / 1e9),
            4 => self.word().into(),
            5 => "{{ topic }}".into(),
            6 => format!("{}{}", "x".repeat(self.below(2_000)), self.word()).into(),
            7 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let pairs = (0..self.below(4)).map(|_| (self.word(), self.value(depth - 1)));
                Value::Object(pairs.collect())
            }
        }
    }

    fn word(&mut self) -> String {
        self.pick(&[
            "deployment",
            "variant",
            "inputs",
            "async",
            "enabled",
            "callback_url",
            "user",
            "metadata",
            "topic",
            "n",
            "list",
            "steps",
            "id",
            "set",
            "http",
            "url",
            "method",
            "condition",
            "then",
            "delay",
            "output",
            "if",
            "retry",
            "max",
            "timeout",
            "flow",
            "prod",
            "http://127.0.0.1:9/",
            "http://[::1]/",
            "",
            "\u{0}",
            "é",
            "\u{202e}",
            "💥",
            "' OR 1=1 --",
            "../../etc",
            "%00",
            "{{",
            "}}",
            "{% for %}",
            "{{ start.topic[0] }}",
            "{{ a.output * 9999999999 }}",
            "{{ range(99999999) }}",
            "1e999",
            "-9223372036854775809",
            "5s",
            "999999999d",
            "*",
            "&a",
            "<<",
            "!!binary",
            "2020-01-01",
        ])
        .to_owned()
    }

    /// A value with one of its parts, somewhere, replaced, removed or added.
    fn bend(&mut self, value: &mut Value) {
        match value {
            Value::Object(object) if !object.is_empty() && self.below(4) > 0 => {
                let key = object
                    .keys()
                    .nth(self.below(object.len()))
                    .cloned()
                    .unwrap_or_default();
                match self.below(6) {
                    0 => drop(object.remove(&key)),
                    1 => {
                        let (word, value) = (self.word(), self.value(2));
                        object.insert(word, value);
                    }
                    _ => self.bend(&mut object[&key]),
                }
            }
            Value::Array(list) if !list.is_empty() && self.below(4) > 0 => {
                let at = self.below(list.len());
                self.bend(&mut list[at]);
            }
            other => *other = self.value(3),
        }
    }

    /// Bytes with some of them changed, lost or doubled.
    fn break_bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.dice.next() as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, self.dice.next() as u8),
                _ => bytes.truncate(at),
            }
        }
    }
}

fn definition() -> Value {
    json!({
        "inputs": {"topic": {"type": "text", "required": true}, "n": {"type": "number", "default": 1}},
        "steps": [
            {"id": "a", "set": {"t": "{{ topic }}"}, "if": "n > 1"},
            {"id": "gate", "condition": {"all": [{"left": "{{ n }}", "op": ">", "right": 1}]},
             "then": [{"id": "b", "set": {"x": 1}}], "else": [{"id": "c", "set": {"x": 2}}]},
            {"id": "nap", "delay": "1ms"},
            {"id": "call", "http": {"method": "GET", "url": "http://127.0.0.1:9/{{ topic }}", "query": {"a": 1}},
             "retry": {"max": 1, "backoff": "1ms..2ms"}, "timeout": "1s", "on_failure": "continue"},
        ],
        "output": {"a": "{{ a.output }}"},
    })
}

/// One request of the sequence.
fn request(muddle: &mut Muddle, house: &House, webhook: &(String, String)) -> Ask {
    let invoke = json!({
        "deployment": "flow", "variant": "prod", "inputs": {"topic": "x", "n": 2},
        "user": "u", "metadata": {"k": "v"}, "tool_approval": "policy",
    });
    let callback = json!({"enabled": true, "callback_url": "http://127.0.0.1:9/"});
    let (method, path, mut body) = match muddle.below(10) {
        0..=2 => ("POST", "/v1/workflow/invoke".to_owned(), invoke),
        3 => {
            let mut body = invoke;
            body["async"] = callback;
            ("POST", "/v1/workflow/invoke".to_owned(), body)
        }
        // A dry run, so that the deployed workflow stays what the invokes expect.
        4..=5 => {
            let query = muddle.pick(&["dry_run=true", "dry_run=true&x=1"]);
            (
                "PUT",
                format!("/v1/deployments/fuzz/variants/prod?{query}"),
                definition(),
            )
        }
        6 => (
            "POST",
            webhook.0.clone(),
            json!({"inputs": {"topic": "x"}, "async": callback}),
        ),
        7 => {
            let lists = [
                "workflow_runs",
                "deliveries",
                "deployments",
                "keys",
                "audit",
                "secrets",
            ];
            let (list, name, value) = (muddle.pick(&lists), muddle.word(), muddle.word());
            let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            let field = muddle.pick(&[
                "status",
                "limit",
                "cursor",
                "q",
                "from",
                "metadata[x]",
                "host",
                &name,
            ]);
            (
                "GET",
                format!("/v1/{list}?{field}={value}&limit=5"),
                Value::Null,
            )
        }
        8 => {
            let word: String =
                url::form_urlencoded::byte_serialize(muddle.word().as_bytes()).collect();
            let bases = [
                "/v1/workflow_runs/",
                "/v1/deliveries/",
                "/v1/public/requests/",
                "/v1/",
                "/",
            ];
            (
                muddle.pick(&["GET", "POST", "PUT"]),
                format!("{}{word}", muddle.pick(&bases)),
                muddle.value(2),
            )
        }
        _ => (
            "PATCH",
            "/v1/deployments/flow".to_owned(),
            json!({"retry_schedule": ["0s"], "callback_hosts": []}),
        ),
    };
    for _ in 0..muddle.below(4) {
        muddle.bend(&mut body);
    }
    let mut bytes = if method == "GET" {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    if muddle.below(3) == 0 {
        muddle.break_bytes(&mut bytes);
    }
    let mut ask = Ask::new(house.address(), method, &path).key(ADMIN);
    if path == webhook.0 {
        ask = ask
            .no_key()
            .header("X-Fetch-Hive-Webhook-Secret", &webhook.1);
    }
    for _ in 0..muddle.below(4) {
        let name = muddle.pick(&[
            "Idempotency-Key",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "Accept",
            "Cookie",
            "Origin",
            "X-Odd",
            "Authorization",
            "If-None-Match",
            "Range",
            "X-HTTP-Method-Override",
        ]);
        let value: String = muddle.word().chars().filter(|c| !c.is_control()).collect();
        ask = ask.header(name, &value);
    }
    let types = [
        "application/json",
        "application/yaml",
        "text/plain",
        "application/json; charset=utf-16",
        "",
    ];
    ask.body(muddle.pick(&types), &bytes)
}

/// Sends one request; the status, or `None` if the server closed the connection without an answer.
fn exchange(wire: &mut Option<Wire>, house: &House, bytes: &[u8]) -> Option<u16> {
    if wire.is_none() {
        *wire = Some(Wire::open(house.address()).expect("the server accepts"));
    }
    let open = wire.as_mut()?;
    // A refused head may close the connection while the rest is still being written.
    let _ = open.send(bytes);
    match open.answer() {
        Ok(answer) => {
            let text = answer.text();
            assert_ne!(
                answer.status,
                500,
                "{text}\n{}",
                String::from_utf8_lossy(bytes)
            );
            if answer.header("connection") == Some("close") {
                *wire = None;
            }
            Some(answer.status)
        }
        Err(fault) => {
            let hung = matches!(
                fault.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            );
            assert!(!hung, "no answer to: {}", String::from_utf8_lossy(bytes));
            *wire = None;
            None
        }
    }
}

#[test]
fn ten_thousand_generated_requests_meet_no_500_and_no_hang() {
    let count = asked("SKEP_TEST_REQUESTS", 10_000) as usize;
    let seed = asked("SKEP_TEST_SEED", 2) * 1_000;
    let house = House::plan().set("direct_timeout", "5s").start();
    let deployed = house.deploy("flow", FLOW);
    let webhook = (
        format!(
            "/v1/workflow/webhooks/{}/variants/{}",
            text(&deployed["endpoint_id"]),
            text(&deployed["variant_id"])
        ),
        text(&deployed["webhook_secret"]),
    );
    let statuses: Vec<Option<u16>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..4)
            .map(|lane| {
                let (house, webhook) = (&house, &webhook);
                scope.spawn(move || {
                    let mut muddle = Muddle {
                        dice: Dice(seed + lane),
                    };
                    let mut wire = None;
                    let one = |_| {
                        let mut bytes = request(&mut muddle, house, webhook).bytes(false);
                        if muddle.below(20) > 0 {
                            return exchange(&mut wire, house, &bytes);
                        }
                        // Some have their framing broken too.
                        bytes.truncate(200);
                        muddle.break_bytes(&mut bytes);
                        broken_exchange(house, &bytes)
                    };
                    (0..count / 4).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().expect("every request was answered"))
            .collect()
    });
    assert_eq!(statuses.len(), count / 4 * 4);
    let answered = statuses.iter().flatten().count();
    assert!(
        answered * 10 > count * 9,
        "{answered} of {count} were answered at all"
    );
    for wanted in [200, 202, 400, 404] {
        assert!(
            statuses.contains(&Some(wanted)),
            "the sequence meets a {wanted}"
        );
    }
    assert!(!house.log().contains("panicked"), "{}", house.log());
    house.ask("GET", "/healthz").send().is(200);
    assert_eq!(
        house.direct("flow", &json!({"topic": "x"}))["status"],
        "completed"
    );
    house.stop();
}

/// Broken framing on a connection of its own: answered or closed, never a 500. Half a body may be waited for by the
/// server for as long as it waits for a slow client, so our side is closed at once.
fn broken_exchange(house: &House, bytes: &[u8]) -> Option<u16> {
    let mut wire = Wire::open(house.address()).expect("the server accepts");
    let _ = wire.send(bytes);
    wire.finish();
    let status = wire.answer().ok().map(|answer| answer.status);
    assert_ne!(status, Some(500), "{}", String::from_utf8_lossy(bytes));
    status
}
