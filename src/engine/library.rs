//! The library's calls: deploy, start and await runs in-process, by the same checks as over HTTP.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

pub use crate::api::keys::Wanted;
use crate::api::keys::insert;
use crate::api::start::Caller;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::flow::source::Format;
use crate::id::{Dice, Id};
use crate::store::audit::Actor;
use crate::store::deployments::PutVersion;
use crate::store::runs::RunRow;
use crate::time::Clock;

/// A run to be started by the embedding program.
#[derive(Debug, Clone, Default)]
pub struct Invoke {
    /// The deployment's name.
    pub deployment: String,
    /// The variant's name; may be left out if there is exactly one.
    pub variant: Option<String>,
    /// The workflow's inputs.
    pub inputs: Map<String, Value>,
    /// Where the signed result goes; `None`: nowhere, [`Engine::wait`] for it.
    pub callback_url: Option<String>,
    /// Your name for whom it is done.
    pub user: Option<String>,
    /// Your labels.
    pub metadata: Map<String, Value>,
}

/// A run that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Its id; `run_id.request_id()` is how callers over HTTP know it.
    pub run_id: Id,
}

impl Engine {
    /// Deploys a definition as `deployment/variant`. Equal to the present version, it changes nothing.
    ///
    /// # Errors
    /// `invalid_definition` with every problem, `malformed_body`, `validation_error` for the names.
    pub fn deploy(
        &self,
        deployment: &str,
        variant: &str,
        definition: &str,
        format: Format,
    ) -> Result<PutVersion> {
        self.api
            .deploy(deployment, variant, definition, format, Actor::system())
    }

    /// Starts a run: it is on disk when this returns, and survives whatever happens to the process.
    ///
    /// # Errors
    /// As `POST /v1/workflow/invoke`.
    pub fn invoke(&self, invoke: &Invoke) -> Result<Started> {
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
        set("deployment", json!(invoke.deployment));
        if let Some(variant) = &invoke.variant {
            set("variant", json!(variant));
        }
        set("inputs", json!(invoke.inputs));
        set("user", json!(invoke.user));
        set("metadata", json!(invoke.metadata));
        if let Some(url) = &invoke.callback_url {
            set("async", json!({"enabled": true, "callback_url": url}));
        }
        let caller = Caller {
            source: "api",
            api_key: None,
            idempotency: None,
            waits: false,
        };
        let started = self.api.start(self.api.judge_invoke(&body, caller)?)?;
        Ok(Started {
            run_id: started.run_id,
        })
    }

    /// Makes an API key for the HTTP API, and answers it with its public id; it is not shown again.
    ///
    /// # Errors
    /// `unavailable` if the file cannot be written.
    pub fn create_key(&self, wanted: &Wanted<'_>) -> Result<(Id, String)> {
        let now = Clock::System.now();
        let (row, text) = insert(&self.store, &Dice::System, wanted, Actor::system(), now)?;
        Ok((row.key_id, text))
    }

    /// The run as it stands. `None`: no such run.
    ///
    /// # Errors
    /// `unavailable` if the file cannot be read.
    pub fn run(&self, run_id: Id) -> Result<Option<RunRow>> {
        self.store.run(run_id)
    }

    /// How many runs are queued, executing, and waiting for a time or a person.
    ///
    /// # Errors
    /// `unavailable` if the engine is stopping.
    pub fn open_runs(&self) -> Result<(u64, u64, u64)> {
        self.store.open_runs()
    }

    /// Waits until the run has ended, at most `patience`, and returns it as it stands then.
    ///
    /// # Errors
    /// `not_found` if there is no such run.
    pub fn wait(&self, run_id: Id, patience: Duration) -> Result<RunRow> {
        let deadline = Instant::now() + patience;
        let bell = &self.store.bells().ended;
        loop {
            let seen = bell.count();
            let row = self
                .store
                .run(run_id)?
                .ok_or_else(|| Error::not_found("no such run"))?;
            let left = deadline.saturating_duration_since(Instant::now());
            if row.status.is_final() || left.is_zero() {
                return Ok(row);
            }
            bell.wait(seen, left);
        }
    }
}
