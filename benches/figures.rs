//! The timing claims, measured: each a ratio or a bound inside one run, over the real binary on loopback.
//!
//! `scripts/figures [--quick] [--json] [--only PART]...`. A report, not a test: it exits 0 whether or not a claim
//! holds. Owns the command line and the order of the parts; knows Skep only by its command line and its HTTP API.

#[path = "figures/beside.rs"]
mod beside;
#[path = "figures/disk.rs"]
mod disk;
#[path = "figures/hung.rs"]
mod hung;
#[path = "figures/intake.rs"]
mod intake;
#[path = "figures/report.rs"]
mod report;
#[path = "figures/restart.rs"]
mod restart;
#[path = "figures/server.rs"]
mod server;
#[path = "figures/step.rs"]
mod step;

use std::io::{self, Write};
use std::process::ExitCode;

use report::Report;
use skep::bench::{Result, fault};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Fewer requests and shorter delays: for a look, not for a record.
    quick: bool,
}

impl Size {
    /// `full`, or a quarter of it in a quick run.
    fn of(self, full: usize) -> usize {
        if self.quick { full / 4 } else { full }
    }
}

type Part = fn(Size, &mut Report) -> Result<()>;

/// The parts, in the order in which they are measured.
const PARTS: &[(&str, Part)] = &[
    ("intake", intake::measure),
    ("step", step::measure),
    ("beside", beside::measure),
    ("hung", hung::measure),
    ("restart", restart::measure),
];

const USAGE: &str =
    "usage: scripts/figures [--quick] [--json] [--only intake|step|beside|hung|restart]...";

struct Asked {
    size: Size,
    json: bool,
    only: Vec<String>,
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked> {
    let mut asked = Asked {
        size: Size { quick: false },
        json: false,
        only: Vec::new(),
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => asked.size.quick = true,
            "--json" => asked.json = true,
            // Cargo's own, to every bench.
            "--bench" => {}
            "--only" => {
                let part = words.next().unwrap_or_default();
                if PARTS.iter().all(|(name, _)| *name != part) {
                    return Err(fault(format!("--only: there is no part {part:?}\n{USAGE}")));
                }
                asked.only.push(part);
            }
            _ => return Err(fault(format!("unknown: {word:?}\n{USAGE}"))),
        }
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let asked = match asked(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            drop(writeln!(io::stderr(), "{why}"));
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(asked.size.quick);
    let mut flushes = vec![disk::measure("before", &mut report)];
    for (name, part) in PARTS {
        if !asked.only.is_empty() && !asked.only.iter().any(|only| only == name) {
            continue;
        }
        drop(writeln!(io::stderr(), "measuring {name} …"));
        if let Err(why) = part(asked.size, &mut report) {
            report.failed(name, &why);
        }
        flushes.push(disk::measure(&format!("after {name}"), &mut report));
    }
    disk::judge(&flushes, &mut report);
    let text = if asked.json {
        report.json()
    } else {
        report.table()
    };
    drop(writeln!(io::stdout(), "{text}"));
    ExitCode::SUCCESS
}
