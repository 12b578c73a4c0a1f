//! The front door: what comes in over HTTP, and what is answered.
//!
//! [`Api`] is the house behind the edge: it judges heads from memory ([`Door::admit`]), finds the handler in
//! [`table::ROUTES`] and lets it answer. One file per noun. Handlers know no sockets; threads are the engine's business.

pub mod approvals;
pub mod approve;
pub mod audit;
pub mod batch;
pub mod budget;
pub mod call;
pub mod cookie;
pub mod dashboard;
pub mod deliveries;
pub mod deployments;
pub mod direct;
pub mod door;
pub mod edge;
pub mod events;
pub mod feed;
pub mod fields;
pub mod formats;
pub mod health;
pub mod invoke;
pub mod jobs;
pub mod keys;
pub mod members;
pub mod metrics;
pub mod openapi;
pub mod overview;
pub mod query;
pub mod receipt;
pub mod requests;
pub mod retry;
pub mod rotation;
pub mod routes;
pub mod runs;
pub mod secrets;
pub mod server;
pub mod session;
pub mod sessions;
pub mod start;
pub mod stats;
pub mod story;
pub mod system;
pub mod table;
pub mod trouble;
pub mod versions;
pub mod webhook;
pub mod wire;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::budget::Budget;
use crate::api::call::{Answer, Call, Head};
use crate::api::cookie::Site;
use crate::api::direct::Direct;
use crate::api::door::{Access, Admission, Door, Responder, Scope, Shown, Who};
use crate::api::events::Hub;
use crate::api::query::Query;
use crate::api::routes::{Found, find, nothing_here, wrong_method};
use crate::api::sessions::{Failures, Hash, Sessions, hash};
use crate::api::table::ROUTES;
use crate::config::{self, Config};
use crate::error::{Code, Error, Result};
use crate::flow::workflow::KindSpec;
use crate::id::{Dice, Id};
use crate::outbound::guard::Guard;
use crate::store::Store;
use crate::store::audit::Actor;
use crate::time::{Clock, Timestamp};

/// What the house is built from.
#[derive(Debug)]
pub struct Parts {
    /// The file.
    pub store: Arc<Store>,
    /// The step kinds that definitions may use.
    pub kinds: Vec<KindSpec>,
    /// Judges callback URLs.
    pub guard: Arc<Guard>,
    /// What time it is.
    pub clock: Clock,
    /// Draws ids, keys and secrets.
    pub dice: Arc<Dice>,
    /// `admin_key`, if it is set.
    pub admin_key: Option<String>,
    /// `public_url`, or the listening URL.
    pub public_url: String,
    /// How many callers may wait for the end of a run.
    pub max_direct: usize,
    /// How long one waits at most.
    pub direct_timeout: Duration,
    /// The settings in force: shown, and `metrics_key`.
    pub config: Config,
    /// What is shown of them; none: the program around the engine set them.
    pub settings: Vec<config::Found>,
}

/// The house behind the edge.
#[derive(Debug)]
pub struct Api {
    store: Arc<Store>,
    kinds: Vec<KindSpec>,
    guard: Arc<Guard>,
    clock: Clock,
    dice: Arc<Dice>,
    /// SHA-256 of the admin key.
    admin_key: Option<Hash>,
    public_url: String,
    /// `public_url`'s path, without a slash at its end; empty for none.
    base_path: String,
    site: Site,
    sessions: Sessions,
    failures: Failures,
    /// SHA-256 of what `/metrics` asks for.
    metrics_key: Option<[u8; 32]>,
    config: Config,
    settings: Vec<config::Found>,
    direct: Direct,
    events: Hub,
    /// Places of those who count many things.
    counts: Budget,
    stopping: AtomicBool,
    /// `/openapi.json`, made when it is first asked for.
    openapi: OnceLock<Vec<u8>>,
}

/// What a handler gets.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The house.
    pub api: &'a Api,
    /// What was sent.
    pub call: &'a Call,
    /// Who sent it, and by which route.
    pub admission: &'a Admission,
}

/// The routes that start runs.
const STARTS: [&str; 3] = [invoke::PATTERN, batch::PATTERN, webhook::PATTERN];

