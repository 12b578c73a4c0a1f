//! What is asked, byte by byte: framing, credentials, proxies.

use std::io::Write;

use super::*;

#[test]
fn a_request_is_answered_with_the_usual_headers() {
    let running = Running::default();
    let heard = running.ask(&request("GET", "/v1/x?secret=s", ""));
    assert_eq!((heard.status, heard.body.as_str()), (200, "GET /v1/x "));
    assert_eq!(heard.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(heard.header("cache-control"), Some("no-store"));
    assert!(
        heard.header("date").is_some() && heard.header("connection").is_none(),
        "{heard:?}"
    );
    assert_eq!(
        running
            .ask(&request("GET", "/open", ""))
            .header("cache-control"),
        None
    );
}

#[test]
fn malformed_requests_are_refused_and_the_connection_ends() {
    let running = Running::default();
    let ok = "Host: localhost\r\nAuthorization: Bearer k\r\n";
    let smuggled = "GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (status, text) in [
        // stack.md, rows 1 and 2: lengths that nobody can hold.
        (
            "413",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: 10000000000000\r\n\r\n"),
        ),
        (
            "431",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: 18446744073709551615\r\n\r\n"),
        ),
        // Rows 7 and 8: heads without end.
        (
            "431",
            format!("GET / HTTP/1.1\r\n{ok}X: {}\r\n\r\n", "x".repeat(300 << 10)),
        ),
        (
            "431",
            format!("GET / HTTP/1.1\r\n{ok}{}\r\n", "a: b\r\n".repeat(70)),
        ),
        // Row 14: two readings of one message.
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Transfer-Encoding: xchunked\r\n\r\n{smuggled}"),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Transfer-Encoding: identity\r\n\r\n{smuggled}"),
        ),
        (
            "501",
            format!(
                "POST / HTTP/1.1\r\n{ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "501",
            format!(
                "POST / HTTP/1.1\r\n{ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "400",
            format!(
                "POST / HTTP/1.1\r\n{ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello{smuggled}"
            ),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: +5\r\n\r\nhello{smuggled}"),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: abc\r\n\r\nhello{smuggled}"),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: -1\r\n\r\nhello{smuggled}"),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length:\r\n\r\nhello{smuggled}"),
        ),
        (
            "400",
            format!("POST / HTTP/1.1\r\n{ok}Content-Length: 5, 5\r\n\r\nhello{smuggled}"),
        ),
        // Row 17: heads that are not quite heads.
        ("400", format!("GET / HTTP/1.1\r\n{ok}X: a\0b\r\n\r\n")),
        (
            "400",
            format!("GET / HTTP/1.1\r\n{ok}X: a\r\n folded\r\n\r\n"),
        ),
        ("400", format!("GET / HTTP/1.1\r\n{ok}: empty\r\n\r\n")),
        ("400", format!("GET / HTTP/1.1\r\n{ok}X : spaced\r\n\r\n")),
        ("400", format!("GET / x HTTP/1.1\r\n{ok}\r\n")),
        (
            "400",
            "GET / HTTP/1.1\r\nAuthorization: Bearer k\r\n\r\n".to_owned(),
        ),
        (
            "400",
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{ok}\r\n"),
        ),
        ("400", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned()),
        (
            "400",
            "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        ),
        (
            "400",
            format!("GET http://evil.example/ HTTP/1.1\r\n{ok}\r\n"),
        ),
        ("400", format!("CONNECT localhost:80 HTTP/1.1\r\n{ok}\r\n")),
        ("400", format!("GET localhost HTTP/1.1\r\n{ok}\r\n")),
        ("400", format!("GET / HTTP/3.0\r\n{ok}\r\n")),
        (
            "417",
            format!("POST / HTTP/1.1\r\n{ok}Expect: a-miracle\r\nContent-Length: 5\r\n\r\n"),
        ),
        (
            "400",
            format!(
                "POST / HTTP/1.1\r\n{ok}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"
            ),
        ),
        (
            "400",
            format!(
                "POST / HTTP/1.1\r\n{ok}Transfer-Encoding: chunked\r\n\r\n{}\r\nhello\r\n0\r\n\r\n",
                "f".repeat(17)
            ),
        ),
    ] {
        let heard = running.ask_all(text.as_bytes());
        let expected = format!("HTTP/1.1 {status} ");
        let shown: String = text.chars().take(200).collect();
        assert!(
            heard.starts_with(&expected),
            "{shown:?} was answered {heard:?}"
        );
        assert_eq!(
            heard.matches("HTTP/1.1 ").count(),
            1,
            "{shown:?} was answered {heard:?}"
        );
        assert!(
            !heard.contains("smuggled"),
            "{shown:?} was answered {heard:?}"
        );
    }
    assert_eq!(running.answered(), 0, "none of these reached a handler");
}

