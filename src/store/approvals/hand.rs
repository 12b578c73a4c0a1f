//! A question in other hands: told again, or handed on.

use serde_json::json;

use crate::error::Result;
use crate::flow::answer::verdict;
use crate::flow::approval::{ApprovalStatus, Given};
use crate::id::Id;
use crate::store::Store;
use crate::store::approvals::decide::{eligible, is_excluded};
use crate::store::approvals::{Approval, PREFIX, Recipient, after, now_of};
use crate::store::audit::Actor;
use crate::store::members;
use crate::store::writer::Tx;
use crate::time::Timestamp;

/// What became of handing a question on.
#[derive(Debug, Clone)]
pub enum Reassigned {
    /// The other is asked now.
    Done(Approval),
    /// It is not pending any more.
    Closed(Approval),
    /// `to` is no active member.
    NoMember,
    /// `from` is not asked, or nobody was named and not exactly one person is asked.
    NotAsked,
    /// `from` has answered already.
    HasAnswered,
    /// `to` is asked already.
    AlreadyAsked,
    /// `to` has answered already: for themselves, or in someone's stead.
    ToAnswered,
    /// `to` asked for the run, and may not answer.
    ToRequester,
    /// There is no such approval.
    Unknown,
}

impl Tx<'_> {
    fn resend(
        &mut self,
        known: &Approval,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<Approval>> {
        let Some(approval) = now_of(self.conn, known)? else {
            return Ok(None);
        };
        if approval.status == ApprovalStatus::Pending {
            self.tell_all(&approval, "approval.resent", now)?;
            let target = approval.approval_id.prefixed(PREFIX);
            self.audit(actor, "approval.resend", &target, &json!(null), now)?;
        }
        Ok(Some(approval))
    }

    fn reassign(
        &mut self,
        known: &Approval,
        from: Option<Id>,
        to: Id,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Reassigned> {
        let Some(approval) = now_of(self.conn, known)? else {
            return Ok(Reassigned::Unknown);
        };
        if approval.status != ApprovalStatus::Pending {
            return Ok(Reassigned::Closed(approval));
        }
        let Some(member) = members::by_id(self.conn, to)?.filter(|member| member.active) else {
            return Ok(Reassigned::NoMember);
        };
        let asked: Vec<&Recipient> = approval.asked().collect();
        let from = match (from, asked.as_slice()) {
            (Some(from), asked) => asked
                .iter()
                .copied()
                .find(|one| one.member.member_id == from),
            (None, [only]) => Some(*only),
            (None, _) => None,
        };
        // Where anyone may answer, it is handed to one.
        if from.is_none() && !approval.is_open_to_all() {
            return Ok(Reassigned::NotAsked);
        }
        if asked.iter().any(|one| one.member.id == member.id) {
            return Ok(Reassigned::AlreadyAsked);
        }
        if is_excluded(&approval, &member) {
            return Ok(Reassigned::ToRequester);
        }
        if approval.answer_of(&member.public_id()).is_some() {
            return Ok(Reassigned::ToAnswered);
        }
        let rank = approval.recipients.len();
        if let Some(from) = from {
            let id = from.member.public_id();
            if approval.answers.iter().any(|one| one.given.person == id) {
                return Ok(Reassigned::HasAnswered);
            }
            self.sql("UPDATE recipients SET until = ?3 WHERE approval = ?1 AND member = ?2")?
                .execute((approval.id, from.member.id, now.0))?;
            self.take_back(approval.id, Some(from.member.id), now)?;
        }
        self.add_recipient(approval.id, member.id, "reassigned", rank, now)?;
        let detail = json!({
            "from": from.map(|one| one.member.known_as()),
            "to": member.known_as(),
        });
        let target = approval.approval_id.prefixed(PREFIX);
        self.audit(actor, "approval.reassign", &target, &detail, now)?;
        let approval = after(self.conn, &approval)?;
        if self.judge_again(&approval, now)? {
            return Ok(Reassigned::Done(after(self.conn, &approval)?));
        }
        self.tell(&approval, &[&member], "approval.requested", now)?;
        Ok(Reassigned::Done(approval))
    }

    /// Others may answer now: whether what was answered decides it.
    fn judge_again(&mut self, approval: &Approval, now: Timestamp) -> Result<bool> {
        let given: Vec<Given> = approval
            .answers
            .iter()
            .map(|one| one.given.clone())
            .collect();
        let verdict = verdict(&approval.ask, &given, eligible(approval));
        self.conclude(approval, verdict, given.last(), now)
    }
}

impl Store {
    /// Tells everyone again who is asked and has not answered. One that is closed is returned as it is. `None`: no such
    /// approval.
    pub fn resend(
        &self,
        approval_id: Id,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<Approval>> {
        let Some(known) = self.approval(approval_id)? else {
            return Ok(None);
        };
        self.write(move |tx| tx.resend(&known, &actor, now))
    }

    /// Asks the member `to` instead of `from`; nobody else is asked less. `from` may be left out where one person is
    /// asked, or none.
    pub fn reassign(
        &self,
        approval_id: Id,
        from: Option<Id>,
        to: Id,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Reassigned> {
        let Some(known) = self.approval(approval_id)? else {
            return Ok(Reassigned::Unknown);
        };
        self.write(move |tx| tx.reassign(&known, from, to, &actor, now))
    }
}
