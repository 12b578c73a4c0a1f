//! `POST /v1/workflow/invoke` (contract, section 4).

use serde_json::{Map, Value};

use crate::api::Request;
use crate::api::call::Answer;
use crate::api::start::{Caller, digest, idempotency_key};
use crate::error::{Code, Error, Result};
use crate::store::runs::Idempotency;

/// The route.
pub const PATTERN: &str = "/v1/workflow/invoke";

/// Starts a run for the holder of a key.
pub fn invoke(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let api_key = request.admission.who.key_id();
    // The admin key has no row.
    let scope = format!("key:{}", api_key.unwrap_or(0));
    let idempotency = idempotency(request, scope, request.admission.pattern, &body)?;
    let asked = request.api.judge_invoke(
        &body,
        Caller {
            source: request.source(),
            api_key,
            idempotency,
            waits: true,
        },
    )?;
    request.api.answer_start(asked, true)
}

/// What the request's `Idempotency-Key` stands for, if it has one.
pub fn idempotency(
    request: &Request<'_>,
    scope: String,
    route: &str,
    body: &Map<String, Value>,
) -> Result<Option<Idempotency>> {
    let mut headers = request.call.head.headers_of("idempotency-key");
    let Some(text) = headers.next() else {
        return Ok(None);
    };
    if headers.any(|other| other != text) {
        let message = "Idempotency-Key came more than once, with different values";
        return Err(Error::new(Code::ValidationError, message));
    }
    Ok(Some(Idempotency {
        scope,
        key: idempotency_key(text)?,
        digest: digest(route, body),
    }))
}

#[cfg(test)]
mod tests;
