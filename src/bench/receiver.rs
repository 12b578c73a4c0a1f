//! Receivers on loopback: one that answers 200 to everything, at one port or many, and one that never answers.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Queue, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::bell::{Bell, locked};
use crate::bench::wire::Shape;
use crate::bench::{Result, fault, hands};

/// A request that came: its path, and when its last byte was read.
pub type Arrival = (String, Instant);

/// Arrivals that may wait to be looked at; over it the receiver waits too.
const ARRIVALS: usize = 100_000;

const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// The longest message that is read.
const MOST: usize = 4 << 20;

/// Answers 200 at once: one thread, however many ports and connections. Ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens; the first of its ports.
    pub addr: SocketAddr,
    /// All of its ports.
    pub addrs: Vec<SocketAddr>,
    /// What came, in order; nothing if it only counts.
    pub arrivals: Queue<Arrival>,
    /// How many connections were made.
    pub connections: Arc<AtomicUsize>,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    count: AtomicUsize,
    bell: Bell,
    /// The first request, as it came.
    first: Mutex<Option<Vec<u8>>>,
}

impl Receiver {
    /// Listens at a free port, and notes what comes.
    pub fn start() -> Result<Receiver> {
        Receiver::with(1, true)
    }

    /// Listens at so many free ports, and only counts.
    pub fn counting(ports: usize) -> Result<Receiver> {
        Receiver::with(ports, false)
    }

    fn with(ports: usize, notes: bool) -> Result<Receiver> {
        let poll = Poll::new()?;
        let mut listeners = Vec::with_capacity(ports);
        let mut addrs = Vec::with_capacity(ports);
        for number in 0..ports {
            let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            addrs.push(listener.local_addr()?);
            let interest = Interest::READABLE;
            poll.registry()
                .register(&mut listener, Token(number), interest)?;
            listeners.push(listener);
        }
        let addr = *addrs
            .first()
            .ok_or_else(|| fault("a receiver needs a port"))?;
        let (sender, arrivals) = bounded(ARRIVALS);
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let connections = Arc::new(AtomicUsize::new(0));
        let waker = Waker::new(poll.registry(), Token(ports))?;
        let desk = Desk {
            poll,
            listeners,
            lines: Vec::new(),
            arrivals: notes.then_some(sender),
            connections: connections.clone(),
            seen: seen.clone(),
            stop: stop.clone(),
        };
        // What it cannot go on after, its callers see: nothing comes any more.
        let thread = hands::start("bench-receiver", move || drop(desk.serve()))?;
        Ok(Receiver {
            addr,
            addrs,
            arrivals,
            connections,
            seen,
            stop,
            waker,
            thread: Some(thread),
        })
    }

