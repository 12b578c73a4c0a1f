//! `skep secrets`: list, set, remove. A value comes by standard input or a file, never by an argument: those are seen
//! by every user of the machine, and kept in the shell's history.

use std::io::{IsTerminal, Read, Write};

use clap::{Arg, ArgMatches, Command};
use serde_json::json;

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
        name: "set",
        command: set_command,
        run: set,
    },
    Verb {
        name: "remove",
        command: remove_command,
        run: remove,
    },
];

/// A secret goes into a header or a body; what is larger is some other file.
const VALUE_MAX: u64 = 64 * 1024;

const COLUMNS: &[Column] = &[
    ("NAME", |row| cell(row, "name")),
    ("HOSTS", |row| cell(row, "hosts")),
    ("UPDATED", |row| cell(row, "updated_at")),
];

pub(super) fn command() -> Command {
    with_server(group(
        "secrets",
        "List, set and remove the secrets that steps may use",
        VERBS,
    ))
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn name_arg() -> Arg {
    positional("name", "NAME", "As in {{ secrets.NAME }}")
}

fn list_command() -> Command {
    with_filters(
        Command::new("list").about("List secrets, without their values"),
        &[],
    )
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(&["v1", "secrets"], &query(matches, &[]), COLUMNS, screen)
}

fn set_command() -> Command {
    let hosts = text_arg("hosts", "HOST,…", "The only hosts it is sent to")
        .required(true)
        .value_delimiter(',');
    Command::new("set")
        .about("Set a secret; its value is read from standard input")
        .arg(name_arg())
        .arg(hosts)
        .arg(text_arg(
            "from-file",
            "FILE",
            "Read the value from a file instead",
        ))
}

fn set(matches: &ArgMatches, screen: &Screen) -> Done {
    let name = required(matches, "name");
    let hosts: Vec<&str> = super::texts(matches, "hosts")
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .collect();
    let server = Server::of(matches)?;
    let body = json!({"value": value(text(matches, "from-file"))?, "hosts": hosts});
    let answer = server.send("PUT", &["v1", "secrets", name], &body)?;
    screen.told(&answer, &format!("set {name} for {}", hosts.join(", ")))
}

fn value(file: Option<&str>) -> Result<String, Failure> {
    let (from, read) = match file {
        Some(path) => (path, std::fs::File::open(path).and_then(read_value)),
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                drop(writeln!(
                    std::io::stderr(),
                    "Type the value, then Enter and Ctrl-D:"
                ));
            }
            ("standard input", read_value(stdin.lock()))
        }
    };
    match read
        .map_err(|fault| Failure::new(format!("cannot read the value from {from}: {fault}")))?
        .as_str()
    {
        "" => Err(Failure::wrong_use(format!(
            "expected the secret's value, got nothing from {from}"
        ))),
        value if value.len() as u64 > VALUE_MAX => Err(Failure::wrong_use(format!(
            "expected a value of at most 64 KiB, got more from {from}"
        ))),
        value => Ok(value.to_owned()),
    }
}

/// The text without the one line end that editors and `echo` put behind it.
fn read_value(reader: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    reader.take(VALUE_MAX + 2).read_to_string(&mut text)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn remove_command() -> Command {
    Command::new("remove")
        .about("Remove a secret")
        .arg(name_arg())
}

fn remove(matches: &ArgMatches, screen: &Screen) -> Done {
    let name = required(matches, "name");
    let answer = Server::of(matches)?.delete(&["v1", "secrets", name])?;
    screen.told(&answer, &format!("removed {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_dropped_and_the_rest_kept() {
        for (read, kept) in [
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("a\nb\n\n", "a\nb\n"),
            (" s ", " s "),
        ] {
            assert_eq!(read_value(read.as_bytes()).expect("it is UTF-8"), kept);
        }
    }

    #[test]
    fn a_value_cannot_be_an_argument() {
        let line = [
            "secrets",
            "set",
            "TOKEN",
            "s3cret",
            "--hosts",
            "api.example",
        ];
        assert!(command().try_get_matches_from(line).is_err());
        let without_hosts = ["secrets", "set", "TOKEN"];
        assert!(command().try_get_matches_from(without_hosts).is_err());
    }
}
