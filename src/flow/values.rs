//! Values on their way into an expression and out of it, with the limits on what may come out.
//!
//! Keeps what the template crate would lose: the order of keys, and numbers exact to 64 bits.

use std::collections::HashMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Jinja, ValueKind};
use minijinja::{Error, ErrorKind};
use serde_json::{Map, Number, Value};

use crate::flow::names::kind_of;

/// The most bytes that one value may have, as JSON.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// How deep a computed value may nest: below what JSON readers accept.
pub const MAX_VALUE_DEPTH: usize = 100;

/// What the template crate complains of, as a sentence of ours.
pub fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "takes too many steps to compute".to_owned(),
        ErrorKind::UndefinedError => "a value that it needs does not exist".to_owned(),
        kind => match error.detail() {
            Some(detail) => detail.to_owned(),
            None => kind.to_string(),
        },
    }
}

/// The sentence for a value that is too large.
pub fn too_big() -> String {
    format!("the value is larger than {} KiB", MAX_VALUE_BYTES >> 10)
}

/// An object that keeps the order of its keys.
#[derive(Debug)]
struct Members {
    keys: Vec<Jinja>,
    values: HashMap<String, Jinja>,
}

impl Object for Members {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.values.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.keys.clone())
    }
}

/// A JSON value for the template crate.
pub fn to_jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(flag) => Jinja::from(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Jinja::from(number),
            (None, Some(number)) => Jinja::from(number),
            (None, None) => Jinja::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => Jinja::from(items.iter().map(to_jinja).collect::<Vec<_>>()),
        Value::Object(map) => Jinja::from_object(Members {
            keys: map.keys().map(|key| Jinja::from(key.as_str())).collect(),
            values: map
                .iter()
                .map(|(key, value)| (key.clone(), to_jinja(value)))
                .collect(),
        }),
    }
}

/// A computed value as JSON. `left` is how many bytes it may still have.
pub fn from_jinja(value: &Jinja, depth: usize, left: &mut usize) -> Result<Value, String> {
    let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
    spend(left, 1)?;
    match value.kind() {
        ValueKind::None => Ok(Value::Null),
        ValueKind::Bool => Ok(Value::Bool(value.is_true())),
        ValueKind::Number => number(value).map(Value::Number),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            spend(left, text.len())?;
            Ok(Value::from(text))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().map_err(|error| reason(&error))?;
            items
                .map(|item| from_jinja(&item, depth, left))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array)
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter().map_err(|error| reason(&error))? {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                spend(left, name.len())?;
                let member = value.get_item(&key).map_err(|error| reason(&error))?;
                map.insert(name, from_jinja(&member, depth, left)?);
            }
            Ok(Value::Object(map))
        }
        ValueKind::Undefined => Err("one of its elements does not exist".to_owned()),
        kind => Err(format!("a {kind} is not a value that JSON can hold")),
    }
}

fn number(value: &Jinja) -> Result<Number, String> {
    if value.is_integer() {
        if let Ok(whole) = i64::try_from(value.clone()) {
            return Ok(Number::from(whole));
        }
        if let Ok(whole) = u64::try_from(value.clone()) {
            return Ok(Number::from(whole));
        }
    }
    let float = f64::try_from(value.clone()).map_err(|error| reason(&error))?;
    Number::from_f64(float).ok_or_else(|| "the result is not a finite number".to_owned())
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), String> {
    *left = left.checked_sub(bytes).ok_or_else(too_big)?;
    Ok(())
}

fn too_deep() -> String {
    format!("the value nests deeper than {MAX_VALUE_DEPTH} levels")
}

/// Refuses a value that is larger or deeper than what may be rendered.
pub fn check_size(value: &Value) -> Result<(), String> {
    fn visit(value: &Value, depth: usize, left: &mut usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        spend(left, 1)?;
        match value {
            Value::String(text) => spend(left, text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| visit(item, depth, left)),
            Value::Object(map) => map.iter().try_for_each(|(key, value)| {
                spend(left, key.len())?;
                visit(value, depth, left)
            }),
            _ => Ok(()),
        }
    }
    visit(value, MAX_VALUE_DEPTH, &mut { MAX_VALUE_BYTES })
}

/// A value inside text: texts as they are, null as nothing, arrays and objects as compact JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The boolean, or a sentence that says what came instead.
pub fn as_boolean(value: &Value, what: &str) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        other => Err(format!(
            "{what} must be true or false, got {}; compare it with something (`!= none`, `| length > 0`)",
            kind_of(other)
        )),
    }
}
