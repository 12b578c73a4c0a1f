//! What one flush to the disk costs: everything durable is a multiple of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::Result;
use crate::report::Report;
use crate::server::scratch;
use crate::stats::Times;

const ROUNDS: usize = 200;

/// Overwrites 4 KiB and flushes it, many times.
pub fn measure(when: &'static str, report: &mut Report) {
    match flushes() {
        Ok(times) => report.times("disk", format_args!("fdatasync of 4 KiB, {when}"), &times),
        Err(why) => report.failed("disk", &why),
    }
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
