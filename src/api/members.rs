//! Members: the people who may answer approvals. Added, changed, deleted.
//!
//! Owns what a member's fields may look like. What only the file knows (whose an address is, who can be a delegate),
//! the store judges.

use serde_json::{Map, Number, Value};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::fields;
use crate::api::wire::{self, DeletedMember};
use crate::error::{Error, Result};
use crate::flow::names::{excerpt, kind_of};
use crate::id::Id;
use crate::outbound::guard::parse_url;
use crate::store::members::{Member, MemberPatch, NewMember, PREFIX};
use crate::time::Timestamp;

/// The most characters of a name.
pub const NAME: usize = 200;

/// The most characters of an e-mail address (RFC 5321, as corrected).
pub const EMAIL: usize = 254;

/// The most characters of a language's tag.
pub const LANGUAGE: usize = 35;

/// The most characters of an inbox's URL.
pub const WEBHOOK: usize = 2_048;

/// The largest number of a Telegram chat, either way: what every JSON writer keeps exact.
pub const CHAT: i64 = 1 << 53;

/// The language of those who name none.
pub const ENGLISH: &str = "en";

const NO_MEMBER: &str = "Member not found";

/// `GET /v1/members`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let paged = request.store().members(query.page()?)?;
    let now = request.now();
    let rows = paged.rows.iter().map(|row| shown(row, now));
    query.list(rows.collect(), paged.next)
}

/// `GET /v1/members/{id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let member = request
        .store()
        .member(id(request)?)?
        .ok_or_else(|| Error::not_found(NO_MEMBER))?;
    answered(200, &member, request.now())
}

/// `POST /v1/members`
pub fn create(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let wanted = patch(request, &body)?;
    let now = request.now();
    let new = NewMember {
        member_id: Id::new(now, request.api.dice()),
        name: wanted.name.ok_or_else(|| fields::missing("name"))?,
        email: wanted.email.flatten(),
        telegram_chat: wanted.telegram_chat.flatten(),
        webhook_url: wanted.webhook_url.flatten(),
        language: wanted.language.unwrap_or_else(|| ENGLISH.to_owned()),
        active: wanted.active.unwrap_or(true),
        delegate: wanted.delegate.flatten(),
    };
    let member = request.store().put_member(new, request.actor(), now)?;
    answered(201, &member, now)
}

/// `PATCH /v1/members/{id}`: what is there is changed; null takes an address, a chat, an inbox or the delegate away.
pub fn change(request: &Request<'_>) -> Result<Answer> {
    let id = id(request)?;
    let body = request.body()?;
    let patch = patch(request, &body)?;
    let now = request.now();
    let member = request
        .store()
        .patch_member(id, patch, request.actor(), now)?
        .ok_or_else(|| Error::not_found(NO_MEMBER))?;
    answered(200, &member, now)
}

/// `DELETE /v1/members/{id}`
pub fn delete(request: &Request<'_>) -> Result<Answer> {
    let member = request
        .store()
        .delete_member(id(request)?, request.actor(), request.now())?
        .ok_or_else(|| Error::not_found(NO_MEMBER))?;
    Ok(Answer::Now(Reply::json(
        200,
        &DeletedMember {
            id: member.public_id(),
            name: &member.name,
            deleted: true,
        },
    )))
}

fn id(request: &Request<'_>) -> Result<Id> {
    Id::parse(request.param(0), PREFIX).ok_or_else(|| Error::not_found(NO_MEMBER))
}

fn answered(status: u16, member: &Member, now: Timestamp) -> Result<Answer> {
    Ok(Answer::Now(Reply::json(status, &shown(member, now))))
}

fn shown(member: &Member, now: Timestamp) -> wire::Member<'_> {
    wire::Member {
        id: member.public_id(),
        name: &member.name,
        email: member.email.as_deref(),
        telegram_chat: member.telegram_chat.as_deref(),
        webhook_url: member.webhook_url.as_deref(),
        language: &member.language,
        active: member.active,
        delegate: member.delegate_at(now).map(|(id, until)| wire::Delegate {
            member: id.prefixed(PREFIX),
            until,
        }),
        created_at: member.created_at,
    }
}

/// What a body says of a member. A null name, language or `active` counts as absent: nobody can be without.
fn patch(request: &Request<'_>, body: &Map<String, Value>) -> Result<MemberPatch> {
    Ok(MemberPatch {
        name: name(body)?,
        email: member(body, "email", email)?,
        telegram_chat: member(body, "telegram_chat", telegram_chat)?,
        webhook_url: member(body, "webhook_url", webhook_url)?,
        language: language(body)?,
        active: match fields::given(body, "active") {
            None => None,
            Some(Value::Bool(active)) => Some(*active),
            Some(other) => return Err(fields::wrong("active", "true or false", other)),
        },
        delegate: member(body, "delegate", |value| delegate(request, value))?,
    })
}

/// The member's new value; the outer `None`: it is not there; the inner: it is null.
fn member<T>(
    body: &Map<String, Value>,
    name: &str,
    read: impl FnOnce(&Value) -> Result<T>,
) -> Result<Option<Option<T>>> {
    match body.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => Ok(Some(Some(read(value)?))),
    }
}

fn name(body: &Map<String, Value>) -> Result<Option<String>> {
    match fields::text(body, "name", NAME)?.map(str::trim) {
        Some("") => Err(Error::invalid("/name", "name must not be empty")),
        name => Ok(name.map(str::to_owned)),
    }
}

