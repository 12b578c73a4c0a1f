//! Skep beside others that keep their queue in one SQLite file: the same 200-byte job, the same disk, in turn.
//!
//! `scripts/compare [--quick] [--json] [--record]`, which builds and installs the others. Of each: how many jobs a
//! second are done, from the first enqueue by 64 callers, one job a call, to the end of the last, its handler doing
//! nothing. Owns the turns; the others are programs of their own in `benches/peers`.

#[path = "figures/disk.rs"]
mod disk;
#[path = "compare/inside.rs"]
mod inside;
#[allow(dead_code, reason = "shared with scale")]
mod job;
mod parts;
#[path = "figures/report.rs"]
mod report;
mod results;
#[path = "figures/server.rs"]
mod server;

use std::process::{Command, ExitCode};

use serde_json::Value;

use inside::By;
use job::{JOB, WORKS, through};
use parts::{Asked, Part, progress};
use report::Report;
use server::{scratch, start};
use skep::bench::stats::median;
use skep::bench::{Result, fault};

/// As the program that is shipped has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTS: &[Part] = &[("peers", peers)];

const NAME: &str = "jobs a second, enqueued by 64 callers and done";

/// The disk has moods; the middle one of so many rounds counts.
const ROUNDS: usize = 3;

/// What is claimed against each of the others.
const CLAIMS: [(&str, f64); 2] = [("effectum", 2.0), ("huey", 6.0)];

/// Skep, its no-op a handler of the program's, as the others have it.
const BY_HANDLER: &str = "skep, in process";

/// Skep, its no-op a step of its own.
const BY_SET: &str = "skep, in process, a set step";

/// What effectum does when it is not held to FULL: for the record.
const AS_SHIPPED: &str = "effectum, as it ships";

fn main() -> ExitCode {
    parts::run("compare", PARTS, || Ok(()))
}

/// One turn's rate, and what was in force.
type Turn = (f64, String);

/// Skep in process, Skep over HTTP, and each of the others; round after round.
fn peers(asked: &Asked, report: &mut Report) -> Result<()> {
    let count = asked.of(64_000, 1_280);
    let mut names = vec![BY_HANDLER, BY_SET, "skep, over HTTP"];
    names.extend(CLAIMS.iter().map(|(name, _)| *name));
    names.push(AS_SHIPPED);
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let mut in_force = vec![String::new(); names.len()];
    for round in 0..asked.of(ROUNDS, 1) {
        for (at, name) in names.iter().enumerate() {
            progress(&format!("round {}: {name}", round + 1));
            let turn = match *name {
                BY_HANDLER => inside::measure(By::Handler, count),
                BY_SET => inside::measure(By::Set, count),
                "skep, over HTTP" => over_http(count),
                peer => other(asked, peer, count),
            };
            match turn {
                Ok((rate, words)) => {
                    rates[at].push(rate);
                    in_force[at] = words;
                }
                Err(why) => report.failed(name, &why),
            }
        }
    }
    for (at, name) in names.iter().enumerate() {
        let (least, most) = rates[at]
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), rate| {
                (least.min(*rate), most.max(*rate))
            });
        if rates[at].is_empty() {
            continue;
        }
        let what = format!("{name} ({})", in_force[at]);
        report.note(NAME, &what, median(rates[at].clone()), "/s");
        report.note(NAME, format!("{name}, least"), least, "/s");
        report.note(NAME, format!("{name}, most"), most, "/s");
    }
    for (name, most) in CLAIMS {
        let at = names.iter().position(|other| *other == name);
        let Some(other) = at.map(|at| &rates[at]).filter(|rates| !rates.is_empty()) else {
            continue;
        };
        for (mine, ours) in names.iter().zip(&rates).take(2) {
            let pairs = ours.iter().zip(other);
            let ratio = median(pairs.map(|(skep, other)| skep / other.max(1e-9)).collect());
            report.claim(
                NAME,
                format!("{mine} : {name}"),
                (ratio, "x"),
                format!(">= {most}"),
                ratio >= most,
            );
        }
    }
    Ok(())
}

/// The real binary, 64 keep-alive connections; callbacks are owed and not sent.
fn over_http(count: usize) -> Result<Turn> {
    let folder = scratch()?;
    let server = start(&folder, &WORKS)?;
    server.deploy("job", JOB)?;
    let rate = through(&server, folder.path(), count)?;
    server.stop()?;
    Ok((rate, "WAL, FULL".to_owned()))
}

/// Another's program: its file, how many jobs, how many callers; it prints `{"rate": …, "in_force": …}`.
fn other(asked: &Asked, name: &str, count: usize) -> Result<Turn> {
    let (name, level) = match name {
        AS_SHIPPED => ("effectum", Some("as-it-ships")),
        name => (name, None),
    };
    let Some(program) = asked.with.get(name) else {
        return Err(fault("not installed: scripts/compare does that"));
    };
    let folder = scratch()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/with_huey.py");
    let mut command = Command::new(program);
    if name == "huey" {
        command.arg(script);
    }
    let out = command
        .arg(folder.path().join("queue.db"))
        .arg(count.to_string())
        .arg(job::CONNECTIONS.to_string())
        .args(level)
        .output()?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        return Err(fault(format!("{}: {why}", out.status)));
    }
    let told: Value = serde_json::from_slice(&out.stdout)?;
    let rate = told["rate"].as_f64().ok_or_else(|| fault("told no rate"))?;
    Ok((rate, told["in_force"].as_str().unwrap_or("?").to_owned()))
}
