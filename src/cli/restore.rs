//! `skep restore FILE`: puts a backup in the database's place, while its server is stopped.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::cli::progress::{Onlooker, size};
use crate::cli::screen::{Screen, for_people};
use crate::cli::{Done, Failure, positional, required, settings};
use crate::store::restore;
use crate::time::Clock;

const AFTER: &str = "\
FILE is copied and checked before anything is touched, and stays. The database that lay there is kept beside the new \
one as DATA.before-restore-TIME. What was delivered after the backup is delivered again, and steps done since are done \
again: look first, with `skep serve --workers 0 --senders 0`.";

pub(super) fn command() -> Command {
    let force = Arg::new("force")
        .long("force")
        .action(ArgAction::SetTrue)
        .help("Also over a database that is newer, or cannot be judged; it is kept beside");
    Command::new("restore")
        .about("Put a backup in the database's place, while the server is stopped")
        .after_help(AFTER)
        .arg(positional("file", "FILE", "The backup"))
        .arg(settings::data_arg())
        .arg(force)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let (file, data) = (required(matches, "file"), settings::data(matches)?);
    let (onlooker, watch) = Onlooker::start(screen)?;
    let now = Clock::System.now();
    let made = restore::restore(
        Path::new(file),
        &data,
        matches.get_flag("force"),
        now,
        &watch,
    );
    let took = onlooker.end().as_millis() as u64;
    let made =
        made.map_err(|error| Failure::new(format!("nothing was restored: {}", error.message)))?;
    let next = format!(
        "skep serve --data {} --workers 0 --senders 0",
        data.display()
    );
    let kept = made.kept.as_ref().map(|path| path.display().to_string());
    if screen.json {
        return screen.value(&json!({
            "file": file,
            "data": data,
            "bytes": made.bytes,
            "runs": made.facts.runs,
            "latest_change": made.facts.latest,
            "kept": kept,
            "duration_ms": took,
            "next": next,
        }));
    }
    screen.fields(&[
        ("restored", data.display().to_string()),
        ("size", size(made.bytes)),
        ("runs", made.facts.runs.to_string()),
        (
            "latest change",
            made.facts
                .latest
                .map(|at| at.to_string())
                .unwrap_or_default(),
        ),
        ("kept the old one as", kept.unwrap_or_default()),
        ("took", for_people(took)),
    ])?;
    screen.line(&format!(
        "\nStart it with `{next}` first, and look: nothing is run or sent then. What was\n\
         delivered or done after the backup is delivered and done again once it starts without these two."
    ))
}
