//! The `http` step: one exchange, its answer as the step's output.
//!
//! Owns how fields become a request and an answer becomes an output. Deadlines, caps and addresses are `outbound`'s.
//!
//! What an answer's body becomes is `body`'s; what is told of it in the log of the try, `line`'s.

mod body;
mod line;

use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use super::secrets::Secrets;
use super::{StepContext, StepKind, failed};
use crate::flow::expr::percent_encode;
use crate::flow::hosts::HostRule;
use crate::flow::names::kind_of;
use crate::flow::step::{ErrorClass, Outcome, StepError};
use crate::flow::workflow::{FieldKind, FieldSpec, KindSpec};
use crate::outbound::guard::parse_url;
use crate::outbound::http::header;
use crate::outbound::retry_after::asked_by;
use crate::outbound::{Purpose, Request, Response};
use crate::time::Clock;

/// The largest answer that a step takes.
pub const MOST_BODY: usize = 1 << 20;
/// How many characters of anything that the other side said, or that a template inserted, are told.
const TOLD: usize = 200;

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The three forms of a body; at most one stands in a step.
const BODIES: &[&str] = &["json", "form", "body"];

const FIELDS: &[FieldSpec] = &[
    field(
        "method",
        FieldKind::OneOf(METHODS),
        false,
        "GET unless it says otherwise",
    ),
    FieldSpec {
        required: true,
        ..field("url", FieldKind::Url, false, "absolute, http or https")
    },
    field(
        "query",
        FieldKind::Object,
        true,
        "appended to the URL; a list repeats its key, null leaves it out",
    ),
    field(
        "headers",
        FieldKind::Object,
        true,
        "texts, numbers or booleans; null leaves one out",
    ),
    field("json", FieldKind::Any, true, "the body, as JSON"),
    field(
        "form",
        FieldKind::Object,
        true,
        "the body, as application/x-www-form-urlencoded",
    ),
    field("body", FieldKind::Text, true, "the body, as it is"),
    // What lifts the rule that a templated host is public must not itself come from a template.
    FieldSpec {
        literal: true,
        ..field(
            "hosts",
            FieldKind::TextList,
            false,
            "the hosts it may talk to, written out: api.example, api.example:8443, *.example",
        )
    },
];

const fn field(name: &'static str, kind: FieldKind, secrets: bool, doc: &'static str) -> FieldSpec {
    FieldSpec {
        name,
        kind,
        required: false,
        secrets,
        literal: false,
        doc,
    }
}

/// The kind.
#[derive(Debug, Clone, Copy)]
pub struct Http;

impl StepKind for Http {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "http",
            doc: "an HTTP request; the output is the answer's body (parsed when it is JSON, else text), \
                  meta.status and meta.headers beside it; an answer other than 2xx fails the step",
            fields: FIELDS,
            open: false,
            exclusive: &[BODIES],
        }
    }

    fn perform(&self, context: &StepContext<'_>) -> Outcome {
        let parts = match prepare(context) {
            Ok(parts) => parts,
            Err(why) => return failed(ErrorClass::Step, why),
        };
        let exchange = context.outside.exchange(
            &Request {
                method: &parts.method,
                url: parts.url.as_str(),
                headers: &parts.headers,
                body: &parts.body,
                purpose: Purpose::Steps,
                public_only: parts.public_only,
                deadline: context.timeout,
                keep: MOST_BODY,
                read: MOST_BODY,
            },
            context.stop,
        );
        context.log(line::line(
            &parts.name(context.secrets),
            parts.body.len(),
            &exchange,
        ));
        let meta = exchange.response.as_ref().map(meta_of);
        match (exchange.error, exchange.response) {
            (None, Some(response)) => outcome(context, &parts, &response),
            (error, _) => {
                let unsaid = || (ErrorClass::Reset, "there was no answer".to_owned());
                let (class, why) = error.unwrap_or_else(unsaid);
                let error = StepError {
                    class,
                    message: format!(
                        "{}: {}",
                        parts.name(context.secrets),
                        told(context.secrets, &why)
                    ),
                };
                Outcome::Failed {
                    error,
                    status: None,
                    retry_after: None,
                    meta,
                }
            }
        }
    }
}

