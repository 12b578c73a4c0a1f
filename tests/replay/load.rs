//! The load that is recorded, and what was promised to whom, and when.
//!
//! Several connections at once: callback and direct runs, cancellations, redeliveries, deployments, keys. Steps and
//! receivers fail now and then. The process is killed in the middle of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::house::{ADMIN, House, callback_body, direct_body, pause, rows, text};
use crate::receiver::{Act, Arrival, Receiver};
use crate::shim::{Trace, Watch, traced};
use crate::wire::{Answer, Ask, PATIENCE, Wire};

const WORK: &str = "
inputs: {n: {type: text}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: mid, set: {twice: '{{ n }}{{ n }}', a: '{{ a.output.number }}'}}
  - {id: nap, delay: 15ms}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {n: '{{ n }}', a: '{{ mid.output.a }}'}},
     retry: {max: 9, backoff: 10ms..50ms}}
output: {n: '{{ n }}', a: '{{ a.output.number }}', b: '{{ b.output.number }}'}
";

const QUICK: &str = "
inputs: {n: {type: text}}
steps:
  - {id: a, http: {method: POST, url: 'RECEIVER/a', json: {n: '{{ n }}'}}}
  - {id: b, http: {method: POST, url: 'RECEIVER/b', json: {n: '{{ n }}', a: '{{ a.output.number }}'}},
     retry: {max: 9, backoff: 10ms..50ms}}
output: {n: '{{ n }}', a: '{{ a.output.number }}', b: '{{ b.output.number }}'}
";

/// Runs of this one wait until they are cancelled.
pub const SLOW: &str = "slow";

const LONG: &str = "
inputs: {n: {type: text}}
steps: [{id: nap, delay: 2h}]
output: 1
";

/// What a client was told by a 2xx.
#[derive(Debug, Clone)]
pub enum Promise {
    /// The run is there, with that input; with this output, if it was a direct one.
    Run {
        id: String,
        n: String,
        output: Option<Value>,
    },
    /// The run is cancelled.
    Cancelled(String),
    /// The delivery of that run will be sent once more.
    Redelivered(String),
    /// The deployment has so many versions.
    Deployed(String, i64),
    /// The key is there.
    Key(String),
}

/// Everything that is known of a recorded life.
pub struct Recording {
    /// What the files went through.
    pub trace: Trace,
    /// What was promised, and when the client knew it.
    pub promises: Vec<(u64, Promise)>,
    /// What the world outside saw, and when.
    pub arrivals: Vec<(u64, Arrival)>,
    /// Where the world outside was.
    pub port: u16,
    /// It keeps its port: a server on a rebuilt disk that were given it would take the world for itself.
    _world: Receiver,
}

struct Load<'a> {
    part: &'static str,
    address: SocketAddr,
    receiver: &'a Receiver,
    promises: &'a Mutex<Vec<(Instant, Promise)>>,
    started: AtomicUsize,
    over: AtomicBool,
}

/// Records a life of `runs` accepted runs of that binary, and how it ended: by a kill.
pub fn record(binary: &Path, runs: usize) -> Recording {
    let watch = Watch::start();
    let receiver = Receiver::start();
    for (path, act) in [("/a", Act::Number(0)), ("/b", Act::Number(7))] {
        receiver.on(path, [act]);
    }
    receiver.on("/hook", [Act::Number(5)]);
    let house = House::plan()
        .set("workers", "8")
        .set("senders", "8")
        .set("senders_per_origin", "8")
        .binary(binary)
        .build();
    let trace = traced(&house);
    let promises = Mutex::default();
    for part in ["first", "second"] {
        house.launch();
        let load = Load {
            part,
            address: house.address(),
            receiver: &receiver,
            promises: &promises,
            started: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        };
        if part == "first" {
            load.prepare(&house);
        }
        load.run(&house, runs / 2);
    }
    let promises = promises.into_inner();
    let promises = promises.unwrap_or_else(PoisonError::into_inner);
    let (arrivals, port) = (receiver.all().into_iter(), receiver.port());
    Recording {
        trace: Trace::read(&trace),
        promises: promises
            .into_iter()
            .map(|(at, promise)| (watch.at(at), promise))
            .collect(),
        arrivals: arrivals
            .map(|arrival| (watch.at(arrival.at), arrival))
            .collect(),
        port,
        _world: receiver,
    }
}

