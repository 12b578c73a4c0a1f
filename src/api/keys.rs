//! API keys: made, rotated, revoked. A key's text is shown once and never stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::door::SCOPES;
use crate::api::fields;
use crate::api::wire::{ApiKey, NewApiKey};
use crate::error::{Error, Result};
use crate::id::{Dice, Id};
use crate::store::Store;
use crate::store::audit::Actor;
use crate::store::keys::{KeyRow, NewKey};
use crate::time::Timestamp;

/// What every key begins with.
const PREFIX: &str = "fhk_";

/// How many characters of a key are kept, to tell keys apart: the prefix and 24 of its 256 bits.
const SHOWN: usize = PREFIX.len() + 4;

/// The labels that keys carry.
pub const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

/// The most characters of a key's name.
pub const NAME: usize = 100;

const NO_KEY: &str = "API key not found";

/// A key's text, and what is stored of it: its first characters and its SHA-256.
#[derive(Debug)]
pub struct Drawn {
    /// The whole key; shown once.
    pub text: String,
    /// Its first characters.
    pub prefix: String,
    /// Its SHA-256.
    pub hash: [u8; 32],
}

/// Draws a new key of 256 bits.
pub fn draw(dice: &Dice) -> Drawn {
    let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(dice.bytes::<32>()));
    let prefix = text.chars().take(SHOWN).collect();
    let hash = Sha256::digest(&text).into();
    Drawn { text, prefix, hash }
}

/// `GET /v1/keys`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let paged = request.store().list_keys(query.page()?)?;
    query.list(paged.rows.iter().map(shown).collect(), paged.next)
}

/// `POST /v1/keys`
pub fn create(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let name = fields::text(&body, "name", NAME)?
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| fields::missing("name"))?;
    let scopes = SCOPES.iter().map(|(_, word)| *word).collect::<Vec<_>>();
    let environment = fields::word(&body, "environment", &ENVIRONMENTS)?.unwrap_or("production");
    // The least that is of use, unless more is asked for.
    let scope = fields::word(&body, "scope", &scopes)?.unwrap_or("invoke");
    let wanted = Wanted {
        name,
        environment,
        scope,
    };
    let (row, text) = insert(
        request.store(),
        request.api.dice(),
        &wanted,
        request.actor(),
        request.now(),
    )?;
    Ok(Answer::Now(Reply::json(201, &with_text(&row, &text))))
}

/// A key that is to be made. The words were checked.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What people call it.
    pub name: &'a str,
    /// One of [`ENVIRONMENTS`].
    pub environment: &'a str,
    /// One of [`SCOPES`].
    pub scope: &'a str,
}

/// Makes a key; answers its row, and the key itself, which nobody sees again.
pub fn insert(
    store: &Store,
    dice: &Dice,
    wanted: &Wanted<'_>,
    actor: Actor,
    now: Timestamp,
) -> Result<(KeyRow, String)> {
    insert_shown(store, dice, wanted, actor, now, |_| Ok(()))
}

/// Makes a key that is shown before it is on record: one that nobody has seen must not be the only one.
pub fn insert_shown(
    store: &Store,
    dice: &Dice,
    wanted: &Wanted<'_>,
    actor: Actor,
    now: Timestamp,
    show: impl FnOnce(&str) -> Result<()>,
) -> Result<(KeyRow, String)> {
    let drawn = draw(dice);
    show(&drawn.text)?;
    let new = NewKey {
        key_id: Id::new(now, dice),
        name: wanted.name.to_owned(),
        environment: wanted.environment.to_owned(),
        scope: wanted.scope.to_owned(),
        prefix: drawn.prefix,
        hash: drawn.hash,
    };
    Ok((store.create_key(new, actor, now)?, drawn.text))
}

/// `POST /v1/keys/{id}/rotate`
pub fn rotate(request: &Request<'_>) -> Result<Answer> {
    let key_id = id(request)?;
    let drawn = draw(request.api.dice());
    let row = request
        .store()
        .rotate_key(
            key_id,
            drawn.prefix,
            drawn.hash,
            request.actor(),
            request.now(),
        )?
        .ok_or_else(|| Error::not_found(NO_KEY))?;
    Ok(Answer::Now(Reply::json(200, &with_text(&row, &drawn.text))))
}

/// `DELETE /v1/keys/{id}`
pub fn revoke(request: &Request<'_>) -> Result<Answer> {
    let row = request
        .store()
        .revoke_key(id(request)?, request.actor(), request.now())?
        .ok_or_else(|| Error::not_found(NO_KEY))?;
    Ok(Answer::Now(Reply::json(200, &shown(&row))))
}

fn id(request: &Request<'_>) -> Result<Id> {
    Id::parse(request.param(0), "key_").ok_or_else(|| Error::not_found(NO_KEY))
}

fn with_text<'a>(row: &'a KeyRow, text: &'a str) -> NewApiKey<'a> {
    NewApiKey {
        row: shown(row),
        key: text,
    }
}

fn shown(row: &KeyRow) -> ApiKey<'_> {
    ApiKey {
        id: row.key_id.prefixed("key_"),
        name: &row.name,
        environment: &row.environment,
        scope: &row.scope,
        status: match row.revoked_at {
            Some(_) => "revoked",
            None => "active",
        },
        prefix: &row.prefix,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    }
}

#[cfg(test)]
mod tests;
