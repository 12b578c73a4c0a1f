//! Limits, deadlines and budgets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::api::server::lanes::QUEUE;

#[test]
fn bodies_over_the_limit_are_refused_and_the_client_reads_why() {
    let running = Running::start(2, |config| config.body_limit = 1000);
    let exactly = request("POST", "/echo", "Content-Length: 1000\r\n") + &"x".repeat(1000);
    assert_eq!(running.ask(&exactly).status, 200);
    let megabytes = "x".repeat(4 << 20);
    for text in [
        request("POST", "/echo", "Content-Length: 4194304\r\n") + &megabytes,
        request("POST", "/echo", "Transfer-Encoding: chunked\r\n")
            + "400000\r\n"
            + &megabytes
            + "\r\n0\r\n\r\n",
        request(
            "POST",
            "/echo",
            "Content-Length: 1001\r\nExpect: 100-continue\r\n",
        ),
    ] {
        // The close must be no reset, on which some clients lose the answer.
        let mut stream = running.connect();
        stream.write_all(text.as_bytes()).expect("all is taken");
        stream.shutdown(Shutdown::Write).expect("closed");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).expect("no reset");
        assert!(
            heard.starts_with("HTTP/1.1 413 ") && heard.contains("\r\nconnection: close\r\n"),
            "{heard:?}"
        );
        assert!(
            heard.contains("body_too_large") && heard.contains("1000 bytes"),
            "{heard:?}"
        );
    }
    assert_eq!(running.answered(), 1);
}

