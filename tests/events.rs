//! The stream of events, over the real binary: what comes, how it is resumed, how many may listen, how it ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::house::{House, direct_body, text, wait_until};
use crate::people;
use crate::receiver::{Act, Receiver};
use crate::wire::{Ask, PATIENCE};

const CALLS: &str = "
steps:
  - {id: first, set: {x: 1}}
  - {id: call, http: {method: GET, url: 'RECEIVER/call'}}
output: done
";

/// An event as it came.
#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

/// A stream that is listened to.
struct Stream {
    reader: BufReader<TcpStream>,
    head: Vec<String>,
    body: Vec<u8>,
}

/// The head of the answer, as far as it has come.
fn heads(reader: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line);
    }
}

impl Stream {
    /// Asks from 127.0.0.`last`.
    fn open_from(last: u8, to: SocketAddr, ask: &Ask) -> Stream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0);
        socket.bind(&from.into()).expect("an address of loopback");
        socket
            .connect_timeout(&to.into(), PATIENCE)
            .expect("it listens");
        let mut stream = TcpStream::from(socket);
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        stream.write_all(&ask.bytes(false)).expect("it reads");
        let mut reader = BufReader::new(stream);
        let head = heads(&mut reader).expect("an answer");
        Stream {
            reader,
            head,
            body: Vec::new(),
        }
    }

    fn open(house: &House, ask: &Ask) -> Stream {
        let stream = Stream::open_from(1, house.address(), ask);
        assert_eq!(stream.status(), 200, "{:?}", stream.head);
        stream
    }

    fn status(&self) -> u16 {
        let word = self.head.first().and_then(|line| line.split(' ').nth(1));
        word.and_then(|word| word.parse().ok()).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (other, value) = line.split_once(": ")?;
            other.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// One more chunk. False: the stream has ended in order.
    fn chunk(&mut self) -> io::Result<bool> {
        let mut size = String::new();
        if self.reader.read_line(&mut size)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes)?;
        self.body.extend_from_slice(&bytes[..size]);
        Ok(size > 0)
    }

    /// The next event; `None`: the stream has ended in order.
    #[track_caller]
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.body.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.body.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("events are text");
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                let Some(kind) = field("event") else { continue };
                return Some(Event {
                    id: field("id").unwrap_or_default().to_owned(),
                    kind: kind.to_owned(),
                    data: serde_json::from_str(field("data").expect("data")).expect("JSON"),
                });
            }
            match self.chunk() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(fault) => panic!("the stream was cut: {fault}"),
            }
        }
    }

    /// Reads until such an event comes, and answers it with all that came before.
    #[track_caller]
    fn until(&mut self, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().expect("the stream goes on");
            let found = is_it(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }
}

fn listening(house: &House, path: &str) -> Stream {
    let mut stream = Stream::open(house, &house.ask("GET", path));
    let hello = stream.next().expect("the stream begins");
    assert_eq!(hello.kind, "hello");
    stream
}

fn is(kind: &'static str, status: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.kind == kind && event.data["status"] == status
}

#[test]
fn what_happens_to_a_run_is_told() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("calls", &receiver.fill(CALLS));
    let mut stream = listening(&house, "/v1/events");
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(stream.header(name), Some(value), "{name}");
    }
    receiver.on("/call", [Act::Gate]);
    let url = format!("{}/done", receiver.url());
    let request_id = house.start_run("calls", &json!({}), &url);
    receiver.wait_for("/call", 1);
    let mut seen = stream.until(|event| event.data["path"] == "call");
    receiver.open_gate();
    seen.extend(stream.until(is("delivery", "delivered")));
    assert!(
        seen.iter()
            .all(|event| event.data["request_id"] == request_id.as_str()),
        "{seen:?}"
    );
    let step = |path: &str, status: &str| {
        let found = seen.iter().any(|event| {
            event.kind == "step" && event.data["path"] == path && event.data["status"] == status
        });
        assert!(found, "{path} {status}: {seen:?}");
    };
    step("first", "completed");
    step("call", "running");
    step("call", "completed");
    let run = seen.iter().rfind(|event| event.kind == "run");
    let run = &run.expect("the run is told of").data;
    assert_eq!(
        (&run["status"], &run["deployment"], &run["output"]),
        (&json!("completed"), &json!("calls"), &Value::Null)
    );
    let delivery = &seen.last().expect("seen").data;
    assert_eq!(
        (&delivery["channel"], &delivery["url"]),
        (&json!("callback"), &json!(url))
    );
}

