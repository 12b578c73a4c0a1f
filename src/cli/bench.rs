//! `skep bench`: what this box and its disk allow, and what Skep makes of it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Instant;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::bench::place::Place;
use crate::bench::report::{json, table};
use crate::bench::{Bench, Fault, Size};
use crate::cli::screen::Screen;
use crate::cli::serve::signals;
use crate::cli::{Done, Failure, logging, report, text, text_arg};
use crate::config::LogFormat;
use crate::id::Dice;

const AFTER: &str = "\
Takes about two minutes and up to a gibibyte of the disk, in a new folder of its own that is removed at the end, also on \
Ctrl-C. Everything stays on this machine: a server of its own at a free port on loopback, and receivers beside it. Run it \
on the disk that the database is to be on, when nothing else is going on.";

pub(super) fn command() -> Command {
    let data = text_arg(
        "data",
        "FILE",
        "Where the database would be: measured in a new folder beside it; refused if the file exists",
    );
    Command::new("bench")
        .about("Measure this box: its disk, and what Skep makes of it")
        .after_help(AFTER)
        .arg(
            text_arg(
                "dir",
                "DIR",
                "A folder on the disk to be measured [default: this one]",
            )
            .conflicts_with("data"),
        )
        .arg(data)
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=3_600))
                .help(
                    "How long the longest measurement takes; others take parts of it [default: 30]",
                ),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Everything once and briefly: for a look, not for a record"),
        )
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    logging::start(log::LevelFilter::Error, LogFormat::Text);
    let mut signals = signals()?;
    let place = match text(matches, "data") {
        Some(file) => Place::beside(Path::new(file)),
        None => Place::within(
            Path::new(text(matches, "dir").unwrap_or(".")),
            &Dice::System,
        ),
    };
    let place = place.map_err(failure)?;
    let is_json = screen.json;
    let watched = place.give_up_when(
        move || {
            let _ = signals.forever().next();
        },
        move || {
            let stopped = Failure::new("stopped before its end; what it made is removed");
            // Behind the line of the progress.
            drop(io::stderr().write_all(b"\n"));
            report(&stopped, &Screen { json: is_json });
            std::process::exit(stopped.exit.into());
        },
    );
    let size = Size::new(
        matches.get_one::<u32>("seconds").copied(),
        matches.get_flag("quick"),
    );
    let progress = Progress::new();
    let bench = Bench {
        place: &place,
        size,
        say: &|what| progress.say(what),
    };
    let measured = watched.and_then(|()| bench.measure());
    progress.end();
    let gone = place.remove();
    let figures = measured.map_err(failure)?;
    gone.map_err(failure)?;
    match screen.json {
        true => screen.value(&json(&figures)),
        false => screen.line(&table(&figures)),
    }
}

fn failure(why: Fault) -> Failure {
    Failure::new(why.to_string())
}

/// What is being measured: one line that changes, or a line each where nobody can watch one change.
struct Progress {
    begun: Instant,
    changes: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            begun: Instant::now(),
            changes: io::stderr().is_terminal(),
        }
    }

    fn say(&self, what: &str) {
        let seconds = self.begun.elapsed().as_secs();
        let line = match self.changes {
            true => format!("\r\x1b[K{seconds:4} s  {what} …"),
            false => format!("{seconds:4} s  {what} …\n"),
        };
        // Without a standard error there is nobody to tell.
        drop(io::stderr().write_all(line.as_bytes()));
    }

    fn end(&self) {
        if self.changes {
            drop(io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}
