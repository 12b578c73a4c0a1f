//! What every bench of several parts shares: its command line, the disk measured around each part, its record.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::disk;
use crate::report::Report;
use crate::results::record;
use skep::bench::{Result, fault};

/// What was asked for.
#[derive(Debug, Default)]
pub struct Asked {
    /// A small size of everything: for a look at the bench itself, not for a record.
    pub quick: bool,
    /// Where the programs of others are, by name.
    pub with: BTreeMap<String, PathBuf>,
    /// How many runs a file shall hold, where a bench lets one choose.
    pub runs: Option<usize>,
    json: bool,
    record: bool,
    clean: bool,
    only: Vec<String>,
}

impl Asked {
    /// `full`, or `quick` in a quick run.
    pub fn of<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// A part: its name, and what measures it.
pub type Part = (&'static str, fn(&Asked, &mut Report) -> Result<()>);

fn asked(words: impl Iterator<Item = String>, parts: &[Part]) -> Result<Asked> {
    let mut words = words;
    let mut asked = Asked::default();
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => asked.quick = true,
            "--json" => asked.json = true,
            "--record" => asked.record = true,
            "--clean" => asked.clean = true,
            // Cargo's own, to every bench.
            "--bench" => {}
            "--only" => {
                let part = words.next().unwrap_or_default();
                if !names.contains(&part.as_str()) {
                    return Err(fault(format!(
                        "--only: there is no part {part:?}; there are {}",
                        names.join(", ")
                    )));
                }
                asked.only.push(part);
            }
            "--runs" => {
                let count = words.next().unwrap_or_default();
                let count = count
                    .parse()
                    .map_err(|_| fault(format!("--runs: expected a number, got {count:?}")))?;
                asked.runs = Some(count);
            }
            "--with" => {
                let pair = words.next().unwrap_or_default();
                let Some((name, path)) = pair.split_once('=') else {
                    return Err(fault(format!("--with: expected NAME=PATH, got {pair:?}")));
                };
                asked.with.insert(name.to_owned(), path.into());
            }
            _ => {
                return Err(fault(format!(
                    "unknown: {word:?}\nusage: [--quick] [--json] [--record] [--clean] [--runs N] \
                     [--only {}]...",
                    names.join("|")
                )));
            }
        }
    }
    if asked.quick && asked.record {
        return Err(fault("--record: a quick run is not for the record"));
    }
    Ok(asked)
}

/// Runs what the command line asks for. Exits 0 whether or not a claim holds: it reports, it does not judge.
pub fn run(bench: &str, parts: &[Part], clean: fn() -> Result<()>) -> ExitCode {
    let asked = match asked(std::env::args().skip(1), parts) {
        Ok(asked) => asked,
        Err(why) => {
            drop(writeln!(io::stderr(), "{why}"));
            return ExitCode::from(2);
        }
    };
    match measure(bench, parts, &asked).and_then(|()| if asked.clean { clean() } else { Ok(()) }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            drop(writeln!(io::stderr(), "{why}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(bench: &str, parts: &[Part], asked: &Asked) -> Result<()> {
    // `--clean` alone only cleans.
    if asked.clean && asked.only.is_empty() && !asked.quick && !asked.record {
        return Ok(());
    }
    let mut found = Vec::new();
    for (name, part) in parts {
        if !asked.only.is_empty() && !asked.only.iter().any(|only| only == name) {
            continue;
        }
        progress(&format!("measuring {name}"));
        let mut report = Report::new(asked.quick);
        let before = disk::measure("before", &mut report);
        if let Err(why) = part(asked, &mut report) {
            report.failed(name, &why);
        }
        let after = disk::measure("after", &mut report);
        disk::judge(&[before, after], &mut report);
        if asked.record {
            let words = asked
                .runs
                .map_or(String::new(), |runs| format!(" --runs {runs}"));
            record(bench, &words, name, &report.table())?;
        }
        if asked.json {
            let figures: Value = serde_json::from_str(&report.json())?;
            found.push(json!({"part": name, "report": figures}));
        } else {
            writeln!(io::stdout(), "== {name}\n{}\n", report.table())?;
        }
    }
    if asked.json {
        writeln!(io::stdout(), "{}", json!({"bench": bench, "parts": found}))?;
    }
    Ok(())
}

/// A line on what is being done, for who waits.
pub fn progress(text: &str) {
    drop(writeln!(io::stderr(), "{text} …"));
}
