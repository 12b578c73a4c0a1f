//! Skep inside a program: the library, a step kind of the program's own that does nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use skep::flow::step::Outcome;
use skep::flow::workflow::KindSpec;
use skep::id::Id;
use skep::{Config, Engine, Format, Invoke, StepContext, StepKind};

use crate::Turn;
use crate::job::{CONNECTIONS, inputs};
use crate::server::scratch;
use skep::bench::hands::{beside, joined};
use skep::bench::server::until;
use skep::bench::{Result, fault};

const WORKFLOW: &str = "\
inputs: {to: {type: text}, body: {type: text}}
steps: [{id: a, noop: {}}]
";

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
pub fn measure(count: usize) -> Result<Turn> {
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
    engine.deploy("job", "prod", WORKFLOW, Format::Yaml)?;
    let wanted = Invoke {
        deployment: "job".to_owned(),
        inputs: inputs().as_object().cloned().unwrap_or_default(),
        ..Invoke::default()
    };
    let begun = Instant::now();
    let inner = engine.clone();
    let callers = beside(CONNECTIONS, move |_| {
        for _ in 0..count / CONNECTIONS {
            inner.invoke(&wanted)?;
        }
        Ok(())
    })?;
    joined(callers)?;
    let all = count / CONNECTIONS * CONNECTIONS;
    until("every handler", PATIENCE, || {
        Ok(told.done.load(Ordering::Relaxed) >= all)
    })?;
    let last = std::mem::take(&mut *told.last.lock().unwrap_or_else(PoisonError::into_inner));
    for run in last {
        let row = engine.wait(run, PATIENCE)?;
        if row.ended_at.is_none() {
            return Err(fault("a run did not end"));
        }
    }
    let rate = all as f64 / begun.elapsed().as_secs_f64();
    engine.stop();
    Ok((rate, "WAL, FULL".to_owned()))
}
