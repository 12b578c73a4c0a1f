//! The approval page: a person opens the link of a message, reads the question, and answers it, once.
//!
//! `GET` and `HEAD` change nothing, whoever sends them: mail scanners, previews, browsers that fetch ahead. `POST`
//! decides, with a token from the page's own form. Owns which page is shown when, and its headers; the page itself is
//! below. Tokens are never logged: logs show the route's pattern.

mod fields;
mod form;
mod markdown;
mod page;
mod words;

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::Markup;
use sha2::{Digest, Sha256};

use crate::api::Request;
use crate::api::approve::fields::mistakes;
use crate::api::approve::page::{Asked, Done, Entered, Line, Message, STYLE, Wrong};
use crate::api::approve::words::Words;
use crate::api::call::{Answer, Reply};
use crate::error::Result;
use crate::flow::answer::{Offer, Offered, read_answer, shown};
use crate::flow::approval::{self, ApprovalStatus};
use crate::store::approvals::{Answered, Approval, Decide, Decided, NOT_ASKED, Person};
use crate::store::audit::Actor;
use crate::store::links::{Fresh, LinkView};
use crate::store::members::Member;

/// The page's path.
pub const PATTERN: &str = "/approve/{token}";

/// How an answer came that was given on the page.
const VIA: &str = "link";

/// How one came by a link that is nobody's in particular.
const VIA_OPEN: &str = "open link";

/// The most characters of the name that someone gives where anyone may answer.
const NAME: usize = 100;

/// How many characters a token has: 32 bytes, base64url.
const TOKEN: usize = 43;

/// The path of the page of a link.
pub fn path(token: &str) -> String {
    PATTERN.replace("{token}", token)
}

/// `GET /approve/{token}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let Some(visit) = Visit::of(request)? else {
        return Ok(unknown(request));
    };
    let head = &request.call.head;
    if head.method == "GET" && !form::is_prefetch(head) {
        let address = request.actor().address;
        request
            .store()
            .note_view(visit.link.hash, address, request.now());
    }
    let found = request.query();
    let query = found.one("q").unwrap_or_default();
    Ok(visit.page(200, query, &Entered::default(), &[]))
}

/// `POST /approve/{token}`
pub fn answer(request: &Request<'_>) -> Result<Answer> {
    let Some(visit) = Visit::of(request)? else {
        return Ok(unknown(request));
    };
    if form::is_foreign(&request.call.head, request.api.public_url()) {
        return visit.forged("the answer came from another site");
    }
    let entered = form::fields(request.call)?;
    if !form::is_ours(&visit.form_token, &entered) {
        return visit.forged("the form's token is wrong");
    }
    if !entered.one("again").is_empty() {
        return visit.again();
    }
    if visit.link.is_expired {
        visit.note("the link has expired")?;
        return Ok(visit.expired(410, &entered));
    }
    visit.decide(&entered)
}

/// Whether a request is of the page, whatever its link.
pub fn is_page(path: &str) -> bool {
    let head = PATTERN.split('{').next().unwrap_or_default();
    path.starts_with(head)
}

/// What the page says to an answer that is over the server's limit, which was not read, so that only the browser has it.
pub fn too_large(languages: &str) -> Reply {
    let words = words::accepted(Some(languages));
    page_of(
        413,
        page::message(&Message {
            words,
            title: words.refused_title,
            texts: &[words.too_large],
            kept: &[],
            fresh: None,
            back: None,
        }),
    )
}

/// A link that leads somewhere, and whoever follows it.
struct Visit<'a> {
    request: &'a Request<'a>,
    link: LinkView,
    token: &'a str,
    form_token: String,
    words: &'static Words,
}

