//! Conditions: what `condition` and `if` may say, and whether it holds.
//!
//! Owns the operators. A missing path is "not there" for `exists` and `is_empty`, and a failure for all others.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::flow::expr::{Expr, Fault, SecretMark, Template};

use crate::flow::names::kind_of;
use crate::flow::scope::Scope;
use crate::flow::values::as_boolean;

/// Something that is true or false.
#[derive(Debug, Clone)]
pub enum Test {
    /// Written out.
    Literal(bool),
    /// A bare expression; its value must be a boolean.
    Bare(Expr),
    /// One comparison; `right` is null where the operator takes none.
    Compare {
        /// What is judged.
        left: Template,
        /// How.
        op: Op,
        /// What it is judged by.
        right: Template,
    },
    /// Holds if every one does; stops at the first that does not.
    All(Vec<Test>),
    /// Holds if one does; stops at the first that does.
    Any(Vec<Test>),
    /// Holds if the other does not.
    Not(Box<Test>),
}

/// An operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Same type and value.
    Equals,
    /// Not that.
    DoesNotEqual,
    /// Numbers or texts.
    Greater,
    /// Numbers or texts.
    GreaterOrEqual,
    /// Numbers or texts.
    Less,
    /// Numbers or texts.
    LessOrEqual,
    /// A text in a text, an element in an array, a key in an object.
    Contains,
    /// Texts.
    StartsWith,
    /// Texts.
    EndsWith,
    /// An element of the array on the right.
    IsOneOf,
    /// There, and not null.
    Exists,
    /// Missing, null, or of no length.
    IsEmpty,
}

impl Op {
    /// Every operator, in the order of the contract.
    pub const ALL: [Op; 12] = [
        Op::Equals,
        Op::DoesNotEqual,
        Op::Greater,
        Op::GreaterOrEqual,
        Op::Less,
        Op::LessOrEqual,
        Op::Contains,
        Op::StartsWith,
        Op::EndsWith,
        Op::IsOneOf,
        Op::Exists,
        Op::IsEmpty,
    ];

    /// As written in a definition.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Equals => "equals",
            Op::DoesNotEqual => "does_not_equal",
            Op::Greater => ">",
            Op::GreaterOrEqual => ">=",
            Op::Less => "<",
            Op::LessOrEqual => "<=",
            Op::Contains => "contains",
            Op::StartsWith => "starts_with",
            Op::EndsWith => "ends_with",
            Op::IsOneOf => "is_one_of",
            Op::Exists => "exists",
            Op::IsEmpty => "is_empty",
        }
    }

    /// The operator of that name.
    pub fn parse(word: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| op.as_str() == word)
    }

    /// Whether something stands on its right.
    pub fn takes_right(self) -> bool {
        !matches!(self, Op::Exists | Op::IsEmpty)
    }
}

impl Test {
    /// Whether it holds, and what was compared, as far as it was looked at.
    pub fn eval(&self, scope: &Scope<'_>, mark: &SecretMark) -> Result<(bool, Value), Fault> {
        match self {
            Test::Literal(flag) => Ok((*flag, Value::Bool(*flag))),
            Test::Bare(expr) => {
                let value = expr.eval(scope)?;
                let holds =
                    as_boolean(&value, &format!("`{}`", expr.source())).map_err(Fault::Other)?;
                Ok((holds, Value::from(expr.source())))
            }
            Test::Compare { left, op, right } => compare(left, *op, right, scope, mark),
            Test::All(tests) => group("all", tests, false, scope, mark),
            Test::Any(tests) => group("any", tests, true, scope, mark),
            Test::Not(test) => {
                let (holds, shown) = test.eval(scope, mark)?;
                Ok((!holds, json!({ "not": shown })))
            }
        }
    }

    /// Calls `see` with every template in it.
    pub fn templates<'t>(&'t self, see: &mut dyn FnMut(&'t Template)) {
        match self {
            Test::Literal(_) | Test::Bare(_) => {}
            Test::Compare { left, right, .. } => {
                see(left);
                see(right);
            }
            Test::All(tests) | Test::Any(tests) => {
                tests.iter().for_each(|test| test.templates(see))
            }
            Test::Not(test) => test.templates(see),
        }
    }
}

