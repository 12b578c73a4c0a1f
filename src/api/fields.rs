//! Reading the members of a body. Every refusal names the field, what was expected and what came.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::flow::names::kind_of;
use crate::flow::names::{excerpt, pointer_segment};

/// `NAME must be EXPECTED, got A NUMBER`, at `/NAME`.
pub fn wrong(name: &str, expected: &str, came: &Value) -> Error {
    let came = match came {
        Value::String(text) => format!("the text {:?}", excerpt(text)),
        Value::Number(number) => format!("the number {number}"),
        other => kind_of(other).to_owned(),
    };
    Error::invalid(
        pointer(name),
        format!("{name} must be {expected}, got {came}"),
    )
}

/// The JSON pointer to a member of the body.
pub fn pointer(name: &str) -> String {
    format!("/{}", pointer_segment(name))
}

/// The member, unless it is absent or null.
pub fn given<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// A text of at most `most` characters; absent and null are `None`.
pub fn text<'a>(body: &'a Map<String, Value>, name: &str, most: usize) -> Result<Option<&'a str>> {
    match given(body, name) {
        None => Ok(None),
        Some(Value::String(text)) => match text.chars().count() {
            length if length <= most => Ok(Some(text)),
            length => Err(Error::invalid(
                pointer(name),
                format!("{name} must have at most {most} characters, got {length}"),
            )),
        },
        Some(other) => Err(wrong(name, "a text", other)),
    }
}

/// One of these words; absent and null are `None`.
pub fn word<'a>(
    body: &'a Map<String, Value>,
    name: &str,
    words: &[&str],
) -> Result<Option<&'a str>> {
    match given(body, name) {
        None => Ok(None),
        Some(Value::String(text)) if words.contains(&text.as_str()) => Ok(Some(text)),
        Some(other) => Err(wrong(name, &format!("one of {}", words.join(", ")), other)),
    }
}

/// A whole number in that span; absent and null are `None`.
pub fn whole(body: &Map<String, Value>, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
    let Some(value) = given(body, name) else {
        return Ok(None);
    };
    match whole_number(value) {
        Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(wrong(
            name,
            &format!("a whole number from {least} to {most}"),
            value,
        )),
    }
}

/// A number without a fraction, however it is written: JSON does not tell `2` from `2.0` or `2e0`.
fn whole_number(value: &Value) -> Option<u64> {
    /// Above it, not every whole number can be told from its neighbours.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let written = value.as_f64().filter(|number| number.fract() == 0.0);
    let exact = written.filter(|number| (0.0..=EXACT).contains(number));
    value.as_u64().or(exact.map(|number| number as u64))
}

/// An error for a member that must be there.
pub fn missing(name: &str) -> Error {
    Error::invalid(pointer(name), format!("Missing required field: {name}"))
}

/// A list of 1 to `most` texts, each read by `read`; absent and null are `None`.
pub fn texts<T>(
    body: &Map<String, Value>,
    name: &str,
    most: usize,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>> {
    let items = match given(body, name) {
        None => return Ok(None),
        Some(Value::Array(items)) if (1..=most).contains(&items.len()) => items,
        Some(Value::Array(items)) => {
            let message = format!(
                "{name} must be a list of 1 to {most} texts, got {} items",
                items.len()
            );
            return Err(Error::invalid(pointer(name), message));
        }
        Some(other) => return Err(wrong(name, &format!("a list of 1 to {most} texts"), other)),
    };
    let mut read_items = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let found = match item {
            Value::String(text) => read(text),
            other => Err(format!("expected a text, got {}", kind_of(other))),
        };
        read_items.push(found.map_err(|why| {
            Error::invalid(
                format!("{}/{at}", pointer(name)),
                format!("{name}[{at}]: {why}"),
            )
        })?);
    }
    Ok(Some(read_items))
}

/// Checks the name of a deployment or variant: `[a-z0-9][a-z0-9._-]{0,63}`.
pub fn place_name(what: &str, name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = bytes.next().is_some_and(plain)
        && bytes.all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
        && name.len() <= 64;
    if fits {
        return Ok(());
    }
    Err(Error::invalid(
        pointer(what),
        format!(
            "the name of a {what} must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-', beginning with a letter \
             or digit, got {:?}",
            excerpt(name)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_refusal_names_field_expectation_and_what_came() {
        let body = body(json!({"a/b": 7, "w": "x", "n": 0, "l": ["a", 1], "none": []}));
        let error = text(&body, "a/b", 5).expect_err("not a text");
        assert_eq!(error.field.as_deref(), Some("/a~1b"));
        assert_eq!(error.message, "a/b must be a text, got the number 7");
        let error = word(&body, "w", &["y", "z"]).expect_err("no such word");
        assert_eq!(error.message, "w must be one of y, z, got the text \"x\"");
        let error = whole(&body, "n", 1, 9).expect_err("too small");
        assert_eq!(
            error.message,
            "n must be a whole number from 1 to 9, got the number 0"
        );
        let error = texts(&body, "l", 5, |text| Ok(text.to_owned())).expect_err("not all texts");
        assert_eq!(error.field.as_deref(), Some("/l/1"));
        for (value, read) in [
            (json!(2.0), Some(2)),
            (json!(2e0), Some(2)),
            (json!(2.5), None),
            (json!(-1.0), None),
            (json!(1e300), None),
        ] {
            assert_eq!(whole_number(&value), read, "{value}");
        }
        assert!(texts(&body, "none", 5, |_| Ok(())).is_err());
        assert_eq!(text(&body, "absent", 5).expect("absent is fine"), None);
    }

    #[test]
    fn places_have_one_form_of_name() {
        for good in ["a", "0", "prod", "a.b_c-d", &"x".repeat(64)] {
            assert!(place_name("variant", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(place_name("variant", bad).is_err(), "{bad}");
        }
    }
}
