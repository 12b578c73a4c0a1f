//! The reader of definitions: collects problems, knows which names may be used where, reads templates.

use std::collections::HashMap;

use crate::flow::expr::{Expr, Part, RawPart, Template, split};
use crate::flow::inputs::Input;
use crate::flow::names::{did_you_mean, excerpt, is_name, pointer_segment};
use crate::flow::scope::{Chain, Segment, step_number};
use crate::flow::source::{Data, Entry, Node};
use crate::flow::workflow::{KindSpec, Problem};

/// After this many problems the rest is not listed.
pub const MAX_PROBLEMS: usize = 100;
/// What can be asked of a step.
const STEP_MEMBERS: [&str; 3] = ["output", "error", "meta"];

/// What is known while a definition is read.
#[derive(Debug)]
pub struct Reader<'k> {
    /// The registered step kinds.
    pub kinds: &'k [KindSpec],
    /// What was found wrong; one more than [`MAX_PROBLEMS`] says that there is more.
    pub problems: Vec<Problem>,
    /// The declared inputs.
    pub inputs: Vec<Input>,
    /// Every step's place in the order of execution, by id.
    pub places: HashMap<String, usize>,
    /// The ids of the top-level steps, in order.
    pub top: Vec<String>,
    /// How many steps have been read.
    pub visited: usize,
    /// Only steps before this place may be spoken of.
    pub now: usize,
    /// The id of the step that is being read.
    pub current: String,
}

/// What templates are allowed here, and what they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether `{{ secrets.NAME }}` may stand here.
    pub secrets: bool,
    /// Whether this is a URL.
    pub url: bool,
}

/// `expected X, got Y`.
pub fn type_problem(expected: &str, node: &Node) -> String {
    format!("expected {expected}, got {}", node.what())
}

impl<'k> Reader<'k> {
    /// A reader that has read nothing.
    pub fn new(kinds: &'k [KindSpec]) -> Reader<'k> {
        Reader {
            kinds,
            problems: Vec::new(),
            inputs: Vec::new(),
            places: HashMap::new(),
            top: Vec::new(),
            visited: 0,
            now: 0,
            current: String::new(),
        }
    }

    /// Every problem, in the order of the text.
    pub fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }

    /// Notes a problem at a value.
    pub fn problem(&mut self, node: &Node, field: &str, message: impl Into<String>) {
        self.problem_at(node.line, node.column, field, message);
    }

    /// Notes a problem at a place.
    pub fn problem_at(&mut self, line: u32, column: u32, field: &str, message: impl Into<String>) {
        if self.problems.len() <= MAX_PROBLEMS {
            self.problems.push(Problem {
                line,
                column,
                field: field.to_owned(),
                message: message.into(),
            });
        }
    }

