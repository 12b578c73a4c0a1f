//! Parameters that several routes share, and the patterns of ids.

use serde_json::{Value, json};

use crate::api::formats::Format;
use crate::api::openapi::Parameter;
use crate::store::page::Page;

/// A run's id, or its request id.
const RUN: &str = "^(req_[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$";

/// How ids look in the examples.
pub const SOME_ID: &str = "019aa8c1-d1f6-7c32-95e2-f4f4b3a0c9d7";

/// The same as a request id.
pub const SOME_REQUEST: &str = "req_019aa8c1d1f67c3295e2f4f4b3a0c9d7";

/// When everything happens in the examples.
pub const SOME_TIME: &str = "2026-11-21T22:50:04.086Z";

/// The name of a deployment or variant.
fn place() -> Value {
    json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$"})
}

fn prefixed(prefix: &str) -> Value {
    let dashed = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";
    json!({"type": "string", "pattern": format!("^({prefix}[0-9A-Fa-f]{{32}}|{dashed})$")})
}

/// An id, with dashes.
fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

pub(super) fn run_id() -> Value {
    json!({"type": "string", "pattern": RUN})
}

/// A list of words, separated by commas.
pub(super) fn words(words: &[&str]) -> Value {
    json!({"type": "array", "items": {"enum": words}, "maxItems": 50})
}

fn instant() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// Any text that is not empty.
pub(super) fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

pub(super) const DEPLOYMENT: Parameter =
    Parameter::new("deployment", "The deployment's name.", place, || {
        json!("hello")
    });
pub(super) const VARIANT: Parameter =
    Parameter::new("variant", "The variant's name.", place, || json!("prod"));
pub(super) const ENDPOINT: Parameter = Parameter::new(
    "endpoint_id",
    "The deployment's part of its webhook URLs.",
    id,
    || json!(SOME_ID),
);
pub(super) const VARIANT_ID: Parameter = Parameter::new(
    "variant_id",
    "The variant's part of its webhook URL.",
    id,
    || json!(SOME_ID),
);
pub(super) const VERSION: Parameter = Parameter::new(
    "n",
    "The version's number.",
    || json!({"type": "integer", "minimum": 1}),
    || json!(1),
);
pub(super) const RUN_ID: Parameter =
    Parameter::new("id", "The run's id or request id.", run_id, || {
        json!(SOME_REQUEST)
    });
pub(super) const REQUEST_ID: Parameter = Parameter::new(
    "request_id",
    "The request id, or the run's id.",
    run_id,
    || json!(SOME_REQUEST),
);
pub(super) const DELIVERY_ID: Parameter = Parameter::new(
    "id",
    "The delivery's id.",
    || prefixed("dlv_"),
    || json!("dlv_019aa8c1d1f67c3295e2f4f4b3a0c9d7"),
);
pub(super) const APPROVAL_ID: Parameter = Parameter::new(
    "id",
    "The approval's id.",
    || prefixed("apr_"),
    || json!("apr_019aa8c1d1f67c3295e2f4f4b3a0c9d7"),
);
pub(super) const JOB_ID: Parameter = Parameter::new(
    "id",
    "The job's id.",
    || prefixed("job_"),
    || json!("job_019aa8c1d1f67c3295e2f4f4b3a0c9d7"),
);
pub(super) const MEMBER_ID: Parameter = Parameter::new(
    "id",
    "The member's id.",
    || prefixed("mem_"),
    || json!("mem_019aa8c1d1f67c3295e2f4f4b3a0c9d7"),
);
pub(super) const LINK_TOKEN: Parameter = Parameter::new(
    "token",
    "The link's token: whoever has it may answer.",
    || json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}),
    || json!("q0yrGzCq3sXbYcT1mJ4u8Zr5vKx2wNn7dLh6oPe9aBc"),
);
pub(super) const KEY_ID: Parameter = Parameter::new(
    "id",
    "The key's id.",
    || prefixed("key_"),
    || json!("key_019aa8c1d1f67c3295e2f4f4b3a0c9d7"),
);
pub(super) const SECRET_NAME: Parameter = Parameter::new(
    "name",
    "The secret's name.",
    || json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"}),
    || json!("STOCK_TOKEN"),
);

pub(super) const LIMIT: Parameter = Parameter::new(
    "limit",
    "How many rows a page has at most.",
    || json!({"type": "integer", "minimum": 1, "maximum": Page::MAX, "default": Page::DEFAULT}),
    || json!(Page::DEFAULT),
);
pub(super) const CURSOR: Parameter = Parameter::new(
    "cursor",
    "The `next_cursor` of the page before.",
    || json!({"type": "string", "pattern": "^c(0|[1-9a-f][0-9a-f]{0,14})$"}),
    || json!("c2a"),
);
pub(super) const FROM: Parameter = Parameter::new("from", "Made then or later.", instant, || {
    json!("2026-11-01T00:00:00Z")
});
pub(super) const TO: Parameter = Parameter::new("to", "Made before.", instant, || {
    json!("2027-01-01T00:00:00Z")
});

pub(super) const FORMAT: Parameter = Parameter::new(
    "format",
    "How the page is written: `jsonl` is a row a line; `csv` a head and a row a line, with what is nested as JSON, and \
    a `'` before what a spreadsheet would take for a formula.",
    || json!({"enum": Format::NAMES.map(|(name, _)| name), "default": "json"}),
    || json!("json"),
);
pub(super) const VALUES: Parameter = Parameter::new(
    "values",
    "Whether inputs and outputs are sent, or (`false`) only how long they are.",
    || json!({"type": "boolean", "default": true}),
    || json!(false),
);

/// What every list takes.
pub(super) const PAGE: &[Parameter] = &[LIMIT, CURSOR, FORMAT];

pub(super) const IDEMPOTENCY_KEY: Parameter = Parameter::new(
    "Idempotency-Key",
    "Makes a repeated request harmless: for 24 hours the same key and body gives the first \
    answer again, with `Idempotent-Replayed: true`. 4xx and 5xx answers are not kept.",
    || json!({"type": "string", "pattern": "^[!-~]{1,255}$"}),
    || json!("order-A-1042"),
);

/// The header of an answer that repeats an earlier one.
pub(super) fn replayed() -> Value {
    json!({"Idempotent-Replayed": {
        "description": "`true` where the answer repeats an earlier one.",
        "schema": {"enum": ["true"]},
    }})
}

/// A page with one row.
pub(super) fn page_of(row: Value) -> Value {
    json!({"data": [row], "next_cursor": null})
}
