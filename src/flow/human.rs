//! The `human` step: its keys as a table, how a definition writes one, and the question that comes of it.
//!
//! Owns what a question may be. What an answer may be is in `flow::answer`; who is asked, and when, is the store's.

mod check;
mod people;
mod render;

use serde_json::{Map, Value, json};

use crate::flow::approval::{Ask, Channel, Mode, OnTimeout};
use crate::flow::expr::Template;
use crate::flow::schema::NAME;
use crate::flow::scope::Segment;

/// The action key.
pub const KIND: &str = "human";
/// The longest question, in characters.
pub const MAX_QUESTION: usize = 1_000;
/// The most rows of its context.
pub const MAX_CONTEXT: usize = 50;
/// The most options.
pub const MAX_OPTIONS: usize = 1_000;
/// The longest label of an option, in characters; what is longer is cut, and whole in the option's `raw`.
pub const MAX_LABEL: usize = 500;
/// The longest description of an option, likewise.
pub const MAX_DESCRIPTION: usize = 5_000;
/// How long a typed text may be where the definition does not say, in characters.
pub const DEFAULT_LENGTHS: (usize, usize) = (1, 10_000);
/// The most that `max_length` can be.
pub const MAX_LENGTH: usize = 100_000;
/// The most fields of a form.
pub const MAX_FIELDS: usize = 100;
/// The most people that can be asked at once.
pub const MAX_RECIPIENTS: usize = 100;
/// The longest address, id or name of one, in characters.
pub const MAX_RECIPIENT: usize = 320;
/// The most reminders.
pub const MAX_REMINDERS: usize = 20;
/// How long a question waits, where the definition does not say: 72 h, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 72 * 3_600_000;
/// How long a link is good for, where the definition does not say: 1 h, in milliseconds.
pub const DEFAULT_LINK_TTL_MS: u64 = 3_600_000;

/// A step that asks a person.
#[derive(Debug, Clone)]
pub struct Human {
    /// The question as far as it is written out; what templates decide is empty in it.
    pub(super) frame: Ask,
    pub(super) question: Template,
    pub(super) context: Option<Template>,
    /// Mode `choices`: an array.
    pub(super) options: Option<Template>,
    /// Where in an option its label, value and description are.
    pub(super) label: Option<Vec<Segment>>,
    pub(super) value: Option<Vec<Segment>>,
    pub(super) description: Option<Vec<Segment>>,
    pub(super) recipients: Recipients,
    /// How long after the question (in milliseconds), and whom.
    pub(super) escalate: Option<(u64, Template)>,
}

/// Who is asked, as it is written.
#[derive(Debug, Clone)]
pub(super) enum Recipients {
    /// Whoever may decide approvals.
    Anyone,
    /// `recipient`.
    One(Template),
    /// `recipients`: an array.
    Many(Template),
}

/// One key of the step.
#[derive(Debug)]
struct Key {
    name: &'static str,
    /// The one mode that it belongs to.
    only: Option<Mode>,
    form: Form,
    doc: &'static str,
}

/// What a key holds.
#[derive(Debug)]
enum Form {
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// A text, templates allowed.
    Text,
    /// An array of texts, templates allowed, or an expression.
    Texts,
    /// An array, or an expression.
    Array,
    /// An object, or an expression.
    Object,
    /// A path into an option.
    Path,
    /// A whole number from, to.
    Count(usize, usize),
    /// True or false.
    Flag,
    /// A duration.
    Duration,
    /// An array of durations.
    Durations,
    /// The fields of a form.
    Fields,
    /// When and whom.
    Escalate,
}

fn modes() -> Vec<&'static str> {
    Mode::ALL.iter().map(|mode| mode.as_str()).collect()
}

fn channels() -> Vec<&'static str> {
    Channel::ALL
        .iter()
        .map(|channel| channel.as_str())
        .collect()
}

fn timeouts() -> Vec<&'static str> {
    OnTimeout::ALL.iter().map(|what| what.as_str()).collect()
}

const fn key(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        only: None,
        form,
        doc,
    }
}

const fn only(mode: Mode, name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        only: Some(mode),
        form,
        doc,
    }
}

const KEYS: [Key; 20] = [
    key(
        "mode",
        Form::Word(modes),
        "How it is answered; without it, yes or no.",
    ),
    key("question", Form::Text, "What is asked, in one line."),
    key(
        "context",
        Form::Object,
        "A table of values shown with it; texts may be Markdown.",
    ),
    only(
        Mode::Choices,
        "options",
        Form::Array,
        "What to choose from.",
    ),
    only(
        Mode::Choices,
        "label",
        Form::Path,
        "Where in an option its label is.",
    ),
    only(
        Mode::Choices,
        "value",
        Form::Path,
        "Where in an option its value is; without it, the option itself.",
    ),
    only(
        Mode::Choices,
        "description",
        Form::Path,
        "Where in an option its description is.",
    ),
    only(
        Mode::Text,
        "min_length",
        Form::Count(0, MAX_LENGTH),
        "The fewest characters; 1 without it.",
    ),
    only(
        Mode::Text,
        "max_length",
        Form::Count(1, MAX_LENGTH),
        "The most characters; 10,000 without it.",
    ),
    only(
        Mode::Form,
        "fields",
        Form::Fields,
        "What to fill in, declared as inputs are.",
    ),
    key(
        "recipient",
        Form::Text,
        "Who is asked: a member's e-mail address, id or name.",
    ),
    key(
        "recipients",
        Form::Texts,
        "Who is asked, if there are several.",
    ),
    key(
        "need",
        Form::Count(1, MAX_RECIPIENTS),
        "How many of them must agree; 1: the first answer decides.",
    ),
    key(
        "not_requester",
        Form::Flag,
        "Whether whoever asked for the run may not answer.",
    ),
    key(
        "channel",
        Form::Word(channels),
        "How they are told; e-mail without it.",
    ),
    key(
        "link_ttl",
        Form::Duration,
        "How long a link in a message is good for; 1h without it.",
    ),
    key(
        "timeout",
        Form::Duration,
        "How long the question waits; 72h without it.",
    ),
    key(
        "remind",
        Form::Durations,
        "How long after the question those who have not answered are reminded.",
    ),
    key("escalate", Form::Escalate, "Who else is asked, and when."),
    key(
        "on_timeout",
        Form::Word(timeouts),
        "What happens when nobody has answered in time; without it, as `on_failure` says.",
    ),
];

