//! What is said of the figures: metrics, stats, the health of the server.

use serde_json::{Value, json};

use crate::api::openapi::parameters::SOME_TIME;
use crate::api::openapi::{Answer, Operation, of, plain_text};
use crate::api::wire::{Stats, System};
use crate::error::Code;
use crate::metrics::table::ROWS;
use crate::metrics::text::{Format, end, family};

/// The first lines of a scrape.
fn scrape(format: Format) -> Value {
    let mut text = String::new();
    if let Some(row) = ROWS
        .iter()
        .find(|row| row.heading.name == "skep_runs_ended")
    {
        family(&mut text, format, row.heading, |samples| {
            samples.value(&["completed"], 1_729.0);
            samples.value(&["failed"], 17.0);
        });
    }
    end(&mut text, format);
    text.into()
}

fn backlog() -> Value {
    json!({"queued": 2, "running": 1, "parked": 4, "deliveries": 1})
}

fn track(span: u64, at: &str) -> Value {
    json!({
        "span": span,
        "spans": [{
            "at": at, "accepted": 12, "completed": 9, "failed": 1, "cancelled": 0,
            "delivered": 9, "undelivered": 0,
            "queue_time": {"p50": 2, "p99": 11}, "run_duration": {"p50": 140, "p99": 910},
            "delivery_lag": null, "backlog": backlog(),
        }],
    })
}

fn stats() -> Value {
    json!({
        "since": "2026-11-21T22:48:31.012Z", "now": SOME_TIME, "backlog": backlog(),
        "hour": track(60_000, "2026-11-21T22:50:00.000Z"),
        "day": track(900_000, "2026-11-21T22:45:00.000Z"),
    })
}

fn system() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "now": SOME_TIME,
        "started_at": "2026-11-21T22:48:31.012Z", "uptime": 93_074,
        "status": "degraded", "problems": ["1 delivery ended undelivered in the last hour."],
        "public_url": "https://skep.example",
        "file": {
            "path": "/var/lib/skep/skep.db", "bytes": 5_242_880, "free_bytes": 0,
            "wal_bytes": 4_152_992, "disk_free_bytes": 60_548_800_512_u64, "secrets_sealed": true,
        },
        "process": {
            "resident_bytes": 35_127_296, "cpu_seconds": 1.27, "open_fds": 28, "max_fds": 20_000,
            "threads": 187,
        },
        "retention": {"runs": 2_592_000_000_u64, "attempts": null},
        "deployments": 3,
        "runs": {
            "queued": 2, "running": 1, "parked": 4, "max_queued": 100_000, "oldest_queued_age": 31,
        },
        "deliveries": {"pending": 1, "delivering": 0, "oldest_due_age": 0},
        "workers": {"total": 32, "busy": 1},
        "senders": {"total": 64, "busy": 0, "per_origin": 4},
        "direct": {"waiting": 1, "max_direct": 1_024, "direct_timeout": 110_000},
        "connections": {"open": 2, "limit": 8_192, "per_peer": 2_048, "refused": 0},
        "body_limit": 1_048_576,
        "settings": [
            {"name": "workers", "value": "32", "from": "default"},
            {"name": "master_key", "value": "set", "from": "variable SKEP_MASTER_KEY"},
        ],
    })
}

fn vary() -> Value {
    json!({
        "Vary": {
            "description": "Always `Accept`: it decides between the two formats.",
            "schema": {"enum": ["Accept"]},
        },
        "Cache-Control": {
            "description": "Always `no-store`.",
            "schema": {"enum": ["no-store"]},
        },
    })
}

/// Figures, from those for machines to those for people.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/metrics", "getMetrics", "figures")
        .about(
            "Prometheus' text format 0.0.4; OpenMetrics 1.0.0 where `Accept` prefers that. The \
            series are the same in both.",
        )
        .closed_by("metrics_key")
        .answers(&[
            Answer::new(200, "The figures.", plain_text, || scrape(Format::Text))
                .media("text/plain")
                .or("application/openmetrics-text", || {
                    scrape(Format::OpenMetrics)
                })
                .headers(vary),
        ])
        .refuses(&[Code::InvalidAccess, Code::InsufficientScope]),
    Operation::at("GET", "/v1/stats", "getStats", "figures")
        .about(
            "By the minute and by the quarter of an hour, in memory: it begins with the process.",
        )
        .answers(&[Answer::new(
            200,
            "What happened lately.",
            of::<Stats>,
            stats,
        )]),
    Operation::at("GET", "/v1/system", "getSystem", "figures")
        .about(
            "Answers even where the file cannot be read, and says so. Secrets are never shown; \
            folders are for keys of scope `admin`.",
        )
        .answers(&[Answer::new(200, "How the server is.", of::<System>, system)]),
];
