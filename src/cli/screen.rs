//! What appears on standard output: JSON for machines, lines and tables for people.
//!
//! Text from elsewhere is cleaned, so that no stored value can steer a terminal.

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::Value;

use crate::cli::{Done, Failure};
use crate::time::Timestamp;

/// Where a verb's result goes.
#[derive(Debug)]
pub(super) struct Screen {
    /// Whether machines read it.
    pub(super) json: bool,
}

/// A column of a table: its head, and how a row's cell is found.
pub(super) type Column = (&'static str, fn(&Value) -> String);

impl Screen {
    /// The text and a line end.
    pub(super) fn line(&self, text: &str) -> Done {
        let mut out = std::io::stdout().lock();
        let written = out
            .write_all(text.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush());
        written.map_err(|fault| match fault.kind() {
            ErrorKind::BrokenPipe => Failure::reader_left(),
            _ => Failure::new(format!("cannot write to standard output: {fault}")),
        })
    }

    /// A value for machines.
    pub(super) fn value(&self, value: &Value) -> Done {
        self.line(&harmless_json(&format!("{value:#}")))
    }

    /// An answer for machines, or what it comes to in words.
    pub(super) fn told(&self, answer: &Value, words: &str) -> Done {
        match self.json {
            true => self.value(answer),
            false => self.line(words),
        }
    }

    /// A value for people: text, anything else as JSON. Text goes into a file or a pipe as it is, and cleaned to a
    /// terminal.
    pub(super) fn output(&self, value: &Value) -> Done {
        match value {
            Value::String(text) if std::io::stdout().is_terminal() => self.line(&clean_lines(text)),
            Value::String(text) => self.line(text),
            other => self.value(other),
        }
    }

    /// Names and values, one a line; empty values are left out.
    pub(super) fn fields(&self, fields: &[(&str, String)]) -> Done {
        let shown: Vec<_> = fields
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines: Vec<_> = shown
            .iter()
            .map(|(name, value)| format!("{name:width$}  {}", clean(value)))
            .collect();
        self.line(&lines.join("\n"))
    }

    /// Rows under a head; nothing but a remark when there are none.
    pub(super) fn table(&self, columns: &[Column], rows: &[Value]) -> Done {
        match rows {
            [] => self.line("none"),
            rows => self.line(&table(columns, rows)),
        }
    }
}

fn table(columns: &[Column], rows: &[Value]) -> String {
    let head: Vec<String> = columns
        .iter()
        .map(|(title, _)| (*title).to_owned())
        .collect();
    let cells = rows
        .iter()
        .map(|row| columns.iter().map(|(_, cell)| clean(&cell(row))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |at: usize| {
        lines
            .iter()
            .map(|line| line[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let padded = lines.iter().map(|line| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    padded.collect::<Vec<_>>().join("\n")
}

/// Whether a character steers a terminal, or makes it show text in another order than it stands: the controls, C1
/// included, and the marks of Unicode's bidirectional algorithm.
pub(super) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text as one line without characters that steer; line ends become spaces.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if steers(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}

/// The same for text of many lines, which it keeps.
fn clean_lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.split('\t').map(clean).collect::<Vec<_>>().join("\t")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A JSON text that means the same, with `\u00xx` for what steers.
pub(super) fn harmless_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Line ends stand between members only: within a text they are escaped already.
        if steers(c) && c != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// A member as a person reads it: text bare, null and absent as nothing, an error object by its message.
pub(super) fn cell(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => items
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(","),
        Value::Object(members) => match members.get("message").and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => row[name].to_string(),
        },
        other => other.to_string(),
    }
}

/// How many: a number as it is, a list by its length.
pub(super) fn count(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Array(items) => items.len().to_string(),
        _ => cell(row, name),
    }
}

/// `DEPLOYMENT/VARIANT vN`.
pub(super) fn place(row: &Value) -> String {
    let version = match &row["version"] {
        Value::Null => String::new(),
        version => format!(" v{version}"),
    };
    match (cell(row, "deployment"), cell(row, "variant")) {
        (deployment, variant) if variant.is_empty() => deployment + &version,
        (deployment, variant) => format!("{deployment}/{variant}{version}"),
    }
}

/// The time from `started_at` to `ended_at`; nothing while it is open.
pub(super) fn took(row: &Value) -> String {
    let at = |name: &str| row[name].as_str().and_then(Timestamp::parse);
    match (at("started_at"), at("ended_at")) {
        (Some(started), Some(ended)) => for_people(ended.since(started).as_millis() as u64),
        _ => String::new(),
    }
}

/// Milliseconds as `12ms`, `3.4s`, `5m06s` or `2h03m`.
pub(super) fn for_people(ms: u64) -> String {
    let seconds = ms / 1_000;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns: [Column; 2] = [
            ("NAME", |row| cell(row, "name")),
            ("STATUS", |row| cell(row, "status")),
        ];
        let rows = [
            json!({"name": "größer", "status": "ok"}),
            json!({"name": "a", "status": null}),
        ];
        assert_eq!(table(&columns, &rows), "NAME    STATUS\ngrößer  ok\na");
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        assert_eq!(
            clean("a\x1b[31mred\r\nb\u{9b}1m"),
            "a\u{fffd}[31mred  b\u{fffd}1m"
        );
        for c in "\u{7f}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
            assert_eq!(clean(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(clean("größer 蜂 👩\u{200d}🚀"), "größer 蜂 👩\u{200d}🚀");
    }

    #[test]
    fn an_output_keeps_its_lines_but_steers_nothing() {
        assert_eq!(
            clean_lines("a\tb\r\n\n\x1b[2Jc\rd\u{202e}\n"),
            "a\tb\n\n\u{fffd}[2Jc d\u{fffd}\n"
        );
    }

    #[test]
    fn json_escapes_what_steers_and_means_the_same() {
        let value = json!({"a\u{9b}": ["\x1b\u{7f}\u{85}\n", "\u{202e}é\u{2069}"]});
        let shown = harmless_json(&format!("{value:#}"));
        assert!(!shown.chars().any(|c| steers(c) && c != '\n'), "{shown}");
        assert!(
            shown.contains("\\u009b") && shown.contains("\\u202eé"),
            "{shown}"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&shown).expect("still JSON"),
            value
        );
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (3_450, "3.4s"),
            (306_000, "5m06s"),
            (7_380_000, "2h03m"),
        ] {
            assert_eq!(for_people(ms), text);
        }
        let row = json!({"started_at": "2026-01-01T00:00:00.000Z", "ended_at": "2026-01-01T00:00:01.500Z"});
        assert_eq!(
            (took(&row), took(&json!({}))),
            ("1.5s".to_owned(), String::new())
        );
    }
}
