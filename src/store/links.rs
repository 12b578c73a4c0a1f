//! Links to the approval page: minted, looked at, renewed. Only their hashes are kept.
//!
//! A link is good for one question and one person. What it shows is the page's; that it leads nowhere for whoever is no
//! longer asked is here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::flow::approval::{ApprovalStatus, Channel};
use crate::id::Id;
use crate::store::Store;
use crate::store::approvals::{Approval, PREFIX, Recipient, by_row, now_of, people};
use crate::store::audit::Actor;
use crate::store::members::{self, Member};
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// How often a view of one link is noted at most.
const VIEW_EVERY: Duration = Duration::from_secs(3600);

/// How many fresh links a person may ask for of one question, and in how long.
const FRESH: (i64, Duration) = (3, Duration::from_secs(3600));

/// A link that was just made. The token is nowhere else.
#[derive(Clone)]
pub struct Minted {
    /// What stands behind `/approve/`.
    pub token: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What a link leads to.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// The question.
    pub approval: Approval,
    /// Whose link it is; `None`: nobody's in particular, for the question is open to all.
    pub member: Option<Member>,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// Whether that time is over: then it tells nothing of the question.
    pub is_expired: bool,
    /// SHA-256 of the token: what the form's token is bound to.
    pub hash: [u8; 32],
}

