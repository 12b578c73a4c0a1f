//! A sender's turn: takes a due delivery, signs and sends it, records the attempt and what follows from it.
//!
//! A callback is sent as it is stored. A notification is made for its channel when it is sent, in `notify`.

mod notify;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::bell::{Bell, Stop};
use crate::error::Code;
use crate::flow::delivery::{EXCHANGE_DEADLINE, Heard, Verdict};
use crate::flow::step::ErrorClass;
use crate::id::Dice;
use crate::loops::wait_out;
use crate::outbound::chat::Telegram;
use crate::outbound::retry_after::asked_by;
use crate::outbound::sign::{hex_signature, standard_signature};
use crate::outbound::{Exchange, Outside, Purpose, Request};
use crate::store::Store;
use crate::store::sending::{Attempt, DeliveryClaim};
use crate::time::{Clock, Timestamp};

/// The header that signs the body alone.
const SIGNATURE: &str = "X-Fetch-Hive-Signature";

/// How much of an answer's body is kept.
const KEEP: usize = 32 << 10;

/// How much of an answer's body is read before the connection is closed.
const READ: usize = 64 << 10;

/// How people are told.
#[derive(Debug, Clone)]
pub struct Channels {
    /// What heads a link, without a slash at the end.
    pub public_url: String,
    /// A mail's subject, with `{question}` and `{deployment}`.
    pub subject: Option<String>,
    /// How long an attempt to hand a mail over may take: servers may greylist, or look a sender up, before they answer.
    pub mail_timeout: Duration,
    /// The bot that writes chat messages.
    pub telegram: Option<Telegram>,
}

impl Default for Channels {
    /// No channel but members' webhooks.
    fn default() -> Channels {
        Channels {
            public_url: String::new(),
            subject: None,
            mail_timeout: EXCHANGE_DEADLINE,
            telegram: None,
        }
    }
}

/// What a sender works with.
pub struct Sender {
    /// The file.
    pub store: Arc<Store>,
    /// The world.
    pub outside: Arc<dyn Outside>,
    /// How people are told.
    pub channels: Channels,
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub dice: Arc<Dice>,
    /// Asked when exchanges in flight are to be cut.
    pub stop: Stop,
    /// Set when nothing more is to be recorded.
    pub halt: Arc<AtomicBool>,
    /// When the next one is due by itself, in milliseconds; at the start, at once.
    pub due_at: AtomicI64,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

impl Sender {
    /// Takes up to `limit` deliveries: those that were handed over when they were owed, then due ones. The writer is
    /// asked only if one may be due: told by a commit, or by the time.
    pub fn take(&self, limit: usize) -> Vec<DeliveryClaim> {
        let mut taken = self.store.handed_deliveries(limit);
        let (now, bells) = (self.clock.now(), self.store.bells());
        let is_time = now.0 >= self.due_at.load(Ordering::SeqCst);
        if taken.len() == limit || !(bells.take_owed() || is_time) {
            return taken;
        }
        let token = i64::from_le_bytes(self.dice.bytes());
        let looked = self
            .store
            .claim_deliveries(limit - taken.len(), token, now)
            .and_then(|claims| {
                taken.extend(claims);
                // Since this look: what comes due in between is not slept over.
                self.store.next_delivery(now)
            });
        let next = looked.unwrap_or_else(|fault| {
            log::error!("no delivery could be claimed: {fault}");
            bells.note_owed();
            None
        });
        let due_at = next.map_or(i64::MAX, |due| due.0);
        self.due_at.store(due_at, Ordering::SeqCst);
        if taken.len() == limit {
            // What is left is looked for again when there is a free hand.
            bells.note_owed();
        }
        taken
    }

    /// How long there is nothing to take.
    pub fn nap(&self) -> Duration {
        let due = Timestamp(self.due_at.load(Ordering::SeqCst));
        due.since(self.clock.now()).max(Duration::from_millis(1))
    }

    /// Makes one attempt. Returns the delivery that was taken for the sender it leaves free.
    pub fn turn(&self, claim: DeliveryClaim) -> Option<DeliveryClaim> {
        let id = claim.delivery_id.prefixed("dlv_");
        catch_unwind(AssertUnwindSafe(|| self.attempt(claim))).unwrap_or_else(|_| {
            log::error!(delivery_id = id; "a sender panicked over {id}; it is given back when its claim expires");
            None
        })
    }

