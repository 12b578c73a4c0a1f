//! The command line: one file per verb, all of them listed in `VERBS`.
//!
//! Owns arguments, what a person or a script reads, and exit codes. Verbs that act on a running server go through
//! its HTTP API; backup, restore, check, prune and `audit verify` work on the file itself, through the store's verbs
//! for that.

mod approvals;
mod audit;
mod backup;
mod bench;
mod check;
mod client;
mod completions;
mod config;
mod deliveries;
mod demo;
mod deploy;
mod invoke;
mod keys;
mod logging;
mod members;
mod openapi;
mod problems;
mod progress;
mod prune;
mod restore;
mod runs;
mod schema;
mod screen;
mod secrets;
mod serve;
mod settings;
mod validate;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::cli::screen::Screen;

/// One verb: how it is written, and what it does.
struct Verb {
    name: &'static str,
    command: fn() -> Command,
    run: fn(&ArgMatches, &Screen) -> Done,
}

/// Every verb, in the order of the help.
const VERBS: &[Verb] = &[
    Verb {
        name: "serve",
        command: serve::command,
        run: serve::run,
    },
    Verb {
        name: "demo",
        command: demo::command,
        run: demo::run,
    },
    Verb {
        name: "deploy",
        command: deploy::command,
        run: deploy::run,
    },
    Verb {
        name: "validate",
        command: validate::command,
        run: validate::run,
    },
    Verb {
        name: "invoke",
        command: invoke::command,
        run: invoke::run,
    },
    Verb {
        name: "runs",
        command: runs::command,
        run: runs::run,
    },
    Verb {
        name: "deliveries",
        command: deliveries::command,
        run: deliveries::run,
    },
    Verb {
        name: "approvals",
        command: approvals::command,
        run: approvals::run,
    },
    Verb {
        name: "members",
        command: members::command,
        run: members::run,
    },
    Verb {
        name: "keys",
        command: keys::command,
        run: keys::run,
    },
    Verb {
        name: "secrets",
        command: secrets::command,
        run: secrets::run,
    },
    Verb {
        name: "audit",
        command: audit::command,
        run: audit::run,
    },
    Verb {
        name: "backup",
        command: backup::command,
        run: backup::run,
    },
    Verb {
        name: "restore",
        command: restore::command,
        run: restore::run,
    },
    Verb {
        name: "check",
        command: check::command,
        run: check::run,
    },
    Verb {
        name: "prune",
        command: prune::command,
        run: prune::run,
    },
    Verb {
        name: "bench",
        command: bench::command,
        run: bench::run,
    },
    Verb {
        name: "config",
        command: config::command,
        run: config::run,
    },
    Verb {
        name: "completions",
        command: completions::command,
        run: completions::run,
    },
    Verb {
        name: "schema",
        command: schema::command,
        run: schema::run,
    },
    Verb {
        name: "openapi",
        command: openapi::command,
        run: openapi::run,
    },
];

/// What a verb comes to.
type Done = Result<(), Failure>;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
struct Failure {
    /// 1 failed, 2 wrong use; 0 when whoever read the output went away.
    exit: u8,
    /// One sentence, with what to do.
    message: String,
    /// What a person reads before the sentence: a definition's problems.
    excerpt: String,
    /// Further members of the error under `--json`.
    details: Vec<(String, Value)>,
}

impl Failure {
    /// It was tried, and failed.
    fn new(message: impl Into<String>) -> Failure {
        Failure {
            exit: 1,
            message: message.into(),
            excerpt: String::new(),
            details: Vec::new(),
        }
    }

    /// It was not asked for rightly.
    fn wrong_use(message: impl Into<String>) -> Failure {
        Failure {
            exit: 2,
            ..Failure::new(message)
        }
    }

    /// Nobody reads standard output any more (`skep runs list | head`): done, as far as anyone cares.
    fn reader_left() -> Failure {
        Failure {
            exit: 0,
            ..Failure::new("")
        }
    }

    /// The error as one JSON object, for `--json`.
    fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("error".to_owned(), self.message.as_str().into());
        members.extend(self.details.clone());
        Value::Object(members)
    }
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let (done, screen) = match root().try_get_matches_from(&args) {
        Ok(matches) => {
            let screen = Screen {
                json: is_json(&matches),
            };
            let fits = none_in_vain(&matches);
            (
                fits.and_then(|()| dispatch(VERBS, &matches, &screen)),
                screen,
            )
        }
        // Help and version come this way too, with exit code 0.
        Err(usage) if usage.exit_code() == 0 || !args.iter().any(|arg| arg == "--json") => {
            drop(usage.print());
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
        Err(usage) => (Err(wrong_line(&usage)), Screen { json: true }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, &screen);
            ExitCode::from(failure.exit)
        }
    }
}

