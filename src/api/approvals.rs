//! Approvals: listed, shown with what was asked and answered, decided, told again, handed on (contract, section 7).

use serde_json::{Map, Value, json};

use crate::api::Request;
use crate::api::approve;
use crate::api::call::{Answer, Reply};
use crate::api::door::Access;
use crate::api::door::Scope;
use crate::api::fields;
use crate::api::receipt::receipt;
use crate::api::wire::{
    Approval, ApprovalAnswer, ApprovalLink, ApprovalRecipient, PersonAsked, WholeApproval,
};
use crate::error::{Code, Error, Result};
use crate::flow::answer::{Offered, read_answer, shown};
use crate::flow::approval::ApprovalStatus;
use crate::flow::names::excerpt;
use crate::id::Id;
use crate::store::approvals::{self, ApprovalFilter, Decide, Decided, Person, Reassigned};
use crate::store::members::Member;
use crate::time::parse_duration;

/// The 404 of an approval.
const NO_APPROVAL: &str = "Approval not found";

/// The most characters of a name or address.
const NAME: usize = 320;

/// `GET /v1/approvals`
pub fn list(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let page = query.page()?;
    let words: Vec<&str> = ApprovalStatus::ALL.iter().map(|one| one.as_str()).collect();
    let filter = ApprovalFilter {
        status: query.words("status", &words, ApprovalStatus::parse)?,
        run: match query.one("run") {
            None => None,
            Some(text) => Some(Id::parse(text, "req_").ok_or_else(|| {
                Error::invalid("/run", "run must be a request id (req_…) or a run id")
            })?),
        },
        recipient: query.one("recipient").map(str::to_owned),
    };
    let paged = request.store().list_approvals(&filter, page)?;
    query.list(paged.rows.iter().map(row).collect(), paged.next)
}

/// `GET /v1/approvals/{id}`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let approval = find(request)?;
    answered(request, 200, &approval)
}

/// `POST /v1/approvals/{id}/decide`
pub fn decide(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let approval = find(request)?;
    let by = fields::text(&body, "by", NAME)?.map(str::trim);
    let by = by
        .filter(|by| !by.is_empty())
        .ok_or_else(|| fields::missing("by"))?;
    let person = person(request, &approval, by)?;
    let offer = read_answer(&approval.ask, Offered::Body(&body))?;
    let actor = request.actor();
    let decide = Decide {
        approval_id: approval.approval_id,
        person,
        offer,
        via: actor.name,
        key: request.admission.who.key_id(),
        link: None,
        address: actor.address,
    };
    match request.store().decide(decide, request.now())? {
        Decided::Stands(approval) | Decided::Counted(approval) | Decided::Same(approval) => {
            answered(request, 200, &approval)
        }
        Decided::Taken(approval) => Err(already_decided(request, &approval)?),
        Decided::Refused(_, why) => Err(refused(why)),
        Decided::Unknown => Err(Error::not_found(NO_APPROVAL)),
    }
}

/// `POST /v1/approvals/{id}/resend`
pub fn resend(request: &Request<'_>) -> Result<Answer> {
    request.body()?;
    let id = find(request)?.approval_id;
    let approval = request.store().resend(id, request.actor(), request.now())?;
    let approval = approval.ok_or_else(|| Error::not_found(NO_APPROVAL))?;
    match approval.status {
        ApprovalStatus::Pending => answered(request, 202, &approval),
        _ => Err(already_decided(request, &approval)?),
    }
}

/// `POST /v1/approvals/{id}/reassign`
pub fn reassign(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let approval = find(request)?;
    let from = member(request, &body, "from")?.map(|member| member.member_id);
    let to = member(request, &body, "to")?.ok_or_else(|| fields::missing("to"))?;
    let (id, now) = (approval.approval_id, request.now());
    let reassigned = request
        .store()
        .reassign(id, from, to.member_id, request.actor(), now)?;
    let wrong = |field: &str, message: &str| Err(Error::invalid(fields::pointer(field), message));
    match reassigned {
        Reassigned::Done(approval) => answered(request, 200, &approval),
        Reassigned::Closed(approval) => Err(already_decided(request, &approval)?),
        Reassigned::NoMember => wrong("to", "to must be an active member"),
        Reassigned::NotAsked => wrong(
            "from",
            "from must name one of those who are asked; it may be left out where one person is",
        ),
        Reassigned::HasAnswered => wrong("from", "from has answered already"),
        Reassigned::AlreadyAsked => wrong("to", "to is asked already"),
        Reassigned::ToAnswered => wrong("to", "to has answered already"),
        Reassigned::ToRequester => wrong("to", "to asked for the run and may not answer"),
        Reassigned::Unknown => Err(Error::not_found(NO_APPROVAL)),
    }
}

/// `POST /v1/approvals/{id}/link`
pub fn link(request: &Request<'_>) -> Result<Answer> {
    let body = request.body()?;
    let approval = find(request)?;
    let ttl = fields::text(&body, "ttl", 20)?
        .map(parse_duration)
        .transpose();
    let ttl = ttl.map_err(|why| Error::invalid("/ttl", format!("ttl: {why}")))?;
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Error::invalid("/ttl", "ttl must be longer than nothing"));
    }
    let asked: Vec<&Member> = approval.asked().map(|one| &one.member).collect();
    let member = match (member(request, &body, "recipient")?, asked.as_slice()) {
        (Some(member), _) => Some(member.member_id),
        (None, []) => None,
        (None, [only]) => Some(only.member_id),
        (None, _) => {
            let message = "recipient must name one of those who are asked: there is more than one";
            return Err(Error::invalid("/recipient", message));
        }
    };
    let (id, now) = (approval.approval_id, request.now());
    let minted = request
        .store()
        .mint_link(id, member, request.actor(), ttl, now)?;
    let minted = minted.ok_or_else(|| {
        Error::invalid(
            "/recipient",
            "recipient must name one of those who are asked",
        )
    })?;
    let link = ApprovalLink {
        url: format!(
            "{}{}",
            request.api.public_url(),
            approve::path(&minted.token)
        ),
        expires_at: minted.expires_at,
    };
    Ok(Answer::Now(Reply::json(201, &link)))
}

