//! The API's description of itself: OpenAPI 3.1, from the route table, the types that are sent ([`crate::api::wire`]) and
//! what this room's files say of each route, one file per noun.
//!
//! Owns how the document is put together. A new route needs one [`Operation`] in its noun's file, and the type of its
//! answer in [`crate::api::wire`]; a test says so.

mod approvals;
mod audit;
mod dashboard;
mod definition;
mod deliveries;
mod deployments;
mod errors;
mod events;
mod figures;
mod health;
mod invoke;
mod jobs;
mod keys;
mod members;
mod operation;
mod overview;
mod parameters;
mod runs;
mod secrets;
mod session;
mod versions;

pub use operation::{Answer, Body, Link, Operation, Parameter};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::api::call::{self, Reply};
use crate::api::cookie::Site;
use crate::api::door::{Access, Scope};
use crate::api::routes::Route;
use crate::api::table::ROUTES;
use crate::api::{Handler, Request};
use crate::error::Result;
use crate::flow::workflow::KindSpec;

/// What is said of each route, by noun.
pub const OPERATIONS: &[&[Operation]] = &[
    invoke::OPERATIONS,
    runs::OPERATIONS,
    overview::OPERATIONS,
    deliveries::OPERATIONS,
    events::OPERATIONS,
    jobs::OPERATIONS,
    approvals::OPERATIONS,
    members::OPERATIONS,
    deployments::OPERATIONS,
    versions::OPERATIONS,
    keys::OPERATIONS,
    session::OPERATIONS,
    secrets::OPERATIONS,
    audit::OPERATIONS,
    figures::OPERATIONS,
    health::OPERATIONS,
    dashboard::OPERATIONS,
];

/// The nouns, in the order in which they are shown.
const TAGS: &[(&str, &str)] = &[
    ("invoke", "Starting runs."),
    ("runs", "Runs, their traces, and requests."),
    (
        "deliveries",
        "Signed events owed to URLs, and their attempts.",
    ),
    ("events", "What changes, as it happens."),
    (
        "jobs",
        "What is done to every run, or delivery, that a filter matches.",
    ),
    (
        "approvals",
        "Questions that runs wait for, and the page where people answer them.",
    ),
    ("members", "The people who may answer approvals."),
    (
        "deployments",
        "Named places to call a workflow, their variants, versions and secrets.",
    ),
    ("keys", "API keys."),
    ("session", "Signing in to the dashboard."),
    ("secrets", "Secrets for steps."),
    ("audit", "Who changed what."),
    (
        "figures",
        "How the server is doing: for scrapers, charts and people.",
    ),
    ("server", "What anyone may ask."),
    ("dashboard", "The pages for people."),
];

const ABOUT: &str = "\
Skep runs deployed workflows durably and brings their results back as signed callbacks.\n\n\
Bodies are JSON, but for definitions, which may be YAML. An absent body equals `{}`; unknown \
top-level members are ignored, and null counts as absent. Times are RFC 3339 in UTC. Lists are \
newest first, with `limit` and `cursor`; a page may be short although more follow. In the query, \
an empty value counts as absent. Where a run's id is asked for, its request id does as well. \
Every `GET` also answers `HEAD`. A 2xx to an invoke means that the run is on disk.";

/// The schema of a type, for [`Answer::new`].
pub fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

/// The schema of an answer that is no JSON, for [`Answer::new`] with [`Answer::media`].
pub fn plain_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string"})
}

/// `GET /openapi.json`
pub fn show(request: &Request<'_>) -> Result<call::Answer> {
    let text = request.api.openapi.get_or_init(|| {
        let document = document(request.api.kinds(), request.api.public_url());
        Reply::json(200, &document).body
    });
    let mut reply = Reply::json(200, &Value::Null);
    reply.body.clone_from(text);
    Ok(call::Answer::Now(reply))
}

/// The whole document, for a server with these step kinds, reached at `public_url`.
pub fn document(kinds: &[KindSpec], public_url: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|it| {
        it.definitions_path = "/components/schemas".into();
        it.meta_schema = None;
    });
    let mut parts = Parts {
        schemas: settings.into_generator(),
        responses: Map::new(),
    };
    let mut paths = Map::new();
    for route in ROUTES {
        if let Some(operation) = find(route.method, route.pattern) {
            let path = paths.entry(route.pattern).or_insert_with(|| json!({}));
            path[route.method.to_ascii_lowercase()] = parts.operation(route, operation);
        }
    }
    let mut schemas = parts.schemas.take_definitions(true);
    schemas.extend(definition::components(kinds));
    schemas.insert("Error".to_owned(), errors::schema());
    schemas.sort_keys();
    parts.responses.sort_keys();
    let tags = TAGS
        .iter()
        .map(|(name, about)| json!({"name": name, "description": about}));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Skep",
            "summary": "Durable workflows with signed callbacks",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": public_url}],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": parts.responses,
            "securitySchemes": security_schemes(public_url),
        },
    })
}

