//! From the definition to the step, or every problem with its place.

use std::time::Duration;

use serde_json::Map;

use crate::flow::approval::{Ask, Channel, FormField, Mode, OnTimeout};
use crate::flow::definition::{declaration, duration};
use crate::flow::expr::Template;
use crate::flow::human::render::one_line;
use crate::flow::human::{
    DEFAULT_LENGTHS, DEFAULT_LINK_TTL_MS, DEFAULT_TIMEOUT_MS, Form, Human, KEYS, KIND, Key,
    MAX_CONTEXT, MAX_FIELDS, MAX_OPTIONS, MAX_QUESTION,
};
use crate::flow::names::{did_you_mean, pointer_segment};
use crate::flow::reader::Reader;
use crate::flow::scope::Segment;
use crate::flow::source::{Data, Node};
use crate::flow::values::as_text;

/// The most segments of a path into an option.
const MAX_PATH: usize = 32;

/// The parameters of the step that is being read.
pub(super) struct Params<'r, 'k, 'n> {
    pub(super) reader: &'r mut Reader<'k>,
    pub(super) node: &'n Node,
    /// Their pointer, and the step's.
    pub(super) at: String,
    step_at: String,
    step: &'n Node,
}

impl Reader<'_> {
    /// Reads the parameters of a step that asks a person. `step` is the step, at `step_at`.
    pub fn human(&mut self, node: &Node, step: &Node, step_at: &str) -> Option<Human> {
        let at = format!("{step_at}/{KIND}");
        let entries = self.map(node, &at, "`human`")?;
        for entry in entries {
            if !KEYS.iter().any(|key| key.name == entry.key) {
                self.unknown_key(entry, &at, KEYS.iter().map(|key| key.name));
            }
        }
        let mut params = Params {
            reader: self,
            node,
            at,
            step_at: step_at.to_owned(),
            step,
        };
        params.beside();
        let mode = params.mode();
        let frame = params.frame(mode);
        let recipients = params.recipients(&frame);
        let escalate = params.escalate(&frame, &recipients);
        Some(Human {
            question: params.question(),
            context: params.context(),
            options: params.options(mode),
            label: params.path("label"),
            value: params.path("value"),
            description: params.path("description"),
            frame,
            recipients,
            escalate,
        })
    }
}

