//! What happened lately, as it is sent.

use schemars::JsonSchema;
use serde::Serialize;

use crate::time::Timestamp;

/// What happened lately. From memory: it begins with the process.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stats {
    /// When the process began: what was before is not told.
    pub since: Timestamp,
    /// The server's clock.
    pub now: Timestamp,
    /// What is open now.
    pub backlog: OpenWork,
    /// The last 60 minutes.
    pub hour: StatsTrack,
    /// The last 96 quarters of an hour.
    pub day: StatsTrack,
}

/// What is open.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OpenWork {
    /// Runs waiting for a worker.
    pub queued: u64,
    /// Runs in a worker's hands.
    pub running: u64,
    /// Runs waiting for a time or a person.
    pub parked: u64,
    /// Deliveries still owed.
    pub deliveries: u64,
}

/// Spans of one length, without a gap.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatsTrack {
    /// How long each is, in milliseconds.
    #[schemars(extend("enum" = [60_000, 900_000]))]
    pub span: u64,
    /// Oldest first; the last is still under way.
    #[schemars(length(max = 96))]
    pub spans: Vec<StatsSpan>,
}

/// What happened in a span of time.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatsSpan {
    /// When it began.
    pub at: Timestamp,
    /// Runs accepted.
    pub accepted: u64,
    /// Runs that ended well.
    pub completed: u64,
    /// Runs that ended badly.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Deliveries accepted by their receivers.
    pub delivered: u64,
    /// Deliveries given up, or taken back.
    pub undelivered: u64,
    /// From a run's acceptance to its first start; null: none was started.
    pub queue_time: Option<Quantiles>,
    /// From a run's first start to its end; null: none ended.
    pub run_duration: Option<Quantiles>,
    /// From an event to its delivery; null: none was delivered.
    pub delivery_lag: Option<Quantiles>,
    /// What was open at the end of the span, or is now.
    pub backlog: OpenWork,
}

/// How long something took, in milliseconds, within a quarter.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Quantiles {
    /// What half of them do not exceed.
    pub p50: u64,
    /// What 99 of 100 do not exceed.
    pub p99: u64,
}