#[test]
fn a_length_beside_chunks_is_one_request_and_the_connection_ends() {
    let running = Running::default();
    let smuggled = "GET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let text = request("POST", "/echo", headers) + "3\r\nabc\r\n0\r\n\r\n" + smuggled;
        let heard = running.ask_all(text.as_bytes());
        assert!(
            heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("POST /echo abc"),
            "{heard:?}"
        );
    }
}

#[test]
fn an_http2_probe_is_closed_and_costs_nothing() {
    let running = Running::default();
    for _ in 0..20 {
        let heard = running.ask_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        assert!(
            heard.is_empty() || heard.starts_with("HTTP/1.1 400 "),
            "{heard:?}"
        );
    }
    assert_eq!(running.ask(&request("GET", "/open", "")).status, 200);
}

#[test]
fn a_header_value_with_a_line_break_is_never_sent() {
    let running = Running::default();
    let heard = running.ask(&request("GET", "/newline", ""));
    assert_eq!(heard.status, 500);
    assert!(!heard.head.contains("Set-Cookie"), "{}", heard.head);
    assert!(
        heard.error()["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("err_")),
        "{}",
        heard.body
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let running = Running::default();
    let mut stream = running.connect();
    let body = "Content-Length: 3\r\n";
    let text: String = (0..30)
        .map(|n| match n % 2 {
            0 => request("GET", &format!("/{n}"), ""),
            _ => request("POST", &format!("/{n}"), body) + "abc",
        })
        .collect();
    stream.write_all(text.as_bytes()).expect("sent");
    for n in 0..30 {
        let expected = if n % 2 == 0 {
            format!("GET /{n} ")
        } else {
            format!("POST /{n} abc")
        };
        assert_eq!(hear(&mut stream, "GET").expect("an answer").body, expected);
    }
}

#[test]
fn chunked_bodies_are_put_together() {
    let running = Running::default();
    let mut stream = running.connect();
    for part in [
        request("POST", "/echo", "Transfer-Encoding: chunked\r\n"),
        "3\r\nabc\r\n".to_owned(),
        "4;name=value\r\ndefg\r\n0\r\n\r\n".to_owned(),
        request("GET", "/next", ""),
    ] {
        stream.write_all(part.as_bytes()).expect("sent");
    }
    assert_eq!(
        hear(&mut stream, "POST").expect("an answer").body,
        "POST /echo abcdefg"
    );
    assert_eq!(
        hear(&mut stream, "GET").expect("an answer").body,
        "GET /next "
    );
}

#[test]
fn trailers_are_forgotten_and_end_the_connection() {
    let running = Running::default();
    let next = request("GET", "/open/next", "");
    for trailers in [
        "X-Trailer: t\r\n\r\n".to_owned(),
        // To who takes LF for a line end, the trailers end here and a request follows; the parser eats it.
        format!("\n{next}"),
        format!("X-Trailer: t\n\n{next}"),
    ] {
        let text = request("POST", "/echo", "Transfer-Encoding: chunked\r\n")
            + "3\r\nabc\r\n0\r\n"
            + &trailers
            + &next;
        let heard = running.ask_all(text.as_bytes());
        assert!(
            heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("POST /echo abc"),
            "{trailers:?} was answered {heard:?}"
        );
        assert!(heard.contains("connection: close"), "{heard:?}");
    }
}

#[test]
fn credentials_are_judged_before_a_body_byte_is_asked_for() {
    let running = Running::default();
    let text = "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let heard = running.ask_all(text.as_bytes());
    assert!(
        heard.starts_with("HTTP/1.1 401 "),
        "no 100 before the refusal: {heard:?}"
    );
    assert!(
        heard.contains("\r\nconnection: close\r\n") && heard.contains("invalid_access"),
        "{heard:?}"
    );
    // Without a body the connection lives on.
    let mut stream = running.connect();
    for status in [401, 401] {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("sent");
        assert_eq!(hear(&mut stream, "GET").expect("an answer").status, status);
    }
}

#[test]
fn an_expected_100_comes_before_the_body() {
    let running = Running::default();
    let mut stream = running.connect();
    let text = request(
        "POST",
        "/echo",
        "Expect: 100-continue\r\nContent-Length: 5\r\n",
    );
    stream.write_all(text.as_bytes()).expect("sent");
    assert_eq!(
        hear(&mut stream, "POST").expect("an interim answer").status,
        100
    );
    stream.write_all(b"hello").expect("sent");
    assert_eq!(
        hear(&mut stream, "POST").expect("an answer").body,
        "POST /echo hello"
    );
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let running = Running::default();
    let mut stream = running.connect();
    let text = request("HEAD", "/x", "") + &request("GET", "/x", "");
    stream.write_all(text.as_bytes()).expect("sent");
    let heard = hear(&mut stream, "HEAD").expect("an answer");
    assert_eq!(
        (heard.status, heard.header("content-length")),
        (200, Some("8"))
    );
    assert_eq!(hear(&mut stream, "GET").expect("an answer").body, "GET /x ");
}

#[test]
fn http_1_0_works() {
    let running = Running::default();
    let heard = running.ask_all(b"GET /open HTTP/1.0\r\n\r\n");
    assert!(
        heard.starts_with("HTTP/1.0 200 ") && heard.ends_with("GET /open "),
        "{heard:?}"
    );
    let mut stream = running.connect();
    for _ in 0..2 {
        stream
            .write_all(b"GET /open HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .expect("sent");
        assert_eq!(hear(&mut stream, "GET").expect("an answer").status, 200);
    }
}

#[test]
fn an_offered_upgrade_is_declined_by_answering_in_http_1() {
    let running = Running::default();
    let more = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(running.ask(&request("GET", "/x", more)).status, 200);
}

#[test]
fn the_same_host_in_absolute_form_and_the_base_path_are_understood() {
    let running = Running::start(2, |config| {
        config.base_path = "/skep".to_owned();
        config.public_host = "skep.example".to_owned();
    });
    for (target, host) in [
        ("http://skep.example/skep/open", "skep.example"),
        ("/skep/open", "skep.example:443"),
        ("/open", "127.0.0.1:8080"),
    ] {
        let heard = running.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(
            (heard.status, heard.body.as_str()),
            (200, "GET /open "),
            "{target}"
        );
    }
}

#[test]
fn a_proxy_is_believed_only_if_trusted() {
    let more = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n";
    let trusting = Running::start(1, |config| {
        config.trusted_proxies = vec![Cidr::parse("127.0.0.0/8").expect("a range")];
    });
    assert_eq!(
        trusting.ask(&request("GET", "/v1/who", more)).body,
        "198.51.100.7 Some(\"https\")"
    );
    assert_eq!(
        Running::default()
            .ask(&request("GET", "/v1/who", more))
            .body,
        "127.0.0.1 None"
    );
}

#[test]
fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    // RFC 9112, 2.2, permits it. No second reading of these bytes gives another request.
    let running = Running::default();
    let heard = running.ask("GET /open HTTP/1.1\nHost: localhost\n\n");
    assert_eq!((heard.status, heard.body.as_str()), (200, "GET /open "));
}
