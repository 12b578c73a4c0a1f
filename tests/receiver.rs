//! A receiver on loopback: records every request, and does what it is told to on each path.
//!
//! Owns the world outside of Skep. Knows nothing of Skep's API.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::house::pause;
use crate::wire::{PATIENCE, read_message};

/// One request that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Upper case.
    pub method: String,
    /// Path and query as they came.
    pub path: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
    /// When it was read whole.
    pub at: Instant,
}

impl Arrival {
    /// The first header of that (lower-case) name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the arrival's body is JSON")
    }

    /// The path without its query.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The query's pairs, decoded.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answer with this status, these headers, this body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Answer 200 with the request's own headers as a JSON object, and `Authorization` as a header too.
    Echo,
    /// Never answer.
    Hang,
    /// Send half an answer's head, and no more.
    HangInHead,
    /// Send the head and half the body, and no more.
    HangInBody,
    /// Send the body a byte every 50 ms, for ever.
    Drip,
    /// Close the connection without a word.
    Cut,
    /// Answer 200 once the gate is opened.
    Gate,
    /// Answer 200 with `{"number": N}`, N counting all that arrived; each so many-th is answered 503 instead, if not 0.
    Number(usize),
}

/// Answers with that status and no body.
pub fn status(code: u16) -> Act {
    Act::Answer(code, Vec::new(), Vec::new())
}

/// Answers 200 with a JSON body.
pub fn json(value: &Value) -> Act {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Act::Answer(200, headers, value.to_string().into_bytes())
}

/// Answers with a status and one header.
pub fn with_header(code: u16, name: &str, value: &str) -> Act {
    Act::Answer(code, vec![(name.to_owned(), value.to_owned())], Vec::new())
}

