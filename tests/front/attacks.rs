//! What a few connections can do: lengths that nobody can hold, heads without end, readers that never read, requests
//! without a pause, resets, other protocols.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::SockRef;

use super::{connect_from, connect_with, large_run, request, survives, weigh};
use crate::house::{House, wait_until};
use crate::wire::PATIENCE;

/// All that comes until the connection ends. A reset counts as an end.
fn rest(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    // What came before a reset has been kept.
    drop(stream.read_to_end(&mut got));
    String::from_utf8_lossy(&got).into_owned()
}

/// Offers these bytes until they are taken or the server has had enough; how many were taken.
fn offer(stream: &mut TcpStream, part: &[u8], times: usize) -> usize {
    let taken = (0..times).take_while(|_| stream.write_all(part).is_ok());
    taken.count() * part.len()
}

#[test]
fn lengths_that_nobody_can_hold_are_refused_from_the_head() {
    let house = House::start();
    survives(&house, || {
        for _ in 0..100 {
            for (length, status) in [
                ("10000000000000", "413"),
                ("18446744073709551613", "413"),
                ("18446744073709551615", "431"),
                ("18446744073709551616", "400"),
            ] {
                let mut stream = connect_from(2, house.address()).expect("it accepts");
                let text = request(
                    "POST",
                    "/v1/workflow/invoke",
                    &format!("Content-Length: {length}\r\n"),
                );
                stream.write_all(text.as_bytes()).expect("sent");
                let heard = rest(&mut stream);
                let expected = format!("HTTP/1.1 {status} ");
                assert!(heard.starts_with(&expected), "{length}: {heard:?}");
            }
        }
    });
}

#[test]
fn a_head_without_end_is_not_kept() {
    let house = House::start();
    for (what, part, times) in [
        ("a line of 300 MiB", vec![b'x'; 1 << 20], 300),
        ("a million lines", b"a: b\r\n".repeat(10_000), 100),
        ("a target of 300 MiB", vec![b'/'; 1 << 20], 300),
    ] {
        let begin: &[u8] = match what.contains("target") {
            true => b"GET /",
            false => b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        };
        survives(&house, || {
            let mut stream = connect_from(2, house.address()).expect("it accepts");
            stream.write_all(begin).expect("sent");
            let taken = offer(&mut stream, &part, times);
            // The close lingers over 32 MiB at most, and sockets hold some.
            assert!(taken <= 64 << 20, "{what}: {taken} bytes were taken");
            let heard = rest(&mut stream);
            assert!(
                heard.is_empty() || heard.starts_with("HTTP/1.1 431 "),
                "{what}: {heard:?}"
            );
        });
    }
}

#[test]
fn chunks_over_the_limit_are_cut_off() {
    let house = House::start();
    survives(&house, || {
        for _ in 0..10 {
            let mut stream = connect_from(2, house.address()).expect("it accepts");
            let text = request(
                "POST",
                "/v1/workflow/invoke",
                "Transfer-Encoding: chunked\r\n",
            );
            stream.write_all(text.as_bytes()).expect("sent");
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
            offer(&mut stream, &chunk, 64);
            let heard = rest(&mut stream);
            assert!(heard.starts_with("HTTP/1.1 413 "), "{heard:?}");
        }
    });
}

#[test]
fn readers_that_never_read_are_cut() {
    let house = House::start();
    let text = request("GET", &large_run(&house), "");
    survives(&house, || {
        let before = weigh(&house).descriptors;
        let held: Vec<TcpStream> = (0..20)
            .map(|number| {
                let mut stream =
                    connect_with(2 + number % 2, house.address(), Some(1024)).expect("it accepts");
                stream.write_all(text.as_bytes()).expect("sent");
                stream
            })
            .collect();
        wait_until("all are accepted", PATIENCE, || {
            (weigh(&house).descriptors >= before + held.len()).then_some(())
        });
        // They hold on; the server lets go.
        wait_until("all are cut", Duration::from_secs(60), || {
            (weigh(&house).descriptors <= before + 2).then_some(())
        });
        assert_eq!(held.len(), 20);
    });
}

