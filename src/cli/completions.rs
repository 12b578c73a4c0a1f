//! `skep completions SHELL`: a script that completes what is typed.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::screen::Screen;
use crate::cli::{Done, Failure, root};

pub(super) fn command() -> Command {
    let shell = Arg::new("shell")
        .value_name("SHELL")
        .required(true)
        .value_parser(value_parser!(Shell));
    Command::new("completions")
        .about("Print a completion script for a shell")
        .after_help(
            "For bash: skep completions bash > ~/.local/share/bash-completion/completions/skep",
        )
        .arg(shell)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let shell = matches
        .get_one::<Shell>("shell")
        .ok_or_else(|| Failure::wrong_use("name a shell"))?;
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut root(), "skep", &mut script);
    let script = String::from_utf8_lossy(&script);
    match screen.json {
        true => screen.value(&json!({"shell": shell.to_string(), "script": script})),
        false => screen.line(script.trim_end()),
    }
}
