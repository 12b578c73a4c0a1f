//! `skep runs`: list, show, cancel, repeat.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::cli::client::{Filter, Server, query, with_filters, with_server};
use crate::cli::screen::{Column, Screen, cell, clean, count, for_people, place, took};
use crate::cli::{Done, Verb, dispatch, group, positional, required, text, text_arg};

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
        name: "cancel",
        command: cancel_command,
        run: cancel,
    },
    Verb {
        name: "retry",
        command: retry_command,
        run: retry,
    },
];

const FILTERS: &[Filter] = &[
    (
        "status",
        "STATUS",
        "queued, running, waiting, awaiting_approval, completed, failed or cancelled",
    ),
    (
        "source",
        "SOURCE",
        "api, webhook, schedule, dashboard or workflow",
    ),
    ("delivery", "MODE", "direct or callback"),
    ("deployment", "NAME", "Runs of this deployment"),
    ("variant", "NAME", "Runs of this variant"),
    ("api_key_id", "ID", "Runs that this key started"),
    ("user", "USER", "Runs for this user"),
    ("metadata", "KEY[=TEXT]", "Runs with this metadata"),
    ("from", "TIME", "Started at or after, RFC 3339"),
    ("to", "TIME", "Started before, RFC 3339"),
    ("q", "ID", "A request or run id"),
];

const COLUMNS: &[Column] = &[
    ("REQUEST", |row| cell(row, "request_id")),
    ("STATUS", |row| cell(row, "status")),
    ("DEPLOYMENT", place),
    ("SOURCE", |row| cell(row, "source")),
    ("STARTED", |row| cell(row, "started_at")),
    ("TOOK", duration),
];

const STEPS: &[Column] = &[
    ("STEP", |row| cell(row, "path")),
    ("TYPE", |row| cell(row, "type")),
    ("STATUS", |row| cell(row, "status")),
    ("TRIES", |row| count(row, "attempts")),
    ("TOOK", took),
    ("ERROR", |row| cell(row, "error")),
];

pub(super) fn command() -> Command {
    with_server(group("runs", "List, show, cancel and repeat runs", VERBS))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn id_arg() -> Arg {
    positional("id", "ID", "A request id (req_…) or a run id")
}

fn list_command() -> Command {
    with_filters(
        Command::new("list").about("List runs, newest first"),
        FILTERS,
    )
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(
        &["v1", "workflow_runs"],
        &query(matches, FILTERS),
        COLUMNS,
        screen,
    )
}

fn show_command() -> Command {
    Command::new("show")
        .about("Show a run and its steps")
        .arg(id_arg())
}

fn show(matches: &ArgMatches, screen: &Screen) -> Done {
    let answer = Server::of(matches)?.get(&["v1", "workflow_runs", required(matches, "id")])?;
    if screen.json {
        return screen.value(&answer);
    }
    let run = &answer["workflow_run"];
    let story = cell(run, "story");
    if !story.is_empty() {
        screen.line(&clean(&story))?;
        screen.line("")?;
    }
    overview(run, screen)?;
    let steps = run["steps"].as_array().map_or(&[][..], Vec::as_slice);
    if !steps.is_empty() {
        screen.line("")?;
        screen.table(STEPS, steps)?;
    }
    Ok(())
}

fn cancel_command() -> Command {
    Command::new("cancel")
        .about("Cancel a run, whatever it is doing")
        .arg(id_arg())
        .arg(text_arg(
            "reason",
            "TEXT",
            "Told to whoever gets the result",
        ))
}

fn cancel(matches: &ArgMatches, screen: &Screen) -> Done {
    let reason = text(matches, "reason").map(|reason| ("reason".to_owned(), reason.into()));
    let body = Value::Object(reason.into_iter().collect::<Map<_, _>>());
    let path = ["v1", "workflow_runs", required(matches, "id"), "cancel"];
    let answer = Server::of(matches)?.send("POST", &path, &body)?;
    match screen.json {
        true => screen.value(&answer),
        false => overview(&answer["workflow_run"], screen),
    }
}

fn retry_command() -> Command {
    Command::new("retry")
        .about("Repeat a run that has ended; what it has finished is not done again")
        .arg(id_arg())
        .arg(text_arg(
            "from",
            "STEP",
            "start, failed, or a step's path or id [default: failed]",
        ))
        .arg(text_arg(
            "version",
            "VERSION",
            "same, or latest: the variant's present one [default: same]",
        ))
}

fn retry(matches: &ArgMatches, screen: &Screen) -> Done {
    let given = ["from", "version"].map(|name| (name, text(matches, name)));
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    let body = Value::Object(given.collect::<Map<_, _>>());
    let path = ["v1", "workflow_runs", required(matches, "id"), "retry"];
    let answer = Server::of(matches)?.send("POST", &path, &body)?;
    match screen.json {
        true => screen.value(&answer),
        false => overview(&answer, screen),
    }
}

fn overview(run: &Value, screen: &Screen) -> Done {
    screen.fields(&[
        ("request", cell(run, "request_id")),
        ("run", cell(run, "run_id")),
        ("status", cell(run, "status")),
        ("deployment", place(run)),
        ("source", cell(run, "source")),
        ("delivery", cell(run, "delivery")),
        ("user", cell(run, "user")),
        ("started", cell(run, "started_at")),
        ("ended", cell(run, "ended_at")),
        ("took", duration(run)),
        ("waiting on", cell(run, "waiting_on")),
        ("error", cell(run, "error")),
        ("output", cell(run, "output")),
    ])
}

/// A run tells its own duration, in milliseconds.
fn duration(run: &Value) -> String {
    run["duration"]
        .as_u64()
        .map_or_else(|| took(run), for_people)
}
