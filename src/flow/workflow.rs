//! A workflow: the checked form of a definition, and what may be asked of it.
//!
//! Owns the types and the tables of keys; the checks are in `definition`, what a run does next is in `plan`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::{Code, Error};
use crate::flow::condition::Test;
use crate::flow::definition;
use crate::flow::expr::Template;
use crate::flow::human::{self, Human};
use crate::flow::inputs;
pub use crate::flow::inputs::{Input, InputType, UnknownInputs};
use crate::flow::reader::MAX_PROBLEMS;
use crate::flow::retry::Retry;
use crate::flow::source::{self, Format};

/// The most steps of a workflow, nested ones included.
pub const MAX_STEPS: usize = 1000;
/// How deep conditions may nest.
pub const MAX_NESTING: usize = 16;

/// The step kinds of the language itself: nothing outside performs them.
pub const PURE_KINDS: [&str; 4] = ["set", "condition", "delay", human::KIND];
/// Step kinds of the contract that are not built yet. Refused by name when a workflow is deployed.
pub const FUTURE_KINDS: [&str; 8] = [
    "each",
    "parallel",
    "workflow",
    "wait_signal",
    "prompt",
    "image",
    "rss",
    "shell",
];
/// The keys that every step may have beside its action.
pub const COMMON_KEYS: [&str; 6] = ["id", "name", "if", "retry", "timeout", "on_failure"];
/// The keys of a definition.
pub const TOP_KEYS: [&str; 4] = ["name", "inputs", "steps", "output"];

/// One thing that is wrong with a definition, and where (1-based).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
    /// JSON pointer to the field.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefinitionError {
    /// It is not YAML or JSON.
    Malformed(Problem),
    /// It breaks the rules; never empty, in the order of the text. One more than 100: there may be any number more.
    Invalid(Vec<Problem>),
}

impl From<DefinitionError> for Error {
    fn from(error: DefinitionError) -> Error {
        match error {
            DefinitionError::Malformed(problem) => {
                let message = format!(
                    "line {}, column {}: {}",
                    problem.line, problem.column, problem.message
                );
                Error::new(Code::MalformedBody, message)
                    .with("line", problem.line)
                    .with("column", problem.column)
            }
            DefinitionError::Invalid(problems) => {
                let mut error = match problems.first() {
                    Some(first) => Error::new(Code::InvalidDefinition, first.message.clone())
                        .at(first.field.clone()),
                    None => Error::of(Code::InvalidDefinition),
                };
                let more = problems.len() > MAX_PROBLEMS;
                let listed = problems.into_iter().take(MAX_PROBLEMS).map(|problem| {
                    json!({
                        "line": problem.line,
                        "column": problem.column,
                        "field": problem.field,
                        "message": problem.message,
                    })
                });
                error = error.with("errors", Value::Array(listed.collect()));
                if more {
                    error = error.with("more", true);
                }
                error
            }
        }
    }
}

/// What a field of a step kind may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text; numbers and booleans are taken as they are written.
    Text,
    /// A text that is a URL: what templates insert cannot change its other parts.
    Url,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// An array.
    Array,
    /// An object.
    Object,
    /// Anything.
    Any,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// An array of texts.
    TextList,
}

/// One field of a step kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may hold `{{ secrets.X }}`.
    pub secrets: bool,
    /// Whether it must be written out: no expression may decide it.
    pub literal: bool,
    /// One sentence for people.
    pub doc: &'static str,
}

/// A step kind, as far as definitions are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindSpec {
    /// The action key.
    pub name: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
    /// Its fields.
    pub fields: &'static [FieldSpec],
    /// Whether fields that are not listed are allowed too.
    pub open: bool,
    /// Groups of fields of which at most one may be given.
    pub exclusive: &'static [&'static [&'static str]],
}

/// Reads and checks a definition. `kinds` are the step kinds beside [`PURE_KINDS`].
pub fn parse(text: &str, format: Format, kinds: &[KindSpec]) -> Result<Workflow, DefinitionError> {
    let node = source::read(text, format).map_err(DefinitionError::Malformed)?;
    definition::check(&node, kinds).map_err(DefinitionError::Invalid)
}

