//! What is said of secrets for steps.

use serde_json::{Value, json};

use crate::api::openapi::parameters::{FORMAT, LIMIT, SECRET_NAME, SOME_TIME, page_of};
use crate::api::openapi::{Answer, Body, Link, Operation, Parameter, of};
use crate::api::query::Listed;
use crate::api::secrets::{HOSTS, LONGEST, SHORTEST};
use crate::api::wire::{DeletedSecret, Secret};
use crate::error::Code;

const CURSOR: Parameter = Parameter::new(
    "cursor",
    "The `next_cursor` of the page before.",
    || json!({"type": "string", "pattern": "^s[1-9a-f][0-9a-f]{0,14}-[1-9a-f][0-9a-f]{0,14}$"}),
    || json!("s19aa8c1d1f6-2a"),
);

fn secret() -> Value {
    json!({"name": "STOCK_TOKEN", "hosts": ["stock.example"], "updated_at": SOME_TIME})
}

/// A list of hosts, as secrets and callbacks are held to them.
pub(super) fn hosts(most: usize) -> Value {
    let host = json!({
        "type": "string",
        "format": "host-rule",
        "description": "An exact name or address, or `*.suffix` for what is below it; with \
        `:port`, that port only.",
        "examples": ["api.example", "*.example", "api.example:8443", "[2001:db8::1]:443"],
    });
    json!({"type": "array", "minItems": 1, "maxItems": most, "items": host})
}

fn wanted() -> Value {
    json!({
        "type": "object",
        "required": ["value", "hosts"],
        "properties": {
            "value": {
                "type": "string", "minLength": SHORTEST, "maxLength": LONGEST,
                "description": "Never shown again.",
            },
            "hosts": hosts(HOSTS),
        },
    })
}

fn put_example() -> Vec<(&'static str, Value)> {
    vec![(
        "token",
        json!({"value": "s3cr3t-token", "hosts": ["stock.example"]}),
    )]
}

const NEXT: &[Link] = &[Link::new(
    "remove",
    "deleteSecret",
    &[("name", "$response.body#/name")],
)];

/// Secrets.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/secrets", "listSecrets", "secrets")
        .about("Those that were set last come first.")
        .query(&[LIMIT, CURSOR, FORMAT])
        .answers(&[Answer::page(
            "A page of secrets.",
            of::<Listed<Secret<'static>>>,
            || page_of(secret()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("PUT", "/v1/secrets/{name}", "setSecret", "secrets")
        .about(
            "Definitions name it as `{{ secrets.NAME }}`, in the headers, query or body of http \
            steps. It is sent to these hosts alone, and masked wherever a run is stored or \
            shown.",
        )
        .path(&[SECRET_NAME])
        .body(Body::json("The value and its hosts.", wanted, put_example))
        .answers(&[
            Answer::new(200, "It has a new value.", of::<Secret<'static>>, secret).links(NEXT),
            Answer::new(201, "It is new.", of::<Secret<'static>>, secret).links(NEXT),
        ])
        .refuses(&[Code::ValidationError, Code::MalformedBody]),
    Operation::at("DELETE", "/v1/secrets/{name}", "deleteSecret", "secrets")
        .path(&[SECRET_NAME])
        .answers(&[Answer::new(
            200,
            "It is gone.",
            of::<DeletedSecret<'static>>,
            || json!({"name": "STOCK_TOKEN", "deleted": true}),
        )])
        .refuses(&[Code::NotFound]),
];
