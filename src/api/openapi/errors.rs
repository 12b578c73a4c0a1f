//! The errors of a route, by status, from the table of codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::Handler;
use crate::api::call::Reply;
use crate::api::door::Access;
use crate::api::openapi::Operation;
use crate::api::routes::Route;
use crate::error::{CODES, Code, Error};

/// What every route can answer: the front door refuses the form of a request before anyone looks at its meaning.
const EVERY: &[Code] = &[
    Code::BadRequest,
    Code::BodyTooLarge,
    Code::InternalServerError,
    Code::Unavailable,
];

/// The statuses of `bad_request`, beside its usual one.
const FORM: &[(u16, &str)] = &[
    (408, "The request came too slowly."),
    (
        417,
        "`Expect` asks for something other than `100-continue`.",
    ),
    (431, "The head is too large."),
    (
        501,
        "`Transfer-Encoding` is something other than `chunked`.",
    ),
];

/// The errors that a route can give, by status, each with its codes.
pub fn by_status(route: &Route<Handler>, operation: &Operation) -> BTreeMap<u16, Vec<Code>> {
    let by_access: &[Code] = match route.access {
        Access::Open => &[],
        Access::Webhook => &[Code::InvalidAccess],
        Access::Key(_) | Access::Own | Access::Approvals | Access::AnyKey => {
            &[Code::InvalidAccess, Code::InsufficientScope]
        }
    };
    let mut found: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    // In the order of the table, so that equal sets are one response.
    for row in CODES {
        let all = [EVERY, by_access, operation.refuses];
        if all.iter().any(|codes| codes.contains(&row.code)) {
            found.entry(row.status).or_default().push(row.code);
        }
    }
    for (status, _) in FORM {
        found.insert(*status, vec![Code::BadRequest]);
    }
    found
}

/// What a response is called among the components: `Error404NotFound`.
pub fn name(status: u16, codes: &[Code]) -> String {
    let words = codes.iter().flat_map(|code| code.row().name.split('_'));
    let camel = words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]));
    format!("Error{status}{}", camel.collect::<String>())
}

/// One status with the codes that come with it.
pub fn response(status: u16, codes: &[Code]) -> Value {
    let names: Vec<&str> = codes.iter().map(|code| code.row().name).collect();
    let form = FORM.iter().find(|(other, _)| *other == status);
    let about = match form {
        Some((_, about)) => (*about).to_owned(),
        None => {
            let lines = codes
                .iter()
                .map(|code| format!("- `{}`: {}", code.row().name, code.row().message));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| (code.row().name.to_owned(), json!({"value": example(*code)})))
        .collect();
    json!({
        "description": about,
        "headers": headers(status),
        "content": {"application/json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Error"}],
                "type": "object",
                "properties": {"error_code": {"enum": names}},
            },
            "examples": examples,
        }},
    })
}

/// The body of an error of that kind, as it would be sent.
fn example(code: Code) -> Value {
    let error = Error::of(code);
    let error = match code {
        Code::ValidationError => Error::invalid("/inputs/name", "Missing required input: name"),
        Code::InsufficientScope => Access::Key(crate::api::door::Scope::Admin).refusal(),
        Code::MalformedBody => error.with("line", 1).with("column", 2),
        Code::InvalidDefinition => error.with(
            "errors",
            json!([{"line": 3, "column": 5, "field": "/steps/0",
            "message": "a step must have an id"}]),
        ),
        Code::DirectTimeout => error
            .with("request_id", "req_019aa8c1d1f67c3295e2f4f4b3a0c9d7")
            .with("run_id", "019aa8c1-d1f6-7c32-95e2-f4f4b3a0c9d7"),
        Code::RunsOpen => error.with("open_runs", 3),
        Code::AlreadyDecided => error.with("approval", crate::api::openapi::approvals::whole()),
        _ => error,
    };
    serde_json::from_slice(&Reply::error(&error).body).unwrap_or_default()
}

fn headers(status: u16) -> Value {
    let seconds = json!({
        "description": "Seconds after which another try may succeed.",
        "schema": {"type": "integer", "minimum": 0},
    });
    match status {
        401 => json!({"WWW-Authenticate": {
            "description": "Always `Bearer`.",
            "schema": {"type": "string"},
        }}),
        429 | 503 => json!({"Retry-After": seconds}),
        _ => json!({}),
    }
}

/// The body of every error.
pub fn schema() -> Value {
    let rows = CODES
        .iter()
        .map(|row| format!("| `{}` | {} | {} |", row.name, row.status, row.message));
    let table = rows.collect::<Vec<_>>().join("\n");
    let problem = json!({
        "type": "object",
        "required": ["message"],
        "properties": {
            "line": {"type": ["integer", "null"], "description": "From 1."},
            "column": {"type": ["integer", "null"], "description": "From 1."},
            "field": {"type": "string", "description": "A JSON pointer."},
            "message": {"type": "string"},
        },
    });
    json!({
        "type": "object",
        "description": format!("Every error.\n\n| code | status | text |\n| --- | --- | --- \
        |\n{table}"),
        "required": ["error", "message", "error_code"],
        "properties": {
            "error": {
                "type": "string",
                "description": "What is wrong, what was expected, what came.",
            },
            "message": {"type": "string", "description": "Equal to `error`."},
            "error_code": {
                "enum": CODES.iter().map(|row| row.name).collect::<Vec<_>>(),
                "description": "What kind of error; stable.",
            },
            "field": {"type": "string", "description": "The field at fault: a JSON pointer."},
            "errors": {
                "type": "array", "items": problem,
                "description": "Every problem of a definition.",
            },
            "line": {"type": "integer", "description": "Where a body is malformed."},
            "column": {"type": "integer", "description": "Where a body is malformed."},
            "limit": {
                "type": "integer",
                "description": "The limit that the body is over, in bytes.",
            },
            "scope": {"type": "string", "description": "The scopes that suffice."},
            "allow": {"type": "string", "description": "The methods that are allowed."},
            "open_runs": {"type": "integer", "description": "How many runs are open."},
            "approvals": {
                "type": "integer", "description": "How many approvals wait for the member.",
            },
            "approval": {"type": "object", "description": "The approval with what stands."},
            "request_id": {"type": "string", "description": "The run that goes on."},
            "run_id": {"type": "string", "format": "uuid", "description": "The run that goes on."},
        },
    })
}
