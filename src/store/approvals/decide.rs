//! An answer, from whoever gives it: counted once, and what it decides, in one commit.

use rusqlite::Connection;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::flow::answer::{Offer, Verdict, is_same_answer, output, shown, verdict};
use crate::flow::approval::{ApprovalStatus, Given};
use crate::flow::step::{ErrorClass, StepError};
use crate::id::Id;
use crate::store::Store;
use crate::store::approvals::refusal::{Refusal, is_due};
use crate::store::approvals::settle::Settled;
use crate::store::approvals::{Answered, Approval, PREFIX, after, now_of, people};
use crate::store::audit::Actor;
use crate::store::changes::What;
use crate::store::instance::hex;
use crate::store::members::{self, Member};
use crate::store::notices::cut;
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// An answer on its way in, checked against its question by `flow::answer::read_answer`.
#[derive(Debug, Clone)]
pub struct Decide {
    /// To which question.
    pub approval_id: Id,
    /// Who answers.
    pub person: Person,
    /// What.
    pub offer: Offer,
    /// How it came: `link`, `open link`, `key NAME`, `admin key`. The audit's actor is `VIA for BY`.
    pub via: String,
    /// The row of the API key that it came by, if it came by one.
    pub key: Option<i64>,
    /// The hash of the link that it came by, if it came by one.
    pub link: Option<[u8; 32]>,
    /// The client's address.
    pub address: Option<String>,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// A member, by the link or by name.
    Member(Id),
    /// Whoever is called so: a member's e-mail address, id or name; any name where anyone may answer.
    Named(String),
    /// Whoever has the link of a question that anyone may answer; the name that they give is nobody else's, whatever it
    /// is.
    Anyone(String),
}

/// What became of an answer.
#[derive(Debug, Clone)]
pub enum Decided {
    /// It decided the question.
    Stands(Approval),
    /// It is noted; others must agree.
    Counted(Approval),
    /// This was answered before, in the same words: nothing changed.
    Same(Approval),
    /// The question is decided otherwise, or closed, or this person has answered otherwise.
    Taken(Approval),
    /// This person may not answer it: why, in a sentence.
    Refused(Approval, &'static str),
    /// There is no such approval.
    Unknown,
}

/// What an answer comes by that the admin key brought.
const ADMIN_KEY: &str = "admin key";

/// What stands before the name of a key that somebody is signed in with.
const DASHBOARD: &str = "dashboard ";

/// How much of an answer, and of a comment, the audit has, in characters: its rows stay for ever.
const NOTED: usize = 200;

/// Whoever answers is no active member.
pub const NOT_ACTIVE: &str = "whoever answers must be an active member";
/// Whoever answers is not asked.
pub const NOT_ASKED: &str = "only those who are asked may answer";
/// `not_requester`: by person.
pub const REQUESTER: &str = "whoever asked for the run may not answer";
/// `not_requester`: by key.
pub const STARTER: &str = "the key that started the run may not answer";

/// What stands is another answer.
const TAKEN: &str = "it was answered otherwise before";

/// What an answer comes upon.
enum Found {
    /// Nothing: it counts.
    Open(Counts),
    /// The same, from the same person or as the decision.
    Same,
    /// Another, or the end. Who it is.
    Taken(String),
    /// This person may not answer: who it is, and why not.
    Refused(String, &'static str),
}

impl Found {
    /// What is noted of it, and of whom.
    fn refused(&self) -> Option<(&str, &'static str)> {
        match self {
            Found::Open(_) | Found::Same => None,
            Found::Taken(by) => Some((by, TAKEN)),
            Found::Refused(by, why) => Some((by, why)),
        }
    }
}

/// Whose answer it is, and whose hand gave it.
struct Counts {
    person: String,
    by: String,
    hand: String,
    /// The two of them; none: whoever it is, they are no member.
    members: Vec<Member>,
}

impl Counts {
    fn of(member: Member) -> Counts {
        Counts {
            person: member.public_id(),
            by: member.known_as().to_owned(),
            hand: member.public_id(),
            members: vec![member],
        }
    }

    /// A delegate answers for a member.
    fn delegated(delegate: Member, member: &Member) -> Counts {
        Counts {
            person: member.public_id(),
            by: format!("{} for {}", delegate.known_as(), member.known_as()),
            hand: delegate.public_id(),
            members: vec![delegate, member.clone()],
        }
    }

    /// Someone who is no member, where anyone may answer. No such person is a member by their name.
    fn anyone(name: &str) -> Counts {
        let person = format!("name:{name}");
        Counts {
            hand: person.clone(),
            person,
            by: name.to_owned(),
            members: Vec::new(),
        }
    }

