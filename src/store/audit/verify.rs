//! Whether the audit is as it was written: a walk along the chain, from its first row to its end.
//!
//! Looks only, a thousand rows at a time, so that a server that writes meanwhile is not held up.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::audit::{BEFORE_FIRST, End, Said};
use crate::store::instance::{self, InstanceKey};
pub use crate::store::instance::{hex, unhex};
use crate::store::open::{observe, resolved};
use crate::store::seal::Sealer;
use crate::store::watch::Watch;

/// How many rows are read at a time.
const CHUNK: usize = 1_000;

/// What a walk along the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditState {
    /// How many rows there are.
    pub rows: u64,
    /// The first row that was changed, or before which rows were changed, removed, moved or put in.
    pub first_bad: Option<i64>,
    /// How many such rows there are.
    pub bad: u64,
    /// Whether it does not end as it was left: rows were cut off its end, or put there.
    pub is_cut: bool,
    /// How many rows were written, by the record beside them; only to be believed if `is_cut` is false.
    pub recorded: i64,
    /// The last row's number and hash; `None`: there is no row.
    pub last: Option<(i64, Vec<u8>)>,
}

impl AuditState {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.first_bad.is_none() && !self.is_cut
    }
}

/// What a walk along the chain of a file found, and what it is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The chain.
    pub state: AuditState,
    /// Whether the file's own key is sealed by a master key. Otherwise whoever can read the file has the key.
    pub is_sealed: bool,
    /// Whether the row that was noted elsewhere is there with that hash; `None`: none was noted.
    pub has_noted: Option<bool>,
}

/// A row's number and hash, noted outside of the file.
pub type Noted = (i64, [u8; 32]);

/// How far along the chain a walk is.
struct Walk {
    /// Where the next chunk begins: at this row.
    from: i64,
    /// The hash that the next row follows.
    previous: Vec<u8>,
    state: AuditState,
}

impl Walk {
    fn begin() -> Walk {
        Walk {
            from: i64::MIN,
            previous: BEFORE_FIRST.to_vec(),
            state: AuditState {
                rows: 0,
                first_bad: None,
                bad: 0,
                is_cut: false,
                recorded: 0,
                last: None,
            },
        }
    }

    /// Goes on by a chunk; true at the end.
    fn step(&mut self, conn: &Connection, key: &InstanceKey) -> Result<bool> {
        // One moment for the last rows and the record of the end.
        let moment = conn.unchecked_transaction()?;
        let mut statement = moment.prepare_cached(
            "SELECT id, at, actor, address, action, target, detail, hash FROM audit
             WHERE id >= ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut rows = statement.query((self.from, CHUNK))?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            seen += 1;
            self.row(row, key)?;
        }
        if seen == CHUNK {
            return Ok(false);
        }
        let end = End::load(&moment)?.ok_or_else(no_key)?;
        self.state.recorded = end.rows;
        self.state.is_cut = !end.is_as_recorded(key);
        Ok(true)
    }

    fn row(&mut self, row: &Row<'_>, key: &InstanceKey) -> Result<()> {
        let id = row.get(0)?;
        let hash = match row.get_ref(7)? {
            ValueRef::Blob(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let expected = said(row, id).map(|said| said.hash(key, &self.previous));
        if expected.is_none_or(|expected| expected.as_slice() != hash) {
            self.state.first_bad.get_or_insert(id);
            self.state.bad += 1;
        }
        self.state.rows += 1;
        self.state.last = Some((id, hash.clone()));
        (self.from, self.previous) = (id.saturating_add(1), hash);
        Ok(())
    }
}

/// What a row says. `None`: something in it is of a type that Skep never writes.
fn said<'a>(row: &'a Row<'_>, id: i64) -> Option<Said<'a>> {
    let maybe = |at: usize| match row.get_ref(at).ok()? {
        ValueRef::Text(bytes) => Some(Some(bytes)),
        ValueRef::Null => Some(None),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    };
    Some(Said {
        id,
        at: row.get(1).ok()?,
        actor: maybe(2)??,
        address: maybe(3)?,
        action: maybe(4)??,
        target: maybe(5)??,
        detail: maybe(6)?,
    })
}

fn no_key() -> Error {
    Error::unavailable("the file has no key of its own, without which its audit proves nothing")
}

/// Walks along the audit of a file, beside a running server or a stopped one. `master_keys` open the file's own key, if
/// it is sealed. `noted`: a row that must still be there.
///
/// # Errors
/// If the file or its key cannot be read, or nobody wants to know any more.
pub fn verify_file(
    path: &Path,
    master_keys: &[String],
    noted: Option<Noted>,
    watch: &Watch,
) -> Result<Verified> {
    let sealer = Sealer::new(master_keys)?;
    observe(&resolved(path), |conn| {
        let key = instance::load(conn, &sealer)?.ok_or_else(no_key)?;
        let last: Option<i64> =
            conn.query_row("SELECT max(id) FROM audit", [], |row| row.get(0))?;
        let total = last.unwrap_or_default().max(0) as u64;
        let mut walk = Walk::begin();
        while !walk.step(conn, &key)? {
            watch.tell("verifying", walk.state.rows, total)?;
        }
        Ok(Verified {
            state: walk.state,
            is_sealed: instance::is_sealed(conn)?,
            has_noted: noted.map(|row| has(conn, row)).transpose()?,
        })
    })
}

fn has(conn: &Connection, (id, hash): Noted) -> Result<bool> {
    let sql = "SELECT count(*) FROM audit WHERE id = ?1 AND hash = ?2";
    let found: i64 = conn.query_row(sql, (id, hash), |row| row.get(0))?;
    Ok(found == 1)
}

impl Store {
    /// Walks along the whole audit.
    pub fn verify_audit(&self) -> Result<AuditState> {
        let mut walk = Walk::begin();
        while !self.read(|conn| walk.step(conn, &self.instance))? {}
        Ok(walk.state)
    }
}

/// Walks along the audit of one connection.
#[cfg(test)]
pub(super) fn walk(conn: &Connection, key: &InstanceKey) -> Result<AuditState> {
    let mut walk = Walk::begin();
    while !walk.step(conn, key)? {}
    Ok(walk.state)
}
