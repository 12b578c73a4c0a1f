//! What is sent, as types: each answer of the API is one of these, serialised. Their schemas, and the texts beside their
//! fields, are what `/openapi.json` publishes, so that neither can say what the other does not.
//!
//! Owns the names of members and their order. Must not decide anything, nor read a row.

mod approvals;
mod deliveries;
mod deployments;
mod events;
mod jobs;
mod keys;
mod members;
mod overview;
mod runs;
mod session;
mod stats;
mod system;

use schemars::JsonSchema;
use serde::Serialize;

pub use approvals::{
    Approval, ApprovalAnswer, ApprovalLink, ApprovalRecipient, PersonAsked, Receipt, WholeApproval,
};
pub use deliveries::{Attempt, Delivery, Timings, WholeDelivery};
pub use deployments::{
    DeclaredInput, Deleted, Deployed, Deployment, DryRun, RolledBack, Variant, Version,
    WebhookSecret, WholeDeployment, WholeVersion,
};
pub use events::{ApprovalEvent, DeliveryEvent, SkippedEvents, StepEvent};
pub use jobs::{Batch, BatchAccepted, BatchAnswer, BatchRefused, Job, JobCount};
pub use keys::{ApiKey, AuditEntry, DeletedSecret, NewApiKey, Secret};
pub use members::{Delegate, DeletedMember, Member};
pub use overview::{
    Counted, Histogram, HistogramBar, MetadataEntry, MetadataKey, MetadataValue, RunCounts,
    StatusCounts,
};
pub use runs::{
    Accepted, Ended, OwedAttempt, OwedDelivery, RequestData, RequestMetadata, Run, ShownRequest,
    ShownRun, Step, StepLog, StepTry, WaitingOn, WholeRun,
};
pub use session::Session;
pub use stats::{OpenWork, Quantiles, Stats, StatsSpan, StatsTrack};
pub use system::{
    Connections, DatabaseFile, DirectCallers, OpenDeliveries, OpenRuns, ProcessFigures, Retention,
    Senders, ShownSetting, System, Workers,
};

/// A request id: `req_` and the 32 hex digits of the run's id.
pub const REQUEST_ID: &str = "^req_[0-9a-f]{32}$";

/// A delivery's id.
pub const DELIVERY_ID: &str = "^dlv_[0-9a-f]{32}$";

/// An approval's id.
pub const APPROVAL_ID: &str = "^apr_[0-9a-f]{32}$";

/// A member's id.
pub const MEMBER_ID: &str = "^mem_[0-9a-f]{32}$";

/// A job's id.
pub const JOB_ID: &str = "^job_[0-9a-f]{32}$";

/// An API key's id.
pub const KEY_ID: &str = "^key_[0-9a-f]{32}$";

/// A deployment's webhook and signing secret.
pub const SECRET: &str = "^whsec_";

/// How the server is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    /// `ok` or `ready`.
    pub status: &'static str,
}

/// Every error code.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorCodes {
    /// In the order of the documentation.
    pub codes: Vec<ErrorCode>,
}

/// An error code.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorCode {
    /// As `error_code` spells it.
    pub code: &'static str,
    /// The HTTP status that it usually comes with.
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// The usual text; an answer may be more exact.
    pub message: &'static str,
}