impl Load<'_> {
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Promise)>> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promised(&self, at: Instant, promise: Promise) {
        self.lock().push((at, promise));
    }

    /// Sends a request on a connection that stays; `None` once the server is gone.
    fn send(&self, wire: &mut Wire, ask: &Ask) -> Option<(Instant, Answer)> {
        if self.over.load(Ordering::SeqCst) {
            return None;
        }
        wire.send(&ask.bytes(false)).ok()?;
        let answer = wire.answer().ok()?;
        let at = Instant::now();
        // Stopping: whatever it is, it is no promise.
        (!matches!(answer.status, 503 | 504)).then_some((at, answer))
    }

    fn post(&self, path: &str, body: &Value) -> Ask {
        Ask::new(self.address, "POST", path).key(ADMIN).json(body)
    }

    /// The first part ends by a clean stop under load, the second by a kill.
    fn run(&self, house: &House, runs: usize) {
        thread::scope(|scope| {
            for number in 0..3 {
                scope.spawn(move || self.call_back(number));
            }
            for number in 0..2 {
                scope.spawn(move || self.direct(number));
            }
            scope.spawn(|| self.cancel());
            scope.spawn(|| self.redeliver());
            scope.spawn(|| self.change());
            let until = Instant::now() + 4 * PATIENCE;
            while self.started.load(Ordering::SeqCst) < runs {
                let is_late = Instant::now() > until;
                assert!(!is_late, "the load is stuck:\n{}", house.log());
                pause(Duration::from_millis(5));
            }
            match self.part {
                "first" => house.stop(),
                _ => house.kill(),
            }
            self.over.store(true, Ordering::SeqCst);
        });
    }

    fn prepare(&self, house: &House) {
        let workflows = [("work", WORK), ("quick", QUICK), (SLOW, LONG)];
        for (name, definition) in workflows {
            house.deploy(name, &self.receiver.fill(definition));
            self.promised(Instant::now(), Promise::Deployed(name.to_owned(), 1));
            let schedule = ["0s"].into_iter().chain(["100ms"; 11]);
            let schedule: Vec<&str> = schedule.collect();
            house.tune(name, &json!({"retry_schedule": schedule}));
        }
    }

    /// Accepts the answer to an invoke; the run's id.
    fn accepted(&self, at: Instant, answer: &Answer, n: &str) -> String {
        let body = answer.is(match answer.status {
            200 => 200,
            _ => 202,
        });
        let id = text(&body["request_id"]);
        let is_final = body["status"] == "completed";
        let promise = Promise::Run {
            id: id.clone(),
            n: n.to_owned(),
            output: is_final.then(|| body["output"].clone()),
        };
        self.promised(at, promise);
        self.started.fetch_add(1, Ordering::SeqCst);
        id
    }

    fn call_back(&self, number: usize) {
        let Ok(mut wire) = Wire::open(self.address) else {
            return;
        };
        let hook = self.receiver.at("/hook");
        for at in 0.. {
            let n = format!("call-{}-{number}-{at}", self.part);
            let body = callback_body("work", &json!({"n": n}), &hook);
            let mut ask = self.post("/v1/workflow/invoke", &body);
            if at % 2 == 0 {
                ask = ask.header("Idempotency-Key", &n);
            }
            let Some((when, answer)) = self.send(&mut wire, &ask) else {
                return;
            };
            self.accepted(when, &answer, &n);
            // As fast as they are done, so that a crash finds some of everything, and not only a queue.
            pause(Duration::from_millis(25));
        }
    }

    fn direct(&self, number: usize) {
        let Ok(mut wire) = Wire::open(self.address) else {
            return;
        };
        for at in 0.. {
            let n = format!("direct-{}-{number}-{at}", self.part);
            let ask = self.post(
                "/v1/workflow/invoke",
                &direct_body("quick", &json!({"n": n})),
            );
            match self.send(&mut wire, &ask) {
                Some((_, answer)) if answer.status == 429 => pause(Duration::from_millis(20)),
                Some((when, answer)) => drop(self.accepted(when, &answer, &n)),
                None => return,
            }
        }
    }

    fn cancel(&self) {
        let Ok(mut wire) = Wire::open(self.address) else {
            return;
        };
        let hook = self.receiver.at("/hook");
        for at in 0.. {
            let n = format!("slow-{}-{at}", self.part);
            let body = callback_body(SLOW, &json!({"n": n}), &hook);
            let ask = self.post("/v1/workflow/invoke", &body);
            let Some((when, answer)) = self.send(&mut wire, &ask) else {
                return;
            };
            let id = self.accepted(when, &answer, &n);
            pause(Duration::from_millis(30));
            let path = format!("/v1/workflow_runs/{id}/cancel");
            let ask = self.post(&path, &json!({"reason": n}));
            match self.send(&mut wire, &ask) {
                Some((when, answer)) => {
                    assert_eq!(answer.is(200)["workflow_run"]["status"], "cancelled");
                    self.promised(when, Promise::Cancelled(id));
                }
                None => return,
            }
        }
    }

    /// Sends again what was delivered.
    fn redeliver(&self) {
        let Ok(mut wire) = Wire::open(self.address) else {
            return;
        };
        loop {
            pause(Duration::from_millis(40));
            let list = Ask::new(
                self.address,
                "GET",
                "/v1/deliveries?status=delivered&limit=1",
            );
            let list = list.key(ADMIN);
            let Some((_, answer)) = self.send(&mut wire, &list) else {
                return;
            };
            let Some(row) = rows(&answer.is(200)).pop() else {
                continue;
            };
            let path = format!("/v1/deliveries/{}/redeliver", text(&row["id"]));
            let Some((when, answer)) = self.send(&mut wire, &self.post(&path, &json!({}))) else {
                return;
            };
            if answer.status == 202 {
                let id = text(&row["request_id"]);
                self.promised(when, Promise::Redelivered(id));
            }
        }
    }

    /// New versions, and keys.
    fn change(&self) {
        let Ok(mut wire) = Wire::open(self.address) else {
            return;
        };
        let from = if self.part == "first" { 1 } else { 1_000_000 };
        for version in from.. {
            pause(Duration::from_millis(60));
            let definition = format!("steps: [{{id: a, set: {{x: {version}}}}}]\noutput: 1");
            let path = "/v1/deployments/versions/variants/prod";
            let ask = Ask::new(self.address, "PUT", path)
                .key(ADMIN)
                .body("application/yaml", definition.as_bytes());
            let Some((when, answer)) = self.send(&mut wire, &ask) else {
                return;
            };
            let answer = answer.is(201);
            let number = answer["version"].as_i64().expect("a version has a number");
            self.promised(when, Promise::Deployed("versions".to_owned(), number));
            let name = format!("key-{version}");
            let body = json!({"name": name, "environment": "staging", "scope": "read"});
            let Some((when, answer)) = self.send(&mut wire, &self.post("/v1/keys", &body)) else {
                return;
            };
            answer.is(201);
            self.promised(when, Promise::Key(name));
        }
    }
}
