//! ureq's resolver, connector and transport, as this crate needs them.
//!
//! Owns the sockets: what is connected to, until when each read and write may block, and how a stop cuts them. ureq's
//! own timeouts are not used: a write that trickles restarts them, and they cannot be cut short.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use super::call::{self, Phase};
use super::resolve::{NoAddress, Pool};
use super::tls::{self, Private, Trust};
use crate::flow::step::ErrorClass;

/// How many addresses of a name are tried; ureq holds no more.
const MOST_ADDRESSES: usize = 16;
/// Room for the largest head that is accepted (16 KiB) and some of the body.
pub(super) const INPUT: usize = 24 << 10;
pub(super) const OUTPUT: usize = 16 << 10;

/// Finds and judges the addresses of the call's host. Asked for every request, also when a pooled connection is used.
#[derive(Debug)]
pub(super) struct Finder(pub Arc<Pool>);

impl Resolver for Finder {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = find(&self.0)?;
        let mut resolved = self.empty();
        addresses
            .into_iter()
            .take(MOST_ADDRESSES)
            .for_each(|address| resolved.push(address));
        Ok(resolved)
    }
}

/// The addresses of the call's host, every one of them judged.
pub(super) fn find(pool: &Pool) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (target, until, stopped) = call::with(|call| {
        call.enter_phase(Phase::Resolving);
        (call.target.clone(), call.limit(), call.stopped.clone())
    })?;
    let found = match target.literal {
        Some(ip) => Ok(vec![ip]),
        None => pool.look_up(&target.host, until, &stopped),
    };
    call::try_with(|call| {
        if target.literal.is_none() {
            call.timings.dns_ms = Some(call.phase_ms());
        }
        let addresses = found.map_err(|why| match why {
            NoAddress::Failed(why) => call.fail(
                ErrorClass::Dns,
                format!("{} could not be resolved: {why}", target.host),
            ),
            NoAddress::Busy => call.fail(
                ErrorClass::Dns,
                "too many names are being resolved".to_owned(),
            ),
            NoAddress::Late => call.overdue(),
            NoAddress::Stopped => call.stopped(),
        })?;
        let addresses = call.judge(addresses)?;
        call.enter_phase(Phase::Sending);
        Ok(addresses)
    })
}

/// Connects to what was judged, and nothing else; then TLS, if the URL says so.
#[derive(Debug)]
pub(super) struct Door(pub Trust);

impl Connector<()> for Door {
    type Out = Either<Wire, Private>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let wire = connect(&details.addrs)?;
        if !details.needs_tls() {
            call::with(|call| call.enter_phase(Phase::Sending))?;
            return Ok(Some(Either::A(wire)));
        }
        call::with(|call| call.phase = Phase::Securing)?;
        let secured = tls::secure(wire, &self.0)?;
        call::with(|call| call.enter_phase(Phase::Sending))?;
        Ok(Some(Either::B(Private::new(secured))))
    }
}

/// Connects to one of the addresses.
pub(super) fn connect(addresses: &[SocketAddr]) -> Result<Wire, ureq::Error> {
    call::with(|call| call.enter_phase(Phase::Connecting))?;
    let wire = connect_any(addresses)?;
    call::with(|call| call.timings.connect_ms = Some(call.phase_ms()))?;
    Ok(wire)
}

/// Tries one address after the other. Each but the last gets half of the time that is left.
fn connect_any(addresses: &[SocketAddr]) -> Result<Wire, ureq::Error> {
    let mut refused = None;
    for (at, address) in addresses.iter().enumerate() {
        let domain = if address.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = match Socket::new(domain, Type::STREAM, Some(Protocol::TCP)) {
            Ok(socket) => Arc::new(socket),
            Err(why) => return Err(call::with(|call| call.broken(&why.to_string()))?),
        };
        let limit = call::try_with(|call| call.take_line(&socket))?;
        let left = limit.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let share = if at + 1 < addresses.len() {
            left / 2
        } else {
            left
        };
        match socket.connect_timeout(&(*address).into(), share) {
            Ok(()) => return Wire::new(socket, *address),
            Err(why) if why.kind() == io::ErrorKind::TimedOut => {}
            Err(why) => refused = Some(why),
        }
        call::go_on()?;
    }
    Err(call::with(|call| match refused {
        Some(why) => call.broken(&words(&why)),
        None => call.overdue(),
    })?)
}

/// One connection, in use or pooled.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<Socket>,
    peer: SocketAddr,
    buffers: LazyBuffers,
}

impl Wire {
    /// Our end's address.
    pub fn local_ip(&self) -> Option<IpAddr> {
        let local = self.socket.local_addr().ok()?.as_socket()?;
        Some(local.ip().to_canonical())
    }

