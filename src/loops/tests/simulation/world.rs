//! The scripted outside: services that steps call, receivers that events are sent to. They are slow, fail, forget to
//! answer, answer after the caller gave up; and they remember everything, to hold it against the file.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fiber::{self, Wants};
use super::log::Log;
use crate::bell::{Stop, locked};
use crate::flow::run::RunStatus;
use crate::flow::step::{ErrorClass, StepStatus};
use crate::id::{Dice, Id};
use crate::outbound::sign::standard_signature;
use crate::outbound::{Exchange, Outside, Purpose, Request, Response};
use crate::store::{Store, inspect};
use crate::time::{Clock, Timestamp};

/// What a receiver was sent under one `webhook-id`.
#[derive(Debug, Default)]
pub struct Event {
    body: Vec<u8>,
    last: u32,
    /// What the sender heard of each attempt, by number.
    pub heard: BTreeMap<u32, Reply>,
}

/// What a caller hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An answer, with what it asks to wait.
    Status(u16, Option<u64>),
    /// None.
    None(ErrorClass),
}

impl Reply {
    /// Whether that is what is on record of it.
    pub fn is(&self, status: Option<u16>, class: Option<&str>) -> bool {
        match self {
            Reply::Status(own @ 200..=299, _) => status == Some(*own) && class.is_none(),
            Reply::Status(own, _) => status == Some(*own) && class == Some("http_status"),
            Reply::None(own) => status.is_none() && class == Some(own.as_str()),
        }
    }
}

/// What the outside saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// By `webhook-id`.
    pub events: HashMap<String, Event>,
    /// Bodies of step calls, by idempotency key.
    calls: HashMap<String, Vec<u8>>,
    /// The serial numbers that a step's calls were answered with, by run and path.
    pub answers: HashMap<String, Vec<u64>>,
    serial: u64,
    /// The tokens of the links that people were sent.
    pub links: Vec<String>,
    /// What must not have happened.
    pub violations: Vec<String>,
}

/// The outside.
pub struct World {
    /// Its own chance.
    pub dice: Dice,
    /// The file, to be looked into while it is called.
    pub store: Mutex<Option<Arc<Store>>>,
    /// What it saw.
    pub seen: Mutex<Seen>,
    /// Whether the process that calls is dead.
    pub dead: Arc<AtomicBool>,
    /// The time.
    pub clock: Clock,
    /// What is printed of a failing history.
    pub log: Arc<Log>,
    /// Whether claims were given back under the hands of those who hold them: then a sender may be late.
    pub usurped: AtomicBool,
    /// Every webhook secret there ever was.
    pub secrets: Mutex<Vec<String>>,
}

