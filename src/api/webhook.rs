//! `POST /v1/workflow/webhooks/{endpoint_id}/variants/{variant_id}` (contract, section 5).

use crate::api::Request;
use crate::api::call::Answer;
use crate::api::invoke::idempotency;
use crate::api::start::{Caller, Target};
use crate::error::{Code, Error, Result};
use crate::id::Id;
use crate::store::directory::Directory;

/// The path of a webhook.
pub const PATTERN: &str = "/v1/workflow/webhooks/{endpoint_id}/variants/{variant_id}";

/// The header that carries the secret; it wins over `?secret=`.
pub const SECRET_HEADER: &str = "x-fetch-hive-webhook-secret";

/// Where a variant's webhook is reached.
pub fn url(public_url: &str, endpoint_id: Id, variant_id: Id) -> String {
    let path = PATTERN
        .replace("{endpoint_id}", &endpoint_id.to_string())
        .replace("{variant_id}", &variant_id.to_string());
    format!("{public_url}{path}")
}

/// What the two ids of a path stand for.
pub fn target(directory: &Directory, params: &[String]) -> Option<Target> {
    let [endpoint_id, variant_id] = params else {
        return None;
    };
    let (deployment, variant) =
        directory.webhook(Id::parse(endpoint_id, "")?, Id::parse(variant_id, "")?)?;
    Some(Target {
        deployment: deployment.clone(),
        variant: variant.clone(),
    })
}

/// Starts a run for whoever knows the deployment's secret.
pub fn trigger(request: &Request<'_>) -> Result<Answer> {
    // It may have been deleted since the head was judged.
    let target = target(&request.store().directory(), &request.admission.params)
        .ok_or_else(|| Error::of(Code::InvalidAccess))?;
    let body = request.body()?;
    let scope = format!("deployment:{}", target.deployment.row.id);
    let route = format!("{PATTERN} {}", target.variant.id);
    let idempotency = idempotency(request, scope, &route, &body)?;
    let caller = Caller {
        source: "webhook",
        api_key: None,
        idempotency,
        waits: true,
    };
    let asked = request.api.judge_trigger(&target, &body, caller)?;
    // The secret is what the caller came with: it is not handed out here.
    request.api.answer_start(asked, false)
}

#[cfg(test)]
mod tests;
