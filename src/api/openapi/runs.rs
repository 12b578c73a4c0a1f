//! What is said of runs and requests.

use serde_json::{Value, json};

use crate::api::openapi::parameters::{
    CURSOR, FORMAT, FROM, LIMIT, REQUEST_ID, RUN_ID, SOME_ID, SOME_REQUEST, SOME_TIME, TO, VALUES,
    page_of, run_id, text, words,
};
use crate::api::openapi::{Answer, Body, Link, Operation, Parameter, of};
use crate::api::query::Listed;
use crate::api::retry::STEP;
use crate::api::runs::{DELIVERIES, REASON, SOURCES};
use crate::api::wire::{Accepted, Run, ShownRequest, ShownRun, Step};
use crate::error::Code;
use crate::flow::run::RunStatus;

pub(super) const STATUS: Parameter = Parameter::new(
    "status",
    "In one of these states.",
    || words(&RunStatus::ALL.map(RunStatus::as_str)),
    || json!(["completed", "failed"]),
)
.style("form", false);
pub(super) const SOURCE: Parameter = Parameter::new(
    "source",
    "From one of these sources.",
    || words(&SOURCES),
    || json!(["api"]),
)
.style("form", false);
pub(super) const DELIVERY: Parameter = Parameter::new(
    "delivery",
    "With the result going back in one of these ways.",
    || words(&DELIVERIES),
    || json!(["callback"]),
)
.style("form", false);
pub(super) const DEPLOYMENT: Parameter = Parameter::new(
    "deployment",
    "Of the deployment of that name.",
    text,
    || json!("hello"),
);
pub(super) const VARIANT: Parameter =
    Parameter::new("variant", "Of the variant of that name.", text, || {
        json!("prod")
    });
pub(super) const KEYS: Parameter = Parameter::new(
    "api_key_id",
    "Started by one of these keys.",
    || {
        let id = json!({"type": "string", "pattern": "^key_[0-9a-f]{32}$"});
        json!({"type": "array", "items": id, "maxItems": 50})
    },
    || json!(["key_019aa8c1d1f67c3295e2f4f4b3a0c9d7"]),
)
.style("form", false);
pub(super) const USER: Parameter = Parameter::new("user", "For that user.", text, || json!("u-17"));
pub(super) const METADATA: Parameter = Parameter::new(
    "metadata",
    "With these labels: `metadata[key]=value`; or `metadata[key]`, whatever the value.",
    || {
        json!({
            "type": "object", "maxProperties": 50, "propertyNames": {"minLength": 1},
            "additionalProperties": {"type": "string"},
        })
    },
    || json!({"plan": "pro"}),
)
.style("deepObject", true);
pub(super) const Q: Parameter =
    Parameter::new("q", "That run alone: its id or request id.", run_id, || {
        json!(SOME_REQUEST)
    });

/// What runs are filtered by.
pub(super) const FILTER: &[Parameter] = &[
    STATUS, SOURCE, DELIVERY, DEPLOYMENT, VARIANT, KEYS, USER, METADATA, FROM, TO, Q,
];

const STEP_PATH: Parameter = Parameter::new(
    "path",
    "Where the step is in the definition, as the list of steps says.",
    text,
    || json!("greeting"),
);

fn run() -> Value {
    json!({
        "id": SOME_ID, "token": SOME_REQUEST, "run_status": "completed", "run_async": true,
        "started_at": SOME_TIME, "ended_at": SOME_TIME, "duration": 12,
        "start_inputs": {"name": "Ada"},
        "output_content": "Hello, Ada!", "error_message": null,
        "async_webhook_url": "https://receiver.example/done", "total_tokens": 0,
        "total_charge": "0",
        "request_id": SOME_REQUEST, "run_id": SOME_ID, "status": "completed", "source": "api",
        "delivery": "callback", "deployment": "hello", "variant": "prod", "version": 1,
        "api_key_id": null, "user": "u-17",
        "user_metadata": {"plan": "pro"}, "input_bytes": 14, "output": "Hello, Ada!",
        "output_bytes": 13, "error": null, "error_code": null,
        "error_step": null, "created_at": SOME_TIME, "waiting_on": null,
    })
}

