//! Requests: a run as its caller looks it up by `request_id` (contract, section 7).

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::runs::find;
use crate::api::wire::{RequestData, RequestMetadata, ShownRequest};
use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::store::runs::RunRow;

/// The 404 of a request.
pub const NO_REQUEST: &str = "Request not found";

/// `GET /v1/public/requests/{request_id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let run = find(request, request.param(0), NO_REQUEST)?;
    let body = ShownRequest {
        id: run.run_id,
        request_id: run.run_id.request_id(),
        status: run.status.as_str(),
        request_type: "workflow",
        requestable_type: "workflow_run",
        requestable_id: run.run_id,
        message: run.error.as_deref(),
        generated_at: run.created_at,
        started_at: run.started_at,
        ended_at: run.ended_at,
        metadata: RequestMetadata {
            source: &run.source,
            delivery: &run.delivery,
            deployment: &run.deployment,
            variant: &run.variant,
            version: run.version,
        },
        user_metadata: &run.metadata,
        data: data(&run),
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

/// What the run's final event says, or nothing while the run is open.
fn data(run: &RunRow) -> Option<RequestData<'_>> {
    match run.status {
        RunStatus::Completed => Some(RequestData::Completed {
            output: run.output.as_ref(),
        }),
        RunStatus::Failed => Some(RequestData::Failed {
            error: run.error.as_deref(),
            error_code: run.error_code.as_deref(),
            step: run.error_step.as_deref(),
        }),
        RunStatus::Cancelled => Some(RequestData::Cancelled {
            error: run.error.as_deref(),
            reason: "cancelled",
        }),
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::AwaitingApproval
        | RunStatus::Waiting => None,
    }
}
