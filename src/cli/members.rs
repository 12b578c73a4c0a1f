//! `skep members`: the people who may answer approvals. List, add, update, remove.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::client::{Server, query, with_filters, with_server};
use crate::cli::screen::{Column, Screen, cell};
use crate::cli::{Done, Failure, Verb, dispatch, group, positional, required, text, text_arg};

const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        command: list_command,
        run: list,
    },
    Verb {
        name: "add",
        command: add_command,
        run: add,
    },
    Verb {
        name: "update",
        command: update_command,
        run: update,
    },
    Verb {
        name: "remove",
        command: remove_command,
        run: remove,
    },
];

const COLUMNS: &[Column] = &[
    ("ID", |row| cell(row, "id")),
    ("NAME", |row| cell(row, "name")),
    ("EMAIL", |row| cell(row, "email")),
    ("TELEGRAM", |row| cell(row, "telegram_chat")),
    ("LANGUAGE", |row| cell(row, "language")),
    ("ACTIVE", |row| cell(row, "active")),
    ("DELEGATE", |row| cell(&row["delegate"], "member")),
];

/// What a member has, by flag: its name on the wire, what a value looks like, one line of help. An empty value takes
/// away what can be taken away.
const FIELDS: [(&str, &str, &str, &str); 4] = [
    ("email", "email", "ADDRESS", "The e-mail address"),
    (
        "telegram-chat",
        "telegram_chat",
        "CHAT",
        "The chat with the Telegram bot: a number, or @name",
    ),
    (
        "webhook-url",
        "webhook_url",
        "URL",
        "The member's own inbox",
    ),
    (
        "language",
        "language",
        "TAG",
        "The language: en, de, es; others are shown English",
    ),
];

pub(super) fn command() -> Command {
    with_server(group(
        "members",
        "List, add, update and remove the people who may answer approvals",
        VERBS,
    ))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn id_arg() -> Arg {
    positional(
        "id",
        "ID",
        "The member's id, as `skep members list` shows it",
    )
}

fn list_command() -> Command {
    with_filters(
        Command::new("list").about("List the people who may answer approvals"),
        &[],
    )
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(&["v1", "members"], &query(matches, &[]), COLUMNS, screen)
}

/// The verb, with a flag for each field.
fn with_fields(command: Command) -> Command {
    let fields = FIELDS.map(|(flag, _, example, help)| {
        // A group's chat has a negative number.
        text_arg(flag, example, help).allow_hyphen_values(true)
    });
    command
        .args(fields)
        .arg(
            text_arg("active", "BOOL", "Whether the member may be asked")
                .value_parser(["true", "false"]),
        )
        .arg(
            text_arg(
                "delegate",
                "WHO",
                "Who answers meanwhile: an id, e-mail address or name; needs --until",
            )
            .requires("until"),
        )
        .arg(text_arg("until", "TIME", "Until when, as 2027-01-01T00:00:00Z").requires("delegate"))
}

/// What the flags say; an empty value is null.
fn fields(matches: &ArgMatches) -> Map<String, Value> {
    let mut body = Map::new();
    for (flag, name, ..) in FIELDS {
        if let Some(value) = text(matches, flag) {
            // Nobody is without a language: the server says so.
            let value = Some(value).filter(|value| !value.is_empty() || name == "language");
            body.insert(name.to_owned(), value.into());
        }
    }
    if let Some(active) = text(matches, "active") {
        body.insert("active".to_owned(), (active == "true").into());
    }
    if let (Some(member), Some(until)) = (text(matches, "delegate"), text(matches, "until")) {
        let delegate = json!({"member": member, "until": until});
        body.insert("delegate".to_owned(), delegate);
    }
    body
}

fn add_command() -> Command {
    with_fields(
        Command::new("add")
            .about("Add a person who may answer approvals")
            .arg(positional("name", "NAME", "What people call them")),
    )
}

fn add(matches: &ArgMatches, screen: &Screen) -> Done {
    let mut body = fields(matches);
    body.insert("name".to_owned(), required(matches, "name").into());
    let member = Server::of(matches)?.send("POST", &["v1", "members"], &body.into())?;
    show(&member, screen)
}

fn update_command() -> Command {
    with_fields(
        Command::new("update")
            .about("Change a member; an empty value takes an address, a chat or an inbox away")
            .arg(id_arg())
            .arg(text_arg("name", "NAME", "What people call them"))
            .arg(
                Arg::new("no-delegate")
                    .long("no-delegate")
                    .action(clap::ArgAction::SetTrue)
                    .conflicts_with("delegate")
                    .help("Nobody answers for the member any more"),
            ),
    )
}

fn update(matches: &ArgMatches, screen: &Screen) -> Done {
    let mut body = fields(matches);
    if let Some(name) = text(matches, "name") {
        body.insert("name".to_owned(), name.into());
    }
    if matches.get_flag("no-delegate") {
        body.insert("delegate".to_owned(), Value::Null);
    }
    if body.is_empty() {
        return Err(Failure::wrong_use(
            "nothing is to be changed: give at least one of the flags that --help names",
        ));
    }
    let path = ["v1", "members", required(matches, "id")];
    let member = Server::of(matches)?.send("PATCH", &path, &body.into())?;
    show(&member, screen)
}

fn show(member: &Value, screen: &Screen) -> Done {
    if screen.json {
        return screen.value(member);
    }
    screen.fields(&[
        ("id", cell(member, "id")),
        ("name", cell(member, "name")),
        ("email", cell(member, "email")),
        ("telegram chat", cell(member, "telegram_chat")),
        ("webhook URL", cell(member, "webhook_url")),
        ("language", cell(member, "language")),
        ("active", cell(member, "active")),
        ("delegate", cell(&member["delegate"], "member")),
        ("until", cell(&member["delegate"], "until")),
    ])
}

fn remove_command() -> Command {
    Command::new("remove")
        .about("Remove a member, unless a pending approval asks them")
        .arg(id_arg())
}

fn remove(matches: &ArgMatches, screen: &Screen) -> Done {
    let id = required(matches, "id");
    let answer = Server::of(matches)?.delete(&["v1", "members", id])?;
    screen.told(&answer, &format!("removed {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &[&str]) -> Map<String, Value> {
        let matches = command()
            .try_get_matches_from(line)
            .expect("the line is sound");
        fields(matches.subcommand().expect("a verb").1)
    }

    #[test]
    fn what_is_not_said_stays_and_what_is_empty_goes() {
        let line = [
            "members",
            "update",
            "mem_1",
            "--email",
            "",
            "--telegram-chat",
            "-100",
            "--active",
            "false",
        ];
        let body = json!({"email": null, "telegram_chat": "-100", "active": false});
        assert_eq!(Value::Object(said(&line)), body);
        let line = [
            "members",
            "add",
            "Ana",
            "--delegate",
            "Bob",
            "--until",
            "2027-01-01T00:00:00Z",
        ];
        let body = json!({"delegate": {"member": "Bob", "until": "2027-01-01T00:00:00Z"}});
        assert_eq!(Value::Object(said(&line)), body);
        let half = ["members", "add", "Ana", "--delegate", "Bob"];
        assert!(command().try_get_matches_from(half).is_err());
    }
}
