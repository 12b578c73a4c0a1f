//! `POST /v1/workflow/webhooks/…`: both body forms, both places for the secret, and what is refused.

use serde_json::{Value, json};

use crate::house::{House, has_exactly, text};
use crate::receiver::Receiver;
use crate::wire::{Answer, Ask, Wire};

const SHOW: &str = "
inputs:
  topic: {type: text, required: true}
steps:
  - id: seen
    set:
      topic: '{{ topic }}'
      extra: '{{ start.extra | default(none) }}'
      metadata: '{{ start.metadata | default(none) }}'
output: '{{ seen.output }}'
";

struct Trigger {
    house: House,
    receiver: Receiver,
    path: String,
    secret: String,
}

impl Trigger {
    fn start() -> Trigger {
        let (house, receiver) = (House::start(), Receiver::start());
        let deployed = house.deploy("show", SHOW);
        let path = format!(
            "/v1/workflow/webhooks/{}/variants/{}",
            text(&deployed["endpoint_id"]),
            text(&deployed["variant_id"])
        );
        assert_eq!(deployed["webhook_url"], format!("{}{path}", house.url()));
        Trigger {
            path,
            secret: text(&deployed["webhook_secret"]),
            house,
            receiver,
        }
    }

    fn ask(&self) -> Ask {
        Ask::new(self.house.address(), "POST", &self.path)
            .header("X-Fetch-Hive-Webhook-Secret", &self.secret)
    }

    fn send(&self, body: &Value) -> Answer {
        self.ask().json(body).send()
    }

    fn hook(&self) -> Value {
        json!({"callback_url": self.receiver.at("/hook")})
    }
}

#[test]
fn the_wrapped_form_carries_inputs_user_and_metadata() {
    let trigger = Trigger::start();
    let answer = trigger.send(&json!({
        "inputs": {"topic": "bees"}, "user": "u-1", "metadata": {"order": 7}, "async": trigger.hook(),
    }));
    let body = answer.is(202);
    has_exactly(&body, &["request_id", "run_id", "run_status", "status"]);
    let event = trigger.receiver.wait_for("/hook", 1)[0].json();
    assert_eq!(
        event["data"]["output"],
        json!({"topic": "bees", "extra": null, "metadata": null})
    );
    assert_eq!(event["user"], "u-1");
    assert_eq!(event["metadata"], json!({"order": 7}));
    let run = trigger.house.run(&text(&body["request_id"]));
    assert_eq!(
        (&run["source"], &run["delivery"]),
        (&json!("webhook"), &json!("callback"))
    );
}

#[test]
fn the_bare_form_is_wholly_the_inputs() {
    let trigger = Trigger::start();
    let body = json!({"topic": "bees", "extra": [1], "metadata": "mine", "async": trigger.hook()});
    let answer = trigger.send(&body).is(202);
    let event = trigger.receiver.wait_for("/hook", 1)[0].json();
    let output = json!({"topic": "bees", "extra": [1], "metadata": "mine"});
    assert_eq!(event["data"]["output"], output);
    assert!(
        event["metadata"].is_null() || event["metadata"] == json!({}),
        "{event}"
    );
    let inputs = trigger.house.run(&text(&answer["request_id"]))["start_inputs"].clone();
    assert_eq!(
        inputs,
        json!({"topic": "bees", "extra": [1], "metadata": "mine"}),
        "without async"
    );
}

#[test]
fn the_wrapped_form_refuses_unknown_inputs() {
    let trigger = Trigger::start();
    let body = json!({"inputs": {"topic": "bees", "extra": 1}, "async": trigger.hook()});
    trigger.send(&body).refused(400, "validation_error");
}

#[test]
fn the_header_wins_over_the_query() {
    let trigger = Trigger::start();
    let (good, bad) = (trigger.secret.clone(), "whsec_wrong".to_owned());
    let body = json!({"inputs": {"topic": "bees"}, "async": trigger.hook()});
    let send = |header: Option<&str>, query: &str| {
        let path = format!("{}?secret={query}", trigger.path);
        let ask = Ask::new(trigger.house.address(), "POST", &path).json(&body);
        match header {
            Some(secret) => ask.header("X-Fetch-Hive-Webhook-Secret", secret).send(),
            None => ask.send(),
        }
    };
    send(None, &good).is(202);
    send(Some(&good), &bad).is(202);
    send(Some(&bad), &good).refused(401, "invalid_access");
    send(None, &bad).refused(401, "invalid_access");
    assert!(
        !trigger.house.log().contains(&good),
        "the secret is never logged"
    );
}

