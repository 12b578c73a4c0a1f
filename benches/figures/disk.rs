//! What one flush to the disk costs, before and after each part.

use skep::bench::Result;
use skep::bench::disk::{STEADY, flushes, spread};
use skep::bench::stats::Times;

use crate::report::Report;
use crate::server::scratch;

const ROUNDS: usize = 200;

/// Overwrites 4 KiB and flushes it, many times; the median in milliseconds.
pub fn measure(when: &str, report: &mut Report) -> f64 {
    match measured() {
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

fn measured() -> Result<Times> {
    flushes(scratch()?.path(), ROUNDS)
}

/// Says how steady the disk was over all the measuring.
pub fn judge(medians: &[f64], report: &mut Report) {
    let ratio = spread(medians.iter().copied());
    report.claim(
        "disk",
        "slowest of these p50 : fastest",
        (ratio, "x"),
        format!("<= {STEADY}, else measure again"),
        ratio <= STEADY,
    );
}
