//! The only way out of the process.
//!
//! Owns deadlines, caps, the address guard and signatures. Knows nothing of runs, deliveries or rows.

mod call;
pub mod guard;
pub mod http;
pub mod resolve;
pub mod retry_after;
pub mod sign;
pub mod skep;
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

/// The world outside. The real one is [`http::Client`]; tests bring their own.
pub trait Outside: Send + Sync {
    /// Makes one exchange. Ends by the deadline, and at once when `stop` is asked.
    fn exchange(&self, request: &Request<'_>, stop: &Stop) -> Exchange;
}
