//! `POST /v1/workflow_runs/{id}/retry`: a run that has ended, once more.

use serde_json::{Map, Value};

use crate::api::Request;
use crate::api::call::Answer;
use crate::api::fields;
use crate::api::runs::{NO_RUN, find};
use crate::api::start::{Started, accepted};
use crate::error::{Error, Result};
use crate::flow::retry_from::{Begin, Edition, How};
use crate::id::Id;
use crate::store::retry::By;

/// The most characters of a step's path.
pub const STEP: usize = 2_000;

/// `POST /v1/workflow_runs/{id}/retry`
pub fn retry(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let how = how(&body)?;
    request.api.refuse_while_stopping()?;
    let run = find(request, request.param(0), NO_RUN)?;
    let now = request.now();
    let run_id = Id::new(now, request.api.dice());
    let store = request.store();
    let (new, retry) = store.prepare_retry(&run, &how, &by(request), run_id)?;
    let status = store.insert_retry(new, retry, &how, request.actor(), now)?;
    let started = Started {
        run_id,
        status,
        replayed: false,
        is_direct: false,
        secret: None,
    };
    Ok(Answer::Now(accepted(&started, false)))
}

/// Where to begin, and with which version.
pub fn how(body: &Map<String, Value>) -> Result<How> {
    let from = match fields::text(body, "from", STEP)? {
        None => Begin::default(),
        Some("") => {
            let message =
                "from must be `start`, `failed`, or a step's path or id, got an empty text";
            return Err(Error::invalid("/from", message));
        }
        Some(text) => Begin::parse(text),
    };
    let version = fields::word(body, "version", &Edition::WORDS)?;
    Ok(How {
        from,
        version: version.and_then(Edition::parse).unwrap_or_default(),
    })
}

/// Whose run it will be.
pub fn by(request: &Request<'_>) -> By {
    By {
        source: request.source(),
        api_key: request.admission.who.key_id(),
    }
}
