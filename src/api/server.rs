//! The edge: HTTP/1 on one thread, whole requests handed to synchronous handler threads.
//!
//! Owns connections, their limits and deadlines, and the hand-over. This and the files below it are the
//! only asynchronous ones and the only ones that know the HTTP library. Must not judge what a request
//! means (that is the [`Door`]'s), start a thread, or touch the store.
//!
//! A request's walk: accept (caps) → head (deadline) → form → length → [`Door::admit`] → body (deadline,
//! budget) → one of two bounded lanes → [`Door::answer`] on a handler thread → answer (stall limit).

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::api::budget::{Budget, Held};
use crate::api::call::{Answer, Call, Head};
use crate::api::door::{Door, Responder};
use crate::api::edge::{self, Line};
use crate::api::server::body::{Outcome, Sending};
use crate::api::server::lanes::{Holding, Job, Lanes, Waiting, lanes};
use crate::api::server::response::Seen;
use crate::api::server::socket::Socket;
use crate::bell::locked;
use crate::error::{Code, Error, Result};
use crate::metrics::Watched;

mod body;
mod config;
mod descriptors;
mod lanes;
mod response;
mod socket;
#[cfg(test)]
mod tests;

pub use config::ServerConfig;

/// Bytes of a connection that the kernel takes before it can send them.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;
/// The pause after an accept that failed, most likely for want of a descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Listens at `addr` with room for `backlog` connections that are not yet accepted.
pub fn bind(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(addr),
        socket2::Type::STREAM,
        None,
    )?;
    // A restart must not wait for the last connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    // Inherited by every connection. The kernel would take megabytes of an answer that nobody reads off our hands, and
    // out of the count of what is unread; what is on the wire does not suffer.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The front door. Made once; its threads are the caller's.
pub struct Server {
    edge: Mutex<Option<(TcpListener, Edge)>>,
    waiting: Waiting,
    answers: Budget,
    door: Arc<dyn Door>,
    stopping: watch::Sender<bool>,
    address: SocketAddr,
}

impl Server {
    /// A server on that listener. Nothing is accepted before [`Server::run_edge`].
    pub fn new(
        listener: TcpListener,
        mut config: ServerConfig,
        door: Arc<dyn Door>,
    ) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let places = descriptors::places(config.max_connections, config.own_descriptors);
        config.max_connections = places.connections;
        let limit = config.max_connections as u64;
        config.metrics.connections_limit.set(limit);
        let (lanes, waiting) = lanes();
        let edge = Edge::new(
            config,
            places.refusals,
            Arc::clone(&door),
            lanes,
            address.ip().is_loopback(),
        );
        Ok(Server {
            answers: edge.answers.clone(),
            edge: Mutex::new(Some((listener, edge))),
            waiting,
            door,
            stopping: watch::Sender::new(false),
            address,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The one edge thread's work, until [`Server::stop`] and then until every connection has ended, at
    /// most `drain_time`. Handlers that still wait then see their client gone.
    pub fn run_edge(&self) -> io::Result<()> {
        let Some((listener, edge)) = locked(&self.edge).take() else {
            // Stopped before it began.
            return Ok(());
        };
        let drain_time = edge.config.drain_time;
        let edge = Arc::new(edge);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        runtime.block_on(async {
            accept(listener, &edge, self.stopping.subscribe()).await?;
            // Each connection holds a receiver, so the sender is closed when the last has ended.
            if timeout(drain_time, self.stopping.closed()).await.is_err() {
                log::warn!(
                    "{} connections were cut after {drain_time:?}",
                    edge.connections.used()
                );
            }
            Ok(())
        })
    }

    /// One handler thread's work, until the edge has ended and the lanes are empty.
    pub fn run_handler(&self) {
        self.waiting.serve(|job| {
            // Nobody would read the answer, and nothing was promised yet.
            if !job.responder.is_gone() {
                self.handle(job);
            }
        });
    }

    /// Stops accepting, refuses new requests, lets those in flight be answered. Returns at once.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        // An edge that never ran would keep the lanes open and the handlers waiting.
        drop(locked(&self.edge).take());
    }

    fn handle(&self, job: Job) {
        let Job {
            call,
            admission,
            responder,
            held,
        } = job;
        // Asked again: when it came, others may have been waiting that have taken all since.
        if admission.is_read && self.answers.is_half_spent(call.head.peer) {
            return responder.send(Err(response::too_many_unread()));
        }
        match guarded(|| self.door.answer(&call, &admission)) {
            Ok(Answer::Now(reply)) => responder.send(Ok(reply)),
            Ok(Answer::Later(later)) => {
                drop(call);
                // What came of the body waits for the writer: it counts until the answer.
                later.go(Responder::new(Holding { responder, held }));
            }
            Ok(Answer::WhenEnded { run_id, replayed }) => {
                drop((call, held));
                let waiting = guarded(|| {
                    self.door.wait(run_id, replayed, responder);
                    Ok(())
                });
                if let Err(error) = waiting {
                    // The responder went down with it, so the edge answers 500.
                    log::error!("waiting for run {run_id}: {error}");
                }
            }
            Ok(Answer::Stream(reply, frames)) => responder.stream(reply, frames),
            Err(error) => responder.send(Err(error)),
        }
    }
}

/// Runs a part of the house; its panic becomes an internal error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Its text stays out of the log: it may quote what was sent.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("a handler panicked")))
}

