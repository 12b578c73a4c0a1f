//! What must hold between any two commits. Each rule is a sentence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::life::{Setup, short};
use crate::flow::delivery::{DeliveryStatus, SCHEDULE};
use crate::flow::run::RunStatus;
use crate::flow::step::StepStatus;
use crate::id::Id;
use crate::store::counts::Open;
use crate::store::inspect::{DeliveryState, RunState, Snapshot, StepState};
use crate::time::Timestamp;

/// Why the file may look different from before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// Whatever does not need a permission of its own.
    Any,
    /// Workers were handed runs, at most so many.
    TookRuns(usize),
    /// Senders were handed deliveries.
    TookSends,
    /// Upkeep: what is old goes, what was lost is given back.
    Upkeep,
    /// Everything that is held was given back.
    GivenBack,
    /// That delivery is owed again.
    Redelivered(Id),
    /// A part of what is done to many at once.
    Job,
}

/// How often a step of that name may fail and be tried again. The names are those of `script::WORKFLOWS`.
pub const RETRIES: [(&str, u32); 4] =
    [("call", 3), ("gate.then.yes", 1), ("late", 5), ("flaky", 2)];

/// What is remembered beside the last snapshot.
#[derive(Debug, Default)]
pub struct Checks {
    pub last: Snapshot,
    pub broken: Vec<String>,
    /// Failed attempts of earlier budgets, by delivery.
    pub spent: HashMap<i64, u32>,
    /// Whether schedules were changed.
    pub own_schedules: bool,
    /// Whether a crash came between the cause and the look at what it did.
    pub crashed: bool,
    /// Whether attempts may be gone.
    pub forgets: bool,
    /// The runs whose question could just now be asked of nobody.
    pub in_vain: BTreeSet<Id>,
}

