//! `skep backup FILE`: a checked copy of the database, taken beside a running server.

use std::path::Path;

use clap::{ArgMatches, Command};
use serde_json::json;

use crate::cli::progress::{Onlooker, size};
use crate::cli::screen::{Screen, for_people};
use crate::cli::{Done, Failure, positional, required, settings};
use crate::store::backup;

const AFTER: &str = "\
The copy is of one moment: everything that was answered before the command began is in it. The server goes on \
meanwhile, but its -wal cannot be emptied, so it grows by what is written; if it grows by more than the file's own \
size (at least 1 GiB), the backup gives up. FILE gets its name only after the copy was checked.";

pub(super) fn command() -> Command {
    Command::new("backup")
        .about("Copy the database to a new file, beside a running server")
        .after_help(AFTER)
        .arg(positional("file", "FILE", "The copy; must not exist"))
        .arg(settings::data_arg())
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let (file, data) = (required(matches, "file"), settings::data(matches)?);
    let (onlooker, watch) = Onlooker::start(screen)?;
    let made = backup::backup(&data, Path::new(file), &watch);
    let took = onlooker.end().as_millis() as u64;
    let made =
        made.map_err(|error| Failure::new(format!("no backup was made: {}", error.message)))?;
    if screen.json {
        return screen.value(&json!({
            "file": file,
            "bytes": made.bytes,
            "runs": made.facts.runs,
            "latest_change": made.facts.latest,
            "wal_growth_bytes": made.log_grew,
            "duration_ms": took,
        }));
    }
    screen.fields(&[
        ("backup", file.to_owned()),
        ("size", size(made.bytes)),
        ("runs", made.facts.runs.to_string()),
        (
            "latest change",
            made.facts
                .latest
                .map(|at| at.to_string())
                .unwrap_or_default(),
        ),
        ("wal grew by", size(made.log_grew)),
        ("took", for_people(took)),
    ])
}
