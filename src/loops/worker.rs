//! A worker's turn: takes a run, executes its steps, records each before the next begins.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bell::Bell;
use crate::error::Code;
use crate::flow::expr::SecretMark;
use crate::flow::retry::next_try;
use crate::flow::run::Ending;
use crate::flow::step::{
    ErrorClass, LogLine, Outcome, StepError, StepRecord, StepStart, StepStatus,
};
use crate::flow::workflow::Workflow;
use crate::id::{Dice, Id};
use crate::loops::wait_out;
use crate::outbound::Outside;
use crate::steps::logs::Logs;
use crate::steps::secrets::Secrets;
use crate::steps::{Registry, StepContext, perform};
use crate::store::ahead::note_turn;
use crate::store::claims::{Claim, Next, Record, Recorded, Ticket};
use crate::store::steps::Finished;
use crate::store::{Deployed, Store};
use crate::time::Clock;

/// The timeout of a step that names none, and whose kind has none.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a worker works with.
pub struct Worker {
    /// The file.
    pub store: Arc<Store>,
    /// The step kinds.
    pub kinds: Arc<Registry>,
    /// The world.
    pub outside: Arc<dyn Outside>,
    /// What secrets look like until they are sent.
    pub mark: SecretMark,
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub dice: Arc<Dice>,
    /// Set when runs are to be left where they are, between two steps.
    pub halt: Arc<AtomicBool>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Worker")
    }
}

impl Worker {
    /// Takes up to `limit` runs: those that were handed over when they came, then queued ones.
    pub fn take(&self, limit: usize) -> Vec<Claim> {
        let mut taken = self.store.handed(limit);
        if taken.len() == limit || !self.store.bells().has_work() {
            return taken;
        }
        let claimed = self
            .store
            .claim_runs(limit - taken.len(), self.token(), self.clock.now());
        match claimed {
            Ok(claims) => taken.extend(claims),
            Err(fault) => log::error!("no run could be claimed: {fault}"),
        }
        taken
    }

    fn token(&self) -> i64 {
        i64::from_le_bytes(self.dice.bytes())
    }

    /// Executes a run until it ends, waits or is taken away. Returns the run that was taken for the slot it left.
    pub fn turn(&self, claim: Claim) -> Option<Claim> {
        let (run_id, ticket) = (claim.run_id, claim.ticket());
        let turn = catch_unwind(AssertUnwindSafe(|| self.execute(claim)));
        turn.unwrap_or_else(|_| {
            // It would panic again: the run ends here, with its reason in the log.
            log::error!(run_id:% = run_id; "a worker panicked over run {run_id}");
            self.abandon(ticket, &cannot_go_on("an internal error"));
            None
        })
    }

    /// Ends a run that cannot go on, however often the file refuses.
    fn abandon(&self, ticket: Ticket, ending: &Ending) {
        while let Err(fault) = self.store.give_up(ticket, ending.clone(), self.clock.now()) {
            if !wait_out("the end of a run", &fault, &Bell::default(), &self.halt) {
                return;
            }
        }
    }

    /// What is needed before the first step. A break: the run is left, or has ended; with the run taken instead.
    fn prepare(&self, mut claim: Claim) -> ControlFlow<Option<Claim>, (Claim, Arc<Deployed>)> {
        loop {
            let found = self
                .store
                .load(&mut claim)
                .and_then(|()| self.store.deployed(claim.version_id));
            match found {
                Ok(deployed) => return ControlFlow::Continue((claim, deployed)),
                Err(fault) if fault.code == Code::Unavailable => {
                    let what = format!("run {}", claim.run_id);
                    if !wait_out(&what, &fault, &Bell::default(), &self.halt) {
                        return ControlFlow::Break(None);
                    }
                }
                Err(fault) => {
                    let ending = Ending::Failed {
                        error: fault.message,
                        code: "definition_unavailable",
                        step: None,
                    };
                    // What its event says of the version is read by the commit itself.
                    let kept = self.record(claim, Record::only(Next::End(ending)));
                    return ControlFlow::Break(kept.break_value().flatten());
                }
            }
        }
    }

    fn execute(&self, claim: Claim) -> Option<Claim> {
        match self.prepare(claim) {
            ControlFlow::Continue((claim, deployed)) => {
                self.go_on(claim, &deployed).break_value().flatten()
            }
            ControlFlow::Break(next) => next,
        }
    }

