//! What is refused of a question is noted in the audit, which keeps everything for ever. So each reason is noted at most
//! once an hour: of each link, and of the keys together. What is not noted costs no commit.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::error::Result;
use crate::store::Store;
use crate::store::approvals::{Approval, PREFIX};
use crate::store::audit::Actor;
use crate::store::links::LinkView;
use crate::store::writer::Tx;
use crate::time::{Timestamp, millis};

/// How often a reason is noted.
const EVERY: Duration = Duration::from_secs(3600);

/// What was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal {
    /// The question's row.
    pub(super) approval: i64,
    /// The link that it came by; `None`: a key.
    pub(super) link: Option<[u8; 32]>,
    /// Why, in a sentence of ours: there are few.
    pub(super) why: &'static str,
}

impl Refusal {
    fn source(&self) -> &[u8] {
        self.link.as_ref().map_or(&[], |hash| hash)
    }
}

fn last_due(now: Timestamp) -> i64 {
    now.0.saturating_sub(millis(EVERY))
}

/// Whether it is to be noted now.
pub(super) fn is_due(conn: &Connection, refusal: &Refusal, now: Timestamp) -> Result<bool> {
    let sql =
        "SELECT noted_at <= ?4 FROM refusals WHERE approval = ?1 AND source = ?2 AND why = ?3";
    let key = (
        refusal.approval,
        refusal.source(),
        refusal.why,
        last_due(now),
    );
    let due = conn.prepare_cached(sql)?.query_row(key, |row| row.get(0));
    Ok(due.optional()?.unwrap_or(true))
}

impl Tx<'_> {
    /// Notes it, if it is due.
    pub(super) fn note_refusal(
        &self,
        approval: &Approval,
        refusal: &Refusal,
        (actor, detail): (&Actor, &Value),
        now: Timestamp,
    ) -> Result<()> {
        let noted = self
            .sql(
                "INSERT INTO refusals (approval, source, why, noted_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (approval, source, why) DO UPDATE SET noted_at = excluded.noted_at
                 WHERE refusals.noted_at <= ?5",
            )?
            .execute((
                refusal.approval,
                refusal.source(),
                refusal.why,
                now.0,
                last_due(now),
            ))?;
        if noted == 0 {
            return Ok(());
        }
        let target = approval.approval_id.prefixed(PREFIX);
        self.audit(actor, "approval.refuse", &target, detail, now)
    }
}

impl Store {
    /// Notes what was refused before it came to [`Store::decide`]: a forged form, an expired link.
    pub fn note_refusal(
        &self,
        link: &LinkView,
        why: &'static str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<()> {
        let refusal = Refusal {
            approval: link.approval.id,
            link: Some(link.hash),
            why,
        };
        if !self.read(|conn| is_due(conn, &refusal, now))? {
            return Ok(());
        }
        let approval = link.approval.clone();
        self.write(move |tx| {
            let detail = json!({"why": why});
            tx.note_refusal(&approval, &refusal, (&actor, &detail), now)
        })
    }
}
