//! The original that is cloned: its rows, and what in them differs from copy to copy.

use rusqlite::types::Value;
use rusqlite::{Connection, Statement};

use skep::bench::{Result, fault};

/// One piece of a text that names something of the original.
enum Piece {
    Plain(String),
    /// 32 hex digits.
    Hex(usize),
    /// The same with dashes.
    Dashed(usize),
}

/// What a column holds in a copy.
enum Cell {
    /// What the original holds.
    Same(Value),
    /// The copy's own id, or that of the copy of a row of the same run: base, rows of that table, and which of them.
    Id(i64, i64, i64),
    /// A time, moved.
    Time(i64),
    /// A name, as 16 bytes.
    Name(usize),
    /// A text with names in it.
    Text(Vec<Piece>),
}

/// The original's rows in one table.
struct Table {
    name: String,
    columns: Vec<String>,
    /// Its rows, each a cell a column.
    rows: Vec<Vec<Cell>>,
    /// The first id that is free.
    base: i64,
}

/// A run and all that refers to it.
pub struct Family {
    tables: Vec<Table>,
    /// What has a random name: the run, its delivery, its event.
    pub names: Vec<[u8; 16]>,
    /// When the original was accepted.
    pub accepted_at: i64,
}

/// The tables of the file.
pub fn tables(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_list
               WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut statement = conn.prepare(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<std::result::Result<_, _>>()?)
}

/// The columns of a table that an insert may name.
pub fn columns(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<std::result::Result<_, _>>()?)
}

/// Which columns refer to the `id` of which tables.
fn references(conn: &Connection, table: &str) -> Result<Vec<(String, String)>> {
    let sql = "SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?1)";
    let mut statement = conn.prepare(sql)?;
    let found = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

/// The columns that are unique on their own.
fn unique(conn: &Connection, table: &str) -> Result<Vec<String>> {
    let sql = "SELECT max(c.name) FROM pragma_index_list(?1) l, pragma_index_info(l.name) c
               WHERE l.\"unique\" = 1 GROUP BY l.name HAVING count(*) = 1";
    let mut statement = conn.prepare(sql)?;
    let names = statement.query_map([table], |row| row.get(0))?;
    Ok(names.collect::<std::result::Result<_, _>>()?)
}

/// The rows of a table whose `column` is one of `ids`.
fn rows(
    conn: &Connection,
    table: &str,
    columns: &[String],
    column: &str,
    ids: &[i64],
) -> Result<Vec<Vec<Value>>> {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    let sql = format!(
        "SELECT {} FROM \"{table}\" WHERE \"{column}\" IN ({}) ORDER BY 1",
        quoted(columns),
        list.join(", ")
    );
    let mut statement = conn.prepare(&sql)?;
    let found =
        statement.query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect())?;
    Ok(found.collect::<std::result::Result<_, _>>()?)
}

