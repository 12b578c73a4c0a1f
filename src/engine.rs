//! The engine: starts, names, watches and joins every thread; the builder for programs that embed Skep.
//!
//! The only place where a thread begins. Rooms give it bodies to run; it knows the order in which they start and stop.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder as Thread, JoinHandle};
use std::time::{Duration, Instant};

use crate::api::door::Scope;
use crate::api::server::{Server, ServerConfig, bind};
use crate::api::{self, Api};
use crate::bell::{Stop, locked};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::flow::expr::SecretMark;
use crate::id::Dice;
use crate::loops::delivery::{Channels, Sender};
use crate::loops::jobs::Jobs;
use crate::loops::upkeep::Upkeep;
use crate::loops::worker::Worker;
use crate::loops::{NAP, Pool};
use crate::outbound::{Outside, resolve};
use crate::steps::Registry;
use crate::store::audit::Actor;
use crate::store::claims::Claim;
use crate::store::notices::Notices;
use crate::store::sending::DeliveryClaim;
use crate::store::turns::Shares;
use crate::store::writer::Writer;
use crate::store::{Options, Store};
use crate::time::Clock;

mod beside;
mod builder;
mod figures;
mod library;
mod outside;

pub use beside::Beside;
pub use builder::Builder;
pub use library::{Invoke, Started, Wanted};
use outside::World;

/// Threads that answer HTTP calls. An invoke holds none while it is written; what does wait has company in its commit.
const HANDLERS: usize = 16;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Descriptors for the file and its readers, look-ups, signals, the log: about 40; and for 256 idle connections. Each
/// worker and sender may hold a socket beside them.
const OWN_DESCRIPTORS: usize = 296;

/// Shows a new admin key to whoever needs it.
type Show = Box<dyn FnOnce(&str) -> Result<()>>;

/// How long a thread sleeps that only a bell gives work: as good as for ever.
const UNTIL_RUNG: Duration = Duration::from_secs(24 * 3600);

/// The stack of a thread that runs steps or senders: 2 MiB, as Rust's own default.
const STACK: usize = 2 << 20;

/// The stack of a thread that answers a call: reading a nested definition is recursive. Only what is used is memory.
const HANDLER_STACK: usize = 4 << 20;

/// A running Skep. Stops when told to, or when dropped.
pub struct Engine {
    config: Config,
    store: Arc<Store>,
    api: Arc<Api>,
    server: Option<Arc<Server>>,
    addr: SocketAddr,
    new_admin_key: Option<String>,
    pools: Arc<Pools>,
    resolver: Arc<resolve::Pool>,
    threads: Mutex<Threads>,
    executing: Arc<Alive>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// What the stop reaches for.
#[derive(Default)]
struct Pools {
    workers: Pool<Claim>,
    senders: Pool<DeliveryClaim>,
    /// Asked when exchanges of deliveries are to be cut.
    cut: Stop,
    /// Runs are left between two steps.
    halt: Arc<AtomicBool>,
    /// Upkeep and the answering of direct calls end.
    over: AtomicBool,
}

#[derive(Default)]
struct Threads {
    all: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

/// How many of the executing threads are still at it.
#[derive(Default)]
struct Alive {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Alive {
    fn leave(&self) {
        *locked(&self.count) -= 1;
        self.changed.notify_all();
    }

    /// Whether all had left before `deadline`.
    fn wait_for_none(&self, deadline: Instant) -> bool {
        let count = locked(&self.count);
        let left = deadline.saturating_duration_since(Instant::now());
        let (count, _) = self
            .changed
            .wait_timeout_while(count, left, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

fn socket_address(listen: &str) -> Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    listen
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| {
            Error::invalid(
                "listen",
                format!("listen must be HOST:PORT, got {listen:?}"),
            )
        })
}

fn listen_at(addr: SocketAddr) -> Result<TcpListener> {
    bind(addr, BACKLOG)
        .map_err(|fault| Error::unavailable(format!("cannot listen on {addr}: {fault}")))
}

/// The admin key of a new file; none if it has keys.
fn first_key(store: &Store, dice: &Dice, clock: &Clock, show: Show) -> Result<Option<String>> {
    if store.has_keys()? {
        return Ok(None);
    }
    let wanted = Wanted {
        name: "first admin key",
        environment: "production",
        scope: Scope::Admin.as_str(),
    };
    let (actor, now) = (Actor::system(), clock.now());
    let (_, text) = api::keys::insert_shown(store, dice, &wanted, actor, now, show)?;
    Ok(Some(text))
}

fn open_store(
    config: &Config,
    notices: Notices,
    kinds: &Registry,
    clock: &Clock,
) -> Result<(Arc<Store>, Option<Writer>)> {
    let options = Options {
        path: config.data.clone(),
        master_keys: config.master_keys(),
        kinds: kinds.specs(),
        workers: config.workers,
        max_queued: config.max_queued,
        shares: Shares {
            senders: config.senders,
            per_origin: config.senders_per_origin,
        },
        notices,
        dice: Arc::new(Dice::System),
        inline: false,
    };
    Store::open(options, clock.now())
}

impl Engine {
    /// A builder with the default settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts with these settings and the built-in step kinds.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start(config: Config) -> Result<Engine> {
        Engine::builder().config(config).start()
    }

