//! One seed, one history: who does what next, until nothing is owed any more.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::checks::{Cause, Checks};
use super::fiber::Wants;
use super::life::{Life, Setup, short};
use super::log::Log;
use super::people::{self, Said};
use super::script::{SECRETS, Wish};
use super::world::World;
use crate::bell::locked;
use crate::error::{Code, Error};
use crate::flow::run::RunStatus;
use crate::id::{Dice, Id};
use crate::store::turns::Shares;
use crate::store::writer::crash;
use crate::store::{Store, inspect};
use crate::time::{Clock, Timestamp};

const START: Timestamp = Timestamp(1_700_000_000_000);

/// When the processes of a history die.
#[derive(Debug, Clone, Copy)]
pub enum Crashes {
    /// As the seed says.
    Seeded,
    /// Once, in the first life: at the n-th commit, after it or before.
    Once(Option<(u64, bool)>),
}

/// A history.
pub struct History {
    pub seed: u64,
    pub setup: Setup,
    pub world: Arc<World>,
    pub checks: Checks,
    pub life: Option<Life>,
    pub wishes: Vec<Wish>,
    pub said: Said,
    /// Why the file may look different when it is next looked at.
    pub cause: Cause,
    /// The latest that the clock has shown.
    pub latest: Timestamp,
    pub has_own_schedules: bool,
    pub key: Mutex<Option<Id>>,
    script: Dice,
    dead: Arc<AtomicBool>,
    seen_changes: u64,
    crashes: Crashes,
    left: u64,
    /// How many lives there were, and how many commits the first one saw.
    pub lives: u64,
    pub commits: u64,
    /// When whoever wrote last looked at the clock, at the earliest.
    since: Timestamp,
}

impl History {
    pub fn new(folder: &Path, seed: u64, crashes: Crashes, is_told: bool) -> History {
        let script = Dice::seeded(seed);
        let roll = |sides: u64| u64::from_le_bytes(script.bytes()) % sides;
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let setup = Setup {
            path: folder.join(format!("{seed}.db")),
            workers: 2 + roll(4) as usize,
            max_queued: if roll(3) == 0 { 3 + roll(5) } else { 1_000 },
            shares: Shares {
                senders: 2 + roll(5) as usize,
                per_origin: 1 + roll(2) as usize,
            },
            retain_runs: (roll(3) == 0).then(|| hours(1 + roll(60))),
            retain_attempts: (roll(6) == 0).then(|| hours(1 + roll(60))),
            downtime_grace: hours(1),
            master_keys: match roll(6) {
                0 => vec!["a master key of enough characters, the first".to_owned()],
                _ => Vec::new(),
            },
            hands: false,
        };
        let setup = Setup {
            hands: roll(2) == 0,
            ..setup
        };
        let has_own_schedules = roll(3) == 0;
        let left = match crashes {
            Crashes::Seeded => 1 + roll(4),
            Crashes::Once(_) => 1,
        };
        let dead = Arc::<AtomicBool>::default();
        let world = World {
            dice: Dice::seeded(seed ^ 0xABCD),
            store: Mutex::default(),
            seen: Mutex::default(),
            dead: dead.clone(),
            clock: Clock::manual(START),
            log: Arc::new(Log::new(is_told)),
            usurped: AtomicBool::new(false),
            secrets: Mutex::new(SECRETS.map(str::to_owned).to_vec()),
        };
        let checks = Checks {
            forgets: setup.retain_attempts.is_some(),
            ..Checks::default()
        };
        History {
            seed,
            setup,
            world: Arc::new(world),
            checks,
            life: None,
            wishes: Vec::new(),
            said: Said::default(),
            cause: Cause::Any,
            latest: START,
            has_own_schedules,
            key: Mutex::default(),
            script,
            dead,
            seen_changes: 0,
            crashes,
            left,
            lives: 0,
            commits: 0,
            since: START,
        }
    }

    pub fn roll(&self, sides: u64) -> u64 {
        u64::from_le_bytes(self.script.bytes()) % sides.max(1)
    }

    pub fn id(&self) -> Id {
        Id::new(self.now(), &self.script)
    }

    pub fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    pub fn tell(&self, who: &str, what: impl FnOnce() -> String) {
        self.world.log.say(self.now(), who, what);
    }