/// How a host behaves: in hundredths, who answers well, 5xx, 429, 410, resets, refuses; the rest runs out of time.
struct Manner(&'static str, [u64; 6]);

const MANNERS: [Manner; 8] = [
    Manner("receiver0.test", [100, 0, 0, 0, 0, 0]),
    Manner("receiver1.test", [50, 15, 10, 0, 10, 5]),
    Manner("receiver2.test", [25, 5, 5, 0, 5, 5]),
    Manner("receiver3.test", [30, 20, 10, 20, 10, 5]),
    Manner("receiver4.test", [0, 40, 5, 0, 15, 35]),
    Manner("inbox-m1.test", [40, 20, 10, 5, 10, 5]),
    Manner("inbox-m2.test", [20, 10, 10, 0, 10, 40]),
    Manner("service.test", [68, 12, 5, 1, 6, 4]),
];

impl World {
    fn roll(&self, sides: u64) -> u64 {
        u64::from_le_bytes(self.dice.bytes()) % sides.max(1)
    }

    pub fn accuse(&self, what: String) {
        locked(&self.seen).violations.push(what);
    }

    /// What this call comes to, by its host and the dice; and how long it takes.
    fn decide(&self, host: &str, deadline_ms: i64) -> (Reply, i64) {
        let manner = MANNERS.iter().find(|manner| manner.0 == host);
        let odds = manner.map_or([100, 0, 0, 0, 0, 0], |manner| manner.1);
        let mut left = self.roll(100);
        let mut which = odds.len();
        for (index, share) in odds.iter().enumerate() {
            if left < *share {
                which = index;
                break;
            }
            left -= share;
        }
        let soon = 1 + self.roll(40) as i64;
        let slow = if self.roll(6) == 0 {
            self.roll(deadline_ms.max(1) as u64) as i64
        } else {
            soon
        };
        match which {
            0 => (Reply::Status(200 + self.roll(2) as u16, None), slow),
            1 => (Reply::Status(500 + self.roll(4) as u16, None), slow),
            2 => (Reply::Status(429, Some(1 + self.roll(90))), soon),
            3 => (Reply::Status(410, None), soon),
            4 => (Reply::None(ErrorClass::Reset), slow),
            5 => (Reply::None(ErrorClass::Connect), soon),
            // A process that was stopped hears of its deadline long after it.
            _ if self.roll(4) == 0 => {
                let late = deadline_ms + self.roll(400_000) as i64;
                (Reply::None(ErrorClass::Timeout), late)
            }
            _ => (Reply::None(ErrorClass::Timeout), deadline_ms),
        }
    }

    pub fn store(&self) -> Arc<Store> {
        let store = locked(&self.store).clone();
        store.expect("a store is open while turns run")
    }

    /// A step's call must be of a step that is on record as running, under the number of its recorded failures, with
    /// the bytes that were sent under the same key before.
    fn check_call(&self, key: &str, body: &[u8]) {
        let parts: Vec<&str> = key.split(':').collect();
        let [run, path, number] = parts[..] else {
            return self.accuse(format!("the idempotency key {key} has not three parts"));
        };
        let run = Id::parse(run, "").expect("the key begins with a run id");
        let snapshot = inspect::snapshot(&self.store(), Some(run));
        let Some((row, state)) = snapshot.runs.iter().find(|(_, state)| state.run_id == run) else {
            return self.accuse(format!("{key} was executed and there is no such run"));
        };
        let step = snapshot.steps.get(&(*row, path.to_owned()));
        let is_running = step.is_some_and(|step| step.status == StepStatus::Running);
        if !is_running || state.status != RunStatus::Running {
            let status = step.map(|step| step.status);
            self.accuse(format!(
                "{key} was executed while its step is {status:?} and its run {:?}",
                state.status
            ));
        }
        let tries = inspect::tries(&self.store(), *row, path);
        let failed = |class: &&Option<String>| {
            !matches!(class.as_deref(), None | Some("interrupted" | "cancelled"))
        };
        let failures = tries.iter().filter(failed).count();
        if number != failures.to_string() {
            self.accuse(format!("{key} was sent after {failures} recorded failures"));
        }
        let mut seen = locked(&self.seen);
        let first = seen
            .calls
            .entry(key.to_owned())
            .or_insert_with(|| body.to_vec());
        if first != body {
            seen.violations
                .push(format!("{key} was sent again with other bytes"));
        }
    }

    /// An event must be of a run that has ended, the same bytes every time, signed, with a number of its own.
    fn check_event(&self, id: &str, number: u32, signature: Option<(&str, &str)>, body: &[u8]) {
        let run = Id::parse(id, "evt_");
        let snapshot = inspect::snapshot(&self.store(), run);
        let delivery = snapshot.deliveries.values().find(|row| row.event_id == id);
        match delivery.map(|row| (row, &snapshot.runs[&row.run])) {
            None => self.accuse(format!("{id} was sent and is not on record")),
            Some((row, run)) => {
                let told = row.event_type.strip_prefix("workflow.");
                if !run.status.is_final() || told != Some(run.status.as_str()) {
                    let status = run.status;
                    self.accuse(format!("{id} tells of {told:?}, its run is {status:?}"));
                }
                if row.open == 0 && !self.usurped.load(Ordering::SeqCst) {
                    self.accuse(format!("{id} was sent before its attempt was on record"));
                }
            }
        }
        self.check_signature(id, signature, body);
        self.note_event(id, number, Some(body));
    }

    fn check_signature(&self, id: &str, signature: Option<(&str, &str)>, body: &[u8]) {
        let is_signed = signature.is_some_and(|(seconds, signatures)| {
            let seconds = seconds.parse().unwrap_or_default();
            locked(&self.secrets).iter().any(|secret| {
                let own = standard_signature(&[secret], id, seconds, body);
                own.is_ok_and(|own| signatures.split(' ').any(|one| one == own))
            })
        });
        if !is_signed {
            self.accuse(format!("{id} was not signed by any secret there ever was"));
        }
    }

    /// An attempt has a number of its own, and, unless there is a link in it, the bytes of the first.
    fn note_event(&self, id: &str, number: u32, body: Option<&[u8]>) {
        let mut seen = locked(&self.seen);
        let event = seen.events.entry(id.to_owned()).or_default();
        let mut wrong = Vec::new();
        match body {
            Some(body) if event.last == 0 => event.body = body.to_vec(),
            Some(body) if event.body != body => {
                wrong.push(format!("{id} was sent with other bytes than before"));
            }
            Some(_) | None => {}
        }
        if number <= event.last && !self.usurped.load(Ordering::SeqCst) {
            let last = event.last;
            wrong.push(format!(
                "attempt {number} of {id} came after attempt {last}"
            ));
        }
        event.last = number.max(event.last);
        seen.violations.extend(wrong);
    }

    /// The answer to a step, with a serial number in it.
    fn answer_step(&self, key: &str) -> Value {
        let (step, _) = key.rsplit_once(':').unwrap_or((key, ""));
        let ok = self.roll(2) == 0;
        let mut seen = locked(&self.seen);
        seen.serial += 1;
        let serial = seen.serial;
        seen.answers
            .entry(step.to_owned())
            .or_default()
            .push(serial);
        json!({"ok": ok, "serial": serial})
    }

    fn wait(&self, ms: i64, stop: &Stop) -> bool {
        let until = Timestamp(self.clock.now().0 + ms);
        fiber::pause(Wants::Answer(until, stop.clone()));
        let is_cut = stop.is_asked() && self.clock.now() < until;
        !is_cut && !self.dead.load(Ordering::SeqCst)
    }
}

fn header<'a>(request: &'a Request<'_>, name: &str) -> Option<&'a str> {
    let found = request
        .headers
        .iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn failed(class: ErrorClass, ms: i64) -> Exchange {
    Exchange {
        error: Some((class, "as scripted".to_owned())),
        duration_ms: ms.unsigned_abs(),
        ..Exchange::default()
    }
}

fn answered(status: u16, wait: Option<u64>, body: &Value, ms: i64) -> Exchange {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(wait.map(|seconds| ("retry-after".to_owned(), seconds.to_string())));
    let response = Response {
        status,
        headers,
        body: body.to_string().into_bytes(),
        ..Response::default()
    };
    Exchange {
        response: Some(response),
        duration_ms: ms.unsigned_abs(),
        ..Exchange::default()
    }
}

impl Outside for World {
    fn exchange(&self, request: &Request<'_>, stop: &Stop) -> Exchange {
        // A step that panics is a failed step: a mistake here would go unnoticed.
        catch_unwind(AssertUnwindSafe(|| self.answer(request, stop))).unwrap_or_else(|_| {
            self.accuse("the outside panicked".to_owned());
            failed(ErrorClass::Reset, 0)
        })
    }
}

impl World {
    fn answer(&self, request: &Request<'_>, stop: &Stop) -> Exchange {
        if self.dead.load(Ordering::SeqCst) {
            return failed(ErrorClass::Reset, 0);
        }
        let url = url::Url::parse(request.url).expect("only URLs are asked for");
        let host = url.host_str().unwrap_or_default().to_owned();
        let (reply, ms) = self.decide(&host, request.deadline.as_millis() as i64);
        let is_event = request.purpose != Purpose::Steps;
        let name = if is_event {
            "webhook-id"
        } else {
            "idempotency-key"
        };
        let Some(key) = header(request, name).map(str::to_owned) else {
            self.accuse(format!("a call to {host} came without {name}"));
            return failed(ErrorClass::Reset, 0);
        };
        let number = header(request, "X-Skep-Attempt").and_then(|text| text.parse().ok());
        let number: u32 = number.unwrap_or_default();
        let mut body = json!({});
        let signature =
            header(request, "webhook-timestamp").zip(header(request, "webhook-signature"));
        if request.purpose == Purpose::Callbacks {
            self.check_event(&key, number, signature, request.body);
        } else if is_event {
            self.check_notice(&key, request.body);
            self.check_signature(&key, signature, request.body);
            self.note_event(&key, number, None);
        } else {
            self.check_call(&key, request.body);
            if matches!(reply, Reply::Status(200..=299, _)) {
                body = self.answer_step(&key);
            }
        }
        self.log.say(self.clock.now(), &host, || {
            format!("is called with {key} (attempt {number}); {reply:?} after {ms} ms {body}")
        });
        if !self.wait(ms, stop) {
            return failed(ErrorClass::Cancelled, 0);
        }
        if is_event {
            let mut seen = locked(&self.seen);
            seen.events
                .entry(key)
                .or_default()
                .heard
                .insert(number, reply.clone());
        }
        match reply {
            Reply::Status(status, wait) => answered(status, wait, &body, ms),
            Reply::None(class) => failed(class, ms),
        }
    }
}
