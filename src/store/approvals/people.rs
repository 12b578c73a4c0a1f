//! Members as approvals need them: found by what a definition calls them, and who stands in for whom.

use rusqlite::Connection;

use crate::error::Result;
use crate::id::Id;
use crate::store::members::{self, Member};
use crate::time::Timestamp;

/// What a member's public id begins with.
pub(in crate::store) const PREFIX: &str = "mem_";

/// The member of that row, whatever became of them.
pub(in crate::store) fn member(conn: &Connection, row: i64) -> Result<Member> {
    members::by_row(conn, row)
}

/// The member with that id. `None`: no such member, or deleted.
pub(in crate::store) fn by_id(conn: &Connection, id: Id) -> Result<Option<Member>> {
    members::by_id(conn, id)
}

/// The member who is called so: e-mail address, `mem_…` id or exact name. `None`: nobody, or more than one.
pub(in crate::store) fn called(conn: &Connection, text: &str) -> Result<Option<Member>> {
    members::called(conn, text.trim())
}

/// Every text that stands for a member.
pub(in crate::store) fn names(member: &Member) -> Vec<String> {
    let mut names = vec![member.member_id.prefixed(PREFIX), member.name.clone()];
    names.extend(member.email.clone());
    names
}

/// Whether two texts name the same person.
pub(in crate::store) fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Who stands in for a member now.
pub(in crate::store) fn delegate_of(member: &Member, now: Timestamp) -> Option<Id> {
    let (delegate, until) = member.delegate?;
    (now < until).then_some(delegate)
}