#[test]
fn slow_heads_and_silent_clients_are_cut() {
    let running = Running::start(2, |config| config.head_time = Duration::from_millis(100));
    // Silence: closed without a word.
    assert_eq!(rest(&mut running.connect()), "");
    // A head that never ends: told why.
    let heard = running.ask_all(b"GET / HTTP/1.1\r\nHost: local");
    assert!(
        heard.starts_with("HTTP/1.1 408 ") && heard.contains("bad_request"),
        "{heard:?}"
    );
    // Silence after an answer, with a body sent apart from its head: closed without a word.
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
    assert_eq!(hear(&mut stream, "POST").expect("an answer").status, 200);
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn a_slow_body_is_cut() {
    let running = Running::start(2, |config| config.body_time = Duration::from_millis(100));
    let heard =
        running.ask_all((request("POST", "/echo", "Content-Length: 5\r\n") + "he").as_bytes());
    assert!(
        heard.starts_with("HTTP/1.1 408 ") && heard.contains("bad_request"),
        "{heard:?}"
    );
    assert_eq!(running.answered(), 0);
}

#[test]
fn connections_over_a_cap_get_a_503_that_arrives() {
    for change in [
        |config: &mut ServerConfig| config.max_connections = 2,
        |config: &mut ServerConfig| config.max_connections_per_peer = 2,
    ] {
        let running = Running::start(1, change);
        let mut taken: Vec<TcpStream> = (0..2).map(|_| running.connect()).collect();
        for stream in &mut taken {
            stream
                .write_all(request("GET", "/open", "").as_bytes())
                .expect("sent");
            assert_eq!(hear(stream, "GET").expect("an answer").status, 200);
        }
        let heard = running.ask(&request("GET", "/open", ""));
        assert_eq!(
            (heard.status, heard.header("connection")),
            (503, Some("close"))
        );
        assert_eq!(heard.error()["error_code"], "unavailable");
        assert!(heard.header("retry-after").is_some());
        drop(taken);
        becomes("a place is free again", || {
            running.ask(&request("GET", "/open", "")).status == 200
        });
    }
}

#[test]
fn bodies_in_flight_are_bounded_until_their_handlers_return() {
    let running = Running::start(1, |config| config.body_share = 1000);
    let mut first = running.connect();
    let body = "x".repeat(600);
    first
        .write_all((request("POST", "/gate", "Content-Length: 600\r\n") + &body).as_bytes())
        .expect("sent");
    running
        .at_gate
        .recv_timeout(PATIENCE)
        .expect("the first is being handled");
    let heard = running.ask(&(request("POST", "/echo", "Content-Length: 600\r\n") + &body));
    assert_eq!(
        (heard.status, heard.header("connection")),
        (503, Some("close"))
    );
    running.gate.send(()).expect("the handler waits");
    assert_eq!(hear(&mut first, "POST").expect("an answer").status, 200);
    becomes("the budget is free again", || {
        running
            .ask(&(request("POST", "/echo", "Content-Length: 600\r\n") + &body))
            .status
            == 200
    });
}

#[test]
fn a_full_queue_is_a_503_at_once() {
    let running = Running::start(1, |_| {});
    let mut first = running.connect();
    first
        .write_all(request("GET", "/gate", "").as_bytes())
        .expect("sent");
    running
        .at_gate
        .recv_timeout(PATIENCE)
        .expect("the handler is busy");
    let mut others: Vec<TcpStream> = Vec::new();
    for n in 1..=QUEUE {
        let mut stream = running.connect();
        stream
            .write_all(request("GET", "/open", "").as_bytes())
            .expect("sent");
        others.push(stream);
        becomes("it is queued", || running.server.waiting.len() == n);
    }
    let heard = running.ask(&request("GET", "/open", ""));
    assert_eq!(
        (heard.status, heard.header("retry-after")),
        (503, Some("1"))
    );
    running.gate.send(()).expect("the handler waits");
    for stream in &mut others {
        assert_eq!(hear(stream, "GET").expect("an answer").status, 200);
    }
}

#[test]
fn answers_in_flight_are_bounded_and_a_client_that_does_not_read_is_cut() {
    let running = Running::start(2, |config| {
        config.answer_share = 9 << 20;
        config.write_time = Duration::from_millis(300);
    });
    let mut hoarder = running.connect();
    hoarder
        .write_all(request("GET", "/big", "").as_bytes())
        .expect("sent");
    hoarder
        .peek(&mut [0])
        .expect("the big answer is on its way");
    let heard = running.ask(&request("GET", "/big", ""));
    assert_eq!(heard.status, 503);
    assert_eq!(
        running.ask(&request("GET", "/open", "")).status,
        200,
        "small answers go on"
    );
    // Once the hoarder is cut, its part is free.
    becomes("the hoarder is cut", || {
        let heard = running.ask(&request("GET", "/big", ""));
        heard.status == 200 && heard.body.len() == 8 << 20
    });
    let mut got = Vec::new();
    drop(hoarder.read_to_end(&mut got));
    assert!(got.len() < 8 << 20, "{} bytes", got.len());
}

#[test]
fn what_only_reads_is_refused_from_the_head_while_its_client_leaves_much_unread() {
    let running = Running::start(2, |config| {
        config.answer_share = 9 << 20;
        config.write_time = Duration::from_millis(300);
    });
    let mut hoarder = running.connect();
    hoarder
        .write_all(request("GET", "/read/big", "").as_bytes())
        .expect("sent");
    hoarder
        .peek(&mut [0])
        .expect("the big answer is on its way");
    let before = running.answered();
    let heard = running.ask(&request("GET", "/read/small", ""));
    assert_eq!(heard.status, 503);
    assert!(heard.header("retry-after").is_some());
    assert_eq!(running.answered(), before, "it reached no handler");
    assert_eq!(running.ask(&request("GET", "/small", "")).status, 200);
    becomes("the hoarder is cut", || {
        running.ask(&request("GET", "/read/small", "")).status == 200
    });
}

#[test]
fn an_answer_over_the_share_reaches_a_client_that_has_nothing_else_unread() {
    let running = Running::start(2, |config| config.answer_share = 1 << 20);
    for _ in 0..2 {
        let heard = running.ask(&request("GET", "/read/big", ""));
        assert_eq!((heard.status, heard.body.len()), (200, 8 << 20));
    }
}

#[test]
fn reads_that_wait_hold_up_nothing_else() {
    let running = Running::start(3, |_| {});
    let mut readers: Vec<TcpStream> = (0..20).map(|_| running.connect()).collect();
    for stream in &mut readers {
        stream
            .write_all(request("GET", "/read/gate", "").as_bytes())
            .expect("sent");
    }
    for _ in 0..2 {
        running
            .at_gate
            .recv_timeout(PATIENCE)
            .expect("as many read as there are readers");
    }
    becomes("the others wait", || running.server.waiting.len() == 18);
    for _ in 0..3 {
        assert_eq!(running.ask(&request("POST", "/echo", "")).status, 200);
    }
    assert!(
        running.at_gate.is_empty(),
        "the third thread takes no reads"
    );
    for _ in &readers {
        running.gate.send(()).expect("the handlers wait");
    }
    for stream in &mut readers {
        assert_eq!(hear(stream, "GET").expect("an answer").status, 200);
    }
}

#[test]
fn a_reader_that_is_slow_but_steady_is_served() {
    let running = Running::start(1, |config| {
        config.write_time = Duration::from_millis(300);
        config.head_time = Duration::from_millis(200);
    });
    let mut stream = running.connect();
    stream
        .write_all(request("GET", "/big", "").as_bytes())
        .expect("sent");
    let mut chunk = vec![0; 512 << 10];
    let mut got = 0;
    while got < 8 << 20 {
        // The pause is the subject here: a client that takes its time.
        thread::sleep(Duration::from_millis(40));
        match stream.read(&mut chunk).expect("it goes on") {
            0 => panic!("cut after {got} bytes"),
            count => got += count,
        }
    }
}
