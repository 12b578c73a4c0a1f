//! What is said of the dashboard's files.

use serde_json::{Value, json};

use crate::api::dashboard::{FILE, HOME, LIBRARY};
use crate::api::openapi::{Answer, Operation, Parameter, plain_text};
use crate::error::Code;
use crate::view::{self, FILES};

/// The names of the files in that folder.
fn names(folder: &str) -> Vec<&'static str> {
    let names = FILES
        .iter()
        .filter_map(|file| file.name.strip_prefix(folder));
    names
        .filter(|name| !name.contains('/') && *name != view::HOME)
        .collect()
}

/// What a name may be; any, as long as there is no such file.
fn named(folder: &str) -> Value {
    match names(folder) {
        names if names.is_empty() => json!({"type": "string", "minLength": 1}),
        names => json!({"enum": names}),
    }
}

fn first(folder: &str, otherwise: &str) -> Value {
    names(folder).first().copied().unwrap_or(otherwise).into()
}

const NAME: Parameter = Parameter::new(
    "file",
    "A file of the dashboard.",
    || named(""),
    || first("", "app.js"),
);

const LIBRARY_NAME: Parameter = Parameter::new(
    "file",
    "A file that others made.",
    || named("lib/"),
    || first("lib/", "preact.js"),
);

const KNOWN: Parameter = Parameter::new(
    "If-None-Match",
    "The `ETag` of what the browser has.",
    || json!({"type": "string"}),
    || json!("\"none\""),
);

fn tag() -> Value {
    json!({"ETag": {
        "description": "What these bytes are known by.",
        "schema": {"type": "string"},
    }})
}

const UNCHANGED: Answer =
    Answer::empty(304, "The browser has it already: `If-None-Match` says so.").headers(tag);

const SCRIPT: Answer = Answer::new(200, "The file.", plain_text, || "export {};".into())
    .media("text/javascript")
    .or_any(&[
        ("text/css", || "a { color: inherit; }".into()),
        ("image/svg+xml", || "<svg/>".into()),
    ])
    .headers(tag);

/// The page and its files.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", HOME, "dashboard", "dashboard")
        .about("For people. It holds no data; what it shows it asks of this API.")
        .headers(&[KNOWN])
        .answers(&[
            Answer::new(200, "The page.", plain_text, || "<!doctype html>…".into())
                .media("text/html")
                .headers(tag),
            UNCHANGED,
        ]),
    Operation::at("GET", FILE, "dashboardFile", "dashboard")
        .path(&[NAME])
        .headers(&[KNOWN])
        .answers(&[SCRIPT, UNCHANGED])
        .refuses(&[Code::NotFound]),
    Operation::at("GET", LIBRARY, "dashboardLibrary", "dashboard")
        .path(&[LIBRARY_NAME])
        .headers(&[KNOWN])
        .answers(&[SCRIPT, UNCHANGED])
        .refuses(&[Code::NotFound]),
];
