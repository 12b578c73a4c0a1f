//! Skep inside a program: the library, and a job that does nothing: by a handler of the program's own, or by a step that
//! Skep knows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use skep::flow::step::Outcome;
use skep::flow::workflow::KindSpec;
use skep::id::Id;
use skep::{Config, Engine, Format, Invoke, StepContext, StepKind};

use crate::Turn;
use crate::job::{CONNECTIONS, JOB, inputs};
use crate::server::scratch;
use skep::bench::hands::{beside, joined};
use skep::bench::server::until;
use skep::bench::{Result, fault};

/// Who does the nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A handler of the program's, called in a worker's thread, as the others call theirs.
    Handler,
    /// A `set` step: what it comes to is known to the engine, which needs no thread for it.
    Set,
}

impl By {
    fn workflow(self) -> &'static str {
        match self {
            By::Handler => {
                "inputs: {to: {type: text}, body: {type: text}}\nsteps: [{id: a, noop: {}}]"
            }
            By::Set => JOB,
        }
    }
}

/// When they are not done by then, something hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the handler tells.
#[derive(Default)]
struct Told {
    done: AtomicUsize,
    last: Mutex<Vec<Id>>,
}

/// A step that does nothing but count.
struct Noop {
    told: Arc<Told>,
    /// From which count on it remembers the runs: more than are in workers' hands at once.
    remember: usize,
}

impl StepKind for Noop {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "noop",
            doc: "Nothing",
            fields: &[],
            open: false,
            exclusive: &[],
        }
    }

    fn perform(&self, context: &StepContext<'_>) -> Outcome {
        let done = self.told.done.fetch_add(1, Ordering::Relaxed);
        if done >= self.remember {
            let mut last = self
                .told
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            last.push(context.run_id);
        }
        Outcome::Done {
            output: Value::Null,
            meta: None,
        }
    }
}

/// `count` jobs by 64 threads, each invoke answered when it is on disk, while workers work them off; until the end of
/// the last is on disk too.
pub fn measure(by: By, count: usize) -> Result<Turn> {
    let folder = scratch()?;
    let config = Config {
        data: folder.path().join("skep.db"),
        max_queued: 10_000_000,
        ..Config::default()
    };
    let workers = config.workers;
    let told = Arc::new(Told::default());
    let kind = Noop {
        told: told.clone(),
        remember: count.saturating_sub(2 * workers),
    };
    let engine = Arc::new(
        Engine::builder()
            .config(config)
            .step(kind)
            .without_http()
            .start()?,
    );
    engine.deploy("job", "prod", by.workflow(), Format::Yaml)?;
    let wanted = Invoke {
        deployment: "job".to_owned(),
        inputs: inputs().as_object().cloned().unwrap_or_default(),
        ..Invoke::default()
    };
    let begun = Instant::now();
    let inner = engine.clone();
    let callers = beside(CONNECTIONS, move |_| {
        let mut last = None;
        for _ in 0..count / CONNECTIONS {
            last = Some(inner.invoke(&wanted)?.run_id);
        }
        Ok(last)
    })?;
    let ends = joined(callers)?;
    let all = count / CONNECTIONS * CONNECTIONS;
    if by == By::Handler {
        until("every handler", PATIENCE, || {
            Ok(told.done.load(Ordering::Relaxed) >= all)
        })?;
    }
    let last = std::mem::take(&mut *told.last.lock().unwrap_or_else(PoisonError::into_inner));
    for run in last.into_iter().chain(ends.into_iter().flatten()) {
        let row = engine.wait(run, PATIENCE)?;
        if row.ended_at.is_none() {
            return Err(fault("a run did not end"));
        }
    }
    until("every run to end", PATIENCE, || {
        let (queued, running, parked) = engine.open_runs()?;
        Ok(queued + running + parked == 0)
    })?;
    let rate = all as f64 / begun.elapsed().as_secs_f64();
    engine.stop();
    Ok((rate, "WAL, FULL".to_owned()))
}
