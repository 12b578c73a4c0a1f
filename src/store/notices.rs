//! What people are told of a question: notifications are deliveries, owed in the commit that gives rise to them.
//!
//! What is stored tells everything but the link, which is minted when an attempt is claimed. How it reads, by channel and
//! language, is the sender's.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::OptionalExtension;
use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::flow::approval::Channel;
use crate::id::{Dice, Id};
use crate::store::approvals::{Approval, PREFIX, people, recipients};
use crate::store::links::is_asked;
use crate::store::members::{self, Member};
use crate::store::owed::Owed;
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// How many options a notification names.
const OPTIONS_NAMED: usize = 20;

/// How much of a label it has, in characters.
const LABEL_TOLD: usize = 200;

/// How much of the context it has, in bytes: it is stored for each who is told.
const CONTEXT_TOLD: usize = 4_096;

/// How much of one value of it, in characters.
const VALUE_TOLD: usize = 500;

/// What stands for a link's token wherever something is stored.
pub const MASKED: &str = "••••";

/// What the store needs to know of the channels: where links lead, and whom a notification keeps busy.
#[derive(Debug, Clone)]
pub struct Notices {
    /// What heads a link, without a slash at its end. Empty: the listening address, which is not known yet when the file
    /// is opened; what is stored then begins with the path.
    pub public_url: String,
    /// `smtp://HOST:PORT`. `None`: there is no mail server, and every attempt says so.
    pub smtp_origin: Option<String>,
    /// Scheme, host and port of Telegram's bot API.
    pub telegram_origin: String,
}

/// What a question needs that no row knows.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) notices: Notices,
    /// Where ids and the tokens of links come from.
    pub(super) dice: Arc<Dice>,
}

impl Desk {
    pub(super) fn new(notices: Notices, dice: Arc<Dice>) -> Desk {
        Desk { notices, dice }
    }
}

impl Default for Notices {
    fn default() -> Notices {
        Notices {
            public_url: String::new(),
            smtp_origin: None,
            telegram_origin: "https://api.telegram.org".to_owned(),
        }
    }
}

/// What a claim on a notification knows beside its body: how, to whom, and the link, which is nowhere else.
#[derive(Clone)]
pub struct NoticeClaim {
    /// How.
    pub channel: Channel,
    /// What stands behind `/approve/`.
    pub token: String,
    /// Until when the link is good.
    pub link_expires_at: Timestamp,
    /// The member's name.
    pub name: String,
    /// The member's language.
    pub language: String,
    /// The member's address, as it is now.
    pub email: Option<String>,
    /// The member's chat, as it is now.
    pub telegram_chat: Option<String>,
    /// The member's own URL, as it is now.
    pub webhook_url: Option<String>,
}

impl std::fmt::Debug for NoticeClaim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoticeClaim")
            .field("channel", &self.channel)
            .field("link_expires_at", &self.link_expires_at)
            .finish_non_exhaustive()
    }
}

/// Where a notification goes, as it is shown, and the origin that it keeps busy. Of a member's own URL the origin alone
/// is shown, for its path may be a secret: the attempt has the whole from the member's row.
fn place(notices: &Notices, channel: Channel, member: &Member) -> Option<(String, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Some(match channel {
        Channel::Email => (
            format!("mailto:{}", text(&member.email)),
            notices.smtp_origin.clone().unwrap_or("smtp://".to_owned()),
        ),
        Channel::Telegram => (
            format!(
                "{}/chat/{}",
                notices.telegram_origin,
                text(&member.telegram_chat)
            ),
            notices.telegram_origin.clone(),
        ),
        Channel::Webhook => {
            let origin = match url::Url::parse(&text(&member.webhook_url)) {
                Ok(url) => url.origin().ascii_serialization(),
                // Every attempt says so; it can be mended while the question waits.
                Err(_) => "webhook://".to_owned(),
            };
            (format!("{}/…", origin.trim_end_matches('/')), origin)
        }
        Channel::None => return None,
    })
}

