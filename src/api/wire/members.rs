//! Members, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;

use super::MEMBER_ID;
use crate::time::Timestamp;

/// A person who may answer approvals.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Member<'a> {
    /// Their id.
    #[schemars(extend("pattern" = MEMBER_ID))]
    pub id: String,
    /// What people call them.
    pub name: &'a str,
    /// Their e-mail address.
    pub email: Option<&'a str>,
    /// Their chat with the Telegram bot: a number, or `@name`.
    pub telegram_chat: Option<&'a str>,
    /// Their own inbox: notifications are posted to it, signed like callbacks.
    pub webhook_url: Option<&'a str>,
    /// The language they read, as a tag; one that the page does not speak is shown in English.
    pub language: &'a str,
    /// Whether they may be asked and may answer.
    pub active: bool,
    /// Who answers for them, as long as that lasts.
    pub delegate: Option<Delegate>,
    /// When they were added.
    pub created_at: Timestamp,
}

/// Who answers for a member.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Delegate {
    /// The other member's id.
    #[schemars(extend("pattern" = MEMBER_ID))]
    pub member: String,
    /// Until when.
    pub until: Timestamp,
}

/// A member who is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeletedMember<'a> {
    /// Their id; history goes on naming them.
    #[schemars(extend("pattern" = MEMBER_ID))]
    pub id: String,
    /// What people called them.
    pub name: &'a str,
    /// Always true.
    #[schemars(extend("enum" = [true]))]
    pub deleted: bool,
}
