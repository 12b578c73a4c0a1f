//! `skep schema`: the JSON Schema of a workflow definition, as the server knows it.

use clap::{ArgMatches, Command};

use crate::cli::Done;
use crate::cli::client::{Server, with_server};
use crate::cli::screen::Screen;

pub(super) fn command() -> Command {
    with_server(Command::new("schema").about("Print the JSON Schema of a workflow definition"))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let schema = Server::of(matches)?.get(&["schema", "workflow.json"])?;
    screen.value(&schema)
}
