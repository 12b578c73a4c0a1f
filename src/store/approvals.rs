//! Questions that runs wait for: shown, listed, and what hangs on them, in one place.
//!
//! A question is a row, and so is everything that time or a person brings to it; nothing of a parked run is in memory.
//! How one is asked, answered and handed on is in the files below; which answers fit and what they decide is `flow`'s.

mod ask;
mod decide;
mod hand;
pub(super) mod people;
mod refusal;
pub(super) mod settle;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::flow::approval::{Answer, ApprovalStatus, Ask, Given};
use crate::id::Id;
use crate::store::Store;
use crate::store::members::{self, Member};
use crate::store::page::{Page, Paged, weight};
use crate::store::runs::{json_column, time_column};
use crate::time::Timestamp;

pub use ask::Asked;
pub use decide::{Decide, Decided, NOT_ASKED, Person};
pub use hand::Reassigned;

/// What an approval's public id begins with.
pub const PREFIX: &str = "apr_";

/// A question as it stands in the file, with those who may answer it and what they answered.
#[derive(Debug, Clone)]
pub struct Approval {
    /// Its row.
    pub id: i64,
    /// Its id: `apr_…`.
    pub approval_id: Id,
    /// The run that waits for it.
    pub run_id: Id,
    /// That run's row.
    pub run: i64,
    /// The deployment's name.
    pub deployment: String,
    /// The variant's name.
    pub variant: String,
    /// The version's number.
    pub version: i64,
    /// The deployment's row.
    pub deployment_id: i64,
    /// The path of the step that asks.
    pub path: String,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// What was asked, as it was shown. It never changes, and may be long: whoever looks again need not read it again.
    pub ask: Arc<Ask>,
    /// The run's user, who may be excluded.
    pub requester: Option<String>,
    /// The row of the key that started the run.
    pub started_by: Option<i64>,
    /// Whether it was the admin key, which has no row.
    pub started_by_admin: bool,
    /// Who may answer, and who no longer may; in the order in which they came to it.
    pub recipients: Vec<Recipient>,
    /// What was answered, the first first. The last one decided it, if it was decided by a person.
    pub answers: Vec<Answered>,
    /// The step's output, once it is decided.
    pub output: Option<Value>,
    /// Until when it waits.
    pub expires_at: Timestamp,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub decided_at: Option<Timestamp>,
    /// When those who have not answered are reminded next.
    pub reminders_due: Option<Timestamp>,
}

/// Someone who may answer, or no longer may.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// Who.
    pub member: Member,
    /// `asked`, `escalated`, `reassigned`.
    pub because: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when: reassigned to another then.
    pub until: Option<Timestamp>,
}

/// What a run waits for, in short.
#[derive(Debug, Clone)]
pub struct WaitsFor {
    /// The approval.
    pub approval_id: Id,
    /// The path of the step that asks.
    pub path: String,
    /// Those who may answer now, as people know them.
    pub recipient: String,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

fn known_as(recipients: &[Recipient]) -> String {
    let asked = recipients.iter().filter(|one| one.until.is_none());
    let names: Vec<&str> = asked.map(|one| one.member.known_as()).collect();
    names.join(", ")
}

/// An answer on record.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Who gave it, and what.
    pub given: Given,
    /// Whose hand it was: the member's id, a delegate's own, or the name given where anyone may answer.
    pub hand: String,
    /// `link`, `open link` (whoever had it), `key NAME`, `admin key`.
    pub via: String,
    /// When.
    pub at: Timestamp,
}

/// Which approvals a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// In one of these states.
    pub status: Vec<ApprovalStatus>,
    /// Of that run.
    pub run: Option<Id>,
    /// Asked of that member, who may still answer: e-mail address, id or name.
    pub recipient: Option<String>,
}

impl Approval {
    /// Those who may answer now.
    pub fn asked(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter(|one| one.until.is_none())
    }

    /// Whether anyone may answer who may decide approvals at all.
    pub fn is_open_to_all(&self) -> bool {
        self.ask.recipients.is_empty() && self.asked().next().is_none()
    }

    /// Those who may answer now, as people know them.
    pub fn asked_text(&self) -> String {
        known_as(&self.recipients)
    }

    /// What that person answered, if anything: the member's id, or the name given where anyone may answer.
    pub fn answer_of(&self, person: &str) -> Option<&Answered> {
        let mut answers = self.answers.iter();
        answers.find(|one| one.given.person == person || one.hand == person)
    }

    /// The answer that decided it.
    pub fn standing(&self) -> Option<&Answered> {
        match self.status {
            ApprovalStatus::Approved | ApprovalStatus::Rejected | ApprovalStatus::Answered => {
                self.answers.last()
            }
            ApprovalStatus::Pending | ApprovalStatus::TimedOut | ApprovalStatus::Cancelled => None,
        }
    }
}

