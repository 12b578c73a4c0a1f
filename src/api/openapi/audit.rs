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
    }))
}

/// The audit.
pub const OPERATIONS: &[Operation] = &[Operation::at("GET", "/v1/audit", "listAudit", "audit")
    .about("Every change by a key leaves a row, in the same commit.")
    .query(PAGE)
    .answers(&[Answer::new(
        200,
        "A page of the audit.",
        of::<Listed<AuditEntry<'static>>>,
        entries,
    )])
    .refuses(&[Code::ValidationError])];