    fn is_named(&self, text: &str) -> bool {
        let is_same = self.by.to_lowercase() == text.trim().to_lowercase();
        is_same || self.members.iter().any(|one| people::is_named(one, text))
    }
}

/// Whose answer it would be.
fn resolve(
    conn: &Connection,
    approval: &Approval,
    person: &Person,
    now: Timestamp,
) -> Result<std::result::Result<Counts, &'static str>> {
    let member = match person {
        Person::Member(id) => members::by_id(conn, *id)?,
        Person::Named(text) => members::called(conn, text)?,
        Person::Anyone(_) => None,
    };
    let member = match (member, person) {
        (Some(member), _) => member,
        (None, Person::Named(text) | Person::Anyone(text)) if approval.is_open_to_all() => {
            return Ok(Ok(Counts::anyone(text.trim())));
        }
        (None, _) => return Ok(Err(NOT_ASKED)),
    };
    if !member.active {
        return Ok(Err(NOT_ACTIVE));
    }
    if approval.is_open_to_all() || approval.asked().any(|one| one.member.id == member.id) {
        return Ok(Ok(Counts::of(member)));
    }
    let mut others: Vec<&Member> = approval.asked().map(|one| &one.member).collect();
    others.retain(|other| people::stands_in(member.member_id, other, now));
    // One who has not answered yet comes first; a delegate has one answer, however many they stand in for.
    others.sort_by_key(|other| approval.answer_of(&other.public_id()).is_some());
    Ok(match others.first() {
        Some(other) => Ok(Counts::delegated(member, other)),
        None => Err(NOT_ASKED),
    })
}

/// Whether that is the admin key, shown or signed in with.
fn is_admin_key(via: &str) -> bool {
    via.strip_prefix(DASHBOARD).unwrap_or(via) == ADMIN_KEY
}

/// Why whoever asked for the run may not answer, if it is them.
fn excluded(approval: &Approval, counts: &Counts, decide: &Decide) -> Option<&'static str> {
    if !approval.ask.not_requester {
        return None;
    }
    let requester = approval.requester.as_deref();
    if requester.is_some_and(|text| counts.is_named(text)) {
        return Some(REQUESTER);
    }
    let is_starter = match decide.key {
        // The admin key has no row.
        None => is_admin_key(&decide.via) && approval.started_by_admin,
        key => key == approval.started_by,
    };
    is_starter.then_some(STARTER)
}

/// What stands already, if the answer finds something standing.
fn standing<'a>(approval: &'a Approval, counts: &Counts) -> Option<Option<&'a Answered>> {
    let own = approval
        .answer_of(&counts.hand)
        .or_else(|| approval.answer_of(&counts.person));
    if own.is_some() {
        return Some(own);
    }
    (approval.status != ApprovalStatus::Pending).then(|| approval.standing())
}

/// What an answer comes upon. Changes nothing.
fn find(conn: &Connection, approval: &Approval, decide: &Decide, now: Timestamp) -> Result<Found> {
    let counts = match resolve(conn, approval, &decide.person, now)? {
        Ok(counts) => counts,
        Err(why) => {
            let who = match &decide.person {
                Person::Member(id) => id.prefixed(members::PREFIX),
                Person::Named(text) | Person::Anyone(text) => text.clone(),
            };
            return Ok(Found::Refused(who, why));
        }
    };
    if let Some(why) = excluded(approval, &counts, decide) {
        return Ok(Found::Refused(counts.by, why));
    }
    Ok(match standing(approval, &counts) {
        Some(Some(standing)) if is_same_answer(&standing.given.answer, &decide.offer.answer) => {
            Found::Same
        }
        Some(_) => Found::Taken(counts.by),
        None => Found::Open(counts),
    })
}

fn refusal(approval: &Approval, decide: &Decide, why: &'static str) -> Refusal {
    Refusal {
        approval: approval.id,
        link: decide.link,
        why,
    }
}

