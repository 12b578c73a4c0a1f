//! The step kinds: a trait, one table, one file each.
//!
//! A step gets a [`StepContext`] and no store: it cannot write rows. It leaves the process only through `outbound`.

pub mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::bell::Stop;
use crate::flow::step::Outcome;
use crate::flow::workflow::KindSpec;
use crate::id::Id;
use crate::outbound::Outside;

/// One kind of step, named by its action key in a definition.
pub trait StepKind: Send + Sync {
    /// Its name, its fields and what they may hold. Checked when a workflow is deployed.
    fn spec(&self) -> KindSpec;

    /// How long a try may take where the step says nothing.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// One try. May block until `context.deadline`, and should end soon once `context.stop` is asked.
    fn perform(&self, context: &StepContext<'_>) -> Outcome;
}