#[test]
fn requests_without_a_pause_whose_answers_nobody_reads_cost_little() {
    let house = House::start();
    let many = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    survives(&house, || {
        let streams: Vec<(TcpStream, usize)> = (0..4)
            .map(|_| {
                let mut stream = connect_from(2, house.address()).expect("it accepts");
                stream
                    .set_write_timeout(Some(Duration::from_secs(1)))
                    .expect("a socket option");
                // A million of them are 43 MB; it stops taking them long before.
                let taken = offer(&mut stream, many.as_bytes(), 250);
                (stream, taken)
            })
            .collect();
        let taken: usize = streams.iter().map(|(_, taken)| taken).sum();
        assert!(taken < 40 << 20, "{taken} bytes were taken");
    });
}

#[test]
fn other_protocols_are_closed() {
    let house = House::start();
    survives(&house, || {
        for bytes in [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ] {
            for _ in 0..300 {
                let mut stream = connect_from(2, house.address()).expect("it accepts");
                stream.write_all(bytes).expect("sent");
                let heard = rest(&mut stream);
                assert!(
                    heard.is_empty() || heard.starts_with("HTTP/1.1 400 "),
                    "{heard:?}"
                );
            }
        }
    });
}

#[test]
fn clients_that_send_and_reset_leave_nothing_behind() {
    let house = House::start();
    let body = "Content-Length: 2\r\n";
    let asks = [
        request("GET", "/healthz", ""),
        request("GET", "/v1/workflow_runs", ""),
        request("POST", "/v1/workflow/invoke", body) + "{}",
        request("POST", "/v1/workflow/invoke", body),
        "GET /heal".to_owned(),
        String::new(),
    ];
    survives(&house, || {
        for number in 0..1200 {
            let mut stream = connect_from(2, house.address()).expect("it accepts");
            stream
                .write_all(asks[number % asks.len()].as_bytes())
                .expect("sent");
            let reset = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            reset.expect("a socket option");
        }
    });
    assert!(!house.log().contains("panicked"), "{}", house.log());
}

/// Every header that an answer may have.
const KNOWN: [&str; 11] = [
    "content-type",
    "content-length",
    "x-content-type-options",
    "cache-control",
    "date",
    "connection",
    "allow",
    "retry-after",
    "www-authenticate",
    "idempotent-replayed",
    "location",
];

#[test]
fn nothing_that_is_sent_becomes_a_header_of_an_answer() {
    let house = House::start();
    house.deploy("quick", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    let evil = "%0d%0aX-Injected:%20yes%0d%0a%0d%0a<script>";
    let json = r#"{"deployment":"quick\r\nX-Injected: yes","variant":"prod"}"#;
    let run = r#"{"deployment":"quick","user":"a\r\nX-Injected: yes","metadata":{"a":"\r\nX-Injected: yes"}}"#;
    let post = |text: &str, more: &str| {
        let more = format!("Content-Length: {}\r\n{more}", text.len());
        request("POST", "/v1/workflow/invoke", &more) + text
    };
    for text in [
        request("GET", &format!("/{evil}"), ""),
        request("GET", &format!("/healthz?{evil}"), ""),
        request("PUT", &format!("/healthz?{evil}"), ""),
        request("GET", &format!("/v1/workflow_runs/{evil}"), ""),
        request("GET", &format!("/v1/workflow_runs?q={evil}"), ""),
        request("GET", &format!("/v1/workflow_runs?cursor={evil}"), ""),
        request(
            "GET",
            &format!("/v1/deployments/{evil}/variants/{evil}/versions"),
            "",
        ),
        request("DELETE", &format!("/v1/secrets/{evil}"), ""),
        request(
            "GET",
            "/healthz",
            "X-Request-Id: a%0d%0aX-Injected: yes\r\n",
        ),
        request("GET", "/healthz", "Origin: https://evil.example\r\n"),
        post(json, ""),
        post(run, "Idempotency-Key: a%0d%0aX-Injected: yes\r\n"),
        post(run, "Idempotency-Key: a%0d%0aX-Injected: yes\r\n"),
    ] {
        let mut stream = connect_from(1, house.address()).expect("it accepts");
        let text = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        stream.write_all(text.as_bytes()).expect("sent");
        let heard = rest(&mut stream);
        let (head, _) = heard.split_once("\r\n\r\n").expect("a head");
        for line in head.lines().skip(1) {
            let name = line.split(':').next().unwrap_or_default();
            let known = KNOWN.contains(&name.to_ascii_lowercase().as_str());
            assert!(known, "{text:?} was answered with {line:?}");
            assert!(
                !line.to_ascii_lowercase().contains("injected"),
                "{text:?}: {line:?}"
            );
            assert!(!line.contains("evil"), "{text:?}: {line:?}");
        }
    }
}
