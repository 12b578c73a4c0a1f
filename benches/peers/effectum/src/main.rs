//! effectum for `scripts/compare`: `peer-effectum FILE JOBS CALLERS [as-it-ships]`. Prints its rate, and what was in force.
//!
//! It asks for `synchronous = NORMAL`. Unless it is to be as it ships, it is held to FULL, SQLite's default, as the others
//! are: each connection it opens is given an authorizer that passes over `PRAGMA synchronous`.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use std::ffi::{CStr, c_char, c_int, c_void};

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use libsqlite3_sys as ffi;
use serde_json::json;

/// Jobs in hand at once: as many as there are callers is what served it best here.
const CONCURRENCY: u16 = 64;

/// When they are not done by then, something hangs.
const PATIENCE: Duration = Duration::from_secs(300);

unsafe extern "C" fn pass_over(
    _: *mut c_void,
    action: c_int,
    pragma: *const c_char,
    level: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: SQLite gives the pragma's name and its value, or null.
    let is_level = action == ffi::SQLITE_PRAGMA
        && !level.is_null()
        && unsafe { CStr::from_ptr(pragma) }
            .to_bytes()
            .eq_ignore_ascii_case(b"synchronous");
    if is_level { ffi::SQLITE_IGNORE } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn hold_to_full(
    connection: *mut ffi::sqlite3,
    _: *mut *const c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: the connection is the one that SQLite has just opened.
    unsafe { ffi::sqlite3_set_authorizer(connection, Some(pass_over), std::ptr::null_mut()) }
}

type Done = Arc<AtomicUsize>;

async fn nothing(_job: RunningJob, done: Done) -> Result<(), effectum::Error> {
    done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn job() -> Result<Job, effectum::Error> {
    let payload = json!({"to": "a@example.com", "body": "x".repeat(167)});
    Ok(Job::builder("nothing").json_payload(&payload)?.build())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (file, jobs, callers, is_shipped) = match words.as_slice() {
        [file, jobs, callers] => (file, jobs, callers, false),
        [file, jobs, callers, word] if word == "as-it-ships" => (file, jobs, callers, true),
        _ => return Err("usage: peer-effectum FILE JOBS CALLERS [as-it-ships]".into()),
    };
    if !is_shipped {
        // SAFETY: the function lives as long as the process.
        let rc = unsafe { ffi::sqlite3_auto_extension(Some(hold_to_full)) };
        if rc != ffi::SQLITE_OK {
            return Err(format!("SQLite answers {rc}").into());
        }
    }
    let (jobs, callers): (usize, usize) = (jobs.parse()?, callers.parse()?);
    let queue = Arc::new(Queue::new(Path::new(file)).await?);
    let done = Done::default();
    let worker = Worker::builder(&queue, done.clone())
        .max_concurrency(CONCURRENCY)
        .min_concurrency(CONCURRENCY / 2)
        .jobs([JobRunner::builder("nothing", nothing).build()])
        .build()
        .await?;

    let begun = Instant::now();
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let queue = queue.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..jobs / callers {
                queue.add_job(job()?).await?;
            }
            Ok::<_, effectum::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let all = jobs / callers * callers;
    // Its record of the last few follows their handlers; a handler's end is taken for the job's.
    while done.load(Ordering::Relaxed) < all {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} of {all} after {PATIENCE:?}", done.load(Ordering::Relaxed)).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let rate = all as f64 / begun.elapsed().as_secs_f64();

    // Bytes 18 and 19 of the header: 2 for a write-ahead log.
    let header = std::fs::read(file)?;
    let journal = if header.get(18) == Some(&2) { "WAL" } else { "DELETE" };
    let level = if is_shipped { "NORMAL" } else { "FULL" };
    let told = json!({"rate": rate, "in_force": format!("0.7.0: {journal}, {level}")});
    writeln!(io::stdout(), "{told}")?;
    worker.unregister(Some(Duration::from_secs(5))).await?;
    Ok(())
}
