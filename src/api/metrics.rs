//! `GET /metrics`: the figures, as a scraper reads them.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::call::{Answer, Head, Reply};
use crate::api::door::{Access, Scope};
use crate::api::{Api, Request, bearer};
use crate::error::Result;
use crate::metrics::table::render;
use crate::metrics::text::Format;

/// `GET /metrics`: everyone's, unless `metrics_key` is set.
///
/// # Errors
/// `invalid_access`, `insufficient_scope`.
pub fn scrape(request: &Request<'_>) -> Result<Answer> {
    let head = &request.call.head;
    request.api.may_scrape(head)?;
    let accept: Vec<&str> = head.headers_of("accept").collect();
    let format = Format::asked(&accept.join(","));
    let looked = request.store().look_around(request.now());
    let text = render(request.store().metrics(), &looked, format);
    Ok(Answer::Now(Reply {
        status: 200,
        headers: vec![
            ("Content-Type", format.content_type().to_owned()),
            ("Cache-Control", "no-store".to_owned()),
            // A cache that keeps it all the same must not hand one format to who asked for the other.
            ("Vary", "Accept".to_owned()),
        ],
        body: text.into_bytes(),
    }))
}

impl Api {
    /// Whether that head may see the figures: the holder of `metrics_key`, or of a key that may read.
    fn may_scrape(&self, head: &Head) -> Result<()> {
        let Some(hash) = &self.metrics_key else {
            return Ok(());
        };
        let shown = head.header("authorization").and_then(bearer);
        if shown.is_some_and(|key| Sha256::digest(key).as_slice().ct_eq(hash).into()) {
            return Ok(());
        }
        self.who(head, Access::Key(Scope::Read), &[]).map(drop)
    }
}
