//! The edge, asked by raw sockets. A fake house stands behind it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;
use crate::api::call::Reply;
use crate::api::door::{Admission, Shown, Who};
use crate::api::edge::Cidr;
use crate::api::feed::{self, Feed};
use crate::id::Id;

mod life;
mod limits;
mod requests;
mod streams;

/// No answer may take longer than this in a test.
const PATIENCE: Duration = Duration::from_secs(10);

/// A house with one key (`k`) and these paths: `/open`, `/who`, `/echo`, `/gate` (waits for the test),
/// `/wait` (answered by the test), `/stream` (goes on as the test likes), `/panic`, `/lost` (dropped responder), `/big`, `/newline`, `/token/…`; of
/// `/gate` and `/big` there is one below `/read` too, which only reads.
struct House {
    answered: AtomicUsize,
    gate: Receiver<()>,
    at_gate: Sender<()>,
    waiting: Sender<Responder>,
    feeds: Sender<Feed>,
}

impl Door for House {
    fn admit(&self, head: &Head) -> Result<Admission> {
        let open = head.path.starts_with("/open");
        if !open && head.header("authorization") != Some("Bearer k") {
            return Err(Error::of(Code::InvalidAccess));
        }
        if head.path == "/admit_panic" {
            panic!("while admitting");
        }
        Ok(Admission {
            route: 0,
            pattern: "/fake",
            params: Vec::new(),
            who: Who::Nobody,
            shown: Shown::Nothing,
            is_read: head.path.starts_with("/read"),
        })
    }

    fn answer(&self, call: &Call, _: &Admission) -> Result<Answer> {
        self.answered.fetch_add(1, Ordering::SeqCst);
        let id = Id([7; 16]);
        let text = match call.head.path.as_str() {
            "/wait" => {
                return Ok(Answer::WhenEnded {
                    run_id: id,
                    replayed: false,
                });
            }
            "/lost" => {
                return Ok(Answer::WhenEnded {
                    run_id: id,
                    replayed: true,
                });
            }
            "/gate" | "/read/gate" => {
                self.at_gate.send(()).expect("the test listens");
                self.gate
                    .recv_timeout(PATIENCE)
                    .expect("the test opens the gate");
                "through".to_owned()
            }
            "/big" | "/read/big" => return Ok(Answer::Now(plain("x".repeat(8 << 20)))),
            "/stream" => {
                let (feed, frames) = feed::feed(None);
                self.feeds.send(feed).expect("the test listens");
                return Ok(Answer::Stream(plain(""), frames));
            }
            "/panic" => panic!("the secret of the house"),
            "/newline" => {
                return Ok(Answer::Now(
                    plain("y").header("X-Bad", "a\r\nSet-Cookie: b"),
                ));
            }
            "/v1/who" => format!(
                "{} {:?}",
                call.head.peer,
                call.head.header("x-forwarded-proto")
            ),
            _ => format!(
                "{} {} {}",
                call.head.method,
                call.head.path,
                String::from_utf8_lossy(&call.body)
            ),
        };
        Ok(Answer::Now(plain(text)))
    }

    fn wait(&self, _: Id, replayed: bool, responder: Responder) {
        if !replayed {
            self.waiting.send(responder).expect("the test listens");
        }
    }
}

fn plain(text: impl Into<String>) -> Reply {
    Reply {
        status: 200,
        headers: vec![("Content-Type", "text/plain".to_owned())],
        body: text.into().into_bytes(),
    }
}

/// A running edge with two handler threads.
struct Running {
    server: Arc<Server>,
    house: Arc<House>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    gate: Sender<()>,
    at_gate: Receiver<()>,
    waiting: Receiver<Responder>,
    feeds: Receiver<Feed>,
}

impl Running {
    fn start(handlers: usize, change: impl FnOnce(&mut ServerConfig)) -> Running {
        let mut config = ServerConfig {
            answer_share: 16 << 20,
            linger_time: Duration::from_millis(500),
            ..ServerConfig::default()
        };
        change(&mut config);
        let (gate, gate_end) = unbounded();
        let (at_gate_end, at_gate) = unbounded();
        let (waiting_end, waiting) = unbounded();
        let (feeds_end, feeds) = unbounded();
        let house = Arc::new(House {
            answered: AtomicUsize::new(0),
            gate: gate_end,
            at_gate: at_gate_end,
            waiting: waiting_end,
            feeds: feeds_end,
        });
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), 1024).expect("a free port");
        let door: Arc<dyn Door> = Arc::<House>::clone(&house);
        let server = Arc::new(Server::new(listener, config, door).expect("a server"));
        let mut threads = Vec::new();
        for _ in 0..handlers {
            let server = Arc::clone(&server);
            threads.push(thread::spawn(move || server.run_handler()));
        }
        let edge = Arc::clone(&server);
        threads.push(thread::spawn(move || {
            edge.run_edge().expect("the edge runs")
        }));
        Running {
            server,
            house,
            threads: Mutex::new(threads),
            gate,
            at_gate,
            waiting,
            feeds,
        }
    }

    fn default() -> Running {
        Running::start(2, |_| {})
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.local_addr()).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        stream
    }

    /// Sends the bytes, and reads one answer.
    fn ask(&self, request: &str) -> Heard {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        hear(&mut stream, "GET").expect("an answer")
    }

    /// Sends the bytes on a connection that must then end, and returns all that came.
    fn ask_all(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // An early refusal may close before all is sent.
        drop(stream.write_all(request));
        rest(&mut stream)
    }

    fn answered(&self) -> usize {
        self.house.answered.load(Ordering::SeqCst)
    }

    fn join(&self) {
        for thread in locked(&self.threads).drain(..) {
            thread.join().expect("no thread of the server panics");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.stop();
        if !thread::panicking() {
            self.join();
        }
    }
}

/// One answer.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (other, value) = line.split_once(':')?;
            other.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn error(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("an error envelope")
    }
}

/// Reads one answer to a request of that method; `None` if the connection ends first.
fn hear(stream: &mut TcpStream, method: &str) -> Option<Heard> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).expect("bytes in time") == 0 {
            assert!(
                head.is_empty(),
                "cut in the middle of a head: {}",
                String::from_utf8_lossy(&head)
            );
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    let mut heard = Heard {
        status,
        head,
        body: String::new(),
    };
    let length = heard
        .header("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    if method != "HEAD" {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("the whole body");
        heard.body = String::from_utf8(body).expect("a body is text");
    }
    Some(heard)
}

/// All that comes until the connection ends. A reset counts as an end.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(fault) if fault.kind() == io::ErrorKind::ConnectionReset => break,
            Err(fault) => panic!("the connection did not end: {fault}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\n{more}\r\n")
}

/// Waits until it is so, at most [`PATIENCE`].
fn becomes(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::yield_now();
    }
}
