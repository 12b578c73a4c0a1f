//! The HTTP client: one exchange, with a deadline over all of it.
//!
//! Owns what is sent beside the caller's headers, what is kept of an answer, and how failures are classed and told.
//! Follows no redirect, uses no proxy, repeats nothing. No message holds a header, a body or a query string.
//!
//! Three deadlines only: resolving 3 s, connecting (TLS included) 5 s, the whole exchange `Request::deadline`.
//! Whichever passes, the class is `timeout`; the message says what was waited for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::header::{HeaderName, HeaderValue};
use ureq::http::{self, Method};

use super::call::{self, Call, Phase, Target, ms, with};
use super::email::MailServer;
use super::guard::{Guard, parse_url};
use super::resolve::Pool;
use super::tls::Trust;
use super::wire::{Door, Finder, literal, words};
use super::{Exchange, Mail, Outside, Request, Response};
use crate::bell::Stop;
use crate::flow::hosts::canonical;
use crate::flow::step::ErrorClass;

/// `User-Agent`, unless the caller gives one.
pub const USER_AGENT: &str = concat!("skep/", env!("CARGO_PKG_VERSION"));

/// The largest head of an answer.
const MOST_HEAD: usize = 16 << 10;
/// How much of an answer's headers is kept.
const MOST_HEADERS: usize = 8 << 10;
/// How many agents share the origins. ureq's search among its idle connections is quadratic and under one lock: with 64
/// of them to 16 origins, a third of a sender's time.
const AGENTS: usize = 8;
/// Idle connections that each agent keeps, for one origin or several.
const MOST_IDLE: usize = 32;
/// Below the 5 s after which common servers close an idle connection: a request sent just then would be lost, and
/// it may not be sent twice.
const IDLE: Duration = Duration::from_secs(4);

/// Headers that frame the message or name the host; they follow from the request itself.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The world outside, over HTTP, and over SMTP where there is a mail server. One for the whole process: it pools
/// connections.
#[derive(Debug)]
pub struct Client {
    agents: [Agent; AGENTS],
    guard: Arc<Guard>,
    pool: Arc<Pool>,
    trust: Trust,
    mail: Option<MailServer>,
}

impl Client {
    /// A client that goes where `guard` lets it. Names are resolved by `pool`, which needs threads of its own.
    /// TLS is believed as browsers believe it.
    pub fn new(guard: Arc<Guard>, pool: Arc<Pool>) -> Client {
        Client::with(guard, pool, Trust::default(), None)
    }

    /// The same, with authorities and a mail server of one's own.
    pub fn with(
        guard: Arc<Guard>,
        pool: Arc<Pool>,
        trust: Trust,
        mail: Option<MailServer>,
    ) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_response_header_size(MOST_HEAD)
            .accept_encoding("identity")
            .user_agent(USER_AGENT)
            .max_idle_connections(MOST_IDLE)
            .max_idle_connections_per_host(MOST_IDLE)
            .max_idle_age(IDLE)
            .build();
        Client {
            agents: std::array::from_fn(|_| {
                Agent::with_parts(config.clone(), Door(trust.clone()), Finder(pool.clone()))
            }),
            guard,
            pool,
            trust,
            mail,
        }
    }

    fn attempt(&self, request: &Request<'_>, stop: &Stop) -> Exchange {
        let (target, message) = match prepare(request) {
            Ok(prepared) => prepared,
            Err(why) => return refused(ErrorClass::Step, why),
        };
        let agent = self.agent(&target);
        let ((response, error), call) =
            call::within(target, &self.guard, request.deadline, stop, || {
                send(agent, request, message)
            });
        let Some(mut call) = call else {
            return refused(ErrorClass::Step, "the exchange was lost".to_owned());
        };
        if let Some(error) = error {
            tell(&mut call, &error);
        }
        Exchange {
            response,
            error: call.fault,
            timings: call.timings,
            remote_address: call.remote,
            duration_ms: 0,
        }
    }

    /// The one that keeps the connections to where this goes.
    fn agent(&self, target: &Target) -> &Agent {
        let mut hasher = DefaultHasher::new();
        (&target.host, target.port).hash(&mut hasher);
        &self.agents[hasher.finish() as usize % AGENTS]
    }
}

impl Outside for Client {
    fn exchange(&self, request: &Request<'_>, stop: &Stop) -> Exchange {
        timed(stop, || self.attempt(request, stop))
    }

    fn mail(&self, mail: &Mail<'_>, stop: &Stop) -> Exchange {
        let Some(server) = &self.mail else {
            return super::no_mail_server();
        };
        timed(stop, || {
            server.send(mail, &self.guard, &self.pool, &self.trust, stop)
        })
    }
}

