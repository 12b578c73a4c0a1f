//! Which steps of a run that has ended the run that repeats it takes over.
//!
//! Pure. A finished step is taken over if it stands before the place where the retry begins, and nothing up to it is
//! written differently in the version that runs now. Knows definitions as JSON, and of a step on record its path and state.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::flow::step::StepStatus;

/// The word for [`Begin::Start`].
pub const START: &str = "start";
/// The word for [`Begin::Failed`].
pub const FAILED: &str = "failed";

/// Where a retry begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// With the first step: nothing is taken over.
    Start,
    /// With the step that failed.
    #[default]
    Failed,
    /// With that step: its path or id.
    Step(String),
}

impl Begin {
    /// `start`, `failed`, or a step's path or id.
    pub fn parse(text: &str) -> Begin {
        match text {
            START => Begin::Start,
            FAILED => Begin::Failed,
            step => Begin::Step(step.to_owned()),
        }
    }
}

/// Which version a retry runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edition {
    /// That of the run it repeats.
    #[default]
    Same,
    /// The variant's present one.
    Latest,
}

impl Edition {
    /// Both words.
    pub const WORDS: [&str; 2] = ["same", "latest"];

    /// The edition of that word.
    pub fn parse(word: &str) -> Option<Edition> {
        match word {
            "same" => Some(Edition::Same),
            "latest" => Some(Edition::Latest),
            _ => None,
        }
    }
}

/// How a run is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct How {
    /// Where it begins.
    pub from: Begin,
    /// Which version.
    pub version: Edition,
}

/// Why a run cannot be repeated from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPlace {
    /// None of its steps has failed.
    NothingFailed,
    /// Neither version has such a step.
    NoStep(String),
}

/// One step of an outline.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    path: String,
    id: String,
    /// As it is written, without the steps inside.
    own: Value,
    /// Where the step stands that holds it.
    holder: Option<usize>,
}

/// A definition's steps in order, nested ones behind the step that holds them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outline(Vec<Part>);

/// The branches of a condition.
const BRANCHES: [&str; 2] = ["then", "else"];

impl Outline {
    /// The outline of a definition that passed every check, as JSON.
    pub fn of(definition: &Value) -> Outline {
        let mut outline = Outline::default();
        outline.add(definition.get("steps"), "", None);
        outline
    }

    fn add(&mut self, steps: Option<&Value>, prefix: &str, holder: Option<usize>) {
        let steps = steps.and_then(Value::as_array);
        let objects = steps.into_iter().flatten().filter_map(Value::as_object);
        for step in objects {
            self.add_one(step, prefix, holder);
        }
    }

    fn add_one(&mut self, step: &Map<String, Value>, prefix: &str, holder: Option<usize>) {
        let id = step.get("id").and_then(Value::as_str).unwrap_or_default();
        let path = format!("{prefix}{id}");
        let own = step
            .iter()
            .filter(|(key, _)| !BRANCHES.contains(&key.as_str()));
        let own = own.map(|(key, value)| (key.clone(), value.clone()));
        let at = self.0.len();
        self.0.push(Part {
            path: path.clone(),
            id: id.to_owned(),
            own: Value::Object(own.collect()),
            holder,
        });
        for branch in BRANCHES {
            self.add(step.get(branch), &format!("{path}.{branch}."), Some(at));
        }
    }

    /// Where the step of that path, or else of that id, stands.
    fn place(&self, step: &str) -> Option<usize> {
        let by_path = self.0.iter().position(|part| part.path == step);
        by_path.or_else(|| self.0.iter().position(|part| part.id == step))
    }

    /// Where the step stands to which a row belongs: that of the row's path, or the innermost around it.
    fn owner(&self, path: &str) -> Option<usize> {
        let holds = |part: &Part| {
            path.strip_prefix(part.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let around = self.0.iter().enumerate().filter(|(_, part)| holds(part));
        let innermost = around.max_by_key(|(_, part)| part.path.len());
        innermost.map(|(at, _)| at)
    }

    /// Whether every step around that one is finished: of a branch whose condition is answered anew, nothing is known.
    fn is_within_finished(&self, at: usize, finished: &HashSet<&str>) -> bool {
        let holder_of = |at: &usize| self.0.get(*at).and_then(|part| part.holder);
        let mut holders = std::iter::successors(holder_of(&at), holder_of);
        holders.all(|at| finished.contains(self.0[at].path.as_str()))
    }

    /// How many steps both have in common before the first that differs in place or in writing.
    fn common(&self, other: &Outline) -> usize {
        let pairs = self.0.iter().zip(&other.0);
        pairs.take_while(|(one, two)| one == two).count()
    }
}

/// Whether that is on record for good. What failed and let the run go on is tried again.
fn is_finished(status: StepStatus) -> bool {
    matches!(status, StepStatus::Completed | StepStatus::Skipped)
}

/// The rows that are taken over, as their places in `rows`.
///
/// `old`: the version that ran, in which `failed` is the path of the step that failed; `new`: the one that is to run.
pub fn reused(
    old: &Outline,
    new: &Outline,
    from: &Begin,
    failed: Option<&str>,
    rows: &[(String, StepStatus)],
) -> Result<Vec<usize>, NoPlace> {
    let place = match from {
        Begin::Start => return Ok(Vec::new()),
        Begin::Failed => failed.and_then(|path| old.owner(path)),
        // What both have in common stands at the same place in both.
        Begin::Step(step) => new.place(step).or_else(|| old.place(step)),
    };
    let place = place.ok_or_else(|| match from {
        Begin::Step(step) => NoPlace::NoStep(step.clone()),
        Begin::Start | Begin::Failed => NoPlace::NothingFailed,
    })?;
    let end = place.min(old.common(new));
    let finished = rows.iter().filter(|(_, status)| is_finished(*status));
    let finished: HashSet<&str> = finished.map(|(path, _)| path.as_str()).collect();
    let is_kept = |(path, status): &(String, StepStatus)| {
        let is_before = |at: usize| at < end && old.is_within_finished(at, &finished);
        is_finished(*status) && old.owner(path).is_some_and(is_before)
    };
    let kept = rows.iter().enumerate().filter(|(_, row)| is_kept(row));
    Ok(kept.map(|(at, _)| at).collect())
}

#[cfg(test)]
mod tests;
