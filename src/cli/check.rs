//! `skep check`: whether the database is sound, and what is stuck in it. Changes nothing.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::progress::{Onlooker, size};
use crate::cli::screen::{Screen, clean, for_people};
use crate::cli::{Done, Failure, settings};
use crate::store::check::{self, Finding};
use crate::time::Clock;

const AFTER: &str = "\
Reads the whole file, beside a running server or a stopped one, and changes nothing. Exit codes: 0 sound, whatever is \
stuck; 1 not sound, or not readable.";

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Check that the database is sound, and list what is stuck")
        .after_help(AFTER)
        .arg(settings::data_arg())
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let data = settings::data(matches)?;
    let (onlooker, watch) = Onlooker::start(screen)?;
    let checked = check::check(&data, Clock::System.now(), &watch);
    let took = onlooker.end().as_millis() as u64;
    let checked = checked.map_err(|error| Failure::new(error.message))?;
    let is_sound = checked.problems.is_empty();
    if screen.json {
        screen.value(&json!({
            "data": data,
            "sound": is_sound,
            "problems": checked.problems.iter().map(to_json).collect::<Vec<_>>(),
            "stuck": checked.stuck.iter().map(to_json).collect::<Vec<_>>(),
            "runs": checked.runs,
            "deliveries": checked.deliveries,
            "bytes": checked.bytes.0,
            "free_bytes": checked.bytes.1,
            "duration_ms": took,
        }))?;
    } else {
        for finding in checked.problems.iter().chain(&checked.stuck) {
            screen.line(&lines(finding))?;
        }
        let (all, free) = checked.bytes;
        screen.fields(&[
            ("runs", counts(&checked.runs)),
            ("deliveries", counts(&checked.deliveries)),
            (
                "size",
                format!("{}, of which {} free", size(all), size(free)),
            ),
            ("took", for_people(took)),
            ("sound", if is_sound { "yes" } else { "no" }.to_owned()),
        ])?;
    }
    match is_sound {
        true => Ok(()),
        false => Err(Failure::new(format!("{} is not sound", data.display()))),
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule,
        "message": finding.what,
        "count": finding.count,
        "ids": finding.ids,
        "advice": finding.advice,
    })
}

/// `12 runs …: a, b, … and 2 more`, and what to do.
fn lines(finding: &Finding) -> String {
    let more = match finding.count - finding.ids.len() as u64 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let ids: Vec<String> = finding.ids.iter().map(|id| clean(id)).collect();
    format!(
        "{}: {}: {}{more}\n    {}",
        finding.count,
        finding.what,
        ids.join(", "),
        finding.advice
    )
}

fn counts(by_status: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = by_status
        .iter()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.join(", "),
    }
}
