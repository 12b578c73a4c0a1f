//! The exchange that is in progress on this thread.
//!
//! ureq calls the resolver, the connector and the transport on the caller's thread, but has no place to hand them
//! anything of ours. So what they must know (the deadline, the host, who may be reached) and what they learn (times,
//! addresses, the first fault) lies here, in one thread-local [`Call`].

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use socket2::Socket;

use super::guard::Guard;
use super::{Purpose, Timings};
use crate::bell::{Stop, locked};
use crate::flow::step::ErrorClass;

/// A name must be resolved within this.
const RESOLVE: Duration = Duration::from_secs(3);
/// A connection must be made, and made private, within this.
const CONNECT: Duration = Duration::from_secs(5);

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// What the exchange is doing; decides which deadline holds and how a fault is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Resolving,
    Connecting,
    Securing,
    Sending,
    Waiting,
    Reading,
}

/// Where a request goes, as the one parser sees it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As shown to people: a name, or an address (v6 without brackets).
    pub host: String,
    pub literal: Option<IpAddr>,
    pub port: u16,
    pub purpose: Purpose,
    pub public_only: bool,
}

/// The socket in use, reachable from the thread that asks for a stop.
#[derive(Debug, Default)]
pub(super) struct Line {
    asked: AtomicBool,
    socket: Mutex<Option<Arc<Socket>>>,
}

