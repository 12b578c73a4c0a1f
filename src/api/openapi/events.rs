//! What is said of the stream of events.

use serde_json::{Value, json};

use crate::api::events::KINDS;
use crate::api::openapi::parameters::{FROM, SOME_REQUEST, TO, run_id, words};
use crate::api::openapi::runs::{
    DELIVERY, DEPLOYMENT, KEYS, METADATA, Q, SOURCE, STATUS, USER, VARIANT,
};
use crate::api::openapi::{Answer, Operation, Parameter, plain_text};
use crate::error::Code;

const OF_KINDS: Parameter = Parameter::new(
    "kinds",
    "Of these kinds alone.",
    || words(&KINDS),
    || json!(["run", "delivery"]),
)
.style("form", false);
const RUN: Parameter = Parameter::new(
    "run",
    "Of that run alone: its id or request id.",
    run_id,
    || json!(SOME_REQUEST),
);
const LAST_EVENT_ID: Parameter = Parameter::new(
    "Last-Event-ID",
    "The `id` of the last event that came: what has happened since is told first.",
    || json!({"type": "string", "pattern": "^[0-9a-f]{8}-[0-9]+$"}),
    || json!("9f86d081-42"),
);

fn stream() -> Value {
    json!(
        "retry: 2000\nid: 9f86d081-42\nevent: hello\ndata: {}\n\n\
        id: 9f86d081-44\nevent: step\ndata: {\"request_id\":\"req_019aa8c1d1f67c3295e2f4f4b3a0c9d7\",\
        \"path\":\"greeting\",\"type\":\"set\",\"status\":\"completed\",\"at\":\"2026-11-21T22:50:04.086Z\"}\n\n"
    )
}

/// The stream.
pub const OPERATIONS: &[Operation] = &[Operation::at("GET", "/v1/events", "listen", "events")
    .about(
        "Server-sent events, for `EventSource` and whatever reads lines. `event: run` has the run \
        as its list shows it, without inputs and outputs; `step` has `request_id`, `path`, `type`, \
        `status`, `at`; `delivery` has `id`, `request_id`, `event_type`, `url`, `status`, \
        `next_attempt_at`, `channel`; `approval` has `id`, `request_id`, `status`.\n\nThe filters \
        are those of the list of runs and apply to the run that a change belongs to; a run is also \
        told of when it leaves one of the states of `status`. At most four times a second, at \
        most 200 events each: of several changes of one thing only the latest is told, and \
        `event: skipped` says how many others are not told at all. It begins with \
        `event: hello`; `event: reset` follows where what was missed is no longer known: whoever \
        shows a list reads it again after either `skipped` or `reset`. A comment comes every 15 s \
        of silence. A stream ends when its key is revoked, after an hour, and when the server \
        stops; who does not read is cut off. At most 256 streams, 64 of one address.",
    )
    .query(&[
        STATUS, SOURCE, DELIVERY, DEPLOYMENT, VARIANT, KEYS, USER, METADATA, FROM, TO, Q, OF_KINDS,
        RUN,
    ])
    .headers(&[LAST_EVENT_ID])
    .answers(&[Answer::new(
        200,
        "What changes, until the client leaves.",
        plain_text,
        stream,
    )
    .media("text/event-stream")])
    .refuses(&[Code::ValidationError, Code::NotFound, Code::TooManyRequests])];
