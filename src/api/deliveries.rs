//! Deliveries: listed, shown with every attempt, sent again (contract, sections 6 and 7).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::query::Query;
use crate::api::wire::{Attempt, Delivery, Timings, WholeDelivery};
use crate::error::{Error, Result};
use crate::flow::delivery::DeliveryStatus;
use crate::id::Id;
use crate::outbound::sign::hex_signature;
use crate::store::deliveries::{AttemptRow, DeliveryFilter, DeliveryRow};
use crate::store::rotation::{Secrets, Which};

/// The channel of what is owed to the receiver of a run's end, and to no person.
const CALLBACK: &str = "callback";

/// How deliveries go, as the file spells it.
pub const CHANNELS: [&str; 4] = [CALLBACK, "email", "telegram", "webhook"];

/// How an attempt can fail.
pub const CLASSES: [&str; 9] = [
    "dns",
    "connect",
    "tls",
    "timeout",
    "reset",
    "forbidden_address",
    "http_status",
    "smtp_status",
    "interrupted",
];

/// Which secret of the deployment an attempt was signed with, as far as that can still be told.
pub const SIGNERS: [&str; 4] = ["current", "old", "staged", "none"];

/// The header that says so.
const SIGNATURE: &str = "X-Fetch-Hive-Signature";

const NO_DELIVERY: &str = "Delivery not found";

/// The names of the list's filters.
pub const FILTERS: [&str; 7] = ["status", "host", "run", "class", "channel", "from", "to"];

/// The filter that a query asks for.
pub fn filter_of(query: &Query) -> Result<DeliveryFilter> {
    let words = DeliveryStatus::ALL.map(DeliveryStatus::as_str);
    let one_of = |words: &'static [&'static str]| {
        move |word: &str| words.contains(&word).then(|| word.to_owned())
    };
    Ok(DeliveryFilter {
        status: query.words("status", &words, DeliveryStatus::parse)?,
        host: query.one("host").map(str::to_ascii_lowercase),
        run: match query.one("run") {
            None => None,
            Some(text) => Some(Id::parse(text, "req_").ok_or_else(|| {
                Error::invalid("/run", "run must be a request id (req_…) or a run id")
            })?),
        },
        class: query.words("class", &CLASSES, one_of(&CLASSES))?,
        channel: query.words("channel", &CHANNELS, one_of(&CHANNELS))?,
        from: query.time("from")?,
        to: query.time("to")?,
    })
}

/// `GET /v1/deliveries`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let page = query.page()?;
    let filter = filter_of(&query)?;
    let paged = request.store().list_deliveries(&filter, page)?;
    // A page may be short: what other keys started is left out of it.
    let own = paged.rows.iter().filter(|row| request.may_see(row.api_key));
    query.list(own.map(|row| shown(request, row)).collect(), paged.next)
}

/// `GET /v1/deliveries/{id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let (row, attempts) = find(request)?;
    let (body, secrets) = request.store().sent(row.id)?;
    let signers = signers(&row, &body, secrets.as_ref());
    let is_private = is_private(request, &row);
    let attempts = attempts.iter().map(|one| {
        let mut shown = attempt(one);
        if row.channel == CALLBACK && one.duration_ms.is_some() {
            shown.signed_with = Some(signer(one.request_headers.as_ref(), &signers));
        }
        match is_private {
            false => shown,
            true => veiled(shown),
        }
    });
    let delivery = WholeDelivery {
        delivery: shown(request, &row),
        attempts: attempts.collect(),
        body: (!is_private).then_some(&body),
    };
    Ok(Answer::Now(Reply::json(200, &delivery)))
}

/// What each secret would sign a callback with now.
fn signers(
    row: &DeliveryRow,
    body: &str,
    secrets: Option<&Secrets>,
) -> Vec<(&'static str, String)> {
    let known = secrets.into_iter().flat_map(Secrets::each);
    known
        .filter(|_| row.channel == CALLBACK)
        .map(|(which, secret)| {
            let word = match which {
                Which::Current => "current",
                Which::Old => "old",
                Which::Staged => "staged",
            };
            (word, hex_signature(secret, body.as_bytes()))
        })
        .collect()
}