/// Looks at the tests in order until one gives `stop`.
fn group(
    name: &str,
    tests: &[Test],
    stop: bool,
    scope: &Scope<'_>,
    mark: &SecretMark,
) -> Result<(bool, Value), Fault> {
    let mut seen = Vec::new();
    let mut holds = !stop;
    for test in tests {
        let (one, shown) = test.eval(scope, mark)?;
        seen.push(shown);
        if one == stop {
            holds = stop;
            break;
        }
    }
    let mut shown = Map::new();
    shown.insert(name.to_owned(), Value::Array(seen));
    Ok((holds, Value::Object(shown)))
}

fn compare(
    left: &Template,
    op: Op,
    right: &Template,
    scope: &Scope<'_>,
    mark: &SecretMark,
) -> Result<(bool, Value), Fault> {
    let left = match left.render(scope, mark) {
        Err(Fault::Missing(_)) if !op.takes_right() => Value::Null,
        other => other?,
    };
    if !op.takes_right() {
        let holds = match op {
            Op::Exists => !left.is_null(),
            _ => is_empty(&left),
        };
        return Ok((holds, json!({ "left": left, "op": op.as_str() })));
    }
    let right = right.render(scope, mark)?;
    let holds = judge(&left, op, &right).map_err(Fault::Other)?;
    Ok((
        holds,
        json!({ "left": left, "op": op.as_str(), "right": right }),
    ))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether the comparison holds; the error says which types do not go together.
fn judge(left: &Value, op: Op, right: &Value) -> Result<bool, String> {
    match op {
        Op::Equals => Ok(same(left, right)),
        Op::DoesNotEqual => Ok(!same(left, right)),
        Op::Greater => order(left, op, right).map(Ordering::is_gt),
        Op::GreaterOrEqual => order(left, op, right).map(Ordering::is_ge),
        Op::Less => order(left, op, right).map(Ordering::is_lt),
        Op::LessOrEqual => order(left, op, right).map(Ordering::is_le),
        Op::Contains => contains(left, right),
        Op::StartsWith | Op::EndsWith => match (left, right) {
            (Value::String(left), Value::String(right)) if op == Op::StartsWith => {
                Ok(left.starts_with(right.as_str()))
            }
            (Value::String(left), Value::String(right)) => Ok(left.ends_with(right.as_str())),
            _ => Err(needs(op, "two texts", left, right)),
        },
        Op::IsOneOf => match right {
            Value::Array(items) => Ok(items.iter().any(|item| same(left, item))),
            _ => Err(format!(
                "`is_one_of` needs an array on the right, got {}",
                kind_of(right)
            )),
        },
        Op::Exists => Ok(!left.is_null()),
        Op::IsEmpty => Ok(is_empty(left)),
    }
}

fn needs(op: Op, what: &str, left: &Value, right: &Value) -> String {
    format!(
        "`{}` needs {what}, got {} and {}",
        op.as_str(),
        kind_of(left),
        kind_of(right)
    )
}

fn contains(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        (Value::Array(items), wanted) => Ok(items.iter().any(|item| same(item, wanted))),
        (Value::Object(map), Value::String(key)) => Ok(map.contains_key(key)),
        (Value::String(_) | Value::Object(_), _) => Err(format!(
            "`contains` needs a text on the right of {}, got {}",
            kind_of(left),
            kind_of(right)
        )),
        _ => Err(format!(
            "`contains` needs a text, an array or an object on the left, got {}",
            kind_of(left)
        )),
    }
}

fn order(left: &Value, op: Op, right: &Value) -> Result<Ordering, String> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            Ok(order_numbers(left, right).unwrap_or(Ordering::Equal))
        }
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        _ => Err(needs(op, "two numbers or two texts", left, right)),
    }
}

fn order_numbers(left: &serde_json::Number, right: &serde_json::Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Same type and value; 1 and 1.0 are the same number; the order of keys does not matter.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            order_numbers(left, right) == Some(Ordering::Equal)
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}