impl<'a> Visit<'a> {
    fn of(request: &'a Request<'a>) -> Result<Option<Visit<'a>>> {
        let token = request.param(0);
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.len() != TOKEN || !token.bytes().all(known) {
            return Ok(None);
        }
        let Some(link) = request.store().link(token, request.now())? else {
            return Ok(None);
        };
        let key = request.store().instance_key();
        Ok(Some(Visit {
            form_token: form::token(key, &link.hash, link.approval.approval_id),
            words: match &link.member {
                Some(member) => words::of(&member.language),
                None => accepted(request),
            },
            request,
            link,
            token,
        }))
    }

    /// Who is named in the audit.
    fn actor(&self) -> Actor {
        let whose = self
            .link
            .member
            .as_ref()
            .map_or("an administrator", Member::known_as);
        Actor {
            name: format!("link of {whose}"),
            address: self.request.actor().address,
        }
    }

    /// Notes what was refused.
    fn note(&self, why: &'static str) -> Result<()> {
        let (store, now) = (self.request.store(), self.request.now());
        store.note_refusal(&self.link, why, self.actor(), now)
    }

    fn message(&self, status: u16, title: &str, texts: &[&str]) -> Answer {
        reply(
            status,
            page::message(&Message {
                words: self.words,
                title,
                texts,
                kept: &[],
                fresh: None,
                back: None,
            }),
        )
    }

    /// An answer that did not come from this page's form.
    fn forged(&self, why: &'static str) -> Result<Answer> {
        self.note(why)?;
        Ok(self.refused(403, self.words.forged))
    }

    /// An answer that cannot be read, and the way back to the question.
    fn refused(&self, status: u16, text: &str) -> Answer {
        reply(
            status,
            page::message(&Message {
                words: self.words,
                title: self.words.refused_title,
                texts: &[text],
                kept: &[],
                fresh: None,
                back: Some(self.token),
            }),
        )
    }

    /// Nothing of the question, and the offer of a fresh link. What was sent in vain is given back to who sent it.
    fn expired(&self, status: u16, entered: &Entered) -> Answer {
        let words = self.words;
        let is_sent = self.link.member.is_some();
        let how = if is_sent {
            words.expired
        } else {
            words.expired_own
        };
        let late = entered.is_some().then_some(words.expired_while);
        let texts: Vec<&str> = late.into_iter().chain([how]).collect();
        let typed = entered.0.iter().filter(|(name, text)| {
            let is_text = matches!(name.as_str(), "text" | "comment") || name.starts_with("field.");
            is_text && !text.trim().is_empty()
        });
        reply(
            status,
            page::message(&Message {
                words,
                title: words.expired_title,
                texts: &texts,
                kept: &typed.map(|(_, text)| text.clone()).collect::<Vec<_>>(),
                fresh: is_sent.then_some((self.token, self.form_token.as_str())),
                back: None,
            }),
        )
    }

    /// A fresh link, for whoever the expired one was sent to.
    fn again(&self) -> Result<Answer> {
        if !self.link.is_expired {
            return Ok(see_other(self.token));
        }
        let (store, words) = (self.request.store(), self.words);
        let fresh = store.fresh_link(self.token, self.actor(), self.request.now())?;
        Ok(match fresh {
            Fresh::Sent => self.message(200, words.sent_title, &[words.sent]),
            Fresh::TooMany => self.message(429, words.too_many_title, &[words.too_many]),
            Fresh::Closed => self.message(200, words.closed_title, &[words.closed]),
            Fresh::Unknown => unknown(self.request),
        })
    }

    /// The answer of this person, and what becomes of it.
    fn decide(&self, entered: &Entered) -> Result<Answer> {
        let approval = &self.link.approval;
        let read = read_answer(&approval.ask, Offered::Form(&entered.0));
        let wrong = match (read, self.person(entered)) {
            (Ok(offer), Ok(person)) => return self.put(person, offer),
            (Ok(_), Err(wrong)) => vec![wrong],
            (Err(misfit), person) => {
                let mut all = mistakes(self.words, &approval.ask, entered, &misfit);
                all.extend(person.err());
                all
            }
        };
        // What does not fit is at least otherwise than what stands.
        Ok(match self.is_answered() {
            true => self.done(409, approval, true),
            false => self.page(400, entered.one("q"), entered, &wrong),
        })
    }

    fn put(&self, person: Person, offer: Offer) -> Result<Answer> {
        let decide = Decide {
            approval_id: self.link.approval.approval_id,
            offer,
            via: match person {
                Person::Anyone(_) => VIA_OPEN.to_owned(),
                Person::Member(_) | Person::Named(_) => VIA.to_owned(),
            },
            key: None,
            link: Some(self.link.hash),
            person,
            address: self.request.actor().address,
        };
        let decided = self.request.store().decide(decide, self.request.now())?;
        Ok(match decided {
            Decided::Stands(_) | Decided::Counted(_) => see_other(self.token),
            Decided::Same(approval) => self.done(200, &approval, false),
            Decided::Taken(approval) => self.done(409, &approval, true),
            Decided::Refused(_, why) => {
                let words = self.words;
                let text = if why == NOT_ASKED {
                    words.not_asked
                } else {
                    words.requester
                };
                self.message(403, words.refused_title, &[text])
            }
            Decided::Unknown => unknown(self.request),
        })
    }

    /// Who answers: whose link it is, or who says their name.
    fn person(&self, entered: &Entered) -> Result<Person, Wrong> {
        if let Some(member) = &self.link.member {
            return Ok(Person::Member(member.member_id));
        }
        let name = entered.one("by").trim();
        match name.chars().count() {
            1..=NAME => Ok(Person::Anyone(name.to_owned())),
            _ => Err(Wrong {
                field: "by".to_owned(),
                text: self.words.wrong_name.to_owned(),
            }),
        }
    }

    /// Whose answers count as this person's own.
    fn own(&self) -> Option<&Answered> {
        let member = self.link.member.as_ref()?;
        self.link
            .approval
            .answer_of(&member.member_id.prefixed("mem_"))
    }

    /// Whether there is nothing left to answer for this person.
    fn is_answered(&self) -> bool {
        self.link.approval.status != ApprovalStatus::Pending || self.own().is_some()
    }

    /// The page of the link as it stands.
    fn page(&self, status: u16, query: &str, entered: &Entered, wrong: &[Wrong]) -> Answer {
        if self.link.is_expired {
            return self.expired(status, entered);
        }
        let approval = &self.link.approval;
        if self.is_answered() {
            return self.done(status, approval, false);
        }
        let place = format!("{}/{}", approval.deployment, approval.variant);
        let is_barred = self
            .link
            .member
            .as_ref()
            .is_some_and(|member| is_requester(approval, member));
        reply(
            status,
            page::question(&Asked {
                words: self.words,
                ask: &approval.ask,
                place: &place,
                member: self.link.member.as_ref().map(|member| member.name.as_str()),
                token: self.token,
                form_token: &self.form_token,
                now: self.request.now(),
                expires_at: approval.expires_at,
                given: approval.answers.len(),
                barred: is_barred.then_some(self.words.requester),
                query: &query.chars().take(200).collect::<String>(),
                entered,
                wrong,
            }),
        )
    }

    /// What was decided, or what this person has said so far.
    fn done(&self, status: u16, approval: &Approval, is_taken: bool) -> Answer {
        let is_open = approval.status == ApprovalStatus::Pending;
        let person = self
            .link
            .member
            .as_ref()
            .map(|member| member.member_id.prefixed("mem_"));
        let is_own = |one: &Answered| {
            person
                .as_ref()
                .is_some_and(|own| one.given.person == *own || one.hand == *own)
        };
        let line = |one: &Answered| Line {
            by: one.given.by.clone(),
            answer: shown(&approval.ask, &one.given.answer),
            form: match &one.given.answer {
                approval::Answer::Form(form) => form.clone().into_iter().collect(),
                _ => Vec::new(),
            },
            comment: one.given.comment.clone(),
            at: one.at,
            is_own: is_own(one),
        };
        // While it is open, nobody is swayed by what others have said.
        let told = approval
            .answers
            .iter()
            .filter(|one| !is_open || is_own(one));
        reply(
            status,
            page::done(&Done {
                words: self.words,
                ask: &approval.ask,
                status: approval.status,
                decided_at: approval.decided_at,
                answers: told.map(line).collect(),
                is_taken,
            }),
        )
    }
}

