//! E-mail: what a mail server is, and the mail that is handed to it.
//!
//! Owns the settings of the server, the message's form, and how what became of it is told. The line is the same as that
//! of HTTP: resolved by our pool, judged by our guard, connected to what was judged, cut by a stop, and under one
//! deadline from the name to the last reply, however slowly a server drips. No message of ours holds the password.

mod session;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{Address, Message};
use url::Url;

use super::call::{self, Call, Target};
use super::guard::Guard;
use super::resolve::Pool;
use super::tls::Trust;
use super::{Exchange, Mail, Purpose, Response, mask};
use crate::bell::Stop;
use crate::flow::hosts::canonical;
use crate::flow::step::ErrorClass;
use session::{End, Reply, converse};

/// How much of a reply is kept.
const KEEP: usize = 32 << 10;

/// When the line is made private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Privacy {
    /// Never.
    None,
    /// By STARTTLS, if the server offers it.
    Optional,
    /// By STARTTLS, or not at all.
    Required,
    /// From the first byte.
    Wrapped,
}

/// The settings that a mail server is made from, as they were written.
#[derive(Clone, Copy, Default)]
pub struct MailSettings<'a> {
    /// `smtp_url`.
    pub url: &'a str,
    /// `smtp_password`.
    pub password: Option<&'a str>,
    /// `mail_from`.
    pub from: Option<&'a str>,
    /// `mail_reply_to`.
    pub reply_to: Option<&'a str>,
}

/// The mail server, and in whose name it is spoken to.
#[derive(Clone)]
pub struct MailServer {
    host: String,
    port: u16,
    privacy: Privacy,
    /// User and password.
    login: Option<(String, String)>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl MailServer {
    /// Reads the settings. The error names the one that is wrong, and says what was expected; it repeats no secret.
    pub fn read(settings: MailSettings<'_>) -> Result<MailServer, (&'static str, String)> {
        let at = |name: &'static str| move |why: String| (name, why);
        let (host, port, privacy, user) = read_url(settings.url).map_err(at("smtp_url"))?;
        let login = match (user, settings.password) {
            (Some(user), Some(password)) => Some((user, password.to_owned())),
            (None, None) => None,
            (Some(_), None) => {
                let why = "it is not set, but smtp_url names a user".to_owned();
                return Err(("smtp_password", why));
            }
            (None, Some(_)) => {
                let why = "it names no user, but smtp_password is set: expected smtp://USER@HOST";
                return Err(("smtp_url", why.to_owned()));
            }
        };
        let from = settings.from.ok_or_else(|| {
            let why =
                "it is not set, but smtp_url is: expected an address such as skep@example.com";
            ("mail_from", why.to_owned())
        })?;
        Ok(MailServer {
            host,
            port,
            privacy,
            login,
            from: mailbox(from).map_err(at("mail_from"))?,
            reply_to: settings
                .reply_to
                .map(mailbox)
                .transpose()
                .map_err(at("mail_reply_to"))?,
        })
    }

    /// `smtp://HOST:PORT`, without the user: by this its deliveries are told from others.
    pub fn origin(&self) -> String {
        match self.host.contains(':') {
            true => format!("smtp://[{}]:{}", self.host, self.port),
            false => format!("smtp://{}:{}", self.host, self.port),
        }
    }

    /// What an operator should hear at the start.
    pub fn warning(&self) -> Option<String> {
        let local = self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let clear = self.privacy == Privacy::None && !local;
        let what = match self.login {
            Some(_) => "its password and approval links travel",
            None => "approval links travel",
        };
        clear.then(|| format!("smtp_url says tls=none: {what} to {} in clear", self.host))
    }

    /// Hands one mail over. The exchange's response is the reply that decided.
    pub(super) fn send(
        &self,
        mail: &Mail<'_>,
        guard: &Arc<Guard>,
        pool: &Pool,
        trust: &Trust,
        stop: &Stop,
    ) -> Exchange {
        let message = match self.compose(mail) {
            Ok(message) => message,
            Err(why) => {
                return Exchange {
                    error: Some((ErrorClass::Step, why)),
                    ..Exchange::default()
                };
            }
        };
        let target = Target {
            host: self.host.clone(),
            literal: self.host.parse().ok(),
            port: self.port,
            purpose: Purpose::Notifications,
            public_only: false,
        };
        let (end, call) = call::within(target, guard, mail.deadline, stop, || {
            converse(self, &message, pool, trust)
        });
        let mut exchange = self.told(end, call);
        mask(&mut exchange, &self.secrets());
        exchange
    }

    fn told(&self, end: Result<Reply, End>, call: Option<Call>) -> Exchange {
        let Some(call) = call else {
            return Exchange {
                error: Some((ErrorClass::Step, "the exchange was lost".to_owned())),
                ..Exchange::default()
            };
        };
        let (response, error) = match end {
            Ok(reply) => (Some(kept(&reply)), None),
            Err(End::Refused(what, reply)) => {
                let why = format!("{} refused {what}: {}", self.host, reply.line());
                (Some(kept(&reply)), Some((ErrorClass::SmtpStatus, why)))
            }
            Err(End::Broken) => {
                let unknown = || (ErrorClass::Reset, "the exchange failed".to_owned());
                (None, Some(call.fault.clone().unwrap_or_else(unknown)))
            }
        };
        Exchange {
            response,
            error,
            timings: call.timings,
            remote_address: call.remote,
            duration_ms: 0,
        }
    }

    /// In every form in which they were said to the server.
    fn secrets(&self) -> Vec<String> {
        let Some((user, password)) = &self.login else {
            return Vec::new();
        };
        let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        vec![plain, BASE64_STANDARD.encode(password), password.clone()]
    }

    fn compose(&self, mail: &Mail<'_>) -> Result<Message, String> {
        let to: Address = address(mail.to)?;
        let name = Some(in_line(mail.name)).filter(|name| !name.is_empty());
        let message_id = format!("<{}@{}>", in_line(mail.id), self.from.email.domain());
        let header = |name: &'static str, value: &str| {
            HeaderValue::new(HeaderName::new_from_ascii_str(name), in_line(value))
        };
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name, to))
            .subject(in_line(mail.subject))
            .message_id(Some(message_id))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"))
            .raw_header(header("Content-Language", mail.language));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        builder
            .multipart(MultiPart::alternative_plain_html(
                mail.text.to_owned(),
                mail.html.to_owned(),
            ))
            .map_err(|why| format!("the mail cannot be written: {why}"))
    }
}

