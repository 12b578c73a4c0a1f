//! How soon a killed server serves again, with its backlog, and whether the backlog is then done.

use crossbeam_channel::RecvTimeoutError;
use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Size;
use crate::report::Report;
use crate::server::{scratch, start};
use skep::bench::receiver::Receiver;
use skep::bench::server::{healthz, invoke};
use skep::bench::stats::ms;
use skep::bench::wire::Client;
use skep::bench::{Result, fault};

const NAME: &str = "kill -9 and start again";
const QUEUED: usize = 2_000;
const KILLS: usize = 5;

/// In milliseconds.
const MOST: f64 = 1_000.0;

const WORKFLOW: &str = "steps: [{id: a, set: {x: 1}}]\n";

/// Killed with a full queue; then again and again while it works on it.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    let receiver = Receiver::start()?;
    let folder = scratch()?;
    let server = start(&folder, &["--workers", "0"])?;
    report.note(
        NAME,
        "new file: start to `listening on`",
        ms(server.listening_after),
        "ms",
    );
    server.deploy("set", WORKFLOW)?;
    let count = size.of(QUEUED);
    let mut client = server.connect()?;
    for number in 0..count {
        let url = receiver.url(&number.to_string());
        client.expect(&invoke("set", &json!({}), Some(&url)), &[202])?;
    }
    server.kill();

    let (mut listening, mut healthy) = (Vec::new(), Vec::new());
    let mut begun = Instant::now();
    let mut server = start(&folder, &[])?;
    for number in 0..KILLS {
        listening.push(ms(server.listening_after));
        Client::connect(server.addr)?.expect(&healthz(), &[200])?;
        healthy.push(ms(begun.elapsed()));
        if number + 1 < KILLS {
            thread::sleep(Duration::from_millis(30));
            server.kill();
            begun = Instant::now();
            server = start(&folder, &[])?;
        }
    }
    let (mut came, mut twice) = (HashSet::new(), 0);
    while came.len() < count {
        match receiver.arrivals.recv_timeout(Duration::from_secs(30)) {
            Ok((path, _)) => twice += usize::from(!came.insert(path)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let done = begun.elapsed();
    let slowest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let first = *healthy
        .first()
        .ok_or_else(|| fault("no start was measured"))?;
    report.note(
        NAME,
        format_args!("start to `listening on`, {count} queued"),
        listening[0],
        "ms",
    );
    report.claim(
        NAME,
        format_args!("start to the first healthy answer, {count} queued"),
        (first, "ms"),
        "<= 1 s",
        first <= MOST,
    );
    let worst = slowest(&healthy);
    report.claim(
        NAME,
        format_args!("the slowest of {KILLS} such starts"),
        (worst, "ms"),
        "<= 1 s",
        worst <= MOST,
    );
    report.claim(
        NAME,
        "callbacks that came",
        (came.len() as f64, ""),
        format!("= {count}"),
        came.len() == count,
    );
    report.note(NAME, "callbacks that came twice", twice as f64, "");
    report.note(NAME, "last start to the last callback", ms(done), "ms");
    Ok(())
}
