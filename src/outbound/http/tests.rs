//! Tests of `outbound/http`: what is sent, kept and refused. How an exchange can fail stands in `tests/faults.rs`.

mod faults;

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::bounded;

use super::*;
use crate::outbound::guard::AllowList;
use crate::outbound::{Purpose, Timings};

/// Answers each connection on its own thread; counts them.
struct Receiver {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Receiver {
    fn new(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&accepted), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                // A client that goes away is what most of these tests are about.
                thread::spawn(move || drop(serve(stream)));
            }
        });
        Receiver { address, accepted }
    }

    /// Reads one request's head (and a body of `content-length`), then says `answer`, and waits for the end.
    fn saying(answer: &'static [u8]) -> Receiver {
        Receiver::new(move |mut stream| {
            while read_request(&mut stream)?.is_some() {
                stream.write_all(answer)?;
            }
            Ok(())
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// One request as text, or `None` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok(Some(head + &String::from_utf8_lossy(&body)))
}

/// Waits until the other side is gone.
fn linger(mut stream: TcpStream) -> io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest)? > 0 {}
    Ok(())
}

fn pool() -> Arc<Pool> {
    let pool = Arc::new(Pool::with_source(|host| match host {
        "mixed.example" => Ok(vec![
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([10, 0, 0, 1]),
        ]),
        "here.example" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
        "hung.example" => {
            thread::sleep(Duration::from_secs(5));
            Ok(Vec::new())
        }
        _ => Err(io::Error::other("Name or service not known")),
    }));
    let turning = Arc::clone(&pool);
    thread::spawn(move || while turning.turn() {});
    pool
}

fn client() -> Client {
    Client::new(Arc::new(Guard::new(AllowList::loopback())), pool())
}

fn get(url: &str, deadline: u64) -> Request<'_> {
    Request {
        method: "GET",
        url,
        headers: &[],
        body: &[],
        purpose: Purpose::Callbacks,
        public_only: false,
        deadline: Duration::from_millis(deadline),
        keep: 32 << 10,
        read: 64 << 10,
    }
}

fn exchange(url: &str, deadline: u64) -> Exchange {
    client().exchange(&get(url, deadline), &Stop::default())
}

/// The exchange must end with this class, in time; the message must hold the hint.
fn fails(exchange: &Exchange, class: ErrorClass, hint: &str) {
    let (got, why) = exchange
        .error
        .as_ref()
        .unwrap_or_else(|| panic!("no error: {exchange:?}"));
    assert_eq!(*got, class, "{why}");
    assert!(why.contains(hint), "{why:?} without {hint:?}");
    assert!(
        exchange.duration_ms < 800,
        "took {} ms",
        exchange.duration_ms
    );
}

#[test]
fn an_exchange_carries_the_request_as_given_and_the_answer_as_it_came() {
    let (sender, requests) = bounded(1);
    let receiver = Receiver::new(move |mut stream| {
        let request = read_request(&mut stream)?.unwrap_or_default();
        sender.send(request).map_err(io::Error::other)?;
        stream.write_all(
            b"HTTP/1.1 201 Created\r\nX-Two: a\r\nX-Two: b\r\nContent-Length: 5\r\n\r\nhello",
        )
    });
    let headers = [
        ("X-Ö".to_owned(), String::new()),
        ("X-Mine".to_owned(), "grün".to_owned()),
    ];
    let url = receiver.url("/a%20b?q=1#fragment");
    let request = Request {
        method: "POST",
        headers: &headers[1..],
        body: b"{\"a\":1}",
        ..get(&url, 800)
    };
    let exchange = client().exchange(&request, &Stop::default());
    assert_eq!(exchange.error, None);
    let response = exchange.response.expect("an answer");
    assert_eq!(
        (
            response.status,
            response.body.as_slice(),
            response.bytes_seen
        ),
        (201, b"hello".as_slice(), 5)
    );
    assert!(!response.truncated);
    let two: Vec<_> = response
        .headers
        .iter()
        .filter(|(name, _)| name == "x-two")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(two, ["a", "b"]);
    assert_eq!(exchange.remote_address, Some(receiver.address));
    let Timings {
        dns_ms,
        connect_ms,
        tls_ms,
        first_byte_ms,
    } = exchange.timings;
    assert!(
        dns_ms.is_none() && connect_ms.is_some() && tls_ms.is_none() && first_byte_ms.is_some()
    );

    let sent = requests.recv().expect("it came");
    assert!(
        sent.starts_with("POST /a%20b?q=1 HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n{\"a\":1}"),
        "{sent}"
    );
    let lower = sent.to_lowercase();
    let address = receiver.address;
    for line in [
        "content-length: 7",
        "accept-encoding: identity",
        "x-mine: grün",
        &format!("host: {address}"),
        &format!("user-agent: {USER_AGENT}"),
    ] {
        assert_eq!(
            lower.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{line} in {sent}"
        );
    }
    assert!(
        !lower.contains("chunked") && !lower.contains("expect") && !lower.contains("gzip"),
        "{sent}"
    );
}

