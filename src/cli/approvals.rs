//! `skep approvals`: list, show, decide, make a link, tell again, hand on.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::{Map, Value, json};

use crate::cli::client::{Filter, Server, query, with_filters, with_server};
use crate::cli::screen::{Column, Screen, cell, clean, count};
use crate::cli::{Done, Failure, Verb, dispatch, group, positional, required, text, text_arg};

const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        command: list_command,
        run: list,
    },
    Verb {
        name: "show",
        command: show_command,
        run: show,
    },
    Verb {
        name: "decide",
        command: decide_command,
        run: decide,
    },
    Verb {
        name: "link",
        command: link_command,
        run: link,
    },
    Verb {
        name: "resend",
        command: resend_command,
        run: resend,
    },
    Verb {
        name: "reassign",
        command: reassign_command,
        run: reassign,
    },
];

const FILTERS: &[Filter] = &[
    (
        "status",
        "STATUS",
        "pending, approved, rejected, answered, timed_out or cancelled",
    ),
    ("run", "ID", "Approvals of this run"),
    (
        "recipient",
        "WHO",
        "Asked of this member: e-mail, id or name",
    ),
];

const COLUMNS: &[Column] = &[
    ("APPROVAL", |row| cell(row, "id")),
    ("STATUS", |row| cell(row, "status")),
    ("MODE", |row| cell(row, "mode")),
    ("RECIPIENT", |row| cell(row, "recipient")),
    ("EXPIRES", |row| cell(row, "expires_at")),
    ("REQUEST", |row| cell(row, "request_id")),
    ("QUESTION", |row| cell(row, "question")),
];

const ANSWERS: &[Column] = &[
    ("BY", |row| cell(row, "by")),
    ("VIA", |row| cell(row, "via")),
    ("AT", |row| cell(row, "at")),
    ("ANSWER", |row| cell(row, "shown")),
    ("COMMENT", |row| cell(row, "comment")),
];

const OPTIONS: &[Column] = &[
    ("OPTION", |row| cell(row, "label")),
    ("VALUE", |row| cell(row, "value")),
    ("ABOUT", |row| cell(row, "description")),
];

/// What answers a question, each by its mode.
const ANSWER: [&str; 5] = ["choice", "text", "form", "approve", "reject"];

pub(super) fn command() -> Command {
    with_server(group("approvals", "List, show and decide approvals", VERBS))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn id_arg() -> Arg {
    positional("id", "ID", "An approval's id")
}

fn list_command() -> Command {
    with_filters(
        Command::new("list").about("List approvals, newest first"),
        FILTERS,
    )
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(
        &["v1", "approvals"],
        &query(matches, FILTERS),
        COLUMNS,
        screen,
    )
}

fn show_command() -> Command {
    Command::new("show")
        .about("Show an approval: what was asked and answered")
        .arg(id_arg())
}

fn show(matches: &ArgMatches, screen: &Screen) -> Done {
    let approval = Server::of(matches)?.get(&["v1", "approvals", required(matches, "id")])?;
    shown(&approval, screen)
}

fn decide_command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
    };
    Command::new("decide")
        .about("Answer an approval for a person")
        .arg(id_arg())
        .arg(
            text_arg(
                "by",
                "WHO",
                "Who answers: e-mail, id or name of one who is asked",
            )
            .required(true),
        )
        .arg(text_arg("choice", "OPTION", "An option's value or label"))
        .arg(text_arg(
            "text",
            "TEXT",
            "The answer to a question that asks for text",
        ))
        .arg(text_arg(
            "form",
            "JSON",
            "The fields of a form, as a JSON object",
        ))
        .arg(flag("approve", "Yes"))
        .arg(flag("reject", "No"))
        .arg(text_arg("comment", "TEXT", "What else is to be said"))
        .group(ArgGroup::new("answer").args(ANSWER).required(true))
}

fn decide(matches: &ArgMatches, screen: &Screen) -> Done {
    let server = Server::of(matches)?;
    let path = ["v1", "approvals", required(matches, "id")];
    let mut body = Map::new();
    body.insert("by".to_owned(), required(matches, "by").into());
    for name in ["text", "comment"] {
        if let Some(text) = text(matches, name) {
            body.insert(name.to_owned(), text.into());
        }
    }
    for (name, word) in [("approve", "approved"), ("reject", "rejected")] {
        if matches.get_flag(name) {
            body.insert("decision".to_owned(), word.into());
        }
    }
    if let Some(form) = text(matches, "form") {
        let form: Value = serde_json::from_str(form)
            .map_err(|fault| Failure::wrong_use(format!("--form: not JSON: {fault}")))?;
        body.insert("form".to_owned(), form);
    }
    if let Some(wanted) = text(matches, "choice") {
        let approval = server.get(&path)?;
        body.insert("choice".to_owned(), choice(&approval["ask"], wanted));
    }
    let path = [path[0], path[1], path[2], "decide"];
    shown(&server.send("POST", &path, &body.into())?, screen)
}