fn email(value: &Value) -> Result<String> {
    let wrong = || {
        fields::wrong(
            "email",
            "one e-mail address, such as anna@example.com",
            value,
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    match text.split_once('@').filter(|_| is_email(text)) {
        // The file compares addresses without regard to case, but only in ASCII.
        Some((local, host)) if !host.is_ascii() => Ok(format!("{local}@{}", host.to_lowercase())),
        Some(_) => Ok(text.to_owned()),
        None => Err(wrong()),
    }
}

/// Whether a text is one plain address, as every mail server takes it: `atoms.with.dots@host.name`, without quotes,
/// comments, routes or a display name. The host may hold letters of any script.
fn is_email(text: &str) -> bool {
    let Some((local, host)) = text.split_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let sign = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        !part.is_empty() && part.chars().all(sign)
    };
    let label = |part: &str| {
        let is_long = part.len() > 63;
        let is_framed = part.starts_with('-') || part.ends_with('-');
        let sign = |c: char| c.is_alphanumeric() || c == '-';
        !part.is_empty() && !is_long && !is_framed && part.chars().all(sign)
    };
    text.chars().count() <= EMAIL
        && local.len() <= 64
        && local.split('.').all(atom)
        && host.split('.').all(label)
        && (host.is_ascii() || url::Host::parse(host).is_ok())
}

fn telegram_chat(value: &Value) -> Result<String> {
    let wrong = || {
        fields::wrong(
            "telegram_chat",
            "a chat's number, or @ and its public name",
            value,
        )
    };
    match value {
        Value::Number(number) => chat_number(number).ok_or_else(wrong),
        Value::String(text) if is_chat(text) => Ok(text.clone()),
        _ => Err(wrong()),
    }
}

/// A chat's number as text, however JSON writes it (`-100`, `-100.0`).
fn chat_number(number: &Number) -> Option<String> {
    let written = number.as_f64().filter(|number| number.fract() == 0.0);
    let exact = written.filter(|number| number.abs() <= CHAT as f64);
    let whole = number.as_i64().or(exact.map(|number| number as i64));
    let fits = whole.filter(|number| *number != 0 && (-CHAT..=CHAT).contains(number));
    fits.map(|number| number.to_string())
}

/// Whether a text is a chat's number, or `@` and a public name of 4 to 32 characters.
fn is_chat(text: &str) -> bool {
    if let Some(name) = text.strip_prefix('@') {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        return (4..=32).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(sign);
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    (1..=16).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An inbox's URL, judged in its form only: its address is judged when it is connected to. It is not repeated, because
/// its path is often a secret.
fn webhook_url(value: &Value) -> Result<String> {
    const FIELD: &str = "/webhook_url";
    let Value::String(text) = value else {
        let message = format!("webhook_url must be a text, got {}", kind_of(value));
        return Err(Error::invalid(FIELD, message));
    };
    let length = text.chars().count();
    if length > WEBHOOK {
        let message = format!("webhook_url must have at most {WEBHOOK} characters, got {length}");
        return Err(Error::invalid(FIELD, message));
    }
    match parse_url(text) {
        Ok(_) => Ok(text.clone()),
        Err(why) => Err(Error::invalid(
            FIELD,
            format!("webhook_url must be a valid URL: {why}"),
        )),
    }
}

/// A language's tag, its first part in lower case, as tags are looked up.
fn language(body: &Map<String, Value>) -> Result<Option<String>> {
    let Some(text) = fields::text(body, "language", LANGUAGE)? else {
        return Ok(None);
    };
    let (first, rest) = text.split_at(text.find('-').unwrap_or(text.len()));
    let is_language =
        (2..=8).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_alphabetic());
    let subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if is_language && rest.split('-').skip(1).all(subtag) {
        return Ok(Some(format!("{}{rest}", first.to_ascii_lowercase())));
    }
    Err(Error::invalid(
        "/language",
        format!(
            "language must be a tag such as en, de, es or pt-BR, got the text {:?}",
            excerpt(text)
        ),
    ))
}

/// `{member, until}`: who, by id, e-mail address or name, and until when.
fn delegate(request: &Request<'_>, value: &Value) -> Result<(Id, Timestamp)> {
    let Value::Object(body) = value else {
        return Err(fields::wrong(
            "delegate",
            "an object with member and until, or null",
            value,
        ));
    };
    let text = |name: &str| match fields::given(body, name) {
        None => Err(Error::invalid(
            format!("/delegate/{name}"),
            format!("Missing required field: delegate.{name}"),
        )),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong_delegate(name, "a text", kind_of(other))),
    };
    let (who, until) = (text("member")?, text("until")?);
    let until = Timestamp::parse(until).ok_or_else(|| {
        let came = format!("the text {:?}", excerpt(until));
        wrong_delegate("until", "a time such as 2027-01-01T00:00:00Z", &came)
    })?;
    if let Some(id) = Id::parse(who, PREFIX) {
        return Ok((id, until));
    }
    match request.store().member_called(who)? {
        Some(member) => Ok((member.member_id, until)),
        None => {
            let came = format!("the text {:?}", excerpt(who));
            let expected = "an active member's id, e-mail address or name";
            Err(wrong_delegate("member", expected, &came))
        }
    }
}

fn wrong_delegate(name: &str, expected: &str, came: &str) -> Error {
    Error::invalid(
        format!("/delegate/{name}"),
        format!("delegate.{name} must be {expected}, got {came}"),
    )
}

#[cfg(test)]
mod tests;
