//! What time brings: a waiting run wakes; a question is reminded of, escalated, at its end. Rows, so that a restart loses
//! none.

use std::time::Duration;

use rusqlite::OptionalExtension;
use serde_json::json;

use crate::error::Result;
use crate::flow::answer::output;
use crate::flow::approval::{ApprovalStatus, OnTimeout};
use crate::flow::run::Event;
use crate::flow::step::{ErrorClass, StepError};
use crate::store::Store;
use crate::store::approvals::settle::Settled;
use crate::store::approvals::{Approval, PREFIX, by_row};
use crate::store::audit::Actor;
use crate::store::members;
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

impl Tx<'_> {
    /// Everything that time will bring to a new question.
    pub(super) fn set_timers(&self, approval: &Approval, now: Timestamp) -> Result<()> {
        let ask = &approval.ask;
        let end = millis(ask.timeout());
        let at = |ms: u64| Timestamp(now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
        self.set_timer(approval.id, "expire", approval.expires_at)?;
        if let Some(escalation) = &ask.escalate {
            self.set_timer(approval.id, "escalate", at(escalation.after_ms))?;
        }
        for after in &ask.remind_ms {
            if i64::try_from(*after).is_ok_and(|after| after < end) {
                self.set_timer(approval.id, "remind", at(*after))?;
            }
        }
        Ok(())
    }

    fn set_timer(&self, approval: i64, what: &str, due_at: Timestamp) -> Result<()> {
        self.sql("INSERT INTO approval_timers (approval, what, due_at) VALUES (?1, ?2, ?3)")?
            .execute((approval, what, due_at.0))?;
        Ok(())
    }

    /// One timer, if it is still there.
    fn fire(&mut self, id: i64, now: Timestamp) -> Result<bool> {
        let timer: Option<(i64, String)> = self
            .sql("DELETE FROM approval_timers WHERE id = ?1 RETURNING approval, what")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((approval, what)) = timer else {
            return Ok(false);
        };
        let approval = by_row(self.conn, approval)?;
        if approval.status != ApprovalStatus::Pending {
            return Ok(false);
        }
        match what.as_str() {
            "remind" => self.remind(&approval, now)?,
            "escalate" => self.escalate(&approval, now)?,
            _ => self.expire(&approval, now)?,
        }
        Ok(true)
    }

    fn note_timer(
        &self,
        approval: &Approval,
        action: &str,
        detail: &serde_json::Value,
        now: Timestamp,
    ) -> Result<()> {
        let target = approval.approval_id.prefixed(PREFIX);
        self.audit(&Actor::system(), action, &target, detail, now)
    }

    fn remind(&mut self, approval: &Approval, now: Timestamp) -> Result<()> {
        self.tell_all(approval, "approval.reminder", now)?;
        self.note_timer(approval, "approval.remind", &json!(null), now)
    }

    fn escalate(&mut self, approval: &Approval, now: Timestamp) -> Result<()> {
        let Some(escalation) = &approval.ask.escalate else {
            return Ok(());
        };
        let found = members::called(self.conn, &escalation.recipient)?;
        let Some(member) = found else {
            let detail = json!({"to": escalation.recipient, "failed": "not an active member"});
            return self.note_timer(approval, "approval.escalate", &detail, now);
        };
        let rank = approval.recipients.len();
        self.add_recipient(approval.id, member.id, "escalated", rank, now)?;
        let approval = by_row(self.conn, approval.id)?;
        if approval.answer_of(&member.public_id()).is_none() {
            self.tell(&approval, &[&member], "approval.escalated", now)?;
        }
        let detail = json!({"to": member.known_as()});
        self.note_timer(&approval, "approval.escalate", &detail, now)
    }

    /// Nobody has answered in time.
    fn expire(&mut self, approval: &Approval, now: Timestamp) -> Result<()> {
        let waits = self
            .sql("DELETE FROM approval_timers WHERE approval = ?1 AND what = 'escalate'")?
            .execute([approval.id])?;
        let step = match approval.ask.on_timeout {
            OnTimeout::Escalate if waits > 0 => {
                self.escalate(approval, now)?;
                let again = now.plus(approval.ask.timeout());
                self.set_timer(approval.id, "expire", again)?;
                return self.move_end(approval.id, again);
            }
            OnTimeout::Continue => Ok(output(&approval.ask, ApprovalStatus::TimedOut, None, now)),
            OnTimeout::Fail | OnTimeout::Escalate => Err(StepError {
                class: ErrorClass::Timeout,
                message: format!(
                    "{} answered within {}",
                    match approval.answers.is_empty() {
                        true => "nobody",
                        false => "not enough of those asked",
                    },
                    words(now.since(approval.created_at).min(approval.ask.timeout()))
                ),
            }),
        };
        let settled = Settled {
            status: ApprovalStatus::TimedOut,
            step,
        };
        self.settle(approval, &settled, now)?;
        let detail = json!({"on_timeout": approval.ask.on_timeout});
        self.note_timer(approval, "approval.timeout", &detail, now)
    }

    /// The question waits until then.
    fn move_end(&self, approval: i64, until: Timestamp) -> Result<()> {
        self.sql("UPDATE approvals SET expires_at = ?2 WHERE id = ?1")?
            .execute((approval, until.0))?;
        self.sql(
            "UPDATE steps SET due_at = ?2
             WHERE (run, path) = (SELECT run, path FROM approvals WHERE id = ?1)",
        )?
        .execute((approval, until.0))?;
        Ok(())
    }

    /// What fell due while nobody could have answered.
    fn grant_grace(&self, until: Timestamp, now: Timestamp) -> Result<usize> {
        // Of the reminders that fell due, one is sent.
        self.sql(
            "DELETE FROM approval_timers WHERE what = 'remind' AND due_at <= ?1 AND EXISTS (
                 SELECT 1 FROM approval_timers o WHERE o.approval = approval_timers.approval
                     AND o.what = 'remind' AND o.due_at <= ?1 AND o.id > approval_timers.id)",
        )?
        .execute([now.0])?;
        let late = self
            .sql("SELECT approval FROM approval_timers WHERE due_at <= ?1 AND what = 'expire'")?
            .query_map([now.0], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for approval in late {
            self.move_end(approval, until)?;
        }
        Ok(self
            .sql(
                "UPDATE approval_timers SET due_at = ?2
                 WHERE what IN ('expire', 'escalate') AND due_at <= ?1",
            )?
            .execute((now.0, until.0))?)
    }
}