    fn attempt(&self, claim: DeliveryClaim) -> Option<DeliveryClaim> {
        let made = match &claim.notice {
            None => self.call_back(&claim),
            Some(told) => self.tell(&claim, told),
        };
        if self.stop.is_asked() && made.exchange.error.is_some() {
            // The server stops: the attempt was interrupted, and shows as such after the next start.
            return None;
        }
        self.record(claim, made)
    }

    fn call_back(&self, claim: &DeliveryClaim) -> Made {
        let body = claim.body.as_bytes();
        let headers = match self.headers(claim, body) {
            Ok(headers) => headers,
            Err(fault) => return self.unsigned(claim, &fault),
        };
        let purpose = Purpose::Callbacks;
        let exchange = self.post(&claim.url, &headers, body, purpose, claim.deadline);
        Made {
            headers,
            exchange,
            wait: None,
        }
    }

    /// The secret is not what it was; nothing can be sent that a receiver would believe.
    fn unsigned(&self, claim: &DeliveryClaim, fault: &str) -> Made {
        log::error!(delivery_id = claim.delivery_id.prefixed("dlv_"); "a delivery cannot be signed: {fault}");
        Made {
            headers: Vec::new(),
            exchange: Exchange {
                error: Some((ErrorClass::Connect, format!("it cannot be signed: {fault}"))),
                ..Exchange::default()
            },
            wait: None,
        }
    }

    fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: &[u8],
        purpose: Purpose,
        deadline: Duration,
    ) -> Exchange {
        let request = Request {
            method: "POST",
            url,
            headers,
            body,
            purpose,
            public_only: false,
            deadline,
            keep: KEEP,
            read: READ,
        };
        caught(|| self.outside.exchange(&request, &self.stop))
    }