/// What answers a route.
pub type Handler = fn(&Request<'_>) -> Result<Answer>;

impl Api {
    /// The house, its doors open.
    pub fn new(parts: Parts) -> Api {
        let routes = ROUTES.iter().map(|row| (row.method, row.pattern));
        parts.store.metrics().http.know(routes);
        let metrics_key = parts.config.metrics_key.as_ref();
        let public = url::Url::parse(&parts.public_url);
        let base_path = public.as_ref().map_or("", |url| url.path());
        Api {
            metrics_key: metrics_key.map(|key| Sha256::digest(key.expose()).into()),
            direct: Direct::new(&parts.store, parts.max_direct, parts.direct_timeout),
            events: Hub::new(&parts.dice),
            counts: Budget::new(jobs::COUNTS, jobs::COUNTS),
            admin_key: parts.admin_key.as_deref().map(hash),
            base_path: base_path.trim_end_matches('/').to_owned(),
            site: Site::of(parts.config.public_url.as_deref()),
            sessions: Sessions::default(),
            failures: Failures::default(),
            store: parts.store,
            kinds: parts.kinds,
            guard: parts.guard,
            clock: parts.clock,
            dice: parts.dice,
            public_url: parts.public_url,
            config: parts.config,
            settings: parts.settings,
            stopping: AtomicBool::new(false),
            openapi: OnceLock::new(),
        }
    }

    /// What heads the URLs that are shown; without a slash at its end.
    pub fn public_url(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }

    /// No run is started any more, and `/readyz` says so. Who waits for a run goes on waiting; streams of events end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.events.close();
    }

    /// Whether [`Api::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// One turn of the thread that answers direct invokes; to be called in a loop. Naps for `nap` at the longest.
    pub fn turn(&self, nap: Duration) {
        self.direct.turn(&self.store, nap);
    }

    /// One turn of the thread that tells what changes; to be called in a loop. Returns how long it may nap, unless the
    /// bell of the store's changes is rung.
    pub fn tell(&self, now: Instant) -> Duration {
        let stands = |admission: &Admission| self.is_still_admitted(admission);
        self.events.turn(&self.store, stands, now)
    }

    /// Answers whoever still waits for a run with `direct_timeout`: the runs go on.
    pub fn close_direct(&self) {
        // Those that have just ended are answered with their end.
        self.direct.look(&self.store, Instant::now());
        self.direct.close();
    }

    /// The file.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many callers wait for the end of a run.
    pub fn waiting(&self) -> u64 {
        self.direct.taken() as u64
    }

    pub(crate) fn direct(&self) -> &Direct {
        &self.direct
    }

    fn kinds(&self) -> &[KindSpec] {
        &self.kinds
    }

    fn guard(&self) -> &Guard {
        &self.guard
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn dice(&self) -> &Dice {
        &self.dice
    }

    fn refuse_while_stopping(&self) -> Result<()> {
        match self.is_stopping() {
            true => Err(Error::unavailable(
                "the server is stopping; nothing was accepted",
            )),
            false => Ok(()),
        }
    }

    /// Who holds the key of that hash: memory only, so that it may be asked anywhere.
    fn known(&self, key: &Hash) -> Option<Who> {
        if let Some(admin_key) = &self.admin_key
            && bool::from(key.ct_eq(admin_key))
        {
            return Some(Who::AdminKey);
        }
        let directory = self.store.directory();
        let entry = directory.key_of(key)?;
        Some(Who::Key {
            id: entry.id,
            name: entry.name.clone(),
            scope: Scope::parse(&entry.scope)?,
        })
    }

    /// Who shows a key, or else the cookie of a session.
    fn key_holder(&self, head: &Head) -> Result<(Who, Shown)> {
        let Some(shown) = head.header("authorization") else {
            return self.signed_in(head);
        };
        let key = bearer(shown).map(hash);
        let who = key.and_then(|key| Some((self.known(&key)?, Shown::Key(key))));
        who.ok_or_else(|| Error::of(Code::InvalidAccess))
    }

    /// Who asks, if that may be asked by them.
    fn who(&self, head: &Head, access: Access, params: &[String]) -> Result<Who> {
        self.known_by(head, access, params).map(|(who, _)| who)
    }

    /// The same, and by what they were known.
    fn known_by(&self, head: &Head, access: Access, params: &[String]) -> Result<(Who, Shown)> {
        let (who, shown) = match access {
            Access::Open => return Ok((Who::Nobody, Shown::Nothing)),
            Access::Webhook => return Ok((self.secret_holder(head, params)?, Shown::Nothing)),
            Access::Key(_) | Access::Own | Access::Approvals | Access::AnyKey => {
                self.key_holder(head)?
            }
        };
        if let Some(id) = who.key_id() {
            self.store.touch_key(id, self.clock.now());
        }
        match who.scope().is_some_and(|scope| scope.allows(access)) {
            true => Ok((who, shown)),
            false => Err(access.refusal()),
        }
    }

    /// A run that was asked for is not started.
    fn note_refusal(&self, pattern: &str, refusal: &Error) {
        if STARTS.contains(&pattern) {
            let code = refusal.code.row().name;
            self.store.metrics().runs_refused.at(&[code]).add();
        }
    }

    /// Who knows this deployment's secret. Unknown ids and wrong secrets are refused alike.
    fn secret_holder(&self, head: &Head, params: &[String]) -> Result<Who> {
        let refused = || Error::of(Code::InvalidAccess);
        let target = webhook::target(&self.store.directory(), params).ok_or_else(refused)?;
        let from_query = || {
            head.query_pairs()
                .find(|(name, _)| name == "secret")
                .map(|(_, value)| value)
        };
        let secret = match head.header(webhook::SECRET_HEADER) {
            Some(secret) => secret.to_owned(),
            None => from_query().ok_or_else(refused)?,
        };
        // Every valid one is compared, so that the time taken does not tell which one it was.
        let mut fits = subtle::Choice::from(0);
        for valid in target.deployment.secrets.valid(self.clock.now()) {
            fits |= secret.as_bytes().ct_eq(valid.as_bytes());
        }
        match bool::from(fits) {
            true => Ok(Who::Webhook {
                deployment: target.deployment.row.id,
                variant: target.variant.id,
            }),
            false => Err(refused()),
        }
    }
}

/// The key of an `Authorization` header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.trim().split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

impl Api {
    /// Which row a head means. A base path without its slash is the page's, which leads to the slash.
    fn found(&self, head: &Head) -> Found<Handler> {
        match find(ROUTES, &head.method, &head.path) {
            Found::Nothing if head.path == self.base_path => {
                find(ROUTES, &head.method, dashboard::HOME)
            }
            found => found,
        }
    }
}

impl Door for Api {
    fn admit(&self, head: &Head) -> Result<Admission> {
        let (row, route, params) = match self.found(head) {
            Found::Route(row, route, params) => (row, route, params),
            Found::WrongMethod(allowed) => return Err(wrong_method(&allowed)),
            Found::Nothing => return Err(nothing_here()),
        };
        let (who, shown) = self
            .known_by(head, row.access, &params)
            .inspect_err(|refusal| self.note_refusal(row.pattern, refusal))?;
        Ok(Admission {
            route,
            pattern: row.pattern,
            params,
            who,
            shown,
            is_read: row.method == "GET" && row.access != Access::Open,
        })
    }

    fn answer(&self, call: &Call, admission: &Admission) -> Result<Answer> {
        let row = ROUTES
            .get(admission.route)
            .ok_or_else(|| Error::internal("an admission for a route that is not in the table"))?;
        let answer = (row.handler)(&Request {
            api: self,
            call,
            admission,
        });
        if let Err(refusal) = &answer {
            self.note_refusal(row.pattern, refusal);
        }
        answer
    }

    fn route(&self, head: &Head) -> Option<usize> {
        match self.found(head) {
            Found::Route(_, route, _) => Some(route),
            Found::WrongMethod(_) | Found::Nothing => None,
        }
    }

    fn wait(&self, run_id: Id, replayed: bool, responder: Responder) {
        self.direct.wait(&self.store, run_id, replayed, responder);
    }
}

impl Request<'_> {
    /// The decoded path parameter of that position.
    fn param(&self, at: usize) -> &str {
        self.admission.params.get(at).map_or("", String::as_str)
    }

    fn query(&self) -> Query {
        Query::of(&self.call.head)
    }

    fn body(&self) -> Result<Map<String, Value>> {
        self.call.object()
    }

    fn store(&self) -> &Store {
        &self.api.store
    }

    fn now(&self) -> Timestamp {
        self.api.clock.now()
    }

    /// Who is named in the audit.
    fn actor(&self) -> Actor {
        let address = Some(self.call.head.peer.to_string());
        Actor {
            name: self.admission.actor(),
            address,
        }
    }

    /// How a run came to be that this request starts.
    fn source(&self) -> &'static str {
        match self.admission.is_dashboard() {
            true => "dashboard",
            false => "api",
        }
    }

    /// The key whose runs alone may be seen; `None`: all may.
    fn sees_only(&self) -> Option<i64> {
        match self.admission.who {
            Who::Key {
                id,
                scope: Scope::Invoke,
                ..
            } => Some(id),
            Who::Key { .. } | Who::AdminKey | Who::Webhook { .. } | Who::Nobody => None,
        }
    }

    /// Whether what that key started may be seen.
    fn may_see(&self, api_key: Option<i64>) -> bool {
        self.sees_only().is_none_or(|own| api_key == Some(own))
    }

    fn is_admin(&self) -> bool {
        self.admission.who.scope() == Some(Scope::Admin)
    }
}
