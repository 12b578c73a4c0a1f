//! `skep keys`: list, create, rotate, revoke. A key is printed once, when it is made.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::client::{Server, query, with_filters, with_server};
use crate::cli::screen::{Column, Screen, cell};
use crate::cli::{Done, Failure, Verb, dispatch, group, positional, required, text, text_arg};
use crate::config::{self, Config};
use crate::engine::{Engine, Wanted};
use crate::error::Error;

const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        command: list_command,
        run: list,
    },
    Verb {
        name: "create",
        command: create_command,
        run: create,
    },
    Verb {
        name: "rotate",
        command: rotate_command,
        run: rotate,
    },
    Verb {
        name: "revoke",
        command: revoke_command,
        run: revoke,
    },
];

const SCOPES: [&str; 5] = ["invoke", "read", "approve", "deploy", "admin"];

const ENVIRONMENTS: [&str; 3] = ["production", "staging", "development"];

const COLUMNS: &[Column] = &[
    ("ID", |row| cell(row, "id")),
    ("NAME", |row| cell(row, "name")),
    ("SCOPE", |row| cell(row, "scope")),
    ("ENVIRONMENT", |row| cell(row, "environment")),
    ("LAST USED", |row| cell(row, "last_used_at")),
    ("REVOKED", |row| cell(row, "revoked_at")),
];

pub(super) fn command() -> Command {
    with_server(group(
        "keys",
        "List, create, rotate and revoke API keys",
        VERBS,
    ))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn id_arg() -> Arg {
    positional("id", "ID", "The key's id, as `skep keys list` shows it")
}

fn list_command() -> Command {
    with_filters(Command::new("list").about("List API keys"), &[])
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(&["v1", "keys"], &query(matches, &[]), COLUMNS, screen)
}

fn create_command() -> Command {
    let scope = text_arg("scope", "SCOPE", "What the key may do")
        .required(true)
        .value_parser(SCOPES);
    let environment = text_arg("environment", "LABEL", "A label")
        .default_value("production")
        .value_parser(ENVIRONMENTS);
    Command::new("create")
        .about("Create an API key and print it, once")
        .arg(Arg::new("name").value_name("NAME").required(true))
        .args([scope, environment])
        .arg(text_arg(
            "data",
            "FILE",
            "Write into the file itself, whose server is stopped, instead of asking a server",
        ))
}

fn create(matches: &ArgMatches, screen: &Screen) -> Done {
    let [name, scope, environment] =
        ["name", "scope", "environment"].map(|name| required(matches, name));
    if let Some(data) = text(matches, "data") {
        return create_in(
            data,
            &Wanted {
                name,
                environment,
                scope,
            },
            screen,
        );
    }
    let body = json!({"name": name, "scope": scope, "environment": environment});
    show(
        &Server::of(matches)?.send("POST", &["v1", "keys"], &body)?,
        screen,
    )
}

/// Into the file itself: refused while a server has it.
fn create_in(data: &str, wanted: &Wanted<'_>, screen: &Screen) -> Done {
    let fail = |error: Error| Failure::new(error.message);
    let flag = |name: &str| (name == "data").then(|| data.to_owned());
    let config = Config {
        workers: 0,
        senders: 0,
        // Only a key is made: how long history is kept is the server's matter.
        retain_runs: None,
        retain_attempts: None,
        ..config::load(&flag, None).map_err(fail)?.config
    };
    let engine = Engine::builder()
        .config(config)
        .without_http()
        .start()
        .map_err(fail)?;
    let made = engine.create_key(wanted);
    engine.stop();
    let (id, key) = made.map_err(fail)?;
    let shown = json!({
        "id": id.prefixed("key_"),
        "name": wanted.name,
        "scope": wanted.scope,
        "environment": wanted.environment,
        "key": key,
    });
    show(&shown, screen)
}

fn rotate_command() -> Command {
    Command::new("rotate")
        .about("Replace a key by a new one and print that, once")
        .arg(id_arg())
}

fn rotate(matches: &ArgMatches, screen: &Screen) -> Done {
    let path = ["v1", "keys", required(matches, "id"), "rotate"];
    show(
        &Server::of(matches)?.send("POST", &path, &json!({}))?,
        screen,
    )
}

fn show(key: &Value, screen: &Screen) -> Done {
    if screen.json {
        return screen.value(key);
    }
    screen.fields(&[
        ("id", cell(key, "id")),
        ("name", cell(key, "name")),
        ("scope", cell(key, "scope")),
        ("environment", cell(key, "environment")),
        ("key", cell(key, "key")),
    ])?;
    screen.line("Keep the key now: it is not shown again.")
}

fn revoke_command() -> Command {
    Command::new("revoke")
        .about("Revoke a key, at once")
        .arg(id_arg())
}

fn revoke(matches: &ArgMatches, screen: &Screen) -> Done {
    let id = required(matches, "id");
    let answer = Server::of(matches)?.delete(&["v1", "keys", id])?;
    screen.told(&answer, &format!("revoked {id}"))
}
