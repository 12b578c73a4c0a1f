//! The actions of steps: what may stand behind `set`, `delay`, `condition` and the registered kinds.

use crate::flow::condition::{Op, Test};
use crate::flow::definition::{duration, steps};
use crate::flow::expr::Template;
use crate::flow::human;
use crate::flow::names::{did_you_mean, pointer_segment};
use crate::flow::reader::{Form, Reader, type_problem};
use crate::flow::source::{Data, Entry, Node};
use crate::flow::workflow::{
    Action, Condition, Delay, Field, FieldKind, FieldSpec, KindAction, KindSpec,
};
use crate::time::Timestamp;

/// How deep `all`, `any` and `not` may nest.
const MAX_GROUPS: usize = 16;
const GROUPS: [&str; 3] = ["all", "any", "not"];
const COMPARISON: [&str; 3] = ["left", "op", "right"];

impl Reader<'_> {
    /// Reads the action of the step `step`, whose key is `entry`; `path` is the step's.
    pub fn action(&mut self, entry: &Entry, step: &Node, at: &str, path: &str) -> Option<Action> {
        let inner = format!("{at}/{}", entry.key);
        match entry.key.as_str() {
            "set" => {
                self.map(&entry.value, &inner, "`set`")?;
                Some(Action::Set(self.template(&entry.value, &inner, false)))
            }
            "delay" => self.delay(&entry.value, &inner).map(Action::Delay),
            human::KIND => self
                .human(&entry.value, step, at)
                .map(|human| Action::Human(Box::new(human))),
            "condition" => {
                let test = self.test(&entry.value, &inner, 0);
                let mut branch = |key: &str, name: &str| match step.get(key) {
                    Some(list) => steps(
                        self,
                        list,
                        &format!("{at}/{key}"),
                        &format!("{path}.{name}."),
                    ),
                    None => Vec::new(),
                };
                let (then, otherwise) = (branch("then", "then"), branch("else", "else"));
                Some(Action::Condition(Box::new(Condition {
                    test: test?,
                    then,
                    otherwise,
                })))
            }
            name => {
                let kind = *self.kinds.iter().find(|kind| kind.name == name)?;
                self.kind_action(&kind, &entry.value, &inner)
                    .map(Action::Kind)
            }
        }
    }

    fn delay(&mut self, node: &Node, at: &str) -> Option<Delay> {
        if let Data::Map(entries) = &node.data {
            let mut strangers = entries
                .iter()
                .filter(|entry| entry.key != "until")
                .peekable();
            let Some(until) = node.get("until").filter(|_| strangers.peek().is_none()) else {
                if strangers.peek().is_none() {
                    let message =
                        "`delay` is a duration such as 5s, or {until: \"2027-01-01T00:00:00Z\"}";
                    self.problem(node, at, message);
                }
                strangers.for_each(|entry| self.unknown_key(entry, at, ["until"]));
                return None;
            };
            let at = format!("{at}/until");
            let text = self.text(until, &at)?;
            let template = self.template(until, &at, false);
            if matches!(template, Template::Literal(_)) && Timestamp::parse(&text).is_none() {
                self.problem(
                    until,
                    &at,
                    format!(
                        "expected a time such as 2027-01-01T00:00:00Z, got {}",
                        until.what()
                    ),
                );
            }
            return Some(Delay::Until(template));
        }
        if node.text().is_some_and(|text| text.contains("{{")) {
            return Some(Delay::For(self.template(node, at, false)));
        }
        duration(self, node, at)?;
        Some(Delay::For(Template::Literal(node.to_json())))
    }

    /// A condition: a comparison, a group, or a bare expression.
    fn test(&mut self, node: &Node, at: &str, depth: usize) -> Option<Test> {
        let Data::Map(entries) = &node.data else {
            return match node.data {
                Data::Text(_) | Data::Bool(_) => self.bare_test(node, at),
                _ => {
                    self.problem(
                        node,
                        at,
                        type_problem("{left, op, right}, all, any, not, or an expression", node),
                    );
                    None
                }
            };
        };
        if depth >= MAX_GROUPS {
            self.problem(
                node,
                at,
                format!("conditions nest deeper than {MAX_GROUPS} groups"),
            );
            return None;
        }
        let Some(group) = entries
            .iter()
            .find(|entry| GROUPS.contains(&entry.key.as_str()))
        else {
            return self.comparison(node, entries, at);
        };
        if entries.len() > 1 {
            self.problem(
                node,
                at,
                format!("`{}` stands alone in its object", group.key),
            );
            return None;
        }
        let at = format!("{at}/{}", group.key);
        if group.key == "not" {
            return self
                .test(&group.value, &at, depth + 1)
                .map(|test| Test::Not(Box::new(test)));
        }
        let items = self.list(&group.value, &at, &format!("`{}`", group.key))?;
        if items.is_empty() {
            self.problem(&group.value, &at, format!("`{}` is empty", group.key));
        }
        let mut tests = Vec::new();
        for (index, item) in items.iter().enumerate() {
            tests.extend(self.test(item, &format!("{at}/{index}"), depth + 1));
        }
        Some(if group.key == "all" {
            Test::All(tests)
        } else {
            Test::Any(tests)
        })
    }

    fn comparison(&mut self, node: &Node, entries: &[Entry], at: &str) -> Option<Test> {
        for entry in entries
            .iter()
            .filter(|entry| !COMPARISON.contains(&entry.key.as_str()))
        {
            self.unknown_key(entry, at, COMPARISON.into_iter().chain(GROUPS));
        }
        let (Some(left), Some(op)) = (node.get("left"), node.get("op")) else {
            self.problem(
                node,
                at,
                "a condition needs `left` and `op`, or is one of `all`, `any`, `not`",
            );
            return None;
        };
        let words = Op::ALL.map(Op::as_str);
        let Some(op) = op.text().and_then(Op::parse) else {
            let hint = op
                .text()
                .map(|word| did_you_mean(word, words))
                .unwrap_or_default();
            let message = format!(
                "unknown operator {}{hint}; operators are {}",
                op.what(),
                words.join(", ")
            );
            self.problem(op, &format!("{at}/op"), message);
            return None;
        };
        let left = self.template(left, &format!("{at}/left"), false);
        let right = match (node.get("right"), op.takes_right()) {
            (Some(right), true) => self.template(right, &format!("{at}/right"), false),
            (None, false) => Template::Literal(serde_json::Value::Null),
            (Some(right), false) => {
                self.problem(
                    right,
                    &format!("{at}/right"),
                    format!("`{}` takes no `right`", op.as_str()),
                );
                return None;
            }
            (None, true) => {
                self.problem(node, at, format!("`{}` needs a `right`", op.as_str()));
                return None;
            }
        };
        Some(Test::Compare { left, op, right })
    }

    fn kind_action(&mut self, kind: &KindSpec, node: &Node, at: &str) -> Option<KindAction> {
        let entries = self.map(node, at, &format!("`{}`", kind.name))?;
        let mut fields = Vec::new();
        for entry in entries {
            let at = format!("{at}/{}", pointer_segment(&entry.key));
            match kind.fields.iter().find(|field| field.name == entry.key) {
                Some(spec) => fields.extend(self.field(spec, &entry.value, &at)),
                None if kind.open => fields.push(Field {
                    name: entry.key.clone(),
                    kind: FieldKind::Any,
                    required: false,
                    template: self.template(&entry.value, &at, false),
                }),
                None => {
                    let parent = at
                        .rsplit_once('/')
                        .map_or("", |(parent, _)| parent)
                        .to_owned();
                    self.unknown_key(entry, &parent, kind.fields.iter().map(|field| field.name));
                }
            }
        }
        for spec in kind.fields.iter().filter(|spec| spec.required) {
            if node
                .get(spec.name)
                .is_none_or(|value| value.data == Data::Null)
            {
                self.problem(
                    node,
                    at,
                    format!("`{}` needs `{}`: {}", kind.name, spec.name, spec.doc),
                );
            }
        }
        for group in kind.exclusive {
            let given: Vec<&str> = group
                .iter()
                .copied()
                .filter(|name| node.get(name).is_some())
                .collect();
            if given.len() > 1 {
                let message = format!("`{}` takes only one of `{}`", kind.name, given.join("`, `"));
                self.problem(node, at, message);
            }
        }
        Some(KindAction {
            kind: kind.name.to_owned(),
            fields,
        })
    }

    /// One field; null means that it is left out, but where anything goes.
    fn field(&mut self, spec: &FieldSpec, node: &Node, at: &str) -> Option<Field> {
        if node.data == Data::Null && spec.kind != FieldKind::Any {
            return None;
        }
        let form = Form {
            secrets: spec.secrets,
            url: spec.kind == FieldKind::Url,
        };
        if let Some(message) = misfit(spec, node) {
            self.problem(node, at, message);
            return None;
        }
        let before = self.problems.len();
        let mut template = self.template_of(node, at, form);
        // A broken expression is told as what it is.
        if spec.literal
            && !matches!(template, Template::Literal(_))
            && self.problems.len() == before
        {
            let message = format!("`{}` must be written out, without expressions", spec.name);
            self.problem(node, at, message);
            return None;
        }
        if let (FieldKind::Text | FieldKind::Url, Template::Literal(value)) = (spec.kind, &template)
        {
            template = Template::Literal(crate::flow::values::as_text(value).into());
        }
        Some(Field {
            name: spec.name.to_owned(),
            kind: spec.kind,
            required: spec.required,
            template,
        })
    }
}

