//! `skep validate FILE`: judges a definition without a server, by the rules that a deploy applies.

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

use crate::cli::problems::{self, Spot};
use crate::cli::screen::Screen;
use crate::cli::{Done, required};
use crate::flow::workflow::{DefinitionError, parse};
use crate::steps::Registry;

const AFTER: &str = "\
Step kinds that a program registers for itself are known to its server only: `skep deploy --dry-run` \
asks it.";

pub(super) fn command() -> Command {
    let file = Arg::new("file").value_name("FILE").required(true);
    Command::new("validate")
        .about("Check a workflow definition, without a server")
        .after_help(AFTER)
        .arg(file.help("A definition in YAML, or JSON if it ends in .json"))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let definition = problems::read(required(matches, "file"))?;
    let (code, spots) = match parse(
        &definition.text,
        definition.format,
        &Registry::builtin().specs(),
    ) {
        Ok(_) if screen.json => {
            return screen.value(&json!({"file": definition.file, "valid": true}));
        }
        Ok(_) => return screen.line(&format!("{}: valid", definition.file)),
        Err(DefinitionError::Malformed(problem)) => ("malformed_body", vec![Spot::from(&problem)]),
        Err(DefinitionError::Invalid(all)) => {
            ("invalid_definition", all.iter().map(Spot::from).collect())
        }
    };
    Err(problems::failure(
        &definition,
        &spots,
        code,
        "it would not be deployed",
    ))
}