/// How many rows a page of the list looks at.
const SCAN: i64 = 20_000;

/// The columns of an approval. `ask`: where its question comes from.
fn select(ask: &str) -> String {
    format!(
        "SELECT a.id, a.approval_id, a.run, a.path, a.status, {ask} AS ask, a.requester, a.output, a.expires_at,
             a.created_at, a.decided_at, r.run_id AS of_run, r.api_key, r.source, r.deployment AS of_deployment,
             d.name AS deployment_name, va.name AS variant_name, v.number AS version_number,
             (SELECT min(due_at) FROM approval_timers t WHERE t.approval = a.id AND t.what = 'remind') AS reminder
         FROM approvals a JOIN runs r ON r.id = a.run JOIN versions v ON v.id = r.version
         JOIN variants va ON va.id = v.variant JOIN deployments d ON d.id = r.deployment"
    )
}

fn unreadable(what: &str, fault: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnName(format!("{what}: {fault}"))
}

fn status(row: &Row<'_>) -> rusqlite::Result<ApprovalStatus> {
    let word: String = row.get("status")?;
    ApprovalStatus::parse(&word).ok_or_else(|| unreadable("status", word))
}

/// Without those asked and what they answered; what was asked is read.
fn bare(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let ask = row.get_ref("ask")?.as_str()?;
    let ask = serde_json::from_str(ask).map_err(|fault| unreadable("ask", fault))?;
    bare_of(row, Arc::new(ask))
}

/// The same; what was asked is known.
fn bare_of(row: &Row<'_>, ask: Arc<Ask>) -> rusqlite::Result<Approval> {
    let started_by: Option<i64> = row.get("api_key")?;
    Ok(Approval {
        id: row.get("id")?,
        approval_id: Id(row.get("approval_id")?),
        run_id: Id(row.get("of_run")?),
        run: row.get("run")?,
        deployment: row.get("deployment_name")?,
        variant: row.get("variant_name")?,
        version: row.get("version_number")?,
        deployment_id: row.get("of_deployment")?,
        path: row.get("path")?,
        status: status(row)?,
        ask,
        requester: row.get("requester")?,
        started_by,
        started_by_admin: started_by.is_none()
            && matches!(row.get_ref("source")?.as_str()?, "api" | "dashboard"),
        recipients: Vec::new(),
        answers: Vec::new(),
        output: json_column(row, "output")?,
        expires_at: Timestamp(row.get("expires_at")?),
        created_at: Timestamp(row.get("created_at")?),
        decided_at: time_column(row, "decided_at")?,
        reminders_due: time_column(row, "reminder")?,
    })
}

fn answered(row: &Row<'_>) -> rusqlite::Result<Answered> {
    let answer = row.get_ref("answer")?.as_str()?;
    let answer: Answer =
        serde_json::from_str(answer).map_err(|fault| unreadable("answer", fault))?;
    Ok(Answered {
        given: Given {
            person: row.get("person")?,
            by: row.get("by")?,
            answer,
            comment: row.get("comment")?,
        },
        hand: row.get("hand")?,
        via: row.get("via")?,
        at: Timestamp(row.get("at")?),
    })
}

