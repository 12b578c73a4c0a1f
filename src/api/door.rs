//! What the edge asks of the house behind it, in plain values.
//!
//! Owns the seam between `server.rs` and the handlers: who asks, what they may, where the answer goes.
//! Must not know the HTTP library, a socket or the store.

use crate::api::call::{Answer, Call, Head, Reply};
use crate::api::feed::Frames;
use crate::error::{Code, Error, Result};
use crate::id::Id;

/// The house behind the edge.
pub trait Door: Send + Sync + 'static {
    /// Judges the head before a body byte is read: path, method, credentials.
    /// Memory only: it is called on the one edge thread and must not block.
    fn admit(&self, head: &Head) -> Result<Admission>;

    /// Which row of the route table a head means, whether or not it is admitted: for the figures of those refused.
    fn route(&self, _head: &Head) -> Option<usize> {
        None
    }

    /// Answers a whole call, on a handler thread.
    fn answer(&self, call: &Call, admission: &Admission) -> Result<Answer>;

    /// Keeps the responder until that run has ended. Must not block.
    /// A responder that is dropped unanswered is answered 500 by the edge.
    fn wait(&self, run_id: Id, replayed: bool, responder: Responder);
}

/// The right to be answered, given for a head.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Which row of the route table: its index, as [`crate::api::routes::find`] gave it.
    pub route: usize,
    /// That row's pattern. Logs show it in place of the path, which may hold a token.
    pub pattern: &'static str,
    /// The decoded path parameters, in order. They may hold any text.
    pub params: Vec<String>,
    /// Who asks.
    pub who: Who,
    /// By what they were known.
    pub shown: Shown,
    /// Whether it only reads what is stored, of which there may be much: few of these are answered at a time.
    pub is_read: bool,
}

impl Admission {
    /// Whether it came from the dashboard: with a session's cookie.
    pub fn is_dashboard(&self) -> bool {
        matches!(self.shown, Shown::Session(_))
    }

    /// The actor of an audit row: `key NAME`, `admin key`, `webhook`, `nobody`; `dashboard NAME` for whoever is signed in
    /// with that key.
    pub fn actor(&self) -> String {
        match self.is_dashboard() {
            true => format!("dashboard {}", self.who.name()),
            false => self.who.actor(),
        }
    }
}

/// By what somebody was known. Of secrets, their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// By nothing, or by a secret that is no key.
    Nothing,
    /// By that key, in `Authorization`.
    Key([u8; 32]),
    /// By the cookie of a session with that token.
    Session([u8; 32]),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Nobody in particular: the route is open to all.
    Nobody,
    /// The holder of an API key.
    Key {
        /// The key's row.
        id: i64,
        /// The key's name.
        name: String,
        /// What it may do.
        scope: Scope,
    },
    /// The holder of `SKEP_ADMIN_KEY`.
    AdminKey,
    /// A caller that knows a deployment's webhook secret.
    Webhook {
        /// The deployment's row.
        deployment: i64,
        /// The variant's row.
        variant: i64,
    },
}

impl Who {
    /// The actor of an audit row: `key NAME`, `admin key`, `webhook`, `nobody`.
    pub fn actor(&self) -> String {
        match self {
            Who::Key { name, .. } => format!("key {name}"),
            Who::Nobody | Who::AdminKey | Who::Webhook { .. } => self.name().to_owned(),
        }
    }

    /// The key's name; `admin key` for the one that has none; else what kind of caller it is.
    pub fn name(&self) -> &str {
        match self {
            Who::Key { name, .. } => name,
            Who::AdminKey => "admin key",
            Who::Webhook { .. } => "webhook",
            Who::Nobody => "nobody",
        }
    }

    /// The scope of the key shown; `None` where no key was needed.
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Who::Key { scope, .. } => Some(*scope),
            Who::AdminKey => Some(Scope::Admin),
            Who::Nobody | Who::Webhook { .. } => None,
        }
    }

    /// The row of the API key shown; `None` for the admin key, which has none, and for others.
    pub fn key_id(&self) -> Option<i64> {
        match self {
            Who::Key { id, .. } => Some(*id),
            Who::Nobody | Who::AdminKey | Who::Webhook { .. } => None,
        }
    }
}

/// What a key may do (contract, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Invoke; read and cancel what this key started; send signals.
    Invoke,
    /// Every GET but secrets.
    Read,
    /// List, show and decide approvals.
    Approve,
    /// Read, deploy, roll back, schedules.
    Deploy,
    /// Everything.
    Admin,
}

/// Every scope with its spelling, from the least to the most.
pub const SCOPES: &[(Scope, &str)] = &[
    (Scope::Invoke, "invoke"),
    (Scope::Read, "read"),
    (Scope::Approve, "approve"),
    (Scope::Deploy, "deploy"),
    (Scope::Admin, "admin"),
];

