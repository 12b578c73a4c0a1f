//! What is done to many runs or deliveries at once: by the lists' filters, counted first, then as jobs.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::api::call::{Answer, Reply};
use crate::api::door::{Access, Scope};
use crate::api::query::{FILTER_VALUES, Query};
use crate::api::wire::{Job, JobCount};
use crate::api::{Request, deliveries, fields, retry, runs};
use crate::error::{Code, Error, Result};
use crate::flow::names::{did_you_mean, excerpt};
use crate::id::Id;
use crate::store::jobs::{JobRow, NewJob, PREFIX, Work};
use crate::store::listing::RunFilter;

const NO_JOB: &str = "Job not found";

/// How long a dry run may count. Never as long as a direct invoke may wait, beyond which no client is answered.
const COUNTING: Duration = Duration::from_secs(100);

/// How many may be counted for at once: each keeps a reader of the file busy, of which there are few.
pub const COUNTS: usize = 2;

/// What of a body is asked, and noted in the audit; what else it may hold means nothing.
const ASKED: [&str; 4] = ["filter", "reason", "from", "version"];

/// How long the answer to a new job may wait for its count.
const FIRST_COUNT: Duration = Duration::from_secs(2);

/// `POST /v1/workflow_runs/cancel`
pub fn cancel_runs(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let filter = runs_of(request, &body)?;
    let reason = runs::reason(&body)?;
    carry_out(request, &body, Work::CancelRuns { filter, reason })
}

/// `POST /v1/workflow_runs/retry`
pub fn retry_runs(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let filter = runs_of(request, &body)?;
    let by = retry::by(request);
    let work = Work::RetryRuns {
        filter,
        how: retry::how(&body)?,
        from_dashboard: by.source == "dashboard",
        api_key: by.api_key,
    };
    carry_out(request, &body, work)
}

/// `POST /v1/deliveries/redeliver`
pub fn redeliver(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let query = filter(&body, &deliveries::FILTERS)?;
    let filter = deliveries::filter_of(&query).map_err(within)?;
    carry_out(request, &body, Work::Redeliver { filter })
}

fn runs_of(request: &Request<'_>, body: &Map<String, Value>) -> Result<RunFilter> {
    let query = filter(body, &runs::FILTERS)?;
    let found = runs::filter(request, &query).map_err(within)?;
    // Whoever may do this sees every run.
    found.ok_or_else(|| Access::Key(Scope::Admin).refusal())
}

/// Counts, or starts the job.
fn carry_out(request: &Request<'_>, body: &Map<String, Value>, work: Work) -> Result<Answer> {
    let is_dry = match fields::given(body, "dry_run") {
        None => false,
        Some(Value::Bool(is_dry)) => *is_dry,
        Some(other) => return Err(fields::wrong("dry_run", "true or false", other)),
    };
    let store = request.store();
    if is_dry {
        let count = counted(request, &work)?;
        return Ok(Answer::Now(Reply::json(200, &JobCount { count })));
    }
    request.api.refuse_while_stopping()?;
    let began = Instant::now();
    let mut place = request.api.counts.hold(None);
    let count = match place.grow(1) {
        true => store.count_matching(&work, || began.elapsed() < FIRST_COUNT)?,
        // The job goes on without; it counts what it comes by.
        false => None,
    };
    drop(place);
    let now = request.now();
    let new = NewJob {
        job_id: Id::new(now, request.api.dice()),
        work,
        count,
        asked: asked(body),
    };
    let job = store.start_job(new, request.actor(), now)?;
    Ok(Answer::Now(Reply::json(202, &shown(&job))))
}

/// How many match now, all of them.
fn counted(request: &Request<'_>, work: &Work) -> Result<u64> {
    let mut place = request.api.counts.hold(None);
    if !place.grow(1) {
        let message = format!("{COUNTS} other dry runs are counting; try again when one is done");
        let mut error = Error::new(Code::TooManyRequests, message);
        error.retry_after = Some(1);
        return Err(error);
    }
    let (began, most) = (Instant::now(), request.api.config.direct_timeout);
    let goes_on = || began.elapsed() < COUNTING.min(most) && !request.api.is_stopping();
    let count = request.store().count_matching(work, goes_on)?;
    count.ok_or_else(|| {
        Error::unavailable("counting them takes too long now; narrow the filter, or try again")
    })
}

