//! Answers that go on.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::api::budget::Budget;
use crate::api::feed::{Feed, Frame};

fn frame(bytes: &[u8]) -> Frame {
    Frame::new(bytes.into(), Budget::new(1, 1).hold(None))
}

impl Running {
    /// Begins a stream: its two ends, and the head that came.
    fn stream(&self) -> (Feed, TcpStream, String) {
        let mut stream = self.connect();
        stream
            .write_all(request("GET", "/stream", "").as_bytes())
            .expect("sent");
        let feed = self.feeds.recv_timeout(PATIENCE).expect("it streams");
        let head = read_until(&mut stream, "\r\n\r\n");
        (feed, stream, head)
    }
}

/// Reads byte by byte to the end of that text.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("bytes in time"), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn frames_are_sent_as_they_come_and_the_connection_outlives_them() {
    // None of the limits of an answer or a head is one of a stream.
    let running = Running::start(1, |config| {
        config.answer_time = Duration::from_millis(50);
        config.head_time = Duration::from_millis(300);
    });
    let (feed, mut stream, head) = running.stream();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let begun = Instant::now();
    becomes("the limits have passed", || {
        begun.elapsed() > Duration::from_millis(400)
    });
    for text in ["one", "two"] {
        assert!(feed.push(frame(text.as_bytes())));
        assert_eq!(read_until(&mut stream, text), format!("3\r\n{text}"));
        read_until(&mut stream, "\r\n");
    }
    feed.close();
    assert_eq!(read_until(&mut stream, "0\r\n\r\n"), "0\r\n\r\n");
    stream
        .write_all(request("GET", "/open", "").as_bytes())
        .expect("sent");
    assert_eq!(hear(&mut stream, "GET").expect("an answer").status, 200);
}

#[test]
fn who_leaves_a_stream_is_noticed() {
    let running = Running::start(1, |_| {});
    let (feed, stream, _) = running.stream();
    assert!(!feed.is_gone());
    stream.shutdown(Shutdown::Both).expect("closed");
    becomes("the client's leave is noticed", || feed.is_gone());
    assert!(!feed.push(frame(b"x")));
}

#[test]
fn who_does_not_read_a_stream_is_cut_and_holds_up_nobody() {
    let running = Running::start(1, |config| {
        config.write_time = Duration::from_millis(300);
    });
    let (feed, mut slow, _) = running.stream();
    let (other, mut quick, _) = running.stream();
    let bytes = vec![b'x'; 256 << 10];
    becomes(
        "the queue is full, or the socket has waited for too long",
        || !feed.push(frame(&bytes)),
    );
    assert!(other.push(frame(b"one")));
    read_until(&mut quick, "one");
    assert_eq!(running.ask(&request("GET", "/open", "")).status, 200);
    let got = rest(&mut slow);
    assert!(!got.ends_with("0\r\n\r\n"), "no end in order");
}

#[test]
fn a_stop_waits_for_no_stream_that_has_ended() {
    let running = Running::start(1, |config| config.drain_time = PATIENCE * 6);
    let (feed, _stream, _) = running.stream();
    let begun = Instant::now();
    feed.close();
    running.server.stop();
    running.join();
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn the_head_of_a_stream_has_no_body() {
    let running = Running::start(1, |_| {});
    let mut stream = running.connect();
    stream
        .write_all(request("HEAD", "/stream", "Connection: close\r\n").as_bytes())
        .expect("sent");
    let got = rest(&mut stream);
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
    assert!(got.ends_with("\r\n\r\n"), "{got}");
    let feed = running.feeds.recv_timeout(PATIENCE).expect("it streams");
    becomes("nobody reads it", || feed.is_gone());
}
