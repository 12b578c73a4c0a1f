//! What the verbs that talk to a running server share: `--url`, `--key`, `--timeout`, lists and their filters.
//!
//! Turns every way of not being answered into one sentence with what to do.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use crate::cli::screen::{Column, Screen, clean};
use crate::cli::{Done, Failure, text, text_arg, texts};
use crate::config;
use crate::outbound::skep::{Ask, NoAnswer, Skep};
use crate::time::parse_duration;

/// What to do about an error, by its code.
const HINTS: &[(&str, &str)] = &[
    (
        "invalid_access",
        "give a key that this server knows with --key or SKEP_KEY",
    ),
    ("insufficient_scope", "use a key that may do this"),
    ("body_too_large", "the server's body_limit can be raised"),
];

/// A filter of a list: its name on the wire, what a value looks like, one line of help.
pub(super) type Filter = (&'static str, &'static str, &'static str);

/// A server to talk to.
pub(super) struct Server {
    skep: Skep,
    /// Where it is, for messages.
    url: String,
}

/// The arguments that name the server, as (name, what a value looks like, one line of help).
const SERVER_ARGS: [(&str, &str, &str); 3] = [
    (
        "url",
        "URL",
        "The server [default: SKEP_URL, or http://127.0.0.1:8080]",
    ),
    (
        "key",
        "KEY",
        "The API key; better kept in SKEP_KEY or a file named by SKEP_KEY_FILE",
    ),
    (
        "timeout",
        "DURATION",
        "How long to wait for an answer [default: 120s]",
    ),
];

fn server_args() -> [Arg; 3] {
    SERVER_ARGS.map(|(name, example, help)| text_arg(name, example, help).global(true))
}

/// The verb, with the arguments that name the server.
pub(super) fn with_server(command: Command) -> Command {
    command.args(server_args())
}

/// The root, where these arguments may stand before the verb too; they are shown by the verbs that have them.
pub(super) fn with_early_server(root: Command) -> Command {
    root.args(server_args().map(|arg| arg.hide(true)))
}

/// The first of these arguments that was given to a verb which has none of them.
pub(super) fn given_in_vain(verb: &Command, matches: &ArgMatches) -> Option<&'static str> {
    let asks = |name: &str| verb.get_arguments().any(|arg| arg.get_id() == name);
    let mut names = SERVER_ARGS.iter().map(|(name, ..)| *name);
    names.find(|name| !asks(name) && text(matches, name).is_some())
}

/// The verb, with a list's filters and pages.
pub(super) fn with_filters(command: Command, filters: &[Filter]) -> Command {
    command
        .args(filter_args(filters))
        .arg(text_arg(
            "limit",
            "N",
            "Rows on a page, at most 500 [default: 50]",
        ))
        .arg(text_arg("cursor", "CURSOR", "Where the page before ended"))
        .arg(text_arg(
            "format",
            "FORMAT",
            "jsonl or csv: a row a line, of every page unless --limit or --cursor is given",
        ))
}

impl Server {
    /// The server that flags or variables name.
    pub(super) fn of(matches: &ArgMatches) -> Result<Server, Failure> {
        let owned = |name| text(matches, name).map(str::to_owned);
        let client = config::client(owned("url"), owned("key"))
            .map_err(|error| Failure::wrong_use(error.message))?;
        let wait = text(matches, "timeout").unwrap_or("120s");
        let deadline = match parse_duration(wait) {
            Ok(Duration::ZERO) => Err(Failure::wrong_use(
                "--timeout: expected a duration above zero",
            )),
            Ok(deadline) => Ok(deadline),
            Err(reason) => Err(Failure::wrong_use(format!("--timeout: {reason}"))),
        }?;
        let key = client.key.as_ref().map(config::Secret::expose);
        let skep =
            Skep::new(&client.url, key, deadline).map_err(|why| unanswered(&why, &client.url))?;
        Ok(Server {
            skep,
            url: client.url,
        })
    }