    fn headers(&self, claim: &DeliveryClaim, body: &[u8]) -> Result<Vec<(String, String)>, String> {
        let now = self.clock.wall();
        let secrets = claim
            .secrets
            .as_ref()
            .ok_or("the deployment's secret cannot be opened")?;
        let standard =
            standard_signature(&secrets.signing(now), &claim.event_id, now.seconds(), body)?;
        let header = |name: &str, value: String| (name.to_owned(), value);
        Ok(vec![
            header("Content-Type", "application/json".to_owned()),
            header(
                "User-Agent",
                concat!("skep/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            header(SIGNATURE, hex_signature(&secrets.current, body)),
            header("webhook-id", claim.event_id.clone()),
            header("webhook-timestamp", now.seconds().to_string()),
            header("webhook-signature", standard),
            header("X-Skep-Attempt", claim.number.to_string()),
        ])
    }

    fn record(&self, mut claim: DeliveryClaim, made: Made) -> Option<DeliveryClaim> {
        let now = self.clock.now();
        let Made {
            headers,
            exchange,
            wait,
        } = made;
        let status = exchange.response.as_ref().map(|response| response.status);
        let heard = match status {
            Some(200..=299) if exchange.error.is_none() => Heard::Accepted,
            // A mail server's codes mean something else.
            Some(410) if !is_mail(&exchange) => Heard::Gone,
            _ => Heard::Failed {
                retry_after: wait.or_else(|| asked_by(exchange.response.as_ref()?, now)),
                fraction: self.dice.fraction(),
            },
        };
        let id = claim.delivery_id.prefixed("dlv_");
        let (number, tells) = (claim.number, claim.notice.is_some());
        let mut attempt = Arc::new(attempt(headers, exchange, heard));
        let mut is_bare = false;
        loop {
            match self.store.record_attempt(claim, &attempt, heard, now) {
                Ok(Some((verdict, next))) => {
                    let class = attempt.error_class.map(ErrorClass::as_str);
                    let took = Duration::from_millis(attempt.duration_ms);
                    self.store.metrics().delivery_tried(status, class, took);
                    let why = attempt.error.as_deref().unwrap_or_default();
                    note(&id, number, tells, verdict, why);
                    return next;
                }
                Ok(None) => return None,
                Err(refused) => {
                    let (kept, fault) = *refused;
                    if fault.code != Code::Unavailable && !is_bare {
                        // Something of what came back cannot be kept; that it was tried can.
                        log::error!("{id}: an attempt could not be recorded whole: {fault}");
                        attempt = Arc::new(bare(&attempt));
                        is_bare = true;
                        claim = kept;
                        continue;
                    }
                    if !wait_out(
                        &format!("delivery {id}"),
                        &fault,
                        &Bell::default(),
                        &self.halt,
                    ) {
                        return None;
                    }
                    claim = kept;
                }
            }
        }
    }
}

/// What was made of a delivery.
struct Made {
    /// As they are shown.
    headers: Vec<(String, String)>,
    exchange: Exchange,
    /// How long the other side asks to wait, said otherwise than by a header.
    wait: Option<Duration>,
}

/// A bug that one answer can provoke must not end the server again and again.
fn caught(act: impl FnOnce() -> Exchange) -> Exchange {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Exchange {
        error: Some((ErrorClass::Reset, "the exchange panicked".to_owned())),
        ..Exchange::default()
    })
}

fn is_mail(exchange: &Exchange) -> bool {
    matches!(&exchange.error, Some((ErrorClass::SmtpStatus, _)))
}

/// What will not be tried again is worth a line at any level, and so is a person who has not been told yet.
fn note(delivery_id: &str, number: u32, tells: bool, verdict: Verdict, why: &str) {
    match verdict {
        Verdict::Accepted => {
            log::debug!(delivery_id; "attempt {number} of {delivery_id} was accepted")
        }
        Verdict::Failed(Some(wait)) if tells && number == 1 => {
            log::warn!(delivery_id; "nobody is told by {delivery_id} yet, next in {wait:.0?}: {why}");
        }
        Verdict::Failed(Some(wait)) => {
            log::debug!(delivery_id; "attempt {number} of {delivery_id} failed, next in {wait:.0?}: {why}");
        }
        Verdict::Gone => {
            log::warn!(delivery_id; "{delivery_id} is gone: attempt {number} was answered 410")
        }
        Verdict::Failed(None) => {
            log::warn!(delivery_id; "{delivery_id} is dead after attempt {number}: {why}")
        }
    }
}

/// A signature without a time in it could be sent again by whoever reads it here: its beginning is enough to compare.
fn veiled((name, mut value): (String, String)) -> (String, String) {
    if name == SIGNATURE {
        value.truncate(8);
        value.push('…');
    }
    (name, value)
}

fn object(pairs: Vec<(String, String)>) -> Value {
    let mut object = Map::new();
    for (name, value) in pairs {
        match object.get_mut(&name) {
            Some(Value::String(standing)) => {
                standing.push_str(", ");
                standing.push_str(&value);
            }
            _ => {
                object.insert(name, Value::String(value));
            }
        }
    }
    Value::Object(object)
}

/// That an attempt was made, and no more.
fn bare(attempt: &Attempt) -> Attempt {
    Attempt {
        request_headers: Value::Null,
        response_headers: None,
        response_body: None,
        remote_address: None,
        ..attempt.clone()
    }
}

/// What is kept of an exchange.
fn attempt(headers: Vec<(String, String)>, exchange: Exchange, heard: Heard) -> Attempt {
    let (mut class, mut error) = (None, None);
    if let Some((what, why)) = exchange.error {
        // A delivery knows the classes of the contract; what no connection was even tried for is `connect`.
        let what = match what {
            ErrorClass::Step | ErrorClass::Cancelled => ErrorClass::Connect,
            other => other,
        };
        (class, error) = (Some(what), Some(why));
    } else if let (Some(response), Heard::Gone | Heard::Failed { .. }) = (&exchange.response, heard)
    {
        class = Some(ErrorClass::HttpStatus);
        error = Some(format!("the receiver answered {}", response.status));
    }
    let response = exchange.response;
    Attempt {
        duration_ms: exchange.duration_ms,
        dns_ms: exchange.timings.dns_ms,
        connect_ms: exchange.timings.connect_ms,
        tls_ms: exchange.timings.tls_ms,
        first_byte_ms: exchange.timings.first_byte_ms,
        remote_address: exchange.remote_address.map(|address| address.to_string()),
        request_headers: object(headers.into_iter().map(veiled).collect()),
        response_status: response.as_ref().map(|response| response.status),
        response_headers: response
            .as_ref()
            .map(|response| object(response.headers.clone())),
        truncated: response.as_ref().is_some_and(|response| response.truncated),
        bytes_seen: response.as_ref().map(|response| response.bytes_seen),
        response_body: response.map(|response| response.body),
        error_class: class,
        error,
    }
}
