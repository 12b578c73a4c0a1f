//! Retention at work: a million old runs go, while somebody wants a new run started every few milliseconds.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::fill::{Kind, Wanted, fill};
use crate::job::look;
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{Asked, progress};
use skep::bench::receiver::Receiver;
use skep::bench::server::invoke;
use skep::bench::stats::Times;
use skep::bench::wire::Client;
use skep::bench::{Result, fault};

const NAME: &str = "pruning";

/// From the invoke to the step's request, in milliseconds.
const MOST: f64 = 50.0;

/// Between two invokes.
const APART: Duration = Duration::from_millis(5);

/// Older than what is kept by default.
const AGE: Duration = Duration::from_secs(40 * 86_400);

/// When it is not done by then, something hangs.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Runs as most are: one step, a delivered callback.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let count = asked.of(1_000_000, 5_000);
    let folder = scratch()?;
    let kind = Kind::Delivered;
    let age = AGE;
    fill(folder.path(), Wanted { kind, count, age })?;
    let steps = Receiver::start()?;
    // The original that was cloned is new, and stays.
    let sql = "SELECT min(id), max(id) FROM runs";
    let (original, last): (i64, i64) =
        look(folder.path())?.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let before = size(folder.path())?;
    report.note(NAME, format!("file with {count} old runs"), before, "MiB");

    let server = start(&folder, &["--retain-runs", "forever"])?;
    let yaml = format!(
        "steps: [{{id: call, http: {{method: GET, url: \"http://{}/\"}}}}]\n",
        steps.addr
    );
    server.deploy("probe", &yaml)?;
    server.settle()?;
    let mut client = server.connect()?;
    let alone = probe(&mut client, &steps, &mut || Ok(false), asked.of(1_000, 100))?;
    report.times(NAME, "invoke to step's request, alone", &alone);
    server.stop()?;

    progress("pruning");
    let begun = Instant::now();
    let server = start(&folder, &[])?;
    let mut client = server.connect()?;
    let beside = look(folder.path())?;
    let (mut ended, mut told) = (None, Instant::now());
    let mut is_done = || -> Result<bool> {
        let sql = "SELECT min(id) FROM runs WHERE id > ?1";
        let oldest: Option<i64> = beside.query_row(sql, [original], |row| row.get(0))?;
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            progress(&format!("pruning: {} of {count}", oldest.unwrap_or(last)));
        }
        if oldest.is_none_or(|oldest| oldest > last) {
            ended = Some(begun.elapsed());
        }
        Ok(ended.is_some())
    };
    let meanwhile = probe(&mut client, &steps, &mut is_done, usize::MAX)?;
    let Some(took) = ended else {
        return Err(fault(format!("not pruned after {PATIENCE:?}")));
    };
    report.note(
        NAME,
        "start to the last old run's end",
        took.as_secs_f64(),
        "s",
    );
    let rate = count as f64 / took.as_secs_f64();
    report.note(NAME, "runs pruned", rate, "/s");
    report.note(NAME, "invokes meanwhile", meanwhile.count() as f64, "");
    let p50 = meanwhile.p50();
    report.note(NAME, "invoke to step's request, meanwhile, p50", p50, "ms");
    let p99 = meanwhile.p99();
    report.claim(
        NAME,
        "invoke to step's request, meanwhile, p99",
        (p99, "ms"),
        format!("<= {MOST} ms"),
        p99 <= MOST,
    );
    let max = meanwhile.max();
    report.note(NAME, "invoke to step's request, meanwhile, max", max, "ms");
    drop(beside);
    server.settle()?;
    server.stop()?;
    let after = size(folder.path())?;
    report.claim(
        NAME,
        "file afterwards",
        (after, "MiB"),
        "smaller",
        after < before,
    );
    Ok(())
}

/// File and log, in MiB.
fn size(folder: &Path) -> Result<f64> {
    let mut bytes = 0;
    for name in ["skep.db", "skep.db-wal"] {
        bytes += std::fs::metadata(folder.join(name)).map_or(0, |meta| meta.len());
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// One run after the other, until it is so, or so many were timed.
fn probe(
    client: &mut Client,
    steps: &Receiver,
    is_done: &mut dyn FnMut() -> Result<bool>,
    most: usize,
) -> Result<Times> {
    let bytes = invoke("probe", &json!({}), None);
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < most && begun.elapsed() < PATIENCE {
        thread::sleep(APART);
        let asked = Instant::now();
        client.expect(&bytes, &[200])?;
        let came = steps.arrivals.recv_timeout(Duration::from_secs(10));
        let (_, came) = came.map_err(|_| fault("no step in 10 s"))?;
        times.push(came - asked);
        if times.len() % 10 == 0 && is_done()? {
            break;
        }
    }
    Ok(Times::new(times))
}
