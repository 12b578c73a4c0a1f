//! `/v1/session`: a browser shows a key once, and holds a cookie from then on.
//!
//! Owns what a cookie opens, and what must come with it: it opens what its key opens, now; and since browsers send it by
//! themselves, whatever may change something must say that the dashboard's own page asks for it. `Authorization` wins.

use std::sync::Arc;

use crate::api::call::{Answer, Head, Reply};
use crate::api::cookie::{CSRF, forbidden};
use crate::api::door::{Admission, Scope, Shown, Who};
use crate::api::sessions::{Hash, LIFE, Refused, Session, hash};
use crate::api::{Api, Request, fields, wire};
use crate::error::{Code, Error, Result};
use crate::time::Timestamp;

/// The route.
pub const PATTERN: &str = "/v1/session";

/// The most characters that a key may have.
pub const KEY: usize = 500;

/// The only type of body that is taken: no form of another site can be sent as that.
const TYPE: &str = "application/json";

/// `POST /v1/session`
pub fn create(request: &Request<'_>) -> Result<Answer> {
    let (api, head) = (request.api, &request.call.head);
    api.site.judge_origin_if_any(head)?;
    judge_type(head)?;
    let body = request.body()?;
    let key = fields::text(&body, "key", KEY)?.map(str::trim);
    let key = key
        .filter(|key| !key.is_empty())
        .ok_or_else(|| fields::missing("key"))?;
    let (key, now) = (hash(key), request.now());
    let who = api
        .failures
        .judge(head.peer, now, || api.known(&key))
        .map_err(told)?;
    let (token, session) = api.sessions.begin(key, api.dice(), now);
    let cookie = api.site.set_cookie(&token, LIFE);
    Ok(Answer::Now(
        shown(201, &who, Some(&session)).header("Set-Cookie", cookie),
    ))
}

/// `GET /v1/session`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let who = &request.admission.who;
    let session = match &request.admission.shown {
        Shown::Session(token) => {
            // It may have ended since the head was judged.
            let session = request.api.sessions.find(token, request.now());
            Some(session.ok_or_else(|| Error::of(Code::InvalidAccess))?)
        }
        Shown::Nothing | Shown::Key(_) => None,
    };
    Ok(Answer::Now(shown(200, who, session.as_deref())))
}

/// `DELETE /v1/session`
pub fn end(request: &Request<'_>) -> Result<Answer> {
    if let Shown::Session(token) = &request.admission.shown {
        request.api.sessions.end(token);
    }
    let reply = Reply {
        status: 204,
        headers: Vec::new(),
        body: Vec::new(),
    };
    let cookie = request.api.site.set_cookie("", LIFE);
    Ok(Answer::Now(reply.header("Set-Cookie", cookie)))
}

fn shown(status: u16, who: &Who, session: Option<&Session>) -> Reply {
    let body = wire::Session {
        name: who.name(),
        scope: who.scope().map_or("", Scope::as_str),
        expires_at: session.map(|session| session.expires_at),
        csrf: session.map(|session| session.csrf.as_str()),
    };
    Reply::json(status, &body)
}

fn judge_type(head: &Head) -> Result<()> {
    let sent = head.header("content-type").unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    match kind.eq_ignore_ascii_case(TYPE) {
        true => Ok(()),
        false => Err(Error::new(
            Code::MalformedBody,
            format!("The body must be sent as {TYPE}."),
        )),
    }
}

fn told(refused: Refused) -> Error {
    match refused {
        Refused::Wrong => Error::of(Code::InvalidAccess),
        Refused::TooOften(seconds) => {
            let message = "Too many wrong keys came from this address. Try again later.";
            let mut error = Error::new(Code::TooManyRequests, message);
            error.retry_after = Some(seconds);
            error
        }
    }
}

impl Api {
    /// Who is signed in with the cookie of that head.
    pub(super) fn signed_in(&self, head: &Head) -> Result<(Who, Shown)> {
        let refused = || Error::of(Code::InvalidAccess);
        let token = hash(self.site.token(head).ok_or_else(refused)?);
        let (who, session) = self
            .session_holder(&token, self.clock().now())
            .ok_or_else(refused)?;
        if !matches!(head.method.as_str(), "GET" | "HEAD") {
            self.site.judge_origin(head)?;
            judge_csrf(&session, head)?;
        }
        Ok((who, Shown::Session(token)))
    }

    /// Who holds the key of that session; a session whose key is no more ends with it.
    fn session_holder(&self, token: &Hash, now: Timestamp) -> Option<(Who, Arc<Session>)> {
        let session = self.sessions.find(token, now)?;
        let who = self.known(&session.key);
        if who.is_none() {
            self.sessions.end(token);
        }
        Some((who?, session))
    }

    /// Whether whoever was let in then would be still: the key is there and may the same, the session has not ended. For
    /// answers that take long. Takes no time: may be called anywhere.
    pub fn is_still_admitted(&self, admission: &Admission) -> bool {
        let who = match &admission.shown {
            Shown::Nothing => return true,
            Shown::Key(key) => self.known(key),
            Shown::Session(token) => self
                .session_holder(token, self.clock().now())
                .map(|(who, _)| who),
        };
        who.as_ref() == Some(&admission.who)
    }
}

/// Whether the page that asks has read its session: another site's cannot.
fn judge_csrf(session: &Session, head: &Head) -> Result<()> {
    let sent = head.header(CSRF).ok_or_else(|| {
        forbidden(
            "The header X-Skep-CSRF is missing: with a session's cookie, it repeats the csrf that GET /v1/session tells.",
        )
    })?;
    match session.is_csrf(sent) {
        true => Ok(()),
        false => Err(forbidden(
            "The header X-Skep-CSRF is not this session's: load the page again.",
        )),
    }
}

#[cfg(test)]
mod tests;