/// Whether this member asked for the run, and may not answer therefore. The store judges it again.
fn is_requester(approval: &Approval, member: &Member) -> bool {
    let id = member.member_id.prefixed("mem_");
    let names = [
        Some(id.as_str()),
        Some(&member.name),
        member.email.as_deref(),
    ];
    let requester = approval
        .requester
        .as_deref()
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    approval.ask.not_requester
        && !requester.is_empty()
        && names
            .into_iter()
            .flatten()
            .any(|name| name.trim().to_lowercase() == requester)
}

/// The words of the languages that the browser asks for.
fn accepted(request: &Request<'_>) -> &'static Words {
    words::accepted(request.call.head.header("accept-language"))
}

/// The 404 of a link that leads nowhere, or nowhere any more.
fn unknown(request: &Request<'_>) -> Answer {
    let words = accepted(request);
    reply(
        404,
        page::message(&Message {
            words,
            title: words.unknown_title,
            texts: &[words.unknown],
            kept: &[],
            fresh: None,
            back: None,
        }),
    )
}

/// What a browser may do with the page: show it, with its own style, and send its form back here.
fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        )
    })
}

fn reply(status: u16, page: Markup) -> Answer {
    Answer::Now(page_of(status, page))
}

fn page_of(status: u16, page: Markup) -> Reply {
    guarded(Reply {
        status,
        headers: vec![("Content-Type", "text/html; charset=utf-8".to_owned())],
        body: page.into_string().into_bytes(),
    })
}

/// Back to the page, which shows what became of it: to load it again sends nothing again.
fn see_other(token: &str) -> Answer {
    let reply = Reply {
        status: 303,
        headers: Vec::new(),
        body: Vec::new(),
    };
    // Behind the last slash of the page's own address, whatever a proxy has made of what is before it.
    Answer::Now(guarded(reply).header("Location", token))
}

/// The headers of every answer: the address is a secret, and so is what the page says.
fn guarded(reply: Reply) -> Reply {
    reply
        .header("Content-Security-Policy", policy())
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-store")
        .header("X-Content-Type-Options", "nosniff")
        .header("X-Frame-Options", "DENY")
        .header("X-Robots-Tag", "noindex, nofollow")
}

#[cfg(test)]
mod tests;