    fn new(socket: Arc<Socket>, peer: SocketAddr) -> Result<Wire, ureq::Error> {
        let prepared = socket
            .set_tcp_nodelay(true)
            .and_then(|()| socket.local_addr());
        call::try_with(|call| {
            let local = prepared
                .map_err(|why| call.broken(&words(&why)))?
                .as_socket();
            let verdict = local.map_or(Ok(()), |local| call.guard.judge_connected(local, peer));
            verdict.map_err(|why| call.fail(ErrorClass::ForbiddenAddress, why))
        })?;
        Ok(Wire {
            socket,
            peer,
            buffers: LazyBuffers::new(INPUT, OUTPUT),
        })
    }

    fn send(socket: &Arc<Socket>, peer: SocketAddr, bytes: &[u8]) -> Result<usize, ureq::Error> {
        Wire::block(socket, peer, true, |mut socket, left| {
            socket.set_write_timeout(Some(left))?;
            match socket.write(bytes)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                written => Ok(written),
            }
        })
    }

    fn receive(
        socket: &Arc<Socket>,
        peer: SocketAddr,
        room: &mut [u8],
    ) -> Result<usize, ureq::Error> {
        let read = Wire::block(socket, peer, false, |mut socket, left| {
            socket.set_read_timeout(Some(left))?;
            answer_at_once(socket);
            socket.read(room)
        })?;
        if read == 0 {
            // A cut socket ends like a closed one; a body without a length would look complete.
            call::go_on()?;
        }
        Ok(read)
    }

    /// Blocks in `act` until it has done something, the deadline has passed, or a stop cuts it.
    fn block<T>(
        socket: &Arc<Socket>,
        peer: SocketAddr,
        sending: bool,
        mut act: impl FnMut(&Socket, Duration) -> io::Result<T>,
    ) -> Result<T, ureq::Error> {
        let limit = call::try_with(|call| {
            match (call.phase, sending) {
                (Phase::Securing | Phase::Reading, _) | (Phase::Waiting, false) => {}
                (_, true) => {
                    call.phase = Phase::Sending;
                    call.sent.get_or_insert_with(Instant::now);
                }
                (_, false) => call.phase = Phase::Waiting,
            }
            call.remote = Some(peer);
            call.take_line(socket)
        })?;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(call::with(|call| call.overdue())?);
            }
            // The system rounds down, and takes zero for "no timeout".
            match act(socket, left.max(Duration::from_millis(1))) {
                Ok(done) => return Ok(done),
                Err(why) if is_in_vain(why.kind()) => {}
                Err(why) => return Err(call::with(|call| call.broken(&words(&why)))?),
            }
        }
    }
}

/// What TLS and mail speak over: the same line, without ureq's buffers.
impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        Wire::receive(&self.socket, self.peer, room).map_err(ureq::Error::into_io)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Wire::send(&self.socket, self.peer, bytes).map_err(ureq::Error::into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing happened: a signal, or the timeout, which the caller checks.
fn is_in_vain(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut rest = &self.buffers.output()[..amount];
        while !rest.is_empty() {
            let written = Wire::send(&self.socket, self.peer, rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let room = self.buffers.input_append_buf();
        let read = Wire::receive(&self.socket, self.peer, room)?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    /// Asked before a connection is pooled and before it is used again: is it open, silent, and to an address that
    /// this call may reach?
    fn is_open(&mut self) -> bool {
        let allowed = call::with(|call| {
            call.drop_line();
            call.addresses.contains(&self.peer) && !call.is_stopped()
        });
        allowed.unwrap_or(false) && is_silent(&self.socket).unwrap_or(false)
    }
}

/// Whether the peer has neither sent anything nor closed.
fn is_silent(socket: &Socket) -> io::Result<bool> {
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(&mut [MaybeUninit::uninit(); 1]);
    socket.set_nonblocking(false)?;
    Ok(peeked.is_err_and(|why| why.kind() == io::ErrorKind::WouldBlock))
}

/// Has the system acknowledge what arrives without its usual 40 ms of patience: a receiver that writes its answer in
/// two parts, with Nagle's algorithm on (Python's `http.server` does), waits for that. Linux forgets the wish, so it is
/// told before each read; elsewhere there is no such wait or no such wish.
#[cfg(target_os = "linux")]
fn answer_at_once(socket: &Socket) {
    // Only speed is lost if it fails.
    let _ = socket.set_tcp_quickack(true);
}

#[cfg(not(target_os = "linux"))]
fn answer_at_once(_: &Socket) {}

/// What went wrong, without the system's number, fit for the middle of a sentence.
pub(super) fn words(why: &io::Error) -> String {
    let text = why.to_string();
    let mut letters = text.split(" (os error").next().unwrap_or(&text).chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// The address of a literal host.
pub(super) fn literal(host: &url::Host<&str>) -> Option<IpAddr> {
    match host {
        url::Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        url::Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
        url::Host::Domain(_) => None,
    }
}