fn step() -> Value {
    json!({
        "path": "greeting", "type": "set", "status": "completed",
        "attempts": [{"number": 1, "started_at": SOME_TIME, "ended_at": SOME_TIME,
        "error_class": null, "error": null, "logs": []}],
        "input": {"text": "Hello, {{ name }}!"}, "input_bytes": 29,
        "output": {"text": "Hello, Ada!"}, "output_bytes": 22, "meta": null,
        "error": null,
        "error_class": null, "due_at": null, "started_at": SOME_TIME, "ended_at": SOME_TIME,
        "reused": false,
    })
}

fn shown() -> Value {
    let mut value = run();
    value["retry_of"] = json!(null);
    value["retries"] = json!([]);
    value["story"] = json!("It completed after 12 ms. Its result was delivered.");
    value["steps_count"] = json!(1);
    value["steps"] = json!([step()]);
    value["deliveries"] = json!([{
        "id": "dlv_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "event_type": "workflow.completed",
        "channel": "callback", "status": "delivered",
        "url": "https://receiver.example/done", "next_attempt_at": null,
        "attempts": [{"number": 1, "started_at": SOME_TIME, "duration_ms": 42,
        "response_status": 200, "error_class": null}],
    }]);
    json!({"workflow_run": value})
}

/// Where a retry begins.
pub(super) fn begin() -> Value {
    json!({
        "type": ["string", "null"], "minLength": 1, "maxLength": STEP,
        "description": "`start`, `failed` (which it is without), or a step's path or id. Steps \
        before it that completed or were skipped are not executed again: what is on record of them \
        is taken over, as far as the definition is the same.",
    })
}

/// Which version a retry runs.
pub(super) fn edition() -> Value {
    json!({
        "enum": ["same", "latest", null],
        "description": "The version that the run had (which it is without), or the variant's \
        present one.",
    })
}

fn how() -> Value {
    json!({"type": "object", "properties": {"from": begin(), "version": edition()}})
}

fn repeated() -> Value {
    json!({
        "request_id": SOME_REQUEST, "run_id": SOME_ID, "run_status": "running",
        "status": "running",
    })
}

fn request() -> Value {
    json!({
        "id": SOME_ID, "request_id": SOME_REQUEST, "status": "completed",
        "request_type": "workflow",
        "requestable_type": "workflow_run", "requestable_id": SOME_ID, "message": null,
        "generated_at": SOME_TIME, "started_at": SOME_TIME, "ended_at": SOME_TIME,
        "metadata": {
            "source": "api", "delivery": "callback", "deployment": "hello",
            "variant": "prod", "version": 1,
        },
        "user_metadata": {"plan": "pro"}, "data": {"output": "Hello, Ada!"},
    })
}

fn reason() -> Value {
    json!({
        "type": "object",
        "properties": {"reason": {
            "type": ["string", "null"], "maxLength": REASON,
            "description": "What the run's `error` and its final event say.",
        }},
    })
}

const NEXT: &[Link] = &[
    Link::new(
        "steps",
        "listSteps",
        &[("id", "$response.body#/workflow_run/id")],
    ),
    Link::new(
        "cancel",
        "cancelRun",
        &[("id", "$response.body#/workflow_run/id")],
    ),
    Link::new(
        "deliveries",
        "listDeliveries",
        &[("run", "$response.body#/workflow_run/id")],
    ),
];

