//! What is said of deployments and the rotation of their secrets.

use serde_json::{Value, json};

use crate::api::deployments::{ATTEMPTS, CONCURRENCY, HOSTS};
use crate::api::openapi::definition::DEFINITION;
use crate::api::openapi::parameters::{DEPLOYMENT, PAGE, SOME_ID, SOME_TIME, VARIANT, page_of};
use crate::api::openapi::secrets::hosts;
use crate::api::openapi::{Answer, Body, Link, Operation, Parameter, of};
use crate::api::query::Listed;
use crate::api::wire::{Deleted, Deployed, Deployment, WebhookSecret, WholeDeployment};
use crate::error::Code;

/// Up to 30 days, in any unit.
const PAUSE: &str = "^([0-9]{1,9}ms|[0-9]{1,6}s|[0-9]{1,4}m|[0-6]?[0-9]{1,2}h|([12]?[0-9]|30)d)$";

/// From 100 ms to 30 s.
const DEADLINE: &str = "^(([1-9][0-9]{2,3}|[12][0-9]{4}|30000)ms|([1-9]|[12][0-9]|30)s)$";

const SECRET: &str = "whsec_k2fWxuV9qXn5pJ3tR8sYbC1dEgHiLmNoPqRsTuVwXyZ=";

const DRY_RUN: Parameter = Parameter::new(
    "dry_run",
    "Only checks the definition. A bare `?dry_run` is true.",
    || json!({"type": "boolean", "default": false}),
    || json!(false),
);

const SECRET_TOO: Parameter = Parameter::new(
    "secret",
    "`false` leaves the secret out, and the row in the audit.",
    || json!({"type": "boolean", "default": true}),
    || json!(false),
);

const CANCEL_RUNS: Parameter = Parameter::new(
    "cancel_runs",
    "Cancels its open runs, which otherwise keep it. A bare `?cancel_runs` is true.",
    || json!({"type": "boolean", "default": false}),
    || json!(true),
);

fn webhook_url() -> String {
    format!("https://skep.example/v1/workflow/webhooks/{SOME_ID}/variants/{SOME_ID}")
}

fn deployed() -> Value {
    json!({
        "deployment": "hello", "variant": "prod", "version": 1, "endpoint_id": SOME_ID,
        "variant_id": SOME_ID,
        "webhook_url": webhook_url(), "webhook_secret": SECRET,
    })
}

fn deployment() -> Value {
    json!({
        "deployment": "hello", "endpoint_id": SOME_ID, "callback_url": null,
        "callback_hosts": ["*.example"],
        "retry_schedule": ["0s", "5s", "1m"], "exchange_deadline": "15s", "concurrency_limit": null,
        "created_at": SOME_TIME,
    })
}

fn whole() -> Value {
    let mut value = deployment();
    value["variants"] = json!([{
        "variant": "prod", "variant_id": SOME_ID, "version": 1, "webhook_url": webhook_url(),
        "created_at": SOME_TIME,
    }]);
    value["secret_staged"] = json!(false);
    value["old_secret_until"] = json!(null);
    value
}

fn whole_with_secret() -> Value {
    let mut value = whole();
    value["webhook_secret"] = json!(SECRET);
    value
}

fn secret() -> Value {
    json!({"webhook_secret": SECRET})
}

fn patch() -> Value {
    let or_null = |mut schema: Value, about: &str| {
        let kind = schema["type"].take();
        schema["type"] = json!([kind, "null"]);
        schema["description"] = json!(about);
        schema
    };
    let url = json!({"type": "string", "format": "http-url"});
    let deadline = json!({"type": "string", "pattern": DEADLINE});
    let pause = json!({"type": "string", "pattern": PAUSE});
    let pauses = json!({"type": "array", "minItems": 1, "maxItems": ATTEMPTS, "items": pause});
    let runs = json!({"type": "integer", "minimum": 1, "maximum": CONCURRENCY});
    json!({
        "type": "object",
        "properties": {
            "callback_url": or_null(url, "Where results go if a webhook trigger names no URL."),
            "callback_hosts": or_null(hosts(HOSTS), "The only hosts that callbacks may go to."),
            "retry_schedule": or_null(pauses, "The wait before each attempt of a delivery."),
            "exchange_deadline": or_null(deadline, "How long an attempt may take."),
            "concurrency_limit": or_null(runs, "How many of its runs may be executing at once."),
        },
    })
}

fn patches() -> Vec<(&'static str, Value)> {
    let some = json!({
        "retry_schedule": ["0s", "5s", "1m"], "exchange_deadline": "10s", "concurrency_limit": 8,
    });
    vec![
        ("some", some),
        (
            "defaults",
            json!({"callback_url": null, "callback_hosts": null, "retry_schedule": null}),
        ),
    ]
}

fn definitions() -> Vec<(&'static str, Value)> {
    let hello = json!({
        "inputs": {"name": {"type": "text", "default": "world"}},
        "steps": [{"id": "greeting", "set": {"text": "Hello, {{ name }}!"}}],
        "output": "{{ greeting.output.text }}",
    });
    vec![("hello", hello)]
}

fn deleted() -> Value {
    json!({"deployment": "hello", "deleted": true, "cancelled_runs": 0})
}

fn deleted_variant() -> Value {
    let mut value = deleted();
    value["variant"] = json!("prod");
    value
}

