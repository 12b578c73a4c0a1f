//! `skep openapi`: the API's description of itself, without a server.

use clap::{ArgMatches, Command};

use crate::api::openapi::document;
use crate::cli::screen::Screen;
use crate::cli::{Done, settings};
use crate::steps::Registry;

const AFTER: &str = "\
The server's own is at GET /openapi.json: it knows the port that was picked, and the step kinds \
that a program registers for itself.";

pub(super) fn command() -> Command {
    settings::with_settings(
        Command::new("openapi").about("Print the OpenAPI description of the HTTP API"),
    )
    .after_help(AFTER)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let config = settings::load(matches)?.config;
    let public_url = config
        .public_url
        .unwrap_or_else(|| format!("http://{}", config.listen));
    screen.value(&document(
        &Registry::builtin().specs(),
        public_url.trim_end_matches('/'),
    ))
}
