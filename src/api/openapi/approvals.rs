//! What is said of approvals, and of their page.

use serde_json::{Value, json};

use crate::api::approve;
use crate::api::openapi::parameters::{
    APPROVAL_ID, CURSOR, FORMAT, LIMIT, LINK_TOKEN, SOME_ID, SOME_REQUEST, SOME_TIME, page_of,
    run_id, text, words,
};
use crate::api::openapi::{Answer, Body, Operation, Parameter, of, plain_text};
use crate::api::query::Listed;
use crate::api::wire::{Approval, ApprovalLink, WholeApproval};
use crate::error::Code;
use crate::flow::approval::ApprovalStatus;

const STATUS: Parameter = Parameter::new(
    "status",
    "In one of these states.",
    || {
        let all: Vec<&str> = ApprovalStatus::ALL.iter().map(|one| one.as_str()).collect();
        words(&all)
    },
    || json!(["pending"]),
)
.style("form", false);
const RUN: Parameter = Parameter::new("run", "Of that run: its id or request id.", run_id, || {
    json!(SOME_REQUEST)
});
const RECIPIENT: Parameter = Parameter::new(
    "recipient",
    "Asked of that member: an e-mail address, id or name.",
    text,
    || json!("editor@example.com"),
);
const Q: Parameter = Parameter::new(
    "q",
    "Shows only the options that hold this text, where there are more than 20.",
    text,
    || json!("north"),
);

fn approval() -> Value {
    json!({
        "id": "apr_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "status": "approved",
        "request_id": SOME_REQUEST, "run_id": SOME_ID, "deployment": "research",
        "variant": "prod", "version": 1, "step": "pick", "mode": "approval",
        "question": "Publish it?", "recipient": "editor@example.com", "need": 1, "answered": 1,
        "channel": "email", "requester": null, "created_at": SOME_TIME, "expires_at": SOME_TIME,
        "reminder_at": null, "decided_at": SOME_TIME,
    })
}

fn ask() -> Value {
    json!({
        "mode": "approval", "question": "Publish it?", "context": {"title": "A skep"},
        "options": [], "min_length": 0, "max_length": 0, "fields": [],
        "recipients": ["editor@example.com"], "need": 1, "not_requester": false,
        "channel": "email", "link_ttl_ms": 3_600_000, "timeout_ms": 259_200_000, "remind_ms": [],
        "escalate": null, "on_timeout": "fail",
    })
}

/// An approval as it is shown alone.
pub(super) fn whole() -> Value {
    let answers = json!([{
        "by": "editor@example.com", "via": "link", "answer": {"decision": true},
        "shown": "approved", "comment": null, "at": SOME_TIME,
    }]);
    let mut value = approval();
    value["ask"] = ask();
    value["recipients"] = json!([{
        "id": "mem_019aa8c1d1f67c3295e2f4f4b3a0c9d7", "name": "Ana", "email": "editor@example.com",
        "because": "asked", "since": SOME_TIME, "until": null,
    }]);
    value["output"] = json!({
        "mode": "approval", "text": "",
        "choice": {"label": "", "value": null, "description": "", "raw": null},
        "approved": true, "decision": "approved", "form": null, "comment": null,
        "responded_at": SOME_TIME, "responded_by": "editor@example.com", "channel": "email",
        "timed_out": false,
    });
    value["receipt"] = json!({
        "body": {
            "approval_id": value["id"], "request_id": SOME_REQUEST, "run_id": SOME_ID,
            "deployment": "research", "variant": "prod", "version": 1, "step": "pick",
            "ask": ask(), "answers": answers, "status": "approved", "decided_at": SOME_TIME,
        },
        "signature": "v1,pYKRGNqUvRGzxkTz7nLyvWn8cD0vS1xZpN9dU6rTq2M=",
    });
    value["answers"] = answers;
    value
}

fn pending() -> Value {
    let mut value = whole();
    value["status"] = json!("pending");
    value["answered"] = json!(0);
    value["answers"] = json!([]);
    for name in ["output", "receipt", "decided_at"] {
        value[name] = Value::Null;
    }
    value
}

fn answer() -> Value {
    let text = |about: &str| json!({"type": ["string", "null"], "description": about});
    json!({
        "type": "object",
        "required": ["by"],
        "properties": {
            "by": {
                "type": "string", "pattern": "\\S", "maxLength": 320,
                "description": "Who answers: the e-mail address, id or name of a member who is \
                asked, or who stands in for one; any name where nobody in particular is asked.",
            },
            "choice": {"description": "Mode `choices`: an option's value."},
            "text": text("Mode `text`: the answer."),
            "decision": {
                "enum": ["approved", "rejected", null], "description": "Mode `approval`.",
            },
            "form": {
                "type": ["object", "null"], "description": "Mode `form`: the fields by name.",
            },
            "comment": text("What else is to be said, at most 10,000 characters."),
        },
    })
}

fn handing_on() -> Value {
    let member = json!({"type": "string", "pattern": "\\S", "maxLength": 320});
    let mut from = member.clone();
    from["type"] = json!(["string", "null"]);
    from["description"] = json!("Who is asked now; may be left out where one person is.");
    json!({"type": "object", "required": ["to"], "properties": {"to": member, "from": from}})
}

fn link_wanted() -> Value {
    json!({
        "type": "object",
        "properties": {
            "recipient": {
                "type": ["string", "null"], "maxLength": 320,
                "description": "Whose link it is; may be left out where one person is asked. \
                Where nobody is, the page asks for a name.",
            },
            "ttl": {
                "type": ["string", "null"], "pattern": "^\\s*[0-9]+(ms|s|m|h|d)\\s*$",
                "description": "How long it is good; by default as long as those in messages.",
            },
        },
    })
}

