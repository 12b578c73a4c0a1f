//! `skep prune`: removes what is old from the database itself, while its server is stopped.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use crate::cli::progress::{Onlooker, size};
use crate::cli::screen::{Screen, for_people};
use crate::cli::{Done, Failure, settings, text, text_arg};
use crate::config;
use crate::store::prune::{self, Keep};
use crate::time::Clock;

const AFTER: &str = "\
A running server does this by itself, by its settings retain_runs and retain_attempts, which are the defaults here; \
this verb needs it stopped (--dry-run does not). Runs that have not ended, that still owe a delivery, or that an \
Idempotency-Key of the last 24 h answers for, stay.";

/// The flags here that stand for a setting of another name.
const FLAGS: [(&str, &str); 2] = [("runs", "retain_runs"), ("attempts", "retain_attempts")];

pub(super) fn command() -> Command {
    let dry_run = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Only count what would go");
    Command::new("prune")
        .about("Remove old runs and attempts from the database, while the server is stopped")
        .after_help(AFTER)
        .arg(settings::data_arg())
        .arg(text_arg(
            "runs",
            "DURATION|forever",
            "How long ended runs are kept [default: retain_runs]",
        ))
        .arg(text_arg(
            "attempts",
            "DURATION|forever",
            "How long attempts of deliveries are kept [default: retain_attempts]",
        ))
        .arg(dry_run)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let flag = |name: &str| {
        let here = FLAGS.iter().find(|(_, setting)| *setting == name);
        match here {
            Some((flag, _)) => text(matches, flag).map(str::to_owned),
            None if name == "data" => text(matches, name).map(str::to_owned),
            None => None,
        }
    };
    let config = config::load(&flag, None)
        .map_err(|error| Failure::wrong_use(as_written(&error.message)))?
        .config;
    let keep = Keep {
        runs: config.retain_runs,
        attempts: config.retain_attempts,
    };
    let is_dry = matches.get_flag("dry-run");
    let (onlooker, watch) = Onlooker::start(screen)?;
    let now = Clock::System.now();
    let done = match is_dry {
        true => prune::would_prune(&config.data, keep, now, &watch),
        false => prune::prune(&config.data, keep, now, &watch),
    };
    let took = onlooker.end().as_millis() as u64;
    let done = done.map_err(|error| match is_dry {
        true => Failure::new(error.message),
        false => Failure::new(format!(
            "{} (a running server prunes by itself, by retain_runs and retain_attempts)",
            error.message
        )),
    })?;
    let (before, after) = done.bytes;
    if screen.json {
        return screen.value(&json!({
            "data": config.data,
            "dry_run": is_dry,
            "runs": done.runs,
            "attempts": done.attempts,
            "rows": done.rows,
            "bytes_before": before,
            "bytes_after": after,
            "duration_ms": took,
        }));
    }
    let what = format!("{} runs and {} further attempts", done.runs, done.attempts);
    match is_dry {
        true => screen.line(&format!("would remove {what}")),
        false => screen.line(&format!(
            "removed {what} ({} rows); the file is {} smaller: {}, was {} ({})",
            done.rows,
            size(before.saturating_sub(after)),
            size(after),
            size(before),
            for_people(took)
        )),
    }
}

/// The setting's name as the flag is written here.
fn as_written(message: &str) -> String {
    FLAGS
        .iter()
        .fold(message.to_owned(), |text, (flag, setting)| {
            text.replace(
                &format!("--{}", setting.replace('_', "-")),
                &format!("--{flag}"),
            )
        })
}
