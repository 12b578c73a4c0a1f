//! What is said of starting runs.

use serde_json::{Value, json};

use crate::api::batch;
use crate::api::openapi::parameters::{
    ENDPOINT, IDEMPOTENCY_KEY, SOME_ID, SOME_REQUEST, VARIANT_ID, replayed,
};
use crate::api::openapi::{Answer, Body, Link, Operation, of};
use crate::api::start::{METADATA_KEY, METADATA_KEYS, METADATA_TEXT, USER};
use crate::api::webhook;
use crate::api::wire::{Accepted, Batch, Ended};
use crate::error::Code;

fn user() -> Value {
    json!({
        "type": ["string", "null"], "maxLength": USER,
        "description": "Your name for your user.",
    })
}

fn metadata() -> Value {
    json!({
        "type": ["object", "null"],
        "maxProperties": METADATA_KEYS,
        "propertyNames": {"minLength": 1, "maxLength": METADATA_KEY},
        "additionalProperties": {
            "type": ["string", "number", "boolean", "null"],
            "maxLength": METADATA_TEXT,
        },
        "description": "Your labels: flat. Runs can be listed by them.",
    })
}

fn tool_approval() -> Value {
    json!({
        "enum": ["policy", null],
        "description": "Changes nothing. `auto_approve` is not permitted.",
    })
}

/// A URL, or an empty text, which counts as absent.
fn callback_url() -> Value {
    json!({
        "type": ["string", "null"],
        "format": "http-url",
        "description": "Where the result goes: an absolute http or https URL.",
    })
}

fn invocation() -> Value {
    json!({
        "type": "object",
        "required": ["deployment"],
        "properties": {
            "deployment": {
                "type": "string", "minLength": 1,
                "description": "The deployment's name.",
            },
            "variant": {
                "type": ["string", "null"],
                "description": "The variant's name; may be left out when the deployment has \
                exactly one.",
            },
            "inputs": {
                "type": ["object", "null"],
                "description": "As the definition declares them.",
            },
            "async": {
                "type": ["object", "null"],
                "properties": {
                    "enabled": {
                        "type": ["boolean", "null"],
                        "description": "Without it, the answer is the run's end.",
                    },
                    "callback_url": callback_url(),
                },
            },
            "user": user(),
            "metadata": metadata(),
            "tool_approval": tool_approval(),
        },
    })
}

fn invocations() -> Vec<(&'static str, Value)> {
    let callback = json!({
        "deployment": "hello",
        "variant": "prod",
        "inputs": {"name": "Ada"},
        "async": {"enabled": true, "callback_url": "https://receiver.example/done"},
        "user": "u-17",
        "metadata": {"plan": "pro"},
    });
    vec![
        (
            "direct",
            json!({"deployment": "hello", "inputs": {"name": "Ada"}}),
        ),
        ("callback", callback),
    ]
}

fn batch() -> Value {
    json!({
        "type": "object",
        "required": ["runs"],
        "properties": {"runs": {
            "type": "array", "maxItems": batch::RUNS, "items": true,
            "description": "Each as the body of an invoke, with `async.enabled`.",
        }},
    })
}

fn batches() -> Vec<(&'static str, Value)> {
    let to = json!({"enabled": true, "callback_url": "https://receiver.example/done"});
    let run = |name: &str| json!({"deployment": "hello", "inputs": {"name": name}, "async": to});
    vec![("two", json!({"runs": [run("Ada"), run("Grace")]}))]
}

fn batch_answers() -> Value {
    let mut value = accepted();
    value["http_status"] = json!(202);
    let missing = "Missing required input: name";
    json!({"data": [value, {
        "http_status": 400, "error": missing, "message": missing,
        "error_code": "validation_error", "field": "/inputs/name",
    }]})
}

fn trigger() -> Value {
    let callback = json!({
        "type": ["object", "null"],
        "properties": {"callback_url": callback_url()},
    });
    json!({
        "anyOf": [
            {
                "title": "wrapped",
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "inputs": {"type": "object", "description": "As the definition declares them."},
                    "async": callback,
                    "user": user(),
                    "metadata": metadata(),
                    "tool_approval": tool_approval(),
                },
            },
            {
                "title": "bare",
                "description": "Wholly the inputs, apart from `async`.",
                "type": "object",
                "not": {"required": ["inputs"]},
                "properties": {"async": callback},
            },
        ],
    })
}

