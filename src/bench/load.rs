//! The load: some connections, each sending its next request when the last is answered, all served by one thread, so that
//! the load takes as little as it can of the cores that the server needs.
//!
//! Requests are ready bytes; of an answer only its status and its length are looked at, and it is read at one go.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::bench::stats::Times;
use crate::bench::wire::{Client, Shape, status};
use crate::bench::{Result, fault};

/// How long nothing may happen.
const SILENCE: Duration = Duration::from_secs(30);

/// Room for one answer.
const ROOM: usize = 16 << 10;

/// How long a load goes on.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// So many requests are answered; those not sent after 20 s are left out, and the rate counts the others.
    Sent(usize),
    /// So much time is over; what is in flight then is waited for.
    Over(Duration),
}

impl Until {
    /// Whether another request is to be sent.
    fn goes_on(self, sent: usize, after: Duration) -> bool {
        match self {
            Until::Sent(count) => sent < count && after < Duration::from_secs(20),
            Until::Over(time) => after < time,
        }
    }
}

/// What became of a load.
#[derive(Debug)]
pub struct Loaded {
    /// Answers with the wanted status a second.
    pub rate: f64,
    /// Of each of them.
    pub times: Times,
    /// Other answers, and connections that broke.
    pub errors: usize,
    /// What the first of these was.
    pub first_error: Option<String>,
}

impl Loaded {
    /// Itself, if nothing went wrong.
    pub fn faultless(self) -> Result<Loaded> {
        match self.first_error {
            Some(why) => Err(fault(why)),
            None => Ok(self),
        }
    }
}

/// One connection, with its request in flight.
struct Line {
    /// `None`: it broke.
    stream: Option<TcpStream>,
    /// What came of an answer that did not come at one go.
    seen: Vec<u8>,
    begun: Instant,
}

/// What one look at a connection found.
enum Found {
    /// The answer is not whole yet.
    Nothing,
    Answer,
    /// A whole answer with another status.
    Other(String),
    Broken(String),
}

impl Line {
    fn ask(&mut self, request: &[u8]) -> std::result::Result<(), String> {
        self.begun = Instant::now();
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        // A request fits the socket's buffer, which is empty when the last one is answered.
        match stream.write(request) {
            Ok(written) if written == request.len() => Ok(()),
            Ok(_) => Err("a request was written in part".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    }

    /// Reads what is there. Nothing follows a whole answer, so a second read would find nothing.
    fn look(&mut self, room: &mut [u8], shape: &mut Shape, wanted: u16) -> Found {
        let Some(stream) = &mut self.stream else {
            return Found::Nothing;
        };
        loop {
            let read = match stream.read(room) {
                Ok(0) => return Found::Broken("a connection was closed unanswered".to_owned()),
                Ok(read) => read,
                Err(why) if why.kind() == ErrorKind::WouldBlock => return Found::Nothing,
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) => return Found::Broken(why.to_string()),
            };
            if self.seen.is_empty() && shape.whole(&room[..read]) == Some(read) {
                return judged(&room[..read], wanted);
            }
            self.seen.extend_from_slice(&room[..read]);
            if shape
                .whole(&self.seen)
                .is_some_and(|whole| self.seen.len() >= whole)
            {
                let found = judged(&self.seen, wanted);
                self.seen.clear();
                return found;
            }
        }
    }
}

fn judged(answer: &[u8], wanted: u16) -> Found {
    match status(answer) {
        found if found == wanted => Found::Answer,
        _ => Found::Other(format!(
            "expected {wanted}, got: {}",
            String::from_utf8_lossy(answer)
        )),
    }
}

/// All connections, and what came of them.
struct Run<'a> {
    lines: Vec<Line>,
    requests: &'a [Vec<u8>],
    until: Until,
    begun: Instant,
    sent: usize,
    in_flight: usize,
    times: Vec<Duration>,
    errors: usize,
    first_error: Option<String>,
}