    fn assemble(builder: Builder, kinds: Arc<Registry>) -> Result<Engine> {
        let (config, is_private) = (builder.config, builder.is_private);
        let show = builder.on_new_key.unwrap_or_else(|| Box::new(|_| Ok(())));
        let (clock, world) = (Clock::System, World::read(&config)?);
        let listen = socket_address(&config.listen)?;
        let (store, writer) = open_store(&config, world.notices(&config), &kinds, &clock)?;
        let mut threads = Threads::default();
        if let Some(writer) = writer {
            threads.writer = Some(spawn("skep-writer", STACK, move || writer.run())?);
        }
        let listener = match is_private {
            true => None,
            false => Some(listen_at(listen).inspect_err(|_| store.close())?),
        };
        let addr = match &listener {
            Some(listener) => listener.local_addr().map_err(Error::internal)?,
            None => listen,
        };
        if listener.is_some() {
            world.guard.set_own(vec![addr]);
        }
        let public_url = config
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{addr}"));
        let dice = Arc::new(Dice::System);
        let new_admin_key = match is_private || config.admin_key.is_some() {
            true => None,
            false => first_key(&store, &dice, &clock, show)?,
        };
        let resolver = Arc::new(resolve::Pool::new());
        let outside: Arc<dyn Outside> = Arc::new(world.client(resolver.clone()));
        let api = Arc::new(Api::new(api::Parts {
            store: store.clone(),
            kinds: kinds.specs(),
            guard: world.guard.clone(),
            clock: clock.clone(),
            dice: dice.clone(),
            admin_key: config.admin_key.as_ref().map(|key| key.expose().to_owned()),
            public_url: public_url.clone(),
            max_direct: config.max_direct,
            direct_timeout: config.direct_timeout,
            config: config.clone(),
            settings: builder.settings,
        }));
        let server = match listener {
            Some(listener) => Some(front_door(listener, &config, &public_url, &api)?),
            None => None,
        };
        let engine = Engine {
            config,
            store,
            api,
            server,
            addr,
            new_admin_key,
            pools: Arc::default(),
            resolver,
            threads: Mutex::new(threads),
            executing: Arc::default(),
        };
        engine.show_figures();
        // Before any loop takes work, and before the first request is let in.
        let upkeep = engine.recover(&clock)?;
        engine.start_workers(kinds, outside.clone(), &clock, &dice)?;
        engine.start_senders(outside, world.channels(&public_url), &clock, &dice)?;
        engine.start_keepers(upkeep, &dice)?;
        engine.start_front_door()?;
        Ok(engine)
    }

    fn recover(&self, clock: &Clock) -> Result<Upkeep> {
        let upkeep = Upkeep {
            store: self.store.clone(),
            clock: clock.clone(),
            retain_runs: self.config.retain_runs,
            retain_attempts: self.config.retain_attempts,
            downtime_grace: self.config.downtime_grace,
            is_paused: self.config.workers == 0 && self.config.senders == 0,
            state: Mutex::default(),
        };
        if upkeep.is_paused && self.server.is_some() {
            log::info!(
                "paused (workers and senders are 0): nothing is executed, woken, sent or removed"
            );
        }
        let (runs, deliveries) = upkeep.recover()?;
        if runs + deliveries > 0 {
            log::info!("recovered {runs} runs and {deliveries} deliveries that were in flight");
        }
        Ok(upkeep)
    }