/// A duration as a definition would say it.
fn words(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let whole = units
        .iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

impl Store {
    /// Does what time brings to up to `limit` questions. Returns how many timers were taken.
    pub fn fire_timers(&self, limit: usize, now: Timestamp) -> Result<usize> {
        // Nothing is written where nothing is due.
        if self.next_timer()?.is_none_or(|at| at > now) {
            return Ok(0);
        }
        self.write(move |tx| {
            let due = tx
                // The ends first: where a question is at its end, there is nothing left for its other timers to do.
                .sql(
                    "SELECT id FROM approval_timers WHERE due_at <= ?1
                     ORDER BY what <> 'expire', due_at, id LIMIT ?2",
                )?
                .query_map((now.0, limit as i64), |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<i64>>>()?;
            for id in &due {
                tx.fire(*id, now)?;
            }
            Ok(due.len())
        })
    }

    /// Wakes up to `limit` runs whose time has come. Returns how many.
    pub fn wake_due(&self, limit: usize, now: Timestamp) -> Result<usize> {
        self.write(move |tx| {
            let ids = tx
                .sql("SELECT id FROM runs WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2")?
                .query_map((now.0, limit), |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            let mut woken = 0;
            for id in ids {
                woken += usize::from(tx.apply(id, &Event::Due, None, now)?.is_ok());
            }
            Ok(woken)
        })
    }

    /// When the next waiting run, or the next timer of a question, is due.
    pub fn next_wake(&self) -> Result<Option<Timestamp>> {
        let run = self.look(|conn| {
            let at: Option<i64> = conn
                .prepare_cached("SELECT min(wake_at) FROM runs WHERE wake_at IS NOT NULL")?
                .query_row([], |row| row.get(0))?;
            Ok(at.map(Timestamp))
        })?;
        Ok(run.into_iter().chain(self.next_timer()?).min())
    }

    /// When the next timer is due.
    fn next_timer(&self) -> Result<Option<Timestamp>> {
        self.look(|conn| {
            let at: Option<i64> = conn
                .prepare_cached("SELECT min(due_at) FROM approval_timers")?
                .query_row([], |row| row.get(0))?;
            Ok(at.map(Timestamp))
        })
    }

    /// At start: the time when Skep was down counts, but what fell due in it has `grace` from now. Returns how many
    /// timers that were.
    pub fn grant_grace(&self, grace: Duration, now: Timestamp) -> Result<usize> {
        if self.next_timer()?.is_none_or(|at| at > now) {
            return Ok(0);
        }
        self.write(move |tx| tx.grant_grace(now.plus(grace), now))
    }
}
