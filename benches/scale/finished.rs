//! What a million, and ten million, finished runs cost: intake and work against an empty file, and the start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::fill::{Kind, Wanted, cached};
use crate::job::STILL;
use crate::report::Report;
use crate::server::start;
use crate::turns::{Seconds, accepted, against, worked};
use crate::{Asked, progress};
use skep::bench::Result;
use skep::bench::server::{Server, healthz};
use skep::bench::stats::{median, ms};
use skep::bench::wire::Client;

const NAME: &str = "finished runs";

/// Against an empty file.
const FLAT: f64 = 0.90;

/// From the process's start to the first healthy answer, in milliseconds.
const START: f64 = 1_000.0;

/// Turns alternate between the files; the middle ratio of so many rounds counts.
const ROUNDS: usize = 3;

/// The first seconds after a fill are the disk's.
const WINDOW: Seconds = (5.0, 10.0);

type Turn = fn(&Asked, &Path) -> Result<f64>;

/// Each file in turn, round after round; then starts of the largest.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let counts = asked.of([0, 1_000_000, 10_000_000], [0, 5_000, 20_000]);
    let mut files = Vec::new();
    for count in counts {
        match cached(Wanted::new(Kind::Finished, count)) {
            Ok(folder) => files.push((count, folder)),
            // Ten million may not fit; one million is worth knowing then.
            Err(why) => report.failed(&format!("{count} finished runs"), &why),
        }
    }
    compare(
        asked,
        &files,
        "invokes, --workers 0",
        |asked, folder| accepted(folder, asked.of(WINDOW, (0.5, 1.0))),
        true,
        report,
    )?;
    compare(asked, &files, "runs worked off", worked, false, report)?;
    if let Some((count, folder)) = files.last() {
        starts(*count, folder, report)?;
    }
    Ok(())
}

fn compare(
    asked: &Asked,
    files: &[(usize, PathBuf)],
    what: &str,
    turn: Turn,
    claimed: bool,
    report: &mut Report,
) -> Result<()> {
    let mut rates = vec![Vec::new(); files.len()];
    for round in 0..asked.of(ROUNDS, 1) {
        // Who comes first is who finds the disk as the last round left it: that changes.
        let mut turns: Vec<_> = files.iter().enumerate().collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (at, (count, folder)) in turns {
            progress(&format!("round {}: {what} with {count}", round + 1));
            rates[at].push(turn(asked, folder)?);
        }
    }
    for (at, (count, _)) in files.iter().enumerate() {
        let what = format!("{what}, with {count}");
        report.note(NAME, &what, median(rates[at].clone()), "/s");
        if at == 0 {
            continue;
        }
        let (ratio, rounds) = against(&rates[at], &rates[0]);
        let what = format!("{what} : empty{rounds}");
        match claimed {
            true => {
                let claim = format!(">= {FLAT}");
                report.claim(NAME, what, (ratio, "x"), claim, ratio >= FLAT);
            }
            false => report.note(NAME, what, ratio, "x"),
        }
    }
    Ok(())
}

/// After a clean stop, after `kill -9`, and with nothing of the file in memory.
fn starts(count: usize, folder: &Path, report: &mut Report) -> Result<()> {
    let start = || -> Result<(f64, Server)> {
        let begun = Instant::now();
        let server = start(folder, &STILL)?;
        Client::connect(server.addr)?.expect(&healthz(), &[200])?;
        Ok((ms(begun.elapsed()), server))
    };
    let (mut after_stop, mut after_kill) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (time, server) = start()?;
        after_stop.push(time);
        server.kill();
        let (time, server) = start()?;
        after_kill.push(time);
        server.stop()?;
    }
    let slowest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    for (what, times) in [("a stop", after_stop), ("kill -9", after_kill)] {
        let worst = slowest(&times);
        report.claim(
            NAME,
            format!("start with {count}, slowest of {ROUNDS} after {what}"),
            (worst, "ms"),
            "<= 1 s",
            worst <= START,
        );
    }
    // coreutils' dd asks the kernel to forget a file's pages.
    let forgotten = Command::new("dd")
        .args(["iflag=nocache", "count=0", "status=none"])
        .arg(format!("if={}", folder.join("skep.db").display()))
        .status()?;
    if forgotten.success() {
        let (time, server) = start()?;
        let what = format!("start with {count}, nothing of the file cached");
        report.note(NAME, what, time, "ms");
        server.stop()?;
    }
    Ok(())
}