/// What became of the wish for a fresh link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// It is on its way, to the person whose link this was.
    Sent,
    /// There were as many as there may be in an hour.
    TooMany,
    /// The question is decided, or is told to nobody.
    Closed,
    /// There is no such link, or it was nobody's.
    Unknown,
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// A link's row, if it still leads somewhere: its question, and whose it is.
fn view(conn: &Connection, hash: [u8; 32], now: Timestamp) -> Result<Option<LinkView>> {
    let found: Option<(i64, Option<i64>, i64)> = conn
        .prepare_cached("SELECT approval, member, expires_at FROM links WHERE hash = ?1")?
        .query_row([hash], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((approval, member, expires_at)) = found else {
        return Ok(None);
    };
    let approval = by_row(conn, approval)?;
    let member = match member {
        Some(row) => {
            let member = people::member(conn, row)?;
            if !may_be_told(&approval, &member, now) {
                return Ok(None);
            }
            Some(member)
        }
        // Nobody's in particular: it ends when somebody is asked.
        None if !approval.is_open_to_all() => return Ok(None),
        None => None,
    };
    Ok(Some(LinkView {
        approval,
        member,
        expires_at: Timestamp(expires_at),
        is_expired: expires_at <= now.0,
        hash,
    }))
}

/// Whether a member is asked, or stands in for someone who is.
pub(super) fn may_be_told(approval: &Approval, member: &Member, now: Timestamp) -> bool {
    is_asked(&approval.recipients, member, now)
}

/// The same, of those who were ever asked.
pub(super) fn is_asked(recipients: &[Recipient], member: &Member, now: Timestamp) -> bool {
    let mut asked = recipients.iter().filter(|one| one.until.is_none());
    member.active
        && asked.any(|one| {
            one.member.id == member.id || people::stands_in(member.member_id, &one.member, now)
        })
}

impl Tx<'_> {
    /// A new link. Its token is only in what this returns.
    pub(super) fn mint(
        &self,
        approval: i64,
        member: Option<i64>,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Minted> {
        let minted = Minted {
            token: URL_SAFE_NO_PAD.encode(self.desk.dice.bytes::<32>()),
            expires_at: now.plus(ttl),
        };
        self.sql(
            "INSERT INTO links (hash, approval, member, minted_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((
            hash(&minted.token),
            approval,
            member,
            now.0,
            minted.expires_at.0,
        ))?;
        Ok(minted)
    }

    /// `known`: what the link led to a moment ago.
    fn fresh_link(
        &mut self,
        known: &Approval,
        member: &Member,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Fresh> {
        let approval = now_of(self.conn, known)?;
        let Some(approval) = approval.filter(|one| may_be_told(one, member, now)) else {
            return Ok(Fresh::Unknown);
        };
        if approval.status != ApprovalStatus::Pending || approval.ask.channel == Channel::None {
            return Ok(Fresh::Closed);
        }
        let (most, window) = FRESH;
        let since = now.0.saturating_sub(millis(window));
        // By what was queued, so that those which are not minted yet count too.
        let recent: i64 = self
            .sql(
                "SELECT count(*) FROM deliveries WHERE approval = ?1 AND approval IS NOT NULL AND member = ?2
                     AND event_type = 'approval.resent' AND created_at > ?3",
            )?
            .query_row((approval.id, member.id, since), |row| row.get(0))?;
        if recent >= most {
            return Ok(Fresh::TooMany);
        }
        self.tell_one(&approval, member, "approval.resent", now)?;
        let target = approval.approval_id.prefixed(PREFIX);
        let detail = json!({"fresh_link_for": member.known_as()});
        self.audit(actor, "approval.resend", &target, &detail, now)?;
        Ok(Fresh::Sent)
    }

    fn note_view(&self, hash: [u8; 32], address: Option<String>, now: Timestamp) -> Result<()> {
        let before = now.0.saturating_sub(millis(VIEW_EVERY));
        let noted = self
            .sql(
                "UPDATE links SET viewed_at = ?2 WHERE hash = ?1 AND (viewed_at IS NULL OR viewed_at <= ?3)",
            )?
            .execute((hash, now.0, before))?;
        if noted == 0 {
            return Ok(());
        }
        let (approval, member): ([u8; 16], Option<i64>) = self
            .sql(
                "SELECT a.approval_id, l.member FROM links l JOIN approvals a ON a.id = l.approval WHERE l.hash = ?1",
            )?
            .query_row([hash], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let member = member.map(|row| people::member(self.conn, row));
        let member = member.transpose()?;
        let whose = member.as_ref().map_or("an administrator", Member::known_as);
        let actor = Actor {
            name: format!("link of {whose}"),
            address,
        };
        let target = Id(approval).prefixed(PREFIX);
        self.audit(&actor, "approval.view", &target, &json!(null), now)
    }
}

impl Store {
    /// What a token leads to, expired or not. `None`: nowhere, or it is of someone who is no longer asked.
    pub fn link(&self, token: &str, now: Timestamp) -> Result<Option<LinkView>> {
        let hash = hash(token);
        self.read_at_once(|conn| view(conn, hash, now))
    }

    /// A link for that member, or for whoever asked for it as an administrator; good for `ttl`, or as long as the links in
    /// messages. `None`: no such approval, or the member is not asked.
    pub fn mint_link(
        &self,
        approval_id: Id,
        member: Option<Id>,
        actor: Actor,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Option<Minted>> {
        let Some(known) = self.approval(approval_id)? else {
            return Ok(None);
        };
        self.write(move |tx| {
            let Some(approval) = now_of(tx.conn, &known)? else {
                return Ok(None);
            };
            let member = match member {
                Some(id) => match members::by_id(tx.conn, id)? {
                    Some(member) if may_be_told(&approval, &member, now) => Some(member),
                    Some(_) | None => return Ok(None),
                },
                None if !approval.is_open_to_all() => return Ok(None),
                None => None,
            };
            let ttl = ttl.unwrap_or_else(|| approval.ask.link_ttl());
            let minted = tx.mint(approval.id, member.as_ref().map(|one| one.id), ttl, now)?;
            let target = approval_id.prefixed(PREFIX);
            let detail = json!({
                "for": member.as_ref().map(Member::known_as),
                "expires_at": minted.expires_at,
            });
            tx.audit(&actor, "approval.link", &target, &detail, now)?;
            Ok(Some(minted))
        })
    }

    /// Notes in the audit that a link was opened: the first time, then at most once an hour. Does not wait, and never fails:
    /// what cannot be noted is logged.
    pub fn note_view(&self, hash: [u8; 32], address: Option<String>, now: Timestamp) {
        let before = now.0.saturating_sub(millis(VIEW_EVERY));
        let is_due = self.read(|conn| {
            let sql = "SELECT viewed_at IS NULL OR viewed_at <= ?2 FROM links WHERE hash = ?1";
            let mut statement = conn.prepare_cached(sql)?;
            let due = statement.query_row((hash, before), |row| row.get(0));
            Ok(due.optional()?.unwrap_or(false))
        });
        if matches!(is_due, Ok(true)) {
            let note = move |tx: &mut Tx<'_>| tx.note_view(hash, address.clone(), now);
            self.write_then(note, |noted| {
                if let Err(fault) = noted {
                    log::warn!("the view of a link was not noted: {fault}");
                }
            });
        }
    }

    /// Sends a fresh link to the person whose link this was, good or expired.
    pub fn fresh_link(&self, token: &str, actor: Actor, now: Timestamp) -> Result<Fresh> {
        let hash = hash(token);
        let Some(LinkView {
            approval,
            member: Some(member),
            ..
        }) = self.read_at_once(|conn| view(conn, hash, now))?
        else {
            return Ok(Fresh::Unknown);
        };
        self.write(move |tx| tx.fresh_link(&approval, &member, &actor, now))
    }
}
