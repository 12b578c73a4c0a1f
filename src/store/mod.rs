//! The only room that speaks SQL: one file, one writer, a few readers.
//!
//! Its face is a list of verbs, each a whole transaction: `insert_run`, `claim_runs`, `record`, `cancel_run`,
//! `claim_deliveries`, `record_attempt` … Plain values go in and come out; nothing of the database library crosses.
//! The rules are not here: a verb loads a row, asks `flow`, and writes the change it is given.
//!
//! A write is a closure sent to the writer ([`writer`]), which runs many in one commit and answers each after that
//! commit is on disk. Reads use a pool of read-only connections. What others must hear of (work to do, a run that
//! ended) is told after the commit, by bells and by [`changes`].

pub mod ahead;
pub mod approvals;
mod attempts;
pub mod audit;
pub mod backup;
pub mod batch;
pub mod changed;
pub mod changes;
pub mod check;
pub mod claims;
pub mod copy;
pub mod counting;
pub mod counts;
pub mod deletion;
pub mod deliveries;
pub mod deployments;
pub mod directory;
pub mod facets;
pub mod figures;
mod hands;
mod idempotency;
#[cfg(test)]
pub(crate) mod inspect;
pub mod instance;
pub mod jobs;
pub mod keys;
pub mod links;
pub mod listing;
pub mod lookups;
pub mod matching;
pub mod members;
pub mod minutes;
pub mod notices;
pub mod open;
pub mod owed;
pub mod page;
mod past;
mod place;
pub mod prune;
pub mod restore;
pub mod retry;
pub mod rotation;
pub mod runs;
pub mod seal;
pub mod secrets;
pub mod sending;
pub mod steps;
pub mod timers;
pub mod turns;
pub mod upgrade;
pub mod watch;
pub mod writer;
pub mod yardstick;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use crossbeam_channel::bounded;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;

use crate::bell::{Bell, Stop, locked};
use crate::error::{Error, Result};
use crate::flow::expr::SecretMark;
use crate::flow::workflow::{KindSpec, Workflow};
use crate::id::Dice;
use crate::metrics::Metrics;
use crate::store::changes::Changes;
use crate::store::claims::Claim;
use crate::store::directory::Directory;
use crate::store::hands::Hands;
use crate::store::instance::InstanceKey;
use crate::store::past::Past;
use crate::store::seal::Sealer;
use crate::store::sending::DeliveryClaim;
use crate::store::writer::{Channel, Touched, Tx, Typed, Writer};
use crate::time::Timestamp;

/// How to open a store.
#[derive(Debug)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The keys that seal secrets: the first seals, all open. Empty: secrets lie in clear.
    pub master_keys: Vec<String>,
    /// The step kinds that definitions may use.
    pub kinds: Vec<KindSpec>,
    /// How many runs execute at once.
    pub workers: usize,
    /// How many runs may be queued.
    pub max_queued: u64,
    /// How deliveries share the senders.
    pub shares: turns::Shares,
    /// What is to be known of how people are told.
    pub notices: notices::Notices,
    /// Where the ids of approvals and the tokens of their links come from.
    pub dice: Arc<Dice>,
    /// Whether writes run in the caller's thread (tests without threads) instead of the writer's.
    pub inline: bool,
}

/// The bells that shorten the loops' naps.
#[derive(Debug, Default)]
pub struct Bells {
    /// A run is queued.
    pub work: Bell,
    /// A delivery may be due.
    pub delivery: Bell,
    /// A run waits for a time.
    pub timer: Bell,
    /// A run ended.
    pub ended: Bell,
    /// A job is under way.
    pub jobs: Bell,
    /// How many runs were queued at the last commit: what saves an idle worker the way through the writer.
    queued: AtomicU64,
    /// Whether deliveries may have become due since a sender last looked.
    owed: AtomicBool,
}

impl Bells {
    /// Whether deliveries may have become due by themselves or by a commit since this was last asked.
    pub fn take_owed(&self) -> bool {
        self.owed.swap(false, Ordering::SeqCst)
    }

    /// Deliveries may be due that were not looked at.
    pub fn note_owed(&self) {
        self.owed.store(true, Ordering::SeqCst);
    }