impl Scope {
    /// As spelled on the wire and in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Invoke => "invoke",
            Scope::Read => "read",
            Scope::Approve => "approve",
            Scope::Deploy => "deploy",
            Scope::Admin => "admin",
        }
    }

    /// Reads a scope's name. `None` if there is none of that name.
    pub fn parse(text: &str) -> Option<Scope> {
        SCOPES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(scope, _)| *scope)
    }

    /// Whether a key of this scope may do what needs `other`.
    pub fn covers(self, other: Scope) -> bool {
        match self {
            Scope::Admin => true,
            Scope::Deploy => matches!(other, Scope::Deploy | Scope::Read),
            Scope::Invoke | Scope::Read | Scope::Approve => self == other,
        }
    }

    /// Whether a key of this scope is let in to a route. Webhook routes take a secret, no key.
    pub fn allows(self, access: Access) -> bool {
        match access {
            Access::Open | Access::AnyKey => true,
            Access::Key(needed) => self.covers(needed),
            Access::Own => self.covers(Scope::Read) || self == Scope::Invoke,
            Access::Approvals => self.covers(Scope::Read) || self == Scope::Approve,
            Access::Webhook => false,
        }
    }
}

/// Who is let in to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a key.
    Open,
    /// A key that covers this scope. Cancelling is `Key(Invoke)`: the handler checks whose run it is.
    Key(Scope),
    /// A `read` key, or an `invoke` key for what it started: the handler checks whose it is.
    Own,
    /// A `read` or `approve` key.
    Approvals,
    /// A key, whatever it may do.
    AnyKey,
    /// A webhook secret.
    Webhook,
}

impl Access {
    /// The 403 that names the scope needed.
    pub fn refusal(self) -> Error {
        let needed = match self {
            Access::Key(scope) => scope,
            Access::Approvals => Scope::Approve,
            Access::Open | Access::Own | Access::AnyKey | Access::Webhook => Scope::Read,
        };
        let name = match needed {
            Scope::Invoke => "invoke or admin",
            Scope::Read => "read, deploy or admin",
            Scope::Approve => "approve or admin",
            Scope::Deploy => "deploy or admin",
            Scope::Admin => "admin",
        };
        Error::new(
            Code::InsufficientScope,
            format!("This needs a key of scope {name}."),
        )
        .with("scope", name)
    }
}

/// Where one answer goes.
pub trait Respond: Send {
    /// Sends the answer, or the error that becomes one; nobody may be listening any more.
    fn send(self: Box<Self>, answer: Result<Reply>);

    /// Sends an answer that goes on. Where that cannot be, the frames are dropped.
    fn stream(self: Box<Self>, reply: Reply, frames: Frames) {
        drop(frames);
        self.send(Ok(reply));
    }

    /// Whether nobody is listening any more.
    fn is_gone(&self) -> bool;
}

/// The right to send one answer to one waiting client.
pub struct Responder(Box<dyn Respond>);

impl Responder {
    /// A responder that answers through `to`.
    pub fn new(to: impl Respond + 'static) -> Responder {
        Responder(Box::new(to))
    }

    /// Sends the answer, or the error that becomes one; it is lost if the client has left.
    pub fn send(self, answer: Result<Reply>) {
        self.0.send(answer);
    }

    /// Sends an answer that goes on.
    pub fn stream(self, reply: Reply, frames: Frames) {
        self.0.stream(reply, frames);
    }

    /// Whether the client has left.
    pub fn is_gone(&self) -> bool {
        self.0.is_gone()
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder")
            .field("gone", &self.is_gone())
            .finish()
    }
}

/// Answers into a channel, which never leaves: for tests and for callers in the same process.
impl Respond for crossbeam_channel::Sender<Reply> {
    fn send(self: Box<Self>, answer: Result<Reply>) {
        let reply = answer.unwrap_or_else(|error| Reply::error(&error));
        // A full or closed channel means that nobody waits for this answer.
        drop(self.try_send(reply));
    }

    fn is_gone(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_opens_exactly_its_doors() {
        use Access::{AnyKey, Approvals, Key, Open, Own, Webhook};
        let all = [
            Open,
            Key(Scope::Invoke),
            Key(Scope::Read),
            Key(Scope::Approve),
            Key(Scope::Deploy),
            Key(Scope::Admin),
            Own,
            Approvals,
            AnyKey,
            Webhook,
        ];
        let doors = |scope: Scope| {
            all.iter()
                .map(|access| if scope.allows(*access) { 'x' } else { '.' })
                .collect::<String>()
        };
        assert_eq!(doors(Scope::Invoke), "xx....x.x.");
        assert_eq!(doors(Scope::Read), "x.x...xxx.");
        assert_eq!(doors(Scope::Approve), "x..x...xx.");
        assert_eq!(doors(Scope::Deploy), "x.x.x.xxx.");
        assert_eq!(doors(Scope::Admin), "xxxxxxxxx.");
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for (scope, name) in SCOPES {
            assert_eq!(scope.as_str(), *name);
            assert_eq!(Scope::parse(name), Some(*scope));
        }
        assert_eq!(Scope::parse("Admin"), None);
    }

    #[test]
    fn a_refusal_names_the_scope_needed() {
        let error = Access::Key(Scope::Deploy).refusal();
        assert_eq!(error.status(), 403);
        assert!(error.message.contains("deploy"), "{}", error.message);
    }
}