#[test]
fn connections_are_used_again_and_keep_telling_times_and_address() {
    let receiver = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let client = client();
    let url = format!("http://here.example:{}/", receiver.address.port());
    let mut bodies = 0;
    for turn in 0..100 {
        let request = Request {
            method: "POST",
            body: b"x",
            ..get(&url, 800)
        };
        let exchange = client.exchange(&request, &Stop::default());
        bodies += usize::from(
            exchange
                .response
                .is_some_and(|response| response.body == b"ok"),
        );
        assert_eq!(exchange.remote_address, Some(receiver.address));
        assert_eq!(exchange.timings.connect_ms.is_some(), turn == 0);
        assert!(exchange.timings.first_byte_ms.is_some() && exchange.timings.dns_ms.is_some());
    }
    assert_eq!((bodies, receiver.accepted()), (100, 1));
    // An answer that was read to its very end, at exactly the limit, leaves the connection usable.
    client.exchange(
        &Request {
            keep: 2,
            read: 2,
            ..get(&url, 800)
        },
        &Stop::default(),
    );
    client.exchange(&get(&url, 800), &Stop::default());
    assert_eq!(receiver.accepted(), 1);
}

#[test]
fn a_pooled_connection_is_not_used_where_it_would_break_the_rules() {
    let receiver = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let guard = Guard::new(AllowList::default()).with(Purpose::Steps, AllowList::loopback());
    let client = Client::new(Arc::new(guard), pool());
    let url = receiver.url("/");
    let request = Request {
        purpose: Purpose::Steps,
        ..get(&url, 800)
    };
    assert!(client.exchange(&request, &Stop::default()).error.is_none());
    let forbidden = client.exchange(&get(&url, 800), &Stop::default());
    fails(
        &forbidden,
        ErrorClass::ForbiddenAddress,
        "allow_outbound_callbacks",
    );
    let public = client.exchange(
        &Request {
            public_only: true,
            ..request
        },
        &Stop::default(),
    );
    fails(&public, ErrorClass::ForbiddenAddress, "public addresses");
    assert_eq!(receiver.accepted(), 1);
}

#[test]
fn a_connection_that_the_peer_closed_meanwhile_is_replaced() {
    let receiver = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    });
    let client = client();
    for turn in 1..=3 {
        let url = receiver.url("/");
        let request = Request {
            method: "POST",
            body: b"x",
            ..get(&url, 800)
        };
        let exchange = client.exchange(&request, &Stop::default());
        assert!(exchange.error.is_none(), "{exchange:?}");
        assert_eq!(receiver.accepted(), turn);
        thread::sleep(Duration::from_millis(20)); // for the close to arrive
    }
}

#[test]
fn an_endless_body_is_cut_at_what_may_be_read() {
    let receiver = Receiver::new(|mut stream| {
        read_request(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b'x'; 8192])?;
        }
    });
    let exchange = exchange(&receiver.url("/"), 800);
    assert_eq!(exchange.error, None);
    let response = exchange.response.expect("an answer");
    assert_eq!(
        (response.body.len(), response.bytes_seen, response.truncated),
        (32 << 10, 64 << 10, true)
    );
}

#[test]
fn a_head_over_16_kib_is_refused_and_of_a_large_one_8_kib_are_kept() {
    let answer = |size: usize| {
        let receiver = Receiver::new(move |mut stream| {
            read_request(&mut stream)?;
            let filler: String = (0..size / 1000)
                .map(|n| format!("X-{n:04}: {}\r\n", "x".repeat(992)))
                .collect();
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\n{filler}Content-Length: 0\r\n\r\n").as_bytes(),
            )?;
            linger(stream)
        });
        exchange(&receiver.url("/"), 800)
    };
    fails(&answer(20_000), ErrorClass::Reset, "larger than 16384");
    let kept = answer(12_000);
    assert_eq!(kept.error, None);
    let size: usize = kept
        .response
        .expect("an answer")
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!((7_000..=8192).contains(&size), "{size}");
}

#[test]
fn redirects_and_refusals_are_answers() {
    for (answer, status) in [
        (
            b"HTTP/1.1 302 Found\r\nLocation: /two\r\nContent-Length: 0\r\n\r\n".as_slice(),
            302,
        ),
        (
            b"HTTP/1.1 307 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 3\r\n\r\nxyz",
            307,
        ),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304),
        (
            b"HTTP/1.1 503 Slow down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
            503,
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    ] {
        let receiver = Receiver::saying(answer);
        let exchange = exchange(&receiver.url("/one"), 800);
        assert_eq!(exchange.error, None, "{status}");
        assert_eq!(
            exchange.response.map(|response| response.status),
            Some(status)
        );
        assert_eq!(receiver.accepted(), 1);
    }
    let head = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    let url = head.url("/");
    let exchange = client().exchange(
        &Request {
            method: "HEAD",
            ..get(&url, 800)
        },
        &Stop::default(),
    );
    assert!(
        exchange.error.is_none()
            && exchange
                .response
                .is_some_and(|response| response.body.is_empty())
    );
}