/// A path into an option, as a pattern of the schema.
const PATH: &str = r#"^(\[\d+\]|[^\s{}\[\].'"]+)(\[\d+\])*(\.[^\s{}\[\].'"]+(\[\d+\])*)*$"#;

/// The schema of the step's parameters.
pub(super) fn schema() -> Value {
    let properties: Map<String, Value> = KEYS
        .iter()
        .map(|key| {
            let mut form = key.form.schema();
            form["description"] = key.doc.into();
            (key.name.to_owned(), form)
        })
        .collect();
    json!({
        "type": "object",
        "description": "Asks a person; the run waits for the answer, and holds nothing meanwhile.",
        "required": ["question"],
        "additionalProperties": false,
        "properties": properties,
        "not": { "required": ["recipient", "recipients"] },
        "allOf": rules(),
    })
}

/// Which keys belong together, for the schema.
fn rules() -> Vec<Value> {
    let has = |name: &str| json!({ "required": [name] });
    let is = |name: &str, value: &str| json!({ "required": [name], "properties": { name: { "const": value } } });
    let rule = |when: Value, then: Value| json!({ "if": when, "then": then });
    let any = |these: &[Value]| json!({ "anyOf": these });
    let no_channel = is("channel", Channel::None.as_str());
    let escalates = is("on_timeout", OnTimeout::Escalate.as_str());
    let asks_someone = any(&[has("recipient"), has("recipients")]);
    let says_when = json!({ "properties": { "escalate": { "required": ["after"] } } });
    let mut rules = vec![
        rule(is("mode", Mode::Choices.as_str()), has("options")),
        rule(is("mode", Mode::Form.as_str()), has("fields")),
        rule(
            json!({ "required": ["need"], "properties": { "need": { "minimum": 2 } } }),
            has("recipients"),
        ),
        any(&[no_channel.clone(), asks_someone.clone()]),
        rule(has("remind"), json!({ "not": no_channel })),
        rule(escalates.clone(), has("escalate")),
        rule(
            has("escalate"),
            json!({ "allOf": [asks_someone, any(&[escalates, says_when])] }),
        ),
    ];
    for mode in Mode::ALL {
        let own = KEYS.iter().filter(|key| key.only == Some(*mode));
        let own: Vec<Value> = own.map(|key| has(key.name)).collect();
        if !own.is_empty() {
            rules.push(rule(any(&own), is("mode", mode.as_str())));
        }
    }
    rules
}

/// What a step that asks a person cannot have beside it.
pub(super) fn schema_beside() -> Value {
    let twice = json!({
        "required": ["timeout"],
        "properties": { KIND: { "required": ["timeout"] } },
    });
    json!({ "not": { "anyOf": [{ "required": ["retry"] }, twice] } })
}

impl Form {
    fn schema(&self) -> Value {
        let text = json!({ "type": ["string", "number", "boolean"] });
        let or_expression =
            |form: Value| json!({ "anyOf": [form, { "$ref": "#/$defs/expression" }] });
        match self {
            Form::Word(words) => json!({ "enum": words() }),
            Form::Text => text,
            Form::Texts => or_expression(json!({
                "type": "array", "minItems": 1, "maxItems": MAX_RECIPIENTS, "items": text,
            })),
            Form::Array => {
                or_expression(json!({ "type": "array", "minItems": 1, "maxItems": MAX_OPTIONS }))
            }
            Form::Object => {
                or_expression(json!({ "type": "object", "maxProperties": MAX_CONTEXT }))
            }
            Form::Path => json!({ "type": "string", "pattern": PATH }),
            Form::Count(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Form::Flag => json!({ "type": "boolean" }),
            Form::Duration => json!({ "$ref": "#/$defs/duration" }),
            Form::Durations => json!({
                "type": "array", "maxItems": MAX_REMINDERS, "items": { "$ref": "#/$defs/duration" },
            }),
            Form::Fields => json!({
                "type": "object",
                "minProperties": 1,
                "maxProperties": MAX_FIELDS,
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" },
            }),
            Form::Escalate => json!({
                "type": "object",
                "required": ["recipient"],
                "additionalProperties": false,
                "properties": { "after": { "$ref": "#/$defs/duration" }, "recipient": text },
            }),
        }
    }
}
