//! The front door under attack: every way in which a client can be wrong, slow, greedy or many, against the real
//! binary, with a healthy client beside it that must be answered throughout.
//!
//! Owns what the attacks have in common: the healthy client, what the server weighs before and after, and where
//! attackers come from. Nothing here asserts how long anything took; an answer that takes ten seconds is a hang.

mod attacks; // what a few connections can do
mod corpus; // six hundred raw requests, and what becomes of each
mod crowds; // many connections: idle, in a burst, in and out, more than there are descriptors
mod herd; // a thousand slow clients, driven by one thread
mod slow; // slow heads, slow bodies, slow readers

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::house::{ADMIN, House, direct_body, pause, text, wait_until};
use crate::wire::{PATIENCE, Wire};

/// A healthy client's deadline: beyond it, it was not answered.
const DEADLINE: Duration = Duration::from_secs(10);

/// By how much the server may grow under an attack.
const GROWTH: u64 = 64 << 20;

/// A workflow whose result is as large as its input.
const BIG: &str = "inputs: {t: {type: text}}\nsteps: [{id: a, set: {t: '{{ t }}'}}]\n\
                   output: '{{ a.output.t }}'";

/// The bytes of a request with a key that opens every door.
fn request(method: &str, path: &str, headers: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n{headers}\r\n"
    )
}

/// A connection from that address of this machine: what one peer may hold is counted by address.
fn connect_from(last: u8, to: SocketAddr) -> io::Result<TcpStream> {
    connect_with(last, to, None)
}

/// The same, with room for so many bytes that have not been read.
fn connect_with(last: u8, to: SocketAddr, room: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(room) = room {
        socket.set_recv_buffer_size(room)?;
    }
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// How many descriptors this process may open, after it asked for as many as it can have.
fn descriptors() -> usize {
    let limits = || -> Option<(usize, usize)> {
        let text = fs::read_to_string("/proc/self/limits").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))?;
        let mut words = line
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(usize::MAX));
        Some((words.next()?, words.next()?))
    };
    let (_, hard) = limits().expect("the limits can be read");
    set_descriptors(std::process::id(), hard.min(20_000));
    limits().expect("the limits can be read").0
}

/// Changes how many descriptors a process may open; where that is refused, they stay as they were.
fn set_descriptors(pid: u32, count: usize) -> bool {
    let status = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={count}:")])
        .status();
    status.is_ok_and(|status| status.success())
}

/// What the server weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weight {
    resident: u64,
    threads: u64,
    descriptors: usize,
}

fn weigh(house: &House) -> Weight {
    let folder = format!("/proc/{}", house.pid());
    Weight {
        resident: status_line(house, "VmRSS") << 10,
        threads: status_line(house, "Threads"),
        descriptors: fs::read_dir(format!("{folder}/fd"))
            .expect("the server runs")
            .count(),
    }
}

/// A number of `/proc/PID/status`.
fn status_line(house: &House, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", house.pid())).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// A client that asks as it should, on connections of its own, until told to stop.
fn healthy(house: &House, stop: &AtomicBool, deadline: Duration) -> (usize, Vec<String>) {
    let (mut answered, mut failed) = (0, Vec::new());
    let body = direct_body("nobody", &json!({}));
    // An attack may be over before this thread has its turn: once is the least.
    loop {
        // What is open to all, and what goes all the way: a key, a body, the store.
        let asks = [
            (house.ask("GET", "/healthz").no_key(), 200),
            (house.ask("POST", "/v1/workflow/invoke").json(&body), 404),
        ];
        for (ask, expected) in asks {
            let heard = Wire::open_within(house.address(), deadline).and_then(|mut wire| {
                wire.send(&ask.bytes(true))?;
                wire.answer()
            });
            match heard {
                Ok(answer) if answer.status == expected => answered += 1,
                Ok(answer) => failed.push(format!("{}: {}", answer.status, answer.text())),
                Err(fault) => failed.push(fault.to_string()),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return (answered, failed);
        }
        pause(Duration::from_millis(20));
    }
}

/// Runs an attack with a healthy client beside it. The client must be answered throughout, the server must not grow
/// by much, and have afterwards as many threads and descriptors as before.
#[track_caller]
fn survives<T>(house: &House, attack: impl FnOnce() -> T) -> T {
    survives_within(house, DEADLINE, GROWTH, attack)
}

#[track_caller]
fn survives_within<T>(
    house: &House,
    deadline: Duration,
    growth: u64,
    attack: impl FnOnce() -> T,
) -> T {
    let stop = AtomicBool::new(false);
    // Once through everything that the healthy client asks, so that it is not taken for growth.
    healthy_once(house);
    let before = weigh(house);
    // The peak is counted from here on.
    fs::write(format!("/proc/{}/clear_refs", house.pid()), "5").expect("the process is ours");
    let (done, (answered, failed)) = thread::scope(|scope| {
        let beside = scope.spawn(|| healthy(house, &stop, deadline));
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attack));
        stop.store(true, Ordering::Relaxed);
        let seen = beside.join().expect("the healthy client ends");
        match attacked {
            Ok(done) => (done, seen),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let peak = status_line(house, "VmHWM") << 10;
    assert!(failed.is_empty(), "beside the attack: {failed:?}");
    assert!(answered >= 2, "the healthy client was beside it");
    let grown = peak.saturating_sub(before.resident);
    assert!(grown <= growth, "it grew by {} KiB", grown >> 10);
    wait_until("all that was taken is given back", PATIENCE, || {
        let now = weigh(house);
        let same = now.threads == before.threads && now.descriptors <= before.descriptors;
        same.then_some(())
    });
    done
}

fn healthy_once(house: &House) {
    let body = direct_body("nobody", &json!({}));
    for _ in 0..64 {
        house.ask("GET", "/healthz").send().is(200);
        assert_eq!(house.invoke(&body).status, 404);
    }
}

/// The path of a run that is as large as a run is shown: some 4.5 MB.
fn large_run(house: &House) -> String {
    house.deploy("big", BIG);
    let answer = house.direct("big", &json!({"t": "x".repeat(900 << 10)}));
    let path = format!("/v1/workflow_runs/{}", text(&answer["request_id"]));
    assert!(house.ask("GET", &path).send().body.len() > 4 << 20);
    path
}
