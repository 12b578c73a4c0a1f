//! What anyone may ask: whether the server lives and accepts runs, its error codes, the shape of a definition.

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::wire::{ErrorCode, ErrorCodes, Health};
use crate::error::{CODES, Error, Result};
use crate::flow::schema::json_schema;

/// `GET /healthz`: touches nothing, so that it answers as long as the process does.
pub fn healthz(_: &Request<'_>) -> Result<Answer> {
    Ok(Answer::Now(Reply::json(200, &Health { status: "ok" })))
}

/// `GET /readyz`
///
/// # Errors
/// `unavailable` with the reason: stopping, or the file cannot be read.
pub fn readyz(request: &Request<'_>) -> Result<Answer> {
    if request.api.is_stopping() {
        return Err(Error::unavailable("not ready: the server is stopping"));
    }
    match request.store().has_keys() {
        Ok(_) => Ok(Answer::Now(Reply::json(200, &Health { status: "ready" }))),
        Err(error) => {
            log::error!("readyz: {error}");
            Err(Error::unavailable("not ready: the file cannot be read"))
        }
    }
}

/// `GET /v1/error_codes`
pub fn error_codes(_: &Request<'_>) -> Result<Answer> {
    let codes = CODES.iter().map(|row| ErrorCode {
        code: row.name,
        status: row.status,
        message: row.message,
    });
    let codes = ErrorCodes {
        codes: codes.collect(),
    };
    Ok(Answer::Now(Reply::json(200, &codes)))
}

/// `GET /schema/workflow.json`
pub fn workflow_schema(request: &Request<'_>) -> Result<Answer> {
    Ok(Answer::Now(Reply::json(
        200,
        &json_schema(request.api.kinds()),
    )))
}
