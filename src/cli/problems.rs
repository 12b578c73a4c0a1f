//! A definition's problems as a compiler shows them: the place, the line, a caret.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;

use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::screen::clean;
use crate::flow::source::Format;
use crate::flow::workflow::Problem;

/// More than any server accepts; what is over it is not a definition.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// A line longer than this is shown without its text.
const LINE_MAX: usize = 400;

/// A definition as it lies on disk.
pub(super) struct Definition {
    /// As it was named.
    pub(super) file: String,
    /// Its content.
    pub(super) text: String,
    /// By the file's extension.
    pub(super) format: Format,
}

/// One problem; line and column count from 1, 0 where unknown.
#[derive(Debug)]
pub(super) struct Spot {
    line: u64,
    column: u64,
    field: String,
    message: String,
}

impl From<&Problem> for Spot {
    fn from(problem: &Problem) -> Spot {
        Spot {
            line: problem.line as u64,
            column: problem.column as u64,
            field: problem.field.clone(),
            message: problem.message.clone(),
        }
    }
}

impl Spot {
    /// A row of `errors`, or an error answer as a whole, which has the same members.
    fn of(row: &Value) -> Spot {
        let number = |name: &str| row[name].as_u64().unwrap_or(0);
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        Spot {
            line: number("line"),
            column: number("column"),
            field: text("field"),
            message: text("message"),
        }
    }

    fn to_json(&self) -> Value {
        json!({"line": self.line, "column": self.column, "field": self.field, "message": self.message})
    }
}

/// Reads a definition: JSON if its name ends so, else YAML.
pub(super) fn read(file: &str) -> Result<Definition, Failure> {
    let bad = |reason: String| Failure::new(format!("cannot read {file}: {reason}"));
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(FILE_MAX + 1).read_to_string(&mut text))
        .map_err(|fault| bad(fault.to_string()))?;
    if text.len() as u64 > FILE_MAX {
        return Err(bad(
            "it is over 64 MiB, too large for a definition".to_owned()
        ));
    }
    let is_json = file
        .rsplit_once('.')
        .is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("json"));
    let format = if is_json { Format::Json } else { Format::Yaml };
    Ok(Definition {
        file: file.to_owned(),
        text,
        format,
    })
}

/// The failure that shows `spots`; `outcome` is what came of it ("nothing was deployed").
pub(super) fn failure(
    definition: &Definition,
    spots: &[Spot],
    code: &str,
    outcome: &str,
) -> Failure {
    let count = match spots.len() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    let details = vec![
        ("error_code".to_owned(), code.into()),
        (
            "errors".to_owned(),
            spots.iter().map(Spot::to_json).collect(),
        ),
    ];
    Failure {
        excerpt: spots.iter().map(|spot| render(definition, spot)).collect(),
        details,
        ..Failure::new(format!("{} has {count}: {outcome}", definition.file))
    }
}

/// The problems that a server's refusal speaks of; none, if it is about something else.
pub(super) fn in_refusal(body: &Value) -> Vec<Spot> {
    match (&body["errors"], body["error_code"].as_str()) {
        (Value::Array(rows), _) => rows.iter().map(Spot::of).collect(),
        (_, Some("malformed_body" | "invalid_definition")) => vec![Spot::of(body)],
        _ => Vec::new(),
    }
}

fn render(definition: &Definition, spot: &Spot) -> String {
    let mut out = format!("error: {}\n", clean(&spot.message));
    let wide = spot.line.to_string().len();
    let file = &definition.file;
    let place = match (spot.line, spot.column) {
        (0, _) => file.clone(),
        (line, 0) => format!("{file}:{line}"),
        (line, column) => format!("{file}:{line}:{column}"),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:wide$}--> {place}", "");
    let line = spot
        .line
        .checked_sub(1)
        .and_then(|at| definition.text.lines().nth(at as usize));
    if let Some(line) = line.filter(|line| line.chars().count() <= LINE_MAX) {
        // Cleaned, a tab is one column wide, so the caret needs no tabs of its own.
        let _ = writeln!(out, "{:wide$} |\n{} | {}", "", spot.line, clean(line));
        let indent = (spot.column.max(1) - 1).min(LINE_MAX as u64) as usize;
        let _ = writeln!(out, "{:wide$} | {:indent$}^", "", "");
    }
    if !spot.field.is_empty() {
        let _ = writeln!(out, "{:wide$} = at {}", "", clean(&spot.field));
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        let text = "name: x\nsteps:\n  - id: a\n    htp: {}\n".to_owned();
        Definition {
            file: "flow.yaml".to_owned(),
            text,
            format: Format::Yaml,
        }
    }

    #[test]
    fn a_problem_shows_its_place_its_line_and_a_caret() {
        let row =
            json!({"line": 4, "column": 5, "field": "/steps/0/htp", "message": "unknown key htp"});
        assert_eq!(
            render(&definition(), &Spot::of(&row)),
            "error: unknown key htp\n --> flow.yaml:4:5\n  |\n4 |     htp: {}\n  |     ^\n  = at /steps/0/htp\n\n"
        );
    }

    #[test]
    fn a_place_outside_the_file_shows_no_line() {
        for (line, place) in [(0, "flow.yaml"), (99, "flow.yaml:99:7")] {
            let row = json!({"line": line, "column": 7, "message": "m"});
            let wide = line.to_string().len();
            let expected = format!("error: m\n{:wide$}--> {place}\n\n", "");
            assert_eq!(render(&definition(), &Spot::of(&row)), expected);
        }
    }

    #[test]
    fn a_refusal_has_a_list_of_problems_or_is_one() {
        let listed =
            json!({"error_code": "invalid_definition", "errors": [{"line": 1}, {"line": 2}]});
        let single =
            json!({"error_code": "malformed_body", "message": "m", "line": 3, "column": 1});
        let other = json!({"error_code": "validation_error", "message": "m"});
        let found = [listed, single, other].map(|body| in_refusal(&body).len());
        assert_eq!(found, [2, 1, 0]);
        let failure = failure(
            &definition(),
            &in_refusal(&json!({"errors": [{}]})),
            "c",
            "nothing was deployed",
        );
        assert_eq!(
            failure.message,
            "flow.yaml has 1 error: nothing was deployed"
        );
    }
}