/// What every connection shares.
struct Edge {
    config: ServerConfig,
    door: Arc<dyn Door>,
    lanes: Lanes,
    /// Set when only names of this machine are answered to (DNS rebinding).
    public_host: Option<String>,
    connections: Budget,
    refusals: Budget,
    bodies: Budget,
    answers: Budget,
}

/// Accepts until told to stop; the listener is closed on return.
async fn accept(
    listener: TcpListener,
    edge: &Arc<Edge>,
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut told = stopping.clone();
    let mut stop = pin!(told.wait_for(|stopping| *stopping));
    let mut failing = false;
    loop {
        let next = poll_fn(|cx| match stop.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(cx).map(Some),
        });
        match next.await {
            None => return Ok(()),
            Some(Ok((stream, peer))) => {
                failing = false;
                edge.take(stream, peer, &stopping);
            }
            Some(Err(fault)) => {
                // One line for the whole time that it lasts.
                if !std::mem::replace(&mut failing, true) {
                    log::warn!("cannot accept connections: {fault}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Edge {
    fn new(
        config: ServerConfig,
        refusals: usize,
        door: Arc<dyn Door>,
        lanes: Lanes,
        is_loopback: bool,
    ) -> Edge {
        let edge = Edge {
            public_host: is_loopback.then(|| config.public_host.clone()),
            connections: Budget::new(config.max_connections, config.max_connections_per_peer),
            refusals: Budget::new(refusals, refusals),
            bodies: Budget::new(config.body_budget, config.body_share),
            answers: Budget::new(config.answer_budget, config.answer_share),
            config,
            door,
            lanes,
        };
        for (what, budget) in [
            (Watched::Connections, &edge.connections),
            (Watched::BodyBytes, &edge.bodies),
            (Watched::AnswerBytes, &edge.answers),
        ] {
            let budget = budget.clone();
            edge.config
                .metrics
                .watch(what, move || budget.used() as u64);
        }
        edge
    }

    /// Takes a connection in, or refuses it.
    fn take(
        self: &Arc<Edge>,
        stream: TcpStream,
        peer: SocketAddr,
        stopping: &watch::Receiver<bool>,
    ) {
        // A small answer must not wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let is_proxy = edge::is_trusted(peer.ip(), &self.config.trusted_proxies);
        let mut place = self.connections.hold((!is_proxy).then(|| peer.ip()));
        let edge = Arc::clone(self);
        if place.grow(1) {
            self.config.metrics.connections_accepted.add();
            let stopping = stopping.clone();
            tokio::spawn(async move {
                edge.serve_connection(stream, peer, stopping).await;
                drop(place);
            });
            return;
        }
        self.config.metrics.connections_refused.add();
        let mut refusal_place = self.refusals.hold(None);
        if refusal_place.grow(1) {
            tokio::spawn(async move {
                let error = Error::unavailable("There are too many connections. Try again later.");
                edge.last_words(stream, &error).await;
                drop(refusal_place);
            });
        }
    }

    async fn serve_connection(
        self: Arc<Edge>,
        stream: TcpStream,
        peer: SocketAddr,
        mut stopping: watch::Receiver<bool>,
    ) {
        let unread = Arc::new(AtomicBool::new(false));
        let socket = Socket::new(
            stream,
            Arc::clone(&unread),
            self.config.write_time,
            self.config.linger_time,
        );
        let is_stopping = stopping.clone();
        let service = service_fn(|request| {
            let (edge, unread, stopping) = (
                Arc::clone(&self),
                Arc::clone(&unread),
                *is_stopping.borrow(),
            );
            async move { Ok::<_, Infallible>(edge.serve(request, peer, &unread, stopping).await) }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_time())
            .max_headers(64)
            .max_buf_size(16 << 10)
            .serve_connection(socket, service);
        let ended = {
            let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
            let mut told = false;
            poll_fn(|cx| {
                if !told && stop.as_mut().poll(cx).is_ready() {
                    told = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Pin::new(&mut connection).poll(cx)
            })
            .await
        };
        let Err(fault) = ended else { return };
        log::debug!("connection from {}: {fault}", peer.ip());
        // The library closes silently; a client that began a head is told why. An idle one is not.
        if fault.is_timeout() && unread.load(Ordering::Relaxed) {
            let (metrics, time) = (&self.config.metrics, self.config.head_time);
            metrics.http.note(None, "", 408, time);
            let stream = connection.into_parts().io.into_stream();
            let error = edge::bad_request(
                408,
                format!("The head took longer than {:?}.", self.config.head_time),
            );
            self.last_words(stream, &error).await;
        }
    }

    /// A shorter patience with silent clients once three quarters of the places are taken.
    fn head_time(&self) -> Duration {
        let crowded = self.connections.used() > self.config.max_connections / 4 * 3;
        self.config.head_time / if crowded { 4 } else { 1 }
    }

    /// Writes one error on a connection that is not served, and closes it so that the error arrives.
    async fn last_words(&self, stream: TcpStream, error: &Error) {
        let bytes = response::canned(error);
        if stream.writable().await.is_ok() && stream.try_write(&bytes).is_ok() {
            let unread = Arc::new(AtomicBool::new(true));
            let mut socket = Socket::new(
                stream,
                unread,
                self.config.write_time,
                self.config.linger_time,
            );
            drop(poll_fn(|cx| hyper::rt::Write::poll_shutdown(Pin::new(&mut socket), cx)).await);
        }
    }

    /// Answers one request. `unread`: whether bytes came that nobody has looked at.
    async fn serve(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        unread: &AtomicBool,
        stopping: bool,
    ) -> Response<Sending> {
        let begun = Instant::now();
        unread.store(false, Ordering::Relaxed);
        let (head, is_11, authority) = self.head(&request, peer);
        let body = request.into_body();
        let mut progress = Progress {
            body_left: !body.is_end_stream(),
            had_trailers: false,
            pattern: "-",
            route: None,
        };
        let seen = Seen::of(&head);
        let line = Line {
            is_11,
            authority: authority
                .as_ref()
                .map(|(scheme, host)| (scheme.as_str(), host.as_str())),
        };
        let outcome = match stopping {
            true => Err(Error::unavailable(
                "The server is stopping. Try again later.",
            )),
            false => self.answer(head, line, body, &mut progress).await,
        };
        let refused = matches!(&outcome, Err(error) if error.code == Code::BadRequest);
        let mut response = response::of(
            outcome.unwrap_or_else(|error| response::told(error, &seen).into()),
            &seen,
            &self.answers,
        );
        let close = stopping || refused || progress.body_left || progress.had_trailers;
        if close {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A close must linger for what the client may still be sending; otherwise all that came was read.
        unread.store(close, Ordering::Relaxed);
        let status = response.status().as_u16();
        let (metrics, method) = (&self.config.metrics, &seen.method);
        metrics
            .http
            .note(progress.route, method, status, begun.elapsed());
        log::debug!(
            "{} {} {} {} {:?}",
            seen.peer,
            seen.method,
            progress.pattern,
            status,
            begun.elapsed()
        );
        response
    }

    fn head(
        &self,
        request: &Request<Incoming>,
        peer: SocketAddr,
    ) -> (Head, bool, Option<(String, String)>) {
        // What is not UTF-8 stays, unreadable, so that who looks for it refuses it: left out, it would count as absent.
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        let client = edge::client(peer.ip(), &mut headers, &self.config.trusted_proxies);
        let uri = request.uri();
        let head = Head {
            method: request.method().as_str().to_owned(),
            path: edge::without_base(uri.path(), &self.config.base_path).to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            peer: client,
        };
        let authority = uri.authority().map(|authority| {
            let scheme = uri.scheme_str().unwrap_or_default();
            (scheme.to_owned(), authority.as_str().to_owned())
        });
        (head, request.version() == Version::HTTP_11, authority)
    }

    async fn answer(
        &self,
        head: Head,
        line: Line<'_>,
        body: Incoming,
        progress: &mut Progress,
    ) -> Result<Outcome> {
        edge::framing(&head, line, self.public_host.as_deref())?;
        if body.size_hint().lower() > self.config.body_limit as u64 {
            return Err(edge::too_large(self.config.body_limit));
        }
        let admission = guarded(|| self.door.admit(&head)).inspect_err(|_| {
            progress.route = self.door.route(&head);
        })?;
        progress.pattern = admission.pattern;
        progress.route = Some(admission.route);
        if admission.is_read && self.answers.is_half_spent(head.peer) {
            return Err(response::too_many_unread());
        }
        let mut held = self.bodies.hold(Some(head.peer));
        let body = if progress.body_left {
            self.body(body, &mut held, progress).await?
        } else {
            Vec::new()
        };
        progress.body_left = false;
        let (sender, answer) = oneshot::channel();
        let job = Job {
            call: Call { head, body },
            admission,
            responder: Responder::new(sender),
            held,
        };
        self.lanes.leave(job)?;
        match timeout(self.config.answer_time, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("a responder was dropped unanswered")),
            Err(_) => Err(Error::internal(format_args!(
                "{}: no answer in {:?}",
                progress.pattern, self.config.answer_time
            ))),
        }
    }

    async fn body(
        &self,
        body: Incoming,
        held: &mut Held,
        progress: &mut Progress,
    ) -> Result<Vec<u8>> {
        match timeout(self.config.body_time, self.frames(body, held, progress)).await {
            Ok(read) => read,
            Err(_) => {
                let message = format!("The body took longer than {:?}.", self.config.body_time);
                Err(edge::bad_request(408, message))
            }
        }
    }

    async fn frames(
        &self,
        mut body: Incoming,
        held: &mut Held,
        progress: &mut Progress,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|fault| {
                edge::bad_request(400, format!("The body is malformed: {fault}"))
            })?;
            let Ok(data) = frame.into_data() else {
                // Trailers are read and forgotten. The parser takes a bare LF in them for a line end and does not
                // say what it threw away behind it, which may have been a request to somebody else's eyes.
                progress.had_trailers = true;
                continue;
            };
            if bytes.len() + data.len() > self.config.body_limit {
                return Err(edge::too_large(self.config.body_limit));
            }
            if !held.grow(data.len()) {
                return Err(Error::unavailable(
                    "Too many bodies are being read. Try again later.",
                ));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }
}

/// How far a request came.
struct Progress {
    /// Whether a body was announced that has not been read to its end.
    body_left: bool,
    /// Whether it ended in trailers.
    had_trailers: bool,
    /// The route's pattern, once admitted.
    pattern: &'static str,
    /// Its index, once it was found.
    route: Option<usize>,
}
