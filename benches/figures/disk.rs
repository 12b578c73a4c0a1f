//! What one flush to the disk costs: everything durable is a multiple of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::Result;
use crate::report::Report;
use crate::server::scratch;
use crate::stats::Times;

const ROUNDS: usize = 200;

/// Medians further apart than this are of a disk that changed meanwhile.
const STEADY: f64 = 1.5;

/// Overwrites 4 KiB and flushes it, many times; the median in milliseconds.
pub fn measure(when: &str, report: &mut Report) -> f64 {
    match flushes() {
        Ok(times) => {
            report.times("disk", format_args!("fdatasync of 4 KiB, {when}"), &times);
            times.p50()
        }
        Err(why) => {
            report.failed("disk", &why);
            0.0
        }
    }
}

/// Says how steady the disk was over all the measuring.
pub fn judge(medians: &[f64], report: &mut Report) {
    let most = medians.iter().copied().fold(0.0, f64::max);
    let least = medians
        .iter()
        .copied()
        .fold(f64::INFINITY, f64::min)
        .max(1e-9);
    let (ratio, claim) = (most / least, format!("<= {STEADY}, else measure again"));
    report.claim(
        "disk",
        "slowest of these p50 : fastest",
        (ratio, "x"),
        claim,
        ratio <= STEADY,
    );
}

fn flushes() -> Result<Times> {
    let folder = scratch()?;
    let file = File::create(folder.path().join("flush"))?;
    let page = [7; 4096];
    for at in 0..16 {
        file.write_all_at(&page, at * 4096)?;
    }
    file.sync_all()?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        file.write_all_at(&page, (round % 16) as u64 * 4096)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    Ok(Times::new(times))
}
