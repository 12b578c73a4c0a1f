//! Runs, their steps, and requests, as they are sent.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{APPROVAL_ID, DELIVERY_ID, KEY_ID, REQUEST_ID, SECRET};
use crate::api::deliveries::CHANNELS;
use crate::api::runs::{DELIVERIES, SOURCES};
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::time::Timestamp;

/// A run that is on disk, and whose result goes to a URL.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted<'a> {
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
    /// What the callback will be signed with; not in answers to webhook triggers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = SECRET))]
    pub webhook_secret: Option<&'a str>,
}

/// A run that has ended while its caller waited.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ended<'a> {
    /// How to look it up.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// The same id, with dashes.
    pub run_id: Id,
    /// How it ended.
    #[schemars(extend("enum" = ["completed", "failed", "cancelled"]))]
    pub run_status: &'static str,
    /// Equal to `run_status`.
    #[schemars(extend("enum" = ["completed", "failed", "cancelled"]))]
    pub status: &'static str,
    /// The output of a completed run; null of any other.
    pub output: Option<&'a Value>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub error: Option<&'a str>,
}

/// A run: the names that existing clients read, then ours.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Run<'a> {
    /// The run's id.
    pub id: Id,
    /// The request id.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub token: String,
    /// Equal to `status`.
    #[schemars(extend("enum" = RunStatus::ALL.map(RunStatus::as_str)))]
    pub run_status: &'static str,
    /// Whether its result goes to a URL.
    pub run_async: bool,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Milliseconds from `started_at` to `ended_at`.
    pub duration: Option<i64>,
    /// Its inputs, with defaults filled in; null with `values=false`.
    pub start_inputs: Option<&'a Map<String, Value>>,
    /// Its output as text.
    pub output_content: Option<String>,
    /// Equal to `error`.
    pub error_message: Option<&'a str>,
    /// Where its result goes.
    pub async_webhook_url: Option<&'a str>,
    /// Always 0.
    pub total_tokens: i64,
    /// Always "0".
    pub total_charge: &'static str,
    /// The request id.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// The run's id.
    pub run_id: Id,
    /// Where it stands. `completed`, `failed` and `cancelled` never change.
    #[schemars(extend("enum" = RunStatus::ALL.map(RunStatus::as_str)))]
    pub status: &'static str,
    /// What started it.
    #[schemars(extend("enum" = SOURCES))]
    pub source: &'a str,
    /// How its result goes back.
    #[schemars(extend("enum" = DELIVERIES))]
    pub delivery: &'a str,
    /// The deployment.
    pub deployment: &'a str,
    /// The deployment's variant.
    pub variant: &'a str,
    /// The variant's version, which it keeps.
    #[schemars(range(min = 1))]
    pub version: i64,
    /// The API key that started it; null: the admin key, or none.
    #[schemars(with = "Option<String>", extend("pattern" = KEY_ID))]
    pub api_key_id: Option<String>,
    /// The caller's name for its user.
    pub user: Option<&'a str>,
    /// The caller's labels.
    pub user_metadata: &'a Map<String, Value>,
    /// How long its inputs are as compact JSON, in bytes.
    #[schemars(range(min = 2))]
    pub input_bytes: i64,
    /// Its output; null unless it is completed.
    pub output: Option<&'a Value>,
    /// How long its output is as compact JSON, in bytes; 0 unless it is completed.
    #[schemars(range(min = 0))]
    pub output_bytes: i64,
    /// Why it failed or was cancelled.
    pub error: Option<&'a str>,
    /// What kind of failure.
    pub error_code: Option<&'a str>,
    /// The path of the step that failed.
    pub error_step: Option<&'a str>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What it waits for while it is `waiting`.
    pub waiting_on: Option<WaitingOn>,
}

/// What a waiting run waits for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WaitingOn {
    /// The path of the step.
    pub step: Option<String>,
    /// A time, the next try of the step, or a person's answer.
    #[schemars(extend("enum" = ["timer", "retry", "approval"]))]
    pub kind: &'static str,
    /// When it goes on, answered or not.
    pub until: Option<Timestamp>,
    /// Of an approval: its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = APPROVAL_ID))]
    pub approval_id: Option<String>,
    /// Of an approval: who is asked, joined by `, `. Empty: anyone who may decide approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub recipient: Option<String>,
    /// Of an approval: until when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    pub expires_at: Option<Timestamp>,
}

/// A run as it is shown alone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownRun<'a> {
    /// The run.
    pub workflow_run: WholeRun<'a>,
}

/// A run with its nested lists.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeRun<'a> {
    /// The run.
    #[serde(flatten)]
    pub run: Run<'a>,
    /// The request id of the run that it repeats.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub retry_of: Option<String>,
    /// The request ids of the runs that repeat it: the newest 20, newest first.
    pub retries: Vec<String>,
    /// What happened to it, or why it waits: a sentence or two for a person. The words may change between versions.
    pub story: String,
    /// How many steps it has: those that have begun, and those that were skipped.
    pub steps_count: u64,
    /// Its first 100 steps, in order of execution.
    pub steps: Vec<Step<'a>>,
    /// What is owed, or was sent, to a URL.
    pub deliveries: Vec<OwedDelivery<'a>>,
}

