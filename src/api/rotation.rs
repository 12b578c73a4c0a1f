//! The rotation of a deployment's secret: stage, promote, revoke (contract, section 6).

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::start::find_deployment;
use crate::api::wire::WebhookSecret;
use crate::error::Result;
use crate::secret::new_secret;

/// `POST /v1/deployments/{deployment}/secret/stage`
pub fn stage(request: &Request<'_>) -> Result<Answer> {
    let name = found(request)?;
    let secret = new_secret(request.api.dice());
    request
        .store()
        .stage_secret(name, secret.clone(), request.actor(), request.now())?;
    Ok(Answer::Now(Reply::json(
        200,
        &WebhookSecret {
            webhook_secret: &secret,
        },
    )))
}

/// `POST /v1/deployments/{deployment}/secret/promote`
pub fn promote(request: &Request<'_>) -> Result<Answer> {
    let name = found(request)?;
    request
        .store()
        .promote_secret(name, request.actor(), request.now())?;
    current(request)
}

/// `POST /v1/deployments/{deployment}/secret/revoke`
pub fn revoke(request: &Request<'_>) -> Result<Answer> {
    let name = found(request)?;
    request
        .store()
        .revoke_secret(name, request.actor(), request.now())?;
    current(request)
}

fn found(request: &Request<'_>) -> Result<String> {
    let entry = find_deployment(&request.store().directory(), request.param(0))?;
    Ok(entry.row.name.clone())
}

/// The secret that is current after the change.
fn current(request: &Request<'_>) -> Result<Answer> {
    let entry = find_deployment(&request.store().directory(), request.param(0))?;
    Ok(Answer::Now(Reply::json(
        200,
        &WebhookSecret {
            webhook_secret: &entry.secrets.current,
        },
    )))
}
