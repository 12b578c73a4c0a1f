//! A whole house in a test's hands: a real store in a directory of its own, written in the caller's thread, a clock
//! that stands still, and no other threads.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::call::{Answer, Call, Head, Reply};
use crate::api::door::{Admission, Door, Responder};
use crate::api::{Api, Parts};
use crate::config::Config;
use crate::flow::run::Ending;
use crate::id::{Dice, Id};
use crate::outbound::guard::Guard;
use crate::store::claims::{Next, Record};
use crate::store::notices::Notices;
use crate::store::turns::Shares;
use crate::store::{Options, Store};
use crate::time::{Clock, Timestamp};

/// The admin key of every test.
pub const ADMIN: &str = "an admin key of enough characters";

/// A callback URL that passes the guard.
pub const URL: &str = "https://receiver.example/hook";

/// A workflow without inputs.
pub const PLAIN: &str = "steps: [{id: a, set: {x: 1}}]\noutput: \"{{ a.output }}\"\n";

/// A workflow with an input of each kind that matters here.
pub const ASKING: &str = "inputs:\n  topic: {type: text, required: true}\n  many: {type: array}\n\
                          steps: [{id: a, set: {x: \"{{ topic }}\"}}]\n";

/// When everything happens, unless the clock is moved.
pub const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// The house.
pub struct House {
    pub api: Api,
    _dir: TempDir,
}

/// An answer, read.
#[derive(Debug)]
pub struct Read {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Read {
    /// The body's member as text.
    pub fn text(&self, name: &str) -> String {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no text {name} in {}", self.body))
            .to_owned()
    }

    /// The ids of a list's rows.
    pub fn ids(&self, name: &str) -> Vec<String> {
        let rows = self.body["data"].as_array().expect("a list");
        rows.iter()
            .map(|row| row[name].as_str().expect("a text").to_owned())
            .collect()
    }
}

impl From<Reply> for Read {
    fn from(reply: Reply) -> Read {
        Read {
            status: reply.status,
            headers: reply
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: match reply.body.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&reply.body).expect("a JSON body"),
            },
        }
    }
}

