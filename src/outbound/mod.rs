//! The only way out of the process.
//!
//! Owns deadlines, caps, the address guard and signatures. Knows nothing of runs, deliveries or rows.

mod call;
pub mod chat;
pub mod email;
pub mod guard;
pub mod http;
pub mod notice;
pub mod resolve;
pub mod retry_after;
pub mod sign;
pub mod skep;
pub mod tls;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use crate::bell::Stop;
use crate::flow::step::ErrorClass;

/// Why a request leaves: each purpose has its own allow list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A run's result.
    Callbacks,
    /// An http step.
    Steps,
    /// A message to a person.
    Notifications,
}

/// One HTTP exchange to be made. No redirects are followed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Absolute, http or https, without userinfo.
    pub url: &'a str,
    /// In the order they are sent.
    pub headers: &'a [(String, String)],
    /// Empty for none.
    pub body: &'a [u8],
    /// Which allow list applies.
    pub purpose: Purpose,
    /// Only public addresses, whatever is allowed.
    pub public_only: bool,
    /// The whole exchange, the answer's body included.
    pub deadline: Duration,
    /// How many bytes of the answer's body to keep.
    pub keep: usize,
    /// How many bytes of the answer's body to read before closing; at least `keep`.
    pub read: usize,
}

/// What became of a request. Times in whole milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    /// The answer, if its head arrived.
    pub response: Option<Response>,
    /// Why the exchange failed; a status is never a failure here.
    pub error: Option<(ErrorClass, String)>,
    /// How long each part took.
    pub timings: Timings,
    /// The address that was connected to.
    pub remote_address: Option<SocketAddr>,
    /// From the start to the end.
    pub duration_ms: u64,
}

/// How long each part of an exchange took; `None` where it did not happen (a reused connection has no `connect_ms`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving the name.
    pub dns_ms: Option<u64>,
    /// Connecting.
    pub connect_ms: Option<u64>,
    /// The TLS handshake.
    pub tls_ms: Option<u64>,
    /// From sending to the head of the answer.
    pub first_byte_ms: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Lower-case names, in order; at most 8 KiB together.
    pub headers: Vec<(String, String)>,
    /// The first `keep` bytes.
    pub body: Vec<u8>,
    /// How many bytes of the body were read.
    pub bytes_seen: u64,
    /// Whether the body went on past what was kept.
    pub truncated: bool,
}

impl Response {
    /// The value of the first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One e-mail to be handed to the mail server, which the [`Outside`] knows.
#[derive(Debug)]
pub struct Mail<'a> {
    /// The address it goes to.
    pub to: &'a str,
    /// Whose it is.
    pub name: &'a str,
    /// One line; what is no text of one line is made one.
    pub subject: &'a str,
    /// For programs that show text.
    pub text: &'a str,
    /// For those that show HTML.
    pub html: &'a str,
    /// Tells one mail from another, the same on every attempt: letters, digits, `.`, `_` and `-`.
    pub id: &'a str,
    /// The language of both parts, as a tag (`de`).
    pub language: &'a str,
    /// The whole exchange, from the name to the last reply.
    pub deadline: Duration,
}

/// The world outside. The real one is [`http::Client`]; tests bring their own.
pub trait Outside: Send + Sync {
    /// Makes one exchange. Ends by the deadline, and at once when `stop` is asked.
    fn exchange(&self, request: &Request<'_>, stop: &Stop) -> Exchange;

    /// Hands over one e-mail, in the same way. The answer is the mail server's reply: `status` its code, `body` its
    /// text; unless it took the mail, the error says so. A world without mail servers says that there is none.
    fn mail(&self, mail: &Mail<'_>, stop: &Stop) -> Exchange {
        let _ = (mail, stop);
        no_mail_server()
    }
}

fn no_mail_server() -> Exchange {
    let why = "there is no mail server: smtp_url is not set".to_owned();
    Exchange {
        error: Some((ErrorClass::Connect, why)),
        ..Exchange::default()
    }
}

/// What stands where a secret stood.
const MASK: &str = "••••";
/// So much of a secret's beginning at the end of a text that was cut is taken for its beginning.
const TELLING: usize = 6;

/// Takes secrets out of what came back: another side may repeat what it was told. Longer ones first, where one holds
/// another.
pub fn mask(exchange: &mut Exchange, secrets: &[String]) {
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if let Some((_, why)) = &mut exchange.error {
            *why = why.replace(secret, MASK);
        }
        if let Some(response) = &mut exchange.response {
            for (_, value) in &mut response.headers {
                *value = value.replace(secret, MASK);
            }
            mask_bytes(&mut response.body, secret.as_bytes());
        }
    }
}

fn mask_bytes(body: &mut Vec<u8>, secret: &[u8]) {
    let mut masked = Vec::with_capacity(body.len());
    let mut rest = body.as_slice();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(secret) {
            masked.extend_from_slice(MASK.as_bytes());
            rest = after;
        } else {
            masked.push(rest[0]);
            rest = &rest[1..];
        }
    }
    // The end may have been cut in the middle of one.
    let longest = secret.len().min(masked.len());
    let part = (TELLING..longest)
        .rev()
        .find(|length| masked.ends_with(&secret[..*length]));
    if let Some(length) = part {
        masked.truncate(masked.len() - length);
        masked.extend_from_slice(MASK.as_bytes());
    }
    *body = masked;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_repeated_is_masked_wherever_it_stands_and_where_it_was_cut() {
        let body = b"see s3cr3t-token, s3cr3t-token and s3cr3t-to".to_vec();
        let mut exchange = Exchange {
            response: Some(Response {
                headers: vec![("location".to_owned(), "/s3cr3t-token".to_owned())],
                body,
                ..Response::default()
            }),
            error: Some((ErrorClass::HttpStatus, "no s3cr3t-token".to_owned())),
            ..Exchange::default()
        };
        mask(&mut exchange, &[String::new(), "s3cr3t-token".to_owned()]);
        let response = exchange.response.expect("an answer");
        let body = String::from_utf8(response.body).expect("text");
        assert_eq!(body, "see ••••, •••• and ••••");
        assert_eq!(response.headers[0].1, "/••••");
        assert_eq!(exchange.error.expect("an error").1, "no ••••");
    }
}
