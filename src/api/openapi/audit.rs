//! What is said of the audit.

use serde_json::{Value, json};

use crate::api::openapi::parameters::{PAGE, SOME_TIME, page_of};
use crate::api::openapi::{Answer, Operation, of};
use crate::api::query::Listed;
use crate::api::wire::AuditEntry;
use crate::error::Code;

fn entries() -> Value {
    page_of(json!({
        "id": 7, "at": SOME_TIME, "actor": "key ci", "address": "192.0.2.7", "action": "deploy",
        "target": "hello/prod", "detail": {"version": 2},
        "hash": "5f0b6f3f1f0a4c6be3d1a2c9f5478c2ad1e5b6f20c9a7d3e4b8f1c2d3e4f5a6b",
    }))
}

/// The audit.
pub const OPERATIONS: &[Operation] = &[Operation::at("GET", "/v1/audit", "listAudit", "audit")
    .about(
        "Every change by a key or a person leaves a row, in the same commit. The rows are a chain: \
        `skep audit verify` shows whether one was changed, removed, moved or put in.",
    )
    .query(PAGE)
    .answers(&[Answer::page(
        "A page of the audit.",
        of::<Listed<AuditEntry<'static>>>,
        entries,
    )])
    .refuses(&[Code::ValidationError])];