    /// Notes a key that does not belong, and what was probably meant.
    pub fn unknown_key<'a>(
        &mut self,
        entry: &Entry,
        parent: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) {
        let message = format!(
            "unknown key `{}`{}",
            excerpt(&entry.key),
            did_you_mean(&entry.key, known)
        );
        let field = format!("{parent}/{}", pointer_segment(&entry.key));
        self.problem_at(entry.line, entry.column, &field, message);
    }

    /// The members, if it is an object; else a problem.
    pub fn map<'n>(&mut self, node: &'n Node, at: &str, what: &str) -> Option<&'n [Entry]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            _ => {
                self.problem(
                    node,
                    at,
                    format!("{what} must be an object, got {}", node.what()),
                );
                None
            }
        }
    }

    /// The elements, if it is an array; else a problem.
    pub fn list<'n>(&mut self, node: &'n Node, at: &str, what: &str) -> Option<&'n [Node]> {
        match &node.data {
            Data::List(items) => Some(items),
            _ => {
                self.problem(
                    node,
                    at,
                    format!("{what} must be an array, got {}", node.what()),
                );
                None
            }
        }
    }

    /// The text, if it is one; else a problem.
    pub fn text(&mut self, node: &Node, at: &str) -> Option<String> {
        match &node.data {
            Data::Text(text) => Some(text.clone()),
            _ => {
                self.problem(node, at, type_problem("a text", node));
                None
            }
        }
    }

    /// The boolean, if it is one; else a problem.
    pub fn boolean(&mut self, node: &Node, at: &str) -> Option<bool> {
        match &node.data {
            Data::Bool(flag) => Some(*flag),
            _ => {
                self.problem(node, at, type_problem("true or false", node));
                None
            }
        }
    }

    /// A value with templates; what is wrong with them is noted.
    pub fn template(&mut self, node: &Node, at: &str, secrets: bool) -> Template {
        self.template_of(
            node,
            at,
            Form {
                secrets,
                url: false,
            },
        )
    }

    /// The same, in the given form.
    pub fn template_of(&mut self, node: &Node, at: &str, form: Form) -> Template {
        match &node.data {
            Data::Text(text) => self.text_template(text, node, at, form),
            Data::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.template_of(item, &format!("{at}/{index}"), form))
                    .collect();
                match items
                    .iter()
                    .all(|item| matches!(item, Template::Literal(_)))
                {
                    true => Template::Literal(node.to_json()),
                    false => Template::List(items),
                }
            }
            Data::Map(entries) => {
                let members: Vec<_> = entries
                    .iter()
                    .map(|entry| {
                        let at = format!("{at}/{}", pointer_segment(&entry.key));
                        if entry.key.contains("{{") {
                            self.problem_at(
                                entry.line,
                                entry.column,
                                &at,
                                "a key cannot hold an expression",
                            );
                        }
                        (entry.key.clone(), self.template_of(&entry.value, &at, form))
                    })
                    .collect();
                match members
                    .iter()
                    .all(|(_, item)| matches!(item, Template::Literal(_)))
                {
                    true => Template::Literal(node.to_json()),
                    false => Template::Object(members),
                }
            }
            _ => Template::Literal(node.to_json()),
        }
    }

    fn text_template(&mut self, text: &str, node: &Node, at: &str, form: Form) -> Template {
        let literal = || Template::Literal(text.into());
        let raw = match split(text) {
            Ok(raw) => raw,
            Err(why) => {
                self.problem(node, at, why);
                return literal();
            }
        };
        if raw.iter().all(|part| matches!(part, RawPart::Text(_))) {
            return literal();
        }
        let mut parts = Vec::new();
        for part in &raw {
            match part {
                RawPart::Text(text) => parts.push(Part::Text((*text).to_owned())),
                RawPart::Expr(source) => match secret(source) {
                    Some(name) => {
                        if !form.secrets {
                            self.problem(node, at, misplaced_secret());
                        }
                        parts.push(Part::Secret(name.to_owned()));
                    }
                    None => parts.extend(self.expression(source, node, at).map(Part::Expr)),
                },
            }
        }
        match parts.as_slice() {
            _ if form.url => Template::Url(parts),
            [Part::Expr(expr)] => Template::Expr(expr.clone()),
            _ => Template::Text(parts),
        }
    }

    /// One expression; what is wrong with it is noted.
    pub fn expression(&mut self, source: &str, node: &Node, at: &str) -> Option<Expr> {
        let expr = match Expr::parse(source) {
            Ok(expr) => expr,
            Err(why) => {
                self.problem(node, at, format!("`{}`: {why}", excerpt(source.trim())));
                return None;
            }
        };
        let mut sound = true;
        for chain in expr.chains() {
            if let Err(why) = self.judge(chain) {
                self.problem(node, at, why);
                sound = false;
            }
        }
        sound.then_some(expr)
    }

    /// Whether the path can lead somewhere, as far as that is known before a run.
    fn judge(&self, chain: &Chain) -> Result<(), String> {
        let root = chain.root.as_str();
        if self.inputs.iter().any(|input| input.name == root) || matches!(root, "start" | "run") {
            return Ok(());
        }
        match root {
            "secrets" => return Err(misplaced_secret()),
            "item" | "index" => return Err(format!("`{root}` exists only inside `each`")),
            _ => {}
        }
        let place = match (self.places.get(root), step_number(root)) {
            (Some(place), _) => *place,
            (None, Some(number)) => match number.checked_sub(1).and_then(|at| self.top.get(at)) {
                Some(id) => self.places.get(id).copied().unwrap_or(usize::MAX),
                None => {
                    return Err(format!(
                        "`{root}`: the workflow has {} top-level steps",
                        self.top.len()
                    ));
                }
            },
            (None, None) => return Err(self.unknown_name(root)),
        };
        if root == self.current && place >= self.now {
            return Err(format!("step `{root}` cannot use its own result"));
        }
        if place >= self.now {
            return Err(format!(
                "step `{}` comes later; only steps before this one can be used",
                excerpt(root)
            ));
        }
        match chain.path.first() {
            Some(Segment::Key(key)) if !STEP_MEMBERS.contains(&key.as_str()) => Err(format!(
                "`{root}.{}` does not exist: a step has `output`, `error` and `meta`; did you mean `{root}.output.{0}`?",
                excerpt(key)
            )),
            Some(Segment::Index(_)) => Err(format!(
                "`{root}` is a step; did you mean `{root}.output[…]`?"
            )),
            _ => Ok(()),
        }
    }

    fn unknown_name(&self, name: &str) -> String {
        let inputs = self.inputs.iter().map(|input| input.name.as_str());
        let steps = self
            .places
            .iter()
            .filter(|(_, place)| **place < self.now)
            .map(|(id, _)| id.as_str());
        let mut known: Vec<&str> = inputs
            .chain(steps)
            .chain(["start", "run", "secrets"])
            .collect();
        known.sort_unstable();
        format!(
            "unknown name `{}`: no input and no step is called so{}",
            excerpt(name),
            did_you_mean(name, known)
        )
    }
}

/// The name, if the expression is `secrets.NAME` and nothing else.
fn secret(source: &str) -> Option<&str> {
    source
        .trim()
        .strip_prefix("secrets.")
        .filter(|name| is_name(name))
}

fn misplaced_secret() -> String {
    "a secret must stand alone, as `{{ secrets.NAME }}`, and only in the headers, query or body of a step that allows it"
        .to_owned()
}
