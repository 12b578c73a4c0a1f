//! A run's turn, written down: from what the plan says comes next to what a commit writes.
//!
//! A worker makes one between two steps. Whoever inserts a run makes its first one ahead: if a worker is free in the
//! inserting commit, that commit writes it too, so that a run's first try begins, or a run that needs nothing from
//! outside ends, without another. Rules are `flow`'s; must not write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::flow::delivery::EventFacts;
use crate::flow::expr::SecretMark;
use crate::flow::plan::{Then, plan};
use crate::flow::run::Ending;
use crate::flow::step::{StepRecord, StepResult, StepStart, StepStatus};
use crate::id::Id;
use crate::store::approvals::Asked;
use crate::store::claims::{Next, Record};
use crate::store::owed::Owed;
use crate::store::runs::NewRun;
use crate::store::steps::Opened;
use crate::store::{Deployed, Store};
use crate::time::Timestamp;

/// What a turn needs to know of its run.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Its id.
    pub run_id: Id,
    /// Where its result goes.
    pub callback_url: Option<&'a str>,
    /// The caller's name for its user.
    pub user: Option<&'a str>,
    /// The caller's labels.
    pub metadata: &'a Map<String, Value>,
    /// Its inputs.
    pub inputs: &'a Map<String, Value>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What is on record of its steps.
    pub steps: &'a [StepRecord],
}

/// What a turn writes, and the try that comes then.
#[derive(Debug)]
pub struct Turn {
    /// To be written.
    pub record: Record,
    /// To be made, if the run stays in hand.
    pub start: Option<StepStart>,
}

/// A run's first turn.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) record: Record,
    /// What a worker who is handed the run begins with.
    pub(super) begun: Option<Begun>,
}

/// A try that is on record as begun, and what is on record beside it.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The try.
    pub start: StepStart,
    /// The steps, the one that begins included.
    pub steps: Vec<StepRecord>,
}

impl Deployed {
    /// What comes next for a run of this version.
    pub fn turn(&self, about: &About<'_>, mark: &SecretMark, now: Timestamp) -> Turn {
        let run = self.facts(about);
        let plan = plan(&self.workflow, about.inputs, &run, about.steps, mark, now);
        let (then, start) = next_of(plan.then, mark);
        let record = Record {
            results: plan.results,
            owed: self.owed(about, &then, now),
            ..Record::only(then)
        };
        Turn { record, start }
    }

    /// What `{{ run.… }}` shows.
    fn facts(&self, about: &About<'_>) -> Value {
        json!({
            "id": about.run_id,
            "request_id": about.run_id.request_id(),
            "deployment": self.deployment,
            "variant": self.variant,
            "version": self.version,
            "user": about.user,
            "metadata": about.metadata,
            "created_at": about.created_at,
        })
    }

    /// The event that the end of a run owes.
    fn owed(&self, about: &About<'_>, then: &Next, now: Timestamp) -> Option<Owed> {
        let Next::End(ending) = then else { return None };
        let url = about.callback_url?.to_owned();
        let facts = EventFacts {
            run_id: about.run_id,
            deployment: self.deployment.clone(),
            variant: self.variant.clone(),
            version: self.version,
            user: about.user.map(str::to_owned),
            metadata: about.metadata.clone(),
            created_at: now,
        };
        // The commit makes one itself, and says why it cannot.
        Owed::new(url, &facts, ending).ok()
    }
}

/// What the plan says comes next, as a commit writes it, and the try to be made, if it is one.
fn next_of(then: Then, mark: &SecretMark) -> (Next, Option<StepStart>) {
    match then {
        Then::Start(start) => {
            let opened = Opened {
                path: start.path.clone(),
                kind: start.kind.clone(),
                input: mark.mask(&start.input),
            };
            (Next::Start(opened), Some(start))
        }
        Then::Park {
            path,
            kind,
            input,
            until,
        } => (Next::Delay(Opened { path, kind, input }, until), None),
        Then::Ask { path, ask } => (Next::Ask(Box::new(Asked::new(path, *ask))), None),
        Then::Complete { output } => {
            let output = mark.mask(&output);
            (Next::End(Ending::Completed { output }), None)
        }
        Then::Fail { step, error } => {
            let code = match &step {
                Some(_) => "step_failed",
                None => "output_failed",
            };
            let error = match &step {
                Some(step) => format!("step `{step}` failed: {}", error.message),
                None => error.message,
            };
            (Next::End(Ending::Failed { error, code, step }), None)
        }
    }
}

/// Adds to what is on record what a turn has written there.
pub fn note_turn(steps: &mut Vec<StepRecord>, results: &[StepResult], start: Option<&StepStart>) {
    steps.extend(results.iter().map(|result| StepRecord {
        path: result.path.clone(),
        status: result.status,
        output: result.output.clone(),
        meta: None,
        error: result.error.as_ref().map(|error| error.message.clone()),
        failures: u32::from(result.error.is_some()),
        due_at: None,
    }));
    let Some(start) = start else { return };
    match steps.iter_mut().find(|record| record.path == start.path) {
        Some(record) => record.status = StepStatus::Running,
        None => steps.push(StepRecord {
            path: start.path.clone(),
            status: StepStatus::Running,
            output: Value::Null,
            meta: None,
            error: None,
            failures: 0,
            due_at: None,
        }),
    }
}

impl Store {
    /// The first turn of a run that is to be inserted, if it is likely that its commit finds a free worker. `None` also
    /// if the run fails at once: that is a worker's to find out, and to log.
    pub(super) fn ahead(&self, new: &NewRun, now: Timestamp) -> Option<Arc<Ahead>> {
        let mark = self.mark.get()?;
        if !self.hands.are_open() || self.bells.has_work() {
            return None;
        }
        let deployed = self.deployed(new.version).ok()?;
        let about = About {
            run_id: new.run_id,
            callback_url: new.callback_url.as_deref(),
            user: new.user.as_deref(),
            metadata: &new.metadata,
            inputs: &new.inputs,
            created_at: now,
            steps: &[],
        };
        // A definition that panics does so again in a worker's hands, which ends the run and says why.
        let turn = catch_unwind(AssertUnwindSafe(|| deployed.turn(&about, mark, now))).ok()?;
        let is_complete = match &turn.record.then {
            Next::Start(_) | Next::Delay(..) | Next::Ask(_) => true,
            Next::End(Ending::Completed { .. }) => {
                turn.record.owed.is_some() == new.callback_url.is_some()
            }
            Next::End(_) | Next::Retry(_) => false,
        };
        if !is_complete {
            return None;
        }
        let begun = turn.start.map(|start| {
            let mut steps = Vec::new();
            note_turn(&mut steps, &turn.record.results, Some(&start));
            Begun { start, steps }
        });
        Some(Arc::new(Ahead {
            record: turn.record,
            begun,
        }))
    }
}