    /// Step after step, until the claim is spent, with the run taken instead, or the run is left.
    fn go_on(
        &self,
        mut claim: Claim,
        deployed: &Deployed,
    ) -> ControlFlow<Option<Claim>, Infallible> {
        let workflow = &deployed.workflow;
        let mut finished = None;
        while !self.halt.load(Ordering::SeqCst) {
            let start = match claim.begun.take() {
                // Cancelled on its way here: nothing of it starts any more.
                Some(_) if claim.stop.is_asked() => return ControlFlow::Break(None),
                Some(begun) => {
                    claim.steps = begun.steps;
                    begun.start
                }
                None => {
                    let turn = deployed.turn(&claim.about(), &self.mark, self.clock.now());
                    for result in &turn.record.results {
                        let metrics = self.store.metrics();
                        metrics.step_ended(&result.kind, result.status.as_str());
                    }
                    note_turn(&mut claim.steps, &turn.record.results, turn.start.as_ref());
                    let finished = finished.take();
                    claim = self.record(
                        claim,
                        Record {
                            finished,
                            ..turn.record
                        },
                    )?;
                    let Some(start) = turn.start else {
                        return ControlFlow::Break(None);
                    };
                    start
                }
            };
            let Some((outcome, logs)) = self.try_step(workflow, &claim, &start) else {
                return ControlFlow::Break(None);
            };
            if claim.stop.is_asked() && matches!(outcome, Outcome::Failed { .. }) {
                // Cancelled (the row says so already), or the server stops: the try was interrupted, not failed.
                return ControlFlow::Break(None);
            }
            let (done, due) = self.settle(workflow, &mut claim.steps, &start, outcome);
            finished = Some(Finished { logs, ..done });
            if let Some(due) = due {
                return ControlFlow::Break(self.leave(claim, finished, due));
            }
        }
        if finished.is_some() {
            // The server stops between two steps: what is done is recorded, and the run goes on at the next start.
            let due = self.clock.now().min(self.clock.wall());
            return ControlFlow::Break(self.leave(claim, finished, due));
        }
        ControlFlow::Break(None)
    }

    /// Records a try, and leaves the run until then.
    fn leave(
        &self,
        claim: Claim,
        finished: Option<Finished>,
        due: crate::time::Timestamp,
    ) -> Option<Claim> {
        let record = Record {
            finished,
            ..Record::only(Next::Retry(due))
        };
        self.record(claim, record).break_value().flatten()
    }

    /// Records, however often the file refuses. A break: the run is no longer in our hands; with the run taken instead.
    fn record(&self, mut claim: Claim, mut record: Record) -> ControlFlow<Option<Claim>, Claim> {
        record.next_token = self.token();
        let (run_id, record) = (claim.run_id, Arc::new(record));
        loop {
            match self.store.record(claim, record.clone(), self.clock.now()) {
                Recorded::GoOn(claim) => return ControlFlow::Continue(claim),
                Recorded::Ended(next) => {
                    note_end(run_id, &record.then);
                    return ControlFlow::Break(next);
                }
                Recorded::Parked(next) => return ControlFlow::Break(next),
                Recorded::Lost => return ControlFlow::Break(None),
                Recorded::Refused(kept, fault) if fault.code != Code::Unavailable => {
                    // Trying again would give the same.
                    log::error!("run {run_id} could not be recorded: {fault}");
                    self.abandon(
                        kept.ticket(),
                        &cannot_go_on("its result could not be recorded"),
                    );
                    return ControlFlow::Break(None);
                }
                Recorded::Refused(kept, fault) => {
                    let what = format!("run {}", kept.run_id);
                    if !wait_out(&what, &fault, &Bell::default(), &self.halt) {
                        return ControlFlow::Break(None);
                    }
                    claim = kept;
                }
            }
        }
    }

    fn timeout(&self, start: &StepStart) -> Duration {
        let default = || {
            self.kinds
                .get(&start.kind)
                .map(|kind| kind.default_timeout())
        };
        start.timeout.or_else(default).unwrap_or(TIMEOUT)
    }

