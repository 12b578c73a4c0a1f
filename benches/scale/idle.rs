//! What Skep costs while nothing happens: with a million runs that wait for next year, and on an empty file.

use std::thread;
use std::time::Duration;

use crate::fill::{Kind, Wanted, cached};
use crate::proc::{memory, used};
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{Asked, progress};
use skep::bench::Result;

const NAME: &str = "a minute of nothing";

/// Of one core, in percent.
const CPU: f64 = 0.1;

/// In MiB, on an empty file.
const MEMORY: f64 = 24.0;

/// Both servers in the same minute, as shipped.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let count = asked.of(1_000_000, 5_000);
    let full = cached(Wanted::new(Kind::Delayed, count))?;
    let empty = scratch()?;
    let servers = [
        (format!("{count} delayed runs"), start(&full, &[])?),
        ("an empty file".to_owned(), start(&empty, &[])?),
    ];
    let rest = asked.of(60, 3);
    // The first seconds are the start's: recovery, statistics, a first look at what is old.
    for (_, server) in &servers {
        server.settle()?;
    }
    thread::sleep(Duration::from_secs(asked.of(10, 1)));
    progress(&format!("{rest} s of nothing"));
    let mut before = Vec::new();
    for (_, server) in &servers {
        before.push((used(server.pid())?, server.computed()));
    }
    thread::sleep(Duration::from_secs(rest));
    for ((what, server), (then, ticks)) in servers.iter().zip(before) {
        let now = used(server.pid())?;
        let share = (now.cpu - then.cpu).as_secs_f64() / rest as f64 * 100.0;
        report.claim(
            NAME,
            format!("{what}: of a core"),
            (share, "%"),
            format!("<= {CPU} %"),
            share <= CPU,
        );
        let ticks = (server.computed() - ticks).as_secs_f64() / rest as f64 * 100.0;
        report.note(NAME, format!("{what}: utime + stime"), ticks, "%");
        let switches = (now.switches - then.switches) as f64 / rest as f64;
        report.note(NAME, format!("{what}: wake-ups"), switches, "/s");
        let written = (now.written - then.written) as f64;
        report.claim(
            NAME,
            format!("{what}: written"),
            (written, "B"),
            "= 0",
            written == 0.0,
        );
        let (resident, own) = memory(server.pid())?;
        report.note(NAME, format!("{what}: without mapped files"), own, "MiB");
        let what = format!("{what}: resident");
        match what.starts_with("an empty") {
            true => report.claim(
                NAME,
                what,
                (resident, "MiB"),
                format!("<= {MEMORY} MiB"),
                resident <= MEMORY,
            ),
            false => report.note(NAME, what, resident, "MiB"),
        }
    }
    Ok(())
}
