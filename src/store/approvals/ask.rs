//! A question begins: the run parks, and whoever is asked is told, in one commit.

use std::sync::Arc;

use rusqlite::params;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::flow::approval::{ApprovalStatus, Ask};
use crate::flow::human::KIND;
use crate::flow::step::{ErrorClass, StepError, StepStatus};
use crate::id::Id;
use crate::store::approvals::decide::eligible;
use crate::store::approvals::{PREFIX, by_row_of};
use crate::store::audit::Actor;
use crate::store::changes::What;
use crate::store::members::{self, Member};
use crate::store::steps::{Finished, Opened};
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// A question that a worker's run comes to.
#[derive(Debug)]
pub struct Asked {
    path: String,
    ask: Arc<Ask>,
    /// `ask`, written out before the writer has to wait for it.
    text: String,
    /// What the trace shows as the step's input.
    input: Value,
}

impl Asked {
    /// The question of the step at `path`.
    pub fn new(path: String, ask: Ask) -> Asked {
        let text = json!(ask).to_string();
        let input = json!({
            "mode": ask.mode,
            "question": ask.question,
            "context": ask.context,
            "options": ask.options.len(),
            "recipients": ask.recipients,
            "need": ask.need,
            "channel": ask.channel,
        });
        Asked {
            path,
            ask: Arc::new(ask),
            text,
            input,
        }
    }
}

impl Tx<'_> {
    /// Parks a run (it is `awaiting_approval` already) over a question. Where nobody can be asked, the step fails
    /// instead, and the run goes back to the queue, so that what follows is decided where everything else is.
    pub(in crate::store) fn ask(&mut self, run: i64, asked: &Asked, now: Timestamp) -> Result<()> {
        let expires_at = now.plus(asked.ask.timeout());
        let opened = Opened {
            path: asked.path.clone(),
            kind: KIND.to_owned(),
            input: asked.input.clone(),
        };
        self.open_step(run, &opened, Some(expires_at), now)?;
        let people = match self.people_of(&asked.ask)? {
            Ok(people) => people,
            Err(why) => return self.cannot_ask(run, asked, why, now),
        };
        let id = self.write_approval(run, asked, &people, expires_at, now)?;
        let approval = by_row_of(self.conn, id, &asked.ask)?
            .ok_or_else(|| Error::internal("an approval is gone in its own commit"))?;
        let escalates = usize::from(asked.ask.escalate.is_some());
        if !people.is_empty() && eligible(&approval) + escalates < asked.ask.need {
            self.sql("DELETE FROM approvals WHERE id = ?1")?
                .execute([id])?;
            let why = match asked.ask.not_requester {
                true => "those asked, without whoever asked for the run, are fewer than must agree",
                false => "those asked are fewer than must agree",
            };
            return self.cannot_ask(run, asked, why.to_owned(), now);
        }
        self.stir(run, || What::Approval(id));
        self.set_timers(&approval, now)?;
        self.tell_all(&approval, "approval.requested", now)?;
        let detail = json!({
            "request_id": approval.run_id.request_id(),
            "step": approval.path,
            "recipients": asked.ask.recipients,
            "channel": asked.ask.channel,
            "expires_at": expires_at,
        });
        let target = approval.approval_id.prefixed(PREFIX);
        self.audit(&Actor::system(), "approval.ask", &target, &detail, now)
    }

    fn cannot_ask(
        &mut self,
        run: i64,
        asked: &Asked,
        message: String,
        now: Timestamp,
    ) -> Result<()> {
        let finished = Finished {
            path: asked.path.clone(),
            status: StepStatus::Failed,
            output: Value::Null,
            meta: None,
            error: Some(StepError {
                class: ErrorClass::Step,
                message,
            }),
            due_at: None,
            logs: Vec::new(),
        };
        self.go_on(run, &finished, now)
    }

    /// Those who are asked, each once, in order; or why they cannot be.
    fn people_of(&self, ask: &Ask) -> Result<std::result::Result<Vec<Member>, String>> {
        let mut people: Vec<Member> = Vec::new();
        let escalated = ask.escalate.iter().map(|one| &one.recipient);
        for (at, text) in ask.recipients.iter().chain(escalated).enumerate() {
            let found = members::called(self.conn, text)?;
            let Some(member) = found else {
                return Ok(Err(format!(
                    "the recipient {text:?} is not an active member"
                )));
            };
            let is_new = people.iter().all(|one| one.id != member.id);
            if at < ask.recipients.len() && is_new {
                people.push(member);
            }
        }
        Ok(Ok(people))
    }

    fn write_approval(
        &self,
        run: i64,
        asked: &Asked,
        people: &[Member],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<i64> {
        self.sql(
            "INSERT INTO approvals (approval_id, run, path, status, ask, link_ttl, requester, expires_at,
                 created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT user FROM runs WHERE id = ?2), ?7, ?8)",
        )?
        .execute(params![
            Id::new(now, &self.desk.dice).0,
            run,
            asked.path,
            ApprovalStatus::Pending.as_str(),
            asked.text,
            i64::try_from(asked.ask.link_ttl_ms).unwrap_or(i64::MAX),
            expires_at.0,
            now.0,
        ])?;
        let id = self.conn.last_insert_rowid();
        for (rank, member) in people.iter().enumerate() {
            self.add_recipient(id, member.id, "asked", rank, now)?;
        }
        Ok(id)
    }

    /// Someone may answer from now on.
    pub(in crate::store) fn add_recipient(
        &self,
        approval: i64,
        member: i64,
        because: &str,
        rank: usize,
        now: Timestamp,
    ) -> Result<()> {
        self.sql(
            "INSERT INTO recipients (approval, member, because, rank, since) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (approval, member) DO UPDATE SET until = NULL",
        )?
        .execute((approval, member, because, rank, now.0))?;
        Ok(())
    }
}
