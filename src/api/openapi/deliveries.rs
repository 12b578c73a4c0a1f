//! What is said of deliveries.

use serde_json::{Value, json};

use crate::api::deliveries::{CHANNELS, CLASSES};
use crate::api::openapi::parameters::{
    CURSOR, DELIVERY_ID, FORMAT, FROM, LIMIT, SOME_ID, SOME_REQUEST, SOME_TIME, TO, page_of,
    run_id, text, words,
};
use crate::api::openapi::{Answer, Operation, Parameter, of};
use crate::api::query::Listed;
use crate::api::wire::{Delivery, WholeDelivery};
use crate::error::Code;
use crate::flow::delivery::DeliveryStatus;

const STATUS: Parameter = Parameter::new(
    "status",
    "In one of these states.",
    || words(&DeliveryStatus::ALL.map(DeliveryStatus::as_str)),
    || json!(["pending", "dead"]),
)
.style("form", false);
const HOST: Parameter = Parameter::new(
    "host",
    "To that host, whatever the port; or with `:port`.",
    text,
    || json!("receiver.example"),
);
const RUN: Parameter = Parameter::new("run", "Of that run: its id or request id.", run_id, || {
    json!(SOME_REQUEST)
});

const CLASS: Parameter = Parameter::new(
    "class",
    "Whose last attempt failed in one of these ways.",
    || words(&CLASSES),
    || json!(["connect", "timeout"]),
)
.style("form", false);
const CHANNEL: Parameter = Parameter::new(
    "channel",
    "That go one of these ways: callbacks, or what people are told.",
    || words(&CHANNELS),
    || json!(["callback"]),
)
.style("form", false);

fn delivery() -> Value {
    json!({
        "id": "dlv_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "request_id": SOME_REQUEST, "run_id": SOME_ID,
        "event_id": "evt_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "event_type": "workflow.completed",
        "channel": "callback", "class": null, "url": "https://receiver.example/done", "status": "delivered", "next_attempt_at": null,
        "created_at": SOME_TIME, "ended_at": SOME_TIME,
    })
}

fn whole() -> Value {
    let mut value = delivery();
    value["attempts"] = json!([{
        "number": 1, "trigger": "automatic", "started_at": SOME_TIME, "duration_ms": 42,
        "timings": {"dns_ms": 1, "connect_ms": 3, "tls_ms": 12, "first_byte_ms": 40},
        "remote_address": "203.0.113.9:443",
        "request_headers": {"webhook-id": "evt_019aa8c1d1f67c3295e2f4f4b3a0c9d7"},
        "response_status": 200, "response_headers": {"content-length": "2"}, "response_body": "ok",
        "truncated": false, "bytes_seen": 2, "error_class": null, "error": null,
        "signed_with": "current",
    }]);
    value["body"] = json!(r#"{"type":"workflow.completed","data":{"output":"Hello, Ada!"}}"#);
    value
}

/// Deliveries.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/deliveries", "listDeliveries", "deliveries")
        .query(&[
            STATUS, HOST, RUN, CLASS, CHANNEL, FROM, TO, LIMIT, CURSOR, FORMAT,
        ])
        .answers(&[Answer::page(
            "A page of deliveries.",
            of::<Listed<Delivery<'static>>>,
            || page_of(delivery()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("GET", "/v1/deliveries/{id}", "getDelivery", "deliveries")
        .path(&[DELIVERY_ID])
        .answers(&[Answer::new(
            200,
            "The delivery.",
            of::<WholeDelivery<'static>>,
            whole,
        )])
        .refuses(&[Code::NotFound]),
    Operation::at(
        "POST",
        "/v1/deliveries/{id}/redeliver",
        "redeliver",
        "deliveries",
    )
    .about("With the same `webhook-id`, and the whole schedule before it.")
    .path(&[DELIVERY_ID])
    .answers(&[Answer::new(
        202,
        "It is owed again.",
        of::<Delivery<'static>>,
        || {
            let mut delivery = delivery();
            delivery["status"] = json!("pending");
            delivery["next_attempt_at"] = json!(SOME_TIME);
            delivery["ended_at"] = json!(null);
            delivery
        },
    )])
    .refuses(&[Code::NotFound]),
];
