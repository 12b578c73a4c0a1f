//! What must hold once all is quiet.

use std::time::Duration;

use super::history::History;
use super::life::short;
use crate::bell::locked;
use crate::id::Id;
use crate::metrics::ring::Backlog;
use crate::store::inspect;

impl History {
    /// At the end all is quiet, everything that was accepted has ended, and everything owed has been sent, as far as
    /// the receivers let it.
    pub fn last_words(&mut self) {
        let store = self.store();
        let last = std::mem::take(&mut self.checks.last);
        let mut broken = Vec::new();
        for run in last.runs.values().filter(|run| !run.status.is_final()) {
            broken.push(format!(
                "at the end run {} is {:?}",
                short(run.run_id),
                run.status
            ));
        }
        for (index, wish) in self.wishes.iter().enumerate() {
            let found = |id: &&Id| last.runs.values().any(|run| run.run_id == **id);
            let runs = wish.ids.iter().filter(found).count();
            let answered = wish
                .answered
                .is_some_and(|(_, at)| self.latest.since(at) < Duration::from_secs(3600));
            if runs == 0 && answered && self.setup.retain_runs.is_none() {
                broken.push(format!(
                    "wish {index} was answered and its run is not there"
                ));
            }
        }
        let seen = locked(&self.world.seen);
        for (row, one) in &last.deliveries {
            let name = &one.event_id;
            if !one.status.is_final() {
                broken.push(format!("at the end {name} is {:?}", one.status));
            }
            let heard = seen.events.get(name).map(|event| &event.heard);
            for (number, status, class) in inspect::attempts(&store, *row) {
                if class.as_deref() == Some("interrupted") {
                    continue;
                }
                let truth = heard.and_then(|heard| heard.get(&number));
                if !truth.is_some_and(|truth| truth.is(status, class.as_deref())) {
                    broken.push(format!(
                        "attempt {number} of {name} is on record as {status:?} {class:?}, it was {truth:?}"
                    ));
                }
            }
        }
        for ((row, path), step) in &last.steps {
            let key = format!("{}:{path}", last.runs[row].run_id);
            let Some(answers) = seen.answers.get(&key) else {
                continue;
            };
            let serial = step.output.as_ref().and_then(|output| {
                serde_json::from_str::<serde_json::Value>(output)
                    .ok()?
                    .get("serial")?
                    .as_u64()
            });
            if serial.is_some_and(|serial| !answers.contains(&serial)) {
                broken.push(format!(
                    "step {path} has an output that no service gave: {:?}",
                    step.output
                ));
            }
        }
        drop(seen);
        let backlog = store.metrics().backlog();
        if backlog != Backlog::default() {
            broken.push(format!("at the end the metrics count {backlog:?}"));
        }
        broken.extend(inspect::unsound(&store));
        broken.extend(self.found_at_last(&store));
        broken.extend(self.unfinished_jobs(&store));
        self.checks.broken = broken;
        self.checks.last = last;
    }
}