    /// Whether there may be a queued run.
    pub fn has_work(&self) -> bool {
        self.queued.load(Ordering::SeqCst) > 0
    }
}

/// The file, and everything that is known of it in memory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    channel: Channel,
    readers: r2d2::Pool<SqliteConnectionManager>,
    /// Of the loops alone, so that no caller's long list keeps a run waiting.
    own_readers: r2d2::Pool<SqliteConnectionManager>,
    sealer: Arc<Sealer>,
    instance: Arc<InstanceKey>,
    kinds: Vec<KindSpec>,
    deployed: Mutex<HashMap<i64, Arc<Deployed>>>,
    directory: RwLock<Arc<Directory>>,
    refreshing: Mutex<()>,
    /// The directory could not be read after a change; upkeep tries again.
    is_stale: AtomicBool,
    touched: Arc<Touched>,
    stops: claims::Stops,
    hands: Arc<Hands<Claim>>,
    /// What secrets look like until they are sent: known once a worker is there.
    mark: OnceLock<SecretMark>,
    couriers: Arc<Hands<DeliveryClaim>>,
    changes: Arc<Changes>,
    past: Arc<Past>,
    bells: Arc<Bells>,
    metrics: Arc<Metrics>,
    _lock: File,
}

/// A version that runs: its definition, parsed, and the names of where it stands.
#[derive(Debug)]
pub struct Deployed {
    /// What it does.
    pub workflow: Workflow,
    /// The deployment's name.
    pub deployment: String,
    /// The variant's name.
    pub variant: String,
    /// The version's number.
    pub version: i64,
}

/// How many parsed definitions are kept.
const WORKFLOWS_KEPT: usize = 1_024;

/// How many read-only connections there are for callers, and how many for the loops.
const READERS: u32 = 4;
const OWN_READERS: u32 = 2;

impl Store {
    /// Opens the file, creating or upgrading it. The writer is to be run by a thread, unless `options.inline`.
    ///
    /// # Errors
    /// One sentence a person can act on; the file is then unchanged.
    pub fn open(options: Options, now: Timestamp) -> Result<(Arc<Store>, Option<Writer>)> {
        let options = Options {
            path: open::resolved(&options.path),
            ..options
        };
        let lock = open::lock(&options.path)?;
        let sealer = Arc::new(Sealer::new(&options.master_keys)?);
        let conn = open::connection(&options.path, now)?;
        seal::reseal(&conn, &sealer)?;
        let instance = Arc::new(instance::ensure(&conn, &sealer)?);
        // Without threads, one reader is enough.
        let [of_callers, of_loops] = match options.inline {
            true => [1, 1],
            false => [READERS, OWN_READERS],
        };
        let readers = open::readers(&options.path, of_callers)?;
        let own_readers = open::readers(&options.path, of_loops)?;
        let bells = Arc::new(Bells::default());
        let (changes, touched): (Arc<Changes>, Arc<Touched>) = Default::default();
        let metrics = Arc::new(figures::metrics(&conn, &options.kinds, now)?);
        let (stops, past) = (claims::Stops::default(), Arc::default());
        let (hands, couriers) = (Arc::default(), Arc::default());
        let (channel, writer) = Writer::start(writer::Parts {
            conn,
            place: place::Place::of(&options.path)?,
            limits: counts::Limits {
                workers: options.workers,
                max_queued: options.max_queued,
            },
            shares: options.shares,
            desk: notices::Desk::new(options.notices, options.dice),
            sealer: sealer.clone(),
            instance: Arc::clone(&instance),
            bells: bells.clone(),
            changes: changes.clone(),
            past: Arc::clone(&past),
            touched: touched.clone(),
            stops: stops.clone(),
            hands: Arc::clone(&hands),
            couriers: Arc::clone(&couriers),
            in_hand: sending::InHand::default(),
            metrics: metrics.clone(),
            inline: options.inline,
        })?;
        let store = Arc::new(Store {
            path: options.path,
            channel,
            readers,
            own_readers,
            sealer,
            instance,
            kinds: options.kinds,
            deployed: Mutex::default(),
            directory: RwLock::default(),
            refreshing: Mutex::default(),
            is_stale: AtomicBool::new(false),
            past,
            touched,
            stops,
            hands,
            mark: OnceLock::new(),
            couriers,
            changes,
            bells,
            metrics,
            _lock: lock,
        });
        store.refresh_directory()?;
        Ok((store, writer))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bells, to wait on.
    pub fn bells(&self) -> &Bells {
        &self.bells
    }

    /// What changed lately.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Notes that a key was used; written with some later commit, at most once a minute a key.
    pub fn touch_key(&self, id: i64, now: Timestamp) {
        self.touched.note(id, now);
    }

    /// Asks every step in flight to stop.
    pub fn stop_steps(&self) {
        let stops: Vec<Stop> = locked(&self.stops).values().cloned().collect();
        for stop in stops {
            stop.ask();
        }
    }

    /// Ends the writer, once everything sent to it is on disk.
    pub fn close(&self) {
        self.channel.close();
    }

    /// A version, ready to run.
    ///
    /// # Errors
    /// `internal_server_error` if the version is gone or no longer parses (a step kind was removed).
    pub fn deployed(&self, version: i64) -> Result<Arc<Deployed>> {
        if let Some(deployed) = locked(&self.deployed).get(&version) {
            return Ok(deployed.clone());
        }
        let stored = self.look(|conn| deployments::stored(conn, version))?;
        let parsed = crate::flow::workflow::parse(&stored.definition, stored.format, &self.kinds);
        let workflow = parsed.map_err(|fault| {
            let fault = Error::from(fault);
            Error::internal(format!(
                "the definition of version {version} is not usable: {fault}"
            ))
        })?;
        let deployed = Arc::new(Deployed {
            workflow,
            deployment: stored.deployment,
            variant: stored.variant,
            version: stored.number,
        });
        let mut kept = locked(&self.deployed);
        if kept.len() >= WORKFLOWS_KEPT {
            kept.clear();
        }
        kept.insert(version, deployed.clone());
        Ok(deployed)
    }

    /// One whole transaction, on disk when this returns. The verb may be run a second time, after a rollback.
    fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = bounded(1);
        // A caller that is gone wants no answer.
        self.write_then(verb, move |result| drop(reply.send(result)));
        match answer.recv() {
            Ok(result) => result,
            Err(_) => Err(Error::unavailable(
                "the server is stopping; nothing was accepted",
            )),
        }
    }

