//! `POST /v1/workflow/invoke/batch`: many runs in one commit, each with its own answer.

use serde_json::{Map, Value};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::fields;
use crate::api::invoke;
use crate::api::start::{Asked, Caller, Started, digest, with_replay};
use crate::api::wire::{Batch, BatchAccepted, BatchAnswer, BatchRefused};
use crate::error::{Code, Error, Result};
use crate::flow::names::kind_of;
use crate::store::runs::Idempotency;

/// The route.
pub const PATTERN: &str = "/v1/workflow/invoke/batch";

/// The most runs of a batch.
pub const RUNS: usize = 500;

/// `POST /v1/workflow/invoke/batch`
pub fn invoke(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let runs = match fields::given(&body, "runs") {
        Some(Value::Array(runs)) if runs.len() <= RUNS => runs,
        Some(Value::Array(runs)) => {
            let message = format!("runs must have at most {RUNS} items, got {}", runs.len());
            return Err(Error::invalid("/runs", message));
        }
        Some(other) => return Err(fields::wrong("runs", "an array", other)),
        None => return Err(fields::missing("runs")),
    };
    request.api.refuse_while_stopping()?;
    let api_key = request.admission.who.key_id();
    let scope = format!("key:{}", api_key.unwrap_or(0));
    let whole = invoke::idempotency(request, scope, PATTERN, &Map::new())?;
    let asked = runs.iter().enumerate().map(|(at, run)| {
        let run = run.as_object().ok_or_else(|| {
            let came = kind_of(run);
            let message = format!("a run must be an object, got {came}");
            Error::new(Code::ValidationError, message)
        })?;
        refuse_direct(run)?;
        let idempotency = whole.as_ref().map(|whole| Idempotency {
            key: format!("{}/{at}", whole.key),
            digest: digest(PATTERN, run),
            ..whole.clone()
        });
        let caller = Caller {
            source: request.source(),
            api_key,
            idempotency,
            waits: false,
        };
        request.api.judge_invoke(run, caller)
    });
    let asked: Vec<Result<Asked<'_>>> = asked.collect();
    let started = request.api.start_all(asked)?;
    for refusal in started.iter().filter_map(|one| one.as_ref().err()) {
        request.api.note_refusal(PATTERN, refusal);
    }
    let replayed = |one: &Result<Started>| one.as_ref().is_ok_and(|one| one.replayed);
    let is_replay = !started.is_empty() && started.iter().all(replayed);
    let data = started.iter().map(shown).collect();
    Ok(Answer::Now(with_replay(
        Reply::json(200, &Batch { data }),
        is_replay,
    )))
}

/// Nobody can wait for the ends of many runs in one answer.
fn refuse_direct(run: &Map<String, Value>) -> Result<()> {
    let asked = fields::given(run, "async").and_then(|it| it.get("enabled"));
    match asked {
        // What is of the wrong type is refused as it is alone.
        Some(Value::Bool(false)) | Some(Value::Null) | None => {}
        Some(_) => return Ok(()),
    }
    if matches!(fields::given(run, "async"), Some(other) if !other.is_object()) {
        return Ok(());
    }
    let message = "a batch brings results back by callback only: async.enabled must be true";
    Err(Error::invalid("/async/enabled", message))
}

fn shown(one: &Result<Started>) -> BatchAnswer<'_> {
    match one {
        Ok(started) => BatchAnswer::Accepted(BatchAccepted {
            http_status: 202,
            request_id: started.run_id.request_id(),
            run_id: started.run_id,
            run_status: started.status.as_str(),
            status: started.status.as_str(),
            webhook_secret: started.secret.as_deref(),
            replayed: started.replayed,
        }),
        Err(refusal) => BatchAnswer::Refused(BatchRefused {
            http_status: refusal.status(),
            error: told(refusal),
            message: told(refusal),
            error_code: refusal.code.row().name,
            field: refusal.field.as_deref(),
            details: refusal.details.as_deref(),
        }),
    }
}

/// What a caller learns of it: no internals.
fn told(refusal: &Error) -> &str {
    match refusal.code {
        Code::InternalServerError => refusal.code.row().message,
        _ => &refusal.message,
    }
}