fn form() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["form_token"],
        "properties": {
            "form_token": {"type": "string", "description": "From the page's own form."},
            "choice": {"type": "string", "description": "An option's place, from 0."},
            "text": text, "comment": text,
            "decision": {"enum": ["approved", "rejected"]},
            "by": {"type": "string", "description": "A name, where the link is nobody's."},
            "again": {"type": "string", "description": "Of an expired link: a fresh one is sent."},
        },
        "additionalProperties": {
            "type": "string", "description": "`field.NAME`: a field of a form.",
        },
    })
}

const fn page(status: u16, what: &'static str) -> Answer {
    Answer::new(status, what, plain_text, || json!("<!DOCTYPE html>…")).media("text/html")
}

/// Approvals and their page.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/approvals", "listApprovals", "approvals")
        .query(&[STATUS, RUN, RECIPIENT, LIMIT, CURSOR, FORMAT])
        .answers(&[Answer::page("A page of approvals.", of::<Listed<Approval<'static>>>,
            || page_of(approval()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("GET", "/v1/approvals/{id}", "getApproval", "approvals")
        .about("Once it is decided, with a receipt: what was shown and answered, signed.")
        .path(&[APPROVAL_ID])
        .answers(&[Answer::new(
            200,
            "The approval.",
            of::<WholeApproval<'static>>,
            whole,
        )])
        .refuses(&[Code::NotFound]),
    Operation::at("POST", "/v1/approvals/{id}/decide", "decideApproval", "approvals")
        .about(
            "The first answer stands; the same again is 200, another one 409 with what stands. \
            Recorded as `key NAME for BY`. 403 also where whoever asked for the run may not answer.",
        )
        .path(&[APPROVAL_ID])
        .body(Body::json("The answer, and whose it is.", answer, || {
            vec![
                ("approval", json!({"by": "editor@example.com", "decision": "approved"})),
                ("text", json!({"by": "editor@example.com", "text": "Fine", "comment": "!"})),
            ]
        }))
        .answers(&[Answer::new(
            200,
            "The answer is on record.",
            of::<WholeApproval<'static>>,
            whole,
        )])
        .refuses(&[
            Code::NotFound,
            Code::ValidationError,
            Code::MalformedBody,
            Code::AlreadyDecided,
        ]),
    Operation::at("POST", "/v1/approvals/{id}/resend", "resendApproval", "approvals")
        .about("Each gets a message with a link of its own.")
        .path(&[APPROVAL_ID])
        .answers(&[Answer::new(
            202,
            "The messages are owed.",
            of::<WholeApproval<'static>>,
            pending,
        )])
        .refuses(&[Code::NotFound, Code::MalformedBody, Code::AlreadyDecided]),
    Operation::at("POST", "/v1/approvals/{id}/reassign", "reassignApproval", "approvals")
        .about("The links of whoever was asked lead nowhere from then on.")
        .path(&[APPROVAL_ID])
        .body(Body::json("Who is asked instead.", handing_on, || {
            vec![("to", json!({"to": "chief@example.com"}))]
        }))
        .answers(&[Answer::new(
            200,
            "The other is asked now.",
            of::<WholeApproval<'static>>,
            pending,
        )])
        .refuses(&[
            Code::NotFound,
            Code::ValidationError,
            Code::MalformedBody,
            Code::AlreadyDecided,
        ]),
    Operation::at("POST", "/v1/approvals/{id}/link", "linkApproval", "approvals")
        .about("The link is shown this once; only its hash is kept.")
        .path(&[APPROVAL_ID])
        .body(
            Body::json("Whose link, and how long it is good.", link_wanted, || {
                vec![("mine", json!({"recipient": "editor@example.com", "ttl": "10m"}))]
            })
            .optional(),
        )
        .answers(&[Answer::new(201, "The link.", of::<ApprovalLink>, || {
            json!({
                "url": "https://skep.example/approve/q0yrGzCq3sXbYcT1mJ4u8Zr5vKx2wNn7dLh6oPe9aBc",
                "expires_at": SOME_TIME,
            })
        })])
        .refuses(&[Code::NotFound, Code::ValidationError, Code::MalformedBody]),
    Operation::at("GET", approve::PATTERN, "approvalPage", "approvals")
        .about(
            "For people: the question, and how it may be answered; later, what was decided. Changes \
            nothing. A link that has expired tells nothing of the question.",
        )
        .path(&[LINK_TOKEN])
        .query(&[Q])
        .answers(&[page(200, "The page."), page(404, "The link leads nowhere.")]),
    Operation::at("POST", approve::PATTERN, "answerOnPage", "approvals")
        .about("What the page's form sends. An answer that does not fit is 400, with the page.")
        .path(&[LINK_TOKEN])
        .body(
            Body::json("The form.", form, || {
                vec![("yes", json!({"form_token": "0f…", "decision": "approved"}))]
            })
            .types(&["application/x-www-form-urlencoded"]),
        )
        .answers(&[
            page(200, "This was answered before, in the same words."),
            page(303, "The answer is on record: back to the page."),
            page(403, "The form is not this page's, or this person may not answer."),
            page(404, "The link leads nowhere."),
            page(409, "Another answer stands: it is shown."),
            page(410, "The link has expired."),
            page(429, "There were too many fresh links."),
        ])
        .refuses(&[Code::MalformedBody]),
];
