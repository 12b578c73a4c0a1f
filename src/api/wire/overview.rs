//! Counts of runs, and what they can be filtered by, as they are sent.

use schemars::JsonSchema;
use serde::Serialize;

use crate::time::Timestamp;

/// How many runs a filter matches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunCounts {
    /// How many match all of it.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// Whether there may be more.
    pub count_is_lower_bound: bool,
    /// How many match all of it but `status`, by state.
    pub statuses: StatusCounts,
}

/// How many runs are in each state.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the fields are the states")]
pub struct StatusCounts {
    pub queued: Counted,
    pub running: Counted,
    pub awaiting_approval: Counted,
    pub waiting: Counted,
    pub completed: Counted,
    pub failed: Counted,
    pub cancelled: Counted,
}

/// How many.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Counted {
    /// So many were found.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// Whether there may be more: counting stops at 10,000, and earlier where it would take long.
    pub count_is_lower_bound: bool,
}

/// Runs by when they were accepted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Histogram {
    /// When the first bar begins: a whole minute.
    pub from: Timestamp,
    /// When the last bar ends.
    pub to: Timestamp,
    /// How wide a bar is, in milliseconds: whole minutes.
    #[schemars(range(min = 60_000))]
    pub span_ms: i64,
    /// Every bar, oldest first.
    pub bars: Vec<HistogramBar>,
}

/// The runs that were accepted within a bar's span.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HistogramBar {
    /// When it begins.
    pub at: Timestamp,
    /// How many were accepted.
    #[schemars(range(min = 0))]
    pub accepted: i64,
    /// Of these, completed by now.
    #[schemars(range(min = 0))]
    pub completed: i64,
    /// Of these, failed by now.
    #[schemars(range(min = 0))]
    pub failed: i64,
    /// Of these, cancelled by now.
    #[schemars(range(min = 0))]
    pub cancelled: i64,
    /// Of these, still open.
    #[schemars(range(min = 0))]
    pub open: i64,
}

/// Something that runs can be filtered by.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum MetadataEntry {
    /// A key of `metadata`.
    Key(MetadataKey),
    /// A value of that key, or a user.
    Value(MetadataValue),
}

/// A key of `metadata`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MetadataKey {
    /// The key.
    pub key: String,
}

/// A value of a key of `metadata`, as a text; or a user.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MetadataValue {
    /// The value.
    pub value: String,
}
