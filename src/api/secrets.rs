//! Secrets for steps: set and removed; their values are never shown again.

use serde_json::Value;

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::wire::{DeletedSecret, Secret};
use crate::api::{fields, query};
use crate::error::{Error, Result};
use crate::flow::hosts::HostRule;
use crate::flow::names::{excerpt, is_name};
use crate::store::secrets::{SecretPlace, SecretRow};

/// The shortest value: anything shorter could not be masked without masking half of what is shown.
pub const SHORTEST: usize = 4;

/// The longest value, in characters.
pub const LONGEST: usize = 8_192;

/// The most hosts of a secret.
pub const HOSTS: usize = 100;

/// What a cursor of this list begins with: it is ordered by when a secret was last set.
const CURSOR: &str = "s";

/// `GET /v1/secrets`, those that were set last first.
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let after = match query.one("cursor") {
        None => None,
        Some(text) => Some(read_cursor(text).ok_or_else(|| query::wrong_cursor(text))?),
    };
    let (rows, next) = request.store().list_secrets(after, query.limit()?)?;
    let rows = rows.iter().map(shown).collect();
    query.list_from(rows, next.map(write_cursor))
}

fn write_cursor((time, row): SecretPlace) -> String {
    format!("{CURSOR}{time:x}-{row:x}")
}

fn read_cursor(text: &str) -> Option<SecretPlace> {
    let (time, row) = text.strip_prefix(CURSOR)?.split_once('-')?;
    let number = |digits| i64::from_str_radix(digits, 16).ok();
    let place = (number(time)?, number(row)?);
    (write_cursor(place) == text).then_some(place)
}

/// `PUT /v1/secrets/{name}`
pub fn put(request: &Request<'_>) -> Result<Answer> {
    let name = request.param(0);
    if !is_name(name) {
        return Err(Error::invalid(
            "/name",
            format!(
                "the name of a secret must be 1 to 64 letters, digits and '_', not beginning with a digit, got {:?}",
                excerpt(name)
            ),
        ));
    }
    let body = request.body()?;
    let value = match fields::given(&body, "value") {
        None => return Err(fields::missing("value")),
        Some(Value::String(value)) => value,
        Some(_) => return Err(Error::invalid("/value", "value must be a text")),
    };
    let length = value.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        let message = format!("value must have {SHORTEST} to {LONGEST} characters, got {length}");
        return Err(Error::invalid("/value", message));
    }
    let read = |host: &str| HostRule::parse(host).map(|_| host.trim().to_ascii_lowercase());
    let hosts =
        fields::texts(&body, "hosts", HOSTS, read)?.ok_or_else(|| fields::missing("hosts"))?;
    let row = SecretRow {
        name: name.to_owned(),
        hosts,
        updated_at: request.now(),
    };
    let is_new = request.store().put_secret(
        row.name.clone(),
        value.clone(),
        row.hosts.clone(),
        request.actor(),
        row.updated_at,
    )?;
    Ok(Answer::Now(Reply::json(
        if is_new { 201 } else { 200 },
        &shown(&row),
    )))
}

/// `DELETE /v1/secrets/{name}`
pub fn delete(request: &Request<'_>) -> Result<Answer> {
    let name = request.param(0).to_owned();
    match request
        .store()
        .delete_secret(name.clone(), request.actor(), request.now())?
    {
        true => Ok(Answer::Now(Reply::json(
            200,
            &DeletedSecret {
                name: &name,
                deleted: true,
            },
        ))),
        false => Err(Error::not_found(format!(
            "Secret {:?} not found",
            excerpt(&name)
        ))),
    }
}

fn shown(row: &SecretRow) -> Secret<'_> {
    Secret {
        name: &row.name,
        hosts: &row.hosts,
        updated_at: row.updated_at,
    }
}

#[cfg(test)]
mod tests;
