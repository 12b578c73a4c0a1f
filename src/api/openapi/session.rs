//! What is said of signing in.

use serde_json::{Value, json};

use crate::api::openapi::parameters::SOME_TIME;
use crate::api::openapi::{Answer, Body, Operation, of};
use crate::api::session::{KEY, PATTERN};
use crate::api::wire::Session;
use crate::error::Code;

fn session() -> Value {
    json!({
        "name": "ci", "scope": "deploy", "expires_at": SOME_TIME,
        "csrf": "q0yrGzCq3sXbYcT1mJ4u8Zr5vKx2wNn7dLh6oPe9aBc",
    })
}

fn wanted() -> Value {
    json!({
        "type": "object",
        "required": ["key"],
        "properties": {
            "key": {
                "type": "string", "pattern": "\\S", "maxLength": KEY,
                "description": "An API key, or `SKEP_ADMIN_KEY`.",
            },
        },
    })
}

fn cookie() -> Value {
    json!({"Set-Cookie": {
        "description": "`HttpOnly`, `SameSite=Strict`; `Secure` where `public_url` is https.",
        "schema": {"type": "string"},
    }})
}

/// Signing in, asking who is, signing out.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("POST", PATTERN, "signIn", "session")
        .about(
            "For browsers: sets a cookie that stands for the key, for 12 hours or until the key is revoked, rotated, or \
            the server restarts. At most 1,000 sessions, 100 of one key: the oldest ends. After 10 wrong keys in a minute, none of that \
            client's is looked at: 429.",
        )
        .body(Body::json("The key.", wanted, || {
            vec![("key", json!({"key": "fhk_9xQ2…"}))]
        }))
        .answers(&[
            Answer::new(201, "Signed in.", of::<Session<'static>>, session).headers(cookie),
        ])
        .refuses(&[
            Code::InvalidAccess,
            Code::InsufficientScope,
            Code::ValidationError,
            Code::MalformedBody,
            Code::TooManyRequests,
        ]),
    Operation::at("GET", PATTERN, "getSession", "session").answers(&[Answer::new(
        200,
        "Who is signed in.",
        of::<Session<'static>>,
        session,
    )]),
    Operation::at("DELETE", PATTERN, "signOut", "session")
        .about("Ends the session of the cookie, and takes the cookie back.")
        .answers(&[Answer::empty(204, "Signed out.").headers(cookie)]),
];
