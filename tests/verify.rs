//! Two opinions on a callback's signatures: the published verifier, and HMAC by hand.
//!
//! Owns what a receiver has to do. Uses nothing of Skep's own signing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use standardwebhooks::Webhook;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

use crate::house::{House, has_exactly, text};
use crate::receiver::{Arrival, Receiver};

/// HMAC-SHA256.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("the receiver read a header name");
        map.append(
            name,
            HeaderValue::from_str(value).expect("the receiver read a header value"),
        );
    }
    map
}

/// What the published verifier says.
pub fn outside_opinion(secret: &str, headers: &[(String, String)], body: &[u8]) -> bool {
    let verifier = Webhook::new(secret).expect("the secret is whsec_ and base64");
    verifier.verify(body, &header_map(headers)).is_ok()
}

/// Every signature of the callback is right for this secret, in everyone's opinion.
#[track_caller]
pub fn is_signed(arrival: &Arrival, secret: &str) {
    let by_hand = hex(&hmac_sha256(secret.as_bytes(), &arrival.body));
    assert_eq!(arrival.header("x-fetch-hive-signature"), by_hand);
    assert!(
        outside_opinion(secret, &arrival.headers, &arrival.body),
        "refused: {arrival:?}"
    );
    let key = STANDARD
        .decode(secret.strip_prefix("whsec_").expect("the prefix"))
        .expect("base64");
    assert_eq!(key.len(), 32, "a secret is 32 bytes");
    let head = format!(
        "{}.{}.",
        arrival.header("webhook-id"),
        arrival.header("webhook-timestamp")
    );
    let signed = [head.as_bytes(), &arrival.body].concat();
    let one = format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &signed)));
    let all: Vec<&str> = arrival.header("webhook-signature").split(' ').collect();
    assert!(all.contains(&one.as_str()), "{one} is not among {all:?}");
}

/// The event in a callback: its members are exactly the contract's, and its id is the header's.
#[track_caller]
pub fn event(arrival: &Arrival, event_type: &str) -> Value {
    let event = arrival.json();
    let members = [
        "event_type",
        "request_id",
        "data",
        "event_id",
        "run_id",
        "deployment",
        "variant",
        "version",
        "created_at",
        "user",
        "metadata",
    ];
    has_exactly(&event, &members);
    assert_eq!(event["event_type"], event_type, "{event}");
    assert_eq!(event["event_id"], arrival.header("webhook-id"), "{event}");
    event
}

/// Callbacks as an outside client captured them (`SKEP_TEST_CAPTURES` names the file), or as a receiver of our own does.
fn captures() -> Value {
    if let Ok(path) = std::env::var("SKEP_TEST_CAPTURES") {
        let text = std::fs::read_to_string(path).expect("the captures are there");
        return serde_json::from_str(&text).expect("the captures are JSON");
    }
    let (house, receiver) = (House::start(), Receiver::start());
    let yaml = "steps: [{id: a, set: {text: 'café 💐'}}]";
    let secret = house.deploy("quick", yaml)["webhook_secret"].clone();
    house.start_run("quick", &json!({}), &receiver.at("/hook"));
    receiver.wait_for("/hook", 1);
    let captures: Vec<Value> = receiver
        .arrived("/hook")
        .iter()
        .map(|one| {
            let headers: Map<String, Value> = one
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            json!({"headers": headers, "body": STANDARD.encode(&one.body)})
        })
        .collect();
    json!({"secret": secret, "captures": captures})
}

#[test]
fn every_captured_callback_is_verified_by_the_published_package() {
    let all = captures();
    let secret = all["secret"].as_str().expect("a secret");
    let list = all["captures"].as_array().expect("a list");
    assert!(!list.is_empty());
    for one in list {
        let headers: Vec<(String, String)> = one["headers"]
            .as_object()
            .expect("headers")
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        let mut body = STANDARD.decode(text(&one["body"])).expect("base64");
        assert!(outside_opinion(secret, &headers, &body), "{one}");
        body[0] ^= 1;
        assert!(!outside_opinion(secret, &headers, &body), "a changed body");
    }
}