    /// A URL at its first port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.seen.count.load(Ordering::SeqCst)
    }

    /// The first request that came, head and body.
    pub fn first(&self) -> Option<Vec<u8>> {
        locked(&self.seen.first).clone()
    }

    /// Waits until so many came; a fault if none comes for `patience`.
    pub fn wait_for(&self, count: usize, patience: Duration) -> Result<()> {
        let mut last = (self.count(), Instant::now());
        loop {
            let rung = self.seen.bell.count();
            let came = self.count();
            if came >= count {
                return Ok(());
            }
            if came != last.0 {
                last = (came, Instant::now());
            }
            let left = patience.saturating_sub(last.1.elapsed());
            if left.is_zero() {
                let text = format!("{came} of {count} requests came, then none for");
                return Err(fault(format!("{text} {} s", patience.as_secs())));
            }
            self.seen.bell.wait(rung, left);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // One that cannot be woken has ended already.
        drop(self.waker.wake());
        // It may wait for room among the arrivals, which nobody looks at any more.
        while self
            .thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
            && self.arrivals.recv_timeout(Duration::from_millis(1)).is_ok()
        {}
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The thread's own.
struct Desk {
    poll: Poll,
    listeners: Vec<TcpListener>,
    lines: Vec<Option<Line>>,
    arrivals: Option<Sender<Arrival>>,
    connections: Arc<AtomicUsize>,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
}

struct Line {
    stream: TcpStream,
    seen: Vec<u8>,
    shape: Shape,
}

impl Desk {
    fn serve(mut self) -> Result<()> {
        let mut events = Events::with_capacity(256);
        let mut room = vec![0; 64 << 10];
        let first_line = self.listeners.len() + 1;
        while !self.stop.load(Ordering::SeqCst) {
            match self.poll.poll(&mut events, None) {
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let before = self.seen.count.load(Ordering::SeqCst);
            for event in &events {
                match event.token().0 {
                    token if token < self.listeners.len() => self.accept(token, first_line)?,
                    token if token < first_line => {}
                    token => self.read(token - first_line, &mut room),
                }
            }
            if self.seen.count.load(Ordering::SeqCst) != before {
                self.seen.bell.ring();
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize, first_line: usize) -> Result<()> {
        // Until there is none: the next event comes with the next connection only.
        while let Ok((mut stream, _)) = self.listeners[listener].accept() {
            stream.set_nodelay(true)?;
            let token = Token(first_line + self.lines.len());
            let registry: &Registry = self.poll.registry();
            registry.register(&mut stream, token, Interest::READABLE)?;
            self.connections.fetch_add(1, Ordering::Relaxed);
            self.lines.push(Some(Line {
                stream,
                seen: Vec::new(),
                shape: Shape::default(),
            }));
        }
        Ok(())
    }

    fn read(&mut self, number: usize, room: &mut [u8]) {
        while let Some(line) = self.lines[number].as_mut() {
            match line.stream.read(room) {
                Ok(0) => self.lines[number] = None,
                Ok(read) => {
                    line.seen.extend_from_slice(&room[..read]);
                    if !self.answer(number) {
                        self.lines[number] = None;
                    }
                    if read < room.len() {
                        return;
                    }
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                // Broken by the other side, and over.
                Err(_) => self.lines[number] = None,
            }
        }
    }

    /// Answers what is whole; whether the connection goes on.
    fn answer(&mut self, number: usize) -> bool {
        let Some(line) = &mut self.lines[number] else {
            return false;
        };
        while let Some(whole) = line.shape.whole(&line.seen) {
            if line.seen.len() < whole {
                break;
            }
            let now = Instant::now();
            // Before the answer: who has it may count on being noted.
            if self.seen.count.fetch_add(1, Ordering::SeqCst) == 0 {
                *locked(&self.seen.first) = Some(line.seen[..whole].to_vec());
            }
            if let Some(arrivals) = &self.arrivals {
                // Nobody may be looking any more.
                drop(arrivals.send((path(&line.seen[..whole]), now)));
            }
            // An answer fits the socket's buffer, or nobody reads the answers.
            if !line
                .stream
                .write(OK)
                .is_ok_and(|written| written == OK.len())
            {
                return false;
            }
            line.seen.drain(..whole);
        }
        line.seen.len() <= MOST
    }
}

fn path(request: &[u8]) -> String {
    let path = request
        .split(|byte| *byte == b' ')
        .nth(1)
        .unwrap_or_default();
    let path = path.strip_prefix(b"/").unwrap_or(path);
    String::from_utf8_lossy(path).into_owned()
}

/// Accepts, and never answers.
#[derive(Debug)]
pub struct Hung {
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many connections it holds.
    pub held: Arc<AtomicUsize>,
}

impl Hung {
    /// Listens at a free port. Its thread ends with the process.
    pub fn start() -> Result<Hung> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        hands::start("bench-hung", move || {
            let mut streams = Vec::new();
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                streams.push(stream);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        })?;
        Ok(Hung { addr, held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::wire::{Client, request};

    #[test]
    fn every_port_counts_and_the_first_request_is_kept() {
        let receiver = Receiver::counting(3).expect("ports are free");
        let bytes = request("POST", "/here", "key", "text/plain", b"body");
        for addr in &receiver.addrs {
            let mut client = Client::connect(*addr).expect("it listens");
            for _ in 0..2 {
                let (status, _) = client.send(&bytes).expect("it answers");
                assert_eq!(status, 200);
            }
        }
        receiver
            .wait_for(6, Duration::from_secs(10))
            .expect("all came");
        assert_eq!(receiver.first(), Some(bytes));
        assert_eq!(receiver.connections.load(Ordering::Relaxed), 3);
        assert!(receiver.arrivals.is_empty());
        receiver
            .wait_for(7, Duration::from_millis(1))
            .expect_err("only six came");
    }

    #[test]
    fn a_request_in_pieces_is_answered_when_it_is_whole() {
        let receiver = Receiver::start().expect("a port is free");
        let bytes = request("POST", "/pieces", "key", "text/plain", b"body");
        let mut stream = std::net::TcpStream::connect(receiver.addr).expect("it listens");
        for piece in bytes.chunks(30) {
            stream.write_all(piece).expect("it reads");
        }
        let (path, _) = receiver
            .arrivals
            .recv_timeout(Duration::from_secs(10))
            .expect("it came");
        assert_eq!(path, "pieces");
    }
}
