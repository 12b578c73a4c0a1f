//! What is said of what is done to many at once.

use serde_json::{Map, Value, json};

use crate::api::jobs::most;
use crate::api::openapi::parameters::{JOB_ID, PAGE, SOME_TIME, page_of, run_id, text};
use crate::api::openapi::runs::{begin, edition};
use crate::api::openapi::{Answer, Body, Link, Operation, of};
use crate::api::query::{FILTER_VALUES, Listed};
use crate::api::runs::REASON;
use crate::api::wire::{Job, JobCount};
use crate::api::{deliveries, runs};
use crate::error::Code;
use crate::flow::delivery::DeliveryStatus;
use crate::flow::run::RunStatus;

/// The values of a filter.
fn one_or_more(name: &str, statuses: &[&str]) -> Value {
    let one = match name {
        "status" => json!({"enum": statuses}),
        "source" => json!({"enum": runs::SOURCES}),
        "delivery" => json!({"enum": runs::DELIVERIES}),
        "class" => json!({"enum": deliveries::CLASSES}),
        "channel" => json!({"enum": deliveries::CHANNELS}),
        "api_key_id" => json!({"type": "string", "pattern": "^key_[0-9a-f]{32}$"}),
        "from" | "to" => json!({"type": "string", "format": "date-time"}),
        "q" | "run" => run_id(),
        _ => text(),
    };
    let several = json!({"type": "array", "items": one, "minItems": 1, "maxItems": most(name)});
    json!({"anyOf": [one, several]})
}

/// A filter: the names of a list's, each with a value or, where any of several may match, those.
fn filter(names: &[&str], statuses: &[&str]) -> Value {
    let labels = json!({
        "type": "object", "maxProperties": FILTER_VALUES,
        "propertyNames": {"minLength": 1, "not": {"pattern": "\\]\\["}},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"], "minLength": 1},
        "description": "With these labels; null: whatever the value.",
    });
    let member = |name: &&str| {
        let schema = match *name {
            "metadata" => labels.clone(),
            name => one_or_more(name, statuses),
        };
        ((*name).to_owned(), schema)
    };
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": names.iter().map(member).collect::<Map<_, _>>(),
        "description": "The list's filters. Empty: all.",
    })
}

fn asked(names: &[&str], statuses: &[&str], more: Value) -> Value {
    let mut properties = Map::new();
    properties.insert("filter".to_owned(), filter(names, statuses));
    if let Value::Object(more) = more {
        properties.extend(more);
    }
    let dry_run = json!({
        "type": ["boolean", "null"],
        "description": "Only count them.",
    });
    properties.insert("dry_run".to_owned(), dry_run);
    json!({"type": "object", "required": ["filter"], "properties": properties})
}

fn cancel() -> Value {
    let reason = json!({
        "type": ["string", "null"], "maxLength": REASON,
        "description": "What the runs' `error` and their final events say.",
    });
    let statuses = RunStatus::ALL.map(RunStatus::as_str);
    asked(&runs::FILTERS, &statuses, json!({"reason": reason}))
}

fn retry() -> Value {
    let statuses = RunStatus::ALL.map(RunStatus::as_str);
    let how = json!({"from": begin(), "version": edition()});
    asked(&runs::FILTERS, &statuses, how)
}

fn redeliver() -> Value {
    let statuses = DeliveryStatus::ALL.map(DeliveryStatus::as_str);
    asked(&deliveries::FILTERS, &statuses, json!({}))
}

fn job() -> Value {
    json!({
        "id": "job_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "action": "cancel_runs",
        "status": "running", "count": 4_000, "done": 1_200, "skipped": 0, "failed": 0,
        "created_at": SOME_TIME, "ended_at": null, "by": "key ops",
    })
}

fn cancelled() -> Value {
    let mut job = job();
    job["status"] = json!("cancelled");
    job["ended_at"] = json!(SOME_TIME);
    job
}

const NEXT: &[Link] = &[Link::new(
    "progress",
    "getJob",
    &[("id", "$response.body#/id")],
)];

const ANSWERS: &[Answer] = &[
    Answer::new(
        200,
        "How many match.",
        of::<JobCount>,
        || json!({"count": 4_000}),
    ),
    Answer::new(202, "The job is on disk.", of::<Job<'static>>, job).links(NEXT),
];

const REFUSES: &[Code] = &[
    Code::ValidationError,
    Code::MalformedBody,
    Code::TooManyRequests,
];

const BY_AND_BY: &str = "With `dry_run`, the answer is 200 with an exact count. Else it is 202 \
    with a job, which goes on by itself, a hundred at most a commit, whatever comes in between; it \
    looks only at what was there when it was asked for, and does nothing twice.";

/// What is done to many at once.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("POST", "/v1/workflow_runs/cancel", "cancelRuns", "jobs")
        .about(BY_AND_BY)
        .body(Body::json("Which runs, and why.", cancel, || {
            let filter = json!({"deployment": "hello", "status": ["queued", "waiting"]});
            vec![
                ("count", json!({"filter": filter, "dry_run": true})),
                ("cancel", json!({"filter": filter, "reason": "not needed"})),
            ]
        }))
        .answers(ANSWERS)
        .refuses(REFUSES),
    Operation::at("POST", "/v1/workflow_runs/retry", "retryRuns", "jobs")
        .about(BY_AND_BY)
        .body(Body::json("Which runs, and from where.", retry, || {
            let filter = json!({"status": "failed", "metadata": {"plan": "pro"}});
            vec![("retry", json!({"filter": filter, "version": "latest"}))]
        }))
        .answers(ANSWERS)
        .refuses(REFUSES),
    Operation::at("POST", "/v1/deliveries/redeliver", "redeliverAll", "jobs")
        .about(BY_AND_BY)
        .body(Body::json("Which deliveries.", redeliver, || {
            let filter = json!({"status": "dead", "host": "receiver.example"});
            vec![("redeliver", json!({"filter": filter}))]
        }))
        .answers(ANSWERS)
        .refuses(REFUSES),
    Operation::at("GET", "/v1/jobs", "listJobs", "jobs")
        .query(PAGE)
        .answers(&[Answer::page(
            "A page of jobs.",
            of::<Listed<Job<'static>>>,
            || page_of(job()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("GET", "/v1/jobs/{id}", "getJob", "jobs")
        .about("Jobs are kept for 30 days after their end.")
        .path(&[JOB_ID])
        .answers(&[Answer::new(200, "The job.", of::<Job<'static>>, job)])
        .refuses(&[Code::NotFound]),
    Operation::at("POST", "/v1/jobs/{id}/cancel", "cancelJob", "jobs")
        .about("One that has ended stays as it is.")
        .path(&[JOB_ID])
        .answers(&[Answer::new(200, "The job.", of::<Job<'static>>, cancelled)])
        .refuses(&[Code::NotFound]),
];
