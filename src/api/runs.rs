//! Runs: listed, shown with their trace, cancelled (contract, section 7).

use serde_json::{Map, Value};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::deliveries::address;
use crate::api::fields;
use crate::api::query::Query;
use crate::api::story;
use crate::api::wire::{
    OwedAttempt, OwedDelivery, Run, ShownRun, Step, StepLog, StepTry, WaitingOn, WholeRun,
};
use crate::error::{Error, Result};
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::approvals;
use crate::store::deliveries::{DeliveryFilter, DeliveryRow, TryRow};
use crate::store::listing::RunFilter;
use crate::store::page::Page;
use crate::store::runs::{RunRow, Values};
use crate::store::steps::{StepAttempt, StepRow};
use crate::time::{Timestamp, millis};

/// The 404 of a run.
pub const NO_RUN: &str = "Prompt workflow run not found";

/// The 404 of a step.
const NO_STEP: &str = "Step not found: the run has none of that path, or it has not begun";

/// What starts runs, in the order of the contract.
pub const SOURCES: [&str; 5] = ["api", "webhook", "schedule", "dashboard", "workflow"];

/// How results go back.
pub const DELIVERIES: [&str; 2] = ["direct", "callback"];

/// How many steps, and deliveries, a shown run carries.
const SHOWN: usize = 100;

/// How many of the runs that repeat it a shown run carries: the newest.
const RETRIES: usize = 20;
/// How many attempts of a delivery a shown run carries: the newest.
const TRIES_SHOWN: usize = 20;

/// The most characters of a reason.
pub const REASON: usize = 500;

/// The reason of a cancellation that gives none.
pub const NO_REASON: &str = "The run was cancelled";

/// The run that the text names, if the caller may see it.
pub fn find(request: &Request<'_>, text: &str, missing: &str) -> Result<RunRow> {
    find_with(request, text, missing, Values::Whole)
}

fn find_with(request: &Request<'_>, text: &str, missing: &str, values: Values) -> Result<RunRow> {
    let run = match Id::parse(text, "req_") {
        Some(run_id) => request.store().run_with(run_id, values)?,
        None => None,
    };
    run.filter(|run| request.may_see(run.api_key))
        .ok_or_else(|| Error::not_found(missing))
}

/// The names of the list's filters.
pub const FILTERS: [&str; 11] = [
    "status",
    "source",
    "delivery",
    "deployment",
    "variant",
    "api_key_id",
    "user",
    "metadata",
    "from",
    "to",
    "q",
];

/// Whether inputs and outputs are to be shown: unless `values` is false.
fn values(query: &Query) -> Result<Values> {
    Ok(match query.flag_or("values", true)? {
        true => Values::Whole,
        false => Values::Sizes,
    })
}

/// `GET /v1/workflow_runs`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let (page, values) = (query.page()?, values(&query)?);
    let Some(filter) = filter(request, &query)? else {
        return query.list::<Run<'_>>(Vec::new(), None);
    };
    let paged = request.store().list_runs(&filter, page, values)?;
    let rows = paged.rows.iter();
    let rows = rows.map(|run| shown(request.store(), run, values));
    query.list(rows.collect::<Result<_>>()?, paged.next)
}

/// The filter that a query asks for, as far as the caller may see. `None`: nothing can fit it.
pub fn filter(request: &Request<'_>, query: &Query) -> Result<Option<RunFilter>> {
    let words = RunStatus::ALL.map(RunStatus::as_str);
    let one_of = |words: &'static [&'static str]| {
        move |word: &str| words.contains(&word).then(|| word.to_owned())
    };
    let own_text = |name: &str| query.one(name).map(str::to_owned);
    let mut filter = RunFilter {
        status: query.words("status", &words, RunStatus::parse)?,
        source: query.words("source", &SOURCES, one_of(&SOURCES))?,
        delivery: None,
        deployment: own_text("deployment"),
        variant: own_text("variant"),
        api_key: api_keys(request, &query.many("api_key_id")?)?,
        user: own_text("user"),
        metadata: query.labels("metadata")?,
        from: query.time("from")?,
        to: query.time("to")?,
        run_id: None,
    };
    // Both ways together are no filter.
    if let [only] = query
        .words("delivery", &DELIVERIES, one_of(&DELIVERIES))?
        .as_slice()
    {
        filter.delivery = Some(only.clone());
    }
    if let Some(own) = request.sees_only() {
        if !filter.api_key.is_empty() && !filter.api_key.contains(&own) {
            return Ok(None);
        }
        filter.api_key = vec![own];
    }
    if let Some(text) = query.one("q") {
        let Some(run_id) = Id::parse(text, "req_") else {
            return Err(Error::invalid(
                "/q",
                "q must be a request id (req_…) or a run id",
            ));
        };
        filter.run_id = Some(run_id);
    }
    Ok(Some(filter))
}

