//! What is asked of a person, and the words for what becomes of it.
//!
//! Pure values, shared by the plan, the store, the page and the channels. Which answers fit, and what they decide, is in
//! `flow::answer`; how a definition writes a question is in `flow::human`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How a person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One of the options.
    Choices,
    /// A typed text.
    Text,
    /// Yes or no.
    Approval,
    /// Typed fields.
    Form,
}

/// How a person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// By e-mail.
    Email,
    /// By a Telegram bot.
    Telegram,
    /// By a signed POST to the member's own URL.
    Webhook,
    /// Not at all: the question waits in the list of approvals.
    None,
}

/// What happens when nobody has answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The step fails.
    Fail,
    /// The step completes, its output saying `timed_out`.
    Continue,
    /// The escalation's recipient is asked, and has as long again; then the step fails.
    Escalate,
}

/// Where an approval stands. Spelled the same in SQL and JSON; every state but `pending` is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// Waits for a person.
    Pending,
    /// Answered yes.
    Approved,
    /// Answered no.
    Rejected,
    /// Answered by a choice, a text or a form.
    Answered,
    /// Nobody answered in time.
    TimedOut,
    /// The run was cancelled, or those asked could not agree.
    Cancelled,
}

/// One option, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// What the person reads.
    pub label: String,
    /// What the workflow gets.
    pub value: Value,
    /// More of it; may be empty.
    pub description: String,
    /// The item it was made from.
    pub raw: Value,
}

/// One field of a form, typed as inputs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormField {
    /// Its name: the key of the answer.
    pub name: String,
    /// `text`, `number`, `boolean`, `array`, `object`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it must be filled in.
    #[serde(default)]
    pub required: bool,
    /// What stands in it at first; taken if it is left out.
    #[serde(default)]
    pub default: Option<Value>,
    /// For the person.
    #[serde(default)]
    pub description: Option<String>,
    /// The only values it may have; empty: any.
    #[serde(default, rename = "enum")]
    pub choices: Vec<Value>,
}

/// Who else is asked, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// How long after the question: before it times out, or, where `on_timeout: escalate` alone says when, just then.
    pub after_ms: u64,
    /// Whom: a member's e-mail address, id or name.
    pub recipient: String,
}

/// A question, rendered: kept with the approval as it was shown, and never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// How it is answered.
    pub mode: Mode,
    /// The question, in one line.
    pub question: String,
    /// A table of values shown with it, in order; texts may be Markdown.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// Mode `choices`: what to choose from; never empty.
    #[serde(default)]
    pub options: Vec<Choice>,
    /// Mode `text`: how long the answer is, in characters.
    #[serde(default)]
    pub min_length: usize,
    /// Mode `text`: at most so long.
    #[serde(default)]
    pub max_length: usize,
    /// Mode `form`: what to fill in; never empty.
    #[serde(default)]
    pub fields: Vec<FormField>,
    /// Who may answer: members' e-mail addresses, ids or names. Empty with [`Channel::None`] alone: then anyone who
    /// may decide approvals.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// How many of them must agree; 1 but for modes `approval` and `choices`.
    pub need: usize,
    /// Whether whoever asked for the run may not answer.
    #[serde(default)]
    pub not_requester: bool,
    /// How they are told.
    pub channel: Channel,
    /// How long a link in a message is good for.
    pub link_ttl_ms: u64,
    /// How long the question waits.
    pub timeout_ms: u64,
    /// How long after the question those who have not answered are reminded; ascending.
    #[serde(default)]
    pub remind_ms: Vec<u64>,
    /// Who else is asked, and when.
    #[serde(default)]
    pub escalate: Option<Escalation>,
    /// What happens when nobody has answered in time.
    pub on_timeout: OnTimeout,
}

/// An answer, checked against its question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Mode `choices`: which option, from 0.
    Choice(usize),
    /// Mode `text`.
    Text(String),
    /// Mode `approval`.
    Decision(bool),
    /// Mode `form`: the fields, with defaults.
    Form(Map<String, Value>),
}

/// An answer as it was given, by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// Who is counted: the member's id (`mem_…`), or the name that was given where anyone may answer.
    pub person: String,
    /// The person as people know them: the member's e-mail address or name.
    pub by: String,
    /// What.
    pub answer: Answer,
    /// What they added.
    pub comment: Option<String>,
}

impl Ask {
    /// How long the question waits.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long a link in a message is good for.
    pub fn link_ttl(&self) -> Duration {
        Duration::from_millis(self.link_ttl_ms)
    }
}

/// The words of a state, for SQL, JSON and people: one table a type.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every one, in the order of the documents.
            pub const ALL: &[$type] = &[$(<$type>::$variant),+];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(<$type>::$variant => $word),+ }
            }

            /// The one of that word.
            pub fn parse(word: &str) -> Option<$type> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words!(Mode { Choices = "choices", Text = "text", Approval = "approval", Form = "form" });
words!(Channel { Email = "email", Telegram = "telegram", Webhook = "webhook", None = "none" });
words!(OnTimeout { Fail = "fail", Continue = "continue", Escalate = "escalate" });
words!(ApprovalStatus {
    Pending = "pending",
    Approved = "approved",
    Rejected = "rejected",
    Answered = "answered",
    TimedOut = "timed_out",
    Cancelled = "cancelled",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_spelled_the_same_in_the_table_and_in_json() {
        for status in ApprovalStatus::ALL {
            assert_eq!(serde_json::json!(status), status.as_str());
            assert_eq!(ApprovalStatus::parse(status.as_str()), Some(*status));
        }
        for channel in Channel::ALL {
            assert_eq!(serde_json::json!(channel), channel.as_str());
        }
        for mode in Mode::ALL {
            assert_eq!(serde_json::json!(mode), mode.as_str());
        }
        for what in OnTimeout::ALL {
            assert_eq!(serde_json::json!(what), what.as_str());
        }
    }
}
