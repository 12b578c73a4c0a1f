//! Questions asked one after the other over one connection, of a server that is warm and of one that has just started.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rusqlite::{Connection, Params};
use serde_json::Value;

use skep::bench::server::{KEY, Server};
use skep::bench::stats::Times;
use skep::bench::wire::{Client, request};
use skep::bench::{Result, fault};

use crate::file::Filled;
use crate::job::STILL;
use crate::report::Report;
use crate::server::start;
use crate::{Asked, progress};

const JSON: &str = "application/json";

/// How often each is asked.
const TIMES: usize = 200;

/// How often before that, of a server that is to be warm.
const WARM: usize = 20;

/// What is claimed of a list, in milliseconds.
pub const LIST: f64 = 100.0;

/// And of a run.
pub const RUN: f64 = 10.0;

/// One sort of question: what it is called, its paths (asked in turn), and how long it may take.
#[derive(Debug)]
pub struct Question {
    pub name: String,
    pub paths: Vec<String>,
    pub within: f64,
}

impl Question {
    /// A list or a figure, by one path.
    pub fn list(name: impl Into<String>, path: impl Into<String>) -> Question {
        Question::of(name, vec![path.into()], LIST)
    }

    /// By several paths.
    pub fn of(name: impl Into<String>, paths: Vec<String>, within: f64) -> Question {
        Question {
            name: name.into(),
            paths,
            within,
        }
    }
}

/// The bytes of a read.
pub fn get(path: &str) -> Vec<u8> {
    request("GET", path, KEY, JSON, b"")
}

/// A read's answer as JSON.
pub fn read(client: &mut Client, path: &str) -> Result<Value> {
    client.expect(&get(path), &[200])
}

/// A text as it stands in a query or as one segment of a path.
pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The texts of the first column.
pub fn texts(conn: &Connection, sql: &str, values: impl Params) -> Result<Vec<String>> {
    let mut find = conn.prepare(sql)?;
    let found = find.query_map(values, |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// One row's text.
pub fn text(conn: &Connection, sql: &str, values: impl Params) -> Result<String> {
    let found = texts(conn, sql, values)?;
    let first = found.into_iter().next();
    first.ok_or_else(|| fault(format!("nothing is found by {sql}")))
}

/// Each question of a server that has just started, with nothing of the file in memory; then all of them of a warm one.
pub fn measure(
    asked: &Asked,
    filled: &Filled,
    part: &'static str,
    questions: &[Question],
    report: &mut Report,
) -> Result<()> {
    let times = asked.of(TIMES, 20);
    let (mut cold, mut warm) = (Vec::new(), BTreeMap::new());
    for question in questions {
        progress(&format!("{part}: {}, just started", question.name));
        forget(&filled.folder)?;
        let server = start(&filled.folder, &STILL)?;
        cold.push(all(&server, question, times));
        server.stop()?;
    }
    let server = start(&filled.folder, &STILL)?;
    for (at, question) in questions.iter().enumerate() {
        progress(&format!("{part}: {}, warm", question.name));
        // What is not there, or is much too slow, is not asked twice as often.
        if cold[at].as_ref().is_ok_and(|times| times.p50() < 5_000.0) {
            drop(all(&server, question, WARM));
            warm.insert(at, all(&server, question, times));
        }
    }
    server.stop()?;
    for (at, (question, cold)) in questions.iter().zip(cold).enumerate() {
        let warm = warm.remove(&at);
        for (when, found) in [("warm", warm), ("just started", Some(cold))] {
            match found {
                Some(Ok(times)) => tell(report, part, question, when, &times),
                Some(Err(why)) => report.failed(&question.name, &why),
                None => {}
            }
        }
    }
    Ok(())
}

fn tell(report: &mut Report, part: &'static str, of: &Question, when: &str, times: &Times) {
    let what = format!(
        "{}, {when} (p50 {:.1}, max {:.1}): p99",
        of.name,
        times.p50(),
        times.max()
    );
    let p99 = times.p99();
    let claim = format!("<= {} ms", of.within);
    report.claim(part, what, (p99, "ms"), claim, p99 <= of.within);
}

/// So many requests, one after the other; gives up once they have taken a minute.
fn all(server: &Server, question: &Question, count: usize) -> Result<Times> {
    let mut client = server.connect()?;
    let requests: Vec<Vec<u8>> = question.paths.iter().map(|path| get(path)).collect();
    if requests.is_empty() {
        return Err(fault("there is nothing to ask for"));
    }
    let (mut times, begun) = (Vec::new(), Instant::now());
    for at in 0..count {
        let which = at % requests.len();
        let sent = Instant::now();
        let (status, body) = client.send(&requests[which])?;
        times.push(sent.elapsed());
        if status != 200 {
            let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            let path = &question.paths[which];
            return Err(fault(format!("{path} is answered {status}: {body}")));
        }
        if begun.elapsed().as_secs() >= 60 {
            break;
        }
    }
    Ok(Times::new(times))
}

/// Asks the kernel to forget the file's pages (by coreutils' dd). Where it cannot, they stay.
fn forget(folder: &Path) -> Result<()> {
    let file = folder.join("skep.db");
    Command::new("dd")
        .args(["iflag=nocache", "count=0", "status=none"])
        .arg(format!("if={}", file.display()))
        .status()?;
    Ok(())
}