    /// One whole transaction; `then` hears of it in the writer's thread once it is on disk, and must not block. A job that
    /// is dropped unanswered drops `then`.
    fn write_then<T, F, G>(&self, verb: F, then: G)
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
        G: FnOnce(Result<T>) + Send + 'static,
    {
        self.channel.send(Typed::new(verb, then));
    }

    /// A look at what is on disk, for a caller.
    fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look_with(&self.readers, look)
    }

    /// A look at what is on disk, for the loops and the directory.
    fn look<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        look_with(&self.own_readers, look)
    }
}

fn look_with<T>(
    pool: &r2d2::Pool<SqliteConnectionManager>,
    look: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    let conn = pool
        .get()
        .map_err(|_| Error::unavailable("all readers are busy; try again in a moment"))?;
    let result = look(&conn);
    debug_assert!(
        conn.is_autocommit(),
        "a reader was given back inside a transaction"
    );
    result
}

/// How long a reader is waited for.
const READER_WAIT: Duration = Duration::from_secs(2);

impl From<rusqlite::Error> for Error {
    fn from(fault: rusqlite::Error) -> Error {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull,
            FileLockingProtocolFailed, NotADatabase, OutOfMemory, ReadOnly, SystemIoFailure,
        };
        match fault.sqlite_error_code() {
            Some(DiskFull) => Error::unavailable("the disk is full; nothing was accepted"),
            Some(ReadOnly | CannotOpen | SystemIoFailure) => Error::unavailable(format!(
                "the file cannot be written ({fault}); nothing was accepted"
            )),
            Some(OutOfMemory) => {
                Error::unavailable("there is no memory left; nothing was accepted")
            }
            Some(DatabaseBusy | DatabaseLocked | FileLockingProtocolFailed) => {
                Error::unavailable("another program holds the file; nothing was accepted")
            }
            Some(DatabaseCorrupt | NotADatabase) => {
                Error::internal(format!("the file is damaged: {fault}"))
            }
            _ => Error::internal(format!("the database answered: {fault}")),
        }
    }
}
