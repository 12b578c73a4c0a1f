//! `skep demo`: a workflow from the invoke to the signed callback, on a throw-away file.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::cli::screen::Screen;
use crate::cli::{Done, Failure};

pub(super) fn command() -> Command {
    let keep = Arg::new("keep")
        .long("keep")
        .action(ArgAction::SetTrue)
        .help("Leave the server running afterwards");
    Command::new("demo")
        .about("See a workflow run and its signed result arrive, in a minute")
        .arg(keep)
}

pub(super) fn run(_matches: &ArgMatches, _screen: &Screen) -> Done {
    Err(Failure::new(
        "this build has no demo: start with `skep serve`",
    ))
}
