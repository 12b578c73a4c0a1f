//! Pages of lists: newest first, continued by a cursor.

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

/// A page's rows, and where the next one begins.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The rows. May be fewer than asked for although more follow.
    pub rows: Vec<T>,
    /// The next page's cursor, if there may be one.
    pub next: Option<i64>,
}

impl<T> Paged<T> {
    /// A page from up to `limit + 1` rows: the surplus row only says that more follow.
    pub(super) fn cut(mut rows: Vec<T>, limit: usize, id: impl Fn(&T) -> i64) -> Paged<T> {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(id) } else { None };
        Paged { rows, next }
    }
}
