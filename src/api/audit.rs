//! The audit: who changed what.

use crate::api::Request;
use crate::api::call::Answer;
use crate::api::wire::AuditEntry;
use crate::error::Result;
use crate::store::audit::AuditRow;
use crate::store::instance::hex;

/// `GET /v1/audit`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let paged = request.store().list_audit(query.page()?)?;
    query.list(paged.rows.iter().map(shown).collect(), paged.next)
}

fn shown(row: &AuditRow) -> AuditEntry<'_> {
    AuditEntry {
        id: row.id,
        at: row.at,
        actor: &row.actor,
        address: row.address.as_deref(),
        action: &row.action,
        target: &row.target,
        detail: &row.detail,
        hash: hex(&row.hash),
    }
}
