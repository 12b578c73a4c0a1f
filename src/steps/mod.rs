//! The step kinds: a trait, one table, one file each.
//!
//! A step gets a [`StepContext`] and no store: it cannot write rows. It leaves the process only through `outbound`.

pub mod http;
pub mod logs;
pub mod secrets;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::bell::Stop;
use crate::error::{Code, Error};
use crate::flow::names::is_name;
use crate::flow::step::{ErrorClass, Outcome, StepError};
use crate::flow::workflow::{COMMON_KEYS, FUTURE_KINDS, KindSpec, PURE_KINDS};
use crate::id::Id;
use crate::outbound::Outside;
use crate::steps::logs::Logs;
use crate::steps::secrets::Secrets;

/// One kind of step, named by its action key in a definition.
pub trait StepKind: Send + Sync {
    /// Its name, its fields and what they may hold. Checked when a workflow is deployed.
    fn spec(&self) -> KindSpec;

    /// How long a try may take where the step says nothing.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// One try. May block for `context.timeout`, and should end soon once `context.stop` is asked.
    fn perform(&self, context: &StepContext<'_>) -> Outcome;
}

/// All that one try of a step may know and use.
pub struct StepContext<'a> {
    /// The rendered parameters. Secrets stand as marks: `secrets` reveals them.
    pub input: &'a Value,
    /// The run.
    pub run_id: Id,
    /// The step's path in the definition.
    pub path: &'a str,
    /// Which try this is, from 1; counts tries that failed on record, so an interrupted one is made again under its number.
    pub attempt: u32,
    /// The same whenever this try is repeated after a crash; for receivers that tell repetitions by a key.
    pub idempotency_key: String,
    /// How long the try may take.
    pub timeout: Duration,
    /// Whether a template decides which host the step talks to.
    pub host_from_template: bool,
    /// Asked when the run is cancelled or the process ends.
    pub stop: &'a Stop,
    /// The only way out.
    pub outside: &'a dyn Outside,
    /// The secrets that the step uses.
    pub secrets: &'a Secrets,
    /// What the try writes down: by [`StepContext::log`].
    pub logs: &'a Logs,
}

impl StepContext<'_> {
    /// Writes a line down for whoever looks at the run, with the time. Secrets are masked. It is kept when the try is
    /// recorded, so that nothing is left of a try that the process did not survive; at most [`logs::MOST_LINES`] lines and
    /// [`logs::MOST_BYTES`] bytes of a try are.
    pub fn log(&self, line: impl fmt::Display) {
        self.logs.add(&self.secrets.mask_text(&line.to_string()));
    }
}

impl fmt::Debug for StepContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext")
            .field("run_id", &self.run_id)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The kinds that are built in and performed here: one line, one file each.
fn builtin() -> [Arc<dyn StepKind>; 1] {
    [Arc::new(http::Http)]
}

/// Keys that stand beside some action key in a step, or will.
const BESIDE: &[&str] = &[
    "then",
    "else",
    "steps",
    "output",
    "concurrency",
    "max_iterations",
    "detached",
];

/// Whether the workflow language has a meaning of its own for this key of a step.
fn belongs_to_the_language(key: &str) -> bool {
    let lists: [&[&str]; 4] = [&PURE_KINDS, &FUTURE_KINDS, &COMMON_KEYS, BESIDE];
    lists.iter().any(|list| list.contains(&key))
        || builtin().iter().any(|kind| kind.spec().name == key)
}

/// Every kind of step that can be performed, by its action key.
#[derive(Clone)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn StepKind>>);

impl Registry {
    /// The kinds that Skep brings.
    pub fn builtin() -> Registry {
        Registry(
            builtin()
                .into_iter()
                .map(|kind| (kind.spec().name, kind))
                .collect(),
        )
    }

    /// The same, and a kind of the embedding program's. Refused if its name is malformed, belongs to the language, or
    /// is taken.
    pub fn with(mut self, kind: Arc<dyn StepKind>) -> Result<Registry, Error> {
        let name = kind.spec().name;
        let refuse = |why: &str| {
            Err(Error::new(
                Code::ValidationError,
                format!("step kind {name:?}: {why}"),
            ))
        };
        if !is_name(name) {
            return refuse("its name must be a letter or _, then up to 63 letters, digits or _");
        }
        if belongs_to_the_language(name) {
            return refuse("the name belongs to the workflow language");
        }
        if self.0.contains_key(name) {
            return refuse("there is one of that name already");
        }
        self.0.insert(name, kind);
        Ok(self)
    }

    /// What every kind says of itself, by name.
    pub fn specs(&self) -> Vec<KindSpec> {
        self.0.values().map(|kind| kind.spec()).collect()
    }

    /// The kind of that action key.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn StepKind>> {
        self.0.get(name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// Makes one try. A panic becomes a failure; the value of every secret that the step uses is masked in what comes back.
pub fn perform(kind: &dyn StepKind, context: &StepContext<'_>) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(|| kind.perform(context))).unwrap_or_else(|_| {
        log::error!(
            "run {} step {}: the step panicked",
            context.run_id,
            context.path
        );
        failed(ErrorClass::Step, "the step panicked")
    });
    let secrets = context.secrets;
    match outcome {
        Outcome::Done { output, meta } => Outcome::Done {
            output: secrets.mask(output),
            meta: meta.map(|meta| secrets.mask(meta)),
        },
        Outcome::Failed {
            error,
            status,
            retry_after,
            meta,
        } => Outcome::Failed {
            error: StepError {
                class: error.class,
                message: secrets.mask_text(&error.message),
            },
            status,
            retry_after,
            meta: meta.map(|meta| secrets.mask(meta)),
        },
    }
}

/// A failure with nothing beside its class and sentence.
pub fn failed(class: ErrorClass, message: impl Into<String>) -> Outcome {
    let error = StepError {
        class,
        message: message.into(),
    };
    Outcome::Failed {
        error,
        status: None,
        retry_after: None,
        meta: None,
    }
}

#[cfg(test)]
mod tests;
