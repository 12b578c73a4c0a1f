//! `skep deliveries`: list, show with every attempt, send again.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::bell::Bell;
use crate::cli::client::{Filter, Server, filter, filter_args, query, with_filters, with_server};
use crate::cli::progress::Onlooker;
use crate::cli::screen::{Column, Screen, cell, count, for_people};
use crate::cli::{Done, Failure, Verb, dispatch, group, positional, required, text};

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

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
    (
        "class",
        "CLASS",
        "Whose last attempt failed so: dns, connect, tls, timeout, http_status …",
    ),
    ("channel", "CHANNEL", "callback, email, telegram or webhook"),
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
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
            .conflicts_with("id")
    };
    let id = Arg::new("id")
        .value_name("ID")
        .help("A delivery's id; without it, those that the filters match");
    let filters = filter_args(FILTERS).map(|filter| filter.conflicts_with("id"));
    Command::new("redeliver")
        .about("Send a delivery again, or every one that filters match")
        .arg(id)
        .args(filters)
        .arg(flag("all", "Every delivery there is"))
        .arg(flag("dry-run", "Only count them"))
}

fn redeliver(matches: &ArgMatches, screen: &Screen) -> Done {
    let Some(id) = text(matches, "id") else {
        return redeliver_all(matches, screen);
    };
    let path = ["v1", "deliveries", id, "redeliver"];
    let delivery = Server::of(matches)?.send("POST", &path, &json!({}))?;
    match screen.json {
        true => screen.value(&delivery),
        false => overview(&delivery, screen),
    }
}

/// Every delivery that the filters match: counted, or sent again by a job that is followed to its end.
fn redeliver_all(matches: &ArgMatches, screen: &Screen) -> Done {
    let filter = filter(matches, FILTERS);
    if filter == json!({}) && !matches.get_flag("all") {
        return Err(Failure::wrong_use(
            "give a delivery's id, a filter such as --status dead, or --all",
        ));
    }
    let is_dry = matches.get_flag("dry-run");
    let server = Server::of(matches)?;
    let body = json!({"filter": filter, "dry_run": is_dry});
    let answer = server.send("POST", &["v1", "deliveries", "redeliver"], &body)?;
    if is_dry {
        let words = format!("{} deliveries would be sent again", answer["count"]);
        return screen.told(&answer, &words);
    }
    let job = follow(&server, answer, screen)?;
    let words = format!(
        "{} of {} deliveries are owed again, {} skipped, {} failed",
        job["done"], job["count"], job["skipped"], job["failed"]
    );
    screen.told(&job, &words)
}

/// Waits for the end of a job, which goes on whether or not anyone does.
fn follow(server: &Server, mut job: Value, screen: &Screen) -> Result<Value, Failure> {
    let (onlooker, watch) = Onlooker::start(screen)?;
    let id = job["id"].as_str().unwrap_or_default().to_owned();
    let figure = |job: &Value, name: &str| job[name].as_u64().unwrap_or(0);
    while job["status"] == "running" {
        let seen = ["done", "skipped", "failed"].map(|name| figure(&job, name));
        let told = watch.tell("redelivering", seen.iter().sum(), figure(&job, "count"));
        if told.is_err() {
            onlooker.end();
            let message = format!("{id} goes on without you; GET /v1/jobs/{id} shows it");
            return Err(Failure::new(message));
        }
        Bell::default().wait(0, LOOK_EVERY);
        job = server.get(&["v1", "jobs", &id])?;
    }
    onlooker.end();
    Ok(job)
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
