//! Long direct invokes must not be felt by others: 64 that wait for their run, and beside them quick requests.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Size;
use crate::report::Report;
use crate::server::{scratch, start};
use skep::bench::hands::beside;
use skep::bench::load::singles;
use skep::bench::server::{KEY, Server, healthz, invoke, until};
use skep::bench::stats::Times;
use skep::bench::wire::{Client, request};
use skep::bench::{Result, fault};

const NAME: &str = "64 direct invokes of a long delay";
const WAITING: usize = 64;
const COUNT: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// "As fast as alone": the median within a quarter, the slowest hundredth within this many milliseconds.
const RATIO: f64 = 1.25;
const SLACK: f64 = 5.0;

const QUICK_STEP: &str = "steps: [{id: a, set: {x: 1}}]\n";

/// Alone, beside the 64, and alone again.
pub fn measure(size: Size, report: &mut Report) -> Result<()> {
    let folder = scratch()?;
    let server = start(&folder, &["--workers", "128"])?;
    let delay = Duration::from_secs(if size.quick { 3 } else { 20 });
    server.deploy(
        "long",
        &format!("steps: [{{id: a, delay: {}s}}]\n", delay.as_secs()),
    )?;
    server.deploy("short", QUICK_STEP)?;
    let probes: [(&str, Vec<u8>); 2] = [
        ("GET /healthz", healthz()),
        ("direct invoke of `set`", invoke("short", &json!({}), None)),
    ];
    // A connection each: an idle one is closed by the server after a while.
    let probe = |bytes: &[u8]| singles(&mut server.connect()?, size.of(COUNT), PAUSE, bytes, 200);
    for (_, bytes) in &probes {
        probe(bytes)?;
    }
    let alone: Vec<Times> = probes
        .iter()
        .map(|(_, bytes)| probe(bytes))
        .collect::<Result<_>>()?;

    let addr = server.addr;
    let begun = Instant::now();
    let waiting = beside(WAITING, move |_| {
        Client::connect(addr)?.expect(&invoke("long", &json!({}), None), &[200])
    })?;
    until("64 waiting runs", delay, || Ok(parked(&server)? == WAITING))?;
    let at_once = begun.elapsed();
    let with: Vec<Times> = probes
        .iter()
        .map(|(_, bytes)| probe(bytes))
        .collect::<Result<_>>()?;
    let early = waiting.iter().filter(|hand| hand.is_finished()).count();
    let answers: Vec<Result<Value>> = waiting
        .into_iter()
        .map(|hand| {
            hand.join()
                .unwrap_or_else(|_| Err(fault("a waiting thread panicked")))
        })
        .collect();
    let over = begun.elapsed();
    thread::sleep(Duration::from_millis(200));
    let again: Vec<Times> = probes
        .iter()
        .map(|(_, bytes)| probe(bytes))
        .collect::<Result<_>>()?;

    for (at, (what, _)) in probes.iter().enumerate() {
        report.times(NAME, format_args!("{what}, alone"), &alone[at]);
        report.times(NAME, format_args!("{what}, beside"), &with[at]);
        report.times(NAME, format_args!("{what}, alone again"), &again[at]);
        let base = alone[at].p50().max(again[at].p50());
        let ratio = with[at].p50() / base.max(1e-9);
        let more = with[at].p99() - alone[at].p99().max(again[at].p99());
        report.claim(
            NAME,
            format_args!("{what}, p50 beside : alone"),
            (ratio, "x"),
            format!("<= {RATIO}"),
            ratio <= RATIO,
        );
        report.claim(
            NAME,
            format_args!("{what}, p99 beside - alone"),
            (more, "ms"),
            format!("<= {SLACK} ms"),
            more <= SLACK,
        );
    }
    let completed = answers
        .iter()
        .flatten()
        .filter(|answer| answer["run_status"] == json!("completed"))
        .count();
    if let Some(Err(why)) = answers.iter().find(|answer| answer.is_err()) {
        report.failed("one of the 64", why);
    }
    report.note(
        NAME,
        "all 64 parked after",
        at_once.as_secs_f64() * 1e3,
        "ms",
    );
    report.note(
        NAME,
        "answered before the measuring was over",
        early as f64,
        "",
    );
    report.note(
        NAME,
        "last of the 64 answered, beyond its delay",
        (over.as_secs_f64() - delay.as_secs_f64()) * 1e3,
        "ms",
    );
    report.claim(
        NAME,
        "answered 200, completed",
        (completed as f64, ""),
        "= 64",
        completed == WAITING,
    );
    Ok(())
}

fn parked(server: &Server) -> Result<usize> {
    let bytes = request(
        "GET",
        "/v1/workflow_runs?status=waiting&limit=500",
        KEY,
        "application/json",
        b"",
    );
    let list = server.connect()?.expect(&bytes, &[200])?;
    Ok(list["data"].as_array().map_or(0, Vec::len))
}