/// A request, ready to be sent.
struct Parts {
    method: String,
    url: Url,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    public_only: bool,
}

impl Parts {
    /// What the request is called in messages: no query, which may hold anything.
    fn name(&self, secrets: &Secrets) -> String {
        let port = self
            .url
            .port()
            .map_or(String::new(), |port| format!(":{port}"));
        format!(
            "{} {}{port}{}",
            self.method,
            self.url.host_str().unwrap_or_default(),
            told(secrets, self.url.path())
        )
    }
}

fn prepare(context: &StepContext<'_>) -> Result<Parts, String> {
    let none = Map::new();
    let input = context.input.as_object().unwrap_or(&none);
    let given = |name: &str| input.get(name).filter(|value| !value.is_null());

    let method = method_of(given("method"))?;
    let mut url = url_of(context, given("url"))?;
    let (host, port) = (
        url.host_str().unwrap_or_default().to_owned(),
        url.port_or_known_default().unwrap_or(0),
    );
    let hosts = given("hosts")
        .map(|hosts| may_reach(hosts, &host, port))
        .transpose()?;

    let named = given("headers")
        .and_then(Value::as_object)
        .is_some_and(|headers| {
            let mut names = headers.keys();
            names.any(|name| context.secrets.stand_in(&Value::from(name.as_str())))
        });
    if named {
        return Err("headers: a secret cannot stand in the name of a header".to_owned());
    }

    // From here on the host is settled, and secrets may be revealed to it.
    let reveal = |name: &str| {
        let value = given(name)
            .map(|value| context.secrets.reveal_in(value, &host, port))
            .transpose();
        value.map_err(|why| format!("{name}: {why}"))
    };
    if let Some(query) = reveal("query")? {
        append_query(&mut url, &pairs(&query, "query")?);
    }
    let mut headers = match reveal("headers")? {
        Some(value) => pairs(&value, "headers")?,
        None => Vec::new(),
    };
    for (name, value) in &headers {
        header(name, value).map_err(|why| format!("headers: {why}"))?;
    }
    let (content_type, body) = body_of(reveal("json")?, reveal("form")?, reveal("body")?)?;
    let defaults = [
        ("Content-Type", content_type.map(str::to_owned)),
        ("Idempotency-Key", Some(context.idempotency_key.clone())),
    ];
    for (name, value) in defaults {
        let set = headers
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name));
        headers.extend(value.filter(|_| !set).map(|value| (name.to_owned(), value)));
    }
    Ok(Parts {
        method,
        url,
        headers,
        body,
        public_only: context.host_from_template && hosts.is_none(),
    })
}

fn method_of(given: Option<&Value>) -> Result<String, String> {
    let method = text(given.unwrap_or(&json!("GET")), "method")?.to_ascii_uppercase();
    if METHODS.contains(&method.as_str()) {
        Ok(method)
    } else {
        Err(format!(
            "method: expected one of {}, got {method:?}",
            METHODS.join(", ")
        ))
    }
}

fn url_of(context: &StepContext<'_>, given: Option<&Value>) -> Result<Url, String> {
    let url = given.ok_or("url is missing")?;
    if context.secrets.stand_in(url) {
        return Err(
            "url: a secret cannot stand in a URL; put it in query, headers or the body".to_owned(),
        );
    }
    parse_url(&text(url, "url")?).map_err(|why| format!("url: {why}"))
}

/// Puts the pairs behind the query that the URL has.
fn append_query(url: &mut Url, pairs: &[(String, String)]) {
    let added = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", percent_encode(key), percent_encode(value)));
    let before = url.query().filter(|query| !query.is_empty());
    let query: Vec<String> = before.map(str::to_owned).into_iter().chain(added).collect();
    url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
}

