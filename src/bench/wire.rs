//! HTTP/1.1 by hand, as little of it as a load needs: requests as bytes, one client on a keep-alive connection, and how
//! long a message is.
//!
//! Loopback only: messages announce their length, and heads are ours or Skep's own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Result, fault};

/// Longer than any answer that is waited for; beyond it something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest head that is read.
const MOST_HEAD: usize = 64 << 10;

/// Where the head of a message ends and where its length stands. The messages of one load are alike, so that the last
/// one's shape is tried first and a head is searched through but once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    head: usize,
    digits: Option<usize>,
}

const END: &[u8] = b"\r\n\r\n";
const LENGTH: &[u8] = b"\r\ncontent-length: ";

impl Shape {
    /// The shape of the message that these bytes begin with. `None`: its head is not whole.
    pub fn of(bytes: &[u8]) -> Option<Shape> {
        let head = bytes.windows(4).position(|window| window == END)? + 4;
        let digits = bytes[..head]
            .windows(LENGTH.len())
            .position(|window| window.eq_ignore_ascii_case(LENGTH))
            .map(|at| at + LENGTH.len());
        Some(Shape { head, digits })
    }

    /// Where the head ends.
    pub fn end(self) -> usize {
        self.head
    }

    fn fits(self, bytes: &[u8]) -> bool {
        let is = |end: usize, word: &[u8]| {
            end >= word.len()
                && bytes
                    .get(end - word.len()..end)
                    .is_some_and(|found| found.eq_ignore_ascii_case(word))
        };
        is(self.head, END) && self.digits.is_some_and(|at| is(at, LENGTH))
    }

    /// The length of the whole message, body included; `self` is left as its shape. `None`: the head is not whole.
    pub fn whole(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.fits(bytes) {
            *self = Shape::of(bytes)?;
        }
        let digits = &bytes[self.digits.unwrap_or(self.head)..self.head];
        let body =
            digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0_usize, |sum, byte| {
                    sum.saturating_mul(10)
                        .saturating_add(usize::from(byte - b'0'))
                });
        Some(self.head.saturating_add(body))
    }
}

impl Default for Shape {
    /// One that fits nothing.
    fn default() -> Shape {
        Shape {
            head: 0,
            digits: None,
        }
    }
}

/// The status of an answer that begins with these bytes; 0 if it has none.
pub fn status(answer: &[u8]) -> u16 {
    let digits = answer
        .get(9..12)
        .and_then(|text| std::str::from_utf8(text).ok());
    digits.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A message as it came: its head, and its body.
#[derive(Debug)]
struct Message {
    /// First line and headers.
    head: String,
    /// Whole.
    body: Vec<u8>,
}

/// Reads messages that announce their length from one stream.
#[derive(Debug)]
struct Reader {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Reader {
    /// On that stream.
    fn new(stream: TcpStream) -> Reader {
        Reader {
            stream,
            seen: Vec::with_capacity(4096),
        }
    }

    /// The next message; `None` if the other side closed between two.
    fn message(&mut self) -> Result<Option<Message>> {
        let mut shape = Shape::default();
        let whole = loop {
            if let Some(whole) = shape.whole(&self.seen) {
                break whole;
            }
            if self.seen.len() > MOST_HEAD {
                return Err(fault("a head without an end"));
            }
            if !self.more()? {
                return if self.seen.is_empty() {
                    Ok(None)
                } else {
                    Err(fault("cut within a head"))
                };
            }
        };
        let end = shape.head;
        let head = String::from_utf8_lossy(&self.seen[..end]).into_owned();
        while self.seen.len() < whole {
            if !self.more()? {
                return Err(fault("cut within a body"));
            }
        }
        let body = self.seen[end..whole].to_vec();
        self.seen.drain(..whole);
        Ok(Some(Message { head, body }))
    }

    /// The stream, to write to.
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn more(&mut self) -> Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.seen.extend_from_slice(&chunk[..read]);
                    return Ok(true);
                }
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.into()),
            }
        }
    }
}

/// A request's bytes.
pub fn request(method: &str, path: &str, key: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One connection to the server.
#[derive(Debug)]
pub struct Client(Reader);

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Result<Client> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client(Reader::new(stream)))
    }

    /// Sends a whole request; its status and body.
    pub fn send(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.0.stream().write_all(request)?;
        let answer = self
            .0
            .message()?
            .ok_or_else(|| fault("closed unanswered"))?;
        Ok((status(answer.head.as_bytes()), answer.body))
    }

    /// Sends a request that must be answered with one of these statuses; its body as JSON.
    pub fn expect(&mut self, request: &[u8], statuses: &[u16]) -> Result<Value> {
        let (status, body) = self.send(request)?;
        let text = String::from_utf8_lossy(&body);
        if !statuses.contains(&status) {
            return Err(fault(format!(
                "answered {status}, not {statuses:?}: {text}"
            )));
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_long_as_its_head_says() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\nx: y\r\n\r\n{\"a\": \"b c\"}";
        let mut shape = Shape::default();
        assert_eq!(shape.whole(&answer[..30]), None);
        assert_eq!(shape.whole(answer), Some(answer.len()));
        assert_eq!(status(answer), 202);
        let known = shape;
        let alike = b"HTTP/1.1 202 Accepted\r\nContent-Length: 42\r\nx: z\r\n\r\n";
        assert_eq!(shape.whole(alike), Some(alike.len() + 42));
        assert_eq!(shape, known);
        let other = b"HTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(shape.whole(other), Some(other.len()));
        assert_eq!((status(b"HTTP/1.1"), status(b"HTTP/1.1 abc")), (0, 0));
    }
}
