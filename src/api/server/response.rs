//! How a reply leaves: as the HTTP library's response, or as bytes where the library does not answer.
//!
//! Owns the headers that every answer carries, and the budget of answers that clients have not read yet.

use std::net::IpAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::api::approve;
use crate::api::budget::{Budget, Held};
use crate::api::call::{Head, Reply};
use crate::api::server::body::{Outcome, Sending};
use crate::error::{Code, Error, Result};
use crate::id::{Dice, Id};
use crate::time::Clock;

/// Answers up to this size are sent even when the budget for answers is spent.
const SMALL_ANSWER: usize = 16 << 10;

/// What is still needed of a head when the answer is made.
pub struct Seen {
    /// For the log.
    pub method: String,
    /// Whose share of the budget an answer takes.
    pub peer: IpAddr,
    /// Whether the answer may be taken back, because asking changed nothing.
    is_safe: bool,
    /// Whether the answer must not be cached unless it says so.
    is_api: bool,
    /// The languages that a person asks for, if it is a person's page.
    page: Option<String>,
}

impl Seen {
    /// What to remember of that head.
    pub fn of(head: &Head) -> Seen {
        Seen {
            method: head.method.clone(),
            peer: head.peer,
            is_safe: matches!(head.method.as_str(), "GET" | "HEAD"),
            is_api: head.path.starts_with("/v1/"),
            page: approve::is_page(&head.path).then(|| {
                let languages = head.header("accept-language");
                languages.unwrap_or_default().to_owned()
            }),
        }
    }
}

/// An error's answer. A bug gets an id, which the log has beside the text that no caller sees.
pub fn refusal(mut error: Error) -> Reply {
    if error.code == Code::InternalServerError {
        let id = Id::new(Clock::System.now(), &Dice::System).prefixed("err_");
        log::error!("{id}: {error}");
        error = error.with("id", id);
    }
    Reply::error(&error)
}

/// An error's answer, for a person on the page where it is one that a person can mend.
pub fn told(error: Error, seen: &Seen) -> Reply {
    match (&seen.page, error.code) {
        (Some(languages), Code::BodyTooLarge) => approve::too_large(languages),
        _ => refusal(error),
    }
}

/// An error as bytes, for a connection that the library does not serve, or no longer.
pub fn canned(error: &Error) -> Vec<u8> {
    let reply = Reply::error(error);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut text = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n",
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend(reply.body);
    bytes
}

/// The 503 of a client that leaves too much unread.
pub fn too_many_unread() -> Error {
    Error::unavailable("Too many answers are unread. Try again later.")
}

/// The library's response; its bytes count against `answers` until the last one has left.
pub fn of(outcome: Outcome, seen: &Seen, answers: &Budget) -> Response<Sending> {
    let Outcome { mut reply, frames } = outcome;
    let mut held = answers.hold(Some(seen.peer));
    if !held.grow(reply.body.len()) {
        // Whoever has read all else gets even what is over its share: asked for again, it would be as large.
        let is_first = answers.used_by(seen.peer) == 0;
        // Only what can be asked for again is taken back: anything else may have been done.
        if seen.is_safe && reply.body.len() > SMALL_ANSWER && !is_first {
            reply = Reply::error(&too_many_unread());
        }
        held.force(reply.body.len());
    }
    let headers = checked_headers(&reply).unwrap_or_else(|error| {
        reply = refusal(error);
        checked_headers(&reply).unwrap_or_default()
    });
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match frames {
        Some(frames) => Sending::Frames(frames),
        None => Sending::Whole(Full::new(Bytes::from_owner(Sent {
            body: reply.body,
            _held: held,
        }))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let map = response.headers_mut();
    for (name, value) in headers {
        // A second Set-Cookie must not replace the first.
        map.append(name, value);
    }
    map.entry(X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    if seen.is_api || status.is_client_error() || status.is_server_error() {
        map.entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// The headers, checked: a value with a line break must not become a header of its own.
fn checked_headers(reply: &Reply) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let checked = |(name, value): &(&'static str, String)| {
        let fault = || Error::internal(format_args!("the value of header {name} cannot be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        Ok((name, HeaderValue::from_str(value).map_err(|_| fault())?))
    };
    reply.headers.iter().map(checked).collect()
}

/// An answer's bytes, with their part of the budget.
struct Sent {
    body: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