    fn start_workers(
        &self,
        kinds: Arc<Registry>,
        outside: Arc<dyn Outside>,
        clock: &Clock,
        dice: &Arc<Dice>,
    ) -> Result<()> {
        let mark = SecretMark::new(dice.bytes());
        let worker = Arc::new(Worker {
            store: self.store.clone(),
            kinds,
            outside,
            mark: mark.clone(),
            clock: clock.clone(),
            dice: dice.clone(),
            halt: self.pools.halt.clone(),
        });
        if self.config.workers > 0 {
            self.store.open_hands(mark);
        }
        for number in 1..=self.config.workers {
            let (worker, pools) = (worker.clone(), self.pools.clone());
            self.executing(&format!("skep-worker-{number}"), move || {
                let bell = &worker.store.bells().work;
                let execute = |claim| {
                    let mut next = Some(claim);
                    while let Some(claim) = next {
                        next = worker.turn(claim);
                    }
                };
                while let Some(claim) = pools.workers.next(bell, |idle| worker.take(idle), || NAP) {
                    execute(claim);
                }
                // What was handed over before hands were closed is answered for.
                while let Some(claim) = worker.store.handed(1).pop() {
                    execute(claim);
                }
            })?;
        }
        Ok(())
    }

    fn start_senders(
        &self,
        outside: Arc<dyn Outside>,
        channels: Channels,
        clock: &Clock,
        dice: &Arc<Dice>,
    ) -> Result<()> {
        let sender = Arc::new(Sender {
            store: self.store.clone(),
            outside,
            channels,
            clock: clock.clone(),
            dice: dice.clone(),
            stop: self.pools.cut.clone(),
            halt: self.pools.halt.clone(),
            due_at: AtomicI64::new(0),
        });
        if self.config.senders > 0 {
            self.store.open_couriers();
        }
        for number in 1..=self.config.senders {
            let (sender, pools) = (sender.clone(), self.pools.clone());
            self.executing(&format!("skep-sender-{number}"), move || {
                let bell = &sender.store.bells().delivery;
                let take = |idle| sender.take(idle);
                let carry = |claim| {
                    let mut next = Some(claim);
                    while let Some(claim) = next {
                        next = sender.turn(claim);
                    }
                };
                while let Some(claim) = pools.senders.next(bell, take, || sender.nap()) {
                    carry(claim);
                }
                // What was handed over before hands were closed has its attempt on record.
                while let Some(claim) = sender.store.handed_deliveries(1).pop() {
                    carry(claim);
                }
            })?;
        }
        Ok(())
    }

    /// Names, time, and the answers that someone waits for.
    fn start_keepers(&self, upkeep: Upkeep, dice: &Arc<Dice>) -> Result<()> {
        self.start_jobs(&upkeep.clock, dice)?;
        for number in 1..=resolve::THREADS {
            let resolver = self.resolver.clone();
            let body = move || while resolver.turn() {};
            // Not joined: a look-up that hangs holds its thread for as long as the system's resolver likes.
            drop(spawn(&format!("skep-resolve-{number}"), STACK, body)?);
        }
        let pools = self.pools.clone();
        self.thread("skep-upkeep", STACK, move || {
            while !pools.over.load(Ordering::SeqCst) {
                let timer = &upkeep.store.bells().timer;
                let seen = timer.count();
                let nap = upkeep.turn();
                timer.wait(seen, nap);
            }
        })?;
        let (pools, api) = (self.pools.clone(), self.api.clone());
        self.thread("skep-direct", STACK, move || {
            while !pools.over.load(Ordering::SeqCst) {
                api.turn(NAP);
            }
            api.close_direct();
        })
    }

    /// What is done to many runs or deliveries at once.
    fn start_jobs(&self, clock: &Clock, dice: &Arc<Dice>) -> Result<()> {
        let jobs = Jobs {
            store: self.store.clone(),
            clock: clock.clone(),
            dice: dice.clone(),
            halt: self.pools.halt.clone(),
        };
        let pools = self.pools.clone();
        self.thread("skep-jobs", STACK, move || {
            let bell = &jobs.store.bells().jobs;
            while !pools.over.load(Ordering::SeqCst) {
                let seen = bell.count();
                let rest = jobs.turn();
                bell.wait(seen, rest.unwrap_or(UNTIL_RUNG));
            }
        })
    }

    fn start_front_door(&self) -> Result<()> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        for number in 1..=HANDLERS {
            let server = server.clone();
            self.thread(&format!("skep-http-{number}"), HANDLER_STACK, move || {
                server.run_handler()
            })?;
        }
        let (pools, api) = (self.pools.clone(), self.api.clone());
        self.thread("skep-events", STACK, move || {
            let bell = &api.store().changes().stirred;
            loop {
                // Before the look at the end, so that its ring is not lost.
                let seen = bell.count();
                if pools.over.load(Ordering::SeqCst) {
                    break;
                }
                let nap = api.tell(Instant::now());
                bell.wait(seen, nap);
            }
        })?;
        let edge = server.clone();
        self.thread("skep-edge", STACK, move || {
            if let Err(fault) = edge.run_edge() {
                log::error!("the front door failed: {fault}; ending, to recover at the next start");
                std::process::exit(1);
            }
        })
    }

