//! Secrets: where they may go, and that nothing of them stays anywhere else.

use std::fs;

use serde_json::{Value, json};

use crate::house::{House, Plan, count_in_file, text};
use crate::process::printed;
use crate::receiver::{Act, Receiver, status};

/// 32 bytes each, in base64.
const OLD: &str = "b2xkIG1hc3RlciBrZXksIHRoaXJ0eS10d28gYnl0ZXM=";
const NEW: &str = "bmV3IG1hc3RlciBrZXksIHRoaXJ0eS10d28gYnl0ZXM=";

fn sealed(key: &str) -> Plan {
    House::plan().env("SKEP_MASTER_KEY", key)
}

#[track_caller]
fn set(house: &House, name: &str, value: &str, hosts: &[&str]) {
    let answer = house.put(
        &format!("/v1/secrets/{name}"),
        &json!({"value": value, "hosts": hosts}),
    );
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    assert!(!answer.text().contains(value));
}

/// Twenty values that look like nothing else, some with letters that are escaped in URLs and JSON.
fn planted() -> Vec<String> {
    (0..20)
        .map(|at| match at % 4 {
            0 => format!("planted-{at:02}-Zq7Xv9Lw2Nf4"),
            1 => format!("planted/{at:02}+Zq7Xv9Lw2Nf4=="),
            2 => format!("planted \"{at:02}\" Zq7Xv9Lw2Nf4"),
            _ => format!("planted&{at:02}=Zq7Xv9Lw2Nf4\\"),
        })
        .collect()
}

/// Every way a value may be spelled when it is written down.
fn spellings(value: &str) -> Vec<String> {
    use base64::Engine;
    let quoted = Value::from(value).to_string();
    let mut all = vec![
        value.to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        url::form_urlencoded::byte_serialize(value.as_bytes()).collect(),
        url::form_urlencoded::byte_serialize(value.as_bytes())
            .collect::<String>()
            .replace('+', "%20"),
        base64::engine::general_purpose::STANDARD.encode(value),
    ];
    all.sort();
    all.dedup();
    all
}

/// A workflow that uses all twenty: in headers, in the query, in each kind of body.
fn uses_all() -> Value {
    let steps: Vec<Value> = (0..20)
        .map(|at| {
            let secret = format!("{{{{ secrets.S{at} }}}}");
            let http = match at % 5 {
                0 => json!({"method": "GET", "url": "RECEIVER/echo", "headers": {"Authorization": format!("Bearer {secret}")}}),
                1 => json!({"method": "GET", "url": "RECEIVER/echo", "query": {"token": secret}}),
                2 => json!({"method": "POST", "url": "RECEIVER/echo", "json": {"deep": [secret]}}),
                3 => json!({"method": "POST", "url": "RECEIVER/echo", "form": {"token": secret}}),
                _ => json!({"method": "POST", "url": "RECEIVER/fail", "body": format!("token={secret}")}),
            };
            json!({"id": format!("s{at}"), "http": http, "on_failure": "continue"})
        })
        .collect();
    let mut output = serde_json::Map::new();
    for at in 0..20 {
        output.insert(format!("s{at}"), format!("{{{{ s{at}.output }}}}").into());
    }
    json!({"steps": steps, "output": output})
}

