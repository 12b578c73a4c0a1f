//! Jobs, their dry runs, and batches of invokes, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{JOB_ID, REQUEST_ID, SECRET};
use crate::flow::job::{JobAction, JobStatus};
use crate::id::Id;
use crate::time::Timestamp;

/// Something done to every run, or delivery, that a filter matches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Job<'a> {
    /// Its id.
    #[schemars(extend("pattern" = JOB_ID))]
    pub id: String,
    /// What is done.
    #[schemars(extend("enum" = JobAction::ALL.map(JobAction::as_str)))]
    pub action: &'static str,
    /// Where it stands.
    #[schemars(extend("enum" = JobStatus::ALL.map(JobStatus::as_str)))]
    pub status: &'static str,
    /// How many matched when it was asked for; null: too many to count at once, known when it is completed.
    pub count: Option<u64>,
    /// To how many it was done.
    pub done: u64,
    /// For how many there was nothing to do any more.
    pub skipped: u64,
    /// To how many it could not be done.
    pub failed: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// Who asked for it.
    pub by: &'a str,
}

/// What a job would be done to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobCount {
    /// How many match; exact.
    pub count: u64,
}

/// The answers to a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Batch<'a> {
    /// One for each run that was asked for, in the same order.
    pub data: Vec<BatchAnswer<'a>>,
}

/// The answer to one run of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BatchAnswer<'a> {
    /// It is on disk.
    Accepted(BatchAccepted<'a>),
    /// It was refused.
    Refused(BatchRefused<'a>),
}

/// A run of a batch that is on disk.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchAccepted<'a> {
    /// Always 202.
    #[schemars(extend("enum" = [202]))]
    pub http_status: u16,
    /// How to look it up.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// The same id, with dashes.
    pub run_id: Id,
    /// `running` if a slot was free in that commit, else `queued`.
    #[schemars(extend("enum" = ["queued", "running"]))]
    pub run_status: &'static str,
    /// Equal to `run_status`.
    #[schemars(extend("enum" = ["queued", "running"]))]
    pub status: &'static str,
    /// What the callback will be signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = SECRET))]
    pub webhook_secret: Option<&'a str>,
    /// Whether an earlier request with the same `Idempotency-Key` started it; absent: no.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

/// A run of a batch that was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BatchRefused<'a> {
    /// The status that it would have been refused with alone.
    #[schemars(range(min = 400, max = 599))]
    pub http_status: u16,
    /// One sentence: what is wrong, what was expected, what came.
    pub error: &'a str,
    /// The same sentence.
    pub message: &'a str,
    /// What kind of error.
    pub error_code: &'static str,
    /// A JSON pointer to the field at fault, in that run's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub field: Option<&'a str>,
    /// More members, as it would have had alone.
    #[serde(flatten)]
    pub details: Option<&'a Map<String, Value>>,
}