fn triggers() -> Vec<(&'static str, Value)> {
    let to = json!({"callback_url": "https://receiver.example/done"});
    vec![
        (
            "wrapped",
            json!({"inputs": {"name": "Ada"}, "async": to, "metadata": {"plan": "pro"}}),
        ),
        ("bare", json!({"name": "Ada", "async": to})),
    ]
}

fn accepted() -> Value {
    let mut value = accepted_by_webhook();
    value["webhook_secret"] = json!("whsec_k2fWxuV9qXn5pJ3tR8sYbC1dEgHiLmNoPqRsTuVwXyZ=");
    value
}

fn accepted_by_webhook() -> Value {
    json!({
        "request_id": SOME_REQUEST, "run_id": SOME_ID, "run_status": "running",
        "status": "running",
    })
}

fn ended() -> Value {
    json!({
        "request_id": SOME_REQUEST, "run_id": SOME_ID, "run_status": "completed",
        "status": "completed",
        "output": "Hello, Ada!",
    })
}

/// What can be asked of a run that was started.
const NEXT: &[Link] = &[
    Link::new("show", "getRun", &[("id", "$response.body#/run_id")]),
    Link::new("steps", "listSteps", &[("id", "$response.body#/run_id")]),
    Link::new(
        "request",
        "getRequest",
        &[("request_id", "$response.body#/request_id")],
    ),
    Link::new("cancel", "cancelRun", &[("id", "$response.body#/run_id")]),
    Link::new(
        "deliveries",
        "listDeliveries",
        &[("run", "$response.body#/run_id")],
    ),
];

/// Starting runs.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("POST", "/v1/workflow/invoke", "invoke", "invoke")
        .about(
            "Without `async.enabled`, the answer is 200 when the run has ended, however it \
            ended; after `direct_timeout` it is 504, and the run goes on. With it, the answer is \
            202 at once, and the result goes to `callback_url`, signed.",
        )
        .headers(&[IDEMPOTENCY_KEY])
        .body(Body::json("What to run.", invocation, invocations))
        .answers(&[
            Answer::new(200, "The run has ended.", of::<Ended<'static>>, ended)
                .headers(replayed)
                .links(NEXT),
            Answer::new(
                202,
                "The run is on disk.",
                of::<Accepted<'static>>,
                accepted,
            )
            .headers(replayed)
            .links(NEXT),
        ])
        .refuses(&[
            Code::ValidationError,
            Code::CallbackUrlForbidden,
            Code::CallbackDeliveryRequired,
            Code::MalformedBody,
            Code::NotFound,
            Code::ConcurrencyLimitReached,
            Code::TooManyRequests,
            Code::IdempotencyKeyReused,
            Code::ToolApprovalOverrideNotPermitted,
            Code::InvalidToolApproval,
            Code::DirectTimeout,
        ]),
    Operation::at("POST", batch::PATTERN, "invokeBatch", "invoke")
        .about(
            "All that are not refused are on disk together. The answer has one item for each, in \
            order, with the `http_status` that it would have had alone. Results go to URLs only. \
            With an `Idempotency-Key`, the item at place N has the key `KEY/N`.",
        )
        .headers(&[IDEMPOTENCY_KEY])
        .body(Body::json("What to run.", batch, batches))
        .answers(&[Answer::new(
            200,
            "An answer for each.",
            of::<Batch<'static>>,
            batch_answers,
        )
        .headers(replayed)])
        .refuses(&[Code::ValidationError, Code::MalformedBody]),
    Operation::at("POST", webhook::PATTERN, "trigger", "invoke")
        .about(
            "An object with an object `inputs` is the wrapped form; one without `inputs` is \
            wholly the inputs, apart from `async`. The result always goes to a URL: the one in \
            the body, or the deployment's `callback_url`.",
        )
        .path(&[ENDPOINT, VARIANT_ID])
        .headers(&[IDEMPOTENCY_KEY])
        .body(Body::json("The inputs, in either form.", trigger, triggers).optional())
        .answers(&[Answer::new(
            202,
            "The run is on disk.",
            of::<Accepted<'static>>,
            accepted_by_webhook,
        )
        .headers(replayed)
        .links(NEXT)])
        .refuses(&[
            Code::ValidationError,
            Code::CallbackUrlForbidden,
            Code::MalformedBody,
            Code::NotFound,
            Code::TooManyRequests,
            Code::IdempotencyKeyReused,
            Code::ToolApprovalOverrideNotPermitted,
            Code::InvalidToolApproval,
        ]),
];