impl<'n> Params<'_, '_, 'n> {
    /// What stands under that key; null is nothing.
    pub(super) fn given(&self, name: &str) -> Option<&'n Node> {
        let node = self.node.get(name)?;
        (node.data != Data::Null).then_some(node)
    }

    pub(super) fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.at, pointer_segment(name))
    }

    pub(super) fn problem(&mut self, node: &Node, name: &str, message: impl Into<String>) {
        let field = self.pointer(name);
        self.reader.problem(node, &field, message);
    }

    /// The keys of the step that a question has no use for.
    fn beside(&mut self) {
        if let Some(retry) = self.step.get("retry") {
            let field = format!("{}/retry", self.step_at);
            let message = "a `human` step is not tried again; `remind` asks again";
            self.reader.problem(retry, &field, message);
        }
        if let (Some(_), Some(timeout)) = (self.step.get("timeout"), self.given("timeout")) {
            let message = "`timeout` is given twice: here and at the step";
            self.problem(timeout, "timeout", message);
        }
    }

    /// What the word under that key means; `None` if there is none, or it is none that is known, which is reported.
    fn word<T: Copy>(&mut self, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let node = self.given(name)?;
        let words = match KEYS.iter().find(|key| key.name == name) {
            Some(Key {
                form: Form::Word(words),
                ..
            }) => words(),
            _ => Vec::new(),
        };
        let text = node.text();
        if text.is_some_and(|text| text.contains("{{")) {
            self.problem(node, name, written_out(name));
            return None;
        }
        let found = text.and_then(parse);
        if found.is_none() {
            let hint = text
                .map(|text| did_you_mean(text, words.iter().copied()))
                .unwrap_or_default();
            let message = format!(
                "`{name}` must be one of {}, got {}{hint}",
                words.join(", "),
                node.what()
            );
            self.problem(node, name, message);
        }
        found
    }

    /// The mode, if it can be told; keys of other modes are reported.
    fn mode(&mut self) -> Option<Mode> {
        let is_given = self.given("mode").is_some();
        let mode = match is_given {
            true => self.word("mode", Mode::parse)?,
            false => Mode::Approval,
        };
        let foreign = KEYS
            .iter()
            .filter_map(|key| key.only.map(|only| (key.name, only)))
            .filter(|(_, only)| *only != mode);
        for (name, only) in foreign {
            let Some(node) = self.given(name) else {
                continue;
            };
            let without = if is_given {
                ""
            } else {
                ", as it is without `mode`"
            };
            let message = format!(
                "`{name}` belongs to mode `{}`; this step's is `{}`{without}",
                only.as_str(),
                mode.as_str()
            );
            self.problem(node, name, message);
        }
        Some(mode)
    }

    /// What is written out.
    fn frame(&mut self, mode: Option<Mode>) -> Ask {
        let (min_length, max_length) = self.lengths(mode);
        let timeout_ms = self.timeout();
        let channel = self.word("channel", Channel::parse);
        let channel = channel.unwrap_or(Channel::Email);
        let fields = self.fields(mode);
        let on_timeout = self.on_timeout();
        let need = self.need(mode);
        Ask {
            mode: mode.unwrap_or(Mode::Approval),
            question: String::new(),
            context: Map::new(),
            options: Vec::new(),
            min_length,
            max_length,
            fields,
            recipients: Vec::new(),
            need,
            not_requester: self.flag("not_requester"),
            channel,
            link_ttl_ms: self.duration("link_ttl").unwrap_or(DEFAULT_LINK_TTL_MS),
            timeout_ms,
            remind_ms: self.remind(channel, timeout_ms),
            escalate: None,
            on_timeout,
        }
    }

    // ---- literals ----

    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        let node = self.given(name)?;
        let (least, most) = match KEYS.iter().find(|key| key.name == name) {
            Some(Key {
                form: Form::Count(least, most),
                ..
            }) => (*least, *most),
            _ => (0, usize::MAX),
        };
        let count = match &node.data {
            Data::Number(number) => number.as_u64().and_then(|count| count.try_into().ok()),
            _ => None,
        };
        let fits = count.filter(|count| (least..=most).contains(count));
        if fits.is_none() {
            let message = format!(
                "`{name}` must be a whole number from {least} to {most}, got {}",
                node.what()
            );
            self.problem(node, name, message);
        }
        fits
    }

    fn flag(&mut self, name: &str) -> bool {
        let Some(node) = self.given(name) else {
            return false;
        };
        let at = self.pointer(name);
        self.reader.boolean(node, &at).unwrap_or(false)
    }

    /// In milliseconds.
    fn duration(&mut self, name: &str) -> Option<u64> {
        let node = self.given(name)?;
        let at = self.pointer(name);
        self.duration_at(node, &at, name)
    }

    pub(super) fn duration_at(&mut self, node: &Node, at: &str, name: &str) -> Option<u64> {
        let ms = duration(self.reader, node, at).map(in_ms)?;
        if ms == 0 {
            let message = format!("`{name}` must be longer than nothing");
            self.reader.problem(node, at, message);
            return None;
        }
        Some(ms)
    }

    /// How long the question waits: said here, or at the step, where it has been read already.
    fn timeout(&mut self) -> u64 {
        if let Some(here) = self.duration("timeout") {
            return here;
        }
        let at_step = self.step.get("timeout").and_then(Node::text);
        let at_step = at_step.and_then(|text| crate::time::parse_duration(text).ok());
        at_step.map_or(DEFAULT_TIMEOUT_MS, in_ms)
    }

    fn lengths(&mut self, mode: Option<Mode>) -> (usize, usize) {
        let (least, most) = DEFAULT_LENGTHS;
        let min = self.count("min_length");
        let max = self.count("max_length");
        // A least length that is longer than the usual most one says how long the text is.
        let max_length = max.unwrap_or(most.max(min.unwrap_or(least)));
        let min_length = min.unwrap_or(least);
        if min_length > max_length
            && let Some(node) = self.given("min_length")
        {
            let message = format!("`min_length` is more than `max_length`, which is {max_length}");
            self.problem(node, "min_length", message);
        }
        match mode {
            Some(Mode::Text) => (min_length, max_length),
            _ => (0, 0),
        }
    }

    fn on_timeout(&mut self) -> OnTimeout {
        let said = self.word("on_timeout", OnTimeout::parse);
        if said == Some(OnTimeout::Escalate)
            && self.given("escalate").is_none()
            && let Some(node) = self.given("on_timeout")
        {
            let message = "`on_timeout: escalate` needs `escalate: {recipient}`";
            self.problem(node, "on_timeout", message);
        }
        let goes_on = self.step.get("on_failure").and_then(Node::text) == Some("continue");
        said.unwrap_or(match goes_on {
            true => OnTimeout::Continue,
            false => OnTimeout::Fail,
        })
    }

    fn fields(&mut self, mode: Option<Mode>) -> Vec<FormField> {
        let Some(node) = self.given("fields") else {
            if mode == Some(Mode::Form) {
                let at = self.at.clone();
                let message = "mode `form` needs `fields`: what to fill in";
                self.reader.problem(self.node, &at, message);
            }
            return Vec::new();
        };
        let at = self.pointer("fields");
        let Some(entries) = self.reader.map(node, &at, "`fields`") else {
            return Vec::new();
        };
        if entries.is_empty() {
            self.problem(node, "fields", "`fields` is empty: nothing to fill in");
        }
        if entries.len() > MAX_FIELDS {
            let message = format!("`fields` has at most {MAX_FIELDS} fields");
            self.problem(node, "fields", message);
            return Vec::new();
        }
        let mut fields = Vec::new();
        for entry in entries {
            let at = format!("{at}/{}", pointer_segment(&entry.key));
            if let Some(node) = first_templated(&entry.value) {
                self.reader.problem(node, &at, written_out("fields"));
            }
            let declared = declaration(self.reader, entry, &at, "field");
            fields.extend(declared.map(|input| FormField {
                name: input.name,
                kind: input.kind.as_str().to_owned(),
                required: input.required,
                default: input.default,
                description: input.description,
                choices: input.choices,
            }));
        }
        fields
    }

    /// A path into an option: `source.title`, `tags[0]`.
    fn path(&mut self, name: &str) -> Option<Vec<Segment>> {
        let node = self.given(name)?;
        let text = node.text().unwrap_or_default();
        let path = path(text);
        if path.is_none() {
            let message = format!(
                "`{name}` must be a path into each option, such as title or source.title, got {}",
                node.what()
            );
            self.problem(node, name, message);
        }
        path
    }

    // ---- templates ----

    /// A text with templates, not blank; `None` if it is no text.
    pub(super) fn text(
        &mut self,
        node: &Node,
        at: &str,
        name: &str,
        most: usize,
    ) -> Option<Template> {
        if matches!(node.data, Data::Null | Data::List(_) | Data::Map(_)) {
            let message = format!("`{name}` must be a text, got {}", node.what());
            self.reader.problem(node, at, message);
            return None;
        }
        let template = self.reader.template(node, at, false);
        if let Template::Literal(value) = &template {
            let length = one_line(&as_text(value)).chars().count();
            if length == 0 {
                let message = format!("`{name}` is empty");
                self.reader.problem(node, at, message);
            } else if length > most {
                let message = format!("`{name}` must have at most {most} characters, got {length}");
                self.reader.problem(node, at, message);
            }
        }
        Some(template)
    }

    fn question(&mut self) -> Template {
        let at = self.pointer("question");
        let template = match self.given("question") {
            Some(node) => self.text(node, &at, "question", MAX_QUESTION),
            None => {
                let at = self.at.clone();
                let message = "`human` needs a `question`: what is asked, in one line";
                self.reader.problem(self.node, &at, message);
                None
            }
        };
        template.unwrap_or(Template::Literal("".into()))
    }

    fn context(&mut self) -> Option<Template> {
        let node = self.given("context")?;
        let at = self.pointer("context");
        match &node.data {
            Data::Map(rows) if rows.len() > MAX_CONTEXT => {
                let message = format!(
                    "`context` has at most {MAX_CONTEXT} rows, got {}",
                    rows.len()
                );
                self.problem(node, "context", message);
            }
            Data::Map(_) => {}
            _ if is_lone_expression(node) => {}
            _ => {
                let message = format!("`context` must be an object, got {}", node.what());
                self.problem(node, "context", message);
                return None;
            }
        }
        Some(self.reader.template(node, &at, false))
    }

    fn options(&mut self, mode: Option<Mode>) -> Option<Template> {
        let Some(node) = self.given("options") else {
            if mode == Some(Mode::Choices) {
                let at = self.at.clone();
                let message = "mode `choices` needs `options`: what to choose from";
                self.reader.problem(self.node, &at, message);
            }
            return None;
        };
        match &node.data {
            Data::List(items) if items.is_empty() => {
                let message = "`options` is empty: there is nothing to choose from";
                self.problem(node, "options", message);
            }
            Data::List(items) if items.len() > MAX_OPTIONS => {
                let message = format!(
                    "`options` has at most {MAX_OPTIONS} options, got {}",
                    items.len()
                );
                self.problem(node, "options", message);
            }
            Data::List(_) => {}
            _ if is_lone_expression(node) => {}
            _ => {
                let message = format!("`options` must be an array, got {}", node.what());
                self.problem(node, "options", message);
                return None;
            }
        }
        let at = self.pointer("options");
        Some(self.reader.template(node, &at, false))
    }
}

