//! Receivers that never answer must not delay others: a healthy one's callbacks, alone and beside forty hung ones.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Size;
use crate::report::Report;
use crate::server::{scratch, start};
use skep::bench::receiver::{Hung, Receiver};
use skep::bench::server::{Server, invoke, until};
use skep::bench::stats::Times;
use skep::bench::{Result, fault};

const NAME: &str = "forty hung receivers";
const HUNG: usize = 40;
const DUE: usize = 5;
const RUNS: usize = 100;
const EVERY: Duration = Duration::from_millis(50);

/// In milliseconds.
const SLACK: f64 = 20.0;

const WORKFLOW: &str = "steps: [{id: a, set: {x: 1}}]\n";

/// Alone; beside; a receiver that is new beside; and across the time-outs of the hung ones.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    let (healthy, new) = (Receiver::start()?, Receiver::start()?);
    let folder = scratch()?;
    let server = start(&folder, &[])?;
    server.deploy("set", WORKFLOW)?;
    callbacks(&server, &healthy, size.of(RUNS) / 4)?;
    let alone = callbacks(&server, &healthy, size.of(RUNS))?;

    let hung: Vec<Hung> = (0..HUNG).map(|_| Hung::start()).collect::<Result<_>>()?;
    let mut client = server.connect()?;
    for at in 0..HUNG * DUE {
        let url = format!("http://{}/callback", hung[at % HUNG].addr);
        client.expect(&invoke("set", &json!({}), Some(&url)), &[202])?;
    }
    let begun = Instant::now();
    let holding = || {
        hung.iter()
            .filter(|hung| hung.held.load(Ordering::Relaxed) > 0)
            .count()
    };
    until(
        "every hung receiver to be called",
        Duration::from_secs(10),
        || Ok(holding() == HUNG),
    )?;
    let beside = callbacks(&server, &healthy, size.of(RUNS))?;
    let fresh = callbacks(&server, &new, size.of(RUNS))?;

    report.times(NAME, "invoke to callback, alone", &alone);
    report.times(NAME, "invoke to callback, beside", &beside);
    let most = alone.p99() + SLACK;
    let claim = format!("<= {most:.1} ms (alone + {SLACK})");
    report.claim(
        NAME,
        "p99 beside",
        (beside.p99(), "ms"),
        &claim,
        beside.p99() <= most,
    );
    report.claim(
        NAME,
        "p99 beside, a receiver never called before",
        (fresh.p99(), "ms"),
        &claim,
        fresh.p99() <= most,
    );
    report.note(NAME, "its longest", fresh.max(), "ms");
    if !size.quick {
        // The first exchanges end at 15 s, and the next ones that are due begin.
        let left = Duration::from_secs(13).saturating_sub(begun.elapsed());
        thread::sleep(left);
        let across = callbacks(&server, &healthy, RUNS)?;
        report.claim(
            NAME,
            "p99 while they time out",
            (across.p99(), "ms"),
            &claim,
            across.p99() <= most,
        );
        report.note(NAME, "its longest", across.max(), "ms");
    }
    let held: usize = hung
        .iter()
        .map(|hung| hung.held.load(Ordering::Relaxed))
        .sum();
    report.note(NAME, "attempts held by the forty in all", held as f64, "");
    Ok(())
}

/// Invokes at a fixed pace; times from when each was to be sent to when its callback came.
fn callbacks(server: &Server, receiver: &Receiver, count: usize) -> Result<Times> {
    let mut client = server.connect()?;
    let mut due: HashMap<String, Instant> = HashMap::new();
    let first = Instant::now() + EVERY;
    for number in 0..count {
        let at = first + EVERY * number as u32;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        let path = number.to_string();
        client.expect(
            &invoke("set", &json!({}), Some(&receiver.url(&path))),
            &[202],
        )?;
        due.insert(path, at);
    }
    let mut times = Vec::with_capacity(count);
    while !due.is_empty() {
        let arrival = receiver.arrivals.recv_timeout(Duration::from_secs(30));
        let (path, came) =
            arrival.map_err(|_| fault(format!("{} callbacks never came", due.len())))?;
        if let Some(at) = due.remove(&path) {
            times.push(came - at);
        }
    }
    Ok(Times::new(times))
}