/// A delivery as a run carries it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwedDelivery<'a> {
    /// The delivery's id.
    #[schemars(extend("pattern" = DELIVERY_ID))]
    pub id: String,
    /// Which event.
    pub event_type: &'a str,
    /// How it goes: `callback`, or how a person is told.
    #[schemars(extend("enum" = CHANNELS))]
    pub channel: &'a str,
    /// Where it stands.
    #[schemars(extend("enum" = DeliveryStatus::ALL.map(DeliveryStatus::as_str)))]
    pub status: &'static str,
    /// Where to.
    pub url: Cow<'a, str>,
    /// When it is sent next.
    pub next_attempt_at: Option<Timestamp>,
    /// Its attempts, oldest first: the newest 20.
    pub attempts: Vec<OwedAttempt<'a>>,
}

/// One try of a delivery, as a run carries it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwedAttempt<'a> {
    /// From 1.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// How long the exchange took; null: it is in flight, or its process died.
    pub duration_ms: Option<i64>,
    /// The answer's status.
    pub response_status: Option<i64>,
    /// What kind of failure.
    pub error_class: Option<&'a str>,
}

/// One execution of one step.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Step<'a> {
    /// Where in the definition: `fetch`, `gate.then.a`.
    pub path: &'a str,
    /// The action key: `set`, `http` …
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Where it stands.
    #[schemars(extend("enum" = StepStatus::ALL.map(StepStatus::as_str)))]
    pub status: &'static str,
    /// Its tries, oldest first.
    pub attempts: Vec<StepTry<'a>>,
    /// Its parameters as rendered, secrets masked.
    pub input: &'a Value,
    /// How long its input is as compact JSON, in bytes; 0 of none.
    #[schemars(range(min = 0))]
    pub input_bytes: i64,
    /// Its output; null unless it is completed.
    pub output: &'a Value,
    /// How long its output is as compact JSON, in bytes; 0 unless it is completed.
    #[schemars(range(min = 0))]
    pub output_bytes: i64,
    /// What stands beside the output: `status` and `headers` of an http step.
    pub meta: Option<&'a Value>,
    /// Why it failed.
    pub error: Option<&'a str>,
    /// What kind of failure.
    pub error_class: Option<&'a str>,
    /// When it goes on, if it waits.
    pub due_at: Option<Timestamp>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether it was taken over from the run that this one repeats.
    pub reused: bool,
}

/// One try of a step.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepTry<'a> {
    /// From 1.
    #[schemars(range(min = 1))]
    pub number: i64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; null: it is in flight.
    pub ended_at: Option<Timestamp>,
    /// What kind of failure.
    pub error_class: Option<&'a str>,
    /// Why it failed.
    pub error: Option<&'a str>,
    /// What it wrote down, in order; none in a list without values.
    pub logs: Vec<StepLog<'a>>,
}

/// A line that a try of a step wrote down.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepLog<'a> {
    /// When.
    pub at: Timestamp,
    /// What, secrets masked.
    pub text: &'a str,
}

/// A run as whoever started it looks it up.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownRequest<'a> {
    /// The run's id.
    pub id: Id,
    /// The request id.
    #[schemars(extend("pattern" = REQUEST_ID))]
    pub request_id: String,
    /// Where the run stands.
    #[schemars(extend("enum" = RunStatus::ALL.map(RunStatus::as_str)))]
    pub status: &'static str,
    /// Always `workflow`.
    #[schemars(extend("enum" = ["workflow"]))]
    pub request_type: &'static str,
    /// Always `workflow_run`.
    #[schemars(extend("enum" = ["workflow_run"]))]
    pub requestable_type: &'static str,
    /// The run's id.
    pub requestable_id: Id,
    /// Why the run failed or was cancelled.
    pub message: Option<&'a str>,
    /// When the run was accepted.
    pub generated_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Facts about the run.
    pub metadata: RequestMetadata<'a>,
    /// The caller's labels.
    pub user_metadata: &'a Map<String, Value>,
    /// What the run's final event says; null while the run is open.
    pub data: Option<RequestData<'a>>,
}

/// Facts about a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RequestMetadata<'a> {
    /// What started it.
    #[schemars(extend("enum" = SOURCES))]
    pub source: &'a str,
    /// How its result goes back.
    #[schemars(extend("enum" = DELIVERIES))]
    pub delivery: &'a str,
    /// The deployment.
    pub deployment: &'a str,
    /// The deployment's variant.
    pub variant: &'a str,
    /// The variant's version.
    #[schemars(range(min = 1))]
    pub version: i64,
}

/// What a final event says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum RequestData<'a> {
    /// Of `workflow.completed`.
    Completed {
        /// The run's output.
        output: Option<&'a Value>,
    },
    /// Of `workflow.failed`.
    Failed {
        /// Why.
        error: Option<&'a str>,
        /// What kind of failure.
        error_code: Option<&'a str>,
        /// The path of the step that failed.
        step: Option<&'a str>,
    },
    /// Of `workflow.cancelled`.
    Cancelled {
        /// The reason that was given.
        error: Option<&'a str>,
        /// Always `cancelled`.
        #[schemars(extend("enum" = ["cancelled"]))]
        reason: &'static str,
    },
}
