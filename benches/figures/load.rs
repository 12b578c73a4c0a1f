//! The load: some connections, each sending its next request when the last is answered, all served by one thread, so that
//! the load takes as little as it can of the cores that the server needs.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::stats::Times;
use crate::wire::Client;
use crate::{Result, fault};

/// A load that takes longer is cut; its rate counts what was answered by then.
const MOST: Duration = Duration::from_secs(20);

/// How long nothing may happen.
const SILENCE: Duration = Duration::from_secs(10);

/// What became of a load.
#[derive(Debug)]
pub struct Loaded {
    /// Answers a second.
    pub rate: f64,
    /// Of each answer.
    pub times: Times,
}

/// One connection, with its request in flight.
struct Line {
    stream: TcpStream,
    seen: Vec<u8>,
    begun: Instant,
}

impl Line {
    fn ask(&mut self, request: &[u8]) -> Result<()> {
        self.begun = Instant::now();
        // A request fits the socket's buffer, which is empty when the last one is answered.
        let written = self.stream.write(request)?;
        match written == request.len() {
            true => Ok(()),
            false => Err(fault("a request was written in part")),
        }
    }

    /// Whether the answer is whole; its status is checked.
    fn is_answered(&mut self, status: &str) -> Result<bool> {
        let mut chunk = [0; 8192];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(fault("closed unanswered")),
                Ok(read) => self.seen.extend_from_slice(&chunk[..read]),
                Err(why) if why.kind() == ErrorKind::WouldBlock => break,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why.into()),
            }
        }
        let Some(end) = self.seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return Ok(false);
        };
        let head = String::from_utf8_lossy(&self.seen[..end]);
        let length: usize = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        if self.seen.len() < end + 4 + length {
            return Ok(false);
        }
        if head.split(' ').nth(1) != Some(status) {
            let answer = String::from_utf8_lossy(&self.seen).into_owned();
            return Err(fault(format!("expected {status}, got: {answer}")));
        }
        self.seen.clear();
        Ok(true)
    }
}

/// Sends `request` `count` times over `connections`; an answer other than `status` is a fault.
pub fn load(
    addr: SocketAddr,
    connections: usize,
    count: usize,
    request: &[u8],
    status: u16,
) -> Result<Loaded> {
    let mut poll = Poll::new()?;
    let mut lines = Vec::with_capacity(connections);
    for number in 0..connections {
        // Connected before the load begins.
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)?;
        lines.push(Line {
            stream,
            seen: Vec::new(),
            begun: Instant::now(),
        });
    }
    let (begun, status) = (Instant::now(), status.to_string());
    let mut times = Vec::with_capacity(count);
    let mut sent = 0;
    for line in &mut lines {
        line.ask(request)?;
        sent += 1;
    }
    let mut events = Events::with_capacity(connections);
    while times.len() < sent {
        poll.poll(&mut events, Some(SILENCE))?;
        if events.is_empty() {
            return Err(fault("no answer for 10 s"));
        }
        for event in &events {
            let line = &mut lines[event.token().0];
            if line.is_answered(&status)? {
                times.push(line.begun.elapsed());
                if sent < count && begun.elapsed() < MOST {
                    line.ask(request)?;
                    sent += 1;
                }
            }
        }
    }
    Ok(Loaded {
        rate: times.len() as f64 / begun.elapsed().as_secs_f64(),
        times: Times::new(times),
    })
}

/// The times of `count` requests one after the other, `pause` between them.
pub fn singles(
    client: &mut Client,
    count: usize,
    pause: Duration,
    request: &[u8],
    status: u16,
) -> Result<Times> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        thread::sleep(pause);
        let begun = Instant::now();
        client.expect(request, &[status])?;
        times.push(begun.elapsed());
    }
    Ok(Times::new(times))
}

/// Threads that do something on their own, whose results are wanted later.
pub fn beside<T: Send + 'static>(
    count: usize,
    work: impl Fn(usize) -> Result<T> + Send + Sync + 'static,
) -> Vec<thread::JoinHandle<Result<T>>> {
    let work = Arc::new(work);
    (0..count)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || work(number))
        })
        .collect()
}
