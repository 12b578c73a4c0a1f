//! The file's version, and the steps from each version to the next.
//!
//! A new file is made from `schema.sql`. An older one is copied aside first, then brought up one numbered step at a
//! time, each in a transaction. A test holds the upgraded file against a new one.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::store::open::{beside, make_durable, owned_file};
use crate::store::place::copy;
use crate::time::Timestamp;

/// The shape of a new file.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// `UPGRADES[n]` leads from version `n + 1` to `n + 2`.
pub const UPGRADES: &[&str] = &[];

/// The version this program writes.
pub const VERSION: u32 = UPGRADES.len() as u32 + 1;

/// Gives an empty file its shape.
pub fn create(conn: &Connection) -> Result<()> {
    in_transaction(conn, SCHEMA, VERSION)
}

/// Brings an older file up to the version behind the last of `upgrades`, after copying it to `FILE.vN-TIME`.
pub fn bring_up(conn: &Connection, path: &Path, upgrades: &[&str], now: Timestamp) -> Result<()> {
    let from: u32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let to = upgrades.len() as u32 + 1;
    if from == to {
        return Ok(());
    }
    if from == 0 {
        // Made, but never given its shape: the process died in between.
        return create(conn);
    }
    let aside = beside(path, &format!(".v{from}-{}", now.seconds()));
    log::info!(
        "upgrading {} from version {from} to {to}; the old file is kept as {}",
        path.display(),
        aside.display()
    );
    let cannot = |fault: std::io::Error| {
        Error::unavailable(format!(
            "the copy {} cannot be made ({fault}); nothing was changed",
            aside.display()
        ))
    };
    drop(owned_file(&aside).map_err(cannot)?);
    copy(conn, &aside)?;
    // Before the first step, so that there is a way back whenever the power goes off.
    make_durable(&aside).map_err(cannot)?;
    for (number, upgrade) in (2..).zip(upgrades).skip(from as usize - 1) {
        in_transaction(conn, upgrade, number)?;
    }
    Ok(())
}

fn in_transaction(conn: &Connection, sql: &str, version: u32) -> Result<()> {
    let whole = format!("BEGIN IMMEDIATE; {sql}\n PRAGMA user_version = {version}; COMMIT;");
    conn.execute_batch(&whole).map_err(|fault| {
        // The fault is what counts; without a transaction there is nothing to take back.
        drop(conn.execute_batch("ROLLBACK"));
        Error::internal(format!(
            "bringing the file to version {version} failed: {fault}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_is_copied_aside_before_it_is_brought_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("old.db");
        let conn = Connection::open(&path).expect("a file");
        conn.execute_batch("CREATE TABLE t (a INTEGER) STRICT; PRAGMA user_version = 1;")
            .expect("version 1");
        let steps = [
            "ALTER TABLE t ADD COLUMN b INTEGER;",
            "INSERT INTO t (a, b) VALUES (1, 2);",
        ];
        bring_up(&conn, &path, &steps, Timestamp(5_000)).expect("upgraded");
        let row = conn.query_row("SELECT a + b FROM t", [], |row| row.get(0));
        assert_eq!(row, Ok(3));
        assert_eq!(
            conn.query_row("PRAGMA user_version", [], |row| row.get(0)),
            Ok(3)
        );
        let aside = folder.path().join("old.db.v1-5");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&aside)
                .expect("the copy is there")
                .permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let copy = Connection::open(aside).expect("the copy");
        assert_eq!(
            copy.query_row("PRAGMA user_version", [], |row| row.get(0)),
            Ok(1)
        );
        assert_eq!(
            copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)),
            Ok(0)
        );
    }

    #[test]
    fn a_failed_step_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("old.db");
        let conn = Connection::open(&path).expect("a file");
        conn.execute_batch("CREATE TABLE t (a INTEGER) STRICT; PRAGMA user_version = 1;")
            .expect("version 1");
        let steps = ["INSERT INTO t VALUES (1); INSERT INTO missing VALUES (1);"];
        assert!(bring_up(&conn, &path, &steps, Timestamp(0)).is_err());
        assert_eq!(
            conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)),
            Ok(0)
        );
        assert_eq!(
            conn.query_row("PRAGMA user_version", [], |row| row.get(0)),
            Ok(1)
        );
    }

    #[test]
    fn what_every_run_writes_makes_no_table_on_the_way() {
        let conn = Connection::open_in_memory().expect("memory");
        conn.execute_batch(SCHEMA).expect("sound");
        for table in [
            "runs",
            "steps",
            "origins",
            "deliveries",
            "attempts",
            "minutes",
            "facets",
            "idempotency",
        ] {
            let sql = format!("EXPLAIN INSERT INTO {table} DEFAULT VALUES");
            let mut statement = conn.prepare(&sql).expect("a table");
            let codes = statement.query_map([], |row| row.get("opcode"));
            let codes: Vec<String> = codes
                .expect("rows")
                .map(|code| code.expect("text"))
                .collect();
            assert!(
                !codes.iter().any(|code| code == "OpenEphemeral"),
                "{table} has a CHECK with IN and more than two words"
            );
        }
    }
}