/// Runs and requests.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/workflow_runs", "listRuns", "runs")
        .about("Filters of one name are alternatives; different filters must all match.")
        .query(&[
            STATUS, SOURCE, DELIVERY, DEPLOYMENT, VARIANT, KEYS, USER, METADATA, FROM, TO, Q,
            LIMIT, CURSOR, FORMAT, VALUES,
        ])
        .answers(&[Answer::page(
            "A page of runs.",
            of::<Listed<Run<'static>>>,
            || page_of(run()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("GET", "/v1/workflow_runs/{id}", "getRun", "runs")
        .path(&[RUN_ID])
        .query(&[VALUES])
        .answers(&[Answer::new(200, "The run.", of::<ShownRun<'static>>, shown).links(NEXT)])
        .refuses(&[Code::ValidationError, Code::NotFound]),
    Operation::at("GET", "/v1/workflow_runs/{id}/steps", "listSteps", "runs")
        .path(&[RUN_ID])
        .query(&[LIMIT, CURSOR, FORMAT, VALUES])
        .answers(&[Answer::page(
            "A page of steps.",
            of::<Listed<Step<'static>>>,
            || page_of(step()),
        )])
        .refuses(&[Code::ValidationError, Code::NotFound]),
    Operation::at(
        "GET",
        "/v1/workflow_runs/{id}/steps/{path}",
        "getStep",
        "runs",
    )
    .path(&[RUN_ID, STEP_PATH])
    .answers(&[Answer::new(200, "The step.", of::<Step<'static>>, step)])
    .refuses(&[Code::NotFound]),
    Operation::at("POST", "/v1/workflow_runs/{id}/cancel", "cancelRun", "runs")
        .about(
            "The run is `cancelled` in that commit: a step in flight is told to stop and its \
            result is dropped, nothing after it starts. One that has ended stays as it is. \
            `invoke` keys cancel what they started.",
        )
        .path(&[RUN_ID])
        .body(
            Body::json("Why.", reason, || {
                vec![("why", json!({"reason": "the order was withdrawn"}))]
            })
            .optional(),
        )
        .answers(&[Answer::new(200, "The run.", of::<ShownRun<'static>>, || {
            let mut value = shown();
            let run = &mut value["workflow_run"];
            run["status"] = json!("cancelled");
            run["run_status"] = json!("cancelled");
            run["error"] = json!("the order was withdrawn");
            run["error_message"] = json!("the order was withdrawn");
            run["output"] = json!(null);
            run["output_content"] = json!(null);
            value
        })
        .links(NEXT)])
        .refuses(&[Code::ValidationError, Code::MalformedBody, Code::NotFound]),
    Operation::at("POST", "/v1/workflow_runs/{id}/retry", "retryRun", "runs")
        .about(
            "A new run with the inputs, labels and callback URL of one that has ended. With \
            `version: latest`, the inputs must fit that version. `invoke` keys repeat what they \
            started.",
        )
        .path(&[RUN_ID])
        .body(
            Body::json("From where.", how, || {
                vec![
                    ("failed", json!({})),
                    ("mended", json!({"from": "failed", "version": "latest"})),
                    ("anew", json!({"from": "start"})),
                ]
            })
            .optional(),
        )
        .answers(&[Answer::new(
            202,
            "The new run is on disk.",
            of::<Accepted<'static>>,
            repeated,
        )
        .links(&[Link::new(
            "show",
            "getRun",
            &[("id", "$response.body#/run_id")],
        )])])
        .refuses(&[
            Code::ValidationError,
            Code::CallbackUrlForbidden,
            Code::CallbackDeliveryRequired,
            Code::MalformedBody,
            Code::NotFound,
            Code::RunsOpen,
            Code::TooManyRequests,
        ]),
    Operation::at(
        "GET",
        "/v1/public/requests/{request_id}",
        "getRequest",
        "runs",
    )
    .path(&[REQUEST_ID])
    .answers(&[Answer::new(
        200,
        "The request.",
        of::<ShownRequest<'static>>,
        request,
    )])
    .refuses(&[Code::NotFound]),
];
