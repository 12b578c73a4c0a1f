//! What an engine is made of: settings, step kinds, and who is shown a new file's key.

use std::sync::Arc;

use crate::config::{Config, Found};
use crate::engine::{Engine, Show};
use crate::error::Result;
use crate::steps::{Registry, StepKind};

/// Builds an [`Engine`].
#[derive(Default)]
pub struct Builder {
    pub(super) config: Config,
    kinds: Vec<Arc<dyn StepKind>>,
    pub(super) is_private: bool,
    pub(super) settings: Vec<Found>,
    pub(super) on_new_key: Option<Show>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// With these settings instead of the defaults.
    #[must_use]
    pub fn config(mut self, config: Config) -> Builder {
        self.config = config;
        self
    }

    /// With one more kind of step.
    #[must_use]
    pub fn step(mut self, kind: impl StepKind + 'static) -> Builder {
        self.kinds.push(Arc::new(kind));
        self
    }

    /// With what `/v1/system` shows of the settings and where each came from ([`crate::config::Loaded::found`]).
    #[must_use]
    pub fn settings(mut self, found: Vec<Found>) -> Builder {
        self.settings = found;
        self
    }

    /// Without a front door: runs are started by [`Engine::invoke`] only.
    #[must_use]
    pub fn without_http(mut self) -> Builder {
        self.is_private = true;
        self
    }

    /// Shows the admin key of a new file, before it is on record: a start that fails to, or dies before it has, leaves
    /// no file behind whose only key nobody knows. Without this it is [`Engine::admin_key_notice`]'s.
    #[must_use]
    pub fn on_new_key(mut self, show: impl FnOnce(&str) -> Result<()> + 'static) -> Builder {
        self.on_new_key = Some(Box::new(show));
        self
    }

    /// Opens the file, recovers what a crash left, and starts every thread.
    ///
    /// # Errors
    /// One sentence a person can act on; nothing runs then.
    pub fn start(mut self) -> Result<Engine> {
        let mut kinds = Registry::builtin();
        for kind in std::mem::take(&mut self.kinds) {
            kinds = kinds.with(kind)?;
        }
        Engine::assemble(self, Arc::new(kinds))
    }
}