#[test]
fn questions_are_told_of() {
    let house = House::start();
    let mut stream = listening(&house, "/v1/events?kinds=approval,run&deployment=flow");
    let question = json!({"mode": "approval", "question": "Publish it?"});
    let question = people::asked(&house, "flow", &question);
    let pending = stream.until(is("approval", "pending"));
    let pending = pending.last().expect("told");
    assert_eq!(text(&pending.data["id"]), question.id);
    let path = format!("/v1/approvals/{}/decide", question.id);
    house
        .post(&path, &json!({"decision": "approved", "by": "Ana"}))
        .is(200);
    stream.until(is("approval", "approved"));
}

#[test]
fn a_client_that_comes_back_is_told_what_it_missed() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("calls", &receiver.fill(CALLS));
    let mut stream = listening(&house, "/v1/events?kinds=run");
    house.invoke(&direct_body("calls", &json!({}))).is(200);
    let last = stream.until(is("run", "completed")).pop().expect("told");
    drop(stream);
    let missed = house.invoke(&direct_body("calls", &json!({}))).is(200);
    let resumed = |id: &str| {
        let ask = house.ask("GET", "/v1/events?kinds=run");
        Stream::open(&house, &ask.header("Last-Event-ID", id))
    };
    let mut again = resumed(&last.id);
    assert_eq!(
        again.next().map(|event| event.kind),
        Some("hello".to_owned())
    );
    let told = again.until(is("run", "completed"));
    assert!(
        told.iter()
            .all(|event| event.data["request_id"] == missed["request_id"])
    );
    // Another process does not know where this was.
    house.restart();
    let mut after = resumed(&last.id);
    assert_eq!(
        after.next().map(|event| event.kind),
        Some("hello".to_owned())
    );
    assert_eq!(
        after.next().map(|event| event.kind),
        Some("reset".to_owned())
    );
}

#[test]
fn places_have_an_end_and_are_free_when_a_client_leaves() {
    let house = House::start();
    let ask = house.ask("GET", "/v1/events");
    let open = |last: u8| Stream::open_from(last, house.address(), &ask);
    let mut streams: Vec<Stream> = (0..=255).map(|at| open(2 + at / 64)).collect();
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let refused = open(7);
    assert_eq!(
        (refused.status(), refused.header("retry-after")),
        (429, Some("5"))
    );
    streams.pop();
    wait_until("the place of who left is free", PATIENCE, || {
        (open(7).status() == 200).then_some(())
    });
    // One address has a share of them.
    streams.truncate(64);
    wait_until("the places of the others are free", PATIENCE, || {
        (open(7).status() == 200).then_some(())
    });
    assert_eq!(open(2).status(), 429);
}

#[test]
fn a_revoked_key_hears_nothing_more() {
    let house = House::start();
    let (id, key) = house.make_key("eyes", "read");
    let ask = Ask::new(house.address(), "GET", "/v1/events").key(&key);
    let mut stream = Stream::open(&house, &ask);
    assert_eq!(
        stream.next().map(|event| event.kind),
        Some("hello".to_owned())
    );
    house.delete(&format!("/v1/keys/{id}")).is(200);
    assert!(stream.next().is_none(), "it ends in order");
}

#[test]
fn a_stop_ends_every_stream_whether_or_not_it_is_read() {
    let house = House::plan().set("shutdown_grace", "20s").start();
    let ask = house.ask("GET", "/v1/events");
    let unread: Vec<Stream> = (0..20).map(|_| Stream::open(&house, &ask)).collect();
    let mut read = listening(&house, "/v1/events");
    house.signal("TERM");
    assert!(read.next().is_none(), "it ends in order");
    assert_eq!(house.ended_by_itself().code(), Some(0));
    drop(unread);
}

#[test]
fn what_cannot_be_listened_to_is_refused_before_the_stream_begins() {
    let house = House::start();
    for (path, status) in [
        ("/v1/events?kinds=cat", 400),
        ("/v1/events?status=lost", 400),
        ("/v1/events?run=x", 400),
        ("/v1/events?run=req_019aa8c1d1f67c3295e2f4f4b3a0c9d7", 404),
    ] {
        assert_eq!(house.ask("GET", path).send().status, status, "{path}");
    }
    assert_eq!(house.ask("GET", "/v1/events").no_key().send().status, 401);
    let (_, key) = house.make_key("voice", "approve");
    assert_eq!(house.ask("GET", "/v1/events").key(&key).send().status, 403);
    let head = house.ask("HEAD", "/v1/events").send();
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("text/event-stream"))
    );
}
