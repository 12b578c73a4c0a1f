//! Behind a proxy: the base path, and whose word on the client's address is believed.

use serde_json::json;

use crate::house::{House, text};
use crate::receiver::Receiver;
use crate::wire::Ask;

const QUICK: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

#[test]
fn the_public_url_heads_webhook_urls_and_its_base_path_is_served() {
    let house = House::plan()
        .set("public_url", "https://hooks.example/skep")
        .start();
    let receiver = Receiver::start();
    let deployed = house.deploy("quick", QUICK);
    let url = text(&deployed["webhook_url"]);
    let path = url
        .strip_prefix("https://hooks.example")
        .expect("headed by public_url");
    assert!(path.starts_with("/skep/v1/workflow/webhooks/"), "{path}");
    Ask::new(house.address(), "GET", "/skep/healthz")
        .send()
        .is(200);
    house.get("/skep/v1/deployments");
    // As the proxy passes it on.
    let body = json!({"inputs": {}, "async": {"callback_url": receiver.at("/hook")}});
    let ask = Ask::new(house.address(), "POST", path).json(&body);
    ask.header(
        "X-Fetch-Hive-Webhook-Secret",
        &text(&deployed["webhook_secret"]),
    )
    .send()
    .is(202);
    receiver.wait_for("/hook", 1);
    house
        .ask("GET", "/skepticism/v1/deployments")
        .send()
        .refused(404, "not_found");
}

/// The address in the newest audit row after a deploy that came with these forwarding headers.
fn audited(house: &House, forwarded: &[&str], yaml: &str) -> String {
    let path = "/v1/deployments/quick/variants/prod";
    let mut ask = house
        .ask("PUT", path)
        .body("application/yaml", yaml.as_bytes());
    for value in forwarded {
        ask = ask.header("X-Forwarded-For", value);
    }
    assert!(matches!(ask.send().status, 200 | 201));
    house.get("/v1/audit?limit=1")["data"][0].to_string()
}

fn version(number: u32) -> String {
    format!("steps: [{{id: a, set: {{x: {number}}}}}]\noutput: 1")
}

#[test]
fn forwarding_headers_are_believed_from_trusted_proxies_only() {
    let house = House::start();
    let row = audited(&house, &["203.0.113.9"], &version(1));
    assert!(
        row.contains("127.0.0.1") && !row.contains("203.0.113.9"),
        "{row}"
    );

    house.replan(|plan| plan.set("trusted_proxies", "127.0.0.0/8,10.0.0.0/8"));
    house.restart();
    let row = audited(&house, &["203.0.113.9"], &version(2));
    assert!(row.contains("203.0.113.9"), "{row}");
    // Read from the right: what stands left of the first stranger is that stranger's word.
    let row = audited(
        &house,
        &["198.51.100.1, 203.0.113.9, 10.1.2.3"],
        &version(3),
    );
    assert!(
        row.contains("203.0.113.9") && !row.contains("198.51.100.1"),
        "{row}"
    );
    let row = audited(&house, &["198.51.100.1", "203.0.113.9"], &version(4));
    assert!(
        row.contains("203.0.113.9") && !row.contains("198.51.100.1"),
        "{row}"
    );
    let row = audited(&house, &["nonsense"], &version(5));
    assert!(row.contains("127.0.0.1"), "{row}");
}

#[test]
fn listening_openly_without_a_public_url_warns() {
    let house = House::plan().set("listen", "0.0.0.0:0").start();
    assert!(house.log().contains("public_url"), "{}", house.log());
}
