//! How many runs are open, by deployment: kept in memory, so that no insert has to count rows.
//!
//! Loaded at start; moved with every change of a state in the same transaction, and moved back if that fails. Decides
//! whose turn it is when slots are free, and collects what the commit has to add to the file's [`minutes`]. Must not
//! touch a run's row.
//!
//! [`minutes`]: crate::store::minutes

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::minutes::{Minutes, Tally, minute_of};
use crate::store::turns::Turns;

/// The limits that an insert and a claim obey.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs executing at once.
    pub workers: usize,
    /// Runs queued.
    pub max_queued: u64,
}

impl Limits {
    /// What one deployment may hold while another waits: three quarters.
    pub fn share(&self) -> u64 {
        (self.workers as u64 * 3 / 4).max(1)
    }
}

/// The open runs of one deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Waiting for a worker.
    pub queued: u64,
    /// In a worker's hands.
    pub running: u64,
    /// Waiting for a time or a person.
    pub parked: u64,
}

impl Open {
    fn of(&mut self, status: RunStatus) -> Option<&mut u64> {
        match status {
            RunStatus::Queued => Some(&mut self.queued),
            RunStatus::Running => Some(&mut self.running),
            RunStatus::AwaitingApproval | RunStatus::Waiting => Some(&mut self.parked),
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => None,
        }
    }
}

/// What is to be taken back if the commit fails.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// A run of that deployment came into that state.
    Entered(i64, RunStatus),
    /// It left it.
    Left(i64, RunStatus),
    /// The commit has that to add to a deployment's minute.
    Minute(i64, i64, Tally),
}

/// The open runs of every deployment that has any.
#[derive(Debug, Default)]
pub struct Counts {
    open: BTreeMap<i64, Open>,
    total: Open,
    log: Vec<Change>,
    /// The concurrency limits of the deployments that have one; `None`: to be read.
    own_limits: Option<HashMap<i64, u64>>,
    /// Where the round of claims goes on.
    pub turn: i64,
    /// Whose turn it is of the origins.
    pub sends: Turns,
}

