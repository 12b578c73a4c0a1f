//! What is on record of a step, and what a step's try can come to.
//!
//! Pure values, shared by the plan, the store, the step kinds and the loops.

use std::time::Duration;

use serde_json::Value;

use crate::time::Timestamp;

/// Where a step stands. Spelled the same in SQL and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepStatus {
    /// Was in flight when its process died; runs again.
    Pending,
    /// A try is in flight.
    Running,
    /// Waits for a time: a delay, or the next try.
    Waiting,
    /// Done; never executed again.
    Completed,
    /// Given up.
    Failed,
    /// Not taken: its `if` was false, or its branch was not chosen.
    Skipped,
    /// The run was cancelled while the step was open.
    Cancelled,
}

impl StepStatus {
    /// Every state, in the order of the contract.
    pub const ALL: [StepStatus; 7] = [
        StepStatus::Pending,
        StepStatus::Running,
        StepStatus::Waiting,
        StepStatus::Completed,
        StepStatus::Failed,
        StepStatus::Skipped,
        StepStatus::Cancelled,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Running => "running",
            StepStatus::Waiting => "waiting",
            StepStatus::Completed => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Skipped => "skipped",
            StepStatus::Cancelled => "cancelled",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<StepStatus> {
        StepStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Whether nothing more will happen to the step.
    pub fn is_final(self) -> bool {
        match self {
            StepStatus::Pending | StepStatus::Running | StepStatus::Waiting => false,
            StepStatus::Completed
            | StepStatus::Failed
            | StepStatus::Skipped
            | StepStatus::Cancelled => true,
        }
    }
}

/// What is on record of one step of a run: what the plan needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// Where in the definition: `fetch`, `gate.then.a`.
    pub path: String,
    /// Where it stands.
    pub status: StepStatus,
    /// Its output; null unless completed.
    pub output: Value,
    /// What stands beside the output (`status` and `headers` of an http step).
    pub meta: Option<Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// How many tries have failed on record; an interrupted try does not count.
    pub failures: u32,
    /// When it goes on, if it waits.
    pub due_at: Option<Timestamp>,
}

/// A step that came to its end without leaving the process: `set`, `condition`, a skipped step, an elapsed delay,
/// a step whose templates failed.
#[derive(Debug, Clone, PartialEq)]
pub struct StepResult {
    /// Where in the definition.
    pub path: String,
    /// The action key.
    pub kind: String,
    /// Completed, failed or skipped.
    pub status: StepStatus,
    /// Its rendered parameters, secrets masked; null if they could not be rendered.
    pub input: Value,
    /// Its output; null unless completed.
    pub output: Value,
    /// Why it failed.
    pub error: Option<StepError>,
}

/// A try that is to be made: everything the step kind needs, rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct StepStart {
    /// Where in the definition.
    pub path: String,
    /// The action key.
    pub kind: String,
    /// Rendered parameters. Secrets stand as marks, see `expr::SecretMark`: reveal them last, mask them before storing.
    pub input: Value,
    /// Which try this is, from 0: the number of failures on record.
    pub failures: u32,
    /// How long the try may take; `None`: the kind's own default.
    pub timeout: Option<Duration>,
    /// Whether a template decides which host the step talks to.
    pub host_from_template: bool,
}

/// One line that a step wrote down while it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// Why a step's try failed.
#[derive(Debug, Clone, PartialEq)]
pub struct StepError {
    /// What kind of failure.
    pub class: ErrorClass,
    /// One sentence.
    pub message: String,
}

/// The classes a failed try is sorted into; `retry.on` and the logs speak of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The name could not be resolved.
    Dns,
    /// No connection.
    Connect,
    /// The connection could not be made private.
    Tls,
    /// Out of time.
    Timeout,
    /// The connection was cut.
    Reset,
    /// The address may not be reached.
    ForbiddenAddress,
    /// The answer's status says no.
    HttpStatus,
    /// The mail server's reply says no.
    SmtpStatus,
    /// The process ended in the middle.
    Interrupted,
    /// A template, a limit, a secret or the answer's form is wrong: trying again gives the same.
    Step,
    /// The run was cancelled.
    Cancelled,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [ErrorClass; 11] = [
        ErrorClass::Dns,
        ErrorClass::Connect,
        ErrorClass::Tls,
        ErrorClass::Timeout,
        ErrorClass::Reset,
        ErrorClass::ForbiddenAddress,
        ErrorClass::HttpStatus,
        ErrorClass::SmtpStatus,
        ErrorClass::Interrupted,
        ErrorClass::Step,
        ErrorClass::Cancelled,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::Dns => "dns",
            ErrorClass::Connect => "connect",
            ErrorClass::Tls => "tls",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Reset => "reset",
            ErrorClass::ForbiddenAddress => "forbidden_address",
            ErrorClass::HttpStatus => "http_status",
            ErrorClass::SmtpStatus => "smtp_status",
            ErrorClass::Interrupted => "interrupted",
            ErrorClass::Step => "step",
            ErrorClass::Cancelled => "cancelled",
        }
    }

    /// The class of that word.
    pub fn parse(word: &str) -> Option<ErrorClass> {
        ErrorClass::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
    }
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done.
    Done {
        /// The step's output.
        output: Value,
        /// What stands beside it.
        meta: Option<Value>,
    },
    /// Failed. `status` is the HTTP status where there was one; `retry_after` what the other side asked for.
    Failed {
        /// Why.
        error: StepError,
        /// The HTTP status.
        status: Option<u16>,
        /// How long the other side asks to wait.
        retry_after: Option<Duration>,
        /// What stands beside the (null) output: an http step's status and headers.
        meta: Option<Value>,
    },
}
