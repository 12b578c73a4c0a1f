//! `GET /v1/system`: the health of the box, and every setting with where it came from.

use std::path::Path;

use serde_json::{Value, json};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::trouble::{Seen, ends, problems};
use crate::config::{Origin, SETTINGS};
use crate::error::Result;
use crate::metrics::process::Process;
use crate::metrics::{Looked, Watched};
use crate::time::millis;

/// How many origins are named whose deliveries fail.
const NAMED: usize = 5;

/// `GET /v1/system`. Times without a date are in milliseconds. Folders are for admins. Answers even where the file
/// cannot be read, and says so.
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let (store, now) = (request.store(), request.now());
    let metrics = store.metrics();
    let looked = store.look_around(now);
    let spans = metrics.spans(now);
    let watched = |what| metrics.watched(what).unwrap_or(0);
    let (failed_runs, undelivered) = ends(spans.hour.iter().map(|(_, tally)| tally));
    let config = &request.api.config;
    let (failing_origins, unreadable) = match store.failing_origins(NAMED) {
        Ok(failing) => (failing, None),
        Err(fault) => (Vec::new(), Some(fault.message)),
    };
    let seen = Seen {
        config,
        backlog: metrics.backlog(),
        looked,
        workers_busy: watched(Watched::Workers),
        senders_busy: watched(Watched::Senders),
        connections: (
            watched(Watched::Connections),
            metrics.connections_limit.get(),
        ),
        failing_commits: metrics.failing(),
        failing_origins,
        unreadable,
        failed_runs,
        undelivered,
        is_stopping: request.api.is_stopping(),
    };
    let problems = problems(&seen);
    let started = metrics.started_at;
    let mut body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": now,
        "started_at": started,
        "uptime": millis(now.since(started)),
        "status": if problems.is_empty() { "ok" } else { "degraded" },
        "problems": problems,
        "public_url": request.api.public_url(),
        "file": file(request, &looked),
        "process": process(),
        "retention": {
            "runs": config.retain_runs.map(millis),
            "attempts": config.retain_attempts.map(millis),
        },
    });
    if let Some(body) = body.as_object_mut() {
        body.extend(work(request, &seen));
        body.insert("settings".to_owned(), settings(request));
    }
    Ok(Answer::Now(Reply::json(200, &body)))
}

/// What is open, and what holds it.
fn work(request: &Request<'_>, seen: &Seen<'_>) -> serde_json::Map<String, Value> {
    let (metrics, config) = (request.store().metrics(), seen.config);
    let (connections, limit) = seen.connections;
    let looked = &seen.looked;
    let shown = json!({
        "deployments": request.store().directory().deployment_count(),
        "runs": {
            "queued": seen.backlog.queued,
            "running": seen.backlog.running,
            "parked": seen.backlog.parked,
            "max_queued": config.max_queued,
            "oldest_queued_age": looked.oldest_queued.map(millis),
        },
        "deliveries": {
            "pending": metrics.pending.get(),
            "delivering": metrics.delivering.get(),
            "oldest_due_age": looked.oldest_due.map(millis),
        },
        "workers": {"total": config.workers, "busy": seen.workers_busy},
        "senders": {
            "total": config.senders,
            "busy": seen.senders_busy,
            "per_origin": config.senders_per_origin,
        },
        "direct": {
            "waiting": request.api.waiting(),
            "max_direct": config.max_direct,
            "direct_timeout": millis(config.direct_timeout),
        },
        "connections": {
            "open": connections,
            "limit": limit,
            "per_peer": config.max_connections_per_peer,
            "refused": metrics.connections_refused.get(),
        },
        "body_limit": config.body_limit,
    });
    match shown {
        Value::Object(shown) => shown,
        _ => serde_json::Map::new(),
    }
}

fn file(request: &Request<'_>, looked: &Looked) -> Value {
    json!({
        "path": path(request, request.store().path()),
        "bytes": looked.file_bytes,
        "free_bytes": looked.free_bytes,
        "wal_bytes": looked.wal_bytes,
        "disk_free_bytes": looked.disk_free,
        "secrets_sealed": request.api.config.master_key.is_some(),
    })
}

fn process() -> Value {
    let process = Process::look();
    json!({
        "resident_bytes": process.resident_bytes,
        "cpu_seconds": process.cpu_seconds,
        "open_fds": process.open_fds,
        "max_fds": process.max_fds,
        "threads": process.threads,
    })
}

/// Whole for admins; for others its last part.
fn path(request: &Request<'_>, path: &Path) -> String {
    let shown = match request.is_admin() {
        true => Some(path.as_os_str()),
        false => path.file_name(),
    };
    shown
        .map(|shown| shown.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Every setting: as it was written, and where. What a program set by itself is not shown.
fn settings(request: &Request<'_>) -> Value {
    let found = &request.api.settings;
    let rows = SETTINGS.iter().map(|setting| {
        let Some(one) = found.iter().find(|one| one.name == setting.name) else {
            return json!({"name": setting.name, "value": null, "from": "program"});
        };
        let from = match &one.origin {
            Origin::File(file) => format!("file {}", path(request, file)),
            other => other.to_string(),
        };
        let value = match setting.name {
            "data" => path(request, Path::new(&one.shown)),
            _ => one.shown.clone(),
        };
        json!({"name": setting.name, "value": value, "from": from})
    });
    Value::Array(rows.collect())
}
