//! A page of a list as text: a line a row, of JSON or of comma-separated values.
//!
//! The columns of the latter are the members of what is sent, as its schema has them, so that a page without rows has
//! the same head as any other. Must not know which list it is.

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::call::Reply;

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object, with its rows and the next cursor.
    Json,
    /// A row a line.
    JsonLines,
    /// A head, and a row a line.
    Csv,
}

/// The header that says where the next page begins, where the body has no place for it.
pub const NEXT_CURSOR: &str = "X-Next-Cursor";

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

impl Format {
    /// Each by the name it is asked for.
    pub const NAMES: [(&'static str, Format); 3] = [
        ("json", Format::Json),
        ("jsonl", Format::JsonLines),
        ("csv", Format::Csv),
    ];

    /// The media type.
    pub const fn media(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::JsonLines => "application/jsonl",
            Format::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// A page of lines; `next`: the cursor of the one after it.
pub fn lines<T: Serialize + JsonSchema>(format: Format, rows: &[T], next: Option<String>) -> Reply {
    let body = match format {
        Format::Json | Format::JsonLines => json_lines(rows),
        Format::Csv => csv(&columns::<T>(), rows),
    };
    let reply = Reply {
        status: 200,
        headers: vec![("Content-Type", format.media().to_owned())],
        body,
    };
    match next {
        Some(next) => reply.header(NEXT_CURSOR, next),
        None => reply,
    }
}

fn json_lines<T: Serialize>(rows: &[T]) -> Vec<u8> {
    let mut body = Vec::new();
    for row in rows {
        // Neither what is answered nor a `Vec` has a way to fail.
        drop(serde_json::to_writer(&mut body, row));
        body.push(b'\n');
    }
    body
}

/// The members that a row may have, in order.
fn columns<T: JsonSchema>() -> Vec<String> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let members = schema.get("properties").and_then(Value::as_object);
    members.map_or_else(Vec::new, |members| members.keys().cloned().collect())
}

fn csv<T: Serialize>(columns: &[String], rows: &[T]) -> Vec<u8> {
    let mut text = String::new();
    line(&mut text, columns.iter().map(|name| cell(name)));
    for row in rows {
        let members = match serde_json::to_value(row) {
            Ok(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let shown = columns.iter().map(|name| shown(members.get(name)));
        line(&mut text, shown);
    }
    text.into_bytes()
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&cell);
    }
    text.push_str("\r\n");
}

/// A member as a cell: nothing for null, a text as it is, anything else as compact JSON.
fn shown(member: Option<&Value>) -> String {
    match member {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => cell(text),
        Some(Value::Array(_) | Value::Object(_)) => {
            cell(&member.map_or_else(String::new, Value::to_string))
        }
        Some(Value::Bool(_) | Value::Number(_)) => {
            member.map_or_else(String::new, Value::to_string)
        }
    }
}

/// A text as a cell: not a formula, and in quotes where it holds what would end it (RFC 4180).
fn cell(text: &str) -> String {
    let guard = if text.starts_with(FORMULA) { "'" } else { "" };
    match text.contains([',', '"', '\r', '\n']) {
        false => format!("{guard}{text}"),
        true => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    struct Row<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'a str>,
        count: i64,
        more: Value,
    }

    fn row<'a>(name: &'a str, note: Option<&'a str>, more: Value) -> Row<'a> {
        Row {
            name,
            note,
            count: -1,
            more,
        }
    }

    fn text(reply: Reply) -> String {
        String::from_utf8(reply.body).expect("text")
    }

    #[test]
    fn a_page_of_values_has_a_head_and_one_line_a_row() {
        let rows = [
            row("plain", None, json!(null)),
            row("a \"b\", c", Some("two\nlines"), json!({"x": [1, "y"]})),
        ];
        assert_eq!(
            text(lines(Format::Csv, &rows, None)),
            "name,note,count,more\r\nplain,,-1,\r\n\
             \"a \"\"b\"\", c\",\"two\nlines\",-1,\"{\"\"x\"\":[1,\"\"y\"\"]}\"\r\n"
        );
        let none = lines::<Row<'_>>(Format::Csv, &[], None);
        assert_eq!(text(none), "name,note,count,more\r\n");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\r=x", "\"'\r=x\""),
            ("=\"a\"", "\"'=\"\"a\"\"\""),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }

    #[test]
    fn the_next_page_is_named_beside_the_lines() {
        let rows = [row("a", None, json!(1)), row("b", None, json!("x"))];
        let reply = lines(Format::JsonLines, &rows, Some("c2a".to_owned()));
        let header = |name: &str| {
            let found = reply.headers.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(header("Content-Type"), Some("application/jsonl"));
        assert_eq!(header(NEXT_CURSOR), Some("c2a"));
        assert_eq!(
            text(reply),
            "{\"name\":\"a\",\"count\":-1,\"more\":1}\n{\"name\":\"b\",\"count\":-1,\"more\":\"x\"}\n"
        );
        assert_eq!(lines(Format::JsonLines, &rows, None).headers.len(), 1);
    }
}
