//! A turn of the jobs: a part of each that is under way, one commit a part.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Code, Result};
use crate::id::Dice;
use crate::loops::{NAP, REFUSED_NAP};
use crate::store::Store;
use crate::store::jobs::{Carried, JobRow, PREFIX};
use crate::time::Clock;

/// The longest rest between two parts, and that of jobs which all wait for a place in the queue.
const REST_MAX: Duration = Duration::from_millis(250);

/// What jobs are done with.
#[derive(Debug)]
pub struct Jobs {
    /// The file.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Clock,
    /// Chance: the ids of runs.
    pub dice: Arc<Dice>,
    /// Set when nothing more is to be begun.
    pub halt: Arc<AtomicBool>,
}

impl Jobs {
    /// A part of each job. Says how long to rest then; `None`: there is no job, until the bell rings.
    ///
    /// Rests for as long as the parts took, so that whatever the disk can do, half of it is others'.
    pub fn turn(&self) -> Option<Duration> {
        let began = self.clock.now();
        let jobs = match self.store.running_jobs() {
            Ok(jobs) => jobs,
            Err(fault) => {
                log::error!("jobs cannot be read: {fault}; trying again");
                return Some(REFUSED_NAP);
            }
        };
        let (mut goes_on, mut waits) = (false, false);
        for job in &jobs {
            if self.halt.load(Ordering::SeqCst) {
                break;
            }
            match self.part(job) {
                Ok(Carried::On | Carried::Through | Carried::Stopped) => goes_on = true,
                Ok(Carried::Waits) => waits = true,
                Err(fault) => {
                    let id = job.job_id.prefixed(PREFIX);
                    log::error!("{id} has to wait: {fault}; trying again");
                }
            }
        }
        match (jobs.is_empty(), goes_on, waits) {
            (true, ..) => None,
            (false, true, _) => Some(self.clock.now().since(began).min(REST_MAX)),
            (false, false, true) => Some(REST_MAX),
            // For the file.
            (false, false, false) => Some(NAP),
        }
    }

    fn part(&self, job: &JobRow) -> Result<Carried> {
        let now = self.clock.now();
        let part = Arc::new(self.store.job_part(job, &self.dice, now)?);
        let carried = match self.store.carry_out(job, &part, now) {
            Err(fault) if fault.code != Code::Unavailable => {
                // One of them cannot be done, which must cost the others nothing.
                let id = job.job_id.prefixed(PREFIX);
                log::error!("{id} failed over one of {}: {fault}", part.len());
                let one = Arc::new(part.first());
                match self.store.carry_out(job, &one, now) {
                    Err(fault) if fault.code != Code::Unavailable => {
                        self.store.carry_out(job, &Arc::new(one.given_up()), now)?
                    }
                    other => other?,
                }
            }
            other => other?,
        };
        if carried == Carried::Through {
            let (id, action) = (job.job_id.prefixed(PREFIX), job.work.action().as_str());
            log::info!("{id} ({action}) is through");
        }
        Ok(carried)
    }
}
