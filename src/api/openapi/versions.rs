//! What is said of versions.

use serde_json::{Value, json};

use crate::api::openapi::parameters::{DEPLOYMENT, PAGE, SOME_TIME, VARIANT, VERSION, page_of};
use crate::api::openapi::{Answer, Body, Link, Operation, of};
use crate::api::query::Listed;
use crate::api::wire::{RolledBack, Version, WholeVersion};
use crate::error::Code;

fn version() -> Value {
    json!({
        "deployment": "hello", "variant": "prod", "version": 2, "format": "yaml",
        "definition": "steps: [{id: a, set: {x: 1}}]\n", "created_at": SOME_TIME,
        "created_by": "key ci",
    })
}

fn whole() -> Value {
    let mut value = version();
    value["inputs"] = json!([{
        "name": "name", "type": "text", "required": true, "default": null,
        "description": "Who is greeted.", "enum": [],
    }]);
    value
}

fn wanted() -> Value {
    json!({
        "type": "object",
        "required": ["version"],
        "properties": {
            // What JSON numbers hold exactly everywhere.
            "version": {
                "type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_i64,
                "description": "The old version.",
            },
        },
    })
}

const SHOW: &[Link] = &[Link::new(
    "version",
    "getVersion",
    &[
        ("deployment", "$response.body#/deployment"),
        ("variant", "$response.body#/variant"),
        ("n", "$response.body#/version"),
    ],
)];

/// Versions.
pub const OPERATIONS: &[Operation] = &[
    Operation::at(
        "GET",
        "/v1/deployments/{deployment}/variants/{variant}/versions",
        "listVersions",
        "deployments",
    )
    .path(&[DEPLOYMENT, VARIANT])
    .query(PAGE)
    .answers(&[Answer::page(
        "A page of versions.",
        of::<Listed<Version<'static>>>,
        || page_of(version()),
    )])
    .refuses(&[Code::ValidationError, Code::NotFound]),
    Operation::at(
        "GET",
        "/v1/deployments/{deployment}/variants/{variant}/versions/{n}",
        "getVersion",
        "deployments",
    )
    .path(&[DEPLOYMENT, VARIANT, VERSION])
    .answers(&[Answer::new(
        200,
        "The version.",
        of::<WholeVersion<'static>>,
        whole,
    )])
    .refuses(&[Code::NotFound]),
    Operation::at(
        "POST",
        "/v1/deployments/{deployment}/variants/{variant}/rollback",
        "rollBack",
        "deployments",
    )
    .about("Versions are never changed: the old one's definition becomes a new version.")
    .path(&[DEPLOYMENT, VARIANT])
    .body(Body::json("The old version.", wanted, || {
        vec![("first", json!({"version": 1}))]
    }))
    .answers(&[Answer::new(
        200,
        "The new version.",
        of::<RolledBack<'static>>,
        || json!({"deployment": "hello", "variant": "prod", "version": 3, "equal_to": 1}),
    )
    .links(SHOW)])
    .refuses(&[
        Code::ValidationError,
        Code::MalformedBody,
        Code::InvalidDefinition,
        Code::NotFound,
    ]),
];
