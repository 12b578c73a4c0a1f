//! What is said of the routes that anyone may ask.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::api::openapi::{Answer, Operation, of};
use crate::api::wire::{ErrorCodes, Health};

fn codes() -> Value {
    json!({"codes": [{"code": "not_found", "status": 404, "message": "Not found."}]})
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object"})
}

/// A document that says which version of OpenAPI it is written in.
fn openapi(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["openapi", "info", "paths", "components"],
        "properties": {"openapi": {"type": "string", "pattern": "^3\\.1\\."}},
    })
}

/// Health, error codes, schemas.
pub const OPERATIONS: &[Operation] =
    &[
        Operation::at("GET", "/v1/error_codes", "listErrorCodes", "server").answers(&[
            Answer::new(200, "Every error code.", of::<ErrorCodes>, codes),
        ]),
        Operation::at("GET", "/healthz", "isAlive", "server")
            .about("Touches nothing, so that it answers as long as the process does.")
            .answers(&[Answer::new(
                200,
                "It lives.",
                of::<Health>,
                || json!({"status": "ok"}),
            )]),
        Operation::at("GET", "/readyz", "isReady", "server")
            .about("503 while the server is stopping, or the file cannot be read.")
            .answers(&[Answer::new(
                200,
                "It accepts runs.",
                of::<Health>,
                || json!({"status": "ready"}),
            )]),
        Operation::at(
            "GET",
            "/schema/workflow.json",
            "getWorkflowSchema",
            "server",
        )
        .about("JSON Schema, draft 2020-12, with the step kinds of this server.")
        .answers(&[Answer::new(200, "The schema.", any_object, || {
            json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": "Skep workflow",
            })
        })]),
        Operation::at("GET", "/openapi.json", "getOpenapi", "server")
            .about("OpenAPI 3.1.")
            .answers(&[Answer::new(
                200,
                "This document.",
                openapi,
                || json!({"openapi": "3.1.0", "info": {}, "paths": {}, "components": {}}),
            )]),
    ];
