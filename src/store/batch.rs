//! Many runs started in one commit.

use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::store::Store;
use crate::store::ahead::Ahead;
use crate::store::runs::{Inserted, NewRun, Texts};
use crate::time::Timestamp;

/// For how many of them a first turn is made ahead: more than find a free worker at once are rare.
const AHEAD: usize = 32;

/// A run, ready to be written.
struct Ready {
    new: NewRun,
    texts: Texts,
    ahead: Option<Arc<Ahead>>,
}

/// Whether an insert was refused before it wrote anything, for a reason of its own.
fn is_refusal(fault: &Error) -> bool {
    matches!(
        fault.code,
        Code::TooManyRequests
            | Code::ConcurrencyLimitReached
            | Code::IdempotencyKeyReused
            | Code::NotFound
    )
}

impl Store {
    /// Starts runs, each as [`Store::insert_run`] would, but all in one commit: those that were not refused are on disk
    /// when this returns. One answer each, in order.
    ///
    /// # Errors
    /// If none could be written.
    pub fn insert_runs(&self, all: Vec<NewRun>, now: Timestamp) -> Result<Vec<Result<Inserted>>> {
        let ready = |(at, new): (usize, NewRun)| {
            Ok(Ready {
                texts: Texts::of(&new)?,
                ahead: if at < AHEAD {
                    self.ahead(&new, now)
                } else {
                    None
                },
                new,
            })
        };
        let mut ready: Vec<Ready> = all
            .into_iter()
            .enumerate()
            .map(ready)
            .collect::<Result<_>>()?;
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        self.write(move |tx| {
            let insert = |one: &mut Ready| {
                // Run a second time, because something in its batch failed, it does without.
                let ahead = one.ahead.take();
                match tx.insert_run(&one.new, &one.texts, ahead, None, now) {
                    Err(fault) if is_refusal(&fault) => Ok(Err(fault)),
                    other => other.map(Ok),
                }
            };
            ready.iter_mut().map(insert).collect()
        })
    }
}
