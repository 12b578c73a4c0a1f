//! Whether a file is sound, and what is stuck in it. Looks only, beside a running server or a stopped one.
//!
//! Three layers: SQLite's own (pages, indexes, the schema's CHECKs, references), what must hold between rows ([`rules`]),
//! and what is not wrong but needs a person. Each question is one statement, so that a server's commits can go on in
//! between and each answer is of one moment.

mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, named_params};

use crate::error::{Error, Result};
use crate::flow::delivery::SCHEDULE;
use crate::id::Id;
use crate::store::open::{observe, resolved};
use crate::store::upgrade::SCHEMA;
use crate::store::watch::{LogGuard, Watch};
use crate::time::Timestamp;

/// How many ids of a finding are named.
const NAMED: usize = 10;

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is, for machines: `run_without_event`.
    pub rule: &'static str,
    /// What it is, in a sentence.
    pub what: String,
    /// Which: the first ten.
    pub ids: Vec<String>,
    /// How many.
    pub count: u64,
    /// What to do, in a sentence.
    pub advice: &'static str,
}

/// What a look at a whole file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What must not be. None: the file is sound.
    pub problems: Vec<Finding>,
    /// What may be, but needs a person.
    pub stuck: Vec<Finding>,
    /// How many runs there are in each state.
    pub runs: BTreeMap<String, u64>,
    /// How many deliveries there are in each state.
    pub deliveries: BTreeMap<String, u64>,
    /// How large the file is, in bytes, and how much of that is free.
    pub bytes: (u64, u64),
}

/// One question: what it finds must not be, or is stuck.
struct Rule {
    name: &'static str,
    what: &'static str,
    /// Answers one id a row. May use `:now`, `:late` and `:budget`.
    sql: &'static str,
    advice: &'static str,
}

/// Looks at all of a file.
///
/// # Errors
/// If it cannot be read at all: it is not there, not ours, or of a newer version; or nobody wants to know any more.
pub fn check(path: &Path, now: Timestamp, watch: &Watch) -> Result<Checked> {
    let path = resolved(path);
    let guard = LogGuard::over(&path);
    observe(&path, |conn| {
        watch.during(conn, "checking", Some(&guard), || all(conn, now))
    })
}

fn all(conn: &Connection, now: Timestamp) -> Result<Checked> {
    let mut problems = Vec::new();
    problems.extend(damage(conn)?);
    problems.extend(shape(conn)?);
    problems.extend(references(conn)?);
    let mut stuck = Vec::new();
    for (rules, found) in [
        (rules::INVARIANTS, &mut problems),
        (rules::STUCK, &mut stuck),
    ] {
        for rule in rules {
            found.extend(ask(conn, rule, now)?);
        }
    }
    let number = |pragma: &str| -> Result<u64> {
        Ok(conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?)
    };
    let page = number("page_size")?;
    Ok(Checked {
        problems,
        stuck,
        runs: by_status(conn, "runs")?,
        deliveries: by_status(conn, "deliveries")?,
        bytes: (
            number("page_count")? * page,
            number("freelist_count")? * page,
        ),
    })
}

/// Collects the first few and counts the rest.
fn gather(
    finding: Finding,
    rows: impl Iterator<Item = rusqlite::Result<String>>,
) -> rusqlite::Result<Option<Finding>> {
    let mut finding = finding;
    for row in rows {
        let id = row?;
        finding.count += 1;
        if finding.ids.len() < NAMED {
            finding.ids.push(id);
        }
    }
    Ok((finding.count > 0).then_some(finding))
}

fn finding(name: &'static str, what: &str, advice: &'static str) -> Finding {
    Finding {
        rule: name,
        what: what.to_owned(),
        ids: Vec::new(),
        count: 0,
        advice,
    }
}