/// Refuses a host that the step's `hosts` do not name.
fn may_reach(hosts: &Value, host: &str, port: u16) -> Result<(), String> {
    let hosts = hosts
        .as_array()
        .ok_or_else(|| format!("hosts: expected an array of hosts, got {}", kind_of(hosts)))?;
    for rule in hosts {
        let rule = HostRule::parse(&text(rule, "hosts")?).map_err(|why| format!("hosts: {why}"))?;
        if rule.covers(host, port) {
            return Ok(());
        }
    }
    Err(format!("{host}:{port} is not among the step's hosts"))
}

/// The body and its content type.
fn body_of(
    json: Option<Value>,
    form: Option<Value>,
    body: Option<Value>,
) -> Result<(Option<&'static str>, Vec<u8>), String> {
    match (json, form, body) {
        (None, None, None) => Ok((None, Vec::new())),
        (Some(json), None, None) => Ok((Some("application/json"), json.to_string().into_bytes())),
        (None, Some(form), None) => {
            let pairs = pairs(&form, "form")?;
            let encoded = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs)
                .finish();
            Ok((
                Some("application/x-www-form-urlencoded"),
                encoded.into_bytes(),
            ))
        }
        (None, None, Some(body)) => {
            let text = scalar(&body).unwrap_or_else(|| body.to_string());
            Ok((Some("text/plain; charset=utf-8"), text.into_bytes()))
        }
        _ => Err(format!("expected at most one of {}", BODIES.join(", "))),
    }
}

/// An object's members as texts, in order: a list repeats its key, null leaves it out.
fn pairs(value: &Value, field: &str) -> Result<Vec<(String, String)>, String> {
    let members = value
        .as_object()
        .ok_or_else(|| format!("{field}: expected an object, got {}", kind_of(value)))?;
    let mut pairs = Vec::new();
    for (key, value) in members {
        let items = match value {
            Value::Array(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        for item in items.iter().filter(|item| !item.is_null()) {
            let wrong = || {
                format!(
                    "{field}.{key}: expected text, a number or a boolean, got {}",
                    kind_of(item)
                )
            };
            pairs.push((key.clone(), scalar(item).ok_or_else(wrong)?));
        }
    }
    Ok(pairs)
}

fn text(value: &Value, field: &str) -> Result<String, String> {
    let wrong = || format!("{field}: expected text, got {}", kind_of(value));
    value.as_str().map(str::to_owned).ok_or_else(wrong)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `{status, headers}`; a repeated header's values are joined by a comma.
fn meta_of(response: &Response) -> Value {
    let mut headers = Map::new();
    for (name, value) in &response.headers {
        let joined = match headers.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        headers.insert(name.clone(), Value::String(joined));
    }
    json!({"status": response.status, "headers": headers})
}

/// The beginning of a text. Masked before it is cut: a cut value would not be known again.
fn told(secrets: &Secrets, text: &str) -> String {
    secrets.mask_text(text).trim().chars().take(TOLD).collect()
}

fn outcome(context: &StepContext<'_>, parts: &Parts, response: &Response) -> Outcome {
    let meta = Some(meta_of(response));
    let secrets = context.secrets;
    let answered = format!("{} answered {}", parts.name(secrets), response.status);
    if !(200..300).contains(&response.status) {
        let redirect = if (300..400).contains(&response.status) {
            " (redirects are not followed)"
        } else {
            ""
        };
        let told = told(secrets, &String::from_utf8_lossy(&response.body));
        let colon = if told.is_empty() { "" } else { ": " };
        return Outcome::Failed {
            error: StepError {
                class: ErrorClass::HttpStatus,
                message: format!("{answered}{redirect}{colon}{told}"),
            },
            status: Some(response.status),
            retry_after: asked_by(response, Clock::System.now()),
            meta,
        };
    }
    match body::output_of(response) {
        Ok(output) => Outcome::Done { output, meta },
        Err(why) => {
            let error = StepError {
                class: ErrorClass::Step,
                message: format!("{answered}, but {}", told(secrets, &why)),
            };
            Outcome::Failed {
                error,
                status: None,
                retry_after: None,
                meta,
            }
        }
    }
}

#[cfg(test)]
mod tests;