/// Whose signature is on record, of which only the beginning is kept.
fn signer(headers: Option<&Value>, signers: &[(&'static str, String)]) -> &'static str {
    let kept = headers
        .and_then(|headers| headers.get(SIGNATURE)?.as_str())
        .map(|text| text.trim_end_matches('…'))
        .unwrap_or_default();
    let fits = |(_, whole): &&(&str, String)| !kept.is_empty() && whole.starts_with(kept);
    signers.iter().find(fits).map_or("none", |(word, _)| word)
}

/// `POST /v1/deliveries/{id}/redeliver`
pub fn redeliver(request: &Request<'_>) -> Result<Answer> {
    let (row, _) = find(request)?;
    let row = request
        .store()
        .redeliver(row.delivery_id, request.actor(), request.now())?
        .ok_or_else(|| Error::not_found(NO_DELIVERY))?;
    Ok(Answer::Now(Reply::json(202, &shown(request, &row))))
}

/// The delivery that the path names, if the caller may see it.
fn find(request: &Request<'_>) -> Result<(DeliveryRow, Vec<AttemptRow>)> {
    let found = match Id::parse(request.param(0), "dlv_") {
        Some(delivery_id) => request.store().delivery(delivery_id)?,
        None => None,
    };
    found
        .filter(|(row, _)| request.may_see(row.api_key))
        .ok_or_else(|| Error::not_found(NO_DELIVERY))
}

/// Whether a delivery goes to a person, whose address is not for a key that sees its own runs alone.
fn is_private(request: &Request<'_>, row: &DeliveryRow) -> bool {
    row.channel != CALLBACK && request.sees_only().is_some()
}

/// Where a delivery goes, as far as the caller may know.
pub fn address<'a>(request: &Request<'_>, row: &'a DeliveryRow) -> Cow<'a, str> {
    address_for(request.sees_only(), row)
}

/// Where a delivery goes, as far as a key may know that sees no runs but that key's.
pub fn address_for(sees_only: Option<i64>, row: &DeliveryRow) -> Cow<'_, str> {
    if row.channel == CALLBACK || sees_only.is_none() {
        return Cow::Borrowed(&row.url);
    }
    // `mailto:…`, and of what has a host no more than that.
    let end = match row.url.find("://") {
        Some(at) => row.url[at + 3..]
            .find('/')
            .map_or(row.url.len(), |path| at + 3 + path + 1),
        None => row.url.find(':').map_or(0, |at| at + 1),
    };
    Cow::Owned(format!("{}…", &row.url[..end]))
}

/// An attempt to tell a person, for whoever may not know where they are: mail servers repeat addresses.
fn veiled(attempt: Attempt<'_>) -> Attempt<'_> {
    Attempt {
        request_headers: None,
        response_headers: None,
        response_body: None,
        response_encoding: None,
        error: None,
        ..attempt
    }
}

/// A delivery without its attempts.
fn shown<'a>(request: &Request<'_>, row: &'a DeliveryRow) -> Delivery<'a> {
    Delivery {
        id: row.delivery_id.prefixed("dlv_"),
        request_id: row.run_id.request_id(),
        run_id: row.run_id,
        event_id: &row.event_id,
        event_type: &row.event_type,
        channel: &row.channel,
        class: row.class.as_deref(),
        url: address(request, row),
        status: row.status.as_str(),
        next_attempt_at: row.next_attempt_at,
        created_at: row.created_at,
        ended_at: row.ended_at,
    }
}

fn attempt(row: &AttemptRow) -> Attempt<'_> {
    let body = row
        .response_body
        .as_deref()
        .map(|bytes| readable(bytes, row.truncated));
    let (response_body, response_encoding) = body.unzip();
    Attempt {
        number: row.number,
        trigger: &row.trigger,
        started_at: row.started_at,
        duration_ms: row.duration_ms,
        timings: Timings {
            dns_ms: row.dns_ms,
            connect_ms: row.connect_ms,
            tls_ms: row.tls_ms,
            first_byte_ms: row.first_byte_ms,
        },
        remote_address: row.remote_address.as_deref(),
        request_headers: row.request_headers.as_ref(),
        response_status: row.response_status,
        response_headers: row.response_headers.as_ref(),
        response_body,
        response_encoding: response_encoding.flatten(),
        truncated: row.truncated,
        bytes_seen: row.bytes_seen,
        error_class: row.error_class.as_deref(),
        error: row.error.as_deref(),
        signed_with: None,
    }
}

/// A body as text, or in base64 with the name of that encoding. A character that the cut fell into is left out.
fn readable(bytes: &[u8], truncated: bool) -> (String, Option<&'static str>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(fault) if truncated && fault.error_len().is_none() => (
            String::from_utf8_lossy(&bytes[..fault.valid_up_to()]).into_owned(),
            None,
        ),
        Err(_) => (STANDARD.encode(bytes), Some("base64")),
    }
}

#[cfg(test)]
mod tests;