    pub fn store(&self) -> Arc<Store> {
        self.life
            .as_ref()
            .expect("a life is under way")
            .store
            .clone()
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub fn refused_only_by_a_crash(&mut self, what: &str, refused: Option<Error>, may: &[Code]) {
        if let Some(fault) = refused
            && !may.contains(&fault.code)
            && !self.is_dead()
        {
            self.checks.say(format!("{what} was refused: {fault}"));
        }
    }

    fn advance(&mut self, to: Timestamp) {
        let to = to.max(self.now());
        self.world.clock.set(to);
        self.latest = self.latest.max(to);
    }

    /// Looks at the file if it has changed, and holds it against every rule.
    fn look(&mut self) {
        let said = std::mem::take(&mut locked(&self.world.seen).violations);
        self.checks.broken.extend(said);
        let cause = std::mem::replace(&mut self.cause, Cause::Any);
        if self.is_dead() {
            // Kept for the next life, which sees what the last commit did.
            self.cause = cause;
            self.checks.crashed = true;
            return;
        }
        let Some(life) = &self.life else { return };
        let changes = inspect::changes(&life.store);
        let took = matches!(cause, Cause::TookRuns(_));
        if changes == self.seen_changes && !took {
            return;
        }
        self.seen_changes = changes;
        let (next, usurped) = (inspect::snapshot(&life.store, None), life.usurped);
        self.checks
            .after(next, cause, &self.setup, usurped, self.since);
    }

    /// A new process. What it finds is what the last one left; what it gives back is what that one held.
    fn start(&mut self) {
        self.lives += 1;
        let at = match self.crashes {
            Crashes::Seeded if self.left > 0 && self.roll(4) > 0 => {
                Some((1 + self.roll(70), self.roll(2) == 0))
            }
            Crashes::Once(at) if self.lives == 1 => at,
            _ => None,
        };
        if self.lives > 1 && self.roll(8) == 0 {
            let back = self.roll(3_600_000) as i64;
            self.world.clock.set(Timestamp(self.now().0 - back));
        }
        if !self.setup.master_keys.is_empty() && self.roll(3) == 0 {
            let number = self.lives;
            let key = format!("a master key of enough characters, number {number}");
            self.setup.master_keys.insert(0, key);
        }
        self.tell("process", || {
            format!("starts (life {}), to crash at commit {at:?}", self.lives)
        });
        let seed = self.seed.wrapping_add(self.lives << 32);
        self.world.usurped.store(false, Ordering::SeqCst);
        let life = Life::begin(&self.setup, &self.world, seed, at);
        let (store, upkeep) = (life.store.clone(), life.upkeep.clone());
        self.life = Some(life);
        self.seen_changes = u64::MAX;
        self.look();
        self.cause = Cause::GivenBack;
        let recovered = upkeep.recover();
        self.tell("process", || format!("takes back {recovered:?}"));
        self.refused_only_by_a_crash("recovery", recovered.err(), &[]);
        drop(store);
        self.look();
    }

    /// The process is dead: nothing it holds does anything any more.
    fn bury(&mut self, why: &str) {
        self.tell("process", || format!("dies {why}"));
        self.dead.store(true, Ordering::SeqCst);
        if self.lives == 1 {
            self.commits = crash::commits();
        }
        self.left = self.left.saturating_sub(1);
        if let Some(life) = self.life.take() {
            let panicked = life.end(&self.world);
            if panicked > 0 {
                self.checks.say(format!("{panicked} turns panicked"));
            }
        }
    }

    /// Runs it to its end. What is broken stands in `checks`.
    pub fn run(&mut self) {
        self.start();
        for _ in 0..3 {
            self.deploy();
            self.settle();
        }
        for name in people::NAMES {
            self.hire(name);
            self.settle();
        }
        let beats = 60 + self.roll(100);
        for _ in 0..beats {
            if self.checks.broken.is_empty() {
                self.beat();
                self.settle();
            }
        }
        let mut beats = 0;
        while self.checks.broken.is_empty() && self.drain() {
            self.settle();
            beats += 1;
            if beats > 30_000 {
                self.checks.say("it does not come to rest".to_owned());
            }
        }
        if self.checks.broken.is_empty() {
            self.last_words();
        }
        if self.lives == 1 {
            self.commits = crash::commits();
        }
        self.dead.store(true, Ordering::SeqCst);
        if let Some(life) = self.life.take() {
            life.end(&self.world);
        }
    }

    /// After each beat: who ended goes, the file is looked at, a dead process is followed by the next.
    fn settle(&mut self) {
        self.look();
        if let Some(life) = &mut self.life {
            let mut at = 0;
            while at < life.fibers.len() {
                if life.fibers[at].is_over() {
                    let fiber = life.fibers.remove(at);
                    let name = fiber.name.clone();
                    if fiber.end() {
                        self.checks.say(format!("{name} panicked"));
                    }
                } else {
                    at += 1;
                }
            }
        }
        while self.is_dead() && self.checks.broken.is_empty() {
            self.bury("in a commit");
            self.start();
        }
    }

    fn beat(&mut self) {
        self.since = self.now();
        match self.roll(100) {
            0..12 => self.ask(),
            12..16 => self.answer(),
            16..24 => self.take_runs(),
            24..30 => self.take_sends(),
            30..42 => drop(self.begin()),
            42..76 => drop(self.resume()),
            76..80 => drop(self.keep_up()),
            80..82 => drop(self.do_jobs()),
            82..88 => self.pass(),
            88..91 => self.cancel(),
            91..93 => self.redeliver(),
            93..96 => self.operate(),
            96 | 97 => self.lose(),
            98 if matches!(self.crashes, Crashes::Seeded) && self.left > 0 => {
                self.bury("between two commits");
                self.start();
            }
            99 => self.at_once(),
            _ => {}
        }
    }

    fn take_runs(&mut self) {
        let limit = 1 + self.roll(3) as usize;
        let Some(life) = &mut self.life else { return };
        let is_asleep = !life.store.bells().has_work();
        let was_handed = |id: Id| {
            let mut runs = self.checks.last.runs.values();
            runs.any(|run| run.run_id == id && run.status != RunStatus::Queued)
        };
        let claims = life.worker.take(limit);
        let names: Vec<String> = claims.iter().map(|claim| short(claim.run_id)).collect();
        let handed = claims
            .iter()
            .filter(|claim| was_handed(claim.run_id))
            .count();
        life.runs.extend(claims);
        // What was handed over before is not taken now.
        self.cause = Cause::TookRuns(limit - handed);
        if is_asleep && self.checks.last.total.queued == 0 {
            self.cause = Cause::Any;
        }
        self.tell("workers", || format!("take {names:?} of at most {limit}"));
    }

    fn take_sends(&mut self) {
        let limit = 1 + self.roll(3) as usize;
        let Some(life) = &mut self.life else { return };
        let claims = life.sender.take(limit);
        let names: Vec<String> = claims.iter().map(|claim| short(claim.run_id)).collect();
        life.sends.extend(claims);
        self.cause = Cause::TookSends;
        self.tell("senders", || format!("take {names:?} of at most {limit}"));
    }

    /// A claim that is held comes into somebody's hands.
    fn begin(&mut self) -> bool {
        let (runs, sends) = match &self.life {
            Some(life) => (life.runs.len(), life.sends.len()),
            None => return false,
        };
        if runs + sends == 0 {
            return false;
        }
        let at = self.roll((runs + sends) as u64) as usize;
        let Some(life) = &mut self.life else {
            return false;
        };
        if at < runs {
            life.work(at);
        } else {
            life.send(at - runs);
        }
        let name = life.fibers.last().map(|fiber| fiber.name.clone());
        self.tell(&name.unwrap_or_default(), || "begins".to_owned());
        true
    }

    /// Somebody who waits goes on.
    fn resume(&mut self) -> bool {
        let now = self.now();
        let Some(life) = &self.life else { return false };
        let ready: Vec<usize> = (0..life.fibers.len())
            .filter(|at| life.fibers[*at].is_ready(now))
            .collect();
        if ready.is_empty() {
            return false;
        }
        let at = ready[self.roll(ready.len() as u64) as usize];
        let Some(life) = &mut self.life else {
            return false;
        };
        let fiber = &mut life.fibers[at];
        let writes = matches!(fiber.wants, Wants::Write);
        self.since = fiber.since;
        fiber.resume();
        fiber.since = now;
        let (name, is_over) = (fiber.name.clone(), fiber.is_over());
        match name.as_str() {
            "upkeep" => self.cause = Cause::Upkeep,
            "jobs" => self.cause = Cause::Job,
            _ => {}
        }
        self.tell(&name, || {
            let what = if writes { "has written" } else { "has heard" };
            format!("{what}{}", if is_over { ", and is done" } else { "" })
        });
        true
    }

    fn keep_up(&mut self) -> bool {
        let begun = self.life.as_mut().is_some_and(Life::keep_up);
        if begun {
            self.tell("upkeep", || "begins".to_owned());
        }
        begun
    }

    /// Time passes: a little, until someone is answered, or a leap.
    fn pass(&mut self) {
        let now = self.now();
        let to = match self.roll(8) {
            0..4 => Some(Timestamp(now.0 + self.roll(6_000) as i64)),
            4 => Some(Timestamp(now.0 + self.roll(200_000) as i64)),
            5 if self.roll(5) == 0 => Some(Timestamp(now.0 + self.roll(30 * 3_600_000) as i64)),
            _ => self.next_answer(),
        };
        self.advance(to.unwrap_or(now));
    }

    fn next_answer(&self) -> Option<Timestamp> {
        let fibers = self.life.iter().flat_map(|life| &life.fibers);
        let answers = fibers.filter_map(|fiber| match &fiber.wants {
            Wants::Answer(at, _) => Some(*at),
            _ => None,
        });
        answers.min()
    }

    /// A claim is lost, or all are given back under the hands of those who hold them.
    fn lose(&mut self) {
        let which = self.roll(5);
        let Some(life) = &mut self.life else { return };
        match which {
            0 if !life.runs.is_empty() => drop(life.runs.remove(0)),
            1 if !life.sends.is_empty() => drop(life.sends.remove(0)),
            2 | 3 => {
                life.usurped = true;
                self.world.usurped.store(true, Ordering::SeqCst);
                self.cause = Cause::GivenBack;
                let done = life.upkeep.recover();
                self.tell("somebody", || format!("gives everything back: {done:?}"));
                self.refused_only_by_a_crash("giving back", done.err(), &[]);
                return;
            }
            _ => return,
        }
        self.tell("somebody", || "loses a claim".to_owned());
    }

    /// Whatever is left to do, in turn; then time, to the next thing that is due. False: there is nothing.
    fn drain(&mut self) -> bool {
        self.since = self.now();
        if self.resume() || self.begin() {
            return true;
        }
        let (before, lives) = (self.seen_changes, self.lives);
        for step in [History::take_runs, History::take_sends] {
            step(self);
            self.settle();
            // A new life has not looked for anything yet.
            if self.is_dead()
                || self.lives != lives
                || self
                    .life
                    .as_ref()
                    .is_some_and(|life| life.runs.len() + life.sends.len() > 0)
            {
                return true;
            }
        }
        if before != self.seen_changes {
            return true;
        }
        self.do_jobs();
        self.finish("jobs");
        if before != self.seen_changes || self.lives != lives {
            return true;
        }
        let now = self.now();
        let store = self.store();
        let wake = store.next_wake().expect("readable");
        let due = store.next_delivery(now).expect("readable");
        // Whoever comes after a crash wants the file for himself.
        drop(store);
        let lost = self.checks.next_expiry();
        let lost = lost.map(|at| at.max(now.plus(Duration::from_secs(10))));
        let next = [wake, due, lost, self.next_answer()];
        let next = next.into_iter().flatten().min();
        let is_due = wake.is_some_and(|wake| wake <= now);
        if is_due || lost.is_some() || next.is_none() || self.roll(8) == 0 {
            self.keep_up();
            self.finish("upkeep");
            if before != self.seen_changes || self.lives != lives {
                return true;
            }
        }
        if let Some(at) = next {
            self.advance(at.max(Timestamp(now.0 + 1)));
        }
        next.is_some()
    }

    /// Goes on until that is done.
    fn finish(&mut self, name: &str) {
        let is_at_it = |life: &Life| life.fibers.iter().any(|fiber| fiber.name == name);
        while self.life.as_ref().is_some_and(is_at_it) {
            self.resume();
            self.settle();
        }
    }
}
