//! Where each byte of the file goes: by table, by index, by column, for runs that were really made.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::job::{CONNECTIONS, DIRECT, JOB, accept, look};
use crate::report::Report;
use crate::server::{scratch, start};
use crate::{Asked, progress};
use skep::bench::Result;
use skep::bench::load::Until;
use skep::bench::receiver::Receiver;
use skep::bench::server::until;

const PLAIN: &str = "a finished one-step run of 200 bytes";
const DELIVERED: &str = "the same with its callback delivered";

/// Of file, for a finished one-step run.
const MOST: f64 = 1_536.0;

/// What is said of: in bytes for a run.
const LEAST: f64 = 0.5;

/// Direct runs; then runs whose result was delivered.
pub fn measure(asked: &Asked, report: &mut Report) -> Result<()> {
    let count = asked.of(100_000, 1_000);
    let receiver = Receiver::start()?;
    let url = receiver.url("callback");
    let turns = [
        (PLAIN, DIRECT, None),
        (DELIVERED, CONNECTIONS, Some(url.as_str())),
    ];
    for (name, connections, url) in turns {
        progress(name);
        let folder = scratch()?;
        let server = start(&folder, &[])?;
        server.deploy("job", JOB)?;
        let before = bytes(&settled(folder.path())?)?;
        let mut made = 0;
        while made < count {
            let more = (count - made).min(20_000);
            made += accept(&server, connections, Until::Sent(more), url)?
                .times
                .count();
        }
        let beside = look(folder.path())?;
        let sql = "SELECT EXISTS (SELECT 1 FROM runs WHERE ended_at IS NULL)
                   OR EXISTS (SELECT 1 FROM deliveries WHERE ended_at IS NULL)";
        until("every run to be over", Duration::from_secs(300), || {
            Ok(!beside.query_row(sql, [], |row| row.get(0))?)
        })?;
        drop(beside);
        server.stop()?;
        let conn = settled(folder.path())?;
        let each = (bytes(&conn)? - before) / made as f64;
        match url {
            None => report.claim(
                name,
                format!("file for each of {made}"),
                (each, "B"),
                "<= 1.5 KiB",
                each <= MOST,
            ),
            Some(_) => report.note(name, format!("file for each of {made}"), each, "B"),
        }
        trees(&conn, name, made, report)?;
        columns(&conn, name, made, report)?;
    }
    Ok(())
}

/// The file with its log written back.
fn settled(folder: &Path) -> Result<Connection> {
    let conn = Connection::open(folder.join("skep.db"))?;
    conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
    Ok(conn)
}

/// The file's size.
fn bytes(conn: &Connection) -> Result<f64> {
    let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = conn.query_row(sql, [], |row| row.get(0))?;
    Ok(bytes as f64)
}

/// Each table and index: its pages, and what of them holds nothing; then the pages of neither.
fn trees(conn: &Connection, name: &'static str, runs: usize, report: &mut Report) -> Result<()> {
    let sql = "SELECT s.name, m.type, m.tbl_name, s.pgsize, s.payload, s.unused FROM dbstat s
               LEFT JOIN sqlite_schema m ON m.name = s.name
               WHERE s.aggregate = TRUE ORDER BY s.pgsize DESC";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut rest, mut small) = (bytes(conn)?, 0.0);
    while let Some(row) = rows.next()? {
        let tree: String = row.get(0)?;
        let kind: Option<String> = row.get(1)?;
        let table: Option<String> = row.get(2)?;
        let numbers: [i64; 3] = [row.get(3)?, row.get(4)?, row.get(5)?];
        let [pages, payload, unused] = numbers.map(|bytes| bytes as f64 / runs as f64);
        rest -= numbers[0] as f64;
        // One page is what an empty one has.
        if pages < LEAST || numbers[0] <= 4096 {
            small += pages;
            continue;
        }
        let label = match (kind.as_deref(), table) {
            (Some("index"), Some(table)) => format!("index {tree} of {table}"),
            _ => format!("table {tree}"),
        };
        let split = format!("{label} (content {payload:.0}, unused {unused:.0})");
        report.note(name, split, pages, "B");
    }
    report.note(name, "all other tables and indexes", small, "B");
    let rest = rest / runs as f64;
    report.note(name, "free pages and pointers to pages", rest, "B");
    Ok(())
}

/// Each column of text or bytes.
fn columns(conn: &Connection, name: &'static str, runs: usize, report: &mut Report) -> Result<()> {
    let sql = "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_info(t.name) c
               WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
               AND c.type IN ('TEXT', 'BLOB')";
    let mut statement = conn.prepare(sql)?;
    let found: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<std::result::Result<_, _>>()?;
    for (table, column) in found {
        let sql = format!("SELECT coalesce(sum(octet_length(\"{column}\")), 0) FROM \"{table}\"");
        let bytes: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
        let each = bytes as f64 / runs as f64;
        if each >= LEAST {
            report.note(name, format!("column {table}.{column}"), each, "B");
        }
    }
    Ok(())
}
