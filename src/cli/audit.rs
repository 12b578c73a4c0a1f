//! `skep audit`: who changed what, and whether the list is as it was written.
//!
//! `list` asks a server; `verify` reads the file itself, beside a running server or a stopped one.

use std::path::Path;

use clap::{ArgMatches, Command};
use serde_json::json;

use crate::cli::client::{Server, query, with_filters, with_server};
use crate::cli::progress::Onlooker;
use crate::cli::screen::{Column, Screen, cell, for_people};
use crate::cli::{Done, Failure, Verb, dispatch, group, settings, text, text_arg};
use crate::store::audit::verify::{AuditState, Noted, Verified, hex, unhex, verify_file};

const VERBS: &[Verb] = &[
    Verb {
        name: "list",
        command: list_command,
        run: list,
    },
    Verb {
        name: "verify",
        command: verify_command,
        run: verify,
    },
];

const COLUMNS: &[Column] = &[
    ("ROW", |row| cell(row, "id")),
    ("AT", |row| cell(row, "at")),
    ("ACTOR", |row| cell(row, "actor")),
    ("FROM", |row| cell(row, "address")),
    ("ACTION", |row| cell(row, "action")),
    ("TARGET", |row| cell(row, "target")),
];

const AFTER: &str = "\
Reads the whole audit, beside a running server or a stopped one, and changes nothing. Each row bears an HMAC, made with \
the file's own key, over itself and the row before it; the end is on record too. So a row that was changed, removed, \
moved, put in or cut off by anyone who has not that key is found.

It cannot show what was done by someone who has the file and its key. With master_key set, the key is sealed in the \
file; give the same one here (SKEP_MASTER_KEY or SKEP_MASTER_KEY_FILE). Without one, the key lies in the file, and \
whoever can write the file can make a new chain. Against that, and against a new key with a new chain or an older copy \
of the file, note the last row's number and hash somewhere else, and give them to --noted later.

Exit codes: 0 as it was written; 1 not so, or not readable.";

pub(super) fn command() -> Command {
    group("audit", "List who changed what, and verify the list", VERBS)
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    dispatch(VERBS, matches, screen)
}

fn list_command() -> Command {
    with_server(with_filters(
        Command::new("list").about("List who changed what, newest first"),
        &[],
    ))
}

fn list(matches: &ArgMatches, screen: &Screen) -> Done {
    Server::of(matches)?.list(&["v1", "audit"], &query(matches, &[]), COLUMNS, screen)
}

fn verify_command() -> Command {
    Command::new("verify")
        .about("Verify that the audit in a database is as it was written")
        .after_help(AFTER)
        .arg(settings::data_arg())
        .arg(text_arg(
            "noted",
            "ROW:HASH",
            "A last row that was noted earlier: it must still be there",
        ))
}

fn verify(matches: &ArgMatches, screen: &Screen) -> Done {
    let config = settings::of_data(matches)?;
    let master_keys = config.master_keys();
    let noted = text(matches, "noted").map(read_noted).transpose()?;
    let (onlooker, watch) = Onlooker::start(screen)?;
    let found = verify_file(&config.data, &master_keys, noted, &watch);
    let took = onlooker.end().as_millis() as u64;
    let found = found
        .map_err(|error| Failure::new(format!("the audit was not verified: {}", error.message)))?;
    let wrong = wrong(&found, !master_keys.is_empty());
    if screen.json {
        screen.value(&as_json(&config.data, &found, &wrong, took))?;
    } else {
        for sentence in &wrong {
            screen.line(sentence)?;
        }
        screen.fields(&[
            ("rows", found.state.rows.to_string()),
            ("last row", last(&found.state)),
            ("file's key", key(&found).to_owned()),
            ("took", for_people(took)),
            (
                "sound",
                if wrong.is_empty() { "yes" } else { "no" }.to_owned(),
            ),
        ])?;
        screen.line(limits(&found))?;
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "the audit in {} is not as it was written",
            config.data.display()
        ))),
    }
}

/// `ROW:HASH`, as the last row is shown.
fn read_noted(text: &str) -> Result<Noted, Failure> {
    let noted = text.split_once(':').and_then(|(row, hash)| {
        let row: i64 = row.trim().parse().ok()?;
        Some((row, unhex(hash.trim())?))
    });
    noted.ok_or_else(|| {
        Failure::wrong_use(
            "--noted: expected a row's number, a colon and its hash of 64 hex digits",
        )
    })
}

