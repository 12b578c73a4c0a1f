//! A backup of a million runs, and how long it takes to serve from it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fill::{Kind, Wanted, cached};
use crate::job::STILL;
use crate::job::look;
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{Asked, progress};
use skep::bench::server::healthz;
use skep::bench::wire::Client;
use skep::bench::{Result, fault};

const NAME: &str = "backup and restore";

/// In seconds.
const MOST: f64 = 60.0;

/// Backed up beside a running server, restored to another name, started paused.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let count = asked.of(1_000_000, 5_000);
    let full = cached(Wanted::new(Kind::Finished, count))?;
    let folder = scratch()?;
    let server = start(&full, &STILL)?;
    progress("backup");
    let copy = folder.path().join("copy.db");
    let took = verb(&full, "backup", &copy)?;
    server.stop()?;
    report.note(NAME, format!("backup of {count} runs"), took, "s");
    progress("restore");
    let took = verb(folder.path(), "restore", &copy)?;
    report.claim(
        NAME,
        format!("restore of {count} runs"),
        (took, "s"),
        format!("<= {MOST} s"),
        took <= MOST,
    );
    let begun = Instant::now();
    let server = start(&folder, &STILL)?;
    Client::connect(server.addr)?.expect(&healthz(), &[200])?;
    let took = begun.elapsed().as_secs_f64();
    report.note(NAME, "start on it, paused", took, "s");
    server.stop()?;
    let runs = |folder: &Path| -> Result<i64> {
        Ok(look(folder)?.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?)
    };
    let (had, has) = (runs(&full)?, runs(folder.path())?);
    report.claim(
        NAME,
        "runs in it",
        (has as f64, ""),
        format!("= {had}"),
        had == has,
    );
    Ok(())
}

/// `skep VERB FILE` on `folder/skep.db`; how many seconds it took.
fn verb(folder: &Path, verb: &str, file: &Path) -> Result<f64> {
    let begun = Instant::now();
    let out = Command::new(env!("CARGO_BIN_EXE_skep"))
        .args([verb, "--data", "skep.db"])
        .arg(file)
        .current_dir(folder)
        .env("SKEP_ADMIN_KEY", skep::bench::server::KEY)
        .output()?;
    let took: Duration = begun.elapsed();
    match out.status.success() {
        true => Ok(took.as_secs_f64()),
        false => Err(fault(format!(
            "skep {verb}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))),
    }
}