#[derive(Default)]
struct State {
    arrivals: Vec<Arrival>,
    /// What to do next on a path; the last act stays.
    scripts: HashMap<String, VecDeque<Act>>,
    /// Both ends of life: what is open is shut down at the end.
    open: Vec<TcpStream>,
    /// How many callers of hung requests have gone away.
    gone: usize,
    gate_is_open: bool,
    closing: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A receiver at work until it is dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Receiver {
    /// Listens on a free port and answers 200 to everything.
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = its.lock();
                if state.closing {
                    return;
                }
                state.open.extend(stream.try_clone());
                drop(state);
                let its = Arc::clone(&its);
                thread::spawn(move || serve(stream, &its));
            }
        });
        Receiver { shared, address }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of one path.
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port alone.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The text with `RECEIVER` replaced by this receiver's URL.
    pub fn fill(&self, text: &str) -> String {
        text.replace("RECEIVER", &self.url())
    }

    /// What to do on a path (without query), one act a request; the last stays.
    pub fn on(&self, path: &str, acts: impl IntoIterator<Item = Act>) {
        self.shared
            .lock()
            .scripts
            .insert(path.to_owned(), acts.into_iter().collect());
    }

    /// Lets every [`Act::Gate`] answer, now and later.
    pub fn open_gate(&self) {
        self.shared.lock().gate_is_open = true;
        self.shared.changed.notify_all();
    }

    /// What has arrived on a path so far.
    pub fn arrived(&self, path: &str) -> Vec<Arrival> {
        let state = self.shared.lock();
        state
            .arrivals
            .iter()
            .filter(|arrival| arrival.route() == path)
            .cloned()
            .collect()
    }

    /// Everything that has arrived.
    pub fn all(&self) -> Vec<Arrival> {
        self.shared.lock().arrivals.clone()
    }

    /// Waits until `count` requests have arrived on a path.
    #[track_caller]
    pub fn wait_for(&self, path: &str, count: usize) -> Vec<Arrival> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.shared.lock();
        loop {
            let here: Vec<Arrival> = state
                .arrivals
                .iter()
                .filter(|arrival| arrival.route() == path)
                .cloned()
                .collect();
            if here.len() >= count {
                return here;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} of {count} requests arrived on {path}",
                here.len()
            );
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
    }

    /// Waits until `count` callers of hung requests have closed their connection; says whether they did.
    pub fn callers_leave(&self, count: usize, within: Duration) -> bool {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, within, |state| state.gone < count);
        waited.is_ok_and(|(state, _)| state.gone >= count)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.gate_is_open = true;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the accepting thread, which sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let Ok(mut writer) = stream.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(stream);
    while let Ok(Some(message)) = read_message(&mut reader, false) {
        let mut words = message.start.split(' ');
        let arrival = Arrival {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            headers: message.headers,
            body: message.body,
            at: Instant::now(),
        };
        let act = record(shared, &arrival);
        if !perform(&act, &arrival, &mut writer, &mut reader, shared) {
            let _ = writer.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn record(shared: &Shared, arrival: &Arrival) -> Act {
    let mut state = shared.lock();
    state.arrivals.push(arrival.clone());
    let act = match state.scripts.get_mut(arrival.route()) {
        Some(script) if script.len() > 1 => script.pop_front(),
        Some(script) => script.front().cloned(),
        None => None,
    };
    drop(state);
    shared.changed.notify_all();
    act.unwrap_or_else(|| status(200))
}

/// Does it; says whether the connection goes on.
fn perform(
    act: &Act,
    arrival: &Arrival,
    writer: &mut TcpStream,
    reader: &mut BufReader<TcpStream>,
    shared: &Shared,
) -> bool {
    let begin = |writer: &mut TcpStream, text: &str| writer.write_all(text.as_bytes()).is_ok();
    match act {
        Act::Answer(code, headers, body) => answer(writer, arrival, *code, headers, body),
        Act::Echo => {
            let seen: serde_json::Map<String, Value> = arrival
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone().into()))
                .collect();
            let echo = arrival.header("authorization").to_owned();
            let headers = vec![
                ("Content-Type".to_owned(), "application/json".to_owned()),
                ("X-Echo".to_owned(), echo),
            ];
            let text = String::from_utf8_lossy(&arrival.body).into_owned();
            let body = serde_json::json!({"headers": seen, "path": arrival.path, "body": text});
            answer(writer, arrival, 200, &headers, body.to_string().as_bytes())
        }
        Act::Hang => hang(reader, shared),
        Act::HangInHead => begin(writer, "HTTP/1.1 200 OK\r\nX-Half: ") && hang(reader, shared),
        Act::HangInBody => {
            begin(writer, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                && hang(reader, shared)
        }
        Act::Drip => {
            let mut going = begin(writer, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while going && !shared.lock().closing {
                going = begin(writer, ".");
                pause(Duration::from_millis(50));
            }
            false
        }
        Act::Cut => false,
        Act::Gate => {
            let state = shared.lock();
            let waited = shared
                .changed
                .wait_timeout_while(state, PATIENCE, |state| !state.gate_is_open);
            drop(waited);
            answer(writer, arrival, 200, &[], b"")
        }
        Act::Number(fail_each) => {
            let number = shared.lock().arrivals.len();
            let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
            let code = match fail_each {
                0 => 200,
                each if number.is_multiple_of(*each) => 503,
                _ => 200,
            };
            let body = serde_json::json!({"number": number}).to_string();
            answer(writer, arrival, code, &headers, body.as_bytes())
        }
    }
}

/// Reads until the caller goes away.
fn hang(reader: &mut BufReader<TcpStream>, shared: &Shared) -> bool {
    let mut ignored = [0; 64];
    while reader.read(&mut ignored).is_ok_and(|count| count > 0) {}
    shared.lock().gone += 1;
    shared.changed.notify_all();
    false
}

fn answer(
    writer: &mut TcpStream,
    arrival: &Arrival,
    code: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> bool {
    let mut head = format!("HTTP/1.1 {code} Told\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if arrival.method != "HEAD" {
        bytes.extend_from_slice(body);
    }
    writer.write_all(&bytes).is_ok()
}

#[test]
fn the_receiver_does_what_it_is_told() {
    let receiver = Receiver::start();
    let ask = |path: &str| {
        crate::wire::Ask::new(receiver.address, "POST", path).body("text/plain", b"hello")
    };
    receiver.on(
        "/script",
        [
            status(503),
            with_header(410, "Retry-After", "7"),
            json(&Value::from(1)),
        ],
    );
    let answers: Vec<_> = (0..4).map(|_| ask("/script?a=%20b").send()).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [503, 410, 200, 200]);
    assert_eq!(
        (answers[1].header("retry-after"), answers[3].json()),
        (Some("7"), Value::from(1))
    );
    let arrival = receiver.wait_for("/script", 4).remove(3);
    assert_eq!(arrival.query(), [("a".to_owned(), " b".to_owned())]);
    assert_eq!(
        (arrival.header("content-type"), arrival.body.as_slice()),
        ("text/plain", b"hello".as_slice())
    );

    receiver.on("/echo", [Act::Echo]);
    assert_eq!(
        ask("/echo").key("k").send().header("x-echo"),
        Some("Bearer k")
    );
    receiver.on("/cut", [Act::Cut]);
    assert!(ask("/cut").try_send().is_err());
    receiver.on("/body", [Act::HangInBody]);
    let mut wire = crate::wire::Wire::open(receiver.address).expect("it accepts");
    wire.send(&ask("/body").bytes(false)).expect("it reads");
    receiver.wait_for("/body", 1);
    assert!(!receiver.callers_leave(1, Duration::from_millis(50)));
    drop(wire);
    assert!(
        receiver.callers_leave(1, PATIENCE),
        "it sees that its caller has left"
    );

    receiver.on("/gate", [Act::Gate]);
    thread::scope(|scope| {
        let caller = scope.spawn(|| ask("/gate").send());
        receiver.wait_for("/gate", 1);
        receiver.open_gate();
        assert_eq!(caller.join().expect("answered").status, 200);
    });
    assert_eq!(ask("/other").send().status, 200);
    assert_eq!(receiver.all().len(), 9);
}
