//! What was measured, as a table for people or as JSON.

use std::fmt::Display;

use serde_json::{Value, json};

use skep::bench::stats::Times;

/// One line of the report.
#[derive(Debug)]
struct Row {
    part: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    claim: Option<(String, bool)>,
}

/// The lines so far, and the parts that could not be measured.
#[derive(Debug)]
pub struct Report {
    quick: bool,
    rows: Vec<Row>,
    failed: Vec<(String, String)>,
}

impl Report {
    /// An empty one.
    pub fn new(quick: bool) -> Report {
        Report {
            quick,
            rows: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// A figure for reference.
    pub fn note(&mut self, part: &'static str, what: impl Display, value: f64, unit: &'static str) {
        self.rows.push(Row {
            part,
            what: what.to_string(),
            value,
            unit,
            claim: None,
        });
    }

    /// p50 and p99 of times.
    pub fn times(&mut self, part: &'static str, what: impl Display, times: &Times) {
        self.note(part, format!("{what}, p50"), times.p50(), "ms");
        self.note(part, format!("{what}, p99"), times.p99(), "ms");
    }

    /// A figure that something is claimed of.
    pub fn claim(
        &mut self,
        part: &'static str,
        what: impl Display,
        (value, unit): (f64, &'static str),
        claim: impl Display,
        holds: bool,
    ) {
        let claim = Some((claim.to_string(), holds));
        self.rows.push(Row {
            part,
            what: what.to_string(),
            value,
            unit,
            claim,
        });
    }

    /// A part that could not be measured.
    pub fn failed(&mut self, part: &str, why: &dyn Display) {
        self.failed.push((part.to_owned(), why.to_string()));
    }

    /// For people.
    pub fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.what.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        let mut part = "";
        for row in self.by_part() {
            if row.part != part {
                part = row.part;
                text.push_str(&format!("\n{part}\n"));
            }
            let claim = row.claim.as_ref().map(|(claim, holds)| {
                format!(
                    "  {claim}: {}",
                    if *holds { "holds" } else { "DOES NOT HOLD" }
                )
            });
            let line = format!(
                "  {:width$} {:>11} {:3}{}",
                row.what,
                number(row.value),
                row.unit,
                claim.unwrap_or_default()
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for (part, why) in &self.failed {
            text.push_str(&format!("\n{part}: not measured: {why}\n"));
        }
        text.push_str(&format!("\n{}", self.summary()));
        text
    }

    /// The rows of a part together, parts in the order in which they began.
    fn by_part(&self) -> impl Iterator<Item = &Row> {
        let mut parts: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !parts.contains(&row.part) {
                parts.push(row.part);
            }
        }
        parts
            .into_iter()
            .flat_map(|part| self.rows.iter().filter(move |row| row.part == part))
    }

    fn summary(&self) -> String {
        let claims: Vec<bool> = self
            .rows
            .iter()
            .filter_map(|row| row.claim.as_ref())
            .map(|(_, holds)| *holds)
            .collect();
        let held = claims.iter().filter(|holds| **holds).count();
        let quick = if self.quick {
            " (quick: not for a record)"
        } else {
            ""
        };
        format!("{held} of {} claims hold{quick}", claims.len())
    }

    /// For machines.
    pub fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "part": row.part,
                    "what": row.what,
                    "value": row.value,
                    "unit": row.unit,
                    "claim": row.claim.as_ref().map(|(claim, _)| claim),
                    "holds": row.claim.as_ref().map(|(_, holds)| holds),
                })
            })
            .collect();
        let failed: Vec<Value> = self
            .failed
            .iter()
            .map(|(part, why)| json!({"part": part, "why": why}))
            .collect();
        json!({"quick": self.quick, "figures": rows, "not_measured": failed}).to_string()
    }
}

fn number(value: f64) -> String {
    let digits = if value.fract() == 0.0 || value >= 1000.0 {
        0
    } else {
        3
    };
    format!("{value:.digits$}")
}