/// The rows of the keys with these public ids; one that does not exist started nothing.
fn api_keys(request: &Request<'_>, ids: &[&str]) -> Result<Vec<i64>> {
    let row_of = |id: &&str| {
        let Some(key_id) = Id::parse(id, "key_") else {
            let message = format!(
                "api_key_id must be a key's id (key_…), got {:?}",
                crate::flow::names::excerpt(id)
            );
            return Err(Error::invalid("/api_key_id", message));
        };
        Ok(request.store().key_row(key_id)?.unwrap_or(-1))
    };
    ids.iter().map(row_of).collect()
}

/// `GET /v1/workflow_runs/{id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let values = values(&request.query())?;
    let run = find_with(request, request.param(0), NO_RUN, values)?;
    whole(request, &run, values)
}

/// A run as it is shown alone: wrapped, with its first steps and its deliveries.
fn whole(request: &Request<'_>, run: &RunRow, values: Values) -> Result<Answer> {
    let first = Page::first(SHOWN);
    let steps = request.store().list_steps(run.id, first, values)?;
    let filter = DeliveryFilter {
        run: Some(run.run_id),
        ..DeliveryFilter::default()
    };
    let deliveries = request.store().list_deliveries(&filter, first)?;
    let tries = deliveries.rows.iter();
    let tries = tries.map(|row| request.store().tries_of(row.id, TRIES_SHOWN));
    let tries: Vec<_> = tries.collect::<Result<_>>()?;
    let owed = deliveries.rows.iter().zip(&tries);
    let retries = request
        .store()
        .retries(run.run_id, request.sees_only(), RETRIES)?;
    let shown = shown(request.store(), run, values)?;
    let workflow_run = WholeRun {
        story: story::of(request, run, shown.waiting_on.as_ref(), &deliveries.rows)?,
        run: shown,
        retry_of: run.retry_of.map(Id::request_id),
        retries: retries.into_iter().map(Id::request_id).collect(),
        steps_count: request.store().count_steps(run.id)?,
        steps: steps.rows.iter().map(step).collect(),
        deliveries: owed
            .map(|(row, tries)| self::owed(request, row, tries))
            .collect(),
    };
    Ok(Answer::Now(Reply::json(200, &ShownRun { workflow_run })))
}

/// A delivery as a run carries it.
fn owed<'a>(request: &Request<'_>, row: &'a DeliveryRow, tries: &'a [TryRow]) -> OwedDelivery<'a> {
    let attempts = tries.iter().map(|attempt| OwedAttempt {
        number: attempt.number,
        started_at: attempt.started_at,
        duration_ms: attempt.duration_ms,
        response_status: attempt.response_status,
        error_class: attempt.error_class.as_deref(),
    });
    OwedDelivery {
        id: row.delivery_id.prefixed("dlv_"),
        event_type: &row.event_type,
        channel: &row.channel,
        status: row.status.as_str(),
        url: address(request, row),
        next_attempt_at: row.next_attempt_at,
        attempts: attempts.collect(),
    }
}

/// A run without its nested lists; `values`: with how much it was read.
pub fn shown<'a>(store: &Store, run: &'a RunRow, values: Values) -> Result<Run<'a>> {
    let status = run.status.as_str();
    let duration = match (run.started_at, run.ended_at) {
        (Some(started), Some(ended)) => Some(millis(ended.since(started))),
        _ => None,
    };
    Ok(Run {
        id: run.run_id,
        token: run.run_id.request_id(),
        run_status: status,
        run_async: run.callback_url.is_some(),
        started_at: run.started_at,
        ended_at: run.ended_at,
        duration,
        start_inputs: (values == Values::Whole).then_some(&run.inputs),
        output_content: run.output.as_ref().map(as_text),
        error_message: run.error.as_deref(),
        async_webhook_url: run.callback_url.as_deref(),
        total_tokens: 0,
        total_charge: "0",
        request_id: run.run_id.request_id(),
        run_id: run.run_id,
        status,
        source: &run.source,
        delivery: &run.delivery,
        deployment: &run.deployment,
        variant: &run.variant,
        version: run.version,
        api_key_id: run.api_key_id.map(|id| id.prefixed("key_")),
        user: run.user.as_deref(),
        user_metadata: &run.metadata,
        input_bytes: run.input_bytes,
        output: run.output.as_ref(),
        output_bytes: run.output_bytes,
        error: run.error.as_deref(),
        error_code: run.error_code.as_deref(),
        error_step: run.error_step.as_deref(),
        created_at: run.created_at,
        waiting_on: waiting_on(store, run)?,
    })
}

