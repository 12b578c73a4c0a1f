//! What a run's story is made of, gathered from the file and from memory. The words are `flow::story`'s.

use crate::api::Request;
use crate::api::deliveries::address;
use crate::api::runs::NO_REASON;
use crate::api::wire::WaitingOn;
use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::flow::story::{Facts, Queue, Sent, Step, Wait, story};
use crate::store::deliveries::DeliveryRow;
use crate::store::lookups::LastAttempt;
use crate::store::runs::RunRow;

/// How many deliveries are looked at: the newest.
const LOOKED_AT: usize = 20;

/// What happened to the run, or why it waits, in a sentence or two.
pub fn of(
    request: &Request<'_>,
    run: &RunRow,
    waiting_on: Option<&WaitingOn>,
    deliveries: &[DeliveryRow],
) -> Result<String> {
    let store = request.store();
    let step = match (run.status, &run.error_step) {
        (RunStatus::Completed, _) => None,
        (RunStatus::Cancelled, _) => store.step_in_state(run.id, &[StepStatus::Cancelled])?,
        (RunStatus::Failed, Some(path)) => store.step_at(run.id, path)?,
        (RunStatus::Failed | RunStatus::Queued, _) => None,
        (RunStatus::Running, _) => {
            store.step_in_state(run.id, &[StepStatus::Running, StepStatus::Pending])?
        }
        (RunStatus::Waiting | RunStatus::AwaitingApproval, _) => {
            store.step_in_state(run.id, &[StepStatus::Waiting])?
        }
    };
    let deliveries = &deliveries[..deliveries.len().min(LOOKED_AT)];
    let lasts = deliveries
        .iter()
        .map(|row| store.last_attempt(row.id))
        .collect::<Result<Vec<_>>>()?;
    let urls: Vec<_> = deliveries.iter().map(|row| address(request, row)).collect();
    let sent: Vec<Sent<'_>> = deliveries
        .iter()
        .zip(&lasts)
        .zip(&urls)
        .map(|((row, last), url)| sent(request, row, last, url))
        .collect();
    Ok(story(&Facts {
        status: run.status,
        created_at: run.created_at,
        started_at: run.started_at,
        ended_at: run.ended_at,
        error: run.error.as_deref().filter(|error| *error != NO_REASON),
        error_code: run.error_code.as_deref(),
        step: step.as_ref().map(|step| Step {
            path: &step.path,
            status: step.status,
            tries: step.tries,
            error: step.error.as_deref(),
            started_at: step.started_at,
        }),
        wait: waiting_on.map(wait),
        queue: queue(request, run)?,
        sent: &sent,
        now: request.now(),
    }))
}

fn wait(waits: &WaitingOn) -> Wait<'_> {
    match waits.kind {
        "approval" => Wait::Person {
            recipient: waits.recipient.as_deref().unwrap_or_default(),
            until: waits.until,
        },
        "retry" => Wait::Retry(waits.until),
        _ => Wait::Timer(waits.until),
    }
}

/// What the run waits behind, if it is queued.
fn queue(request: &Request<'_>, run: &RunRow) -> Result<Queue> {
    if run.status != RunStatus::Queued {
        return Ok(Queue::default());
    }
    let store = request.store();
    let open = store.metrics().backlog();
    let directory = store.directory();
    let deployment = directory.deployment_of(run.deployment_id);
    // How much others ask for is not for a key that sees its own runs alone.
    let sees_all = request.sees_only().is_none();
    Ok(Queue {
        queued: if sees_all { open.queued } else { 0 },
        running: open.running,
        running_here: store.running_of(run.deployment_id)?,
        limit: deployment.and_then(|entry| entry.row.concurrency_limit),
        workers: request.api.config.workers as u64,
    })
}

fn sent<'a>(
    request: &Request<'_>,
    row: &'a DeliveryRow,
    last: &'a LastAttempt,
    url: &'a str,
) -> Sent<'a> {
    // Mail servers repeat addresses, which are not for a key that sees its own runs alone.
    let may_know = row.channel == "callback" || request.sees_only().is_none();
    Sent {
        channel: &row.channel,
        url,
        status: row.status,
        attempts: last.number,
        response_status: last.response_status,
        error_class: last.error_class.as_deref(),
        error: last.error.as_deref().filter(|_| may_know),
        next_attempt_at: row.next_attempt_at,
    }
}
