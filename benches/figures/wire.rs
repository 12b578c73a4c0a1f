//! A minimal HTTP/1.1 client on one keep-alive connection: writes a request at once, reads its answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::{Result, fault};

/// Longer than any answer that is waited for; beyond it something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest head that is read.
const MOST_HEAD: usize = 64 << 10;

/// A message as it came: its head, and its body.
#[derive(Debug)]
pub struct Message {
    /// First line and headers.
    pub head: String,
    /// Whole.
    pub body: Vec<u8>,
}

/// Reads messages that announce their length from one stream.
#[derive(Debug)]
pub struct Reader {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Reader {
    /// On that stream.
    pub fn new(stream: TcpStream) -> Reader {
        Reader {
            stream,
            seen: Vec::with_capacity(4096),
        }
    }

    /// The next message; `None` if the other side closed between two.
    pub fn next(&mut self) -> Result<Option<Message>> {
        let end = loop {
            if let Some(at) = self.seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
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
        let head = String::from_utf8_lossy(&self.seen[..end]).into_owned();
        let whole = end + length(&head)?;
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
    pub fn stream(&mut self) -> &mut TcpStream {
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

fn length(head: &str) -> Result<usize> {
    for line in head.split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    Ok(0)
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
        let answer = self.0.next()?.ok_or_else(|| fault("closed unanswered"))?;
        let status = answer.head.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok((status, answer.body))
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