impl Checks {
    pub fn say(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Holds a snapshot against the one before.
    pub fn after(
        &mut self,
        next: Snapshot,
        cause: Cause,
        setup: &Setup,
        usurped: bool,
        now: Timestamp,
    ) {
        let last = std::mem::take(&mut self.last);
        self.note_in_vain(&last, &next);
        self.counts(&next);
        self.broken.extend(next.minutes_off());
        self.flights(&next);
        self.holds(&next, usurped);
        for (row, before) in &last.runs {
            match next.runs.get(row) {
                Some(after) => self.run(before, after, cause, setup.hands),
                None => self.pruned(*row, before, &last, cause, setup, now),
            }
        }
        for (row, after) in &next.runs {
            let is_new = !last.runs.contains_key(row);
            // Its first turn is written with it, if a worker's slot is free.
            let turned = [
                RunStatus::Running,
                RunStatus::Waiting,
                RunStatus::AwaitingApproval,
                RunStatus::Completed,
            ];
            let is_turned = setup.hands && turned.contains(&after.status);
            if is_new && after.status != RunStatus::Queued && !is_turned {
                self.say(format!(
                    "run {} began as {:?}",
                    short(after.run_id),
                    after.status
                ));
            }
        }
        for (key, before) in &last.steps {
            if let Some(after) = next.steps.get(key) {
                self.step(&next, key, before, after);
            } else if next.runs.contains_key(&key.0) {
                self.say(format!("step {} is gone, its run is not", key.1));
            }
        }
        self.steps(&next);
        self.questions(&last, &next, cause, now);
        self.one_event_each(&next);
        for (row, after) in &next.deliveries {
            match last.deliveries.get(row) {
                Some(before) => {
                    let may_take = setup.hands || cause == Cause::TookSends;
                    self.delivery(before, after, cause, may_take, (*row, now));
                }
                None if after.status != DeliveryStatus::Pending && !setup.hands => {
                    self.say(format!("{} began as {:?}", after.event_id, after.status));
                }
                None => {}
            }
            self.budget(*row, after, cause);
        }
        match cause {
            Cause::TookRuns(limit) => {
                // What was handed over and given back since is handed out in vain.
                self.crashed |= usurped;
                self.took_runs(&last, &next, limit, setup);
            }
            Cause::TookSends => self.took_sends(&last, &next, setup),
            Cause::GivenBack if !self.crashed => self.given_back(&next),
            _ => {}
        }
        self.crashed = false;
        self.last = next;
    }

    /// What is counted in memory is what the file holds.
    fn counts(&mut self, next: &Snapshot) {
        let mut counted: BTreeMap<i64, Open> = BTreeMap::new();
        let mut total = Open::default();
        for run in next.runs.values().filter(|run| !run.status.is_final()) {
            for open in [counted.entry(run.deployment).or_default(), &mut total] {
                match run.status {
                    RunStatus::Queued => open.queued += 1,
                    RunStatus::Running => open.running += 1,
                    _ => open.parked += 1,
                }
            }
        }
        if counted != next.counted || total != next.total {
            self.say(format!(
                "memory counts {:?} ({:?}), the file holds {counted:?} ({total:?})",
                next.counted, next.total
            ));
        }
    }

    /// What is in flight to an origin is what its row says.
    fn flights(&mut self, next: &Snapshot) {
        for (origin, in_flight) in &next.in_flight {
            let of = |one: &&DeliveryState| {
                one.origin == *origin && one.status == DeliveryStatus::Delivering
            };
            let found = next.deliveries.values().filter(of).count();
            if found != *in_flight {
                self.say(format!(
                    "origin {origin} counts {in_flight} in flight, there are {found}"
                ));
            }
        }
    }

    /// Whoever waits or has ended holds nothing.
    fn holds(&mut self, next: &Snapshot, usurped: bool) {
        for (row, run) in &next.runs {
            let is_running = run.status == RunStatus::Running;
            if is_running != (run.token.is_some() && run.expires_at.is_some()) {
                self.say(format!(
                    "run {} is {:?} with claim {:?}",
                    short(run.run_id),
                    run.status,
                    run.token
                ));
            }
            let is_parked = matches!(
                run.status,
                RunStatus::Queued | RunStatus::Waiting | RunStatus::AwaitingApproval
            );
            if is_parked && !usurped && next.in_hand.contains(row) {
                self.say(format!(
                    "run {} is {:?} and still in hand",
                    short(run.run_id),
                    run.status
                ));
            }
        }
    }

    fn run(&mut self, before: &RunState, after: &RunState, cause: Cause, hands: bool) {
        use RunStatus::{AwaitingApproval, Cancelled, Completed, Failed, Queued, Running, Waiting};
        let name = short(before.run_id);
        if before.status.is_final() && before != after {
            return self.say(format!(
                "run {name} had ended and changed: {before:?} {after:?}"
            ));
        }
        let may_lose = matches!(cause, Cause::Upkeep | Cause::GivenBack);
        let is_legal = match (before.status, after.status) {
            (one, other) if one == other => true,
            (Queued, Running) => hands || matches!(cause, Cause::TookRuns(_)),
            (Running, Queued) => may_lose || self.in_vain.contains(&before.run_id),
            (Waiting, Queued) => cause == Cause::Upkeep,
            // That there is an answer, or that none came in time, `questions` looks after.
            (Running, AwaitingApproval) | (AwaitingApproval, Queued) => true,
            (Queued | Running | Waiting | AwaitingApproval, Cancelled) => true,
            (Running, Waiting | Completed | Failed) => true,
            _ => false,
        };
        if !is_legal {
            let (one, other) = (before.status, after.status);
            self.say(format!(
                "run {name} went from {one:?} to {other:?} by {cause:?}"
            ));
        }
        // Whoever could ask nobody may be taken again in the very commit that says so.
        let is_same = before.token == after.token || self.in_vain.contains(&before.run_id);
        if before.status == Running && after.status == Running && !is_same {
            self.say(format!("run {name} changed hands without being given back"));
        }
    }

    /// Only what has ended long ago, and is not owed to anyone, may go.
    fn pruned(
        &mut self,
        row: i64,
        run: &RunState,
        last: &Snapshot,
        cause: Cause,
        setup: &Setup,
        now: Timestamp,
    ) {
        let name = short(run.run_id);
        let is_old = setup
            .retain_runs
            .zip(run.ended_at)
            .is_some_and(|(kept, ended)| cause == Cause::Upkeep && now.since(ended) > kept);
        let mut owed = last
            .deliveries
            .values()
            .filter(|delivery| delivery.run == row);
        if !run.status.is_final() || !is_old {
            self.say(format!("run {name} is lost: it was {:?}", run.status));
        } else if owed.any(|delivery| !delivery.status.is_final()) {
            self.say(format!(
                "run {name} was removed and its result was still owed"
            ));
        } else if last.remembered.contains(&run.run_id) {
            self.say(format!(
                "run {name} was removed and its key still answers for it"
            ));
        }
    }

    fn step(
        &mut self,
        next: &Snapshot,
        key: &(i64, String),
        before: &StepState,
        after: &StepState,
    ) {
        let (row, path) = key;
        let what = || format!("step {path} of run {}", short(next.runs[row].run_id));
        if before.status.is_final() && before != after {
            self.say(format!(
                "{} was finished and changed: {before:?} {after:?}",
                what()
            ));
        }
        if after.tries < before.tries || after.failures < before.failures {
            self.say(format!("{} forgot a try: {before:?} {after:?}", what()));
        }
        let failed = after.failures - before.failures.min(after.failures);
        let is_late = path == "ask" && after.status == StepStatus::Failed;
        let may_fail = before.status == StepStatus::Running || is_late;
        if failed > u32::from(may_fail && after.status != StepStatus::Pending) {
            self.say(format!(
                "{} counts an interruption as a failure: {after:?}",
                what()
            ));
        }
    }

    fn steps(&mut self, next: &Snapshot) {
        let mut running = BTreeSet::new();
        for ((row, path), step) in &next.steps {
            let run = &next.runs[row];
            let name = short(run.run_id);
            if run.status.is_final() && !step.status.is_final() {
                self.say(format!(
                    "run {name} has ended and its step {path} is {:?}",
                    step.status
                ));
            }
            if step.status == StepStatus::Running
                && (run.status != RunStatus::Running || !running.insert(row))
            {
                self.say(format!(
                    "step {path} runs beside another, or while run {name} does not"
                ));
            }
            let most = RETRIES
                .iter()
                .find(|(name, _)| name == path)
                .map_or(0, |(_, most)| *most);
            if step.failures > most + 1 {
                self.say(format!(
                    "step {path} of run {name} failed {} times",
                    step.failures
                ));
            }
        }
    }

    /// A run that ended owes exactly one event, if its result goes anywhere; any other owes none.
    fn one_event_each(&mut self, next: &Snapshot) {
        let mut owed: HashMap<i64, usize> = HashMap::new();
        for delivery in next
            .deliveries
            .values()
            .filter(|one| one.approval.is_none())
        {
            *owed.entry(delivery.run).or_default() += 1;
        }
        for (row, run) in &next.runs {
            let expected = usize::from(run.status.is_final() && !run.is_direct);
            let found = owed.remove(row).unwrap_or_default();
            if found != expected {
                let name = short(run.run_id);
                self.say(format!(
                    "run {name} is {:?} and has {found} final events",
                    run.status
                ));
            }
        }
        if !owed.is_empty() {
            self.say(format!(
                "there are events of runs that are not there: {owed:?}"
            ));
        }
    }

    fn delivery(
        &mut self,
        before: &DeliveryState,
        after: &DeliveryState,
        cause: Cause,
        may_take: bool,
        (row, now): (i64, Timestamp),
    ) {
        use DeliveryStatus::{Cancelled, Dead, Delivered, Delivering, Gone, Pending};
        let name = &before.event_id;
        let is_asked = cause == Cause::Job || cause == Cause::Redelivered(before.delivery_id);
        let is_legal = match (before.status, after.status) {
            (Pending, Delivering) => may_take,
            (Delivering, Pending | Delivered | Dead | Gone) => true,
            (Pending | Delivering, Cancelled) => before.approval.is_some(),
            (one, other) if one == other => true,
            (one, Pending) => one.is_final() && is_asked,
            _ => false,
        };
        let (one, other) = (before.status, after.status);
        if !is_legal {
            self.say(format!(
                "{name} went from {one:?} to {other:?} by {cause:?}"
            ));
        }
        let by = |after: u32, before: u32| i64::from(after) - i64::from(before);
        let came = [
            by(after.accepted, before.accepted),
            by(after.failed, before.failed),
            by(after.interrupted, before.interrupted),
        ];
        let expected = match (one, other) {
            (Delivering, Delivered) => [[1, 0, 0]; 2],
            (Delivering, Dead | Gone | Cancelled) => [[0, 1, 0]; 2],
            (Delivering, Pending) => [[0, 1, 0], [0, 0, 1]],
            _ => [[0; 3]; 2],
        };
        if !expected.contains(&came) && !self.forgets {
            self.say(format!(
                "{name} went from {one:?} to {other:?} with {came:?} attempts"
            ));
        }
        if came[2] > 0 && !matches!(cause, Cause::Upkeep | Cause::GivenBack) {
            self.say(format!("an attempt of {name} was interrupted by {cause:?}"));
        }
        let wait = SCHEDULE
            .get(after.failures as usize)
            .copied()
            .unwrap_or_default();
        let is_failed = (one, other) == (Delivering, Pending) && came[1] > 0;
        if is_failed && !self.own_schedules && after.next_attempt_at < Some(now.plus(wait)) {
            self.say(format!(
                "{name} is due {:?}, before {wait:?} have passed",
                after.next_attempt_at
            ));
        }
        if is_asked && after.failures == 0 {
            self.spent.insert(row, after.failed);
        }
    }

    /// No more attempts than the schedule has; interruptions use none.
    fn budget(&mut self, row: i64, after: &DeliveryState, cause: Cause) {
        let name = &after.event_id;
        let is_sending = after.status == DeliveryStatus::Delivering;
        if after.open != u32::from(is_sending) {
            self.say(format!(
                "{name} is {:?} with {} attempts in flight",
                after.status, after.open
            ));
        }
        let spent = self.spent.get(&row).copied().unwrap_or_default();
        if !self.forgets && after.failures + spent != after.failed {
            let failures = after.failures;
            self.say(format!(
                "{name} counts {failures} failures, {} are on record since its budget began, after {cause:?}",
                after.failed - spent.min(after.failed)
            ));
        }
        let most = SCHEDULE.len() as u32;
        let is_over = after.status.is_final();
        if after.failures > most || (after.failures == most && !is_over) {
            self.say(format!(
                "{name} had {} attempts and is {:?}",
                after.failures, after.status
            ));
        }
        if after.status == DeliveryStatus::Dead && !self.own_schedules && after.failures != most {
            self.say(format!(
                "{name} was given up after {} attempts",
                after.failures
            ));
        }
    }

    /// Nobody above its share while another waits; round after round; the oldest first; and nobody idle without need.
    fn took_runs(&mut self, last: &Snapshot, next: &Snapshot, limit: usize, setup: &Setup) {
        let open = |deployment: i64| last.counted.get(&deployment).copied().unwrap_or_default();
        let room = |deployment: i64| {
            let own = last.deployments.get(&deployment).and_then(|one| one.limit);
            let left = own
                .unwrap_or(u64::MAX)
                .saturating_sub(open(deployment).running);
            left.min(open(deployment).queued)
        };
        let waiting: Vec<i64> = last
            .counted
            .keys()
            .copied()
            .filter(|id| room(*id) > 0)
            .collect();
        let workers = setup.workers as u64;
        let share = if waiting.len() > 1 {
            (workers * 3 / 4).max(1)
        } else {
            workers
        };
        let mut taken: BTreeMap<i64, u64> = BTreeMap::new();
        for (row, run) in &next.runs {
            let was_queued = |row: &i64| {
                last.runs
                    .get(row)
                    .is_some_and(|run| run.status == RunStatus::Queued)
            };
            if run.status == RunStatus::Running && was_queued(row) {
                *taken.entry(run.deployment).or_default() += 1;
                let mut older = next.runs.range(..row).filter(|(_, other)| {
                    other.deployment == run.deployment && other.status == RunStatus::Queued
                });
                if let Some((_, passed)) = older.next() {
                    self.say(format!(
                        "run {} was taken before {}",
                        short(run.run_id),
                        short(passed.run_id)
                    ));
                }
            }
        }
        let more = |id: i64| {
            let got = taken.get(&id).copied().unwrap_or_default();
            let running = open(id).running;
            (got, room(id).min(share.saturating_sub(running)) > got)
        };
        for (id, got) in &taken {
            let running = open(*id).running + got;
            if *got > room(*id) || running > share {
                self.say(format!(
                    "deployment {id} holds {running} of {workers} workers: its share is {share}, its own limit left room for {}", room(*id)
                ));
            }
            for other in waiting.iter().filter(|other| *other != id) {
                let (had, could) = more(*other);
                if could && had + 1 < *got {
                    self.say(format!(
                        "deployment {id} was given {got} runs, {other} only {had}"
                    ));
                }
            }
        }
        let got: u64 = taken.values().sum();
        let free = workers.saturating_sub(last.total.running).min(limit as u64);
        if got > free {
            self.say(format!("{got} runs were taken with {free} workers free"));
        }
        if got < free && !self.crashed && waiting.iter().any(|id| more(*id).1) {
            self.say(format!("{got} runs were taken, {free} could have been"));
        }
    }

    /// An origin that does not answer gets one at a time, any other its share.
    fn took_sends(&mut self, last: &Snapshot, next: &Snapshot, setup: &Setup) {
        let sending = |one: &&DeliveryState| one.status == DeliveryStatus::Delivering;
        let mut held: BTreeMap<i64, usize> = BTreeMap::new();
        for one in next.deliveries.values().filter(sending) {
            *held.entry(one.origin).or_default() += 1;
        }
        let total: usize = held.values().sum();
        if total > setup.shares.senders {
            self.say(format!(
                "{total} deliveries are under way, there are fewer senders"
            ));
        }
        for (row, one) in next.deliveries.iter().filter(|(_, one)| sending(one)) {
            let is_new = last
                .deliveries
                .get(row)
                .is_some_and(|before| !sending(&before));
            let is_silent = last.silent_origins.contains(&one.origin);
            let most = if is_silent {
                1
            } else {
                setup.shares.per_origin
            };
            if is_new && held[&one.origin] > most {
                self.say(format!(
                    "origin {} was given {} at once",
                    one.origin, held[&one.origin]
                ));
            }
        }
    }

    /// After a start nothing is held.
    fn given_back(&mut self, next: &Snapshot) {
        for run in next
            .runs
            .values()
            .filter(|run| run.status == RunStatus::Running)
        {
            self.say(format!(
                "run {} is still held by a dead process",
                short(run.run_id)
            ));
        }
        for one in next
            .deliveries
            .values()
            .filter(|one| one.status == DeliveryStatus::Delivering)
        {
            self.say(format!("{} is still held by a dead process", one.event_id));
        }
    }

    /// The longest that something may be kept waiting by what was lost.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let expires = |run: &RunState| run.expires_at;
        let of_runs = self.last.runs.values().filter_map(expires).min();
        let is_sending = self.last.deliveries.values().any(|one| one.token.is_some());
        // Deliveries are held for their deadline and half a minute.
        let of_sends = is_sending.then_some(Duration::from_secs(10));
        of_runs
            .map(|at| at.plus(Duration::from_secs(10)))
            .or(of_sends.map(|_| Timestamp(0)))
    }
}
