//! What is said of counts of runs, and of what they can be filtered by.

use serde_json::{Value, json};

use crate::api::openapi::parameters::{FORMAT, FROM, LIMIT, TO, text};
use crate::api::openapi::runs::{DEPLOYMENT, FILTER};
use crate::api::openapi::{Answer, Operation, Parameter, of};
use crate::api::overview::{BARS, KINDS, USUAL_BARS};
use crate::api::query::Listed;
use crate::api::wire::{Histogram, MetadataEntry, RunCounts};
use crate::error::Code;

const MOST: Parameter = Parameter::new(
    "bars",
    "How many bars at most. They are whole minutes wide.",
    || json!({"type": "integer", "minimum": 1, "maximum": BARS, "default": USUAL_BARS}),
    || json!(USUAL_BARS),
);
const KIND: Parameter = Parameter::new(
    "kind",
    "What is listed: metadata, or users.",
    || json!({"enum": KINDS, "default": KINDS[0]}),
    || json!(KINDS[0]),
);
const KEY: Parameter = Parameter::new("key", "Of metadata: the values of that key.", text, || {
    json!("plan")
});
const PREFIX: Parameter =
    Parameter::new("prefix", "Those that begin with that.", text, || json!("p"));
const CURSOR: Parameter = Parameter::new(
    "cursor",
    "The `next_cursor` of the page before.",
    || json!({"type": "string", "pattern": "^v([0-9a-f]{2})*$"}),
    || json!("v70726f"),
);

fn counts() -> Value {
    let some = |count: i64| json!({"count": count, "count_is_lower_bound": false});
    json!({
        "count": 12_345, "count_is_lower_bound": false,
        "statuses": {
            "queued": some(0), "running": some(2), "awaiting_approval": some(3),
            "waiting": some(1), "completed": some(12_300), "failed": some(38),
            "cancelled": some(1),
        },
    })
}

fn histogram() -> Value {
    json!({
        "from": "2026-11-21T22:50:00.000Z", "to": "2026-11-21T22:51:00.000Z", "span_ms": 60_000,
        "bars": [{
            "at": "2026-11-21T22:50:00.000Z", "accepted": 12, "completed": 9, "failed": 1,
            "cancelled": 0, "open": 2,
        }],
    })
}

/// Counts, and what filters can say.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/workflow_runs/counts", "countRuns", "runs")
        .about(
            "By the filters of the list. Counts stop at 10,000 each, or earlier where counting on \
            would take long, and say so; with no filter, or only `status`, `deployment`, `from` \
            and `to`, those of ended runs are exact.",
        )
        .query(FILTER)
        .answers(&[Answer::new(
            200,
            "How many there are.",
            of::<RunCounts>,
            counts,
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at(
        "GET",
        "/v1/workflow_runs/histogram",
        "getRunHistogram",
        "runs",
    )
    .about(
        "Runs that were removed since are not in it. Without `from` it begins with the first run, \
        or an hour before `to`; without `to` it ends now.",
    )
    .query(&[DEPLOYMENT, FROM, TO, MOST])
    .answers(&[Answer::new(200, "Every bar.", of::<Histogram>, histogram)])
    .refuses(&[Code::ValidationError]),
    Operation::at("GET", "/v1/metadata_keys", "listMetadataKeys", "runs")
        .about(
            "In alphabetical order: the keys of `metadata`; with `key`, its values as texts; with \
            `kind=user`, users. What no run has any more may be listed for a while.",
        )
        .query(&[KIND, KEY, PREFIX, LIMIT, CURSOR, FORMAT])
        .answers(&[Answer::page(
            "A page of keys, of values, or of users.",
            of::<Listed<MetadataEntry>>,
            || json!({"data": [{"key": "plan"}], "next_cursor": null}),
        )])
        .refuses(&[Code::ValidationError]),
];
