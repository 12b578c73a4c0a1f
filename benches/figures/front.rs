//! Slow clients: the three modes of slowhttptest, a thousand connections each, against the limits as shipped, and a
//! well-behaved client beside them.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::report::Report;
use crate::server::{KEY, Server, healthz, invoke, scratch};
use crate::stats::Times;
use crate::{Result, Size, fault};

const NAME: &str = "a thousand slow clients";
const CONNECTIONS: &str = "1000";
const EVERY: Duration = Duration::from_millis(100);

/// A probe that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// In milliseconds.
const MOST_P99: f64 = 100.0;
/// In MiB.
const MOST_GROWTH: f64 = 64.0;

/// A workflow whose result is as large as its input: shown, such a run is the largest answer there is.
const BIG: &str = "inputs: {t: {type: text}}\nsteps: [{id: a, set: {t: '{{ t }}'}}]\n\
                   output: '{{ a.output.t }}'";

/// A mode: its name, its flags, and what it asks for.
const MODES: &[(&str, &[&str])] = &[
    ("slow heads", &["-H", "-i", "1", "-x", "24"]),
    (
        "slow bodies",
        &["-B", "-i", "1", "-x", "10", "-s", "8192", "-t", "POST"],
    ),
    (
        "slow readers",
        &[
            "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "5", "-k", "3",
        ],
    ),
];

/// One mode after the other, each on a server of its own.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    for (mode, flags) in MODES {
        one(mode, flags, size, report)?;
    }
    Ok(())
}

fn one(mode: &str, flags: &[&str], size: Size, report: &mut Report) -> Result<()> {
    let folder = scratch()?;
    let server = Server::start(&folder, &[])?;
    server.deploy("big", BIG)?;
    let input = json!({"t": "x".repeat(900 << 10)});
    let run = server
        .connect()?
        .expect(&invoke("big", &input, None), &[200])?;
    let path = match mode {
        "slow heads" => "/healthz".to_owned(),
        "slow bodies" => "/v1/workflow/invoke".to_owned(),
        _ => format!(
            "/v1/workflow_runs/{}",
            run["request_id"].as_str().unwrap_or_default()
        ),
    };
    let seconds = size.of(20);
    probe_for(server.addr, Duration::from_secs(1));
    let before = resident(server.id(), "VmRSS")?;
    fs::write(format!("/proc/{}/clear_refs", server.id()), "5")?;
    let mut attack = Command::new("slowhttptest")
        .args([
            "-c",
            CONNECTIONS,
            "-r",
            "200",
            "-l",
            &seconds.to_string(),
            "-p",
            "3",
        ])
        .args(flags)
        // The tool has no flag for a key; what it writes as a cookie is not looked at for line ends.
        .args(["-j", &format!("a=b\r\nAuthorization: Bearer {KEY}")])
        .args(["-u", &format!("http://{}{path}", server.addr)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|why| fault(format!("slowhttptest (a Debian package): {why}")))?;
    let (times, failed) = probe_for(server.addr, Duration::from_secs(seconds as u64 + 1));
    attack.wait()?;
    let grown = resident(server.id(), "VmHWM")? - before;
    report.note(
        NAME,
        format!("{mode}: probes answered"),
        times.count() as f64,
        "",
    );
    report.note(NAME, format!("{mode}: probe, p50"), times.p50(), "ms");
    let holds = times.p99() <= MOST_P99;
    let claim = format!("<= {MOST_P99} ms");
    report.claim(
        NAME,
        format!("{mode}: probe, p99"),
        (times.p99(), "ms"),
        claim,
        holds,
    );
    report.note(NAME, format!("{mode}: probe, longest"), times.max(), "ms");
    report.claim(
        NAME,
        format!("{mode}: probes failed"),
        (failed as f64, ""),
        "0",
        failed == 0,
    );
    report.note(NAME, format!("{mode}: resident before"), before, "MiB");
    let claim = format!("<= {MOST_GROWTH} MiB");
    report.claim(
        NAME,
        format!("{mode}: grown by at most"),
        (grown, "MiB"),
        claim,
        grown <= MOST_GROWTH,
    );
    Ok(())
}

/// Asks every 100 ms, each time on a connection of its own: what needs nothing, and what goes all the way to the store.
fn probe_for(addr: SocketAddr, time: Duration) -> (Times, usize) {
    let asks = [
        (healthz(), "200"),
        (invoke("nobody", &json!({}), None), "404"),
    ];
    let (mut times, mut failed) = (Vec::new(), 0);
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + EVERY * number;
        if due > begun + time {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (bytes, status) = &asks[number as usize % asks.len()];
        let asked = Instant::now();
        match probe(addr, bytes) {
            Ok(seen) if seen == *status => times.push(asked.elapsed()),
            Ok(_) | Err(_) => failed += 1,
        }
    }
    (Times::new(times), failed)
}

/// The status of one answer, from the connection on.
fn probe(addr: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer)?;
    let text = String::from_utf8_lossy(&answer[..count]);
    Ok(text.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// A size from `/proc/PID/status`, in MiB.
fn resident(pid: u32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| fault(format!("no {name}")))?;
    Ok(kib / 1024.0)
}