/// Why this can never be such a field. A text that is one expression can become anything.
fn misfit(spec: &FieldSpec, node: &Node) -> Option<String> {
    let text = node.text();
    let templated = text.is_some_and(|text| text.contains("{{"));
    let lone = text.is_some_and(|text| text.starts_with("{{") && text.ends_with("}}"));
    let scalar = matches!(node.data, Data::Text(_) | Data::Number(_) | Data::Bool(_));
    let (fits, expected) = match spec.kind {
        FieldKind::Any => return None,
        FieldKind::Text => (scalar, "a text"),
        FieldKind::Url => (text.is_some_and(|text| !text.trim().is_empty()), "a URL"),
        FieldKind::Number => (lone || matches!(node.data, Data::Number(_)), "a number"),
        FieldKind::Boolean => (lone || matches!(node.data, Data::Bool(_)), "true or false"),
        FieldKind::Array => (lone || matches!(node.data, Data::List(_)), "an array"),
        FieldKind::Object => (lone || matches!(node.data, Data::Map(_)), "an object"),
        FieldKind::TextList => {
            let texts = |items: &[Node]| {
                items.iter().all(|item| {
                    matches!(item.data, Data::Text(_) | Data::Number(_) | Data::Bool(_))
                })
            };
            (
                lone || matches!(&node.data, Data::List(items) if texts(items)),
                "an array of texts",
            )
        }
        FieldKind::OneOf(words) => {
            if templated || text.is_some_and(|text| words.contains(&text)) {
                return None;
            }
            let hint = text
                .map(|text| did_you_mean(text, words.iter().copied()))
                .unwrap_or_default();
            return Some(format!(
                "`{}` must be one of {}, got {}{hint}",
                spec.name,
                words.join(", "),
                node.what()
            ));
        }
    };
    (!fits).then(|| format!("`{}` must be {expected}, got {}", spec.name, node.what()))
}