    fn thread(&self, name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let handle = spawn(name, stack, body)?;
        locked(&self.threads).all.push(handle);
        Ok(())
    }

    /// A thread whose work is waited for at the stop.
    fn executing(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        *locked(&self.executing.count) += 1;
        let alive = self.executing.clone();
        self.thread(name, STACK, move || {
            body();
            alive.leave();
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The admin key that was made because the file was new, to be shown once.
    pub fn admin_key_notice(&self) -> Option<String> {
        self.new_admin_key.clone()
    }

    /// Stops cleanly: no new requests or claims; runs being executed go on, step after step, for `shutdown_grace`,
    /// and direct ones are answered; then everything is written and every thread joined. Nothing is lost.
    pub fn stop(&self) {
        let mut threads = std::mem::take(&mut *locked(&self.threads));
        if threads.writer.is_none() {
            return;
        }
        let deadline = Instant::now() + self.config.shutdown_grace;
        self.api.stop();
        if let Some(server) = &self.server {
            server.stop();
        }
        let bells = self.store.bells();
        self.store.close_hands();
        self.store.close_couriers();
        // Behind whatever commit has still seen them open: nothing is handed over after this.
        drop(self.store.open_runs());
        self.pools.workers.stop(&bells.work);
        self.pools.senders.stop(&bells.delivery);
        if !self.executing.wait_for_none(deadline) {
            log::info!("the grace is over; what is still in flight goes on at the next start");
        }
        self.pools.halt.store(true, Ordering::SeqCst);
        self.store.stop_steps();
        self.pools.cut.ask();
        self.pools.over.store(true, Ordering::SeqCst);
        bells.timer.ring();
        bells.jobs.ring();
        bells.ended.ring();
        self.store.changes().stirred.ring();
        self.resolver.close();
        for thread in threads.all.drain(..) {
            // A thread that panicked has ended the process already.
            drop(thread.join());
        }
        self.store.close();
        if let Some(writer) = threads.writer.take() {
            drop(writer.join());
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn front_door(
    listener: TcpListener,
    config: &Config,
    public_url: &str,
    api: &Arc<Api>,
) -> Result<Arc<Server>> {
    let config = ServerConfig {
        metrics: api.store().metrics().clone(),
        ..server_config(config, public_url)?
    };
    let server = Server::new(listener, config, api.clone()).map_err(Error::internal)?;
    Ok(Arc::new(server))
}

fn server_config(config: &Config, public_url: &str) -> Result<ServerConfig> {
    let public = url::Url::parse(public_url).map_err(|fault| {
        Error::invalid("public_url", format!("public_url is not a URL: {fault}"))
    })?;
    let trusted_proxies = config
        .trusted_proxies
        .iter()
        .map(|text| {
            api::edge::Cidr::parse(text).map_err(|fault| Error::invalid("trusted_proxies", fault))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(ServerConfig {
        max_connections: config.max_connections,
        max_connections_per_peer: config.max_connections_per_peer,
        own_descriptors: OWN_DESCRIPTORS + config.workers + config.senders,
        body_limit: config.body_limit,
        handlers: HANDLERS,
        answer_time: config.direct_timeout + Duration::from_secs(10),
        drain_time: config.shutdown_grace + Duration::from_secs(2),
        trusted_proxies,
        base_path: public.path().trim_end_matches('/').to_owned(),
        public_host: public.host_str().unwrap_or_default().to_owned(),
        ..ServerConfig::default()
    })
}

/// A named thread. A panic that its body did not catch is a bug that may have left anything half-done in memory, so
/// the process ends; the file is sound, and the next start recovers.
fn spawn(name: &str, stack: usize, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let label = name.to_owned();
    Thread::new()
        .name(name.to_owned())
        .stack_size(stack)
        .spawn(move || {
            if catch_unwind(AssertUnwindSafe(body)).is_err() {
                log::error!("thread {label} panicked; ending, to recover at the next start");
                std::process::exit(1);
            }
        })
        .map_err(|fault| Error::unavailable(format!("thread {name} cannot be started: {fault}")))
}
