//! `GET /v1/system`: the health of the box, and every setting with where it came from.

use std::path::Path;

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::trouble::{Seen, ends, problems};
use crate::api::wire::{
    Connections, DatabaseFile, DirectCallers, OpenDeliveries, OpenRuns, ProcessFigures, Retention,
    Senders, ShownSetting, System, Workers,
};
use crate::config::{Origin, SETTINGS};
use crate::error::Result;
use crate::metrics::process::Process;
use crate::metrics::{Looked, Watched};
use crate::time::millis;

/// How many origins are named whose deliveries fail.
const NAMED: usize = 5;

/// `GET /v1/system`. Folders are for admins. Answers even where the file cannot be read, and says so.
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
    Ok(Answer::Now(Reply::json(200, &shown(request, &seen))))
}

fn shown(request: &Request<'_>, seen: &Seen<'_>) -> System {
    let (metrics, config) = (request.store().metrics(), seen.config);
    let (started, now) = (metrics.started_at, request.now());
    let problems = problems(seen);
    System {
        version: env!("CARGO_PKG_VERSION"),
        now,
        started_at: started,
        uptime: millis(now.since(started)),
        status: match problems.is_empty() {
            true => "ok",
            false => "degraded",
        },
        problems,
        public_url: request.api.public_url().to_owned(),
        file: file(request, &seen.looked),
        process: process(),
        retention: Retention {
            runs: config.retain_runs.map(millis),
            attempts: config.retain_attempts.map(millis),
        },
        deployments: request.store().directory().deployment_count() as u64,
        runs: OpenRuns {
            queued: seen.backlog.queued,
            running: seen.backlog.running,
            parked: seen.backlog.parked,
            max_queued: config.max_queued,
            oldest_queued_age: seen.looked.oldest_queued.map(millis),
        },
        deliveries: OpenDeliveries {
            pending: metrics.pending.get(),
            delivering: metrics.delivering.get(),
            oldest_due_age: seen.looked.oldest_due.map(millis),
        },
        workers: Workers {
            total: config.workers as u64,
            busy: seen.workers_busy,
        },
        senders: Senders {
            total: config.senders as u64,
            busy: seen.senders_busy,
            per_origin: config.senders_per_origin as u64,
        },
        direct: DirectCallers {
            waiting: request.api.waiting(),
            max_direct: config.max_direct as u64,
            direct_timeout: millis(config.direct_timeout),
        },
        connections: connections(request, seen),
        body_limit: config.body_limit as u64,
        settings: settings(request),
    }
}

fn connections(request: &Request<'_>, seen: &Seen<'_>) -> Connections {
    let (open, limit) = seen.connections;
    Connections {
        open,
        limit,
        per_peer: seen.config.max_connections_per_peer as u64,
        refused: request.store().metrics().connections_refused.get(),
    }
}

fn file(request: &Request<'_>, looked: &Looked) -> DatabaseFile {
    DatabaseFile {
        path: path(request, request.store().path()),
        bytes: looked.file_bytes,
        free_bytes: looked.free_bytes,
        wal_bytes: looked.wal_bytes,
        disk_free_bytes: looked.disk_free,
        secrets_sealed: request.api.config.master_key.is_some(),
    }
}

fn process() -> ProcessFigures {
    let process = Process::look();
    ProcessFigures {
        resident_bytes: process.resident_bytes,
        cpu_seconds: process.cpu_seconds,
        open_fds: process.open_fds,
        max_fds: process.max_fds,
        threads: process.threads,
    }
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
fn settings(request: &Request<'_>) -> Vec<ShownSetting> {
    let found = &request.api.settings;
    let rows = SETTINGS.iter().map(|setting| {
        let Some(one) = found.iter().find(|one| one.name == setting.name) else {
            return ShownSetting {
                name: setting.name,
                value: None,
                from: "program".to_owned(),
            };
        };
        let from = match &one.origin {
            Origin::File(file) => format!("file {}", path(request, file)),
            other => other.to_string(),
        };
        let value = match setting.name {
            "data" => path(request, Path::new(&one.shown)),
            _ => one.shown.clone(),
        };
        ShownSetting {
            name: setting.name,
            value: Some(value),
            from,
        }
    });
    rows.collect()
}
