//! What a million waiting runs cost against ten thousand: intake beside them, and how fast they are claimed.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::fill::{Kind, Wanted, cached, copy};
use crate::job::{WORKS, look};
use crate::report::Report;
use crate::server::start;
use crate::turns::{Seconds, accepted, against};
use crate::{Asked, progress};
use skep::bench::server::until;
use skep::bench::stats::median;
use skep::bench::{Result, fault};

const NAME: &str = "waiting runs";

/// A million waiting against ten thousand.
const FLAT: f64 = 0.75;

const ROUNDS: usize = 3;

/// Intake adds to what waits: short turns, so that ten thousand do not become many more; and more of them.
const SHORT: Seconds = (0.5, 1.0);
const INTAKES: usize = 9;

/// How many claims of each start are timed, after a tenth of that to get going.
const CLAIMS: i64 = 8_000;

/// Intake in turns; then claims in turns; then ten seconds of a million.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let (few, many) = asked.of((10_000, 1_000_000), (2_000, 10_000));
    let claims = asked.of(CLAIMS, 1_000);
    let (low, high) = (
        cached(Wanted::new(Kind::Queued, few))?,
        cached(Wanted::new(Kind::Queued, many))?,
    );
    let (mut with_few, mut with_many) = (Vec::new(), Vec::new());
    for round in 0..asked.of(INTAKES, 2) {
        progress(&format!("round {}: invokes", round + 1));
        for many in turns_of(round) {
            match many {
                true => with_many.push(accepted(&high, SHORT)?),
                false => with_few.push(accepted(&low, SHORT)?),
            }
        }
    }
    judge(
        report,
        "invokes, --workers 0",
        (few, many),
        (&with_few, &with_many),
    );

    let (mut from_few, mut from_many) = (Vec::new(), Vec::new());
    // What is worked off is gone: copies.
    let used_up = copy(&high)?;
    for round in 0..asked.of(ROUNDS, 2) {
        progress(&format!("round {}: claims", round + 1));
        for many in turns_of(round) {
            match many {
                true => from_many.push(claimed(used_up.path(), claims)?),
                false => from_few.push(claimed(copy(&low)?.path(), claims)?),
            }
        }
    }
    let what = format!("claims to the end of their runs, {claims} after a start");
    judge(report, &what, (few, many), (&from_few, &from_many));
    let whole = drained(used_up.path(), asked.of(10.0, 0.5))?;
    report.note(
        NAME,
        format!("the same over 10 s, with {many}"),
        whole,
        "/s",
    );
    Ok(())
}

/// Who comes first is who finds the disk as the last round left it: that changes from round to round.
fn turns_of(round: usize) -> [bool; 2] {
    let first = round % 2 == 1;
    [first, !first]
}

fn judge(
    report: &mut Report,
    what: &str,
    (few, many): (usize, usize),
    (with_few, with_many): (&[f64], &[f64]),
) {
    report.note(
        NAME,
        format!("{what}, with {few}"),
        median(with_few.to_vec()),
        "/s",
    );
    report.note(
        NAME,
        format!("{what}, with {many}"),
        median(with_many.to_vec()),
        "/s",
    );
    let (ratio, rounds) = against(with_many, with_few);
    let claim = format!(">= {FLAT}");
    let what = format!("{what}, {many} : {few}{rounds}");
    report.claim(NAME, what, (ratio, "x"), claim, ratio >= FLAT);
}

/// The oldest run that still waits: one deployment's runs are claimed in order.
fn oldest(look: &Connection) -> Result<i64> {
    let sql =
        "SELECT coalesce(min(r.id), (SELECT max(id) + 1 FROM runs)) FROM deployments d JOIN runs r
               ON r.deployment = d.id AND r.status = 'queued' AND r.ended_at IS NULL";
    Ok(look.query_row(sql, [], |row| row.get(0))?)
}

/// Waits until the oldest waiting run is `id` or later; the moment, and which it was.
fn reached(look: &Connection, id: i64) -> Result<(Instant, i64)> {
    let mut now = 0;
    until("claims", Duration::from_secs(120), || {
        now = oldest(look)?;
        Ok(now >= id)
    })?;
    Ok((Instant::now(), now))
}

/// Claims a second, of so many after a start.
fn claimed(folder: &Path, claims: i64) -> Result<f64> {
    let from = oldest(&look(folder)?)?;
    let server = start(folder, &WORKS)?;
    let look = look(folder)?;
    let (begun, first) = reached(&look, from + claims / 10)?;
    let (ended, last) = reached(&look, from + claims)?;
    server.stop()?;
    Ok((last - first) as f64 / (ended - begun).as_secs_f64())
}

/// Claims a second, over so many seconds from the first second on.
fn drained(folder: &Path, seconds: f64) -> Result<f64> {
    let server = start(folder, &WORKS)?;
    let look = look(folder)?;
    std::thread::sleep(Duration::from_secs_f64(seconds / 10.0));
    let (begun, first) = (Instant::now(), oldest(&look)?);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (took, last) = (begun.elapsed(), oldest(&look)?);
    server.stop()?;
    match last > first {
        true => Ok((last - first) as f64 / took.as_secs_f64()),
        false => Err(fault("nothing was claimed")),
    }
}
