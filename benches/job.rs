//! The job that everything here is measured with: 200 bytes of inputs, one step that does nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use skep::bench::Result;
use skep::bench::load::{Loaded, Until, load};
use skep::bench::server::{Server, invoke, until};

/// The workflow, to be deployed as `job`.
pub const JOB: &str = "\
inputs: {to: {type: text}, body: {type: text}}
steps: [{id: a, set: {x: 1}}]
";

/// A place that takes no callback: nothing listens there.
pub const NOWHERE: &str = "http://127.0.0.1:9/callback";

/// How many connections, or callers, the load has.
pub const CONNECTIONS: usize = 64;

/// How many send direct invokes: fewer than there are workers, for a direct invoke without a free one is refused.
pub const DIRECT: usize = 16;

/// The flags of a server that only accepts.
pub const STILL: [&str; 8] = [
    "--workers",
    "0",
    "--senders",
    "0",
    "--retain-runs",
    "forever",
    "--retain-attempts",
    "forever",
];

/// The flags of a server that works, sends nothing, and removes nothing.
pub const WORKS: [&str; 6] = [
    "--senders",
    "0",
    "--retain-runs",
    "forever",
    "--retain-attempts",
    "forever",
];

/// The inputs of every run here: 200 bytes as JSON.
pub fn inputs() -> Value {
    json!({"to": "a@example.com", "body": "x".repeat(167)})
}

/// Invokes the job, with its callback to `url` or direct; none may be refused.
pub fn accept(
    server: &Server,
    connections: usize,
    until: Until,
    url: Option<&str>,
) -> Result<Loaded> {
    let status = if url.is_some() { 202 } else { 200 };
    let requests = [invoke("job", &inputs(), url)];
    load(server.addr, connections, until, &requests, status)?.faultless()
}

/// Sends so many runs over HTTP, and waits until none is open; runs a second.
pub fn through(server: &Server, folder: &Path, count: usize) -> Result<f64> {
    let send = |count| accept(server, CONNECTIONS, Until::Sent(count), Some(NOWHERE));
    let look = look(folder)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE ended_at IS NULL)";
    let patience = Duration::from_secs(120);
    let ended = || {
        until("all runs to end", patience, || {
            Ok(!look.query_row::<bool, _, _>(sql, [], |row| row.get(0))?)
        })
    };
    // Connections and caches are warm when it counts.
    send(count / 20)?;
    ended()?;
    let begun = Instant::now();
    let sent = send(count)?;
    ended()?;
    Ok(sent.times.count() as f64 / begun.elapsed().as_secs_f64())
}

/// A look into the file beside the server.
pub fn look(folder: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(folder.join("skep.db"), flags)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    Ok(conn)
}