fn quoted(columns: &[String]) -> String {
    let names: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// A table's rows as they were read.
struct Raw {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    ids: Vec<i64>,
}

impl Raw {
    fn read(conn: &Connection, name: &str, column: &str, ids: &[i64]) -> Result<Raw> {
        let columns = columns(conn, name)?;
        let rows = rows(conn, name, &columns, column, ids)?;
        let at = columns.iter().position(|column| column == "id");
        let id = |row: &Vec<Value>| match at.and_then(|at| row.get(at)) {
            Some(Value::Integer(id)) => Some(*id),
            _ => None,
        };
        Ok(Raw {
            name: name.to_owned(),
            ids: rows.iter().filter_map(id).collect(),
            columns,
            rows,
        })
    }
}

/// The run's row, and every row that refers to it, directly or through another.
fn gather(conn: &Connection, run: i64) -> Result<Vec<Raw>> {
    let mut found = vec![Raw::read(conn, "runs", "id", &[run])?];
    loop {
        let before = found.len();
        for table in tables(conn)? {
            if found.iter().any(|raw| raw.name == table) {
                continue;
            }
            for (column, to) in references(conn, &table)? {
                let Some(parent) = found.iter().find(|raw| raw.name == to) else {
                    continue;
                };
                let raw = Raw::read(conn, &table, &column, &parent.ids)?;
                if !raw.rows.is_empty() {
                    found.push(raw);
                    break;
                }
            }
        }
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// The names in columns that are unique: 16 bytes, or a text that ends in 32 hex digits.
fn names(conn: &Connection, gathered: &[Raw]) -> Result<Vec<[u8; 16]>> {
    let mut names: Vec<[u8; 16]> = Vec::new();
    for raw in gathered {
        let unique = unique(conn, &raw.name)?;
        for row in &raw.rows {
            for (column, value) in raw.columns.iter().zip(row) {
                let name: Option<[u8; 16]> = match value {
                    Value::Blob(bytes) => bytes.as_slice().try_into().ok(),
                    Value::Text(text) => text
                        .len()
                        .checked_sub(32)
                        .and_then(|at| text.get(at..))
                        .and_then(|hex| u128::from_str_radix(hex, 16).ok())
                        .map(u128::to_be_bytes),
                    _ => None,
                };
                if let Some(name) = name
                    && unique.contains(column)
                    && !names.contains(&name)
                {
                    names.push(name);
                }
            }
        }
    }
    Ok(names)
}

impl Family {
    /// Reads the run `run` and all that refers to it.
    pub fn of(conn: &Connection, run: i64) -> Result<Family> {
        let gathered = gather(conn, run)?;
        let names = names(conn, &gathered)?;
        let mut family = Family {
            tables: Vec::new(),
            names,
            accepted_at: 0,
        };
        for raw in &gathered {
            let base = match raw.ids.is_empty() {
                true => 0,
                false => conn.query_row(
                    &format!("SELECT max(id) + 1 FROM \"{}\"", raw.name),
                    [],
                    |row| row.get(0),
                )?,
            };
            // In order of discovery: what a row refers to is here already, or is its own table.
            family.tables.push(Table {
                name: raw.name.clone(),
                columns: raw.columns.clone(),
                rows: Vec::new(),
                base,
            });
            let references = references(conn, &raw.name)?;
            for row in &raw.rows {
                let cells = raw.columns.iter().zip(row).map(|(column, value)| {
                    let to = references.iter().find(|(from, _)| from == column);
                    family.cell(&gathered, raw, column, to.map(|(_, to)| to.as_str()), value)
                });
                let cells: Vec<Cell> = cells.collect();
                if let Some(table) = family.tables.last_mut() {
                    table.rows.push(cells);
                }
            }
        }
        family.accepted_at =
            conn.query_row("SELECT created_at FROM runs WHERE id = ?1", [run], |row| {
                row.get(0)
            })?;
        if family.names.is_empty() {
            return Err(fault("the original run has no name"));
        }
        Ok(family)
    }

    /// What is to become of one value of the original.
    fn cell(
        &self,
        gathered: &[Raw],
        raw: &Raw,
        column: &str,
        refers_to: Option<&str>,
        value: &Value,
    ) -> Cell {
        let own = (column == "id").then_some(raw.name.as_str());
        match value {
            Value::Integer(id) => {
                if let Some(target) = own.or(refers_to)
                    && let Some(at) = gathered.iter().position(|raw| raw.name == target)
                    && let Some(which) = gathered[at].ids.iter().position(|known| known == id)
                    && let Some(table) = self.tables.get(at)
                {
                    return Cell::Id(table.base, gathered[at].ids.len() as i64, which as i64);
                }
                let is_time = column.ends_with("_at") || column.ends_with("_until");
                match is_time {
                    true => Cell::Time(*id),
                    false => Cell::Same(value.clone()),
                }
            }
            Value::Blob(bytes) => match self.names.iter().position(|name| name == &bytes[..]) {
                Some(at) => Cell::Name(at),
                None => Cell::Same(value.clone()),
            },
            Value::Text(text) => match self.pieces(text) {
                pieces if pieces.iter().all(|piece| matches!(piece, Piece::Plain(_))) => {
                    Cell::Same(value.clone())
                }
                pieces => Cell::Text(pieces),
            },
            Value::Real(_) | Value::Null => Cell::Same(value.clone()),
        }
    }

    /// A text, cut where it names something of the original.
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let spelled: Vec<(String, bool, usize)> = self
            .names
            .iter()
            .enumerate()
            .flat_map(|(at, name)| {
                let id = uuid::Uuid::from_bytes(*name);
                [
                    (id.simple().to_string(), false, at),
                    (id.hyphenated().to_string(), true, at),
                ]
            })
            .collect();
        loop {
            let next = spelled
                .iter()
                .filter_map(|(name, dashed, at)| Some((rest.find(name)?, name, *dashed, *at)))
                .min_by_key(|(begin, ..)| *begin);
            let Some((begin, name, dashed, at)) = next else {
                pieces.push(Piece::Plain(rest.to_owned()));
                return pieces;
            };
            pieces.push(Piece::Plain(rest[..begin].to_owned()));
            pieces.push(match dashed {
                true => Piece::Dashed(at),
                false => Piece::Hex(at),
            });
            rest = &rest[begin + name.len()..];
        }
    }

    /// The id of the last of so many copies of the run.
    pub fn last_id(&self, count: usize) -> i64 {
        self.tables
            .first()
            .map_or(0, |runs| runs.base + count as i64 - 1)
    }

    /// A statement for each row of the original, what stays the same bound already.
    pub fn writers<'a>(&'a self, conn: &'a Connection) -> Result<Vec<Writer<'a>>> {
        let mut writers = Vec::new();
        for table in &self.tables {
            for row in &table.rows {
                let marks = vec!["?"; table.columns.len()].join(", ");
                let sql = format!(
                    "INSERT INTO \"{}\" ({}) VALUES ({marks})",
                    table.name,
                    quoted(&table.columns)
                );
                let mut statement = conn.prepare(&sql)?;
                for (at, cell) in row.iter().enumerate() {
                    if let Cell::Same(value) = cell {
                        statement.raw_bind_parameter(at + 1, value)?;
                    }
                }
                writers.push(Writer { statement, row });
            }
        }
        Ok(writers)
    }
}

/// Writes the copies of one row.
pub struct Writer<'a> {
    statement: Statement<'a>,
    row: &'a [Cell],
}

impl Writer<'_> {
    /// The copy of that number, `later` than the original, with these names.
    pub fn write(&mut self, copy: usize, later: i64, names: &[[u8; 16]]) -> Result<()> {
        let mut text = String::new();
        for (at, cell) in self.row.iter().enumerate() {
            let at = at + 1;
            match cell {
                Cell::Same(_) => {}
                Cell::Id(base, many, which) => self
                    .statement
                    .raw_bind_parameter(at, base + copy as i64 * many + which)?,
                Cell::Time(time) => self.statement.raw_bind_parameter(at, time + later)?,
                Cell::Name(name) => self.statement.raw_bind_parameter(at, names[*name])?,
                Cell::Text(pieces) => {
                    text.clear();
                    for piece in pieces {
                        spell(piece, names, &mut text);
                    }
                    self.statement.raw_bind_parameter(at, text.as_str())?;
                }
            }
        }
        self.statement.raw_execute()?;
        Ok(())
    }
}

