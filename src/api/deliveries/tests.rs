//! Tests of `api/deliveries`.

use serde_json::json;

use super::*;
use crate::api::testing::{ADMIN, House, NOW, URL};
use crate::flow::delivery::Heard;
use crate::flow::step::ErrorClass;
use crate::store::sending::Attempt;
use crate::time::Timestamp;

fn attempt_with(body: &[u8], truncated: bool) -> Attempt {
    Attempt {
        duration_ms: 12,
        dns_ms: Some(1),
        connect_ms: Some(2),
        tls_ms: None,
        first_byte_ms: Some(4),
        remote_address: Some("192.0.2.9:443".to_owned()),
        request_headers: json!([["webhook-id", "evt"]]),
        response_status: Some(500),
        response_headers: Some(json!([["server", "x"]])),
        response_body: Some(body.to_vec()),
        truncated,
        bytes_seen: Some(body.len() as u64),
        error_class: Some(ErrorClass::HttpStatus),
        error: Some("the receiver answered 500".to_owned()),
    }
}

#[test]
fn a_delivery_is_shown_with_every_attempt_and_sent_again() {
    let house = House::furnished();
    let run = house.start(ADMIN);
    house.complete_all(json!(1));
    let store = house.api.store();
    let later = Timestamp(NOW.0 + 60_000);
    for (body, now) in [(&b"no luck"[..], NOW), (&[0xff, 0x00], later)] {
        let claim = store
            .claim_deliveries(1, 1, now)
            .expect("claimed")
            .remove(0);
        let verdict = Heard::Failed {
            retry_after: None,
            fraction: 0.0,
        };
        store
            .record_attempt(
                claim,
                &std::sync::Arc::new(attempt_with(body, false)),
                verdict,
                NOW,
            )
            .expect("recorded");
    }
    let list = house.get(
        &format!("/v1/deliveries?run={run}&status=pending&host=receiver.example"),
        ADMIN,
    );
    let id = list.ids("id").remove(0);
    let shown = house.get(&format!("/v1/deliveries/{id}"), ADMIN).body;
    for (name, value) in [
        ("id", json!(id)),
        ("request_id", json!(run)),
        ("event_id", json!(run.replace("req_", "evt_"))),
        ("event_type", json!("workflow.completed")),
        ("url", json!(URL)),
        ("status", json!("pending")),
        ("next_attempt_at", json!(Timestamp(NOW.0 + 30_000))),
    ] {
        assert_eq!(shown[name], value, "{name}");
        assert_eq!(list.body["data"][0][name], value, "{name}");
    }
    assert_eq!(list.body["data"][0].get("attempts"), None);
    assert_eq!(
        (&shown["channel"], &shown["class"]),
        (&json!("callback"), &json!("http_status"))
    );
    let body = shown["body"].as_str().expect("what is sent");
    assert!(body.contains(&run), "{body}");
    for (query, count) in [("http_status", 1), ("connect", 0)] {
        let found = house.get(&format!("/v1/deliveries?class={query}"), ADMIN);
        assert_eq!(found.ids("id").len(), count, "{query}");
    }
    assert_eq!(
        shown["attempts"][0],
        json!({"number": 1, "trigger": "automatic", "started_at": NOW, "duration_ms": 12,
            "timings": {"dns_ms": 1, "connect_ms": 2, "tls_ms": null, "first_byte_ms": 4},
            "remote_address": "192.0.2.9:443", "request_headers": [["webhook-id", "evt"]],
            "response_status": 500, "response_headers": [["server", "x"]], "response_body": "no luck",
            "truncated": false, "bytes_seen": 7, "error_class": "http_status", "error": "the receiver answered 500", "signed_with": "none"})
    );
    assert_eq!(shown["attempts"][1]["response_body"], "/wA=");
    assert_eq!(shown["attempts"][1]["response_encoding"], "base64");

    let again = house.post(&format!("/v1/deliveries/{id}/redeliver"), ADMIN, &json!({}));
    assert_eq!(
        (again.status, again.text("status").as_str()),
        (202, "pending")
    );
    assert_eq!(house.audit()[0], "delivery.redeliver");
}

#[test]
fn filters_and_unknown_ids_are_judged() {
    let house = House::furnished();
    house.start(ADMIN);
    house.complete_all(json!(1));
    for (query, count) in [
        ("", 1),
        ("status=delivered,dead", 0),
        ("status=pending,dead", 1),
        ("host=RECEIVER.example", 1),
        ("host=other.example", 0),
        ("run=00000000-0000-7000-8000-000000000000", 0),
        ("to=2000-01-01T00:00:00Z", 0),
        ("from=2000-01-01T00:00:00Z", 1),
        ("channel=callback", 1),
        ("channel=email,telegram,webhook", 0),
        ("class=connect,http_status", 0),
    ] {
        assert_eq!(
            house
                .get(&format!("/v1/deliveries?{query}"), ADMIN)
                .ids("id")
                .len(),
            count,
            "{query}"
        );
    }
    for (query, field) in [
        ("status=sent", "/status"),
        ("run=x", "/run"),
        ("limit=501", "/limit"),
        ("class=500", "/class"),
        ("channel=pigeon", "/channel"),
    ] {
        let read = house.get(&format!("/v1/deliveries?{query}"), ADMIN);
        assert_eq!(
            (read.status, read.text("field").as_str()),
            (400, field),
            "{query}"
        );
    }
    let read = house.get("/v1/deliveries/dlv_00000000000070008000000000000000", ADMIN);
    assert_eq!(
        (read.status, read.text("error").as_str()),
        (404, "Delivery not found")
    );
    assert_eq!(
        house
            .post("/v1/deliveries/x/redeliver", ADMIN, &json!({}))
            .status,
        404
    );
}

#[test]
fn a_signature_is_known_by_its_beginning() {
    let signers = [
        ("current", "aabbccdd11".to_owned()),
        ("old", "aabbccee11".to_owned()),
    ];
    for (kept, expected) in [
        ("aabbccdd…", "current"),
        ("aabbccee…", "old"),
        ("00000000…", "none"),
        ("…", "none"),
    ] {
        let headers = json!({"X-Fetch-Hive-Signature": kept});
        assert_eq!(signer(Some(&headers), &signers), expected, "{kept}");
    }
    assert_eq!(signer(None, &signers), "none");
}

#[test]
fn a_cut_through_a_character_leaves_text() {
    assert_eq!(readable("aü".as_bytes(), false), ("aü".to_owned(), None));
    assert_eq!(
        readable(&"aü".as_bytes()[..2], true),
        ("a".to_owned(), None)
    );
    assert_eq!(readable(&"aü".as_bytes()[..2], false).1, Some("base64"));
    assert_eq!(readable(b"a\xffb", true).1, Some("base64"));
}