#[test]
fn a_listener_of_our_own_is_refused_although_allowed() {
    let own = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let client = client();
    assert!(
        client
            .exchange(&get(&own.url("/"), 800), &Stop::default())
            .error
            .is_none()
    );
    client.guard.set_own(vec![own.address]);
    let port = own.address.port();
    for host in [
        "127.0.0.1",
        "2130706433",
        "here.example",
        "[::ffff:127.0.0.1]",
    ] {
        let exchange = client.exchange(
            &get(&format!("http://{host}:{port}/"), 800),
            &Stop::default(),
        );
        fails(
            &exchange,
            ErrorClass::ForbiddenAddress,
            "Skep's own listener",
        );
    }
    assert_eq!(own.accepted(), 1);
}

#[test]
fn what_a_person_wrote_wrong_is_told_and_never_sent() {
    let receiver = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (name, value, hint) in [
        ("X-Key", "hunter2\r\nX-Evil: 1", "line break"),
        ("X-Key", "hunter2\0", "control character"),
        ("X-Key", "hunter2\u{7f}", "control character"),
        ("X Key", "x", "not a header name"),
        ("X-Key\r\n", "x", "not a header name"),
        ("", "x", "not a header name"),
        ("Ключ", "x", "not a header name"),
        ("Host", "evil.example", "cannot be set"),
        ("content-length", "3", "cannot be set"),
        ("Transfer-Encoding", "chunked", "cannot be set"),
    ] {
        let headers = [(name.to_owned(), value.to_owned())];
        let url = receiver.url("/");
        let exchange = client().exchange(
            &Request {
                headers: &headers,
                ..get(&url, 800)
            },
            &Stop::default(),
        );
        fails(&exchange, ErrorClass::Step, hint);
        assert!(
            !exchange
                .error
                .is_some_and(|(_, why)| why.contains("hunter2"))
        );
    }
    for url in [
        "",
        "x",
        "ftp://x/",
        "http://",
        "http://u:hunter2@x/",
        "http://x/\r\nX: y",
    ] {
        fails(&exchange(url, 800), ErrorClass::Step, "URL");
    }
    let url = receiver.url("/");
    fails(
        &client().exchange(
            &Request {
                method: "G T",
                ..get(&url, 800)
            },
            &Stop::default(),
        ),
        ErrorClass::Step,
        "method",
    );
    let long = receiver.url(&format!("/{}", "x".repeat(70_000)));
    fails(&exchange(&long, 800), ErrorClass::Step, "URL");
    assert_eq!(receiver.accepted(), 0);
}

#[test]
fn a_name_that_moved_is_not_reached_by_its_old_connection() {
    let receiver = Receiver::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let last = Arc::new(AtomicUsize::new(1));
    let now = Arc::clone(&last);
    let pool = Arc::new(Pool::with_source(move |_| {
        Ok(vec![IpAddr::from([
            127,
            0,
            0,
            now.load(Ordering::SeqCst) as u8,
        ])])
    }));
    let turning = Arc::clone(&pool);
    thread::spawn(move || while turning.turn() {});
    let client = Client::new(
        Arc::new(Guard::new(AllowList::loopback())),
        Arc::clone(&pool),
    );
    let url = format!("http://moves.example:{}/", receiver.address.port());
    let again = || client.exchange(&get(&url, 800), &Stop::default());
    assert!(again().error.is_none());
    last.store(2, Ordering::SeqCst);
    assert!(again().error.is_none(), "the answer is still fresh");
    pool.age();
    fails(&again(), ErrorClass::Connect, "refused");
}

#[test]
#[cfg(target_os = "linux")]
fn a_receiver_that_writes_in_two_parts_is_not_kept_waiting() {
    let receiver = Receiver::new(|mut stream| {
        while read_request(&mut stream)?.is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")?;
            stream.write_all(b"ok")?;
        }
        Ok(())
    });
    let client = client();
    let started = Instant::now();
    for _ in 0..20 {
        let url = receiver.url("/");
        let request = Request {
            method: "POST",
            body: b"x",
            ..get(&url, 800)
        };
        assert!(client.exchange(&request, &Stop::default()).error.is_none());
    }
    // Waiting out the delayed acknowledgement would take 40 ms each.
    assert!(
        started.elapsed() < Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
}
