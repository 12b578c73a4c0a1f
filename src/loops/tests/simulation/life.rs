//! One life of the process: a store on the file, the loops' bodies, and the turns that are under way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fiber::{self, Fiber, Wants};
use super::world::World;
use crate::bell::{Stop, locked};
use crate::flow::expr::SecretMark;
use crate::id::Dice;
use crate::loops::delivery::{Channels, Sender};
use crate::loops::jobs::Jobs;
use crate::loops::upkeep::Upkeep;
use crate::loops::worker::Worker;
use crate::outbound::Outside;
use crate::steps::Registry;
use crate::store::claims::Claim;
use crate::store::notices::Notices;
use crate::store::sending::DeliveryClaim;
use crate::store::turns::Shares;
use crate::store::writer::crash;
use crate::store::{Options, Store};

/// How a history's server is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    pub path: PathBuf,
    pub workers: usize,
    pub max_queued: u64,
    pub shares: Shares,
    pub retain_runs: Option<Duration>,
    pub retain_attempts: Option<Duration>,
    pub downtime_grace: Duration,
    pub master_keys: Vec<String>,
    /// Whether runs are handed over in the commit that inserts them, or frees a slot.
    pub hands: bool,
}

/// A life.
pub struct Life {
    pub store: Arc<Store>,
    pub worker: Arc<Worker>,
    pub sender: Arc<Sender>,
    pub upkeep: Arc<Upkeep>,
    pub jobs: Arc<Jobs>,
    /// Runs that are claimed, and in no fiber's hands yet.
    pub runs: Vec<Claim>,
    /// The same of deliveries.
    pub sends: Vec<DeliveryClaim>,
    /// Turns under way, in the order they began.
    pub fibers: Vec<Fiber>,
    /// How often everything was given back under the hands of those who hold it.
    pub usurped: bool,
}

impl Life {
    /// Opens the file; recovery is the caller's.
    pub fn begin(setup: &Setup, world: &Arc<World>, seed: u64, at: Option<(u64, bool)>) -> Life {
        let kinds = Arc::new(Registry::builtin());
        let options = Options {
            path: setup.path.clone(),
            master_keys: setup.master_keys.clone(),
            kinds: kinds.specs(),
            workers: setup.workers,
            max_queued: setup.max_queued,
            shares: setup.shares,
            notices: Notices::default(),
            dice: Arc::new(Dice::seeded(seed ^ 0x5eed)),
            inline: true,
        };
        let clock = world.clock.clone();
        crash::live(at, &world.dead);
        crash::pause_with(|| fiber::pause(Wants::Write));
        let opened = Store::open(options, clock.now());
        let (store, _) = opened.expect("the file opens after every crash");
        if setup.hands {
            store.open_hands(SecretMark::new([7; 16]));
            store.open_couriers();
        }
        *locked(&world.store) = Some(store.clone());
        let dice = Arc::new(Dice::seeded(seed));
        let outside: Arc<dyn Outside> = world.clone();
        let dead: Arc<AtomicBool> = world.dead.clone();
        Life {
            worker: Arc::new(Worker {
                store: store.clone(),
                kinds,
                outside: outside.clone(),
                mark: SecretMark::new([7; 16]),
                clock: clock.clone(),
                dice: dice.clone(),
                halt: dead.clone(),
            }),
            sender: Arc::new(Sender {
                store: store.clone(),
                outside,
                channels: Channels::default(),
                clock: clock.clone(),
                dice,
                stop: Stop::default(),
                halt: dead,
                due_at: AtomicI64::new(0),
            }),
            jobs: Arc::new(Jobs {
                store: store.clone(),
                clock: clock.clone(),
                dice: Arc::new(Dice::seeded(seed ^ 0x10b5)),
                halt: world.dead.clone(),
            }),
            upkeep: Arc::new(Upkeep {
                is_paused: false,
                downtime_grace: setup.downtime_grace,
                store: store.clone(),
                clock,
                retain_runs: setup.retain_runs,
                retain_attempts: setup.retain_attempts,
                state: Mutex::default(),
            }),
            store,
            runs: Vec::new(),
            sends: Vec::new(),
            fibers: Vec::new(),
            usurped: false,
        }
    }

    /// Begins a turn with the claim of a run.
    pub fn work(&mut self, index: usize) {
        let claim = self.runs.remove(index);
        let worker = self.worker.clone();
        let name = format!("worker {}", short(claim.run_id));
        let turn = move || {
            let mut next = Some(claim);
            while let Some(claim) = next {
                next = worker.turn(claim);
            }
        };
        self.fibers
            .push(Fiber::begin(name, self.worker.clock.now(), turn));
    }

    /// Begins a turn with the claim of a delivery.
    pub fn send(&mut self, index: usize) {
        let claim = self.sends.remove(index);
        let sender = self.sender.clone();
        let name = format!("sender {}", short(claim.run_id));
        let turn = move || {
            let mut next = Some(claim);
            while let Some(claim) = next {
                next = sender.turn(claim);
            }
        };
        self.fibers
            .push(Fiber::begin(name, self.worker.clock.now(), turn));
    }

    /// Begins something that the house does of itself, or for an operator, one at a time.
    pub fn alone(&mut self, name: &str, turn: impl FnOnce() + Send + 'static) -> bool {
        if self.fibers.iter().any(|fiber| fiber.name == name) {
            return false;
        }
        let fiber = Fiber::begin(name.to_owned(), self.worker.clock.now(), turn);
        self.fibers.push(fiber);
        true
    }

    /// Begins a turn of upkeep, unless one is under way.
    pub fn keep_up(&mut self) -> bool {
        let upkeep = self.upkeep.clone();
        self.alone("upkeep", move || {
            upkeep.turn();
        })
    }

    /// Ends it; nothing more is written if the process is dead. Says how many of its turns panicked.
    pub fn end(mut self, world: &World) -> usize {
        let fibers = std::mem::take(&mut self.fibers);
        let panicked = fibers.into_iter().map(Fiber::end);
        let panicked = panicked.filter(|panicked| *panicked).count();
        *locked(&world.store) = None;
        panicked
    }
}

/// Enough of an id to tell it from others of a history.
pub fn short(id: crate::id::Id) -> String {
    let text = id.to_string();
    text[text.len() - 6..].to_owned()
}
