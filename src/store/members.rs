//! People who may answer approvals. Deleted ones stay as rows, because history names them.

use rusqlite::{Connection, Row};
use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::id::Id;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::page::{Page, Paged, weight};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// What a member's id begins with.
pub const PREFIX: &str = "mem_";

/// A person who may answer approvals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The row.
    pub id: i64,
    /// The public id (`mem_…`).
    pub member_id: Id,
    /// What people call them.
    pub name: String,
    /// Their e-mail address; one person's alone, however it is capitalised.
    pub email: Option<String>,
    /// Their chat with the Telegram bot: a number, or `@name`.
    pub telegram_chat: Option<String>,
    /// Their own inbox: an absolute http or https URL.
    pub webhook_url: Option<String>,
    /// The language they read: `en`, `de`, `es`, or another tag, which is shown in English.
    pub language: String,
    /// Whether they may be asked and may answer. Never true of a deleted member.
    pub active: bool,
    /// Who answers for them, and until when. May be over: see [`Member::delegate_at`].
    pub delegate: Option<(Id, Timestamp)>,
    /// Since when.
    pub created_at: Timestamp,
}

impl Member {
    /// The id, as callers know it.
    pub fn public_id(&self) -> String {
        self.member_id.prefixed(PREFIX)
    }

    /// How people know them: the e-mail address, or else the name.
    pub fn known_as(&self) -> &str {
        self.email.as_deref().unwrap_or(&self.name)
    }

    /// Who answers for them at that time. Whether that person is still active, [`delegate_of`] says.
    pub fn delegate_at(&self, now: Timestamp) -> Option<(Id, Timestamp)> {
        self.delegate.filter(|(_, until)| *until > now)
    }
}

/// A member to be stored. Everything was checked but what only the file knows.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// The public id.
    pub member_id: Id,
    /// What people call them.
    pub name: String,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their chat with the Telegram bot.
    pub telegram_chat: Option<String>,
    /// Their own inbox.
    pub webhook_url: Option<String>,
    /// The language they read.
    pub language: String,
    /// Whether they may be asked.
    pub active: bool,
    /// Who answers for them, and until when.
    pub delegate: Option<(Id, Timestamp)>,
}

/// What is to be changed of a member; `None` leaves it, `Some(None)` takes it away.
#[derive(Debug, Clone, Default)]
pub struct MemberPatch {
    /// What people call them.
    pub name: Option<String>,
    /// Their e-mail address.
    pub email: Option<Option<String>>,
    /// Their chat with the Telegram bot.
    pub telegram_chat: Option<Option<String>>,
    /// Their own inbox.
    pub webhook_url: Option<Option<String>>,
    /// The language they read.
    pub language: Option<String>,
    /// Whether they may be asked.
    pub active: Option<bool>,
    /// Who answers for them, and until when.
    pub delegate: Option<Option<(Id, Timestamp)>>,
}

const COLUMNS: &str = "m.id, m.member_id, m.name, m.email, m.telegram_chat, m.webhook_url, m.language,
    m.active = 1 AND m.deleted_at IS NULL AS active, d.member_id AS delegate, m.delegate_until, m.created_at
    FROM members m LEFT JOIN members d ON d.id = m.delegate";

fn read(row: &Row<'_>) -> rusqlite::Result<Member> {
    let delegate: Option<[u8; 16]> = row.get("delegate")?;
    let until: Option<i64> = row.get("delegate_until")?;
    Ok(Member {
        id: row.get("id")?,
        member_id: Id(row.get("member_id")?),
        name: row.get("name")?,
        email: row.get("email")?,
        telegram_chat: row.get("telegram_chat")?,
        webhook_url: row.get("webhook_url")?,
        language: row.get("language")?,
        active: row.get("active")?,
        delegate: delegate
            .zip(until)
            .map(|(id, until)| (Id(id), Timestamp(until))),
        created_at: Timestamp(row.get("created_at")?),
    })
}