/// Pages, indexes and the CHECKs of the schema.
fn damage(conn: &Connection) -> Result<Option<Finding>> {
    let mut found = finding(
        "damaged",
        "the file is damaged",
        "Stop the server, keep a copy of the file with its -wal, and restore the last good backup.",
    );
    let mut statement = conn.prepare("PRAGMA integrity_check(100)")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    for row in rows {
        match row {
            Ok(text) if text == "ok" => {}
            Ok(text) => {
                found.count += 1;
                if found.ids.len() < NAMED {
                    found.ids.push(text.replace('\n', " "));
                }
            }
            Err(fault) if is_damage(&fault) => {
                found.count += 1;
                found.ids.push(fault.to_string());
                break;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok((found.count > 0).then_some(found))
}

fn is_damage(fault: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        fault.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

/// Tables and indexes are those of `schema.sql`.
fn shape(conn: &Connection) -> Result<Option<Finding>> {
    let items = |conn: &Connection| -> rusqlite::Result<BTreeMap<String, String>> {
        conn.prepare(
            "SELECT type || ' ' || name, sql FROM sqlite_schema
             WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
    };
    let fresh = Connection::open_in_memory()?;
    fresh.execute_batch(SCHEMA)?;
    let (expected, present) = (items(&fresh)?, items(conn)?);
    let mut wrong: Vec<String> = expected
        .iter()
        .filter(|(name, sql)| present.get(*name) != Some(sql))
        .map(|(name, _)| name.clone())
        .collect();
    wrong.extend(
        present
            .keys()
            .filter(|name| !expected.contains_key(*name))
            .cloned(),
    );
    let found = finding(
        "other_shape",
        "tables or indexes are not as this version makes them",
        "Someone changed the file by hand: restore a backup, or undo the change.",
    );
    Ok(gather(found, wrong.into_iter().map(Ok))?)
}

/// Rows that point to rows which are not there.
fn references(conn: &Connection) -> Result<Option<Finding>> {
    let found = finding(
        "broken_reference",
        "rows point to rows that are not there",
        "Someone changed the file by hand: restore a backup.",
    );
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |row| {
        let (table, id, to): (String, Option<i64>, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(format!("{table} {} → {to}", id.unwrap_or_default()))
    })?;
    readable("broken_reference", gather(found, rows))
}

/// What cannot be read is a finding too: the damage is told, not only that there was some.
fn readable(
    name: &'static str,
    found: rusqlite::Result<Option<Finding>>,
) -> Result<Option<Finding>> {
    match found {
        Err(fault) if is_damage(&fault) => Ok(Some(Finding {
            ids: vec![fault.to_string()],
            count: 1,
            ..finding(
                name,
                "this could not be looked at, because the file is damaged",
                "See what is said of the damage.",
            )
        })),
        other => other.map_err(Error::from),
    }
}

fn ask(conn: &Connection, rule: &Rule, now: Timestamp) -> Result<Option<Finding>> {
    let found = finding(rule.name, rule.what, rule.advice);
    let mut statement = conn.prepare(rule.sql)?;
    let given = [
        (":now", now.0),
        (":late", now.0.saturating_sub(rules::LATE_MS)),
        (":budget", SCHEDULE.len().max(rules::ATTEMPTS_MAX) as i64),
    ];
    for (name, value) in given {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let mut rows = statement.raw_query();
    let ids = std::iter::from_fn(|| match rows.next() {
        Ok(Some(row)) => Some(shown(row)),
        Ok(None) => None,
        Err(fault) => Some(Err(fault)),
    });
    readable(rule.name, gather(found, fuse_at_error(ids)))
}

/// Nothing is asked of a statement that failed.
fn fuse_at_error<T, E>(
    rows: impl Iterator<Item = std::result::Result<T, E>>,
) -> impl Iterator<Item = std::result::Result<T, E>> {
    let mut failed = false;
    rows.take_while(move |row| {
        let go_on = !failed;
        failed |= row.is_err();
        go_on
    })
}

/// An id as callers know it: the second column is its prefix (`req_`, `dlv_`), if the first is 16 bytes.
fn shown(row: &rusqlite::Row<'_>) -> rusqlite::Result<String> {
    let prefix: String = row.get(1)?;
    Ok(match row.get_ref(0)? {
        ValueRef::Blob(bytes) => match <[u8; 16]>::try_from(bytes) {
            Ok(bytes) => Id(bytes).prefixed(&prefix),
            Err(_) => format!("{prefix}?"),
        },
        ValueRef::Integer(number) => format!("{prefix}{number}"),
        ValueRef::Text(text) => format!("{prefix}{}", String::from_utf8_lossy(text)),
        ValueRef::Null | ValueRef::Real(_) => format!("{prefix}?"),
    })
}

fn by_status(conn: &Connection, table: &str) -> Result<BTreeMap<String, u64>> {
    let counted = || -> rusqlite::Result<BTreeMap<String, u64>> {
        conn.prepare(&format!(
            "SELECT status, count(*) FROM {table} GROUP BY status"
        ))?
        .query_map(named_params! {}, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
    };
    match counted() {
        Err(fault) if is_damage(&fault) => Ok(BTreeMap::new()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests;