fn in_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn written_out(name: &str) -> String {
    format!("`{name}` must be written out, without expressions")
}

/// A text that is one expression can become anything.
pub(super) fn is_lone_expression(node: &Node) -> bool {
    node.text()
        .is_some_and(|text| text.starts_with("{{") && text.ends_with("}}"))
}

/// The first text in it that holds an expression.
fn first_templated(node: &Node) -> Option<&Node> {
    match &node.data {
        Data::Text(text) => text.contains("{{").then_some(node),
        Data::List(items) => items.iter().find_map(first_templated),
        Data::Map(entries) => entries
            .iter()
            .find_map(|entry| first_templated(&entry.value)),
        _ => None,
    }
}

/// The segments of `source.items[0].title`.
fn path(text: &str) -> Option<Vec<Segment>> {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"{}[]'\"".contains(c);
    let mut path = Vec::new();
    for part in text.split('.') {
        let (name, indexes) = part.split_at(part.find('[').unwrap_or(part.len()));
        match name {
            // `[0].title`: the options are arrays.
            "" if path.is_empty() && !indexes.is_empty() => {}
            "" => return None,
            _ if !name.chars().all(is_plain) => return None,
            _ if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                path.push(Segment::Index(name.parse().ok()?));
            }
            _ => path.push(Segment::Key(name.to_owned())),
        }
        for index in indexes.split_inclusive(']') {
            let index = index.strip_prefix('[')?.strip_suffix(']')?;
            path.push(Segment::Index(index.parse().ok()?));
        }
    }
    (path.len() <= MAX_PATH).then_some(path)
}
