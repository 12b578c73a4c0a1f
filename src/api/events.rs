//! `GET /v1/events`: what changes, told as it happens to whoever listens (server-sent events).
//!
//! Owns the table of streams and the pace at which they are told. [`Hub::turn`] is a thread's body, and starts none; it
//! reads the store's ring of changes, which is woken by the writer, and never the other way round.

mod frames;
#[cfg(test)]
mod tests;
mod wish;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::api::Request;
use crate::api::budget::Budget;
use crate::api::call::{Answer, Head, Reply};
use crate::api::door::Admission;
use crate::api::events::frames::{Stretch, event};
use crate::api::events::wish::Wish;
use crate::api::feed::{Feed, Frame, Frames, feed};
use crate::bell::locked;
use crate::error::{Code, Error, Result};
use crate::id::Dice;
use crate::store::Store;

pub use wish::KINDS;

/// How many streams there may be, and how many of one peer.
const STREAMS: usize = 256;
const STREAMS_OF_PEER: usize = 64;

/// Bytes of all frames that are unread, and of those of one peer.
const UNREAD: usize = 32 << 20;
const UNREAD_OF_PEER: usize = 16 << 20;

/// The shortest time between two frames.
const PACE: Duration = Duration::from_millis(250);

/// How much of a processor telling may take: of so many parts, one.
const PARTS: u32 = 4;

/// How often those who listen are asked again whether they may.
const JUDGED: Duration = Duration::from_millis(500);

/// After how long a silence a comment is sent.
const SILENCE: Duration = Duration::from_secs(15);

/// How long a stream lasts.
const LIFE: Duration = Duration::from_secs(3_600);

/// How long changes are kept for those who come back.
const LINGER: Duration = Duration::from_secs(60);

/// The longest nap: until the bell.
const LONG: Duration = Duration::from_secs(86_400);

/// One who listens.
struct Stream {
    wish: Arc<Wish>,
    /// By what it was let in, to be judged again.
    admission: Admission,
    peer: IpAddr,
    feed: Feed,
    /// The number of the next change to be told.
    position: u64,
    /// When it ends, and when it was last sent something; `None`: it is new.
    ends_at: Option<Instant>,
    told_at: Instant,
}

#[derive(Default)]
struct Incoming {
    is_closed: bool,
    streams: Vec<Stream>,
}

#[derive(Default)]
struct Table {
    streams: Vec<Stream>,
    /// Before this nothing is told.
    next_frames: Option<Instant>,
    judged: Option<Instant>,
    /// Since when nobody listens.
    empty_since: Option<Instant>,
}

/// Who listens, and what they are told.
pub struct Hub {
    /// What tells the positions of this process from those of another.
    boot: String,
    places: Budget,
    unread: Budget,
    /// Held while the store begins, or ceases, to keep changes of every kind.
    opening: Mutex<()>,
    incoming: Mutex<Incoming>,
    table: Mutex<Table>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("streams", &self.places.used())
            .finish_non_exhaustive()
    }
}

/// What the caller has seen, by the header with which streams are resumed.
fn resumed(head: &Head, boot: &str) -> Option<Option<u64>> {
    let text = head.header("last-event-id")?;
    let position = text
        .strip_prefix(boot)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|digits| digits.parse().ok());
    Some(position)
}

impl Hub {
    /// Nobody listens yet.
    pub fn new(dice: &Dice) -> Hub {
        Hub {
            boot: format!("{:08x}", u32::from_le_bytes(dice.bytes())),
            places: Budget::new(STREAMS, STREAMS_OF_PEER),
            unread: Budget::new(UNREAD, UNREAD_OF_PEER),
            opening: Mutex::default(),
            incoming: Mutex::default(),
            table: Mutex::default(),
        }
    }

    /// A new stream: it is told of every commit that ends after this returns.
    ///
    /// # Errors
    /// `too_many_requests` if there are too many, `unavailable` once the hub is closed.
    fn open(&self, request: &Request<'_>, wish: Wish) -> Result<Frames> {
        let (store, head) = (request.store(), &request.call.head);
        let mut place = self.places.hold(Some(head.peer));
        if !place.grow(1) {
            let mut error = Error::new(
                Code::TooManyRequests,
                format!(
                    "there are too many streams of events (at most {STREAMS}, {STREAMS_OF_PEER} of one address)"
                ),
            );
            error.retry_after = Some(5);
            return Err(error);
        }
        let (feed, frames) = feed(Some(place));
        let _one = locked(&self.opening);
        store.listen()?;
        let changes = store.changes();
        let (position, is_reset) = match resumed(head, &self.boot) {
            None => (changes.next(), false),
            Some(Some(position)) if changes.has_all_since(position) => (position, false),
            Some(_) => (changes.next(), true),
        };
        let mut text = "retry: 2000\n".to_owned();
        event(&mut text, &self.boot, Some(position), "hello", "{}");
        if is_reset {
            event(&mut text, &self.boot, Some(position), "reset", "{}");
        }
        let stream = Stream {
            wish: Arc::new(wish),
            admission: request.admission.clone(),
            peer: head.peer,
            feed,
            position,
            ends_at: None,
            told_at: Instant::now(),
        };
        let mut incoming = locked(&self.incoming);
        if incoming.is_closed {
            return Err(Error::unavailable("the server is stopping"));
        }
        self.push(&stream, text.into_bytes().into());
        incoming.streams.push(stream);
        drop(incoming);
        changes.stirred.ring();
        Ok(frames)
    }

    /// Sends a frame; who cannot take it is cut.
    fn push(&self, stream: &Stream, bytes: Arc<[u8]>) {
        let mut held = self.unread.hold(Some(stream.peer));
        let is_sent = held.grow(bytes.len()) && stream.feed.push(Frame::new(bytes, held));
        if !is_sent {
            stream.feed.cut();
        }
    }