#[test]
fn a_url_is_required_unless_the_deployment_has_a_default() {
    let trigger = Trigger::start();
    let body = json!({"inputs": {"topic": "bees"}});
    let refused = trigger.send(&body).refused(400, "validation_error");
    assert_eq!(
        refused["error"],
        "callback_url is required when async is enabled"
    );
    let default = json!({"callback_url": trigger.receiver.at("/default")});
    trigger.house.tune("show", &default);
    trigger.send(&body).is(202);
    trigger.receiver.wait_for("/default", 1);
    // What the request says goes before the default.
    trigger
        .send(&json!({"inputs": {"topic": "bees"}, "async": trigger.hook()}))
        .is(202);
    trigger.receiver.wait_for("/hook", 1);
    assert_eq!(trigger.receiver.arrived("/default").len(), 1);
}

#[test]
fn wrong_secrets_and_unknown_ids_look_the_same() {
    let trigger = Trigger::start();
    let other = trigger.house.deploy("other", SHOW);
    let (endpoint, variant) = trigger
        .path
        .strip_prefix("/v1/workflow/webhooks/")
        .and_then(|rest| rest.split_once("/variants/"))
        .expect("the path has both ids");
    let foreign = text(&other["variant_id"]);
    let paths = [
        trigger.path.clone(),
        format!("/v1/workflow/webhooks/nobody/variants/{variant}"),
        format!("/v1/workflow/webhooks/{endpoint}/variants/nobody"),
        format!("/v1/workflow/webhooks/{endpoint}/variants/{foreign}"),
    ];
    let mut answers = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let ask = Ask::new(trigger.house.address(), "POST", path).json(&json!({}));
        let secret = if at == 0 {
            "whsec_wrong"
        } else {
            trigger.secret.as_str()
        };
        let refused = ask.header("X-Fetch-Hive-Webhook-Secret", secret).send();
        assert_eq!(
            refused.refused(401, "invalid_access")["error"],
            "Invalid access."
        );
        answers.push(refused.json());
    }
    Ask::new(trigger.house.address(), "POST", &trigger.path)
        .send()
        .refused(401, "invalid_access");
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn a_wrong_secret_is_refused_before_the_body_is_sent() {
    let trigger = Trigger::start();
    let mut wire = Wire::open(trigger.house.address()).expect("the server accepts");
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nX-Fetch-Hive-Webhook-Secret: whsec_wrong\r\n\
         Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
        trigger.path
    );
    wire.send(head.as_bytes()).expect("the head is sent");
    wire.answer()
        .expect("an answer without the body")
        .refused(401, "invalid_access");
}

#[test]
fn bodies_of_neither_form_are_refused() {
    let trigger = Trigger::start();
    for body in [
        "[1]",
        "\"text\"",
        "7",
        "null",
        "{\"inputs\": [1]}",
        "{\"inputs\": \"bees\"}",
    ] {
        let answer = trigger
            .ask()
            .body("application/json", body.as_bytes())
            .send();
        answer.refused(400, "validation_error");
    }
    trigger
        .ask()
        .body("application/json", b"{")
        .send()
        .refused(400, "malformed_body");
}

#[test]
fn webhook_triggers_take_an_idempotency_key() {
    let trigger = Trigger::start();
    let body = json!({"inputs": {"topic": "bees"}, "async": trigger.hook()});
    let send = |body: &Value| {
        trigger
            .ask()
            .header("Idempotency-Key", "k-1")
            .json(body)
            .send()
    };
    let first = send(&body).is(202);
    let second = send(&body);
    assert_eq!(second.is(202), first);
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    let other = json!({"inputs": {"topic": "wasps"}, "async": trigger.hook()});
    send(&other).refused(409, "idempotency_key_reused");
}