impl Tx<'_> {
    /// `known`: the approval as it stood a moment ago.
    fn decide(&mut self, known: &Approval, decide: &Decide, now: Timestamp) -> Result<Decided> {
        let Some(approval) = now_of(self.conn, known)? else {
            return Ok(Decided::Unknown);
        };
        let found = find(self.conn, &approval, decide, now)?;
        if let Some((by, why)) = found.refused() {
            let (actor, detail) = (actor(decide, by), json!({"by": by, "why": why}));
            let refusal = refusal(&approval, decide, why);
            self.note_refusal(&approval, &refusal, (&actor, &detail), now)?;
        }
        match found {
            Found::Open(counts) => self.count(approval, counts, decide, now),
            Found::Same => Ok(Decided::Same(approval)),
            Found::Taken(_) => Ok(Decided::Taken(approval)),
            Found::Refused(_, why) => Ok(Decided::Refused(approval, why)),
        }
    }

    /// An answer that counts, and what it comes to.
    fn count(
        &mut self,
        approval: Approval,
        counts: Counts,
        decide: &Decide,
        now: Timestamp,
    ) -> Result<Decided> {
        let given = Given {
            person: counts.person,
            by: counts.by,
            answer: decide.offer.answer.clone(),
            comment: decide.offer.comment.clone(),
        };
        self.sql(
            "INSERT INTO answers (approval, person, hand, by, via, answer, comment, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute((
            approval.id,
            &given.person,
            &counts.hand,
            &given.by,
            &decide.via,
            json!(given.answer).to_string(),
            &given.comment,
            now.0,
        ))?;
        let mut answers: Vec<Given> = approval
            .answers
            .iter()
            .map(|one| one.given.clone())
            .collect();
        answers.push(given.clone());
        let verdict = verdict(&approval.ask, &answers, eligible(&approval));
        let answer = shown(&approval.ask, &given.answer);
        let detail = json!({
            "by": given.by,
            "answer": cut(&answer, NOTED),
            "answer_sha256": digest(&answer),
            "comment": given.comment.as_deref().map(|text| cut(text, NOTED)),
            "comment_sha256": given.comment.as_deref().map(digest),
            "decides": !matches!(verdict, Verdict::Open),
        });
        let actor = actor(decide, &given.by);
        let target = approval.approval_id.prefixed(PREFIX);
        self.audit(&actor, "approval.answer", &target, &detail, now)?;
        self.stir(approval.run, || What::Approval(approval.id));
        match self.conclude(&approval, verdict, Some(&given), now)? {
            true => Ok(Decided::Stands(after(self.conn, &approval)?)),
            false => Ok(Decided::Counted(after(self.conn, &approval)?)),
        }
    }

    /// What the answers come to, settled. Returns whether it is decided.
    pub(super) fn conclude(
        &mut self,
        approval: &Approval,
        verdict: Verdict,
        deciding: Option<&Given>,
        now: Timestamp,
    ) -> Result<bool> {
        let settled = match verdict {
            Verdict::Open => return Ok(false),
            Verdict::Decided(status) => Settled {
                status,
                step: Ok(output(&approval.ask, status, deciding, now)),
            },
            Verdict::Deadlock => Settled {
                status: ApprovalStatus::Cancelled,
                step: Err(StepError {
                    class: ErrorClass::Step,
                    message: "those asked could not agree".to_owned(),
                }),
            },
        };
        self.settle(approval, &settled, now)?;
        Ok(true)
    }
}

/// What tells whether a text that is kept elsewhere is the one that was given.
fn digest(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn actor(decide: &Decide, by: &str) -> Actor {
    Actor {
        name: format!("{} for {by}", decide.via),
        address: decide.address.clone(),
    }
}

/// How many of those asked may answer. 0: anyone.
pub(super) fn eligible(approval: &Approval) -> usize {
    let mut asked: Vec<&Member> = approval.asked().map(|one| &one.member).collect();
    asked.retain(|member| !is_excluded(approval, member));
    asked.len()
}

/// Whether a member asked for the run, and may therefore not answer.
pub(super) fn is_excluded(approval: &Approval, member: &Member) -> bool {
    let requester = approval.requester.as_deref();
    approval.ask.not_requester && requester.is_some_and(|text| people::is_named(member, text))
}

impl Store {
    /// Counts an answer, and lets the run go on if it decides: one commit. The first answer of a person stands, and the
    /// first decision of all; what is refused changes nothing, and is noted in the audit now and then.
    pub fn decide(&self, decide: Decide, now: Timestamp) -> Result<Decided> {
        // The question is read here, so that the writer need not; and what changes nothing needs no commit.
        let Some(known) = self.approval(decide.approval_id)? else {
            return Ok(Decided::Unknown);
        };
        let idle = self.read(|conn| {
            let found = find(conn, &known, &decide, now)?;
            let notes = match found.refused() {
                Some((_, why)) => is_due(conn, &refusal(&known, &decide, why), now)?,
                None => matches!(found, Found::Open(_)),
            };
            Ok((!notes).then_some(found))
        })?;
        match idle {
            Some(Found::Same) => return Ok(Decided::Same(known)),
            Some(Found::Taken(_)) => return Ok(Decided::Taken(known)),
            Some(Found::Refused(_, why)) => return Ok(Decided::Refused(known, why)),
            Some(Found::Open(_)) | None => {}
        }
        self.write(move |tx| tx.decide(&known, &decide, now))
    }
}
