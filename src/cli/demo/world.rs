//! The world around the demo: a stock service, and a callback receiver that fails twice and then accepts.
//!
//! Real loopback HTTP, behind the same edge as the server's own front door.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::Sender;
use serde_json::{Value, json};

use crate::api::call::{Answer, Call, Head, Reply};
use crate::api::door::{Admission, Door, Responder, Shown, Who};
use crate::api::routes::nothing_here;
use crate::error::Result;
use crate::id::Id;
use crate::outbound::sign::{verify_hex, verify_standard};
use crate::time::Clock;

/// How often the receiver fails before it accepts.
const FAILS: u32 = 2;

const PATHS: [&str; 2] = ["/reservations", "/callback"];

/// What the world saw, for the terminal.
#[derive(Debug)]
pub(super) enum Seen {
    /// The stock service was called.
    Reserved {
        /// The key that makes a repeated call harmless.
        idempotency_key: String,
    },
    /// A callback arrived.
    Callback {
        /// Which attempt.
        attempt: String,
        /// What it was answered.
        status: u16,
        /// What the signatures were worth.
        verdict: Result<(), String>,
        /// The event.
        event: Value,
    },
}

/// The service and the receiver.
pub(super) struct World {
    pub(super) secret: String,
    pub(super) seen: Sender<Seen>,
    pub(super) calls: AtomicU32,
    pub(super) clock: Clock,
}

impl Door for World {
    fn admit(&self, head: &Head) -> Result<Admission> {
        let found = PATHS
            .iter()
            .position(|path| *path == head.path)
            .filter(|_| head.method == "POST");
        let route = found.ok_or_else(nothing_here)?;
        Ok(Admission {
            route,
            pattern: PATHS[route],
            params: Vec::new(),
            who: Who::Nobody,
            shown: Shown::Nothing,
            is_read: false,
        })
    }

    fn answer(&self, call: &Call, admission: &Admission) -> Result<Answer> {
        let body = Value::Object(call.object()?);
        let (seen, reply) = match admission.pattern {
            "/reservations" => reserve(&call.head, &body),
            _ => self.receive(call, body),
        };
        // Nobody looks any more: the demo is over.
        drop(self.seen.send(seen));
        Ok(Answer::Now(reply))
    }

    fn wait(&self, _run_id: Id, _replayed: bool, _responder: Responder) {}
}

fn reserve(head: &Head, order: &Value) -> (Seen, Reply) {
    let items = order["items"].as_array().cloned().unwrap_or_default();
    let cents: f64 = items
        .iter()
        .map(|item| {
            item["price"].as_f64().unwrap_or(0.0) * item["quantity"].as_f64().unwrap_or(0.0) * 100.0
        })
        .sum();
    let answer = json!({"reserved": !items.is_empty(), "total": cents.round() / 100.0, "ships_on": "Monday"});
    let idempotency_key = head
        .header("idempotency-key")
        .unwrap_or_default()
        .to_owned();
    (
        Seen::Reserved { idempotency_key },
        Reply::json(200, &answer),
    )
}

impl World {
    fn receive(&self, call: &Call, event: Value) -> (Seen, Reply) {
        let header = |name: &str| call.head.header(name).unwrap_or_default().to_owned();
        let status = if self.calls.fetch_add(1, Ordering::SeqCst) < FAILS {
            503
        } else {
            200
        };
        let seen = Seen::Callback {
            attempt: header("x-skep-attempt"),
            status,
            verdict: self.verify(call),
            event,
        };
        (
            seen,
            Reply::json(status, &json!({"received": status == 200})),
        )
    }

    /// Both signatures, as a receiver of yours would check them.
    fn verify(&self, call: &Call) -> Result<(), String> {
        let header = |name: &str| {
            call.head
                .header(name)
                .ok_or_else(|| format!("the header {name} is missing"))
        };
        if !verify_hex(&self.secret, &call.body, header("x-fetch-hive-signature")?) {
            return Err("X-Fetch-Hive-Signature does not fit the body".to_owned());
        }
        verify_standard(
            &self.secret,
            header("webhook-id")?,
            header("webhook-timestamp")?,
            &call.body,
            header("webhook-signature")?,
            self.clock.now(),
        )
    }
}

/// The address that both listen on.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