/// What clap has against the line, in one sentence: its first paragraph.
fn wrong_line(usage: &clap::Error) -> Failure {
    if usage.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return verb_missing();
    }
    let text = usage.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let first = text.split("\n\n").next().unwrap_or_default();
    Failure::wrong_use(first.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What names a server is accepted before any verb, but only some verbs ask one.
fn none_in_vain(matches: &ArgMatches) -> Done {
    let verb = |name: &str| VERBS.iter().find(|verb| verb.name == name);
    let found = matches.subcommand().and_then(|(name, matches)| {
        let given = client::given_in_vain(&(verb(name)?.command)(), matches)?;
        Some(format!(
            "--{given} is for verbs that ask a server; `skep {name}` does not"
        ))
    });
    found.map_or(Ok(()), |why| Err(Failure::wrong_use(why)))
}

fn verb_missing() -> Failure {
    Failure::wrong_use("this verb needs another after it: see --help")
}

fn report(failure: &Failure, screen: &Screen) {
    if failure.exit == 0 {
        return;
    }
    let text = match screen.json {
        true => format!(
            "{}\n",
            screen::harmless_json(&failure.to_json().to_string())
        ),
        false => format!(
            "{}error: {}\n",
            failure.excerpt,
            screen::clean(&failure.message)
        ),
    };
    // Without a standard error there is nobody to tell.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// The whole grammar; completions are generated from it.
fn root() -> Command {
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .global(true)
        .help("Answer in JSON, errors included");
    let root = Command::new("skep")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help("Exit codes: 0 done, 1 failed, 2 wrong use.")
        .max_term_width(110)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(json)
        .subcommands(VERBS.iter().map(|verb| (verb.command)()));
    client::with_early_server(root)
}

/// A verb with verbs of its own.
fn group(name: &'static str, about: &'static str, verbs: &[Verb]) -> Command {
    Command::new(name)
        .about(about)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(verbs.iter().map(|verb| (verb.command)()))
}

fn dispatch(verbs: &[Verb], matches: &ArgMatches, screen: &Screen) -> Done {
    let chosen = matches
        .subcommand()
        .and_then(|(name, matches)| Some((verbs.iter().find(|verb| verb.name == name)?, matches)));
    match chosen {
        Some((verb, matches)) => (verb.run)(matches, screen),
        None => Err(verb_missing()),
    }
}

/// Whether `--json` stands anywhere on the line.
fn is_json(matches: &ArgMatches) -> bool {
    matches.get_flag("json")
        || matches
            .subcommand()
            .is_some_and(|(_, matches)| is_json(matches))
}

/// An argument that takes a text.
fn text_arg(name: &'static str, example: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(example).help(help)
}

/// An argument without a name that has to be given.
fn positional(name: &'static str, example: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(example).required(true).help(help)
}

/// The text given for an argument.
fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// Every text given for an argument.
fn texts<'m>(matches: &'m ArgMatches, name: &str) -> impl Iterator<Item = &'m str> {
    matches
        .get_many::<String>(name)
        .into_iter()
        .flatten()
        .map(String::as_str)
}

/// The text of an argument that clap has made sure of.
fn required<'m>(matches: &'m ArgMatches, name: &str) -> &'m str {
    text(matches, name).expect("the argument is marked as required")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound_and_every_verb_is_known_by_its_name() {
        root().debug_assert();
        for verb in VERBS {
            assert_eq!((verb.command)().get_name(), verb.name);
        }
    }

    #[test]
    fn json_counts_wherever_it_stands() {
        for line in [
            ["skep", "--json", "keys", "list"],
            ["skep", "keys", "--json", "list"],
            ["skep", "keys", "list", "--json"],
        ] {
            assert!(is_json(
                &root()
                    .try_get_matches_from(line)
                    .expect("the line is sound")
            ));
        }
    }

    #[test]
    fn the_server_is_named_before_or_behind_the_verbs() {
        for line in [
            ["skep", "--key", "K", "--url", "U", "keys", "list"],
            ["skep", "keys", "--key", "K", "--url", "U", "list"],
            ["skep", "keys", "list", "--key", "K", "--url", "U"],
            ["skep", "--url", "U", "keys", "list", "--key", "K"],
            [
                "skep", "--url=V", "--key=L", "keys", "list", "--key=K", "--url=U",
            ],
        ] {
            let matches = root()
                .try_get_matches_from(line)
                .expect("the line is sound");
            let (_, keys) = matches.subcommand().expect("a verb");
            let (_, list) = keys.subcommand().expect("a second verb");
            assert_eq!(
                (text(list, "key"), text(list, "url")),
                (Some("K"), Some("U")),
                "{line:?}"
            );
            assert!(none_in_vain(&matches).is_ok());
        }
        for line in [
            ["skep", "--key", "K", "serve"],
            ["skep", "demo", "--timeout", "1s"],
        ] {
            let matches = root()
                .try_get_matches_from(line)
                .expect("the line is sound");
            let failure = none_in_vain(&matches).expect_err("nobody is asked");
            assert_eq!(failure.exit, 2);
            assert!(
                failure.message.contains(" is for verbs that ask a server"),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn a_wrong_line_is_told_in_one_sentence() {
        for (line, told) in [
            (
                &["skep", "runs", "show", "--json"][..],
                "the following required arguments were not provided: <ID>",
            ),
            (&["skep", "runs", "lst"], "unrecognized subcommand 'lst'"),
            (
                &["skep", "keys"],
                "this verb needs another after it: see --help",
            ),
        ] {
            let failure = wrong_line(&root().try_get_matches_from(line).expect_err("not a run"));
            assert_eq!((failure.exit, failure.message.as_str()), (2, told));
        }
    }

    #[test]
    fn wrong_use_is_exit_2_and_help_is_0() {
        for (line, exit) in [
            (&["skep", "serve", "--wrokers", "1"][..], 2),
            (&["skep", "nothing"], 2),
            (&["skep"], 2),
            (&["skep", "keys"], 2),
            (&["skep", "--help"], 0),
            (&["skep", "--version"], 0),
        ] {
            let usage = root().try_get_matches_from(line).expect_err("not a run");
            assert_eq!(usage.exit_code(), exit, "{line:?}");
        }
    }
}