/// Runs the exchange; what arrived, and the error that ended it early.
fn send(
    agent: &Agent,
    request: &Request<'_>,
    message: http::Request<()>,
) -> (Option<Response>, Option<ureq::Error>) {
    // A method that usually has a body says so even when it is empty.
    let has_body = !request.body.is_empty() || matches!(request.method, "POST" | "PUT" | "PATCH");
    let answer = match has_body {
        true => agent.run(message.map(|()| request.body)),
        false => agent.run(message),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (None, Some(error)),
    };
    let noted = with(|call| {
        call.timings.first_byte_ms = call.sent.map(|sent| ms(sent.elapsed()));
        call.phase = Phase::Reading;
    });
    let (head, body) = answer.into_parts();
    let mut response = Response {
        status: head.status.as_u16(),
        headers: kept_headers(&head.headers),
        ..Response::default()
    };
    let read = read_body(
        body.into_reader(),
        request.keep,
        request.read.max(request.keep),
        &mut response,
    );
    (
        Some(response),
        noted.err().or(read.err().map(ureq::Error::from)),
    )
}

fn timed(stop: &Stop, act: impl FnOnce() -> Exchange) -> Exchange {
    let started = Instant::now();
    let mut exchange = match stop.is_asked() {
        true => refused(ErrorClass::Cancelled, "the request was stopped".to_owned()),
        false => act(),
    };
    exchange.duration_ms = ms(started.elapsed());
    exchange
}

fn refused(class: ErrorClass, why: String) -> Exchange {
    Exchange {
        error: Some((class, why)),
        ..Exchange::default()
    }
}

/// Checks everything that a person may have written, and puts it into ureq's terms.
fn prepare(request: &Request<'_>) -> Result<(Target, http::Request<()>), String> {
    let mut url = parse_url(request.url)?;
    url.set_fragment(None);
    let host = url.host().ok_or("the URL has no host")?;
    let target = Target {
        host: canonical(&host.to_string()),
        literal: literal(&host),
        port: url.port_or_known_default().ok_or("the URL has no port")?,
        purpose: request.purpose,
        public_only: request.public_only,
    };
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| format!("{:?} is not a method", request.method))?;
    let mut message = http::Request::new(());
    *message.uri_mut() = url
        .as_str()
        .parse()
        .map_err(|why| format!("the URL cannot be sent: {why}"))?;
    *message.method_mut() = method;
    for (name, value) in request.headers {
        let (name, value) = header(name, value)?;
        message.headers_mut().append(name, value);
    }
    Ok((target, message))
}

/// A header as a person wrote it, checked. The error names the header and never holds its value.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let lower = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        format!("{name:?} is not a header name: expected letters, digits and dashes")
    })?;
    if OURS.contains(&lower.as_str()) {
        return Err(format!(
            "the header {name} cannot be set: it follows from the request"
        ));
    }
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        format!("the value of the header {name} holds a line break or another control character")
    })?;
    Ok((lower, value))
}

fn kept_headers(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let mut room = MOST_HEADERS;
    let all = headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    all.take_while(|(name, value)| {
        let size = name.len() + value.len();
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    })
    .collect()
}

/// Reads until the end, or one byte past `most`, which says that there is more. Reading to the very end is what lets
/// the connection be used again.
fn read_body(
    mut body: impl Read,
    keep: usize,
    most: usize,
    response: &mut Response,
) -> io::Result<()> {
    let mut chunk = [0; 8192];
    let mut seen = 0;
    let result = loop {
        let room = (most + 1 - seen).min(chunk.len());
        match body.read(&mut chunk[..room]) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                let wanted = keep.saturating_sub(response.body.len()).min(read);
                response.body.extend_from_slice(&chunk[..wanted]);
                seen += read;
                if seen > most {
                    break Ok(());
                }
            }
            Err(why) => break Err(why),
        }
    };
    response.truncated = seen > response.body.len();
    response.bytes_seen = seen.min(most) as u64;
    result
}

/// Classes an error that no part of ours has told yet.
fn tell(call: &mut Call, error: &ureq::Error) {
    let host = call.target.host.clone();
    let not_http =
        |why: &dyn std::fmt::Display| format!("the answer from {host} is not proper HTTP: {why}");
    match error {
        ureq::Error::Io(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
            call.broken("it closed the connection")
        }
        // What rustls says of a connection that is up already.
        ureq::Error::Io(why) if why.kind() == io::ErrorKind::InvalidData => call.fail(
            ErrorClass::Tls,
            format!("TLS with {host} failed: {}", words(why)),
        ),
        ureq::Error::Io(why) => call.broken(&words(why)),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired => {
            call.fail(ErrorClass::Tls, format!("TLS with {host} failed: {error}"))
        }
        ureq::Error::LargeResponseHeader(..) => call.fail(
            ErrorClass::Reset,
            not_http(&format_args!("its head is larger than {MOST_HEAD} bytes")),
        ),
        ureq::Error::Protocol(why) => call.fail(ErrorClass::Reset, not_http(why)),
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => call.fail(
            ErrorClass::Step,
            "the request cannot be sent: its URL or a header is malformed".to_owned(),
        ),
        other => call.broken(&other.to_string()),
    };
}

#[cfg(test)]
mod tests;
