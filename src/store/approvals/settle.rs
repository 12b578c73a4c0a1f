//! The end of a question: its row, its step, its run, its timers and what is still owed for it, in one commit.

use rusqlite::OptionalExtension;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::flow::approval::ApprovalStatus;
use crate::flow::delivery;
use crate::flow::human::KIND;
use crate::flow::run::Event;
use crate::flow::step::{StepError, StepStatus};
use crate::metrics::Fact;
use crate::store::approvals::Approval;
use crate::store::changes::What;
use crate::store::steps::Finished;
use crate::store::writer::{Effect, Tx};
use crate::time::Timestamp;

/// What a question came to.
#[derive(Debug)]
pub(in crate::store) struct Settled {
    /// Where it stands now.
    pub(in crate::store) status: ApprovalStatus,
    /// The step's output, or why it failed.
    pub(in crate::store) step: std::result::Result<Value, StepError>,
}

impl Tx<'_> {
    /// Ends a pending question; its run goes back to the queue.
    ///
    /// # Errors
    /// `internal_server_error` if the run does not wait for it: nothing is changed then.
    pub(in crate::store) fn settle(
        &mut self,
        approval: &Approval,
        settled: &Settled,
        now: Timestamp,
    ) -> Result<()> {
        let output = settled.step.as_ref().ok();
        self.close_approval(approval.id, settled.status, output, now)?;
        self.stir(approval.run, || What::Approval(approval.id));
        let finished = Finished {
            path: approval.path.clone(),
            status: match settled.step {
                Ok(_) => StepStatus::Completed,
                Err(_) => StepStatus::Failed,
            },
            output: output.cloned().unwrap_or_default(),
            meta: None,
            error: settled.step.as_ref().err().cloned(),
            due_at: None,
            logs: Vec::new(),
        };
        self.go_on(approval.run, &finished, now)
    }

    /// The step that asks is over, and its run goes back to the queue.
    pub(super) fn go_on(&mut self, run: i64, finished: &Finished, now: Timestamp) -> Result<()> {
        self.finish_step(run, finished, now)?;
        self.after(Effect::Count(Fact::StepEnded {
            kind: KIND,
            status: finished.status.as_str(),
        }));
        self.apply(run, &Event::Answered, None, now)?
            .map(drop)
            .map_err(|refused| Error::internal(format!("a run that was asked: {refused:?}")))
    }

    /// The run was cancelled: so is what it waits for.
    pub(in crate::store) fn cancel_approval(&mut self, run: i64, now: Timestamp) -> Result<()> {
        let pending: Option<i64> = self
            .sql("SELECT id FROM approvals WHERE run = ?1 AND status = 'pending'")?
            .query_row([run], |row| row.get(0))
            .optional()?;
        match pending {
            Some(id) => {
                self.close_approval(id, ApprovalStatus::Cancelled, None, now)?;
                self.stir(run, || What::Approval(id));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn close_approval(
        &mut self,
        id: i64,
        status: ApprovalStatus,
        output: Option<&Value>,
        now: Timestamp,
    ) -> Result<()> {
        let changed = self
            .sql(
                "UPDATE approvals SET status = ?2, output = ?3, decided_at = ?4
                 WHERE id = ?1 AND status = 'pending'",
            )?
            .execute((id, status.as_str(), output.map(Value::to_string), now.0))?;
        if changed != 1 {
            return Err(Error::internal("an approval was to be decided twice"));
        }
        self.sql("DELETE FROM approval_timers WHERE approval = ?1")?
            .execute([id])?;
        self.take_back(id, None, now)
    }

    /// Takes back what nobody needs to be told any more: to one member, or to all. What is in flight is taken back when
    /// it comes to nothing.
    pub(in crate::store) fn take_back(
        &mut self,
        approval: i64,
        member: Option<i64>,
        now: Timestamp,
    ) -> Result<()> {
        let owed = self
            .sql(
                "SELECT id FROM deliveries WHERE approval = ?1 AND approval IS NOT NULL AND status = 'pending'
                     AND (?2 IS NULL OR member = ?2)",
            )?
            .query_map((approval, member), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        for id in owed {
            self.take_back_one(id, now)?;
        }
        Ok(())
    }

    /// Takes back a notification that is owed.
    pub(in crate::store) fn take_back_one(&mut self, id: i64, now: Timestamp) -> Result<()> {
        self.apply_delivery(id, &delivery::Event::Cancelled, None, now)?
            .map(drop)
            .map_err(|refused| Error::internal(format!("a notification: {refused:?}")))
    }
}