fn asked(body: &Map<String, Value>) -> Value {
    let known = ASKED.iter().filter_map(|name| body.get_key_value(*name));
    Value::Object(
        known
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

/// The member `filter` as the query of a list, so that both mean the same. It must be there, and name nothing unknown: what
/// is misspelt would match everything.
fn filter(body: &Map<String, Value>, names: &[&str]) -> Result<Query> {
    let members = match fields::given(body, "filter") {
        Some(Value::Object(members)) => members,
        Some(other) => return Err(fields::wrong("filter", "an object", other)),
        None => return Err(fields::missing("filter")),
    };
    let mut pairs = Vec::new();
    for (name, value) in members {
        let at = |field: &str| format!("/filter{}", fields::pointer(field));
        if !names.contains(&name.as_str()) {
            let hint = did_you_mean(name, names.iter().copied());
            let message = format!(
                "filter has no {:?}{hint}; it may have {}",
                excerpt(name),
                names.join(", ")
            );
            return Err(Error::invalid(at(name), message));
        }
        match (name.as_str(), value) {
            ("metadata", Value::Object(labels)) => {
                for (key, value) in labels {
                    let text = label(key, value)?;
                    pairs.push((format!("metadata[{key}]"), text));
                }
            }
            ("metadata", other) => {
                return Err(within(fields::wrong("metadata", "an object", other)));
            }
            (_, Value::Array(values)) if (1..=most(name)).contains(&values.len()) => {
                for value in values {
                    pairs.push((name.clone(), text_of(name, value)?));
                }
            }
            (_, value) => pairs.push((name.clone(), text_of(name, value)?)),
        }
    }
    Ok(Query::from_pairs(pairs))
}

/// The filters that take several values, any of which matches.
pub const SEVERAL: [&str; 6] = [
    "status",
    "source",
    "delivery",
    "api_key_id",
    "class",
    "channel",
];

/// How many values a filter takes.
pub fn most(name: &str) -> usize {
    match SEVERAL.contains(&name) {
        true => FILTER_VALUES,
        false => 1,
    }
}

/// A text that says something: an empty one would be no filter.
fn text_of(name: &str, value: &Value) -> Result<String> {
    let says_something = |text: &str| match SEVERAL.contains(&name) {
        true => text.split(',').all(|word| !word.trim().is_empty()),
        false => !text.is_empty(),
    };
    match value {
        Value::String(text) if says_something(text) => Ok(text.clone()),
        other => {
            let most = most(name);
            let expected = format!("a text, or an array of 1 to {most}, none of them empty");
            Err(within(fields::wrong(name, &expected, other)))
        }
    }
}

/// A label's value as lists compare it; empty: whatever it is.
fn label(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        other => {
            let error = fields::wrong(
                key,
                "a text that is not empty, a number, a boolean, or null (whatever the value)",
                other,
            );
            Err(Error {
                field: Some(format!("/filter/metadata{}", fields::pointer(key))),
                ..error
            })
        }
    }
}

/// What is wrong with a filter, pointing into the body.
fn within(error: Error) -> Error {
    let field = error.field.as_ref().map(|field| format!("/filter{field}"));
    Error { field, ..error }
}

/// `GET /v1/jobs`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let paged = request.store().list_jobs(query.page()?)?;
    query.list(paged.rows.iter().map(shown).collect(), paged.next)
}

/// `GET /v1/jobs/{id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let job = id(request)
        .map(|id| request.store().job(id))
        .transpose()?
        .flatten();
    answer(job)
}

/// `POST /v1/jobs/{id}/cancel`
pub fn cancel(request: &Request<'_>) -> Result<Answer> {
    let (actor, now) = (request.actor(), request.now());
    let job = id(request)
        .map(|id| request.store().cancel_job(id, actor, now))
        .transpose()?
        .flatten();
    answer(job)
}

fn id(request: &Request<'_>) -> Option<Id> {
    Id::parse(request.param(0), PREFIX)
}

fn answer(job: Option<JobRow>) -> Result<Answer> {
    let job = job.ok_or_else(|| Error::not_found(NO_JOB))?;
    Ok(Answer::Now(Reply::json(200, &shown(&job))))
}

fn shown(job: &JobRow) -> Job<'_> {
    Job {
        id: job.job_id.prefixed(PREFIX),
        action: job.work.action().as_str(),
        status: job.status.as_str(),
        count: job.count,
        done: job.tally.done,
        skipped: job.tally.skipped,
        failed: job.tally.failed,
        created_at: job.created_at,
        ended_at: job.ended_at,
        by: &job.by,
    }
}
