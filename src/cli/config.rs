//! `skep config`: every setting's value, and where it came from.

use clap::{ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::screen::{Column, Screen, cell};
use crate::cli::{Done, settings};
use crate::config::Found;

const COLUMNS: &[Column] = &[
    ("SETTING", |row| cell(row, "name")),
    ("VALUE", |row| match cell(row, "value") {
        value if value.is_empty() => "-".to_owned(),
        value => value,
    }),
    ("FROM", |row| cell(row, "from")),
];

pub(super) fn command() -> Command {
    settings::with_settings(
        Command::new("config").about("Show every setting and where it came from"),
    )
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let loaded = settings::load(matches)?;
    let rows: Vec<Value> = loaded.found.iter().map(row).collect();
    match screen.json {
        true => screen.value(&json!({"data": rows})),
        false => screen.table(COLUMNS, &rows),
    }
}

fn row(found: &Found) -> Value {
    json!({"name": found.name, "value": found.shown, "from": found.origin.to_string()})
}