#[test]
fn nothing_of_twenty_planted_secrets_stays_anywhere() {
    let receiver = Receiver::start();
    let house = sealed(OLD).set("log_level", "trace").start();
    receiver.on("/echo", [Act::Echo]);
    receiver.on(
        "/fail",
        [Act::Answer(500, Vec::new(), b"token=nothing".to_vec())],
    );
    receiver.on("/hook", [status(500)]);
    let values = planted();
    for (at, value) in values.iter().enumerate() {
        set(&house, &format!("S{at}"), value, &["127.0.0.1"]);
    }
    let definition = receiver.fill(&uses_all().to_string());
    let path = "/v1/deployments/uses/variants/prod";
    let deployed = house
        .ask("PUT", path)
        .body("application/json", definition.as_bytes())
        .send()
        .is(201);
    let webhook_secret = text(&deployed["webhook_secret"]);
    let id = house.start_run("uses", &json!({}), &receiver.at("/hook"));
    house.first_attempt(&id);
    let seen: Vec<String> = receiver
        .all()
        .iter()
        .map(|arrival| format!("{arrival:?}"))
        .collect();
    let sent =
        String::from_utf8_lossy(&receiver.arrived("/echo")[0].body).into_owned() + &seen.join("\n");
    assert!(sent.contains(&values[0]), "the real value was sent");

    let (_, reader) = house.make_key("reader", "read");
    let ask = |path: &str| house.ask("GET", path).key(&reader).send().text();
    let delivery = text(&house.deliveries(&id)[0]["id"]);
    let mut places: Vec<(String, Vec<u8>)> = [
        "/v1/workflow_runs".to_owned(),
        format!("/v1/workflow_runs/{id}"),
        format!("/v1/workflow_runs/{id}/steps"),
        format!("/v1/public/requests/{id}"),
        "/v1/deliveries".to_owned(),
        format!("/v1/deliveries/{delivery}"),
        "/v1/deployments".to_owned(),
        "/v1/deployments/uses".to_owned(),
        "/v1/deployments/uses/variants/prod/versions/1".to_owned(),
        "/v1/keys".to_owned(),
        "/v1/audit".to_owned(),
        "/v1/secrets".to_owned(),
    ]
    .into_iter()
    .map(|path| (path.clone(), ask(&path).into_bytes()))
    .collect();
    places.push((
        "/v1/secrets (admin)".to_owned(),
        house.get("/v1/secrets").to_string().into_bytes(),
    ));
    places.push((
        "the callback".to_owned(),
        receiver.arrived("/hook")[0].body.clone(),
    ));
    // Once with the WAL as it is, once after a clean stop has moved everything into the file.
    for stopped in [false, true] {
        if stopped {
            house.stop();
        }
        for entry in fs::read_dir(house.path(""))
            .expect("the folder is ours")
            .flatten()
        {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            places.push((entry.path().display().to_string(), bytes));
        }
    }
    let mut found = Vec::new();
    for (place, bytes) in &places {
        for value in values
            .iter()
            .flat_map(|value| spellings(value))
            .chain([webhook_secret.clone()])
        {
            let needle = value.as_bytes();
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(format!("{value} in {place}"));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_secret_goes_only_to_the_hosts_it_names() {
    let (house, receiver) = (House::start(), Receiver::start());
    set(
        &house,
        "TOKEN",
        "planted-value-for-api-example",
        &["api.example"],
    );
    let yaml = "
steps:
  - {id: call, http: {method: GET, url: 'RECEIVER/x', headers: {Authorization: 'Bearer {{ secrets.TOKEN }}'}}}
output: 1
";
    house.deploy("leak", &receiver.fill(yaml));
    let answer = house.direct("leak", &json!({}));
    assert_eq!(answer["status"], "failed");
    assert!(text(&answer["error"]).contains("TOKEN"), "{answer}");
    assert!(receiver.all().is_empty(), "nothing was sent");
    set(
        &house,
        "TOKEN",
        "planted-value-for-loopback",
        &["api.example", "127.0.0.1"],
    );
    assert_eq!(house.direct("leak", &json!({}))["status"], "completed");
    assert_eq!(
        receiver.all()[0].header("authorization"),
        "Bearer planted-value-for-loopback"
    );
}

#[test]
fn a_secret_that_is_not_set_fails_the_step_by_name() {
    let (house, receiver) = (House::start(), Receiver::start());
    let yaml = "
steps: [{id: call, http: {method: GET, url: 'RECEIVER/x', headers: {X-Key: '{{ secrets.NOBODY }}'}}}]
output: 1
";
    house.deploy("missing", &receiver.fill(yaml));
    let answer = house.direct("missing", &json!({}));
    assert_eq!(answer["status"], "failed");
    assert!(text(&answer["error"]).contains("NOBODY"), "{answer}");
    assert!(receiver.all().is_empty());
}

#[test]
fn without_a_master_key_values_are_still_never_shown() {
    let house = House::start();
    set(&house, "TOKEN", "planted-in-clear", &["api.example"]);
    let listed = house.get("/v1/secrets");
    assert!(listed.to_string().contains("TOKEN") && listed.to_string().contains("api.example"));
    assert!(!listed.to_string().contains("planted-in-clear"));
    assert!(matches!(
        house.delete("/v1/secrets/TOKEN").status,
        200 | 204
    ));
    house.delete("/v1/secrets/TOKEN").refused(404, "not_found");
}

#[test]
fn master_keys_are_rotated_by_naming_the_new_one_first() {
    let receiver = Receiver::start();
    let house = sealed(OLD).start();
    let yaml = "
steps: [{id: call, http: {method: GET, url: 'RECEIVER/x', headers: {X-Key: '{{ secrets.TOKEN }}'}}}]
output: 1
";
    set(&house, "TOKEN", "planted-and-kept", &["127.0.0.1"]);
    let secret = text(&house.deploy("uses", &receiver.fill(yaml))["webhook_secret"]);
    for keys in [format!("{NEW},{OLD}"), NEW.to_owned()] {
        house.replan(|plan| plan.env("SKEP_MASTER_KEY", &keys));
        house.restart();
        assert_eq!(house.direct("uses", &json!({}))["status"], "completed");
        assert_eq!(
            text(&house.get("/v1/deployments/uses")["webhook_secret"]),
            secret
        );
    }
    assert!(
        receiver
            .arrived("/x")
            .iter()
            .all(|arrival| arrival.header("x-key") == "planted-and-kept")
    );
    house.stop();
    for needle in ["planted-and-kept", secret.as_str()] {
        assert_eq!(
            count_in_file(&house.data(), needle.as_bytes()),
            0,
            "{needle}"
        );
    }
    // The old key alone opens nothing any more, and neither does none at all.
    for plan in [sealed(OLD), House::plan()] {
        house.replan(|_| plan);
        let output = house.serve_fails();
        assert_eq!(output.status.code(), Some(1));
        assert!(printed(&output).contains("master"), "{}", printed(&output));
    }
}

#[test]
fn setting_a_master_key_seals_what_lay_in_clear() {
    let house = House::start();
    set(&house, "TOKEN", "planted-and-sealed-later", &["127.0.0.1"]);
    let secret =
        text(&house.deploy("uses", "steps: [{id: a, set: {x: 1}}]\noutput: 1")["webhook_secret"]);
    house.replan(|plan| plan.env("SKEP_MASTER_KEY", NEW));
    house.restart();
    assert_eq!(
        text(&house.get("/v1/deployments/uses")["webhook_secret"]),
        secret
    );
    house.stop();
    for needle in ["planted-and-sealed-later", secret.as_str()] {
        assert_eq!(
            count_in_file(&house.data(), needle.as_bytes()),
            0,
            "{needle}"
        );
        assert_eq!(
            count_in_file(&house.path("skep.db-wal"), needle.as_bytes()),
            0,
            "{needle}"
        );
    }
}

#[test]
fn a_secret_echoed_to_another_step_is_masked_there_too() {
    let (house, receiver) = (House::start(), Receiver::start());
    set(&house, "TOKEN", "planted-and-echoed-later", &["127.0.0.1"]);
    receiver.on("/told", [status(200)]);
    let told = |code| {
        Act::Answer(
            code,
            Vec::new(),
            b"it was planted-and-echoed-later".to_vec(),
        )
    };
    receiver.on("/tells", [told(200)]);
    receiver.on("/fails", [told(500)]);
    let yaml = "
steps:
  - {id: told, http: {url: 'RECEIVER/told', headers: {Authorization: '{{ secrets.TOKEN }}'}}}
  - {id: tells, http: {url: 'RECEIVER/tells'}}
  - {id: fails, http: {url: 'RECEIVER/fails'}}
";
    house.deploy("echo", &receiver.fill(yaml));
    let id = house.start_run("echo", &json!({}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    let shown = house.get(&format!("/v1/workflow_runs/{id}")).to_string();
    assert!(shown.contains("[secret TOKEN]"), "{shown}");
    for place in [
        shown,
        house.log(),
        String::from_utf8_lossy(&receiver.arrived("/hook")[0].body).into_owned(),
    ] {
        assert!(!place.contains("planted-and-echoed-later"), "{place}");
    }
}
