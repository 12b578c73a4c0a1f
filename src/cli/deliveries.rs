//! `skep deliveries`: list, show with every attempt, send again.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use crate::cli::client::{Filter, Server, query, with_filters, with_server};
use crate::cli::screen::{Column, Screen, cell, count, for_people};
use crate::cli::{Done, Verb, dispatch, group, positional, required};

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
        name: "redeliver",
        command: redeliver_command,
        run: redeliver,
    },
];

const FILTERS: &[Filter] = &[
    (
        "status",
        "STATUS",
        "pending, delivering, delivered, dead, gone or cancelled",
    ),
    ("host", "HOST", "Deliveries to this host"),
    ("run", "ID", "Deliveries of this run"),
    ("from", "TIME", "Made at or after, RFC 3339"),
    ("to", "TIME", "Made before, RFC 3339"),
];

const COLUMNS: &[Column] = &[
    ("DELIVERY", |row| cell(row, "id")),
    ("STATUS", |row| cell(row, "status")),
    ("EVENT", |row| cell(row, "event_type")),
    ("REQUEST", |row| cell(row, "request_id")),
    ("NEXT ATTEMPT", |row| cell(row, "next_attempt_at")),
    ("URL", |row| cell(row, "url")),
];

const ATTEMPTS: &[Column] = &[
    ("ATTEMPT", |row| cell(row, "number")),
    ("STARTED", |row| cell(row, "started_at")),
    ("TOOK", |row| {
        row["duration_ms"]
            .as_u64()
            .map(for_people)
            .unwrap_or_default()
    }),
    ("ADDRESS", |row| cell(row, "remote_address")),
    ("STATUS", |row| cell(row, "response_status")),
    ("ERROR", |row| match cell(row, "error_class") {
        class if class.is_empty() => class,
        class => format!("{class}: {}", cell(row, "error")),
    }),
];

pub(super) fn command() -> Command {
    with_server(group(
        "deliveries",
        "List, show and repeat deliveries",
        VERBS,
    ))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn id_arg() -> Arg {
    positional("id", "ID", "A delivery's id")
}

fn list_command() -> Command {
    with_filters(
        Command::new("list").about("List deliveries, newest first"),
        FILTERS,
    )
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(
        &["v1", "deliveries"],
        &query(matches, FILTERS),
        COLUMNS,
        screen,
    )
}

fn show_command() -> Command {
    Command::new("show")
        .about("Show a delivery and its attempts")
        .arg(id_arg())
}

fn show(matches: &ArgMatches, screen: &Screen) -> Done {
    let delivery = Server::of(matches)?.get(&["v1", "deliveries", required(matches, "id")])?;
    if screen.json {
        return screen.value(&delivery);
    }
    overview(&delivery, screen)?;
    screen.line("")?;
    screen.table(
        ATTEMPTS,
        delivery["attempts"]
            .as_array()
            .map_or(&[][..], Vec::as_slice),
    )
}

fn redeliver_command() -> Command {
    Command::new("redeliver")
        .about("Send a delivery again")
        .arg(id_arg())
}

fn redeliver(matches: &ArgMatches, screen: &Screen) -> Done {
    let path = ["v1", "deliveries", required(matches, "id"), "redeliver"];
    let delivery = Server::of(matches)?.send("POST", &path, &json!({}))?;
    match screen.json {
        true => screen.value(&delivery),
        false => overview(&delivery, screen),
    }
}

fn overview(delivery: &Value, screen: &Screen) -> Done {
    screen.fields(&[
        ("delivery", cell(delivery, "id")),
        ("status", cell(delivery, "status")),
        ("event", cell(delivery, "event_type")),
        ("event id", cell(delivery, "event_id")),
        ("request", cell(delivery, "request_id")),
        ("URL", cell(delivery, "url")),
        ("next attempt", cell(delivery, "next_attempt_at")),
        ("attempts", count(delivery, "attempts")),
    ])
}