/// What one request is made of.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    pub key: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl House {
    /// With 8 workers and 4 seats.
    pub fn new() -> House {
        House::with(8, 100, 4, Duration::from_secs(60))
    }

    pub fn with(
        workers: usize,
        max_queued: u64,
        max_direct: usize,
        direct_timeout: Duration,
    ) -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options {
            path: dir.path().join("skep.db"),
            master_keys: Vec::new(),
            kinds: Vec::new(),
            workers,
            max_queued,
            shares: Shares {
                senders: 4,
                per_origin: 2,
            },
            notices: Notices::default(),
            dice: Arc::new(Dice::System),
            inline: true,
        };
        let (store, writer) = Store::open(options, NOW).expect("a new store");
        assert!(writer.is_none(), "inline stores have no writer thread");
        let api = Api::new(Parts {
            store,
            kinds: Vec::new(),
            guard: Arc::new(Guard::default()),
            clock: Clock::manual(NOW),
            dice: Arc::new(Dice::seeded(7)),
            admin_key: Some(ADMIN.to_owned()),
            public_url: "https://skep.example/base/".to_owned(),
            max_direct,
            direct_timeout,
            config: Config::default(),
            settings: Vec::new(),
        });
        House { api, _dir: dir }
    }

    /// A house with `PLAIN` deployed as `plain/prod`, `ASKING` as `asking/prod`.
    pub fn furnished() -> House {
        let house = House::new();
        house.deploy("plain", "prod", PLAIN);
        house.deploy("asking", "prod", ASKING);
        house
    }

    pub fn deploy(&self, deployment: &str, variant: &str, definition: &str) -> Value {
        let path = format!("/v1/deployments/{deployment}/variants/{variant}");
        let read = self.ask(&Ask {
            method: "PUT",
            path: &path,
            key: ADMIN,
            body: definition,
            ..Ask::default()
        });
        assert!(read.status < 300, "{}", read.body);
        read.body
    }

    /// A new key of that scope: its id and its text.
    pub fn key(&self, scope: &str) -> (String, String) {
        let read = self.post(
            "/v1/keys",
            ADMIN,
            &json!({"name": format!("the {scope} key"), "scope": scope}),
        );
        assert_eq!(read.status, 201, "{}", read.body);
        (read.text("id"), read.text("key"))
    }

    pub fn head(ask: &Ask<'_>) -> Head {
        let (path, query) = ask.path.split_once('?').unwrap_or((ask.path, ""));
        let mut headers: Vec<(String, String)> = ask
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if !ask.key.is_empty() {
            headers.push(("authorization".to_owned(), format!("Bearer {}", ask.key)));
        }
        Head {
            method: ask.method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        }
    }

    pub fn admit(&self, ask: &Ask<'_>) -> crate::error::Result<Admission> {
        self.api.admit(&House::head(ask))
    }

    /// As the edge does it. For a direct invoke: the receiver of what comes.
    pub fn send(&self, ask: &Ask<'_>) -> Result<Read, Receiver<Reply>> {
        let call = Call {
            head: House::head(ask),
            body: ask.body.as_bytes().to_vec(),
        };
        let answer = self
            .api
            .admit(&call.head)
            .and_then(|admission| self.api.answer(&call, &admission));
        match answer {
            Ok(Answer::Now(reply)) => Ok(reply.into()),
            Ok(Answer::WhenEnded { run_id, replayed }) => {
                let (sender, receiver) = bounded(1);
                self.api.wait(run_id, replayed, Responder::new(sender));
                Err(receiver)
            }
            Ok(Answer::Later(later)) => {
                let (sender, receiver) = bounded(1);
                later.go(Responder::new(sender));
                Ok(receiver.recv().expect("it is answered").into())
            }
            Ok(Answer::Stream(reply, _)) => panic!("it goes on: {reply:?}"),
            Err(error) => Ok(Reply::error(&error).into()),
        }
    }

    /// An exchange that is answered at once.
    pub fn ask(&self, ask: &Ask<'_>) -> Read {
        self.send(ask)
            .unwrap_or_else(|_| panic!("{} {} waits for a run", ask.method, ask.path))
    }

    pub fn get(&self, path: &str, key: &str) -> Read {
        self.ask(&Ask {
            method: "GET",
            path,
            key,
            ..Ask::default()
        })
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> Read {
        self.ask(&Ask {
            method: "POST",
            path,
            key,
            body: &body.to_string(),
            ..Ask::default()
        })
    }

    pub fn invoke(&self, body: &Value) -> Read {
        self.post("/v1/workflow/invoke", ADMIN, body)
    }

    /// A run of `plain` with callback delivery: its request id.
    pub fn start(&self, key: &str) -> String {
        let body = json!({"deployment": "plain", "async": {"enabled": true, "callback_url": URL}});
        let read = self.post("/v1/workflow/invoke", key, &body);
        assert_eq!(read.status, 202, "{}", read.body);
        read.text("request_id")
    }

    /// Ends every queued run.
    pub fn end_all(&self, ending: &Ending) -> usize {
        let now = self.api.clock.now();
        let claims = self.api.store().claim_runs(100, 1, now).expect("claimed");
        let count = claims.len();
        for claim in claims {
            let record = Record::only(Next::End(ending.clone()));
            let recorded = self
                .api
                .store()
                .record(claim, std::sync::Arc::new(record), now);
            assert!(matches!(
                recorded,
                crate::store::claims::Recorded::Ended(None)
            ));
        }
        count
    }

    pub fn complete_all(&self, output: Value) -> usize {
        self.end_all(&Ending::Completed { output })
    }

    /// What the answering thread does.
    pub fn look(&self) {
        self.api.direct().look(self.api.store(), Instant::now());
    }

    /// The audit's actions, newest first.
    pub fn audit(&self) -> Vec<String> {
        self.get("/v1/audit", ADMIN).ids("action")
    }

    pub fn run_id(request_id: &str) -> Id {
        Id::parse(request_id, "req_").expect("a request id")
    }
}
