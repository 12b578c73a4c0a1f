//! Approvals, their answers, links and receipts, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{APPROVAL_ID, MEMBER_ID, REQUEST_ID};
use crate::flow::approval::{ApprovalStatus, Channel, Mode};
use crate::id::Id;
use crate::time::Timestamp;

fn statuses() -> Vec<&'static str> {
    ApprovalStatus::ALL.iter().map(|one| one.as_str()).collect()
}

fn modes() -> Vec<&'static str> {
    Mode::ALL.iter().map(|one| one.as_str()).collect()
}

fn channels() -> Vec<&'static str> {
    Channel::ALL.iter().map(|one| one.as_str()).collect()
}

/// A question that a run waits for, or waited for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Approval<'a> {
    /// The approval's id.
    #[schemars(extend("pattern" = APPROVAL_ID))]
    pub id: String,
    /// Where it stands; `pending` waits for a person, the others are final.
    #[schemars(extend("enum" = statuses()))]
    pub status: &'static str,
    /// Of which request.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// Of which run.
    pub run_id: Id,
    /// The deployment.
    pub deployment: &'a str,
    /// The deployment's variant.
    pub variant: &'a str,
    /// The variant's version.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// The path of the step that asks.
    pub step: &'a str,
    /// How it is answered.
    #[schemars(extend("enum" = modes()))]
    pub mode: &'static str,
    /// The question.
    pub question: &'a str,
    /// Who is asked: e-mail addresses or names, joined by `, `. Empty: anyone who may decide approvals.
    pub recipient: String,
    /// How many must agree.
    #[schemars(range(min = 1))]
    pub need: usize,
    /// How many have answered.
    pub answered: usize,
    /// How those who are asked are told.
    #[schemars(extend("enum" = channels()))]
    pub channel: &'static str,
    /// The run's user, who may be excluded.
    pub requester: Option<&'a str>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
    /// When those who have not answered are reminded next.
    pub reminder_at: Option<Timestamp>,
    /// When it came to its end.
    pub decided_at: Option<Timestamp>,
}

/// An approval with what was asked and answered.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeApproval<'a> {
    /// The approval.
    #[serde(flatten)]
    pub approval: Approval<'a>,
    /// The question exactly as it was shown: mode, question, context, options, fields, and its times in milliseconds.
    #[schemars(extend("type" = "object"))]
    pub ask: Value,
    /// Who may answer, and who no longer may.
    pub recipients: Vec<ApprovalRecipient<'a>>,
    /// What was answered, oldest first.
    pub answers: Vec<ApprovalAnswer<'a>>,
    /// The step's output; null while it is pending, and where the step failed.
    pub output: Option<&'a Value>,
    /// What was shown and answered, signed; null while it is pending.
    pub receipt: Option<Receipt>,
}

/// A member who is asked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PersonAsked<'a> {
    /// The member's id.
    #[schemars(extend("pattern" = MEMBER_ID))]
    pub id: String,
    /// What people call them.
    pub name: &'a str,
    /// Their e-mail address.
    pub email: Option<&'a str>,
}

/// Who may answer, and how it came to that.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalRecipient<'a> {
    /// Who.
    #[serde(flatten)]
    pub member: PersonAsked<'a>,
    /// Why they are asked.
    #[schemars(extend("enum" = ["asked", "escalated", "reassigned"]))]
    pub because: &'a str,
    /// Since when.
    pub since: Timestamp,
    /// Until when: it was handed on to another then.
    pub until: Option<Timestamp>,
}

/// One person's answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalAnswer<'a> {
    /// Who: an e-mail address or name; `BOB for ANNA` where Bob stood in for Anna.
    pub by: &'a str,
    /// How it came: `link`, `open link` (whoever had it), `key NAME`, `admin key`.
    pub via: &'a str,
    /// What: `choice` (the option's place, from 0), `text`, `decision` (true: approved) or `form`.
    #[schemars(extend("type" = "object"))]
    pub answer: Value,
    /// The same in words: the option's label, the text, `approved` or `rejected`, the form as JSON.
    pub shown: String,
    /// What was added.
    pub comment: Option<&'a str>,
    /// When.
    pub at: Timestamp,
}

/// What was shown and answered, signed by the deployment's secret.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Receipt {
    /// What is signed, as compact JSON with its members in this order.
    #[schemars(extend("type" = "object"))]
    pub body: Value,
    /// As `webhook-signature` is made, with the approval's id and the seconds of `decided_at`; null if the deployment is
    /// gone.
    pub signature: Option<String>,
}

/// A link to the approval page. It is shown once: only its hash is stored.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ApprovalLink {
    /// The page's address; whoever has it may answer.
    #[schemars(extend("format" = "uri"))]
    pub url: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}
