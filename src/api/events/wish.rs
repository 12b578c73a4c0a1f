//! What a stream is to tell of: the run list's filter, kinds of changes, or one run.

use crate::api::Request;
use crate::api::runs;
use crate::error::{Error, Result};
use crate::flow::names::excerpt;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::changed::Facts;
use crate::store::changes::What;
use crate::store::listing::RunFilter;

/// The kinds of changes, as they are named.
pub const KINDS: [&str; 4] = ["run", "step", "delivery", "approval"];

/// What a stream is to tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// But for the state, and for which run: those are beside it.
    filter: RunFilter,
    /// Bits of states; 0: any.
    statuses: u8,
    /// Of these kinds: their places in [`KINDS`], as bits.
    kinds: u8,
    /// The row of the only run.
    run: Option<i64>,
    /// The only key whose runs may be seen.
    pub sees_only: Option<i64>,
}

/// Whether a change is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody has looked.
    Unknown,
}

/// The bit of a state.
pub fn bit(status: RunStatus) -> u8 {
    1 << status as u8
}

/// The place of a change's kind in [`KINDS`].
pub fn kind_of(what: &What) -> usize {
    match what {
        What::Run { .. } => 0,
        What::Step(_) => 1,
        What::Delivery(_) => 2,
        What::Approval(_) => 3,
    }
}

impl Wish {
    /// What the query asks for, as far as the caller may see.
    ///
    /// # Errors
    /// `validation_error` for a filter that cannot be read, `not_found` for a run that is not there.
    pub fn of(request: &Request<'_>) -> Result<Wish> {
        let query = request.query();
        let place = |word: &str| KINDS.iter().position(|kind| *kind == word);
        let kinds = query.words("kinds", &KINDS, place)?;
        let found = runs::filter(request, &query)?;
        let run = match query.one("run") {
            None => None,
            Some(text) => {
                if Id::parse(text, "req_").is_none() {
                    let came = excerpt(text);
                    let message = format!("run must be a request id (req_…), got {came:?}");
                    return Err(Error::invalid("/run", message));
                }
                Some(runs::find(request, text, runs::NO_RUN)?.id)
            }
        };
        let mut wish = Wish {
            kinds: match kinds.is_empty() {
                true => u8::MAX,
                false => kinds.iter().fold(0, |bits, place| bits | 1 << place),
            },
            run,
            sees_only: request.sees_only(),
            ..Wish::default()
        };
        match found {
            // No row has that number.
            None => wish.run = Some(-1),
            Some(filter) => wish.set_filter(request, filter)?,
        }
        Ok(wish)
    }

    fn set_filter(&mut self, request: &Request<'_>, mut filter: RunFilter) -> Result<()> {
        for status in std::mem::take(&mut filter.status) {
            self.statuses |= bit(status);
        }
        if let Some(run_id) = filter.run_id.take() {
            let row = request.store().run(run_id)?.map_or(-1, |run| run.id);
            let is_other = self.run.is_some_and(|run| run != row);
            self.run = Some(if is_other { -1 } else { row });
        }
        // Whoever sees one run only has been asked whether they may.
        self.filter = filter;
        Ok(())
    }

    /// Whether it cannot be told from a change alone.
    pub fn needs_facts(&self) -> bool {
        let asks_others = self.statuses != 0 && self.kinds & !1 != 0;
        self.filter != RunFilter::default() || asks_others
    }

    /// Whether labels are asked for.
    pub fn needs_labels(&self) -> bool {
        !self.filter.metadata.is_empty()
    }

    /// Whether a change of that kind and run may be wanted.
    pub fn wants(&self, run: i64, what: &What) -> bool {
        let is_wanted = self.kinds & 1 << kind_of(what) != 0;
        is_wanted && self.run.is_none_or(|only| only == run)
    }

    /// Whether a change that may be wanted is. `passed`: of a run, the states that it came from and into. `facts`: the
    /// run's, if they were looked up; in it `None`: there is no such run any more.
    pub fn fits(&self, what: &What, passed: u8, facts: Option<Option<&Facts>>) -> Fit {
        let is_run = kind_of(what) == 0;
        if self.statuses != 0 && is_run && passed & self.statuses == 0 {
            return Fit::No;
        }
        let asks_status = self.statuses != 0 && !is_run;
        if !asks_status && self.filter == RunFilter::default() {
            return Fit::Yes;
        }
        let Some(facts) = facts else {
            return Fit::Unknown;
        };
        let fits = |facts: &Facts| {
            let is_in_state = !asks_status || bit(facts.status) & self.statuses != 0;
            is_in_state && facts.fit(&self.filter)
        };
        match facts.is_some_and(fits) {
            true => Fit::Yes,
            false => Fit::No,
        }
    }
}