    /// Whatever the server answers, as JSON.
    pub(super) fn ask(&self, ask: &Ask<'_>) -> Result<(u16, Value), Failure> {
        let answer = self
            .skep
            .ask(ask)
            .map_err(|why| unanswered(&why, &self.url))?;
        if answer.body.is_empty() && answer.status < 300 {
            return Ok((answer.status, Value::Null));
        }
        match serde_json::from_slice(&answer.body) {
            Ok(body) => Ok((answer.status, body)),
            Err(_) => Err(Failure::new(format!(
                "{} answered {} without JSON: check that the URL is that of a Skep server",
                self.url, answer.status
            ))),
        }
    }

    /// The body of a 2xx answer; anything else is a failure.
    pub(super) fn accepted(&self, ask: &Ask<'_>) -> Result<Value, Failure> {
        match self.ask(ask)? {
            (200..=299, body) => Ok(body),
            (status, body) => Err(refused(status, body)),
        }
    }

    /// Reads something.
    pub(super) fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.accepted(&Ask {
            method: "GET",
            path,
            ..Ask::default()
        })
    }

    /// Changes something, with a JSON body.
    pub(super) fn send(&self, method: &str, path: &[&str], body: &Value) -> Result<Value, Failure> {
        let body = body.to_string();
        self.accepted(&Ask {
            method,
            path,
            body: Some(("application/json", body.as_bytes())),
            ..Ask::default()
        })
    }

    /// Removes something.
    pub(super) fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.accepted(&Ask {
            method: "DELETE",
            path,
            ..Ask::default()
        })
    }

    /// One page of a list.
    pub(super) fn list(
        &self,
        path: &[&str],
        query: &[(String, String)],
        columns: &[Column],
        screen: &Screen,
    ) -> Done {
        if query.iter().any(is_of_lines) {
            return self.export(path, query, screen);
        }
        let page = self.accepted(&Ask {
            method: "GET",
            path,
            query,
            ..Ask::default()
        })?;
        if screen.json {
            return screen.value(&page);
        }
        screen.table(
            columns,
            page["data"].as_array().map_or(&[][..], Vec::as_slice),
        )?;
        match page["next_cursor"].as_str() {
            Some(cursor) => screen.line(&format!("more: --cursor {}", clean(cursor))),
            None => Ok(()),
        }
    }

    /// A list a row a line, page after page.
    fn export(&self, path: &[&str], query: &[(String, String)], screen: &Screen) -> Done {
        let is_one_page = query
            .iter()
            .any(|(name, _)| name == "limit" || name == "cursor");
        let mut query = query.to_vec();
        if !is_one_page {
            query.push(("limit".to_owned(), LARGEST_PAGE.to_owned()));
        }
        let has_head = query
            .iter()
            .any(|(name, value)| name == "format" && value == "csv");
        let mut is_first = true;
        loop {
            let asked = Ask {
                method: "GET",
                path,
                query: &query,
                ..Ask::default()
            };
            let answer = self.skep.ask(&asked);
            let answer = answer.map_err(|why| unanswered(&why, &self.url))?;
            let text = String::from_utf8_lossy(&answer.body);
            if answer.status != 200 {
                let body = serde_json::from_str(&text).unwrap_or_default();
                return Err(refused(answer.status, body));
            }
            // Every page of the server has the head; what is written has one.
            let rows = match text.split_once('\n') {
                Some((_, rows)) if has_head && !is_first => rows,
                _ => &text,
            };
            if let Some(rows) = rows.strip_suffix('\n') {
                screen.output(&Value::from(rows))?;
            }
            is_first = false;
            query.retain(|(name, _)| name != "cursor");
            match answer.next_cursor {
                Some(cursor) if !is_one_page => query.push(("cursor".to_owned(), cursor)),
                Some(_) | None => return Ok(()),
            }
        }
    }
}

/// The most rows of a page.
const LARGEST_PAGE: &str = "500";

/// Whether a list is asked for a row a line.
fn is_of_lines((name, value): &(String, String)) -> bool {
    name == "format" && value != "json"
}

/// The filter, as bulk calls take it, that the filters' flags ask for.
pub(super) fn filter(matches: &ArgMatches, filters: &[Filter]) -> Value {
    let given = filters.iter().map(|(name, ..)| *name);
    let given = given.filter_map(|name| {
        let values: Vec<&str> = texts(matches, name).collect();
        (!values.is_empty()).then(|| (name.to_owned(), values.into()))
    });
    Value::Object(given.collect())
}