impl Counts {
    /// Counts what the file holds.
    pub fn load(conn: &Connection) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut statement = conn.prepare(
            "SELECT deployment, status, count(*) FROM runs WHERE ended_at IS NULL GROUP BY deployment, status",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let status: String = row.get(1)?;
            let number: u64 = row.get(2)?;
            if let Some(status) = RunStatus::parse(&status) {
                for open in [
                    counts.open.entry(row.get(0)?).or_default(),
                    &mut counts.total,
                ] {
                    if let Some(count) = open.of(status) {
                        *count += number;
                    }
                }
            }
        }
        Ok(counts)
    }

    /// The open runs of one deployment.
    pub fn of(&self, deployment: i64) -> Open {
        self.open.get(&deployment).copied().unwrap_or_default()
    }

    /// The open runs of all.
    pub fn total(&self) -> Open {
        self.total
    }

    /// Every deployment that has open runs.
    pub fn deployments(&self) -> impl Iterator<Item = (i64, Open)> + '_ {
        self.open.iter().map(|(id, open)| (*id, *open))
    }

    /// A run came into this state.
    pub fn enter(&mut self, deployment: i64, status: RunStatus) {
        self.shift(deployment, status, true);
        self.log.push(Change::Entered(deployment, status));
    }

    /// A run left this state.
    pub fn leave(&mut self, deployment: i64, status: RunStatus) {
        self.shift(deployment, status, false);
        self.log.push(Change::Left(deployment, status));
    }

    /// A run was accepted: what [`Counts::write_minutes`] has to write.
    pub fn note_accepted(&mut self, deployment: i64, run_id: Id) {
        let minute = minute_of(run_id);
        self.log
            .push(Change::Minute(deployment, minute, Tally::ACCEPTED));
    }

    /// A run came into a state; the same, if that is its end.
    pub fn note_ended(&mut self, deployment: i64, run_id: Id, status: RunStatus) {
        if status.is_final() {
            let (minute, tally) = (minute_of(run_id), Tally::ended(status));
            self.log.push(Change::Minute(deployment, minute, tally));
        }
    }

    /// A run was removed: the same.
    pub fn note_removed(&mut self, deployment: i64, run_id: Id, status: RunStatus) {
        let (minute, tally) = (minute_of(run_id), Tally::removed(status));
        self.log.push(Change::Minute(deployment, minute, tally));
    }

    /// Adds to the file's minutes what was noted since the last commit; to be called once, at the end of the next one.
    pub fn write_minutes(&self, conn: &Connection) -> Result<()> {
        let mut minutes = Minutes::default();
        for change in &self.log {
            if let Change::Minute(deployment, minute, tally) = change {
                minutes.note(*deployment, *minute, *tally);
            }
        }
        minutes.add(conn)
    }

    /// The earliest of those minutes.
    pub fn earliest_minute(&self) -> Option<i64> {
        let minutes = self.log.iter().filter_map(|change| match change {
            Change::Minute(_, minute, _) => Some(*minute),
            _ => None,
        });
        minutes.min()
    }

    /// How many runs of a deployment may still begin, by its own limit.
    pub fn room(&mut self, conn: &Connection, deployment: i64) -> Result<u64> {
        let limit = self.own_limit(conn, deployment)?;
        let running = self.of(deployment).running;
        Ok(limit.unwrap_or(u64::MAX).saturating_sub(running))
    }

    fn own_limit(&mut self, conn: &Connection, deployment: i64) -> Result<Option<u64>> {
        let limits = match self.own_limits.take() {
            Some(limits) => limits,
            None => conn
                .prepare_cached(
                    "SELECT id, concurrency_limit FROM deployments WHERE concurrency_limit IS NOT NULL",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?,
        };
        let limit = limits.get(&deployment).copied();
        self.own_limits = Some(limits);
        Ok(limit)
    }

    /// A deployment's own limit changes: they are read anew when next asked for.
    pub fn forget_own_limits(&mut self) {
        self.own_limits = None;
    }

    /// How many runs of each deployment to take when `free` slots are: round after round, one each, within their shares.
    pub fn turns(
        &mut self,
        conn: &Connection,
        limits: &Limits,
        free: usize,
    ) -> Result<Vec<(i64, usize)>> {
        let free = free.min(limits.workers.saturating_sub(self.total.running as usize));
        if free == 0 || self.total.queued == 0 {
            return Ok(Vec::new());
        }
        let mut rooms = Vec::new();
        let waiting: Vec<(i64, Open)> = self
            .deployments()
            .filter(|(_, open)| open.queued > 0)
            .collect();
        for (id, open) in waiting {
            rooms.push((id, self.room(conn, id)?.min(open.queued), open.running));
        }
        // Whoever is held back by a limit of its own does not wait for a slot.
        let cap = match rooms.iter().filter(|(_, room, _)| *room > 0).count() {
            0 => return Ok(Vec::new()),
            1 => limits.workers as u64,
            _ => limits.share(),
        };
        let mut rooms: Vec<(i64, usize)> = rooms
            .into_iter()
            .map(|(id, room, running)| (id, room.min(cap.saturating_sub(running)) as usize))
            .collect();
        // The round goes on where the last one stopped.
        let turn = self.turn;
        let start = rooms.iter().position(|(id, _)| *id > turn).unwrap_or(0);
        rooms.rotate_left(start);
        let mut taken: Vec<(i64, usize)> = rooms.iter().map(|(id, _)| (*id, 0)).collect();
        let mut left = free;
        while left > 0 {
            let mut any = false;
            for ((id, room), (_, count)) in rooms.iter().zip(&mut taken) {
                if left > 0 && *count < *room {
                    *count += 1;
                    left -= 1;
                    any = true;
                    self.turn = *id;
                }
            }
            if !any {
                break;
            }
        }
        taken.retain(|(_, count)| *count > 0);
        Ok(taken)
    }

    /// Where the log stands, to undo back to.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// Takes back everything since `mark`.
    pub fn undo(&mut self, mark: usize) {
        // Read, perhaps, within what is now undone.
        self.own_limits = None;
        while self.log.len() > mark {
            match self.log.pop() {
                Some(Change::Entered(deployment, status)) => self.shift(deployment, status, false),
                Some(Change::Left(deployment, status)) => self.shift(deployment, status, true),
                Some(Change::Minute(..)) | None => {}
            }
        }
    }

    /// The commit is on disk: nothing to take back.
    pub fn keep(&mut self) {
        self.log.clear();
    }

    fn shift(&mut self, deployment: i64, status: RunStatus, up: bool) {
        let entry = self.open.entry(deployment).or_default();
        for open in [&mut *entry, &mut self.total] {
            if let Some(count) = open.of(status) {
                *count = if up {
                    *count + 1
                } else {
                    count.saturating_sub(1)
                };
            }
        }
        if *entry == Open::default() {
            self.open.remove(&deployment);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let mut counts = Counts::default();
        counts.enter(1, RunStatus::Queued);
        counts.keep();
        let mark = counts.mark();
        counts.leave(1, RunStatus::Queued);
        counts.enter(1, RunStatus::Running);
        counts.enter(2, RunStatus::Queued);
        counts.undo(mark);
        assert_eq!(
            counts.of(1),
            Open {
                queued: 1,
                ..Open::default()
            }
        );
        assert_eq!(counts.of(2), Open::default());
        assert_eq!(counts.deployments().count(), 1);
        assert_eq!(counts.total(), counts.of(1));
    }
}