fn as_json(data: &Path, found: &Verified, wrong: &[String], took: u64) -> serde_json::Value {
    let state = &found.state;
    let last = state.last.as_ref();
    json!({
        "data": data,
        "sound": wrong.is_empty(),
        "problems": wrong,
        "rows": state.rows,
        "first_bad_row": state.first_bad,
        "bad_rows": state.bad,
        "cut": state.is_cut,
        "last_row": last.map(|(row, hash)| json!({"id": row, "hash": hex(hash)})),
        "noted_row_found": found.has_noted,
        "key_sealed": found.is_sealed,
        "duration_ms": took,
    })
}

/// What is wrong, in sentences. `has_master_key`: one was given, so that the file's key should be sealed by it.
fn wrong(found: &Verified, has_master_key: bool) -> Vec<String> {
    let state = &found.state;
    let mut wrong = Vec::new();
    if has_master_key && !found.is_sealed {
        wrong.push(
            "A master_key is given, but the file's key lies in it in clear: either no server was started with that \
             master_key yet, or somebody put another key there, and a chain made with it."
                .to_owned(),
        );
    }
    if let Some(row) = state.first_bad {
        wrong.push(format!(
            "Row {row} is the first that is not as it was written: it was changed or put in, or rows before it were \
             removed or moved. {} of {} rows do not fit.",
            state.bad, state.rows
        ));
    }
    if state.is_cut {
        let rows = state.last.as_ref().map_or(0, |(row, _)| *row);
        wrong.push(match state.recorded {
            recorded if recorded > rows => format!(
                "The end was cut off: {recorded} rows were written, and the last that is there is row {rows}."
            ),
            _ => format!(
                "The end, row {rows}, is not the one on record: rows were cut off, changed or put there, and others \
                 may have been written since."
            ),
        });
    }
    if found.has_noted == Some(false) {
        wrong.push(
            "The noted row is not there with that hash: this is another audit, or an older copy of the file."
                .to_owned(),
        );
    }
    wrong
}

/// The last row, as `--noted` takes it.
fn last(state: &AuditState) -> String {
    let last = state.last.as_ref();
    last.map_or_else(
        || "none".to_owned(),
        |(row, hash)| format!("{row}:{}", hex(hash)),
    )
}

fn key(found: &Verified) -> &'static str {
    match found.is_sealed {
        true => "sealed by master_key",
        false => "lies in the file, in clear",
    }
}

/// What the answer is worth, in a sentence.
fn limits(found: &Verified) -> &'static str {
    match found.is_sealed {
        true => {
            "This shows any change by someone without the master_key, but not one by someone who has it and the \
             file, nor a new key with a new chain: note the last row elsewhere, and give it to --noted later."
        }
        false => {
            "This does not show a change by someone who can read and write the file, because its key lies in it: \
             set master_key, and note the last row elsewhere to give it to --noted later."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(state: AuditState) -> Verified {
        Verified {
            state,
            is_sealed: true,
            has_noted: None,
        }
    }

    fn sound() -> AuditState {
        AuditState {
            rows: 7,
            first_bad: None,
            bad: 0,
            is_cut: false,
            recorded: 7,
            last: Some((7, vec![0xab; 32])),
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_sentences() {
        assert!(wrong(&found(sound()), true).is_empty());
        let bad = AuditState {
            first_bad: Some(3),
            bad: 2,
            ..sound()
        };
        let bad = wrong(&found(bad), true);
        assert!(bad[0].starts_with("Row 3 is the first "), "{bad:?}");
        assert!(bad[0].ends_with("2 of 7 rows do not fit."), "{bad:?}");
        let cut = AuditState {
            is_cut: true,
            recorded: 9,
            ..sound()
        };
        let said = wrong(&found(cut.clone()), true);
        let sentence =
            "The end was cut off: 9 rows were written, and the last that is there is row 7.";
        assert_eq!(said, [sentence]);
        let said = wrong(&found(AuditState { recorded: 7, ..cut }), true);
        assert!(said[0].starts_with("The end, row 7, is not"), "{said:?}");
        let other = Verified {
            has_noted: Some(false),
            ..found(sound())
        };
        assert_eq!(wrong(&other, true).len(), 1);
        let clear = Verified {
            is_sealed: false,
            ..found(sound())
        };
        assert!(wrong(&clear, false).is_empty());
        assert!(wrong(&clear, true)[0].contains("lies in it in clear"));
    }

    #[test]
    fn a_noted_row_is_read_as_the_last_row_is_shown() {
        let noted = read_noted(&last(&sound())).expect("as it is shown");
        assert_eq!(noted, (7, [0xab; 32]));
        for text in ["", "7", "7:", "x:ab", "7:abcd"] {
            assert_eq!(read_noted(text).expect_err("not a row").exit, 2, "{text}");
        }
    }
}