/// The value of the option that is meant: by its value, or by its label.
fn choice(ask: &Value, wanted: &str) -> Value {
    let options = ask["options"].as_array().map_or(&[][..], Vec::as_slice);
    let is_value = |option: &&Value| match &option["value"] {
        Value::String(text) => text == wanted,
        other => serde_json::from_str::<Value>(wanted).is_ok_and(|value| value == *other),
    };
    let by_value = options.iter().find(is_value);
    let found = by_value.or_else(|| options.iter().find(|option| option["label"] == wanted));
    found.map_or_else(|| wanted.into(), |option| option["value"].clone())
}

fn link_command() -> Command {
    Command::new("link")
        .about("Make a link to the approval page; whoever has it may answer")
        .arg(id_arg())
        .arg(text_arg(
            "recipient",
            "WHO",
            "Whose link: one of those who are asked",
        ))
        .arg(text_arg("ttl", "DURATION", "How long it is good"))
}

fn link(matches: &ArgMatches, screen: &Screen) -> Done {
    let path = ["v1", "approvals", required(matches, "id"), "link"];
    let given = |name: &'static str| Some((name.to_owned(), text(matches, name)?.into()));
    let body: Map<String, Value> = ["recipient", "ttl"].into_iter().filter_map(given).collect();
    let link = Server::of(matches)?.send("POST", &path, &body.into())?;
    screen.told(&link, &clean(&cell(&link, "url")))
}

fn resend_command() -> Command {
    Command::new("resend")
        .about("Tell those again who have not answered")
        .arg(id_arg())
}

fn resend(matches: &ArgMatches, screen: &Screen) -> Done {
    let path = ["v1", "approvals", required(matches, "id"), "resend"];
    shown(
        &Server::of(matches)?.send("POST", &path, &json!({}))?,
        screen,
    )
}

fn reassign_command() -> Command {
    Command::new("reassign")
        .about("Ask another member instead")
        .arg(id_arg())
        .arg(text_arg("to", "WHO", "Who is asked instead: e-mail, id or name").required(true))
        .arg(text_arg(
            "from",
            "WHO",
            "Who is asked now, if there is more than one",
        ))
}

fn reassign(matches: &ArgMatches, screen: &Screen) -> Done {
    let path = ["v1", "approvals", required(matches, "id"), "reassign"];
    let mut body = json!({"to": required(matches, "to")});
    if let Some(from) = text(matches, "from") {
        body["from"] = from.into();
    }
    shown(&Server::of(matches)?.send("POST", &path, &body)?, screen)
}

fn shown(approval: &Value, screen: &Screen) -> Done {
    if screen.json {
        return screen.value(approval);
    }
    screen.fields(&[
        ("approval", cell(approval, "id")),
        ("status", cell(approval, "status")),
        ("question", cell(approval, "question")),
        ("mode", cell(approval, "mode")),
        ("recipient", cell(approval, "recipient")),
        ("need", cell(approval, "need")),
        ("channel", cell(approval, "channel")),
        ("request", cell(approval, "request_id")),
        ("step", cell(approval, "step")),
        ("expires", cell(approval, "expires_at")),
        ("decided", cell(approval, "decided_at")),
        ("answers", count(approval, "answers")),
    ])?;
    for (rows, columns) in [
        (&approval["ask"]["options"], OPTIONS),
        (&approval["answers"], ANSWERS),
    ] {
        if let Some(rows) = rows.as_array().filter(|rows| !rows.is_empty()) {
            screen.line("")?;
            screen.table(columns, rows)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_meant_by_its_value_or_its_label() {
        let ask = json!({"options": [
            {"label": "One", "value": 1}, {"label": "2", "value": "two"},
            {"label": "two", "value": {"x": 3}},
        ]});
        for (wanted, value) in [
            ("1", json!(1)),
            ("One", json!(1)),
            ("two", json!("two")),
            ("2", json!("two")),
            ("{\"x\":3}", json!({"x": 3})),
            ("none", json!("none")),
        ] {
            assert_eq!(choice(&ask, wanted), value, "{wanted}");
        }
    }
}