/// What is said of that route.
fn find(method: &str, pattern: &str) -> Option<&'static Operation> {
    let fits = |it: &&Operation| it.method == method && it.pattern == pattern;
    OPERATIONS.iter().copied().flatten().find(fits)
}

fn security_schemes(public_url: &str) -> Value {
    json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`fhk_…`), or `SKEP_ADMIN_KEY`. Each operation says which \
            scope it needs; a key of scope `deploy` may all that `read` may, one of scope \
            `admin` may everything.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": Site::of(Some(public_url)).name(),
            "description": "The cookie that `POST /v1/session` sets, for browsers. Stands for the \
            key that was shown there. `Authorization` wins over it. What changes something also \
            needs `Origin`, which browsers send, and `X-Skep-CSRF`.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Skep-CSRF",
            "description": "With the cookie, where something may change: the `csrf` of the \
            session.",
        },
        "webhookSecret": {
            "type": "apiKey",
            "in": "header",
            "name": "X-Fetch-Hive-Webhook-Secret",
            "description": "The deployment's `webhook_secret`. Wins over the query.",
        },
        "webhookSecretInQuery": {
            "type": "apiKey",
            "in": "query",
            "name": "secret",
            "description": "The deployment's `webhook_secret`, for callers that cannot set a \
            header. Never logged or stored.",
        },
    })
}

/// Who may, as a sentence and as a requirement.
fn security(method: &str, access: Access) -> (String, Value) {
    let key = match method {
        "GET" => json!([{"key": []}, {"session": []}]),
        _ => json!([{"key": []}, {"session": [], "csrf": []}]),
    };
    let needs = |scope: &str| format!("Needs a key of scope {scope}.");
    match access {
        Access::Open => ("Needs no key.".to_owned(), json!([])),
        Access::Webhook => (
            "Needs the deployment's secret, no key.".to_owned(),
            json!([{"webhookSecret": []}, {"webhookSecretInQuery": []}]),
        ),
        Access::AnyKey => ("Needs a key, whatever its scope.".to_owned(), key),
        Access::Own => (
            needs("`read`, `deploy` or `admin`; or `invoke`, for what that key started"),
            key,
        ),
        Access::Key(_) | Access::Approvals => (needs(&scopes(access)), key),
    }
}

/// The same where anyone may until that setting, a key by itself, is set.
fn security_once_set(setting: &str) -> (String, Value) {
    let scopes = scopes(Access::Key(Scope::Read));
    let who = format!(
        "Needs no key, unless `{setting}` is set; then that as a bearer token, or a key of scope \
        {scopes}."
    );
    (who, json!([{}, {"key": []}, {"session": []}]))
}

/// The scopes that suffice, in words.
fn scopes(access: Access) -> String {
    let scope = access.refusal();
    let scope = scope.detail("scope").and_then(Value::as_str);
    let words: Vec<String> = scope
        .unwrap_or_default()
        .replace(", ", " ")
        .split_whitespace()
        .map(|word| {
            if word == "or" {
                word.to_owned()
            } else {
                format!("`{word}`")
            }
        })
        .collect();
    words.join(" ").replace("` `", "`, `")
}

/// What is collected while the document is put together.
struct Parts {
    schemas: SchemaGenerator,
    responses: Map<String, Value>,
}

impl Parts {
    fn operation(&mut self, route: &Route<Handler>, operation: &Operation) -> Value {
        let (who, security) = match operation.closed_by {
            Some(setting) => security_once_set(setting),
            None => security(route.method, route.access),
        };
        let about = [operation.about, &who].join("\n\n");
        let parameters = operation
            .path
            .iter()
            .map(|it| it.shown("path"))
            .chain(operation.query.iter().map(|it| it.shown("query")))
            .chain(operation.headers.iter().map(|it| it.shown("header")));
        let mut value = json!({
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": route.doc.trim_end_matches('.'),
            "description": about.trim(),
            "security": security,
            "parameters": parameters.collect::<Vec<_>>(),
        });
        if let Some(body) = &operation.body {
            value["requestBody"] = body.shown();
        }
        let mut responses = Map::new();
        for answer in operation.answers {
            responses.insert(answer.status.to_string(), answer.shown(&mut self.schemas));
        }
        for (status, codes) in errors::by_status(route, operation) {
            let name = errors::name(status, &codes);
            if !self.responses.contains_key(&name) {
                let response = errors::response(status, &codes);
                self.responses.insert(name.clone(), response);
            }
            let reference = format!("#/components/responses/{name}");
            responses.insert(status.to_string(), json!({"$ref": reference}));
        }
        value["responses"] = responses.into();
        value
    }
}

#[cfg(test)]
mod tests;
