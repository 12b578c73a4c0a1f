//! How soon an accepted run does something when nothing else is going on: from before the invoke's first byte is sent to
//! the first step.
//!
//! The engine is in this process, behind its front door on loopback, and the step is one of ours that notes the time:
//! a step that leaves the process would add what the network and a service take.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use serde_json::Value;

use crate::bench::intake::invoke;
use crate::bench::receiver::Receiver;
use crate::bench::server::{KEY, VARIANT};
use crate::bench::stats::Times;
use crate::bench::wire::Client;
use crate::bench::{Bench, NAME, Result, fault};
use crate::config::{Config, Secret};
use crate::engine::Engine;
use crate::flow::source::Format;
use crate::flow::step::Outcome;
use crate::flow::workflow::KindSpec;
use crate::steps::{StepContext, StepKind};

/// Between two invokes.
const APART: Duration = Duration::from_millis(5);

/// Longer than any start of a step.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many warm the caches and the connections.
const WARM: usize = 20;

const WORKFLOW: &str = "inputs: {text: {type: text}}\nsteps: [{id: a, note: {}}]\n";

/// What came of it.
#[derive(Debug)]
pub struct Idle {
    /// From the invoke to the step.
    pub to_step: Times,
    /// From the invoke to its 202.
    pub to_answer: Times,
    /// Flushes to the disk, just before and just after.
    pub flush: Times,
}

/// A step that notes when it begins.
struct Note(Sender<Instant>);

impl StepKind for Note {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "note",
            doc: "Notes the time",
            fields: &[],
            open: false,
            exclusive: &[],
        }
    }

    fn perform(&self, _: &StepContext<'_>) -> Outcome {
        // Nobody may be listening any more.
        let _ = self.0.send(Instant::now());
        Outcome::Done {
            output: Value::Null,
            meta: None,
        }
    }
}

/// Single invokes, one after the other, each with a callback.
pub fn measure(bench: &Bench<'_>) -> Result<Idle> {
    (bench.say)("from the invoke to the step, idle");
    let before = bench.flushes()?;
    let room = bench.place.room("idle")?;
    let (sender, begins) = bounded(1);
    let config = Config {
        data: room.join("skep.db"),
        listen: "127.0.0.1:0".to_owned(),
        allow_outbound: "127.0.0.0/8".to_owned(),
        admin_key: Some(Secret::new(KEY)),
        ..Config::default()
    };
    let engine = Engine::builder()
        .config(config)
        .step(Note(sender))
        .start()?;
    engine.deploy(NAME, VARIANT, WORKFLOW, Format::Yaml)?;
    let receiver = Receiver::counting(1)?;
    let bytes = invoke(&receiver.url(""));
    let mut client = Client::connect(engine.addr())?;
    let count = bench.size.singles();
    let (mut to_step, mut to_answer) = (Vec::new(), Vec::new());
    for number in 0..WARM + count {
        thread::sleep(APART);
        let begun = Instant::now();
        client.expect(&bytes, &[202])?;
        let answered = begun.elapsed();
        let begins = begins
            .recv_timeout(PATIENCE)
            .map_err(|_| fault(format!("run {number} did not begin")))?;
        if number >= WARM {
            to_answer.push(answered);
            to_step.push(begins - begun);
        }
    }
    receiver.wait_for(WARM + count, PATIENCE)?;
    engine.stop();
    fs::remove_dir_all(room)?;
    Ok(Idle {
        to_step: Times::new(to_step),
        to_answer: Times::new(to_answer),
        flush: Times::of_all([&before, &bench.flushes()?]),
    })
}
