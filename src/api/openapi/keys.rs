//! What is said of API keys.

use serde_json::{Map, Value, json};

use crate::api::door::SCOPES;
use crate::api::keys::{ENVIRONMENTS, NAME};
use crate::api::openapi::parameters::{KEY_ID, PAGE, SOME_TIME, page_of};
use crate::api::openapi::{Answer, Body, Link, Operation, of};
use crate::api::query::Listed;
use crate::api::wire::{ApiKey, NewApiKey};
use crate::error::Code;

fn key() -> Value {
    json!({
        "id": "key_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "name": "ci", "environment": "production",
        "scope": "deploy", "status": "active", "prefix": "fhk_9xQ2", "created_at": SOME_TIME,
        "last_used_at": null, "revoked_at": null,
    })
}

fn new_key() -> Value {
    let mut shown = match key() {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    shown.insert("key".to_owned(), json!("fhk_9xQ2…"));
    shown.into()
}

fn wanted() -> Value {
    let scopes: Vec<&str> = SCOPES.iter().map(|(_, word)| *word).collect();
    let or_null = |words: &[&str]| -> Vec<Value> {
        words
            .iter()
            .map(|word| json!(word))
            .chain([Value::Null])
            .collect()
    };
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string", "pattern": "\\S", "maxLength": NAME,
                "description": "What people call it.",
            },
            "environment": {
                "enum": or_null(&ENVIRONMENTS), "default": "production",
                "description": "A label.",
            },
            "scope": {
                "enum": or_null(&scopes), "default": "invoke",
                "description": "What it may do.",
            },
        },
    })
}

/// What can be done with a new key.
const NEXT: &[Link] = &[
    Link::new("rotate", "rotateKey", &[("id", "$response.body#/id")]),
    Link::new("revoke", "revokeKey", &[("id", "$response.body#/id")]),
];

/// API keys.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/keys", "listKeys", "keys")
        .about("Revoked ones as well. A key's text is never shown again.")
        .query(PAGE)
        .answers(&[Answer::page(
            "A page of keys.",
            of::<Listed<ApiKey<'static>>>,
            || page_of(key()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("POST", "/v1/keys", "createKey", "keys")
        .about("The key is shown this once; only its hash is kept.")
        .body(Body::json("The key that is wanted.", wanted, || {
            vec![(
                "deploy",
                json!({"name": "ci", "environment": "production", "scope": "deploy"}),
            )]
        }))
        .answers(&[Answer::new(201, "The new key.", of::<NewApiKey<'static>>, new_key).links(NEXT)])
        .refuses(&[Code::ValidationError, Code::MalformedBody]),
    Operation::at("POST", "/v1/keys/{id}/rotate", "rotateKey", "keys")
        .about("The old text is refused from then on. The new one is shown this once.")
        .path(&[KEY_ID])
        .answers(&[Answer::new(
            200,
            "The key with its new text.",
            of::<NewApiKey<'static>>,
            new_key,
        )])
        .refuses(&[Code::NotFound]),
    Operation::at("DELETE", "/v1/keys/{id}", "revokeKey", "keys")
        .about("It is refused from then on, and stays listed.")
        .path(&[KEY_ID])
        .answers(&[Answer::new(
            200,
            "The revoked key.",
            of::<ApiKey<'static>>,
            || {
                let mut key = key();
                key["status"] = json!("revoked");
                key["revoked_at"] = json!(SOME_TIME);
                key
            },
        )])
        .refuses(&[Code::NotFound]),
];
