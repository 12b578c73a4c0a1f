//! A stream of events: the request, the head, and then the pieces as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use skep::bench::wire::status;
use skep::bench::{Result, fault};

use crate::ask::get;

/// The server speaks every 15 s; what is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(40);

/// The longest piece that is read.
const MOST: usize = 16 << 20;

/// An open stream.
pub struct Stream {
    lines: BufReader<TcpStream>,
    is_chunked: bool,
}

impl Stream {
    /// Opens `/v1/events` with that query.
    pub fn open(addr: SocketAddr, query: &str) -> Result<Stream> {
        let mut socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.write_all(&get(&format!("/v1/events?{query}")))?;
        let mut lines = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head)? == 0 {
                return Err(fault("the stream was closed unanswered"));
            }
        }
        match status(head.as_bytes()) {
            200 => Ok(Stream {
                lines,
                is_chunked: head.to_ascii_lowercase().contains("chunked"),
            }),
            other => Err(fault(format!("/v1/events is answered {other}"))),
        }
    }

    /// To end it from another thread.
    pub fn socket(&self) -> Result<TcpStream> {
        Ok(self.lines.get_ref().try_clone()?)
    }

    /// The next piece; none: it is over.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if !self.is_chunked {
            let piece = self.lines.fill_buf()?.to_vec();
            self.lines.consume(piece.len());
            return Ok((!piece.is_empty()).then_some(piece));
        }
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16)?;
        if size > MOST {
            return Err(fault("a piece of a stream is too long"));
        }
        let mut piece = vec![0; size + 2];
        self.lines.read_exact(&mut piece)?;
        piece.truncate(size);
        Ok((size > 0).then_some(piece))
    }
}