fn spell(piece: &Piece, names: &[[u8; 16]], text: &mut String) {
    let mut buffer = uuid::Uuid::encode_buffer();
    match piece {
        Piece::Plain(plain) => text.push_str(plain),
        Piece::Hex(at) => text.push_str(
            uuid::Uuid::from_bytes(names[*at])
                .simple()
                .encode_lower(&mut buffer),
        ),
        Piece::Dashed(at) => text.push_str(
            uuid::Uuid::from_bytes(names[*at])
                .hyphenated()
                .encode_lower(&mut buffer),
        ),
    }
}

/// Names for a copy: version 7, of the time it was accepted; no two alike, as no two times are.
pub fn ids(copy: usize, count: usize, time: i64) -> Vec<[u8; 16]> {
    let name = |which: usize| {
        let seed = (copy * count + which) as u64;
        let (high, low) = (mixed(seed), mixed(!seed));
        let mut random = [0; 10];
        random[..8].copy_from_slice(&high.to_be_bytes());
        random[8..].copy_from_slice(&low.to_be_bytes()[..2]);
        *uuid::Builder::from_unix_timestamp_millis(time as u64, &random)
            .into_uuid()
            .as_bytes()
    };
    (0..count).map(name).collect()
}

/// SplitMix64's finish: another number for every number.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