/// The members that fit a condition on `m`, in the order in which they came, at most `limit`.
fn find(
    conn: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
    limit: usize,
) -> Result<Vec<Member>> {
    let mut statement = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE {condition} ORDER BY m.id LIMIT ?2"
    ))?;
    let found = statement.query_map((value, limit), read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The member of that row, deleted or not.
pub(super) fn by_row(conn: &Connection, id: i64) -> Result<Option<Member>> {
    Ok(find(conn, "m.id = ?1", id, 1)?.pop())
}

/// The member of that public id, active or not, but not a deleted one.
pub(super) fn by_id(conn: &Connection, id: Id) -> Result<Option<Member>> {
    let condition = "m.member_id = ?1 AND m.deleted_at IS NULL";
    Ok(find(conn, condition, id.0, 1)?.pop())
}

/// The active member who is meant: by e-mail address (however it is capitalised), `mem_…` id, or exact name, if that is
/// one person's alone.
pub(super) fn called(conn: &Connection, text: &str) -> Result<Option<Member>> {
    let text = text.trim();
    let is_id = text.starts_with(PREFIX);
    if let Some(id) = Id::parse(text, PREFIX).filter(|_| is_id) {
        return Ok(by_id(conn, id)?.filter(|member| member.active));
    }
    const LIVE: &str = "AND m.active = 1 AND m.deleted_at IS NULL";
    // The column's own collation, so that its index is used.
    if let Some(member) = find(conn, &format!("m.email = ?1 {LIVE}"), text, 1)?.pop() {
        return Ok(Some(member));
    }
    let mut namesakes = find(conn, &format!("m.name = ?1 {LIVE}"), text, 2)?;
    Ok(match namesakes.len() {
        1 => namesakes.pop(),
        _ => None,
    })
}

/// The active member who answers for `member` at that time.
pub(super) fn delegate_of(
    conn: &Connection,
    member: &Member,
    now: Timestamp,
) -> Result<Option<Member>> {
    match member.delegate_at(now) {
        Some((id, _)) => Ok(by_id(conn, id)?.filter(|delegate| delegate.active)),
        None => Ok(None),
    }
}

impl Store {
    /// The members, newest first, without deleted ones.
    pub fn members(&self, page: Page) -> Result<Paged<Member>> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(&format!(
                "SELECT {COLUMNS} WHERE m.id < ?1 AND m.deleted_at IS NULL ORDER BY m.id DESC LIMIT ?2"
            ))?;
            let rows = statement.query((page.below(), page.limit + 1))?;
            Ok(Paged::gather(rows, page.limit, read, weight, |member| {
                member.id
            })?)
        })
    }

    /// The member of that id, active or not. `None`: there is none, or it was deleted.
    pub fn member(&self, id: Id) -> Result<Option<Member>> {
        self.read(|conn| by_id(conn, id))
    }

    /// The active member who is meant by a text: an e-mail address (however it is capitalised), a `mem_…` id, or an exact
    /// name, if that is one person's alone.
    pub fn member_called(&self, text: &str) -> Result<Option<Member>> {
        self.look(|conn| called(conn, text))
    }

    /// Stores a member.
    ///
    /// # Errors
    /// `validation_error` if the address is another's, or the delegate cannot be one.
    pub fn put_member(&self, new: NewMember, actor: Actor, now: Timestamp) -> Result<Member> {
        self.write(move |tx| {
            if let Some(email) = &new.email {
                must_be_free(tx, email, 0)?;
            }
            let delegate = match new.delegate {
                Some(delegate) => Some(judged(tx, 0, delegate, now)?),
                None => None,
            };
            let id: i64 = tx
                .sql(
                    "INSERT INTO members (member_id, name, email, telegram_chat, webhook_url, language, active,
                                          delegate, delegate_until, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING id",
                )?
                .query_row(
                    (
                        new.member_id.0,
                        &new.name,
                        &new.email,
                        &new.telegram_chat,
                        &new.webhook_url,
                        &new.language,
                        new.active,
                        delegate.map(|(row, _)| row),
                        delegate.map(|(_, until)| until.0),
                        now.0,
                    ),
                    |row| row.get(0),
                )?;
            let member = stored(tx, id)?;
            let detail = Value::Object(facts(&member));
            tx.audit(&actor, "member.create", &member.public_id(), &detail, now)?;
            Ok(member)
        })
    }

    /// Changes a member. `None`: no such member.
    ///
    /// # Errors
    /// `validation_error` if the address is another's, or the delegate cannot be one.
    pub fn patch_member(
        &self,
        id: Id,
        patch: MemberPatch,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<Member>> {
        self.write(move |tx| {
            let Some(before) = by_id(tx.conn, id)? else {
                return Ok(None);
            };
            if let Some(Some(email)) = &patch.email {
                must_be_free(tx, email, before.id)?;
            }
            write(tx, &before, patch.clone(), now)?;
            let after = stored(tx, before.id)?;
            let changed = changed(&before, &after);
            if !changed.is_empty() {
                let detail = json!({"changed": changed});
                tx.audit(&actor, "member.update", &after.public_id(), &detail, now)?;
            }
            Ok(Some(after))
        })
    }

    /// Deletes a member; whoever had them as a delegate has none from then on. `None`: no such member.
    ///
    /// # Errors
    /// `runs_open` while they are asked by a pending approval.
    pub fn delete_member(&self, id: Id, actor: Actor, now: Timestamp) -> Result<Option<Member>> {
        self.write(move |tx| {
            let Some(member) = by_id(tx.conn, id)? else {
                return Ok(None);
            };
            let (asked, runs): (i64, i64) = tx
                .sql(
                    "SELECT count(*), count(DISTINCT a.run) FROM recipients r JOIN approvals a ON a.id = r.approval
                     WHERE r.member = ?1 AND r.until IS NULL AND a.status = 'pending'",
                )?
                .query_row([member.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if asked > 0 {
                return Err(still_asked(&member, asked, runs));
            }
            let orphaned = tx
                .sql("UPDATE members SET delegate = NULL, delegate_until = NULL WHERE delegate = ?1")?
                .execute([member.id])?;
            tx.sql(
                "UPDATE members SET deleted_at = ?2, delegate = NULL, delegate_until = NULL WHERE id = ?1",
            )?
            .execute((member.id, now.0))?;
            let mut detail = facts(&member);
            if orphaned > 0 {
                detail.insert("was_delegate_of".to_owned(), orphaned.into());
            }
            tx.audit(&actor, "member.delete", &member.public_id(), &detail.into(), now)?;
            Ok(Some(Member {
                active: false,
                ..member
            }))
        })
    }
}

fn still_asked(member: &Member, asked: i64, runs: i64) -> Error {
    let (approvals, them) = match asked {
        1 => ("approval waits".to_owned(), "it"),
        _ => ("approvals wait".to_owned(), "them"),
    };
    let message = format!(
        "{asked} pending {approvals} for {}: reassign or decide {them} first, or make the member inactive instead",
        member.known_as()
    );
    Error::new(Code::RunsOpen, message)
        .with("open_runs", runs)
        .with("approvals", asked)
}

fn stored(tx: &Tx<'_>, id: i64) -> Result<Member> {
    by_row(tx.conn, id)?.ok_or_else(|| Error::internal(format!("member {id} is gone")))
}

/// Writes what a patch makes of a member.
fn write(tx: &Tx<'_>, before: &Member, patch: MemberPatch, now: Timestamp) -> Result<()> {
    tx.sql(
        "UPDATE members SET name = ?2, email = ?3, telegram_chat = ?4, webhook_url = ?5, language = ?6, active = ?7
         WHERE id = ?1",
    )?
    .execute((
        before.id,
        patch.name.as_ref().unwrap_or(&before.name),
        patch.email.as_ref().unwrap_or(&before.email),
        patch
            .telegram_chat
            .as_ref()
            .unwrap_or(&before.telegram_chat),
        patch.webhook_url.as_ref().unwrap_or(&before.webhook_url),
        patch.language.as_ref().unwrap_or(&before.language),
        patch.active.unwrap_or(before.active),
    ))?;
    let Some(delegate) = patch.delegate else {
        return Ok(());
    };
    let delegate = match delegate {
        Some(delegate) => Some(judged(tx, before.id, delegate, now)?),
        None => None,
    };
    tx.sql("UPDATE members SET delegate = ?2, delegate_until = ?3 WHERE id = ?1")?
        .execute((
            before.id,
            delegate.map(|(row, _)| row),
            delegate.map(|(_, until)| until.0),
        ))?;
    Ok(())
}

/// Refuses an address that another member has.
fn must_be_free(tx: &Tx<'_>, email: &str, own: i64) -> Result<()> {
    let condition = "m.email = ?1 AND m.deleted_at IS NULL";
    match find(tx.conn, condition, email, 1)?.pop() {
        Some(other) if other.id != own => Err(Error::invalid(
            "/email",
            format!(
                "email must be one person's alone: {email} is the address of {} ({})",
                other.name,
                other.public_id()
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// The row of a delegate who can be one for the member of row `own` (0: a new one), and until when.
fn judged(
    tx: &Tx<'_>,
    own: i64,
    (id, until): (Id, Timestamp),
    now: Timestamp,
) -> Result<(i64, Timestamp)> {
    let refused = |why: String| Err(Error::invalid("/delegate/member", why));
    if until <= now {
        return Err(Error::invalid(
            "/delegate/until",
            format!("delegate.until must be in the future, got {until}"),
        ));
    }
    let other = match by_id(tx.conn, id)?.filter(|other| other.active) {
        Some(other) => other,
        None => {
            let id = id.prefixed(PREFIX);
            return refused(format!(
                "delegate.member must be an active member, got {id}"
            ));
        }
    };
    if other.id == own {
        return refused("delegate.member must be somebody else".to_owned());
    }
    if other.delegate_at(now).is_some() {
        return refused(format!(
            "delegate.member must answer in person, but {} has a delegate too",
            other.known_as()
        ));
    }
    let served: i64 = tx
        .sql("SELECT count(*) FROM members WHERE delegate = ?1 AND delegate_until > ?2")?
        .query_row((own, now.0), |row| row.get(0))?;
    if served > 0 {
        return refused(format!(
            "a delegate must answer in person, and this member is the delegate of {served} already"
        ));
    }
    Ok((other.id, until))
}

/// A member as the audit tells it. The path of a webhook URL is often a secret of its own, so only its origin is told.
fn facts(member: &Member) -> Map<String, Value> {
    let inbox = member.webhook_url.as_deref().map(|url| {
        let rest = url.find("://").map_or(0, |at| at + 3);
        let end = url[rest..].find(['/', '?', '#']).map(|at| rest + at);
        format!("{}/…", &url[..end.unwrap_or(url.len())])
    });
    let delegate = member
        .delegate
        .map(|(id, until)| json!({"member": id.prefixed(PREFIX), "until": until}));
    let all = json!({
        "name": member.name,
        "email": member.email,
        "telegram_chat": member.telegram_chat,
        "webhook_url": inbox,
        "language": member.language,
        "active": member.active,
        "delegate": delegate,
    });
    match all {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// What is no longer as it was: each with what it was and is.
fn changed(before: &Member, after: &Member) -> Map<String, Value> {
    let (was, is) = (facts(before), facts(after));
    // Of two inboxes at one origin, the audit tells them apart by nothing but that they changed.
    let other_inbox = before.webhook_url != after.webhook_url;
    is.into_iter()
        .filter(|(name, value)| {
            was.get(name) != Some(value) || (name == "webhook_url" && other_inbox)
        })
        .map(|(name, value)| {
            let from = was.get(&name).cloned().unwrap_or_default();
            (name, json!({"from": from, "to": value}))
        })
        .collect()
}

#[cfg(test)]
mod tests;