/// A text, or as much of it as may be told, in characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// As much of the context as goes out with every notification, in order; the page shows all of it.
fn told_context(context: &Map<String, Value>) -> Map<String, Value> {
    let mut told = Map::new();
    let mut left = CONTEXT_TOLD;
    for (name, value) in context {
        let text = match value {
            Value::String(text) => Value::String(cut(text, VALUE_TOLD)),
            Value::Array(_) | Value::Object(_) => {
                let text = value.to_string();
                match text.chars().nth(VALUE_TOLD) {
                    None => value.clone(),
                    Some(_) => Value::String(cut(&text, VALUE_TOLD)),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        };
        let name = cut(name, VALUE_TOLD);
        let size = name.len() + text.to_string().len();
        if size > left {
            told.insert("…".to_owned(), Value::String("…".to_owned()));
            break;
        }
        left -= size;
        told.insert(name, text);
    }
    told
}

/// What is told of a question, to whomever.
fn neutral(notices: &Notices, approval: &Approval, event_type: &str, now: Timestamp) -> Value {
    let ask = &approval.ask;
    let options = ask.options.iter().take(OPTIONS_NAMED);
    let options: Vec<String> = options.map(|one| cut(&one.label, LABEL_TOLD)).collect();
    json!({
        "event_type": event_type,
        "approval_id": approval.approval_id.prefixed(PREFIX),
        "request_id": approval.run_id.request_id(),
        "run_id": approval.run_id,
        "deployment": approval.deployment,
        "variant": approval.variant,
        "step": approval.path,
        "mode": ask.mode,
        "question": ask.question,
        "context": told_context(&ask.context),
        "options": options,
        "need": ask.need,
        "recipient": null,
        "created_at": now,
        "expires_at": approval.expires_at,
        "link_expires_at": null,
        "url": format!("{}/approve/{MASKED}", notices.public_url),
    })
}

impl Tx<'_> {
    /// Tells everyone who is asked and has not answered. Returns how many people that were.
    pub(super) fn tell_all(
        &mut self,
        approval: &Approval,
        event_type: &'static str,
        now: Timestamp,
    ) -> Result<usize> {
        let waits = |member: &&Member| approval.answer_of(&member.public_id()).is_none();
        let asked: Vec<&Member> = approval
            .asked()
            .map(|one| &one.member)
            .filter(waits)
            .collect();
        self.tell(approval, &asked, event_type, now)
    }

    /// Tells these, and whoever stands in for them. Returns how many people that were.
    pub(super) fn tell(
        &mut self,
        approval: &Approval,
        members: &[&Member],
        event_type: &'static str,
        now: Timestamp,
    ) -> Result<usize> {
        let mut told: Vec<i64> = Vec::new();
        let body = neutral(&self.desk.notices, approval, event_type, now);
        for member in members {
            let stand_in = members::delegate_of(self.conn, member, now)?;
            for one in [Some(*member), stand_in.as_ref()].into_iter().flatten() {
                if one.active && !told.contains(&one.id) {
                    told.push(one.id);
                    self.tell_with(approval, one, event_type, body.clone(), now)?;
                }
            }
        }
        Ok(told.len())
    }

    /// Tells one person.
    pub(super) fn tell_one(
        &mut self,
        approval: &Approval,
        member: &Member,
        event_type: &'static str,
        now: Timestamp,
    ) -> Result<()> {
        let body = neutral(&self.desk.notices, approval, event_type, now);
        self.tell_with(approval, member, event_type, body, now)
    }

    fn tell_with(
        &mut self,
        approval: &Approval,
        member: &Member,
        event_type: &'static str,
        mut body: Value,
        now: Timestamp,
    ) -> Result<()> {
        let channel = approval.ask.channel;
        let Some(place) = place(&self.desk.notices, channel, member) else {
            return Ok(());
        };
        body["recipient"] = json!({
            "id": member.public_id(),
            "name": member.name,
            "language": member.language,
        });
        let owed = Owed::notice(
            Id::new(now, &self.desk.dice),
            event_type,
            channel.as_str(),
            (approval.id, member.id),
            place,
            body.to_string(),
        );
        self.insert_delivery(approval.run, approval.deployment_id, &owed, now)
    }

    /// The link that an attempt carries. `None`: nobody needs to be told any more.
    pub(super) fn mint_notice(
        &self,
        channel: &str,
        approval: i64,
        member: i64,
        now: Timestamp,
    ) -> Result<Option<NoticeClaim>> {
        let Some(channel) = Channel::parse(channel) else {
            return Ok(None);
        };
        let pending: Option<u64> = self
            .sql("SELECT link_ttl FROM approvals WHERE id = ?1 AND status = 'pending'")?
            .query_row([approval], |row| row.get(0))
            .optional()?;
        let Some(ttl) = pending else { return Ok(None) };
        let member = people::member(self.conn, member)?;
        if !is_asked(&recipients(self.conn, approval)?, &member, now) {
            return Ok(None);
        }
        let minted = self.mint(approval, Some(member.id), Duration::from_millis(ttl), now)?;
        Ok(Some(NoticeClaim {
            channel,
            token: minted.token,
            link_expires_at: minted.expires_at,
            name: member.name,
            language: member.language,
            email: member.email,
            telegram_chat: member.telegram_chat,
            webhook_url: member.webhook_url,
        }))
    }

    /// Whether it was found when it was claimed that nobody needs to be told any more.
    pub(super) fn is_taken_back(&self, delivery: i64) -> Result<bool> {
        Ok(self
            .sql("SELECT status = 'cancelled' FROM deliveries WHERE id = ?1")?
            .query_row([delivery], |row| row.get(0))?)
    }

    /// A failed attempt is not repeated over a question that is closed.
    pub(super) fn drop_if_closed(&mut self, delivery: i64, now: Timestamp) -> Result<()> {
        let is_closed: bool = self
            .sql(
                "SELECT EXISTS (SELECT 1 FROM deliveries d JOIN approvals a ON a.id = d.approval
                     WHERE d.id = ?1 AND d.status = 'pending' AND a.status <> 'pending')",
            )?
            .query_row([delivery], |row| row.get(0))?;
        if is_closed {
            self.take_back_one(delivery, now)?;
        }
        Ok(())
    }
}
