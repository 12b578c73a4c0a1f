//! How many runs a second are accepted, each on disk before it is answered: one connection against many.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Size;
use crate::report::Report;
use crate::server::{scratch, start};
use skep::bench::load::{Loaded, Until, load};
use skep::bench::receiver::Receiver;
use skep::bench::server::{Server, healthz, invoke};
use skep::bench::stats::{Times, median};
use skep::bench::{Result, fault};

/// The connections of each turn, and how many requests they send together.
const TURNS: [(usize, usize); 3] = [(1, 1_000), (8, 4_000), (64, 16_000)];

/// The disk has moods; turns alternate, and the middle one of so many counts.
const ROUNDS: usize = 3;

/// Group commit shows if 64 connections get at least so many times what one gets.
const GAIN: f64 = 5.0;

const WORKFLOW: &str =
    "steps: [{id: a, set: {x: \"{{ start.n }}\"}}]\ninputs: {n: {type: number}}\n";

/// Intake alone; then with workers at work on what came in; then with everything on.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    let receiver = Receiver::start()?;
    let url = receiver.url("callback");
    let modes: [(&'static str, &[&str]); 2] = [
        (
            "intake alone (--workers 0 --senders 0)",
            &["--workers", "0", "--senders", "0"],
        ),
        ("workers on (--senders 0)", &["--senders", "0"]),
    ];
    for (name, flags) in modes {
        let folder = scratch()?;
        let server = start(&folder, flags)?;
        server.deploy("set", WORKFLOW)?;
        let noop = load(
            server.addr,
            64,
            Until::Sent(size.of(40_000)),
            &[healthz()],
            200,
        )?
        .faultless()?;
        report.note(name, "GET /healthz, 64 connections", noop.rate, "/s");
        turns(size, &server, &url, name, noop.rate, report)?;
    }
    whole(size, &receiver, &url, report)
}

fn turns(
    size: Size,
    server: &Server,
    url: &str,
    name: &'static str,
    noop: f64,
    report: &mut Report,
) -> Result<()> {
    let requests = [invoke("set", &json!({"n": 1}), Some(url))];
    load(server.addr, 8, Until::Sent(200), &requests, 202)?.faultless()?;
    let mut loads: [Vec<Loaded>; TURNS.len()] = Default::default();
    let mut cost = [Duration::ZERO; TURNS.len()];
    for _ in 0..ROUNDS {
        for (at, (connections, count)) in TURNS.into_iter().enumerate() {
            let before = server.computed();
            let until = Until::Sent(size.of(count));
            loads[at].push(load(server.addr, connections, until, &requests, 202)?.faultless()?);
            // What workers have yet to do is done before the next turn, and is part of what this one cost.
            server.settle()?;
            cost[at] += server.computed().saturating_sub(before);
        }
    }
    let mut rates = [0.0; TURNS.len()];
    for (at, (connections, _)) in TURNS.into_iter().enumerate() {
        let of = |value: fn(&Times) -> f64| {
            median(loads[at].iter().map(|load| value(&load.times)).collect())
        };
        rates[at] = median(loads[at].iter().map(|load| load.rate).collect());
        let sent: usize = loads[at].iter().map(|load| load.times.count()).sum();
        let what = format!("durable invokes, {}", of_them(connections));
        report.note(name, &what, rates[at], "/s");
        report.note(name, format!("{what}, p50"), of(Times::p50), "ms");
        report.note(name, format!("{what}, p99"), of(Times::p99), "ms");
        let each = cost[at].as_secs_f64() * 1e6 / sent.max(1) as f64;
        report.note(name, format!("{what}, server CPU for each"), each, "µs");
    }
    // Of turns next to each other: the disk may be another one a minute later.
    let pairs = loads[2].iter().zip(&loads[0]);
    let gain = median(
        pairs
            .map(|(many, one)| many.rate / one.rate.max(1e-9))
            .collect(),
    );
    let claim = format!(">= {GAIN}");
    report.claim(
        name,
        "64 connections : 1 connection",
        (gain, "x"),
        claim,
        gain >= GAIN,
    );
    report.note(
        name,
        "64 connections : GET /healthz",
        rates[2] / noop.max(1e-9),
        "x",
    );
    Ok(())
}

fn of_them(connections: usize) -> String {
    format!(
        "{connections} connection{}",
        if connections == 1 { "" } else { "s" }
    )
}

/// From the first invoke to the last callback's arrival, with everything on.
fn whole(size: Size, receiver: &Receiver, url: &str, report: &mut Report) -> Result<()> {
    let name = "everything on";
    let folder = scratch()?;
    let server = start(&folder, &[])?;
    server.deploy("set", WORKFLOW)?;
    let requests = [invoke("set", &json!({"n": 1}), Some(url))];
    let count = size.of(8_000);
    let connected = || receiver.connections.load(Ordering::Relaxed);
    let (begun, before, had) = (Instant::now(), server.computed(), connected());
    let taken = load(server.addr, 64, Until::Sent(count), &requests, 202)?.faultless()?;
    let mut last = begun;
    for number in 0..taken.times.count() {
        let arrival = receiver.arrivals.recv_timeout(Duration::from_secs(30));
        (_, last) =
            arrival.map_err(|_| fault(format!("only {number} of {count} callbacks came")))?;
    }
    let rate = taken.times.count() as f64 / (last - begun).as_secs_f64();
    let each = (server.computed().saturating_sub(before)).as_secs_f64() * 1e6 / count as f64;
    report.note(name, "durable invokes, 64 connections", taken.rate, "/s");
    report.note(name, "runs from invoke to callback", rate, "/s");
    report.note(name, "server CPU for each run", each, "µs");
    report.note(
        name,
        "connections made for the callbacks",
        (connected() - had) as f64,
        "",
    );
    Ok(())
}