fn kept(reply: &Reply) -> Response {
    let body = reply.text.trim_end().as_bytes();
    Response {
        status: reply.code,
        headers: Vec::new(),
        body: body[..body.len().min(KEEP)].to_vec(),
        bytes_seen: reply.text.len() as u64,
        truncated: body.len() > KEEP,
    }
}

/// A header's value is one line, whatever it was made from.
fn in_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// A sender: `skep@example.com`, or with a name, `Skep <skep@example.com>`.
fn mailbox(text: &str) -> Result<Mailbox, String> {
    let wrong = || {
        format!(
            "expected an address such as skep@example.com or Skep <skep@example.com>, got {text:?}"
        )
    };
    if text.chars().any(char::is_control) {
        return Err(wrong());
    }
    let read: Mailbox = text.parse().map_err(|_| wrong())?;
    let email = address(read.email.as_ref())?;
    Ok(Mailbox::new(read.name, email))
}

/// An address, its domain in the form that every server knows.
fn address(text: &str) -> Result<Address, String> {
    let wrong = || format!("{text:?} is no e-mail address");
    let read: Address = text.trim().parse().map_err(|_| wrong())?;
    if read.domain().is_ascii() {
        return Ok(read);
    }
    let domain = url::Host::parse(read.domain()).map_err(|_| wrong())?;
    Address::new(read.user(), domain.to_string()).map_err(|_| wrong())
}

type Place = (String, u16, Privacy, Option<String>);

fn read_url(text: &str) -> Result<Place, String> {
    let wrong = |what: &str| {
        format!(
            "expected {what}, such as smtp://user@smtp.example:587 or smtps://user@smtp.example:465"
        )
    };
    // What is wrong is not repeated: someone may have written a password into it.
    let url = Url::parse(text).map_err(|_| wrong("a URL"))?;
    let (port, mut privacy) = match url.scheme() {
        "smtp" => (587, Privacy::Required),
        "smtps" => (465, Privacy::Wrapped),
        _ => return Err(wrong("smtp:// or smtps://")),
    };
    if url.password().is_some() {
        return Err("expected no password in the URL: it belongs into smtp_password".to_owned());
    }
    let host = canonical(url.host_str().unwrap_or_default());
    if host.is_empty() || host.contains('%') {
        return Err(wrong("a host"));
    }
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err(wrong("nothing behind the host and port but ?tls="));
    }
    for (name, value) in url.query_pairs() {
        privacy = match (url.scheme(), &*name, &*value) {
            ("smtp", "tls", "none") => Privacy::None,
            ("smtp", "tls", "optional") => Privacy::Optional,
            ("smtp", "tls", "required") => Privacy::Required,
            ("smtps", ..) => return Err(wrong("nothing behind the host and port of smtps")),
            _ => return Err(wrong("?tls=none, ?tls=optional or ?tls=required")),
        };
    }
    let user = match url.username() {
        "" => None,
        user => Some(unescaped(user).ok_or_else(|| wrong("a user name in UTF-8"))?),
    };
    if user.iter().any(|user| user.chars().any(char::is_control)) {
        return Err(wrong("a user name without control characters"));
    }
    Ok((host, url.port().unwrap_or(port), privacy, user))
}

/// `me%40example.com` is `me@example.com`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}