    /// One turn of the thread that tells. Returns how long it may nap, unless [`Changes::stirred`] is rung.
    /// `stands`: whether whoever was let in then would be still.
    ///
    /// [`Changes::stirred`]: crate::store::changes::Changes::stirred
    pub fn turn(
        &self,
        store: &Store,
        stands: impl Fn(&Admission) -> bool,
        now: Instant,
    ) -> Duration {
        let mut table = locked(&self.table);
        let incoming = std::mem::take(&mut locked(&self.incoming).streams);
        for mut stream in incoming {
            stream.ends_at = Some(now + LIFE);
            stream.told_at = now;
            table.streams.push(stream);
        }
        table.judge(&stands, now);
        table.streams.retain(|stream| !stream.feed.is_gone());
        if table.streams.is_empty() {
            return self.rest(&mut table, store, now);
        }
        table.empty_since = None;
        let nap = table.judged.map_or(JUDGED, |judged| judged + JUDGED - now);
        if let Some(next) = table.next_frames.filter(|next| *next > now) {
            return (next - now).min(nap);
        }
        let changes = store.changes();
        if table.has_told_all(changes.next()) {
            changes.arm();
            // What was published before it was armed has rung nothing.
            if table.has_told_all(changes.next()) {
                self.break_silence(&mut table, now);
                return nap;
            }
        }
        let begun = Instant::now();
        self.tell(&mut table, store, now);
        self.break_silence(&mut table, now);
        let pause = PACE.max(begun.elapsed() * (PARTS - 1));
        table.next_frames = Some(now + pause);
        pause.min(nap)
    }

    /// How long to nap while nobody listens. After a while changes are no longer kept for those who come back.
    fn rest(&self, table: &mut Table, store: &Store, now: Instant) -> Duration {
        let since = *table.empty_since.get_or_insert(now);
        let over = since + LINGER;
        if now < over {
            return over - now;
        }
        let _one = locked(&self.opening);
        if locked(&self.incoming).streams.is_empty() {
            store.changes().hush();
        }
        LONG
    }

    /// Tells everyone what they have not been told.
    fn tell(&self, table: &mut Table, store: &Store, now: Instant) {
        let end = store.changes().next();
        let mut positions: Vec<u64> = table.streams.iter().map(|one| one.position).collect();
        positions.sort_unstable();
        positions.dedup();
        for from in positions.into_iter().filter(|from| *from < end) {
            let mut wishes: Vec<Arc<Wish>> = Vec::new();
            let mut listening: Vec<(usize, usize)> = Vec::new();
            for (at, stream) in table.streams.iter().enumerate() {
                if stream.position == from {
                    let known = wishes.iter().position(|wish| *wish == stream.wish);
                    let wish = known.unwrap_or_else(|| {
                        wishes.push(Arc::clone(&stream.wish));
                        wishes.len() - 1
                    });
                    listening.push((at, wish));
                }
            }
            let frames = Stretch::of(store, &self.boot, from, end).frames(&wishes);
            for (at, wish) in listening {
                let Some(stream) = table.streams.get_mut(at) else {
                    continue;
                };
                stream.position = end;
                if let Some(Some(frame)) = frames.get(wish) {
                    stream.told_at = now;
                    self.push(stream, Arc::clone(frame));
                }
            }
        }
    }

    /// A comment for those who have heard nothing for long, with the position, so that they are resumed where they are.
    fn break_silence(&self, table: &mut Table, now: Instant) {
        for stream in &mut table.streams {
            if now.saturating_duration_since(stream.told_at) >= SILENCE {
                stream.told_at = now;
                let text = format!(": keep-alive\nid: {}-{}\n\n", self.boot, stream.position);
                self.push(stream, text.into_bytes().into());
            }
        }
    }

    /// Ends every stream; whoever comes later is refused.
    pub fn close(&self) {
        let incoming = {
            let mut incoming = locked(&self.incoming);
            incoming.is_closed = true;
            std::mem::take(&mut incoming.streams)
        };
        let streams = std::mem::take(&mut locked(&self.table).streams);
        for stream in incoming.into_iter().chain(streams) {
            stream.feed.close();
        }
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.places.used()
    }
}

impl Table {
    /// Ends the streams of those who may not listen any more, or have listened for long enough.
    fn judge(&mut self, stands: &impl Fn(&Admission) -> bool, now: Instant) {
        let is_due = self.judged.is_none_or(|judged| now >= judged + JUDGED);
        if !is_due {
            return;
        }
        self.judged = Some(now);
        for stream in &self.streams {
            let is_over = stream.ends_at.is_some_and(|ends_at| now >= ends_at);
            if is_over || !stands(&stream.admission) {
                stream.feed.close();
            }
        }
    }

    fn has_told_all(&self, end: u64) -> bool {
        self.streams.iter().all(|stream| stream.position == end)
    }
}

/// `GET /v1/events`
pub fn listen(request: &Request<'_>) -> Result<Answer> {
    request.api.refuse_while_stopping()?;
    let wish = Wish::of(request)?;
    let frames = match request.call.head.method.as_str() {
        "HEAD" => Frames::ended(),
        _ => request.api.events.open(request, wish)?,
    };
    let reply = Reply {
        status: 200,
        headers: vec![
            ("Content-Type", "text/event-stream".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
            // A proxy must hand on what comes as it comes.
            ("X-Accel-Buffering", "no".to_owned()),
        ],
        body: Vec::new(),
    };
    Ok(Answer::Stream(reply, frames))
}
