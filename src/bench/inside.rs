//! Runs a second with the engine as a library: from the first insert to the end of the last run.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::server::VARIANT;
use crate::bench::{Bench, MANY, NAME, Result, WORKFLOW, fault, hands, inputs, limits};
use crate::config::Config;
use crate::engine::{Engine, Invoke};
use crate::flow::run::RunStatus;
use crate::flow::source::Format;

/// How often is looked whether all have ended.
const LOOK: Duration = Duration::from_millis(5);

/// How long no run may end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Debug)]
pub struct Inside {
    /// Runs a second.
    pub rate: f64,
    /// How many there were.
    pub runs: usize,
    /// Jobs inserted, claimed and finished a second at 64 a commit, without Skep: the mean of just before and just after.
    pub life_64: f64,
}

/// Inserts by 64 callers while runs execute, one step that does nothing; then waits for all.
pub fn measure(bench: &Bench<'_>) -> Result<Inside> {
    (bench.say)("runs in process");
    let yardstick = || limits::life(bench.place, MANY, bench.size.part(0.05));
    let before = yardstick()?;
    let room = bench.place.room("inside")?;
    let config = Config {
        data: room.join("skep.db"),
        max_queued: 10_000_000,
        ..Config::default()
    };
    let engine = Engine::builder().config(config).without_http().start()?;
    let engine = Arc::new(engine);
    engine.deploy(NAME, VARIANT, WORKFLOW, Format::Yaml)?;
    run(&engine, Duration::from_millis(50))?;
    let (runs, took) = run(&engine, bench.size.part(1.0 / 6.0))?;
    engine.stop();
    fs::remove_dir_all(room)?;
    Ok(Inside {
        rate: runs as f64 / took.as_secs_f64(),
        runs,
        life_64: (before + yardstick()?) / 2.0,
    })
}

/// How many runs were started in that time, and when the last of them had ended.
fn run(engine: &Arc<Engine>, time: Duration) -> Result<(usize, Duration)> {
    let begun = Instant::now();
    let callers = {
        let engine = engine.clone();
        hands::beside(MANY, move |_| {
            let invoke = Invoke {
                deployment: NAME.to_owned(),
                variant: Some(VARIANT.to_owned()),
                inputs: inputs(),
                ..Invoke::default()
            };
            let (mut count, mut last) = (0, None);
            while begun.elapsed() < time {
                last = Some(engine.invoke(&invoke)?.run_id);
                count += 1;
            }
            Ok((count, last))
        })?
    };
    let started = hands::joined(callers)?;
    let mut open = u64::MAX;
    let mut since = Instant::now();
    while open > 0 {
        let (queued, running, parked) = engine.open_runs()?;
        let now = queued + running + parked;
        if now < open {
            since = Instant::now();
        } else if since.elapsed() > PATIENCE {
            return Err(fault(format!("{now} runs do not end")));
        }
        open = now;
        if open > 0 {
            thread::sleep(LOOK);
        }
    }
    let took = begun.elapsed();
    for id in started.iter().filter_map(|(_, last)| *last) {
        let status = engine.run(id)?.map(|run| run.status);
        if status != Some(RunStatus::Completed) {
            return Err(fault(format!("a run ended as {status:?}")));
        }
    }
    Ok((started.iter().map(|(count, _)| count).sum(), took))
}
