//! Deliveries and their attempts, as they are sent.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{DELIVERY_ID, REQUEST_ID};
use crate::api::deliveries::{CHANNELS, SIGNERS};
use crate::flow::delivery::DeliveryStatus;
use crate::id::Id;
use crate::time::Timestamp;

/// A signed event owed to a URL.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Delivery<'a> {
    /// The delivery's id.
    #[schemars(extend("pattern" = DELIVERY_ID))]
    pub id: String,
    /// Of which request.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// Of which run.
    pub run_id: Id,
    /// The `webhook-id`, the same on every attempt.
    pub event_id: &'a str,
    /// `workflow.completed`, `workflow.failed` or `workflow.cancelled`; or what a person is told of.
    pub event_type: &'a str,
    /// How it goes: `callback`, or how a person is told.
    #[schemars(extend("enum" = CHANNELS))]
    pub channel: &'a str,
    /// How its last attempt failed; null: it did not, or there was none.
    pub class: Option<&'a str>,
    /// Where to.
    pub url: Cow<'a, str>,
    /// Where it stands.
    #[schemars(extend("enum" = DeliveryStatus::ALL.map(DeliveryStatus::as_str)))]
    pub status: &'static str,
    /// When it is sent next.
    pub next_attempt_at: Option<Timestamp>,
    /// When it came to be owed.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
}

/// A delivery with its attempts.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeDelivery<'a> {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery<'a>,
    /// Its attempts, oldest first: the newest 100.
    pub attempts: Vec<Attempt<'a>>,
    /// What is sent, the same on every attempt; of a notification, what it is made of. Null where that is not for the
    /// caller.
    pub body: Option<&'a str>,
}

/// One try of a delivery.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Attempt<'a> {
    /// From 1.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// What it was made for.
    #[schemars(extend("enum" = ["automatic", "manual"]))]
    pub trigger: &'a str,
    /// When it began.
    pub started_at: Timestamp,
    /// How long the exchange took; null: it is in flight, or its process died.
    pub duration_ms: Option<i64>,
    /// When each part of the exchange was reached.
    pub timings: Timings,
    /// The address that was connected to.
    pub remote_address: Option<&'a str>,
    /// What was sent, secrets masked.
    pub request_headers: Option<&'a Value>,
    /// The answer's status.
    pub response_status: Option<i64>,
    /// The answer's headers.
    pub response_headers: Option<&'a Value>,
    /// The first 32 KiB of the answer: text if it is UTF-8, else base64.
    pub response_body: Option<String>,
    /// `base64` where `response_body` is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("enum" = ["base64"]))]
    pub response_encoding: Option<&'static str>,
    /// Whether the answer was longer than what is kept.
    pub truncated: bool,
    /// How much of the answer's body came.
    pub bytes_seen: Option<i64>,
    /// What kind of failure: `dns`, `connect`, `tls`, `timeout`, `reset`, `forbidden_address`, `http_status`,
    /// `smtp_status`, `interrupted`.
    pub error_class: Option<&'a str>,
    /// Why it failed.
    pub error: Option<&'a str>,
    /// Which secret of the deployment its `X-Fetch-Hive-Signature` fits, as the secrets are now; null while it is in
    /// flight, and of other channels.
    #[schemars(extend("enum" = SIGNERS.map(Some).into_iter().chain([None]).collect::<Vec<_>>()))]
    pub signed_with: Option<&'static str>,
}

/// Milliseconds since the attempt began; null: it did not come to that.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Timings {
    /// Resolving the name.
    pub dns_ms: Option<i64>,
    /// Connecting.
    pub connect_ms: Option<i64>,
    /// Making the connection private.
    pub tls_ms: Option<i64>,
    /// Until the answer's first byte.
    pub first_byte_ms: Option<i64>,
}
