//! What a stream of events says, as it is sent. A run is told of as its row in a list, without its values.

use std::borrow::Cow;

use serde::Serialize;

use crate::time::Timestamp;

/// A step came into a state.
#[derive(Debug, Serialize)]
pub struct StepEvent<'a> {
    /// Of which request.
    pub request_id: String,
    /// Where in the definition.
    pub path: &'a str,
    /// The action key.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Into which state.
    pub status: &'static str,
    /// When.
    pub at: Timestamp,
}

/// A delivery changed.
#[derive(Debug, Serialize)]
pub struct DeliveryEvent<'a> {
    /// The delivery's id.
    pub id: String,
    /// Of which request.
    pub request_id: String,
    /// Which event is delivered.
    pub event_type: &'a str,
    /// Where to.
    pub url: Cow<'a, str>,
    /// Where it stands.
    pub status: &'static str,
    /// When it is sent next.
    pub next_attempt_at: Option<Timestamp>,
    /// `callback`, or how a person is told.
    pub channel: &'a str,
}

/// An approval changed.
#[derive(Debug, Serialize)]
pub struct ApprovalEvent {
    /// The approval's id.
    pub id: String,
    /// Of which request.
    pub request_id: String,
    /// Where it stands.
    pub status: &'static str,
}

/// More changed than was told.
#[derive(Debug, Serialize)]
pub struct SkippedEvents {
    /// How many changes were not told.
    pub skipped: u64,
}
