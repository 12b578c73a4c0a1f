//! HTTP/1.1 by hand, both sides: what the tests send and read, byte by byte where that matters.
//!
//! Owns sockets and framing of the tests. Knows nothing of Skep's API.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long the tests wait for an answer before they call it a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request or an answer, whole.
#[derive(Debug, Clone)]
pub struct Message {
    /// The first line.
    pub start: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// After the framing was taken off.
    pub body: Vec<u8>,
}

impl Message {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads one message; `None` at a clean end of the stream. A message without a length has no body, unless it
/// `ends_with_the_stream`, as an answer may.
pub fn read_message(
    reader: &mut impl BufRead,
    ends_with_the_stream: bool,
) -> io::Result<Option<Message>> {
    read_head_and_body(reader, ends_with_the_stream, false)
}

/// The same; an answer to HEAD only announces its body.
fn read_head_and_body(
    reader: &mut impl BufRead,
    ends_with_the_stream: bool,
    announces_only: bool,
) -> io::Result<Option<Message>> {
    let Some(start) = read_line(reader)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut message = Message {
        start,
        headers,
        body: Vec::new(),
    };
    if announces_only {
        return Ok(Some(message));
    }
    if message
        .header("transfer-encoding")
        .is_some_and(|coding| coding.contains("chunked"))
    {
        read_chunks(reader, &mut message.body)?;
    } else if let Some(length) = message.header("content-length") {
        let length: usize = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        message.body = vec![0; length];
        reader.read_exact(&mut message.body)?;
    } else if ends_with_the_stream && !message.start.starts_with("HTTP/1.1 1") {
        reader.read_to_end(&mut message.body)?;
    }
    Ok(Some(message))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&line);
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let from = body.len();
        body.resize(from + size, 0);
        reader.read_exact(&mut body[from..])?;
        read_line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// An answer of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(fault) => panic!(
                "the answer {} is not JSON ({fault}): {}",
                self.status,
                self.text()
            ),
        }
    }

    /// The body, if the status is this one; the test ends otherwise.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "the answer was: {}", self.text());
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// The error envelope, checked: status, `error_code`, one text under both names, and the content type.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.status,
            status,
            "expected {code}, the answer was: {}",
            self.text()
        );
        let body = self.json();
        assert_eq!(body["error_code"], code, "{body}");
        assert!(
            body["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{body}"
        );
        assert_eq!(body["error"], body["message"], "{body}");
        assert!(
            body["field"].is_null() || body["field"].is_string(),
            "{body}"
        );
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(
            content_type.starts_with("application/json"),
            "{content_type}"
        );
        body
    }
}

/// A connection that stays open between requests.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    /// Connects.
    pub fn open(address: SocketAddr) -> io::Result<Wire> {
        Wire::open_within(address, PATIENCE)
    }

    /// Connects, and waits for nothing longer than this.
    pub fn open_within(address: SocketAddr, patience: Duration) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            reader: BufReader::new(stream),
        })
    }

    /// Waits that long for what comes, instead of the usual patience.
    pub fn wait_for(&mut self, time: Duration) -> io::Result<()> {
        self.reader.get_mut().set_read_timeout(Some(time))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Reads one answer, past any `100 Continue`.
    pub fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to("GET")
    }

    /// Reads the answer to a request of that method.
    fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        loop {
            let message = read_head_and_body(&mut self.reader, true, method == "HEAD")?;
            let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
            let status = message
                .start
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok());
            let status: u16 = status.ok_or(io::ErrorKind::InvalidData)?;
            if status != 100 {
                return Ok(Answer {
                    status,
                    headers: message.headers,
                    body: message.body,
                });
            }
        }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        // It may be closed already.
        let _ = self.reader.get_mut().shutdown(Shutdown::Write);
    }

    /// Whether the other side has closed: reads until it has, or until patience ends.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(fault) => fault.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Ask {
    address: SocketAddr,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    /// A request without headers or body.
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Ask {
        let (method, path) = (method.to_owned(), path.to_owned());
        Ask {
            address,
            method,
            path,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Ask {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this key instead of any other.
    pub fn key(self, key: &str) -> Ask {
        self.no_key()
            .header("Authorization", &format!("Bearer {key}"))
    }

    /// Without a key.
    pub fn no_key(mut self) -> Ask {
        self.headers.retain(|(name, _)| name != "Authorization");
        self
    }

    /// With a JSON body.
    pub fn json(self, value: &Value) -> Ask {
        self.body("application/json", value.to_string().as_bytes())
    }

    /// With a body of that type.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Ask {
        self.body = body.to_vec();
        self.header("Content-Type", content_type)
    }

    /// The request as bytes; `last` asks the server to close afterwards.
    pub fn bytes(&self, last: bool) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\n",
            self.method, self.path, self.address
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if last {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it on a connection of its own.
    pub fn try_send(&self) -> io::Result<Answer> {
        let mut wire = Wire::open(self.address)?;
        // An early refusal may close our side while the body is still being written: the answer counts.
        let sent = wire.send(&self.bytes(true));
        match wire.answer_to(&self.method) {
            Ok(answer) => Ok(answer),
            Err(fault) => Err(sent.err().unwrap_or(fault)),
        }
    }

    /// Everything that comes back until the server closes: for HEAD, whose answer announces a body that it has not.
    #[track_caller]
    pub fn raw(&self) -> String {
        let mut wire = Wire::open(self.address).expect("it listens");
        wire.send(&self.bytes(true)).expect("it reads");
        let mut all = Vec::new();
        wire.reader.read_to_end(&mut all).expect("an answer");
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Sends it; no answer ends the test.
    #[track_caller]
    pub fn send(&self) -> Answer {
        match self.try_send() {
            Ok(answer) => answer,
            Err(fault) => panic!("{} {}: no answer: {fault}", self.method, self.path),
        }
    }
}