/// What can be asked after a deploy.
const NEXT: &[Link] = &[
    Link::new(
        "show",
        "getDeployment",
        &[("deployment", "$response.body#/deployment")],
    ),
    Link::new(
        "versions",
        "listVersions",
        &[
            ("deployment", "$response.body#/deployment"),
            ("variant", "$response.body#/variant"),
        ],
    ),
    Link::new("invoke", "invoke", &[]).body(|| {
        json!({
            "deployment": "{$response.body#/deployment}",
            "variant": "{$response.body#/variant}",
            "async": {"enabled": true, "callback_url": "https://receiver.example/done"},
        })
    }),
    Link::new(
        "delete",
        "deleteDeployment",
        &[("deployment", "$response.body#/deployment")],
    ),
];

/// What can be asked after a secret was staged.
const STAGED: &[Link] = &[
    Link::new(
        "promote",
        "promoteSecret",
        &[("deployment", "$request.path.deployment")],
    ),
    Link::new(
        "revoke",
        "revokeSecret",
        &[("deployment", "$request.path.deployment")],
    ),
];

const NAME: &str = "/v1/deployments/{deployment}";
const PLACE: &str = "/v1/deployments/{deployment}/variants/{variant}";
const DELETES: &[Code] = &[Code::ValidationError, Code::NotFound, Code::RunsOpen];

/// Deployments.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/deployments", "listDeployments", "deployments")
        .query(PAGE)
        .answers(&[Answer::page(
            "A page of deployments.",
            of::<Listed<Deployment<'static>>>,
            || page_of(deployment()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("GET", NAME, "getDeployment", "deployments")
        .about("With its secret for an admin key, which leaves a row in the audit.")
        .path(&[DEPLOYMENT])
        .query(&[SECRET_TOO])
        .answers(&[Answer::new(
            200,
            "The deployment.",
            of::<WholeDeployment<'static>>,
            whole_with_secret,
        )])
        .refuses(&[Code::ValidationError, Code::NotFound]),
    Operation::at("PATCH", NAME, "changeDeployment", "deployments")
        .about("Members that are there are changed; null is back to the default.")
        .path(&[DEPLOYMENT])
        .body(Body::json("What is to change.", patch, patches).optional())
        .answers(&[Answer::new(
            200,
            "The deployment, changed.",
            of::<WholeDeployment<'static>>,
            whole,
        )])
        .refuses(&[
            Code::ValidationError,
            Code::MalformedBody,
            Code::CallbackUrlForbidden,
            Code::NotFound,
        ]),
    Operation::at("DELETE", NAME, "deleteDeployment", "deployments")
        .about("Its history stays; the name is free at once.")
        .path(&[DEPLOYMENT])
        .query(&[CANCEL_RUNS])
        .answers(&[Answer::new(
            200,
            "It is gone.",
            of::<Deleted<'static>>,
            deleted,
        )])
        .refuses(DELETES),
    Operation::at("PUT", PLACE, "deploy", "deployments")
        .about(
            "Creates what is missing. The body is a definition, in JSON or YAML; its schema is \
            also at `/schema/workflow.json`. What no schema can say (references between steps, \
            expressions) is checked as well.",
        )
        .path(&[DEPLOYMENT, VARIANT])
        .query(&[DRY_RUN])
        .body(
            Body::json("A definition.", || json!({"$ref": DEFINITION}), definitions)
                .types(&["application/json", "application/yaml"]),
        )
        .answers(&[
            Answer::new(
                200,
                "Equal to the present version; or, of a dry run, sound.",
                deployed_or_checked,
                deployed,
            )
            .links(NEXT),
            Answer::new(201, "A new version.", of::<Deployed<'static>>, deployed).links(NEXT),
        ])
        .refuses(&[
            Code::ValidationError,
            Code::MalformedBody,
            Code::InvalidDefinition,
        ]),
    Operation::at("DELETE", PLACE, "deleteVariant", "deployments")
        .about("The deployment stays, also without variants.")
        .path(&[DEPLOYMENT, VARIANT])
        .query(&[CANCEL_RUNS])
        .answers(&[Answer::new(
            200,
            "It is gone.",
            of::<Deleted<'static>>,
            deleted_variant,
        )])
        .refuses(DELETES),
    Operation::at(
        "POST",
        "/v1/deployments/{deployment}/secret/stage",
        "stageSecret",
        "deployments",
    )
    .about(
        "From then on, both are accepted from webhook callers, and both sign \
        `webhook-signature`.",
    )
    .path(&[DEPLOYMENT])
    .answers(&[Answer::new(
        200,
        "The staged secret.",
        of::<WebhookSecret<'static>>,
        secret,
    )
    .links(STAGED)])
    .refuses(&[Code::NotFound]),
    Operation::at(
        "POST",
        "/v1/deployments/{deployment}/secret/promote",
        "promoteSecret",
        "deployments",
    )
    .about(
        "`X-Fetch-Hive-Signature` is by the new one from then on; the old one stays valid \
        for 24 hours.",
    )
    .path(&[DEPLOYMENT])
    .answers(&[Answer::new(
        200,
        "The current secret.",
        of::<WebhookSecret<'static>>,
        secret,
    )])
    .refuses(&[Code::NotFound]),
    Operation::at(
        "POST",
        "/v1/deployments/{deployment}/secret/revoke",
        "revokeSecret",
        "deployments",
    )
    .about("Only the current one is valid from then on.")
    .path(&[DEPLOYMENT])
    .answers(&[Answer::new(
        200,
        "The current secret.",
        of::<WebhookSecret<'static>>,
        secret,
    )])
    .refuses(&[Code::NotFound]),
];

fn deployed_or_checked(schemas: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let either = [
        of::<Deployed<'static>>(schemas),
        of::<crate::api::wire::DryRun<'static>>(schemas),
    ];
    schemars::json_schema!({"anyOf": either})
}
