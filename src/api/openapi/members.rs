//! What is said of members.

use serde_json::{Value, json};

use crate::api::members::{CHAT, EMAIL, ENGLISH, LANGUAGE, NAME, WEBHOOK};
use crate::api::openapi::parameters::{MEMBER_ID, PAGE, SOME_TIME, page_of};
use crate::api::openapi::{Answer, Body, Link, Operation, of};
use crate::api::query::Listed;
use crate::api::wire::{DeletedMember, Member};
use crate::error::Code;

const SOME_MEMBER: &str = "mem_019aa8c1d1f67c3295e2f4f4b3a0c9d7";

fn member() -> Value {
    json!({
        "id": SOME_MEMBER, "name": "Ana", "email": "ana@example.com", "telegram_chat": null,
        "webhook_url": null, "language": "es", "active": true, "delegate": null,
        "created_at": SOME_TIME,
    })
}

/// What can be said of a member; `required` where one is added.
fn fields(required: &[&str]) -> Value {
    let delegate = json!({
        "type": ["object", "null"],
        "required": ["member", "until"],
        "description": "Who answers for them meanwhile, in person: not themselves, and nobody \
        who has a delegate too. Null ends it.",
        "properties": {
            "member": {
                "type": "string",
                "description": "Another active member's id, e-mail address or name.",
            },
            "until": {
                "type": "string", "format": "date-time", "description": "In the future.",
            },
        },
    });
    json!({
        "type": "object",
        "required": required,
        "properties": {
            "name": {
                "type": if required.contains(&"name") { json!("string") } else { json!(["string", "null"]) },
                "pattern": "\\S", "maxLength": NAME,
                "description": "What people call them.",
            },
            "email": {
                "type": ["string", "null"], "format": "email", "maxLength": EMAIL,
                "description": "One address, and nobody else's, however it is capitalised.",
            },
            "telegram_chat": {
                "anyOf": [
                    {"type": "null"},
                    {"type": "integer", "minimum": -CHAT, "maximum": CHAT, "not": {"const": 0}},
                    {
                        "type": "string",
                        "pattern": "^(-?[1-9][0-9]{0,15}|@[A-Za-z][A-Za-z0-9_]{3,31})$",
                    },
                ],
                "description": "Their chat with the Telegram bot.",
            },
            "webhook_url": {
                "type": ["string", "null"], "format": "http-url", "maxLength": WEBHOOK,
                "description": "Their own inbox; its address is judged when it is connected to.",
            },
            "language": {
                "type": ["string", "null"], "maxLength": LANGUAGE, "default": ENGLISH,
                "pattern": "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
                "description": "The language they read: `en`, `de` or `es`; another one is shown \
                in English.",
            },
            "active": {
                "type": ["boolean", "null"], "default": true,
                "description": "Whether they may be asked and may answer.",
            },
            "delegate": delegate,
        },
    })
}

fn added() -> Value {
    fields(&["name"])
}

fn changed() -> Value {
    fields(&[])
}

/// What can be done with a member.
const NEXT: &[Link] = &[
    Link::new("show", "getMember", &[("id", "$response.body#/id")]),
    Link::new("change", "changeMember", &[("id", "$response.body#/id")]),
    Link::new("delete", "deleteMember", &[("id", "$response.body#/id")]),
];

/// Members.
pub const OPERATIONS: &[Operation] = &[
    Operation::at("GET", "/v1/members", "listMembers", "members")
        .about("Inactive ones as well, but no deleted ones.")
        .query(PAGE)
        .answers(&[Answer::page(
            "A page of members.",
            of::<Listed<Member<'static>>>,
            || page_of(member()),
        )])
        .refuses(&[Code::ValidationError]),
    Operation::at("POST", "/v1/members", "addMember", "members")
        .about("Only active members are asked, so that no workflow can send mail to just anyone.")
        .body(Body::json("Who it is.", added, || {
            vec![(
                "ana",
                json!({"name": "Ana", "email": "ana@example.com", "language": "es"}),
            )]
        }))
        .answers(&[Answer::new(201, "The new member.", of::<Member<'static>>, member).links(NEXT)])
        .refuses(&[Code::ValidationError, Code::MalformedBody]),
    Operation::at("GET", "/v1/members/{id}", "getMember", "members")
        .path(&[MEMBER_ID])
        .answers(&[Answer::new(
            200,
            "The member.",
            of::<Member<'static>>,
            member,
        )])
        .refuses(&[Code::NotFound]),
    Operation::at("PATCH", "/v1/members/{id}", "changeMember", "members")
        .about(
            "What is not there stays as it is; null takes an address, a chat, an inbox or the \
            delegate away. Whoever is made inactive is no longer told of what is asked, and can \
            no longer answer.",
        )
        .path(&[MEMBER_ID])
        .body(
            Body::json("What is to be changed.", changed, || {
                vec![
                    ("away", json!({"active": false})),
                    ("back", json!({"active": true, "delegate": null})),
                ]
            })
            .optional(),
        )
        .answers(&[Answer::new(
            200,
            "The member as it is now.",
            of::<Member<'static>>,
            member,
        )])
        .refuses(&[Code::ValidationError, Code::MalformedBody, Code::NotFound]),
    Operation::at("DELETE", "/v1/members/{id}", "deleteMember", "members")
        .about(
            "Approvals and the audit go on naming them; the address is free at once. Refused \
            while a pending approval asks them.",
        )
        .path(&[MEMBER_ID])
        .answers(&[Answer::new(
            200,
            "They are gone.",
            of::<DeletedMember<'static>>,
            || json!({"id": SOME_MEMBER, "name": "Ana", "deleted": true}),
        )])
        .refuses(&[Code::NotFound, Code::RunsOpen]),
];
