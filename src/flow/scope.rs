//! What expressions can see, and how a path through it is followed.
//!
//! Owns the answers to "what is `feed.output.items[0].url`" and the sentence when there is no such thing.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::flow::names::{excerpt, kind_of};

/// What stands beside and behind a step's output.
#[derive(Debug, Clone)]
pub struct StepView<'a> {
    /// Null unless the step completed.
    pub output: Cow<'a, Value>,
    /// Why it failed, if it did.
    pub error: Option<Cow<'a, str>>,
    /// What stands beside the output.
    pub meta: Option<&'a Value>,
}

/// The inputs, the finished steps and the run, by the names that expressions use.
#[derive(Debug)]
pub struct Scope<'a> {
    /// As accepted; also what `start` is.
    pub inputs: &'a Map<String, Value>,
    /// Every input that the definition declares: null where none was given.
    pub declared: HashSet<&'a str>,
    /// What `run` is.
    pub run: &'a Value,
    /// The steps that are done, by id.
    pub steps: HashMap<&'a str, StepView<'a>>,
    /// The ids of the top-level steps, in order, for `step_N`.
    pub top: Vec<&'a str>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// An element of an array; negative counts from the end.
    Index(i64),
}

/// A name and the path behind it, as far as it is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The name.
    pub root: String,
    /// What follows.
    pub path: Vec<Segment>,
}

static NULL: Value = Value::Null;

/// The number in `step_N`, if that is the name's form.
pub fn step_number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("step_")?;
    match digits.starts_with(['0', '+']) {
        true => None,
        false => digits.parse().ok(),
    }
}

impl<'a> Scope<'a> {
    /// What the chain leads to. The error is the sentence that says where it ends.
    pub fn resolve(&self, chain: &Chain) -> Result<Cow<'_, Value>, String> {
        let (root, path) = (chain.root.as_str(), chain.path.as_slice());
        if let Some(value) = self
            .inputs
            .get(root)
            .filter(|_| self.declared.contains(root))
        {
            return walk(value, root, path).map(Cow::Borrowed);
        }
        if self.declared.contains(root) {
            return Ok(Cow::Borrowed(&NULL));
        }
        if let Some(step) = self.step(root) {
            return step.resolve(root, path);
        }
        match root {
            "run" => walk(self.run, root, path).map(Cow::Borrowed),
            "start" => self.start(path),
            _ => Err(format!("`{root}` does not exist")),
        }
    }

    fn step(&self, name: &str) -> Option<&StepView<'a>> {
        self.steps.get(name).or_else(|| {
            let id = self.top.get(step_number(name)?.checked_sub(1)?)?;
            self.steps.get(id)
        })
    }

    fn start(&self, path: &[Segment]) -> Result<Cow<'_, Value>, String> {
        let Some((Segment::Key(name), rest)) = path.split_first() else {
            let all = Value::Object(self.inputs.clone());
            return walk(&all, "start", path).map(|found| Cow::Owned(found.clone()));
        };
        match self.inputs.get(name) {
            Some(value) => walk_from(value, "start", path, rest.len()).map(Cow::Borrowed),
            None if self.declared.contains(name.as_str()) => Ok(Cow::Borrowed(&NULL)),
            None => Err(format!(
                "`start.{}` does not exist: no such input was given",
                excerpt(name)
            )),
        }
    }
}

impl StepView<'_> {
    fn resolve(&self, root: &str, path: &[Segment]) -> Result<Cow<'_, Value>, String> {
        let Some((first, rest)) = path.split_first() else {
            return Ok(Cow::Owned(self.whole()));
        };
        let left = rest.len();
        match first {
            Segment::Key(key) if key == "output" => {
                walk_from(&self.output, root, path, left).map(Cow::Borrowed)
            }
            Segment::Key(key) if key == "meta" => {
                walk_from(self.meta.unwrap_or(&NULL), root, path, left).map(Cow::Borrowed)
            }
            Segment::Key(key) if key == "error" => {
                let error = self
                    .error
                    .as_ref()
                    .map_or(Value::Null, |text| Value::from(text.as_ref()));
                walk_from(&error, root, path, left).map(|found| Cow::Owned(found.clone()))
            }
            _ => Err(format!(
                "`{}` does not exist: a step has `output`, `error` and `meta`",
                spell(root, &path[..1])
            )),
        }
    }

    fn whole(&self) -> Value {
        let mut object = Map::new();
        object.insert("output".to_owned(), self.output.as_ref().clone());
        object.insert(
            "error".to_owned(),
            self.error
                .as_ref()
                .map_or(Value::Null, |text| Value::from(text.as_ref())),
        );
        object.insert("meta".to_owned(), self.meta.cloned().unwrap_or(Value::Null));
        Value::Object(object)
    }
}

/// Follows `path` from `value`. What hangs below null is null.
pub fn walk<'v>(value: &'v Value, root: &str, path: &[Segment]) -> Result<&'v Value, String> {
    walk_from(value, root, path, path.len())
}

/// Follows the last `left` segments of `path` from `value`, which the segments before have led to.
fn walk_from<'v>(
    value: &'v Value,
    root: &str,
    path: &[Segment],
    left: usize,
) -> Result<&'v Value, String> {
    let mut here = value;
    for at in path.len() - left..path.len() {
        here = match (here, &path[at]) {
            (Value::Null, _) => return Ok(&NULL),
            (Value::Object(map), Segment::Key(key)) => map.get(key),
            (Value::Array(items), Segment::Index(index)) => {
                element(items.len(), *index).and_then(|at| items.get(at))
            }
            _ => None,
        }
        .ok_or_else(|| missing(here, root, path, at))?;
    }
    Ok(here)
}

/// Where the element `index` of `len` is; negative counts from the end.
pub fn element(len: usize, index: i64) -> Option<usize> {
    let at = if index < 0 {
        i64::try_from(len).ok()?.checked_add(index)?
    } else {
        index
    };
    usize::try_from(at).ok().filter(|at| *at < len)
}

fn missing(parent: &Value, root: &str, path: &[Segment], at: usize) -> String {
    let holder = match path[..at].last() {
        Some(Segment::Key(key)) => excerpt(key),
        Some(Segment::Index(_)) | None => spell(root, &path[..at]),
    };
    let why = match (parent, &path[at]) {
        (Value::Array(items), Segment::Index(_)) => {
            format!(
                "has {} element{}",
                items.len(),
                if items.len() == 1 { "" } else { "s" }
            )
        }
        (Value::Object(_), Segment::Key(key)) => format!("has no `{}`", excerpt(key)),
        _ => format!("is {}", kind_of(parent)),
    };
    format!("`{}` does not exist: `{holder}` {why}", spell(root, path))
}

/// The path as it is written in an expression.
pub fn spell(root: &str, path: &[Segment]) -> String {
    let mut text = root.to_owned();
    for segment in path {
        match segment {
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
            Segment::Key(key) if crate::flow::names::is_name(key) => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Key(key) => text.push_str(&format!("[{:?}]", excerpt(key))),
        }
    }
    text
}