/// A definition that has passed every check.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// For people.
    pub name: Option<String>,
    /// In the order of the definition.
    pub inputs: Vec<Input>,
    /// In the order they run; at least one.
    pub steps: Vec<Step>,
    /// `None`: the output of the last top-level step.
    pub output: Option<Template>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id, unique in the workflow.
    pub id: String,
    /// Where it stands: `fetch`, `gate.then.a`.
    pub path: String,
    /// For people.
    pub name: Option<String>,
    /// Skipped unless this holds.
    pub only_if: Option<Test>,
    /// What it does.
    pub action: Action,
    /// When a failed try is made again.
    pub retry: Retry,
    /// How long one try may take; `None`: the kind's default.
    pub timeout: Option<Duration>,
    /// What a failure does to the run.
    pub on_failure: OnFailure,
}

/// What a failed step does to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The run fails.
    Terminate,
    /// The run goes on; the step's output is null and its `error` is set.
    Continue,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Computes an object.
    Set(Template),
    /// Waits.
    Delay(Delay),
    /// Takes one of two branches.
    Condition(Box<Condition>),
    /// Asks a person.
    Human(Box<Human>),
    /// Leaves the process: a registered kind.
    Kind(KindAction),
}

/// How long a `delay` waits.
#[derive(Debug, Clone)]
pub enum Delay {
    /// A duration: `5s`.
    For(Template),
    /// An instant, RFC 3339.
    Until(Template),
}

/// A condition and its branches.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What is asked.
    pub test: Test,
    /// What runs if it holds.
    pub then: Vec<Step>,
    /// What runs if not.
    pub otherwise: Vec<Step>,
}

/// A step of a registered kind.
#[derive(Debug, Clone)]
pub struct KindAction {
    /// The action key.
    pub kind: String,
    /// The fields that were given.
    pub fields: Vec<Field>,
}

/// One field of a step of a registered kind.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its key.
    pub name: String,
    /// What it must be once rendered.
    pub kind: FieldKind,
    /// Whether it may not be left out.
    pub required: bool,
    /// Its value.
    pub template: Template,
}

impl Action {
    /// The action key.
    pub fn kind(&self) -> &str {
        match self {
            Action::Set(_) => "set",
            Action::Delay(_) => "delay",
            Action::Condition(_) => "condition",
            Action::Human(_) => human::KIND,
            Action::Kind(action) => &action.kind,
        }
    }

    /// The steps inside, in order.
    pub fn nested(&self) -> impl Iterator<Item = &Step> {
        let (then, otherwise) = match self {
            Action::Condition(condition) => {
                (condition.then.as_slice(), condition.otherwise.as_slice())
            }
            Action::Set(_) | Action::Delay(_) | Action::Human(_) | Action::Kind(_) => {
                (&[] as &[Step], &[] as &[Step])
            }
        };
        then.iter().chain(otherwise)
    }
}

impl Step {
    /// Calls `see` with this step and every step inside, in order.
    pub fn visit<'s>(&'s self, see: &mut dyn FnMut(&'s Step)) {
        see(self);
        self.action.nested().for_each(|step| step.visit(see));
    }
}

impl Workflow {
    /// Every step, nested ones included, in order.
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut all = Vec::new();
        self.steps
            .iter()
            .for_each(|step| step.visit(&mut |step| all.push(step)));
        all
    }

    /// Whether a run may wait for a person, so that its result cannot be waited for by its caller.
    pub fn asks_a_person(&self) -> bool {
        self.all_steps()
            .iter()
            .any(|step| matches!(step.action, Action::Human(_)))
    }

    /// The step at that path.
    pub fn step(&self, path: &str) -> Option<&Step> {
        fn find<'s>(mut steps: impl Iterator<Item = &'s Step>, path: &str) -> Option<&'s Step> {
            let inside = |step: &&Step| {
                path.strip_prefix(step.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let step = steps.find(inside)?;
            if step.path == path {
                Some(step)
            } else {
                find(step.action.nested(), path)
            }
        }
        find(self.steps.iter(), path)
    }

    /// The inputs of a run: what was given, checked, with defaults. The error names the input, what was expected and
    /// what came.
    pub fn accept_inputs(
        &self,
        given: Map<String, Value>,
        unknown: UnknownInputs,
    ) -> Result<Map<String, Value>, Error> {
        inputs::accept(&self.inputs, given, unknown)
    }

    /// The names of the secrets that it uses.
    pub fn secrets_used(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for step in self.all_steps() {
            if let Action::Kind(action) = &step.action {
                action
                    .fields
                    .iter()
                    .for_each(|field| field.template.secrets(&mut names));
            }
        }
        names
    }
}
