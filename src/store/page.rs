//! Pages of lists: newest first, continued by a cursor, bounded by rows and by bytes.

use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows};

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// How many rows at most.
    pub limit: usize,
    /// Only rows before (steps: after) this one.
    pub cursor: Option<i64>,
}

impl Page {
    /// The most rows a page can have.
    pub const MAX: usize = 500;
    /// The rows a page has if nothing else is said.
    pub const DEFAULT: usize = 50;

    /// The first page of that many rows.
    pub fn first(limit: usize) -> Page {
        Page {
            limit,
            cursor: None,
        }
    }

    /// Where newest-first lists begin: below this id.
    pub(super) fn below(self) -> i64 {
        self.cursor.unwrap_or(i64::MAX)
    }
}

/// How many bytes of text a page holds, about: so that an answer, with what JSON adds to it, stays well below what one
/// client may have unread, and a few of them being made at once well below what the process may need.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// What is left of a page's bytes.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: usize,
    has_row: bool,
}

impl Room {
    /// Takes room for a row; false if there is none. The first row always has it.
    fn take(&mut self, bytes: usize) -> bool {
        self.taken += bytes;
        let fits = self.taken <= PAGE_BYTES || !self.has_row;
        self.has_row = true;
        fits
    }
}

/// How long one look goes on from block to block: what lies cold on a slow disk gives short pages, not long waits.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    /// So many blocks are still looked at however long it takes.
    least: usize,
}

impl Patience {
    /// How long.
    const MOST: Duration = Duration::from_millis(30);

    /// From now on; so many blocks in any case.
    pub(super) fn new(least: usize) -> Patience {
        Patience {
            since: Instant::now(),
            least,
        }
    }

    /// Asked before each block: whether it is to be left for another time.
    pub(super) fn is_over(&mut self) -> bool {
        let must_look = self.least > 0;
        self.least = self.least.saturating_sub(1);
        !must_look && self.since.elapsed() > Patience::MOST
    }
}

/// The bytes of a row's texts and blobs.
pub(super) fn weight(row: &Row<'_>) -> usize {
    (0..row.as_ref().column_count())
        .map(|at| weight_of(row, at))
        .sum()
}

/// The bytes of one column, by its index or name.
pub(super) fn weight_of(row: &Row<'_>, column: impl rusqlite::RowIndex) -> usize {
    match row.get_ref(column) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => bytes.len(),
        Ok(ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_)) | Err(_) => 0,
    }
}

/// A page's rows, and where the next one begins.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The rows. May be fewer than asked for although more follow.
    pub rows: Vec<T>,
    /// The next page's cursor, if there may be one.
    pub next: Option<i64>,
}

impl<T> Paged<T> {
    /// A page from up to `limit + 1` rows, of which no more are read than fit into [`PAGE_BYTES`] (but one always).
    /// A surplus row only says that more follow.
    pub(super) fn gather(
        rows: Rows<'_>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        weight: impl Fn(&Row<'_>) -> usize,
        id: impl Fn(&T) -> i64,
    ) -> rusqlite::Result<Paged<T>> {
        Paged::gather_more(rows, limit, &mut Room::default(), read, weight, id)
    }

    /// The same, of a page that has taken some of its bytes elsewhere.
    pub(super) fn gather_more(
        mut rows: Rows<'_>,
        limit: usize,
        room: &mut Room,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        weight: impl Fn(&Row<'_>) -> usize,
        id: impl Fn(&T) -> i64,
    ) -> rusqlite::Result<Paged<T>> {
        let mut kept: Vec<T> = Vec::new();
        while let Some(row) = rows.next()? {
            if kept.len() == limit || !room.take(weight(row)) {
                let next = match kept.last() {
                    Some(last) => id(last),
                    // The row itself begins the next page, newest first.
                    None => id(&read(row)?) + 1,
                };
                return Ok(Paged {
                    rows: kept,
                    next: Some(next),
                });
            }
            kept.push(read(row)?);
        }
        Ok(Paged {
            rows: kept,
            next: None,
        })
    }

    /// A page from up to `limit + 1` rows: the surplus row only says that more follow.
    pub(super) fn cut(mut rows: Vec<T>, limit: usize, id: impl Fn(&T) -> i64) -> Paged<T> {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(id) } else { None };
        Paged { rows, next }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The first columns of a page of texts of these lengths.
    fn page(lengths: &[usize], limit: usize) -> (Vec<i64>, Option<i64>) {
        let conn = Connection::open_in_memory().expect("memory");
        conn.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
            .expect("a table");
        for length in lengths {
            conn.execute("INSERT INTO t (text) VALUES (?1)", ["x".repeat(*length)])
                .expect("a row");
        }
        let mut statement = conn.prepare("SELECT * FROM t ORDER BY id").expect("sound");
        let rows = statement.query([]).expect("rows");
        let page = Paged::gather(rows, limit, |row| row.get(0), weight, |id| *id).expect("a page");
        (page.rows, page.next)
    }

    #[test]
    fn a_page_ends_by_rows_or_by_bytes_and_has_one_row_at_least() {
        let big = PAGE_BYTES / 2;
        assert_eq!(page(&[], 2), (vec![], None));
        assert_eq!(page(&[1, 1], 2), (vec![1, 2], None));
        assert_eq!(page(&[1, 1, 1], 2), (vec![1, 2], Some(2)));
        assert_eq!(page(&[big, big], 9), (vec![1, 2], None));
        assert_eq!(page(&[big, big, 1], 9), (vec![1, 2], Some(2)));
        assert_eq!(page(&[PAGE_BYTES + 1, 1], 9), (vec![1], Some(1)));
        assert_eq!(page(&[PAGE_BYTES + 1], 9), (vec![1], None));
    }

    #[test]
    fn patience_ends_behind_the_blocks_that_are_looked_at_in_any_case() {
        let long_ago = Instant::now().checked_sub(2 * Patience::MOST);
        let mut patience = Patience {
            since: long_ago.expect("this machine is not that young"),
            least: 2,
        };
        assert_eq!(
            [(); 4].map(|()| patience.is_over()),
            [false, false, true, true]
        );
        let mut patience = Patience::new(0);
        assert!(!patience.is_over(), "there is time left");
    }
}
