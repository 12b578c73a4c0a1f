//! An approval's receipt: exactly what was shown, what was answered, by whom and when, signed by the deployment's secret.
//!
//! The signature is that of `webhook-signature`: `v1,` and the base64 HMAC-SHA256 of `id.seconds.body`, where the id is
//! the approval's, the seconds are those of `decided_at`, and the body is the compact JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::api::Request;
use crate::api::approvals::answer;
use crate::api::wire::Receipt;
use crate::secret;
use crate::store::approvals::{Approval, PREFIX};
use crate::time::Timestamp;

/// The receipt of a decided approval; none of one that is pending.
pub fn receipt(request: &Request<'_>, approval: &Approval) -> Option<Receipt> {
    let decided_at = approval.decided_at?;
    let id = approval.approval_id.prefixed(PREFIX);
    let answers: Vec<_> = approval
        .answers
        .iter()
        .map(|one| answer(approval, one))
        .collect();
    let body = json!({
        "approval_id": id,
        "request_id": approval.run_id.request_id(),
        "run_id": approval.run_id,
        "deployment": approval.deployment,
        "variant": approval.variant,
        "version": approval.version,
        "step": approval.path,
        "ask": *approval.ask,
        "answers": answers,
        "status": approval.status,
        "decided_at": decided_at,
    });
    let directory = request.store().directory();
    let deployment = directory.deployment_of(approval.deployment_id);
    let signature = deployment.and_then(|deployment| {
        signed(
            &deployment.secrets.current,
            &id,
            decided_at,
            &body.to_string(),
        )
    });
    Some(Receipt { body, signature })
}

/// The signature; none if the secret is malformed.
fn signed(secret: &str, id: &str, at: Timestamp, body: &str) -> Option<String> {
    let key = STANDARD.decode(secret.strip_prefix(secret::PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{}.", at.seconds()).as_bytes());
    mac.update(body.as_bytes());
    Some(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;
    use ureq::http::HeaderMap;

    use super::*;
    use crate::id::Dice;
    use crate::time::Clock;

    #[test]
    fn other_people_s_code_finds_the_signature_right() {
        let secret = secret::new_secret(&Dice::seeded(3));
        let (id, now, body) = ("apr_x", Clock::System.now(), "{\"a\":\"\u{e9}\"}");
        let signature = signed(&secret, id, now, body).expect("a sound secret");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", now.seconds().to_string()),
            ("webhook-signature", signature),
        ] {
            headers.insert(name, value.parse().expect("a header's value"));
        }
        let webhook = Webhook::new(&secret).expect("a sound secret");
        webhook.verify(body.as_bytes(), &headers).expect("it fits");
        assert!(webhook.verify(b"{}", &headers).is_err());
    }
}