/// The approval that the path names.
fn find(request: &Request<'_>) -> Result<approvals::Approval> {
    let found = match Id::parse(request.param(0), approvals::PREFIX) {
        Some(id) => request.store().approval(id)?,
        None => None,
    };
    found.ok_or_else(|| Error::not_found(NO_APPROVAL))
}

/// The active member whom a field of the body names.
fn member(request: &Request<'_>, body: &Map<String, Value>, name: &str) -> Result<Option<Member>> {
    let Some(text) = fields::text(body, name, NAME)? else {
        return Ok(None);
    };
    match request.store().member_called(text.trim())? {
        Some(member) => Ok(Some(member)),
        None => Err(Error::invalid(
            fields::pointer(name),
            format!(
                "{name} must be an active member's e-mail address, id or name, got {:?}",
                excerpt(text)
            ),
        )),
    }
}

/// Who answers: where somebody is asked, one of them, or who stands in for one.
fn person(request: &Request<'_>, approval: &approvals::Approval, by: &str) -> Result<Person> {
    let named = request.store().member_called(by)?;
    if approval.is_open_to_all() {
        return Ok(Person::Named(by.to_owned()));
    }
    let now = request.now();
    let may = |member: &Member| {
        approval.asked().any(|one| {
            let stands_in = one.member.delegate.filter(|(_, until)| now < *until);
            one.member.id == member.id || stands_in.map(|(id, _)| id) == Some(member.member_id)
        })
    };
    match named.filter(may) {
        Some(member) => Ok(Person::Member(member.member_id)),
        None => Err(Error::invalid(
            "/by",
            format!(
                "by must name one of those who are asked ({}), got {:?}",
                approval.asked_text(),
                excerpt(by)
            ),
        )),
    }
}

/// The 409, which carries the standing decision.
fn already_decided(request: &Request<'_>, approval: &approvals::Approval) -> Result<Error> {
    let whole = serde_json::to_value(whole(request, approval)?).map_err(Error::internal)?;
    let error = match approval.status {
        // The question is open still; this person has answered it.
        ApprovalStatus::Pending => Error::new(
            Code::AlreadyDecided,
            "This person has answered otherwise already; the first answer stands.",
        ),
        _ => Error::of(Code::AlreadyDecided),
    };
    Ok(error.with("approval", whole))
}

/// The 403 of someone who may decide approvals, but not this one.
fn refused(why: &str) -> Error {
    let mut error = Access::Key(Scope::Approve).refusal();
    error.message = format!("This answer is not accepted: {why}.");
    error.details = None;
    error
}

fn answered(request: &Request<'_>, status: u16, approval: &approvals::Approval) -> Result<Answer> {
    Ok(Answer::Now(Reply::json(status, &whole(request, approval)?)))
}

/// An approval without its nested lists.
fn row(approval: &approvals::Approval) -> Approval<'_> {
    let ask = &approval.ask;
    Approval {
        id: approval.approval_id.prefixed(approvals::PREFIX),
        status: approval.status.as_str(),
        request_id: approval.run_id.request_id(),
        run_id: approval.run_id,
        deployment: &approval.deployment,
        variant: &approval.variant,
        version: approval.version,
        step: &approval.path,
        mode: ask.mode.as_str(),
        question: &ask.question,
        recipient: approval.asked_text(),
        need: ask.need,
        answered: approval.answers.len(),
        channel: ask.channel.as_str(),
        requester: approval.requester.as_deref(),
        created_at: approval.created_at,
        expires_at: approval.expires_at,
        reminder_at: approval.reminders_due,
        decided_at: approval.decided_at,
    }
}

/// An approval as it is shown alone.
fn whole<'a>(
    request: &Request<'_>,
    approval: &'a approvals::Approval,
) -> Result<WholeApproval<'a>> {
    let recipients = approval.recipients.iter().map(|one| ApprovalRecipient {
        member: PersonAsked {
            id: one.member.member_id.prefixed("mem_"),
            name: &one.member.name,
            email: one.member.email.as_deref(),
        },
        because: &one.because,
        since: one.since,
        until: one.until,
    });
    let answers = approval.answers.iter().map(|one| answer(approval, one));
    Ok(WholeApproval {
        approval: row(approval),
        ask: serde_json::to_value(&*approval.ask).map_err(Error::internal)?,
        recipients: recipients.collect(),
        answers: answers.collect(),
        output: approval.output.as_ref(),
        receipt: receipt(request, approval),
    })
}

/// An answer, in words and as it was meant.
pub fn answer<'a>(
    approval: &approvals::Approval,
    one: &'a approvals::Answered,
) -> ApprovalAnswer<'a> {
    ApprovalAnswer {
        by: &one.given.by,
        via: &one.via,
        answer: json!(one.given.answer),
        shown: shown(&approval.ask, &one.given.answer),
        comment: one.given.comment.as_deref(),
        at: one.at,
    }
}
