//! The whole engine without threads: a manual clock, a scripted outside, a crash at every commit. One seed, one history.
//!
//! What must hold: no answered run is lost, each has exactly one final event, no finished step is executed again,
//! attempts keep to the schedule, and every byte of an event is the same on every attempt.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::bell::{Stop, locked};
use crate::error::Error;
use crate::flow::delivery::SCHEDULE;
use crate::flow::expr::SecretMark;
use crate::flow::run::RunStatus;
use crate::flow::source::Format;
use crate::flow::step::{ErrorClass, StepStatus};
use crate::id::{Dice, Id};
use crate::loops::delivery::Sender;
use crate::loops::upkeep::Upkeep;
use crate::loops::worker::Worker;
use crate::metrics::ring::Backlog;
use crate::outbound::{Exchange, Outside, Purpose, Request, Response};
use crate::steps::Registry;
use crate::store::audit::Actor;
use crate::store::deliveries::DeliveryFilter;
use crate::store::deployments::NewVersion;
use crate::store::listing::RunFilter;
use crate::store::page::Page;
use crate::store::runs::{Idempotency, Inserted, NewRun};
use crate::store::sending::Shares;
use crate::store::writer::crash;
use crate::store::{Options, Store};
use crate::time::{Clock, Timestamp};

const START: Timestamp = Timestamp(1_700_000_000_000);

