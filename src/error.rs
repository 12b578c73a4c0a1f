//! The one error type, and the table of every error code the API can answer with.
//!
//! Owns the wording and the status of each code. Must not know how an error is sent or logged.

use std::fmt;

use serde_json::{Map, Value};

/// The stable `error_code` of an error answer. Each has one row in [`CODES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No key, a wrong key, a wrong webhook secret, unknown webhook ids.
    InvalidAccess,
    /// The key is known, but its scope is too small.
    InsufficientScope,
    /// A field of the request is missing or wrong.
    ValidationError,
    /// The callback URL is a literal address that callbacks may not reach.
    CallbackUrlForbidden,
    /// The workflow asks a person, so its result cannot be waited for.
    CallbackDeliveryRequired,
    /// The body is not JSON or YAML.
    MalformedBody,
    /// The workflow definition breaks the rules.
    InvalidDefinition,
    /// Nothing of that name or id is here.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// The body is over `body_limit`.
    BodyTooLarge,
    /// A direct invoke found no free slot.
    ConcurrencyLimitReached,
    /// The queue is full, or a rate limit was hit.
    TooManyRequests,
    /// The same `Idempotency-Key` came with another body.
    IdempotencyKeyReused,
    /// What is to be deleted still has open runs.
    RunsOpen,
    /// The approval was decided otherwise before.
    AlreadyDecided,
    /// `tool_approval: auto_approve` is not permitted.
    ToolApprovalOverrideNotPermitted,
    /// `tool_approval` is neither `policy` nor `auto_approve`.
    InvalidToolApproval,
    /// A direct run was still going when its time was up.
    DirectTimeout,
    /// The request itself is malformed: framing, Host, Expect, size of the head, or too slow.
    BadRequest,
    /// The disk is full, the file cannot be written, or the server is stopping.
    Unavailable,
    /// A bug.
    InternalServerError,
}

/// One row of the catalogue that `GET /v1/error_codes` shows.
#[derive(Debug)]
pub struct CodeRow {
    /// Which code.
    pub code: Code,
    /// As spelled on the wire.
    pub name: &'static str,
    /// The HTTP status it comes with.
    pub status: u16,
    /// The usual text; an answer may be more exact.
    pub message: &'static str,
}

const fn row(code: Code, name: &'static str, status: u16, message: &'static str) -> CodeRow {
    CodeRow {
        code,
        name,
        status,
        message,
    }
}

/// Every error code, in the order of the contract.
pub const CODES: &[CodeRow] = &[
    row(
        Code::InvalidAccess,
        "invalid_access",
        401,
        "Invalid access.",
    ),
    row(
        Code::InsufficientScope,
        "insufficient_scope",
        403,
        "The key's scope is too small.",
    ),
    row(
        Code::ValidationError,
        "validation_error",
        400,
        "A field of the request is missing or wrong.",
    ),
    row(
        Code::CallbackUrlForbidden,
        "callback_url_forbidden",
        400,
        "callback_url is an address that callbacks may not reach.",
    ),
    row(
        Code::CallbackDeliveryRequired,
        "callback_delivery_required",
        400,
        "callback delivery is required for workflows with a Human in the Loop step",
    ),
    row(
        Code::MalformedBody,
        "malformed_body",
        400,
        "The body is not valid JSON or YAML.",
    ),
    row(
        Code::InvalidDefinition,
        "invalid_definition",
        400,
        "The workflow definition is not valid.",
    ),
    row(Code::NotFound, "not_found", 404, "Not found."),
    row(
        Code::MethodNotAllowed,
        "method_not_allowed",
        405,
        "The method is not allowed on this path.",
    ),
    row(
        Code::BodyTooLarge,
        "body_too_large",
        413,
        "The body is over the limit.",
    ),
    row(
        Code::ConcurrencyLimitReached,
        "concurrency_limit_reached",
        429,
        "You've reached your concurrency limit. Try again later or use async mode.",
    ),
    row(
        Code::TooManyRequests,
        "too_many_requests",
        429,
        "Too many requests. Try again later.",
    ),
    row(
        Code::IdempotencyKeyReused,
        "idempotency_key_reused",
        409,
        "This Idempotency-Key was used before with another body.",
    ),
    row(Code::RunsOpen, "runs_open", 409, "There are open runs."),
    row(
        Code::AlreadyDecided,
        "already_decided",
        409,
        "The approval is already decided.",
    ),
    row(
        Code::ToolApprovalOverrideNotPermitted,
        "tool_approval_override_not_permitted",
        403,
        "tool_approval auto_approve is not permitted.",
    ),
    row(
        Code::InvalidToolApproval,
        "invalid_tool_approval",
        400,
        "tool_approval must be policy or auto_approve.",
    ),
    row(
        Code::DirectTimeout,
        "direct_timeout",
        504,
        "The run is still going. Look it up by its request_id, or use async mode.",
    ),
    row(
        Code::BadRequest,
        "bad_request",
        400,
        "The request is malformed.",
    ),
    row(
        Code::Unavailable,
        "unavailable",
        503,
        "The server cannot accept this now. Try again later.",
    ),
    row(
        Code::InternalServerError,
        "internal_server_error",
        500,
        "An internal error. The log has more under this id.",
    ),
];

impl Code {
    /// The code's row in [`CODES`].
    pub fn row(self) -> &'static CodeRow {
        CODES
            .iter()
            .find(|row| row.code == self)
            .expect("every code has a row; a test says so")
    }
}

/// Why something was not done, as the person at the other end will read it.
#[derive(Debug, Clone)]
pub struct Error {
    /// What kind.
    pub code: Code,
    /// One sentence: what is wrong, what was expected, what came.
    pub message: String,
    /// JSON pointer to the field at fault.
    pub field: Option<String>,
    /// The HTTP status, where it is not the code's usual one.
    pub status: Option<u16>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// More members of the answer's body (`errors`, `request_id` …).
    pub details: Option<Box<Map<String, Value>>>,
}

/// What most of the crate's functions answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with the sentence that fits this case.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            field: None,
            status: None,
            retry_after: None,
            details: None,
        }
    }

    /// An error with the code's usual text.
    pub fn of(code: Code) -> Error {
        Error::new(code, code.row().message)
    }

    /// A `validation_error` at one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(Code::ValidationError, message).at(field)
    }

    /// A `not_found` that names what is not there.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    /// A bug or an unforeseen fault; the text goes to the log, never to a caller.
    pub fn internal(message: impl fmt::Display) -> Error {
        Error::new(Code::InternalServerError, message.to_string())
    }

    /// Nothing was accepted; trying again later may help.
    pub fn unavailable(message: impl Into<String>) -> Error {
        let mut error = Error::new(Code::Unavailable, message);
        error.retry_after = Some(1);
        error
    }

    /// The same error, pointing at a field (a JSON pointer).
    pub fn at(mut self, field: impl Into<String>) -> Error {
        self.field = Some(field.into());
        self
    }

    /// The same error with one more member in the answer's body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Error {
        self.details
            .get_or_insert_default()
            .insert(name.to_owned(), value.into());
        self
    }

    /// One of the further members of the answer's body.
    pub fn detail(&self, name: &str) -> Option<&Value> {
        self.details.as_ref()?.get(name)
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(self.code.row().status)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        for (at, row) in CODES.iter().enumerate() {
            assert_eq!(row.code.row().name, row.name);
            assert!(
                CODES[at + 1..].iter().all(|other| other.name != row.name),
                "{} twice",
                row.name
            );
        }
    }
}
