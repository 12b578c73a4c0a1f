//! What is claimed of runs that wait for a person: ten thousand of them cost next to nothing, each is still answerable
//! after a kill, and what nobody answers ends within a second of its time.
//!
//! `scripts/parked [--quick] [--json] [--record] [--only PART]...`. A report, not a test. Owns the questions and the
//! order of the parts; knows Skep by its command line and its HTTP API, and the file by SQL.

#[path = "figures/disk.rs"]
mod disk;
#[allow(dead_code, reason = "shared with scale")]
mod job;
#[path = "parked/many.rs"]
mod many;
mod parts;
mod proc;
#[path = "figures/report.rs"]
mod report;
mod results;
#[path = "figures/server.rs"]
mod server;
#[path = "parked/timeouts.rs"]
mod timeouts;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use job::{CONNECTIONS, look};
use parts::{Asked, Part, progress};
use serde_json::json;
use skep::bench::load::{Until, load};
use skep::bench::server::{KEY, Server, invoke, until};
use skep::bench::wire::request;
use skep::bench::{Result, fault};

/// As the program that is shipped has it.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts, in the order in which they are measured.
const PARTS: &[Part] = &[("many", many::measure), ("timeouts", timeouts::measure)];

/// How many runs wait for a person.
const PARKED: usize = 10_000;

/// Who is asked.
const ANNA: &str = "anna@office.test";

/// A question with everything that waits beside it: who is asked and told, reminders, an escalation, its end.
const GATE: &str = "\
inputs: {to: {type: text}, body: {type: text}}
steps:
  - id: gate
    human:
      question: 'Shall this go to {{ to }}?'
      context: {body: '{{ body }}'}
      recipient: anna@office.test
      channel: webhook
      remind: [4h, 1d]
      escalate: {after: 2d, recipient: bob@office.test}
output: '{{ gate.output.decision }}'
";

/// How long many small things may take in a row.
const PATIENCE: Duration = Duration::from_secs(300);

/// The most that one load sends: longer ones are cut.
const CHUNK: usize = 2_000;

const JSON: &str = "application/json";

fn main() -> ExitCode {
    parts::run("parked", PARTS, || Ok(()))
}

/// Anna joins, and Bob; they are told at that URL.
fn join(server: &Server, inbox: &str) -> Result<()> {
    let mut client = server.connect()?;
    for (name, email) in [("Anna", ANNA), ("Bob", "bob@office.test")] {
        let body = json!({"name": name, "email": email, "webhook_url": inbox}).to_string();
        let bytes = request("POST", "/v1/members", KEY, JSON, body.as_bytes());
        client.expect(&bytes, &[201])?;
    }
    Ok(())
}

/// Sends every request once, over many connections; all must be answered so. How many a second.
fn send_all(server: &Server, requests: &[Vec<u8>], status: u16) -> Result<f64> {
    let mut seconds = 0.0;
    for chunk in requests.chunks(CHUNK) {
        let connections = CONNECTIONS.min(chunk.len());
        let loaded = load(
            server.addr,
            connections,
            Until::Sent(chunk.len()),
            chunk,
            status,
        )?;
        let loaded = loaded.faultless()?;
        if loaded.times.count() < chunk.len() {
            return Err(fault(format!(
                "only {} of a chunk were sent",
                loaded.times.count()
            )));
        }
        seconds += chunk.len() as f64 / loaded.rate.max(1e-9);
    }
    Ok(requests.len() as f64 / seconds.max(1e-9))
}

/// Asks so many questions, and waits until each run is parked and everybody was told.
fn park(server: &Server, folder: &Path, count: usize, callback: &str) -> Result<()> {
    let requests = vec![invoke("gate", &job::inputs(), Some(callback)); count];
    let before = pending(folder)?;
    send_all(server, &requests, 202)?;
    until("the runs to be parked", PATIENCE, || {
        Ok(pending(folder)? == before + count && owed(folder)? == 0)
    })
}

/// How many deliveries have not arrived.
fn owed(folder: &Path) -> Result<usize> {
    let sql = "SELECT count(*) FROM deliveries WHERE status IN ('pending', 'delivering')";
    counted(folder, sql)
}

/// How many questions wait for an answer.
fn pending(folder: &Path) -> Result<usize> {
    counted(
        folder,
        "SELECT count(*) FROM approvals WHERE status = 'pending'",
    )
}

fn counted(folder: &Path, sql: &str) -> Result<usize> {
    let count: i64 = look(folder)?.query_row(sql, [], |row| row.get(0))?;
    Ok(usize::try_from(count)?)
}
