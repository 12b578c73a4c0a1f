//! What is claimed of the view on a large file: ten million runs with their steps, callbacks and attempts, every list
//! and filter that the pages ask for, live updates, and open dashboards beside the intake.
//!
//! `scripts/view [--runs N] [--quick] [--json] [--record] [--only PART]...`; `scripts/view --into FOLDER [--runs N]` only
//! makes a file. A report, not a test. Knows Skep by its command line and its HTTP API, and the file by SQL.

#[path = "view/ask.rs"]
mod ask;
#[path = "view/blocks.rs"]
mod blocks;
#[path = "figures/disk.rs"]
mod disk;
#[path = "view/draw.rs"]
mod draw;
#[path = "view/file.rs"]
mod file;
#[allow(dead_code, reason = "shared with scale")]
mod fill;
#[path = "view/hostile.rs"]
mod hostile;
#[allow(dead_code, reason = "shared with scale")]
mod job;
#[path = "view/lists.rs"]
mod lists;
#[path = "view/live.rs"]
mod live;
#[path = "view/paint.rs"]
mod paint;
mod parts;
#[path = "figures/report.rs"]
mod report;
mod results;
#[path = "view/rows.rs"]
mod rows;
#[path = "figures/server.rs"]
mod server;
#[path = "view/stream.rs"]
mod stream;
#[path = "view/world.rs"]
mod world;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use parts::{Asked, Part, progress};
use report::Report;
use serde_json::json;
use skep::bench::{Result, fault};

/// As the program that is shipped has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts, in the order in which they are measured.
const PARTS: &[Part] = &[
    ("file", made),
    ("runs", lists::runs),
    ("deliveries", lists::deliveries),
    ("figures", lists::figures),
    ("single", lists::single),
    ("others", lists::others),
    ("live", live::latency),
    ("dashboards", live::dashboards),
    ("paint", paint::measure),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().position(|word| word == "--into") {
        None => parts::run("view", PARTS, fill::clean),
        Some(at) => match into(&words, words.get(at + 1)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                drop(writeln!(io::stderr(), "{why}"));
                ExitCode::FAILURE
            }
        },
    }
}

/// Only makes a file, and says what is in it.
fn into(words: &[String], folder: Option<&String>) -> Result<()> {
    let folder = folder.ok_or_else(|| fault("--into: expected a folder"))?;
    let count = words.iter().position(|word| word == "--runs");
    let count = count.and_then(|at| words.get(at + 1));
    let runs = count.map_or(Ok(10_000), |count| count.parse())?;
    let filled = file::make(Path::new(folder), runs)?;
    let told = json!({"folder": filled.folder, "runs": filled.runs, "hostile": filled.hostile,
        "bytes": filled.bytes, "seconds": filled.seconds});
    Ok(writeln!(io::stdout(), "{told}")?)
}

/// How many runs the file has.
fn size(asked: &Asked) -> usize {
    asked.runs.unwrap_or(asked.of(file::RUNS, 20_000))
}

/// The file itself.
fn made(asked: &Asked, report: &mut Report) -> Result<()> {
    let filled = file::cached(size(asked))?;
    let conn = job::look(&filled.folder)?;
    for table in [
        "runs",
        "steps",
        "deliveries",
        "attempts",
        "facets",
        "delivery_facets",
        "minutes",
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
        report.note("the file", table, count as f64, "");
    }
    let mib = filled.bytes as f64 / f64::from(1 << 20);
    report.note("the file", "size", mib, "MiB");
    report.note("the file", "time to make it", filled.seconds, "s");
    Ok(())
}
