//! What time brings: a waiting run wakes; a question is reminded of, escalated, at its end. Rows, so that a restart loses
//! none.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde_json::json;

use crate::error::{Code, Result};
use crate::flow::answer::output;
use crate::flow::approval::{ApprovalStatus, OnTimeout};
use crate::flow::run::Event;
use crate::flow::step::{ErrorClass, StepError};
use crate::store::Store;
use crate::store::approvals::settle::Settled;
use crate::store::approvals::{Approval, PREFIX, after, by_row};
use crate::store::audit::Actor;
use crate::store::members;
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// How many rows one commit changes at start.
const CHUNK: usize = 1_000;

/// Over how long ends that were put off together are spread, in milliseconds.
const SPREAD_MS: u64 = 10_000;

/// One commit tells no more people, give or take those of one question.
const MOST_TOLD: usize = 200;

/// One commit reads no more bytes of questions, give or take one.
const MOST_READ: usize = 4 << 20;

/// How long a timer waits that could not be fired.
const PUT_OFF: Duration = Duration::from_secs(60);

/// What a timer cost the writer.
#[derive(Debug, Default)]
struct Cost {
    /// Notifications.
    told: usize,
    /// Bytes of its question.
    read: usize,
}

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

    /// One timer, if it is still there and due: ids come again. Returns what it cost.
    fn fire(&mut self, id: i64, now: Timestamp) -> Result<Cost> {
        let timer: Option<(i64, String, bool, usize)> = self
            .sql(
                "SELECT a.id, t.what, a.expires_at <= ?2, octet_length(a.ask)
                 FROM approval_timers t JOIN approvals a ON a.id = t.approval
                 WHERE t.id = ?1 AND t.due_at <= ?2 AND a.status = 'pending'",
            )?
            .query_row((id, now.0), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((approval, what, is_over, read)) = timer else {
            return Ok(Cost::default());
        };
        let approval = by_row(self.conn, approval)?;
        // Where a question is at its end, there is nothing left for its other timers to do.
        if is_over || what == "expire" {
            let told = self.expire(&approval, now)?;
            return Ok(Cost { told, read });
        }
        self.sql("DELETE FROM approval_timers WHERE id = ?1")?
            .execute([id])?;
        let told = match what.as_str() {
            "remind" => self.remind(&approval, now)?,
            _ => self.escalate(&approval, now)?,
        };
        Ok(Cost { told, read })
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

    fn remind(&mut self, approval: &Approval, now: Timestamp) -> Result<usize> {
        let told = self.tell_all(approval, "approval.reminder", now)?;
        self.note_timer(approval, "approval.remind", &json!(null), now)?;
        Ok(told)
    }

    fn escalate(&mut self, approval: &Approval, now: Timestamp) -> Result<usize> {
        let Some(escalation) = &approval.ask.escalate else {
            return Ok(0);
        };
        let found = members::called(self.conn, &escalation.recipient)?;
        let Some(member) = found else {
            let detail = json!({"to": escalation.recipient, "failed": "not an active member"});
            self.note_timer(approval, "approval.escalate", &detail, now)?;
            return Ok(0);
        };
        let rank = approval.recipients.len();
        self.add_recipient(approval.id, member.id, "escalated", rank, now)?;
        let approval = after(self.conn, approval)?;
        let told = match approval.answer_of(&member.public_id()) {
            None => self.tell(&approval, &[&member], "approval.escalated", now)?,
            Some(_) => 0,
        };
        let detail = json!({"to": member.known_as()});
        self.note_timer(&approval, "approval.escalate", &detail, now)?;
        Ok(told)
    }

    /// Nobody has answered in time.
    fn expire(&mut self, approval: &Approval, now: Timestamp) -> Result<usize> {
        let waits = self
            .sql("DELETE FROM approval_timers WHERE approval = ?1 RETURNING what = 'escalate'")?
            .query_map([approval.id], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<bool>>>()?;
        let step = match approval.ask.on_timeout {
            OnTimeout::Escalate if waits.contains(&true) => {
                let told = self.escalate(approval, now)?;
                let again = now.plus(approval.ask.timeout());
                self.set_timer(approval.id, "expire", again)?;
                self.move_end(approval.id, again)?;
                return Ok(told);
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
        self.note_timer(approval, "approval.timeout", &detail, now)?;
        Ok(0)
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

    /// Of the reminders of a question that fell due, one is sent. Looks at those behind a timer; returns how far it came.
    fn drop_missed(&self, after: i64, now: Timestamp) -> Result<Option<i64>> {
        let missed = self
            .sql(
                "SELECT t.id FROM approval_timers t
                 WHERE t.id > ?1 AND t.what = 'remind' AND t.due_at <= ?2 AND EXISTS (
                     SELECT 1 FROM approval_timers o WHERE o.approval = t.approval
                         AND o.what = 'remind' AND o.due_at <= ?2 AND o.id > t.id)
                 ORDER BY t.id LIMIT ?3",
            )?
            .query_map((after, now.0, CHUNK), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for id in &missed {
            self.sql("DELETE FROM approval_timers WHERE id = ?1")?
                .execute([*id])?;
        }
        Ok(missed.last().copied())
    }

    /// Ends that come before `until` come then; an escalation at the end moves with it, any other is sent late. `moved`:
    /// how many there were before.
    fn grant_grace(&self, until: Timestamp, moved: usize) -> Result<usize> {
        let ends = self
            .sql(
                "SELECT id, approval FROM approval_timers WHERE due_at < ?1 AND what = 'expire'
                 ORDER BY due_at, id LIMIT ?2",
            )?
            .query_map((until.0, CHUNK), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
        for (at, (timer, approval)) in ends.iter().enumerate() {
            let spread = (moved + at) as u64 % SPREAD_MS;
            let until = until.plus(Duration::from_millis(spread));
            self.sql(
                "UPDATE approval_timers SET due_at = ?3 WHERE id = ?1 OR approval = ?2 AND what = 'escalate'
                     AND due_at >= (SELECT expires_at FROM approvals WHERE id = ?2)",
            )?
            .execute((timer, approval, until.0))?;
            self.move_end(*approval, until)?;
        }
        Ok(ends.len())
    }

    /// Does what time brings to up to `limit` questions; what would hold up others waits for the next commit.
    fn fire_some(&mut self, limit: usize, now: Timestamp) -> Result<usize> {
        let due = due(self.conn, limit, now)?;
        let mut all = Cost::default();
        for (at, id) in due.iter().enumerate() {
            if all.told >= MOST_TOLD || all.read >= MOST_READ {
                return Ok(at);
            }
            let cost = self.fire(*id, now)?;
            all.told += cost.told;
            all.read += cost.read;
        }
        Ok(due.len())
    }
}

/// The timers that are due, the most overdue first.
fn due(conn: &Connection, limit: usize, now: Timestamp) -> Result<Vec<i64>> {
    Ok(conn
        .prepare_cached(
            "SELECT id FROM approval_timers WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
        )?
        .query_map((now.0, limit), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
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
    /// Does what time brings to up to `limit` questions. Returns how many timers were taken. One that cannot be fired is
    /// logged and put off; it holds up no other.
    pub fn fire_timers(&self, limit: usize, now: Timestamp) -> Result<usize> {
        // Nothing is written where nothing is due.
        if self.next_timer()?.is_none_or(|at| at > now) {
            return Ok(0);
        }
        match self.write(move |tx| tx.fire_some(limit, now)) {
            Err(fault) if fault.code != Code::Unavailable => self.fire_each(limit, now),
            done => done,
        }
    }

    /// The same, each in a commit of its own.
    fn fire_each(&self, limit: usize, now: Timestamp) -> Result<usize> {
        let due = self.look(|conn| due(conn, limit, now))?;
        for id in &due {
            let id = *id;
            match self.write(move |tx| tx.fire(id, now)) {
                Ok(_) => {}
                Err(fault) if fault.code == Code::Unavailable => return Err(fault),
                Err(fault) => {
                    log::error!("timer {id} of an approval cannot be fired: {fault}; put off");
                    self.put_off(id, now.plus(PUT_OFF))?;
                }
            }
        }
        Ok(due.len())
    }

    /// A timer that cannot be fired now is tried again then; if it is the end of its question, that waits for it.
    fn put_off(&self, id: i64, until: Timestamp) -> Result<()> {
        self.write(move |tx| {
            let ends: Option<i64> = tx
                .sql(
                    "UPDATE approval_timers SET due_at = ?2 WHERE id = ?1
                     RETURNING CASE what WHEN 'expire' THEN approval END",
                )?
                .query_row((id, until.0), |row| row.get(0))
                .optional()?
                .flatten();
            match ends {
                Some(approval) => tx.move_end(approval, until),
                None => Ok(()),
            }
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

    /// At start: the time when Skep was down counts, but no question ends before `grace` from now, give or take seconds,
    /// so that they do not all end at once. Returns how many ends were put off.
    pub fn grant_grace(&self, grace: Duration, now: Timestamp) -> Result<usize> {
        let until = now.plus(grace);
        if self.next_timer()?.is_none_or(|at| at >= until) {
            return Ok(0);
        }
        let mut after = 0;
        while let Some(last) = self.write(move |tx| tx.drop_missed(after, now))? {
            after = last;
        }
        let mut moved = 0;
        loop {
            match self.write(move |tx| tx.grant_grace(until, moved))? {
                0 => return Ok(moved),
                some => moved += some,
            }
        }
    }
}