/// Those asked, in the order in which they came to it.
pub(super) fn recipients(conn: &Connection, approval: i64) -> Result<Vec<Recipient>> {
    let found = conn
        .prepare_cached(
            "SELECT member, because, since, until FROM recipients WHERE approval = ?1
             ORDER BY since, rank, member",
        )?
        .query_map([approval], |row| {
            let times = (Timestamp(row.get(2)?), time_column(row, "until")?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, times))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let recipient = |(member, because, (since, until))| {
        Ok(Recipient {
            member: people::member(conn, member)?,
            because,
            since,
            until,
        })
    };
    found.into_iter().map(recipient).collect()
}

/// Fills in those asked and what they answered.
fn whole(conn: &Connection, mut approval: Approval) -> Result<Approval> {
    approval.recipients = recipients(conn, approval.id)?;
    approval.answers = conn
        .prepare_cached("SELECT * FROM answers WHERE approval = ?1 ORDER BY id")?
        .query_map([approval.id], answered)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(approval)
}

/// One approval as it stands now, by its row; what was asked is known. `None`: it is gone.
pub(super) fn by_row_of(conn: &Connection, id: i64, ask: &Arc<Ask>) -> Result<Option<Approval>> {
    let sql = format!("{} WHERE a.id = ?1", select("NULL"));
    let approval = conn
        .prepare_cached(&sql)?
        .query_row([id], |row| bare_of(row, ask.clone()))
        .optional()?;
    approval.map(|one| whole(conn, one)).transpose()
}

/// The same approval as it stands now. `None`: it is gone.
pub(super) fn now_of(conn: &Connection, known: &Approval) -> Result<Option<Approval>> {
    let found = by_row_of(conn, known.id, &known.ask)?;
    // The row of one that is gone may be another's.
    Ok(found.filter(|found| found.approval_id == known.approval_id))
}

/// The same approval, after something was written of it.
pub(super) fn after(conn: &Connection, known: &Approval) -> Result<Approval> {
    now_of(conn, known)?.ok_or_else(|| Error::internal("an approval is gone in its own commit"))
}

/// One approval, by its row.
pub(super) fn by_row(conn: &Connection, id: i64) -> Result<Approval> {
    let approval = conn
        .prepare_cached(&format!("{} WHERE a.id = ?1", select("a.ask")))?
        .query_row([id], bare)?;
    whole(conn, approval)
}

/// One approval, by its id. `None`: no such approval.
pub(super) fn by_id(conn: &Connection, approval_id: Id) -> Result<Option<Approval>> {
    let approval = conn
        .prepare_cached(&format!("{} WHERE a.approval_id = ?1", select("a.ask")))?
        .query_row([approval_id.0], bare)
        .optional()?;
    approval.map(|one| whole(conn, one)).transpose()
}

impl Store {
    /// One approval. `None`: no such approval.
    pub fn approval(&self, approval_id: Id) -> Result<Option<Approval>> {
        self.read_at_once(|conn| by_id(conn, approval_id))
    }

    /// A look at one state of the file, however many statements it takes: an approval must not be shown as pending with
    /// the answer that decided it.
    pub(super) fn read_at_once<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.read(|conn| {
            let _state = conn.unchecked_transaction()?;
            look(conn)
        })
    }

    /// The question that a run waits for, without the question. `None`: it waits for none.
    pub fn waits_for(&self, run: i64) -> Result<Option<WaitsFor>> {
        self.read_at_once(|conn| {
            let found = conn
                .prepare_cached(
                    "SELECT id, approval_id, path, expires_at FROM approvals WHERE run = ?1 AND status = 'pending'",
                )?
                .query_row([run], |row| {
                    let waits = WaitsFor {
                        approval_id: Id(row.get(1)?),
                        path: row.get(2)?,
                        recipient: String::new(),
                        expires_at: Timestamp(row.get(3)?),
                    };
                    Ok((row.get(0)?, waits))
                })
                .optional()?;
            let Some((id, mut waits)) = found else {
                return Ok(None);
            };
            waits.recipient = known_as(&recipients(conn, id)?);
            Ok(Some(waits))
        })
    }

    /// Approvals, newest first. A page may be short and still have a next one.
    pub fn list_approvals(&self, filter: &ApprovalFilter, page: Page) -> Result<Paged<Approval>> {
        self.read_at_once(|conn| list(conn, filter, page))
    }
}

fn list(conn: &Connection, filter: &ApprovalFilter, page: Page) -> Result<Paged<Approval>> {
    let nothing = Paged {
        rows: Vec::new(),
        next: None,
    };
    let mut sql = String::new();
    let mut values: Vec<rusqlite::types::Value> = Vec::new();
    if !filter.status.is_empty() {
        let marks = vec!["?"; filter.status.len()].join(", ");
        sql.push_str(&format!(" AND a.status IN ({marks})"));
        let words = filter.status.iter();
        values.extend(words.map(|status| status.as_str().to_owned().into()));
    }
    if let Some(text) = &filter.recipient {
        let Some(member) = members::called(conn, text)? else {
            return Ok(nothing);
        };
        sql.push_str(
            " AND EXISTS (SELECT 1 FROM recipients c
                          WHERE c.approval = a.id AND c.member = ? AND c.until IS NULL)",
        );
        values.push(member.id.into());
    }
    if let Some(run) = filter.run {
        sql.push_str(" AND a.run = (SELECT id FROM runs WHERE run_id = ?)");
        values.push(run.0.to_vec().into());
    }
    let newest: i64 = conn.query_row("SELECT coalesce(max(id), 0) FROM approvals", [], |row| {
        row.get(0)
    })?;
    let from = page.below().min(newest.saturating_add(1));
    // A run's own are few, and found by its index.
    let floor = match filter.run {
        Some(_) => 0,
        None => (from - SCAN).max(0),
    };
    let mut all: Vec<rusqlite::types::Value> = vec![from.into(), floor.into()];
    all.append(&mut values);
    all.push((page.limit as i64 + 1).into());
    let mut statement = conn.prepare_cached(&format!(
        "{} WHERE a.id < ? AND a.id >= ?{sql} ORDER BY a.id DESC LIMIT ?",
        select("a.ask")
    ))?;
    let rows = statement.query(params_from_iter(all))?;
    let found = Paged::gather(rows, page.limit, bare, weight, |one| one.id)?;
    let rows = found.rows.into_iter().map(|one| whole(conn, one));
    Ok(Paged {
        rows: rows.collect::<Result<_>>()?,
        next: found.next.or((floor > 1).then_some(floor)),
    })
}