impl Line {
    /// Cuts whatever blocks now, and everything after it.
    pub fn hang_up(&self) {
        self.asked.store(true, Ordering::SeqCst);
        if let Some(socket) = locked(&self.socket).take() {
            // An error means that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// One exchange: what it may do, and what became of it.
#[derive(Debug)]
pub(super) struct Call {
    pub target: Target,
    pub guard: Arc<Guard>,
    pub line: Arc<Line>,
    pub stopped: Receiver<()>,
    pub started: Instant,
    pub deadline: Instant,
    pub phase: Phase,
    pub phase_began: Instant,
    pub addresses: Vec<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub sent: Option<Instant>,
    pub timings: Timings,
    pub fault: Option<(ErrorClass, String)>,
}

/// Makes an exchange with `target`: `act` runs with a [`Call`] on this thread, which a stop cuts. Its answer, and what
/// became of the call; `None` if that was lost.
pub(super) fn within<T>(
    target: Target,
    guard: &Arc<Guard>,
    deadline: Duration,
    stop: &Stop,
    act: impl FnOnce() -> T,
) -> (T, Option<Call>) {
    let started = Instant::now();
    let line = Arc::new(Line::default());
    let (hang_up, stopped) = bounded(0);
    let cut = Arc::clone(&line);
    let _hook = stop.on_ask(move || {
        cut.hang_up();
        drop(hang_up);
    });
    let entered = Entered::new(Call {
        target,
        guard: Arc::clone(guard),
        line,
        stopped,
        started,
        deadline: started + deadline,
        phase: Phase::Resolving,
        phase_began: started,
        addresses: Vec::new(),
        remote: None,
        sent: None,
        timings: Timings::default(),
        fault: None,
    });
    let answer = act();
    (answer, entered.leave())
}

/// Keeps a [`Call`] on this thread, whatever happens meanwhile.
#[derive(Debug)]
struct Entered(());

impl Entered {
    fn new(call: Call) -> Entered {
        CALL.set(Some(call));
        Entered(())
    }

    /// Ends the call and gives it back.
    fn leave(self) -> Option<Call> {
        CALL.take()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CALL.set(None);
    }
}

/// Does something with this thread's call; an error if there is none (a transport used outside of an exchange).
pub(super) fn with<T>(act: impl FnOnce(&mut Call) -> T) -> Result<T, ureq::Error> {
    CALL.with_borrow_mut(|call| call.as_mut().map(act))
        .ok_or_else(|| ureq::Error::Io(io::Error::other("used outside of an exchange")))
}

/// The same, where the act itself may fail.
pub(super) fn try_with<T>(
    act: impl FnOnce(&mut Call) -> Result<T, ureq::Error>,
) -> Result<T, ureq::Error> {
    with(act)?
}

/// An error once this thread's exchange was told to stop.
pub(super) fn go_on() -> Result<(), ureq::Error> {
    try_with(|call| {
        if call.is_stopped() {
            Err(call.stopped())
        } else {
            Ok(())
        }
    })
}

impl Call {
    pub fn enter_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_began = Instant::now();
    }

    /// How long the phase has taken, in whole milliseconds.
    pub fn phase_ms(&self) -> u64 {
        ms(self.phase_began.elapsed())
    }

    /// When the phase must end. Connecting and securing share one deadline, set in [`Phase::Connecting`].
    pub fn limit(&self) -> Instant {
        let own = match self.phase {
            Phase::Resolving => self.phase_began + RESOLVE,
            Phase::Connecting | Phase::Securing => self.phase_began + CONNECT,
            Phase::Sending | Phase::Waiting | Phase::Reading => self.deadline,
        };
        own.min(self.deadline)
    }

    /// Whether the exchange was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.line.is_asked()
    }

    /// Makes `socket` the one that a stop cuts, and says until when it may block.
    pub fn take_line(&mut self, socket: &Arc<Socket>) -> Result<Instant, ureq::Error> {
        {
            let mut current = locked(&self.line.socket);
            if !current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, socket))
            {
                *current = Some(Arc::clone(socket));
            }
        }
        // Looked at after the socket can be cut: a stop comes either before, and is seen, or after, and cuts.
        if self.is_stopped() {
            Err(self.stopped())
        } else {
            Ok(self.limit())
        }
    }

    /// Lets go of the socket, which may be another call's from now on: a stop must not cut it any more.
    pub fn drop_line(&mut self) {
        locked(&self.line.socket).take();
    }

    /// Records why the exchange fails, unless it is known already, and gives ureq an error to carry.
    pub fn fail(&mut self, class: ErrorClass, why: String) -> ureq::Error {
        self.fault.get_or_insert((class, why));
        ureq::Error::Io(io::Error::other("the exchange failed"))
    }

    pub fn stopped(&mut self) -> ureq::Error {
        self.fail(ErrorClass::Cancelled, "the request was stopped".to_owned())
    }

    /// The phase's deadline has passed.
    pub fn overdue(&mut self) -> ureq::Error {
        if self.is_stopped() {
            return self.stopped();
        }
        let host = &self.target.host;
        let limit = self.limit();
        let since = if limit == self.deadline {
            self.started
        } else {
            self.phase_began
        };
        let allowed = limit.saturating_duration_since(since);
        let allowed = Duration::from_millis(ms(allowed));
        let why = match self.phase {
            Phase::Resolving => format!("{host} could not be resolved within {allowed:?}"),
            Phase::Connecting => format!("no connection to {host} within {allowed:?}"),
            Phase::Securing => format!("no TLS with {host} within {allowed:?}"),
            Phase::Sending => format!("{host} did not take the request within {allowed:?}"),
            Phase::Waiting => format!("no answer from {host} within {allowed:?}"),
            Phase::Reading => format!("the answer from {host} was not complete within {allowed:?}"),
        };
        self.fail(ErrorClass::Timeout, why)
    }

    /// The connection broke.
    pub fn broken(&mut self, why: &str) -> ureq::Error {
        if self.is_stopped() {
            return self.stopped();
        }
        let host = &self.target.host;
        let (class, why) = match self.phase {
            Phase::Resolving | Phase::Connecting => (
                ErrorClass::Connect,
                format!("connecting to {host} failed: {why}"),
            ),
            Phase::Securing => (ErrorClass::Tls, format!("TLS with {host} failed: {why}")),
            Phase::Sending => (
                ErrorClass::Reset,
                format!("{host} broke off while the request was sent: {why}"),
            ),
            Phase::Waiting => (
                ErrorClass::Reset,
                format!("{host} broke off without an answer: {why}"),
            ),
            Phase::Reading => (
                ErrorClass::Reset,
                format!("{host} broke off in the middle of its answer: {why}"),
            ),
        };
        self.fail(class, why)
    }

    /// Judges what the host resolved to: all of it must pass.
    pub fn judge(&mut self, addresses: Vec<IpAddr>) -> Result<Vec<SocketAddr>, ureq::Error> {
        let Target {
            host,
            port,
            purpose,
            public_only,
            ..
        } = &self.target;
        for ip in &addresses {
            if let Err(why) = self.guard.judge(host, *ip, *port, *purpose, *public_only) {
                return Err(self.fail(ErrorClass::ForbiddenAddress, why));
            }
        }
        self.addresses = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, self.target.port))
            .collect();
        Ok(self.addresses.clone())
    }
}

/// Whole milliseconds.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
