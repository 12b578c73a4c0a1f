//! Members as approvals need them: everything that names one, and who stands in for whom.

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::members::{self, Member};
use crate::time::Timestamp;

/// The member of that row, whatever became of them.
pub(in crate::store) fn member(conn: &Connection, row: i64) -> Result<Member> {
    members::by_row(conn, row)?
        .ok_or_else(|| Error::internal("a question is asked of a member who is not there"))
}

/// Whether a text names that member: by id, e-mail address or name, however it is capitalised.
pub(in crate::store) fn is_named(member: &Member, text: &str) -> bool {
    let text = text.trim();
    let is = |name: &str| name.to_lowercase() == text.to_lowercase();
    is(&member.public_id()) || is(&member.name) || member.email.as_deref().is_some_and(is)
}

/// Whether `other` stands in for a member now.
pub(in crate::store) fn stands_in(other: Id, member: &Member, now: Timestamp) -> bool {
    member
        .delegate_at(now)
        .is_some_and(|(delegate, _)| delegate == other)
}
