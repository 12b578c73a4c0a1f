//! The inputs of a workflow: what they are declared to be, and whether what came fits.

use serde_json::{Map, Value};

use crate::error::Error;
use crate::flow::condition::same;
use crate::flow::names::kind_of;
use crate::flow::names::{did_you_mean, excerpt, pointer_segment};

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// A text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A JSON array, never a text that looks like one.
    Array,
    /// A JSON object.
    Object,
}

impl InputType {
    /// Every type, in the order of the contract.
    pub const ALL: [InputType; 5] = [
        InputType::Text,
        InputType::Number,
        InputType::Boolean,
        InputType::Array,
        InputType::Object,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            InputType::Text => "text",
            InputType::Number => "number",
            InputType::Boolean => "boolean",
            InputType::Array => "array",
            InputType::Object => "object",
        }
    }

    /// The word in a JSON schema.
    pub fn json_type(self) -> &'static str {
        match self {
            InputType::Text => "string",
            other => other.as_str(),
        }
    }

    /// The type of that word.
    pub fn parse(word: &str) -> Option<InputType> {
        InputType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// Whether the value is of this type.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            InputType::Text => value.is_string(),
            InputType::Number => value.is_number(),
            InputType::Boolean => value.is_boolean(),
            InputType::Array => value.is_array(),
            InputType::Object => value.is_object(),
        }
    }

    /// The word with its article.
    pub fn with_article(self) -> &'static str {
        match self {
            InputType::Text => "a text",
            InputType::Number => "a number",
            InputType::Boolean => "a boolean",
            InputType::Array => "a JSON array",
            InputType::Object => "a JSON object",
        }
    }
}

/// One input as the definition declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: InputType,
    /// Whether it must be given; a default serves too.
    pub required: bool,
    /// What it is where it is not given.
    pub default: Option<Value>,
    /// For people.
    pub description: Option<String>,
    /// If not empty: what it may be.
    pub choices: Vec<Value>,
}

impl Input {
    /// Why the value cannot be this input.
    pub fn refuse(&self, value: &Value) -> Option<String> {
        self.refuse_as("input", value)
    }

    /// The same, where it is called something else: a form has fields.
    pub fn refuse_as(&self, what: &str, value: &Value) -> Option<String> {
        let name = &self.name;
        if !self.kind.fits(value) {
            return Some(format!(
                "{what} `{name}` must be {}, got {}",
                self.kind.with_article(),
                kind_of(value)
            ));
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| same(choice, value)) {
            let choices: Vec<_> = self.choices.iter().map(Value::to_string).collect();
            return Some(format!(
                "{what} `{name}` must be one of {}, got {}",
                choices.join(", "),
                excerpt(&value.to_string())
            ));
        }
        None
    }
}

/// What becomes of inputs that the workflow does not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownInputs {
    /// An error.
    Refuse,
    /// They are kept, as `{{ start.KEY }}`: the bare form of a webhook.
    Keep,
}

/// The inputs of a run: what was given, checked, and the defaults. Null counts as not given.
pub fn accept(
    declared: &[Input],
    mut given: Map<String, Value>,
    unknown: UnknownInputs,
) -> Result<Map<String, Value>, Error> {
    let pointer = |name: &str| format!("/inputs/{}", pointer_segment(name));
    let mut accepted = Map::new();
    for input in declared {
        let name = &input.name;
        match given.shift_remove(name).filter(|value| !value.is_null()) {
            Some(value) => {
                if let Some(why) = input.refuse(&value) {
                    return Err(Error::invalid(pointer(name), why));
                }
                accepted.insert(name.clone(), value);
            }
            None => match &input.default {
                Some(default) => {
                    accepted.insert(name.clone(), default.clone());
                }
                None if input.required => {
                    let message = format!(
                        "input `{name}` is required: expected {}, got nothing",
                        input.kind.with_article()
                    );
                    return Err(Error::invalid(pointer(name), message));
                }
                None => {}
            },
        }
    }
    match (unknown, given.keys().next()) {
        (UnknownInputs::Refuse, Some(name)) => {
            let hint = did_you_mean(name, declared.iter().map(|input| input.name.as_str()));
            let message = format!("unknown input `{}`{hint}", excerpt(name));
            Err(Error::invalid(pointer(name), message))
        }
        _ => {
            accepted.append(&mut given);
            Ok(accepted)
        }
    }
}