impl Run<'_> {
    /// Sends the next request on that connection, if there is to be one.
    fn ask(&mut self, number: usize) {
        if !self.until.goes_on(self.sent, self.begun.elapsed()) {
            return;
        }
        let request = &self.requests[self.sent % self.requests.len()];
        self.sent += 1;
        self.in_flight += 1;
        if let Err(why) = self.lines[number].ask(request) {
            self.broken(number, why);
        }
    }

    fn broken(&mut self, number: usize, why: String) {
        if self.lines[number].stream.take().is_some() {
            self.in_flight -= 1;
            self.failed(why);
        }
    }

    fn failed(&mut self, why: String) {
        self.errors += 1;
        self.first_error.get_or_insert(why);
    }

    fn found(&mut self, number: usize, found: Found) {
        match found {
            Found::Nothing => return,
            Found::Broken(why) => return self.broken(number, why),
            Found::Answer => self.times.push(self.lines[number].begun.elapsed()),
            Found::Other(why) => self.failed(why),
        }
        self.in_flight -= 1;
        self.ask(number);
    }
}

/// Sends the requests in turn over `connections`, and counts what is answered with `wanted`.
///
/// # Errors
/// If it cannot connect, or nothing comes for 30 s. What single requests come to is counted.
pub fn load(
    addr: SocketAddr,
    connections: usize,
    until: Until,
    requests: &[Vec<u8>],
    wanted: u16,
) -> Result<Loaded> {
    let mut poll = Poll::new()?;
    let mut run = Run {
        lines: lines(addr, connections, &poll)?,
        requests,
        until,
        begun: Instant::now(),
        sent: 0,
        in_flight: 0,
        times: Vec::with_capacity(1 << 16),
        errors: 0,
        first_error: None,
    };
    (0..connections).for_each(|number| run.ask(number));
    let mut events = Events::with_capacity(connections);
    let (mut room, mut shape) = (vec![0; ROOM], Shape::default());
    while run.in_flight > 0 {
        match poll.poll(&mut events, Some(SILENCE)) {
            Err(why) if why.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() {
            return Err(fault(format!("no answer for {} s", SILENCE.as_secs())));
        }
        for event in &events {
            let number = event.token().0;
            let found = run.lines[number].look(&mut room, &mut shape, wanted);
            run.found(number, found);
        }
    }
    let took = run.begun.elapsed();
    Ok(Loaded {
        rate: run.times.len() as f64 / took.as_secs_f64(),
        times: Times::new(run.times),
        errors: run.errors,
        first_error: run.first_error,
    })
}

/// Connected before the load begins.
fn lines(addr: SocketAddr, connections: usize, poll: &Poll) -> Result<Vec<Line>> {
    let mut lines = Vec::with_capacity(connections);
    for number in 0..connections {
        let stream = std::net::TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(number), Interest::READABLE)?;
        lines.push(Line {
            stream: Some(stream),
            seen: Vec::new(),
            begun: Instant::now(),
        });
    }
    Ok(lines)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::receiver::Receiver;
    use crate::bench::wire::request;

    fn asks() -> Vec<Vec<u8>> {
        let ask = |path| request("POST", path, "key", "application/json", b"{}");
        vec![ask("/a"), ask("/b")]
    }

    #[test]
    fn every_request_is_answered_once_and_they_take_turns() {
        let receiver = Receiver::start().expect("a port is free");
        let loaded = load(receiver.addr, 3, Until::Sent(40), &asks(), 200).expect("it answers");
        assert_eq!((loaded.times.count(), loaded.errors), (40, 0));
        let paths: Vec<String> = receiver.arrivals.try_iter().map(|(path, _)| path).collect();
        assert_eq!(paths.len(), 40);
        assert_eq!(paths.iter().filter(|path| *path == "a").count(), 20);
        loaded.faultless().expect("nothing went wrong");
    }

    #[test]
    fn other_answers_and_broken_connections_are_counted() {
        let receiver = Receiver::start().expect("a port is free");
        let loaded = load(receiver.addr, 2, Until::Sent(10), &asks(), 202).expect("it answers");
        assert_eq!((loaded.times.count(), loaded.errors), (0, 10));
        let why = loaded.faultless().expect_err("no 202 came").to_string();
        assert!(why.contains("expected 202, got: HTTP/1.1 200"), "{why}");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("it listens");
        let closing = std::thread::spawn(move || {
            for _ in 0..2 {
                drop(listener.accept());
            }
        });
        let loaded = load(addr, 2, Until::Sent(10), &asks(), 202).expect("it ends");
        assert_eq!((loaded.times.count(), loaded.errors), (0, 2));
        closing.join().expect("it accepted both");
    }
}