/// The arguments of a list's filters.
pub(super) fn filter_args(filters: &[Filter]) -> impl Iterator<Item = Arg> {
    filters.iter().map(|&(name, example, help)| {
        let flag = name.replace('_', "-");
        Arg::new(name)
            .long(flag)
            .value_name(example)
            .help(help)
            .action(ArgAction::Append)
    })
}

/// The query that the filters' flags ask for.
pub(super) fn query(matches: &ArgMatches, filters: &[Filter]) -> Vec<(String, String)> {
    let names = filters
        .iter()
        .map(|(name, ..)| *name)
        .chain(["limit", "cursor", "format"]);
    names
        .flat_map(|name| texts(matches, name).map(move |value| filter_pair(name, value)))
        .collect()
}

/// `--metadata tier=gold` is `metadata[tier]=gold`, and `--metadata tier` asks whether it exists.
fn filter_pair(name: &str, value: &str) -> (String, String) {
    match (name, value.split_once('=')) {
        ("metadata", Some((key, value))) => (format!("metadata[{key}]"), value.to_owned()),
        ("metadata", None) => (format!("metadata[{value}]"), String::new()),
        _ => (name.to_owned(), value.to_owned()),
    }
}

/// A refusal in one sentence, with what to do about it; every member of it is kept for `--json`.
pub(super) fn refused(status: u16, body: Value) -> Failure {
    let Value::Object(members) = body else {
        return Failure::new(format!("the server answered {status}"));
    };
    let code = members
        .get("error_code")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let hint = HINTS
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, hint)| *hint);
    let message = match (members.get("error").and_then(Value::as_str), hint) {
        (Some(error), Some(hint)) => format!("{}; {hint}", error.trim_end_matches('.')),
        (Some(error), None) => error.to_owned(),
        (None, _) => format!("the server answered {status}"),
    };
    let details = members
        .into_iter()
        .filter(|(name, _)| name != "error")
        .collect();
    Failure {
        details,
        ..Failure::new(message)
    }
}

pub(super) fn unanswered(why: &NoAnswer, url: &str) -> Failure {
    match why {
        NoAnswer::Wrong(reason) => Failure::wrong_use(reason.as_str()),
        NoAnswer::NoServer(reason) => Failure::new(format!(
            "no server answers at {url} ({reason}): start one with `skep serve`, or name another with --url"
        )),
        NoAnswer::TooLate(waited) => Failure::new(format!(
            "{url} gave no answer within {}: what was asked for may still happen, look before you repeat it, \
             or wait longer with --timeout",
            crate::cli::screen::for_people(waited.as_millis() as u64)
        )),
        NoAnswer::Broken(reason) => Failure::new(format!(
            "the exchange with {url} broke ({reason}): try again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let failure = refused(
            401,
            json!({"error": "Invalid access.", "message": "Invalid access.", "error_code": "invalid_access"}),
        );
        assert_eq!(
            failure.message,
            "Invalid access; give a key that this server knows with --key or SKEP_KEY"
        );
        assert_eq!(
            (failure.exit, failure.to_json()["error_code"].as_str()),
            (1, Some("invalid_access"))
        );
        assert_eq!(
            refused(502, json!("bad gateway")).message,
            "the server answered 502"
        );
    }

    #[test]
    fn nobody_at_home_is_one_sentence_with_what_to_do() {
        let why = NoAnswer::NoServer("connection refused".to_owned());
        assert_eq!(
            unanswered(&why, "http://127.0.0.1:8080").message,
            "no server answers at http://127.0.0.1:8080 (connection refused): start one with `skep serve`, \
             or name another with --url"
        );
    }

    #[test]
    fn metadata_filters_become_the_wires() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            filter_pair("metadata", "tier=a=b"),
            pair("metadata[tier]", "a=b")
        );
        assert_eq!(filter_pair("metadata", "tier"), pair("metadata[tier]", ""));
        assert_eq!(filter_pair("status", "a=b"), pair("status", "a=b"));
    }
}