/// Every kind of way a run can go.
const WORKFLOWS: [&str; 5] = [
    "steps: [{id: a, set: {x: 1}}]\noutput: \"{{ a.output.x }}\"",
    "inputs: {n: {type: number, default: 3}}
steps:
  - {id: a, set: {x: \"{{ n }}\"}}
  - {id: call, http: {method: POST, url: \"http://service.test/{{ n }}\", json: {x: \"{{ a.output.x }}\"}}, retry: {max: 3, backoff: 1s..8s}}
  - {id: nap, delay: 5s}
  - {id: again, http: {url: \"http://service.test/again\"}, on_failure: continue}",
    "steps:
  - {id: first, http: {url: \"http://service.test/first\"}}
  - id: gate
    condition: \"first.output.ok\"
    then: [{id: yes, http: {url: \"http://service.test/yes\"}, retry: {max: 1, backoff: 2s..2s}}]
    else: [{id: no, set: {x: 2}}]",
    "steps: [{id: nap, delay: 1m}, {id: call, http: {url: \"http://service.test/late\"}, retry: {max: 5, backoff: 1s..1m}}]",
    "steps: [{id: bad, set: {x: \"{{ run.metadata.missing }}\"}}]",
];

/// What the world saw.
#[derive(Default)]
struct Seen {
    /// Bodies of events, by webhook-id.
    events: HashMap<String, Vec<u8>>,
    accepted: BTreeMap<String, u32>,
    violations: Vec<String>,
}

/// A world that fails, answers late or twice, by the seed.
struct World {
    dice: Dice,
    store: Mutex<Option<Arc<Store>>>,
    seen: Mutex<Seen>,
}

fn answer(status: u16, body: Value) -> Exchange {
    let response = Response {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
        ..Response::default()
    };
    Exchange {
        response: Some(response),
        duration_ms: 3,
        ..Exchange::default()
    }
}

impl World {
    fn roll(&self, sides: u64) -> u64 {
        u64::from_le_bytes(self.dice.bytes()) % sides
    }

    /// A step that is on record as finished must not come here again.
    fn check_step(&self, key: &str) {
        let mut parts = key.split(':');
        let (Some(run), Some(path)) = (parts.next(), parts.next()) else {
            return;
        };
        let run = Id::parse(run, "").expect("the key begins with a run id");
        let store = locked(&self.store)
            .clone()
            .expect("a store is open while steps run");
        let row = store.run(run).expect("readable").expect("the run exists");
        let steps = store
            .list_steps(row.id, Page::first(100))
            .expect("readable")
            .rows;
        let step = steps.iter().find(|step| step.path == path);
        if step.is_none_or(|step| step.status != StepStatus::Running) {
            let status = step.map(|step| step.status);
            locked(&self.seen)
                .violations
                .push(format!("{key} was executed while {status:?}"));
        }
    }

    fn callback(&self, request: &Request<'_>) -> Exchange {
        let header = |name: &str| {
            let found = request.headers.iter().find(|(other, _)| other == name);
            found
                .map(|(_, value)| value.clone())
                .expect("every attempt has it")
        };
        let id = header("webhook-id");
        let mut seen = locked(&self.seen);
        let first = seen
            .events
            .entry(id.clone())
            .or_insert_with(|| request.body.to_vec())
            .clone();
        if first != request.body {
            seen.violations
                .push(format!("{id} was sent with other bytes"));
        }
        match self.roll(6) {
            0 => answer(500, json!({})),
            1 => fails(ErrorClass::Timeout),
            2 => fails(ErrorClass::Connect),
            _ => {
                *seen.accepted.entry(id).or_default() += 1;
                answer(200, json!({}))
            }
        }
    }
}

fn fails(class: ErrorClass) -> Exchange {
    Exchange {
        error: Some((class, "as scripted".to_owned())),
        duration_ms: 5,
        ..Exchange::default()
    }
}

impl Outside for World {
    fn exchange(&self, request: &Request<'_>, _stop: &Stop) -> Exchange {
        if request.purpose == Purpose::Callbacks {
            return self.callback(request);
        }
        let key = request
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"));
        self.check_step(&key.expect("every step sends its key").1);
        match self.roll(5) {
            0 => answer(503, json!({})),
            1 => fails(ErrorClass::Reset),
            n => answer(200, json!({"ok": n == 2})),
        }
    }
}

/// One life of the process: a store and the loops' bodies.
struct Life {
    store: Arc<Store>,
    worker: Worker,
    sender: Sender,
    upkeep: Upkeep,
}

impl Life {
    fn begin(
        path: &Path,
        world: &Arc<World>,
        clock: &Clock,
        seed: u64,
        dead: &Arc<AtomicBool>,
    ) -> Option<Life> {
        let kinds = Arc::new(Registry::builtin());
        let options = Options {
            path: path.to_owned(),
            master_keys: Vec::new(),
            kinds: kinds.specs(),
            workers: 4,
            max_queued: 1_000,
            shares: Shares {
                senders: 4,
                per_origin: 2,
            },
            inline: true,
        };
        let (store, _) =
            Store::open(options, clock.now()).expect("the file opens after every crash");
        // Half of all histories hand runs over in the commit that inserts them.
        if seed.is_multiple_of(2) {
            store.open_hands();
        }
        *locked(&world.store) = Some(store.clone());
        let dice = Arc::new(Dice::seeded(seed));
        let outside: Arc<dyn Outside> = world.clone();
        let worker = Worker {
            store: store.clone(),
            kinds,
            outside: outside.clone(),
            mark: SecretMark::new([7; 16]),
            clock: clock.clone(),
            dice: dice.clone(),
            halt: dead.clone(),
        };
        let sender = Sender {
            store: store.clone(),
            outside,
            clock: clock.clone(),
            dice,
            stop: Stop::default(),
            halt: dead.clone(),
            taken_at: AtomicI64::new(0),
        };
        let upkeep = Upkeep {
            store: store.clone(),
            clock: clock.clone(),
            retain_runs: None,
            retain_attempts: None,
            is_paused: false,
            state: Mutex::default(),
        };
        let life = Life {
            store,
            worker,
            sender,
            upkeep,
        };
        life.upkeep.recover().is_ok().then_some(life)
    }

    fn turn(&self) -> bool {
        let claims = self.worker.take(2);
        let deliveries = self.sender.take(2);
        let busy = !claims.is_empty() || !deliveries.is_empty();
        for claim in claims {
            let mut next = Some(claim);
            while let Some(claim) = next {
                next = self.worker.turn(claim);
            }
        }
        for claim in deliveries {
            self.sender.turn(claim);
        }
        self.upkeep.turn();
        busy
    }
}

/// A history: what is asked of the engine, in order, by the seed.
struct History {
    seed: u64,
    path: std::path::PathBuf,
    clock: Clock,
    world: Arc<World>,
    dead: Arc<AtomicBool>,
    script: Dice,
    asked: Vec<NewRun>,
    answered: Vec<Id>,
}

impl History {
    fn new(folder: &Path, seed: u64) -> History {
        let world = World {
            dice: Dice::seeded(seed ^ 0xABCD),
            store: Mutex::default(),
            seen: Mutex::default(),
        };
        History {
            seed,
            path: folder.join(format!("{seed}.db")),
            clock: Clock::manual(START),
            world: Arc::new(world),
            dead: Arc::default(),
            script: Dice::seeded(seed),
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn roll(&self, sides: u64) -> u64 {
        u64::from_le_bytes(self.script.bytes()) % sides
    }

    fn life(&self, crash_at: Option<(u64, bool)>) -> Option<Life> {
        *locked(&self.world.store) = None;
        crash::live(crash_at, &self.dead);
        Life::begin(&self.path, &self.world, &self.clock, self.seed, &self.dead)
    }

    fn deploy(&self, life: &Life) {
        for (number, definition) in WORKFLOWS.iter().enumerate() {
            let new = NewVersion {
                deployment: format!("w{number}"),
                variant: "prod".to_owned(),
                format: Format::Yaml,
                definition: (*definition).to_owned(),
                digest: [number as u8; 32],
                endpoint_id: Id::new(START, &self.script),
                variant_id: Id::new(START, &self.script),
                secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            };
            life.store
                .put_version(new, Actor::system(), START)
                .expect("deployed");
        }
    }

    /// A caller that asks again, under the same key, until it is answered.
    fn ask(&mut self, life: &Life) {
        if self.asked.is_empty() || self.roll(3) > 0 {
            let directory = life.store.directory();
            let number = self.roll(WORKFLOWS.len() as u64);
            let row = &directory
                .deployment(&format!("w{number}"))
                .expect("deployed")
                .row;
            let mut inputs = Map::new();
            inputs.insert("n".to_owned(), json!(self.roll(9)));
            self.asked.push(NewRun {
                run_id: Id::new(self.clock.now(), &self.script),
                deployment: row.id,
                version: row.variants[0].version_id,
                source: "api",
                callback_url: Some(format!("http://receiver{}.test/hook", self.roll(3))),
                api_key: None,
                user: None,
                metadata: Map::new(),
                inputs,
                idempotency: Some(Idempotency {
                    scope: "key:1".to_owned(),
                    key: format!("{}", self.asked.len()),
                    digest: [9; 32],
                }),
                waits: false,
            });
        }
        let mut new = self.asked[self.roll(self.asked.len() as u64) as usize].clone();
        let first = new.run_id;
        new.run_id = Id::new(self.clock.now(), &self.script);
        if !self.answered.contains(&first) {
            new.run_id = first;
        }
        match life.store.insert_run(new, self.clock.now()) {
            Ok(Inserted::New(_)) => self.answered.push(first),
            Ok(Inserted::Replayed(run_id, _)) => {
                assert_eq!(run_id, first, "one key started two runs");
                if !self.answered.contains(&first) {
                    self.answered.push(first);
                }
            }
            Err(_) => assert!(
                self.dead.load(Ordering::SeqCst),
                "an insert is refused only by a crash"
            ),
        }
    }

    fn is_refused_only_by_a_crash(&self, what: &str, refused: Option<Error>) {
        if let Some(fault) = refused {
            let is_dead = self.dead.load(Ordering::SeqCst);
            assert!(is_dead, "seed {}: {what} was refused: {fault}", self.seed);
        }
    }

    fn step(&mut self, life: &Life) {
        match self.roll(10) {
            0..3 => self.ask(life),
            3 if !self.answered.is_empty() => {
                let run = self.answered[self.roll(self.answered.len() as u64) as usize];
                let reason = "by the script".to_owned();
                let done = life
                    .store
                    .cancel_run(run, reason, Actor::system(), self.clock.now());
                self.is_refused_only_by_a_crash("a cancellation", done.err());
            }
            4 if !self.answered.is_empty() => {
                let run = self.answered[self.roll(self.answered.len() as u64) as usize];
                let done = life.store.redeliver(run, Actor::system(), self.clock.now());
                self.is_refused_only_by_a_crash("a redelivery", done.err());
            }
            5 | 6 => {
                let ms = self.roll(20_000) as i64;
                self.clock.set(Timestamp(self.clock.now().0 + ms));
            }
            _ => {
                life.turn();
            }
        }
    }

    /// Runs the history; the `crash_at`-th commit of its second life ends that life. Returns how many commits that
    /// life saw.
    fn run(&mut self, crash_at: Option<(u64, bool)>) -> u64 {
        if let Some(life) = self.life(None) {
            self.deploy(&life);
        }
        let mut commits = 0;
        if let Some(life) = self.life(crash_at) {
            for _ in 0..24 {
                if !self.dead.load(Ordering::SeqCst) {
                    self.step(&life);
                }
            }
            commits = crash::commits();
        }
        let life = self.life(None).expect("nothing crashes this life");
        // Time passes until nothing is owed any more: the schedule is over after 76 h and its jitter.
        for _ in 0..2_000 {
            if !life.turn() {
                let wake = life.store.next_wake().expect("readable");
                let due = life
                    .store
                    .next_delivery(self.clock.now())
                    .expect("readable");
                match wake.into_iter().chain(due).min() {
                    Some(next) => self.clock.set(next.max(self.clock.now())),
                    // What upkeep woke in this very turn is taken in the next.
                    None if life.store.open_runs().expect("readable") == (0, 0, 0) => break,
                    None => {}
                }
            }
        }
        self.check(&life.store);
        commits
    }

    fn check(&self, store: &Store) {
        let seed = self.seed;
        let seen = locked(&self.world.seen);
        assert_eq!(seen.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!(
            store.open_runs().expect("readable"),
            (0, 0, 0),
            "seed {seed}: runs are left open"
        );
        let counted = store.metrics().backlog();
        assert_eq!(counted, Backlog::default(), "seed {seed}: what is counted");
        for run_id in &self.answered {
            let run = store
                .run(*run_id)
                .expect("readable")
                .unwrap_or_else(|| panic!("seed {seed}: lost {run_id}"));
            assert!(
                run.status.is_final(),
                "seed {seed}: {run_id} is {:?}",
                run.status
            );
        }
        let runs = store
            .list_runs(&RunFilter::default(), Page::first(500))
            .expect("readable")
            .rows;
        let deliveries = store
            .list_deliveries(&DeliveryFilter::default(), Page::first(500))
            .expect("readable")
            .rows;
        assert_eq!(
            runs.len(),
            deliveries.len(),
            "seed {seed}: one final event a run"
        );
        for delivery in deliveries {
            let (row, attempts) = store
                .delivery(delivery.delivery_id)
                .expect("readable")
                .expect("listed");
            assert!(row.status.is_final(), "seed {seed}: {:?}", row.status);
            let manual = attempts.iter().any(|attempt| attempt.trigger == "manual");
            let counted = attempts
                .iter()
                .filter(|one| one.error_class.as_deref() != Some("interrupted"))
                .count();
            assert!(
                counted <= SCHEDULE.len() || manual,
                "seed {seed}: {counted} attempts"
            );
            assert!(
                attempts.iter().all(|attempt| attempt.duration_ms.is_some()),
                "seed {seed}"
            );
        }
        for run in runs {
            let steps = store
                .list_steps(run.id, Page::first(100))
                .expect("readable")
                .rows;
            assert!(
                steps.iter().all(|step| step.status.is_final()),
                "seed {seed}: an open step of a final run"
            );
            if run.status == RunStatus::Completed {
                assert!(
                    steps
                        .iter()
                        .all(|step| step.status != StepStatus::Cancelled),
                    "seed {seed}"
                );
            }
        }
    }
}

fn folder() -> tempfile::TempDir {
    // Memory where there is some: what is tested is the logic of a crash, not the disk's.
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

fn forget(history: &History) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        drop(std::fs::remove_file(format!(
            "{}{suffix}",
            history.path.display()
        )));
    }
}

/// How many histories; `scripts/proof` asks for more.
fn asked(variable: &str, usual: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

#[test]
fn every_seeded_history_survives_a_crash_at_a_commit_of_its_choice() {
    let folder = folder();
    for seed in 0..asked("SKEP_TEST_SEEDS", 1_000) {
        let at = (1 + seed % 40, seed % 2 == 0);
        let mut history = History::new(folder.path(), seed);
        history.run(Some(at));
        forget(&history);
    }
}

#[test]
fn a_history_survives_a_crash_at_each_of_its_commits() {
    let folder = folder();
    for seed in 0..asked("SKEP_TEST_HISTORIES", 10) {
        let mut whole = History::new(folder.path(), seed);
        let commits = whole.run(None);
        forget(&whole);
        for at in 1..=commits {
            for after in [false, true] {
                let mut history = History::new(folder.path(), seed);
                history.run(Some((at, after)));
                forget(&history);
            }
        }
    }
}

#[test]
fn a_seed_gives_one_history() {
    let folder = folder();
    let mut accepted = Vec::new();
    for _ in 0..2 {
        let mut history = History::new(folder.path(), 42);
        history.run(Some((17, true)));
        accepted.push((
            history.answered.clone(),
            locked(&history.world.seen).accepted.clone(),
        ));
        forget(&history);
    }
    assert!(!accepted[0].1.is_empty());
    assert_eq!(accepted[0], accepted[1]);
}