/// A text as it is, anything else as compact JSON; null as nothing.
fn as_text(output: &Value) -> String {
    match output {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What a parked run waits for.
fn waiting_on(store: &Store, run: &RunRow) -> Result<Option<WaitingOn>> {
    if run.status == RunStatus::AwaitingApproval {
        return waiting_on_people(store, run);
    }
    if run.status != RunStatus::Waiting {
        return Ok(None);
    }
    let (step, kind) = store.waiting_step(run.id)?.unzip();
    // Only a delay waits of its own accord; any other step waits for its next try.
    let kind = match kind.as_deref() {
        None | Some("delay") => "timer",
        Some(_) => "retry",
    };
    Ok(Some(WaitingOn {
        step,
        kind,
        until: run.wake_at,
        approval_id: None,
        recipient: None,
        expires_at: None,
    }))
}

/// The question that a run waits for. None: it was answered between two looks.
fn waiting_on_people(store: &Store, run: &RunRow) -> Result<Option<WaitingOn>> {
    let waits = store.waits_for(run.id)?;
    Ok(waits.map(|waits| WaitingOn {
        kind: "approval",
        until: Some(waits.expires_at),
        approval_id: Some(waits.approval_id.prefixed(approvals::PREFIX)),
        recipient: Some(waits.recipient),
        expires_at: Some(waits.expires_at),
        step: Some(waits.path),
    }))
}

/// `GET /v1/workflow_runs/{id}/steps`
pub fn steps(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let (page, values) = (query.page()?, values(&query)?);
    let run = find_with(request, request.param(0), NO_RUN, Values::Sizes)?;
    let paged = request.store().list_steps(run.id, page, values)?;
    query.list(paged.rows.iter().map(step).collect(), paged.next)
}

/// `GET /v1/workflow_runs/{id}/steps/{path}`
pub fn show_step(request: &Request<'_>) -> Result<Answer> {
    let run = find_with(request, request.param(0), NO_RUN, Values::Sizes)?;
    let found = request.store().step(run.id, request.param(1))?;
    let row = found.ok_or_else(|| Error::not_found(NO_STEP))?;
    Ok(Answer::Now(Reply::json(200, &step(&row))))
}

fn step(row: &StepRow) -> Step<'_> {
    Step {
        path: &row.path,
        kind: &row.kind,
        status: row.status.as_str(),
        attempts: row.attempts.iter().map(try_of_step).collect(),
        input: &row.input,
        input_bytes: row.input_bytes,
        output: &row.output,
        output_bytes: row.output_bytes,
        meta: row.meta.as_ref(),
        error: row.error.as_deref(),
        error_class: row.error_class.as_deref(),
        due_at: row.due_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        reused: row.reused,
    }
}

fn try_of_step(attempt: &StepAttempt) -> StepTry<'_> {
    StepTry {
        number: attempt.number,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        error_class: attempt.error_class.as_deref(),
        error: attempt.error.as_deref(),
        logs: attempt
            .logs
            .iter()
            .map(|line| StepLog {
                at: line.at,
                text: &line.text,
            })
            .collect(),
    }
}

/// The reason of a cancellation.
pub fn reason(body: &Map<String, Value>) -> Result<String> {
    let given = fields::text(body, "reason", REASON)?;
    let given = given.filter(|reason| !reason.trim().is_empty());
    Ok(given.unwrap_or(NO_REASON).to_owned())
}

/// `POST /v1/workflow_runs/{id}/cancel`
pub fn cancel(request: &Request<'_>) -> Result<Answer> {
    let reason = reason(&request.body()?)?;
    let run = find(request, request.param(0), NO_RUN)?;
    let now: Timestamp = request.now();
    let run = request
        .store()
        .cancel_run(run.run_id, reason, request.actor(), now)?
        .ok_or_else(|| Error::not_found(NO_RUN))?;
    whole(request, &run, Values::Whole)
}

#[cfg(test)]
mod tests;
