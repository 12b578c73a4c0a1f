//! How late the end of a question is, if nobody answers: a thousand of them due at times of their own, beside ten thousand
//! that are not due.

use std::collections::HashMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::job::look;
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{ANNA, Asked, GATE, PARKED, PATIENCE};
use crate::{counted, join, park, progress};
use skep::bench::receiver::Receiver;
use skep::bench::server::{Server, invoke, until};
use skep::bench::stats::Times;
use skep::bench::{Result, fault};

const NAME: &str = "questions that nobody answers";

/// How many end.
const DUE: usize = 1_000;

/// How long a question waits at least, and how many such times there are, so far apart.
const LEAST_MS: u64 = 5_000;
const KINDS: usize = 50;
const APART_MS: u64 = 173;

/// How long all of them are being asked.
const ASKING: Duration = Duration::from_secs(10);

/// How late the last of them may be, in milliseconds.
const LATE: f64 = 1_000.0;

fn deployment(kind: usize) -> String {
    format!("due-{kind}")
}

fn question(kind: usize) -> String {
    let timeout = LEAST_MS + kind as u64 * APART_MS;
    format!(
        "steps:\n  - id: gate\n    human: {{question: Q, recipient: {ANNA}, channel: none, \
         timeout: {timeout}ms, on_timeout: continue}}\n\
         output: '{{{{ gate.output.decision }}}}'\n"
    )
}

/// Questions of every kind, in turn, spread over the time of asking; then their ends, in the file and at the receiver.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let (receiver, inbox) = (Receiver::start()?, Receiver::counting(1)?);
    let folder = scratch()?;
    let server = start(&folder, &[])?;
    join(&server, &inbox.url("inbox"))?;
    server.deploy("gate", GATE)?;
    let beside = asked.of(PARKED, 500);
    park(&server, folder.path(), beside, &receiver.url("beside"))?;
    for kind in 0..KINDS {
        server.deploy(&deployment(kind), &question(kind))?;
    }
    server.settle()?;
    let count = asked.of(DUE, 100);
    progress(&format!("{count} questions that nobody answers"));
    let runs = ask(&server, &receiver, count)?;
    let came = arrivals(&receiver, count)?;
    let timed_out = "SELECT count(*) FROM approvals WHERE status = 'timed_out'";
    until("the file to say so", PATIENCE, || {
        Ok(counted(folder.path(), timed_out)? == count)
    })?;

    let (fired, heard) = lateness(folder.path(), &runs, &came)?;
    let what = format!("from its time to its end, {count} due beside {beside}");
    for (what, times) in [
        (what, fired),
        ("from its time to the run's callback".to_owned(), heard),
    ] {
        report.times(NAME, &what, &times);
        let most = times.max();
        let claim = "<= 1 s";
        report.claim(
            NAME,
            format!("{what}, latest"),
            (most, "ms"),
            claim,
            most <= LATE,
        );
    }
    server.stop()
}

/// The request id of each question's run; a run's place in the list is its callback's path.
fn ask(server: &Server, receiver: &Receiver, count: usize) -> Result<Vec<String>> {
    let (mut client, mut runs) = (server.connect()?, Vec::with_capacity(count));
    let begun = Instant::now();
    for number in 0..count {
        let due = ASKING.mul_f64(number as f64 / count as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let url = receiver.url(&number.to_string());
        // Not in their order: what is due next was not asked next.
        let name = deployment(number * 7 % KINDS);
        let answer = client.expect(&invoke(&name, &json!({}), Some(&url)), &[202])?;
        runs.push(
            answer["run_id"]
                .as_str()
                .unwrap_or_default()
                .replace('-', ""),
        );
    }
    Ok(runs)
}

/// When the callback of each came, in milliseconds since 1970.
fn arrivals(receiver: &Receiver, count: usize) -> Result<HashMap<usize, i64>> {
    let (now, wall) = (Instant::now(), chrono::Utc::now().timestamp_millis());
    let mut came = HashMap::new();
    while came.len() < count {
        let (path, at) = receiver.arrivals.recv_timeout(Duration::from_secs(60))?;
        let after = at.saturating_duration_since(now).as_millis();
        let before = now.saturating_duration_since(at).as_millis();
        let at = wall + i64::try_from(after)? - i64::try_from(before)?;
        came.entry(path.parse()?).or_insert(at);
    }
    Ok(came)
}

/// How late each end was: by the file, and by the receiver's clock.
fn lateness(folder: &Path, runs: &[String], came: &HashMap<usize, i64>) -> Result<(Times, Times)> {
    let look = look(folder)?;
    let mut found = look.prepare(
        "SELECT lower(hex(r.run_id)), a.expires_at, a.decided_at FROM approvals a
         JOIN runs r ON r.id = a.run WHERE a.status = 'timed_out'",
    )?;
    let rows = found.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let ends: HashMap<String, (i64, i64)> = rows.collect::<rusqlite::Result<_>>()?;
    let (mut fired, mut heard) = (Vec::new(), Vec::new());
    for (number, run) in runs.iter().enumerate() {
        let (Some((due, decided)), Some(at)) = (ends.get(run), came.get(&number)) else {
            return Err(fault(format!("run {number} ({run}) has no end")));
        };
        for (times, at) in [(&mut fired, decided), (&mut heard, at)] {
            let late = u64::try_from(at - due).map_err(|_| fault("an end before its time"))?;
            times.push(Duration::from_millis(late));
        }
    }
    Ok((Times::new(fired), Times::new(heard)))
}
