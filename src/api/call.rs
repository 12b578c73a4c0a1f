//! Plain values of the front door: what was asked, what is answered. No sockets, no HTTP library.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::door::Responder;
use crate::api::feed::Frames;
use crate::error::{Code, Error, Result};
use crate::flow::names::kind_of;
use crate::id::Id;

/// A whole, bounded request.
#[derive(Debug, Clone)]
pub struct Call {
    /// The head, judged before the body was read.
    pub head: Head,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct Head {
    /// Upper case.
    pub method: String,
    /// The path as it came, percent-encoded, without the query and without `public_url`'s base path.
    pub path: String,
    /// The query as it came, without `?`. May hold a secret: never log it.
    pub query: String,
    /// Lower-case names; in values that are not UTF-8, U+FFFD stands for what cannot be read.
    pub headers: Vec<(String, String)>,
    /// The client's address: the peer's, or what a trusted proxy says.
    pub peer: IpAddr,
}

impl Head {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every header of that (lower-case) name, in order.
    pub fn headers_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query's pairs, decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned()
    }
}

/// What a handler decides.
#[derive(Debug)]
pub enum Answer {
    /// The answer is here.
    Now(Reply),
    /// The answer is that run's end; whoever waits holds no thread meanwhile.
    WhenEnded {
        /// Whose end.
        run_id: Id,
        /// Whether this repeats an earlier answer (`Idempotent-Replayed`).
        replayed: bool,
    },
    /// The answer begins with a head and goes on, frame by frame; its reply has no body.
    Stream(Reply, Frames),
    /// The answer comes from whoever finishes the work; the handler only hands it on. Must not block.
    Later(Later),
}

/// Hands on who is to be answered.
pub struct Later(Box<dyn FnOnce(Responder) + Send>);

impl Later {
    /// `go` is called once, with who is to be answered.
    pub fn new(go: impl FnOnce(Responder) + Send + 'static) -> Later {
        Later(Box::new(go))
    }

    /// Hands the responder on.
    pub fn go(self, responder: Responder) {
        (self.0)(responder);
    }
}

impl std::fmt::Debug for Later {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// An answer, ready to be sent.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Further headers; `Content-Length` is the server's business.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, value: &impl Serialize) -> Reply {
        let mut body = text(value);
        body.push(b'\n');
        Reply {
            status,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body,
        }
    }

    /// The one place where an error becomes an answer.
    pub fn error(error: &Error) -> Reply {
        let row = error.code.row();
        let message = match error.code {
            // The log has the text; a caller learns no internals.
            Code::InternalServerError => row.message,
            _ => error.message.as_str(),
        };
        let mut body = Map::new();
        body.insert("error".to_owned(), message.into());
        body.insert("message".to_owned(), message.into());
        body.insert("error_code".to_owned(), row.name.into());
        if let Some(field) = &error.field {
            body.insert("field".to_owned(), field.as_str().into());
        }
        if let Some(details) = &error.details {
            body.extend(details.as_ref().clone());
        }
        let mut reply = Reply::json(error.status(), &Value::Object(body));
        if let Some(seconds) = error.retry_after {
            reply = reply.header("Retry-After", seconds.to_string());
        }
        if error.code == Code::InvalidAccess {
            reply = reply.header("WWW-Authenticate", "Bearer");
        }
        if error.code == Code::MethodNotAllowed
            && let Some(allow) = error
                .details
                .as_ref()
                .and_then(|details| details.get("allow")?.as_str())
        {
            reply = reply.header("Allow", allow);
        }
        reply
    }

    /// The same answer with one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

impl Call {
    /// The body as a JSON object; an absent body equals `{}`.
    pub fn object(&self) -> Result<Map<String, Value>> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(other) => Err(Error::invalid(
                "",
                format!("expected a JSON object, got {}", kind_of(&other)),
            )),
            Err(fault) => Err(malformed(&fault)),
        }
    }
}

/// What is longer is counted before it is written.
const COUNTED: usize = 256 << 10;

/// A value as compact JSON, with room for one byte more. A long text is not grown into, which takes twice the room and
/// more, but written into the room that it needs.
fn text(value: &impl Serialize) -> Vec<u8> {
    let mut text = Bounded {
        kept: Vec::with_capacity(128),
        most: COUNTED,
        length: 0,
    };
    // Neither what is answered nor a `Vec` has a way to fail.
    drop(serde_json::to_writer(&mut text, value));
    if text.length > COUNTED {
        text = Bounded {
            kept: Vec::with_capacity(text.length + 1),
            most: usize::MAX,
            length: 0,
        };
        drop(serde_json::to_writer(&mut text, value));
    }
    text.kept
}

/// Keeps what is written up to a length, and counts the rest.
struct Bounded {
    kept: Vec<u8>,
    most: usize,
    length: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.length += bytes.len();
        if self.length <= self.most {
            self.kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The 400 of a body that is not JSON. The parser ends its sentence with the place, which is said already.
fn malformed(fault: &serde_json::Error) -> Error {
    let (line, column) = (fault.line(), fault.column());
    let full = fault.to_string();
    let place = format!(" at line {line} column {column}");
    let why = full.strip_suffix(&place).unwrap_or(&full);
    let message = format!("malformed JSON at line {line}, column {column}: {why}");
    Error::new(Code::MalformedBody, message)
        .with("line", line)
        .with("column", column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_written_whole_into_the_room_that_it_needs() {
        for length in [0, COUNTED - 3, COUNTED - 2, COUNTED - 1, 3 * COUNTED] {
            let value = Value::from("x".repeat(length));
            let body = Reply::json(200, &value).body;
            assert_eq!(body, format!("{value}\n").into_bytes(), "{length}");
            if length >= COUNTED {
                assert_eq!(body.capacity(), body.len());
            }
        }
    }
}
