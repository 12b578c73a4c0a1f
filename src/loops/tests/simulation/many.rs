//! Runs repeated, and what is done to many runs or deliveries at once: asked for by the seed, carried out between any two
//! commits of others.

use serde_json::json;

use super::history::History;
use super::life::short;
use crate::bell::locked;
use crate::error::Code;
use crate::flow::delivery::DeliveryStatus;
use crate::flow::job::JobStatus;
use crate::flow::retry_from::{Begin, Edition, How};
use crate::store::audit::Actor;
use crate::store::deliveries::DeliveryFilter;
use crate::store::jobs::{NewJob, Work};
use crate::store::listing::RunFilter;
use crate::store::page::Page;
use crate::store::retry::By;
use crate::store::{Store, inspect};

/// The rows of keys that stand for jobs begin here.
const JOB_KEYS: i64 = 1_000;

impl History {
    /// Somebody repeats a run, or asks for something to be done to many.
    pub fn at_once(&mut self) {
        match self.roll(3) {
            0 => self.ask_for_job(),
            _ => self.repeat(),
        }
    }

    fn how(&self) -> How {
        let names = ["a", "ask", "again", "gate.then.yes", "late"];
        How {
            from: match self.roll(4) {
                0 => Begin::Start,
                1 => Begin::Step(names[self.roll(5) as usize].to_owned()),
                _ => Begin::Failed,
            },
            version: match self.roll(3) {
                0 => Edition::Latest,
                _ => Edition::Same,
            },
        }
    }

    fn repeat(&mut self) {
        let runs = &self.checks.last.runs;
        if runs.is_empty() {
            return;
        }
        let at = self.roll(runs.len() as u64) as usize;
        let Some(run) = runs.values().nth(at).map(|run| run.run_id) else {
            return;
        };
        let (how, new_id, now, store) = (self.how(), self.id(), self.now(), self.store());
        let by = By {
            source: "api",
            api_key: Some(1),
        };
        let done = store.run(run).and_then(|old| {
            let Some(old) = old else { return Ok(None) };
            let (new, retry) = store.prepare_retry(&old, &how, &by, new_id)?;
            let status = store.insert_retry(new, retry, &how, Actor::system(), now)?;
            Ok(Some(status))
        });
        self.tell("caller", || {
            format!(
                "repeats {} as {} ({how:?}): {done:?}",
                short(run),
                short(new_id)
            )
        });
        let may = [
            Code::RunsOpen,
            Code::NotFound,
            Code::ValidationError,
            Code::CallbackDeliveryRequired,
            Code::TooManyRequests,
        ];
        self.refused_only_by_a_crash("a repetition", done.err(), &may);
    }

    fn ask_for_job(&mut self) {
        let (now, job_id) = (self.now(), self.id());
        let filter = RunFilter {
            deployment: (self.roll(3) == 0).then(|| format!("w{}", self.roll(4))),
            ..RunFilter::default()
        };
        let store = self.store();
        let jobs = store.list_jobs(Page::first(1)).expect("readable").rows;
        let number = jobs.first().map_or(0, |last| last.id);
        let work = match self.roll(4) {
            0 => Work::CancelRuns {
                filter,
                reason: "by the script, all".to_owned(),
            },
            1 => Work::Redeliver {
                filter: DeliveryFilter {
                    status: match self.roll(2) {
                        0 => Vec::new(),
                        _ => vec![DeliveryStatus::Dead, DeliveryStatus::Gone],
                    },
                    ..DeliveryFilter::default()
                },
            },
            _ => Work::RetryRuns {
                filter,
                how: self.how(),
                from_dashboard: self.roll(2) == 0,
                api_key: Some(JOB_KEYS + number + 1),
            },
        };
        self.tell("operator", || format!("asks for {work:?}"));
        let count = store.count_matching(&work, || true).ok().flatten();
        let new = NewJob {
            job_id,
            work,
            count,
            asked: json!({}),
        };
        let done = store.start_job(new, Actor::system(), now).err();
        self.refused_only_by_a_crash("a job", done, &[]);
        if self.roll(12) == 0 {
            let done = store.cancel_job(job_id, Actor::system(), now).err();
            self.refused_only_by_a_crash("the end of a job", done, &[]);
        }
    }

    /// Begins a turn of the jobs, if there are any and none is under way.
    pub fn do_jobs(&mut self) -> bool {
        let Some(life) = &mut self.life else {
            return false;
        };
        let jobs = life.jobs.clone();
        if jobs.store.running_jobs().expect("readable").is_empty() {
            return false;
        }
        let begun = life.alone("jobs", move || {
            jobs.turn();
        });
        if begun {
            self.tell("jobs", || "begin".to_owned());
        }
        begun
    }

    /// Every job is at its end, and has repeated each run once; and what was taken over was not executed again.
    pub fn unfinished_jobs(&self, store: &Store) -> Vec<String> {
        let mut broken = Vec::new();
        let jobs = store.list_jobs(Page::first(Page::MAX)).expect("readable");
        let repeated = inspect::repeated(store, JOB_KEYS);
        for job in &jobs.rows {
            let is_through = job.status == JobStatus::Completed;
            if job.status == JobStatus::Running {
                broken.push(format!("at the end a job is under way: {job:?}"));
            }
            if is_through && job.count != Some(job.tally.total()) {
                broken.push(format!("a job leaves some out of its count: {job:?}"));
            }
            let own = repeated.get(&(JOB_KEYS + job.id)).copied();
            let (runs, of) = own.unwrap_or_default();
            let is_kept = self.setup.retain_runs.is_none();
            let is_retry = matches!(job.work, Work::RetryRuns { .. });
            if is_retry && (runs != of || (is_kept && runs != job.tally.done)) {
                broken.push(format!("a job made {runs} runs of {of}: {job:?}"));
            }
        }
        let seen = locked(&self.world.seen);
        for (run_id, path) in inspect::taken_over(store) {
            if seen.answers.contains_key(&format!("{run_id}:{path}")) {
                broken.push(format!(
                    "{path} of {} was taken over and executed",
                    short(run_id)
                ));
            }
        }
        broken
    }
}
