//! The health of the server, as it is sent.

use schemars::JsonSchema;
use serde::Serialize;

use crate::time::Timestamp;

/// The health of the server. Times without a date are in milliseconds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct System {
    /// Which Skep this is.
    pub version: &'static str,
    /// The server's clock.
    pub now: Timestamp,
    /// When the process began.
    pub started_at: Timestamp,
    /// For how long it has been running.
    #[schemars(range(min = 0))]
    pub uptime: i64,
    /// `degraded` where there are problems.
    #[schemars(extend("enum" = ["ok", "degraded"]))]
    pub status: &'static str,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// Where the server is reached.
    pub public_url: String,
    /// The database file.
    pub file: DatabaseFile,
    /// The process, as the system sees it.
    pub process: ProcessFigures,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// How many deployments there are.
    pub deployments: u64,
    /// Runs that have not ended.
    pub runs: OpenRuns,
    /// Deliveries that are owed.
    pub deliveries: OpenDeliveries,
    /// Worker slots.
    pub workers: Workers,
    /// Sender slots.
    pub senders: Senders,
    /// Callers that wait for the end of a run.
    pub direct: DirectCallers,
    /// Connections.
    pub connections: Connections,
    /// The largest request body, in bytes.
    pub body_limit: u64,
    /// Every setting.
    pub settings: Vec<ShownSetting>,
}

/// The database file. Sizes are null where they cannot be found out.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DatabaseFile {
    /// Where it lies; without its folder for keys that are not of scope `admin`.
    pub path: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// How much of it is free for reuse.
    pub free_bytes: Option<u64>,
    /// The size of the write-ahead log.
    pub wal_bytes: Option<u64>,
    /// What its file system has left.
    pub disk_free_bytes: Option<u64>,
    /// Whether secrets are encrypted with `master_key`.
    pub secrets_sealed: bool,
}

/// The process, as the system sees it. Null: it does not say.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProcessFigures {
    /// Memory in use.
    pub resident_bytes: Option<u64>,
    /// User and system time.
    #[schemars(range(min = 0))]
    pub cpu_seconds: Option<f64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Descriptors it may open.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// How long what has ended is kept; null: for ever.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Retention {
    /// Ended runs.
    #[schemars(range(min = 0))]
    pub runs: Option<i64>,
    /// Attempts of deliveries.
    #[schemars(range(min = 0))]
    pub attempts: Option<i64>,
}

/// Runs that have not ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OpenRuns {
    /// Waiting for a worker.
    pub queued: u64,
    /// In a worker's hands.
    pub running: u64,
    /// Waiting for a time or a person.
    pub parked: u64,
    /// How many may be queued; over it, an invoke is answered 429.
    pub max_queued: u64,
    /// How long ago the oldest was accepted that was never started; 0 if there is none, null if the file cannot be read.
    #[schemars(range(min = 0))]
    pub oldest_queued_age: Option<i64>,
}

/// Deliveries that are owed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OpenDeliveries {
    /// Waiting for their time, or a sender.
    pub pending: u64,
    /// Being sent.
    pub delivering: u64,
    /// For how long the most overdue has been due; 0 if none is, null if the file cannot be read.
    #[schemars(range(min = 0))]
    pub oldest_due_age: Option<i64>,
}

/// Worker slots.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Workers {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub busy: u64,
}

/// Sender slots.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Senders {
    /// How many there are.
    pub total: u64,
    /// How many are in use.
    pub busy: u64,
    /// How many may send to one origin at a time.
    pub per_origin: u64,
}

/// Callers that wait for the end of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DirectCallers {
    /// How many wait.
    pub waiting: u64,
    /// How many may.
    pub max_direct: u64,
    /// For how long one waits at most.
    #[schemars(range(min = 0))]
    pub direct_timeout: i64,
}

/// Connections.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Connections {
    /// How many are open.
    pub open: u64,
    /// How many may be: less than `max_connections` where the process may open fewer files.
    pub limit: u64,
    /// How many may be from one address.
    pub per_peer: u64,
    /// How many were refused since the process began.
    pub refused: u64,
}

/// A setting, and where it came from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShownSetting {
    /// Its name.
    pub name: &'static str,
    /// As it was written; `set` or `not set` for a secret; null where a program set it by itself.
    pub value: Option<String>,
    /// `flag --…`, `variable …`, `file …`, `default`, or `program`.
    #[schemars(extend("pattern" = "^(flag --.+|variable .+|file .+|default|program)$"))]
    pub from: String,
}