    /// One try, and what it wrote down. `None`: the server stops, and it was not made.
    fn try_step(
        &self,
        workflow: &Workflow,
        claim: &Claim,
        start: &StepStart,
    ) -> Option<(Outcome, Vec<LogLine>)> {
        let Some(kind) = self.kinds.get(&start.kind) else {
            let why = format!("the step kind `{}` is not available", start.kind);
            return Some((step_failed(why), Vec::new()));
        };
        // All that the workflow knows, not only what this step sends: any service may echo what another was sent.
        let mut secrets = Secrets::none(self.mark.clone());
        loop {
            match self.store.open_secrets(&workflow.secrets_used()) {
                Ok(open) => {
                    for secret in open {
                        secrets = secrets.with(&secret.name, &secret.value, &secret.hosts);
                    }
                    break;
                }
                Err(fault) if fault.code == Code::Unavailable => {
                    if !wait_out("the secrets", &fault, &Bell::default(), &self.halt) {
                        return None;
                    }
                }
                Err(fault) => {
                    let why = format!("the secrets cannot be opened: {fault}");
                    return Some((step_failed(why), Vec::new()));
                }
            }
        }
        let logs = Logs::new(self.clock.clone());
        let context = StepContext {
            input: &start.input,
            run_id: claim.run_id,
            path: &start.path,
            attempt: start.failures + 1,
            idempotency_key: format!("{}:{}:{}", claim.run_id, start.path, start.failures),
            timeout: self.timeout(start),
            host_from_template: start.host_from_template,
            stop: &claim.stop,
            outside: self.outside.as_ref(),
            secrets: &secrets,
            logs: &logs,
        };
        let begun = Instant::now();
        let outcome = perform(kind.as_ref(), &context);
        let what = match &outcome {
            Outcome::Done { .. } => "done",
            Outcome::Failed { error, .. } => error.class.as_str(),
        };
        let metrics = self.store.metrics();
        metrics.step_tried(&start.kind, what, begun.elapsed());
        Some((outcome, logs.take()))
    }

    /// What an outcome means for the step: its record, and, if it is to be tried again, when.
    fn settle(
        &self,
        workflow: &Workflow,
        steps: &mut [StepRecord],
        start: &StepStart,
        outcome: Outcome,
    ) -> (Finished, Option<crate::time::Timestamp>) {
        let now = self.clock.now();
        let due_at = match (&outcome, workflow.step(&start.path)) {
            (Outcome::Failed { .. }, Some(step)) => next_try(
                &step.retry,
                start.failures + 1,
                &outcome,
                now,
                self.dice.fraction(),
            ),
            (Outcome::Failed { .. }, None) | (Outcome::Done { .. }, _) => None,
        };
        let (status, output, meta, error) = match outcome {
            Outcome::Done { output, meta } => (StepStatus::Completed, output, meta, None),
            Outcome::Failed { error, meta, .. } if due_at.is_some() => {
                (StepStatus::Waiting, Value::Null, meta, Some(error))
            }
            Outcome::Failed { error, meta, .. } => {
                (StepStatus::Failed, Value::Null, meta, Some(error))
            }
        };
        if let Some(record) = steps.iter_mut().find(|record| record.path == start.path) {
            record.status = status;
            record.output = output.clone();
            record.meta = meta.clone();
            record.error = error.as_ref().map(|error| error.message.clone());
            record.failures += u32::from(error.is_some());
            record.due_at = due_at;
        }
        self.store
            .metrics()
            .step_ended(&start.kind, status.as_str());
        (
            Finished {
                path: start.path.clone(),
                status,
                output,
                meta,
                error,
                due_at,
                logs: Vec::new(),
            },
            due_at,
        )
    }
}

fn cannot_go_on(why: &str) -> Ending {
    Ending::Failed {
        error: format!("the run could not go on: {why}"),
        code: "internal_error",
        step: None,
    }
}

/// A failed run is worth a line of its own; the others are there for who looks closer.
fn note_end(run_id: Id, then: &Next) {
    let request_id = run_id.request_id();
    match then {
        Next::End(Ending::Failed { code, step, .. }) => {
            // The text stands on the run; it may quote what a service answered, which is not for the log.
            let step = step.as_deref().unwrap_or("output");
            log::info!(run_id:%, request_id:%; "run {run_id} failed at {step} ({code})");
        }
        _ => log::debug!(run_id:%, request_id:%; "run {run_id} ended"),
    }
}

fn step_failed(message: String) -> Outcome {
    Outcome::Failed {
        error: StepError {
            class: ErrorClass::Step,
            message,
        },
        status: None,
        retry_after: None,
        meta: None,
    }
}
