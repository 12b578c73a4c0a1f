//! Lists of runs: the filter, and how few rows are read for it.
//!
//! With a filter that can be looked up, blocks of rows that cannot match are skipped ([`facets`](crate::store::facets));
//! what is left is looked at row by row, so much a page. Open runs come by the index of open runs. Must not change
//! anything.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::facets::{Facet, Wanted, block_of, first_of, next_block, pair};
use crate::store::page::{Page, Paged, Patience, Room, weight, weight_of};
use crate::store::runs::{RunRow, Values, run};
use crate::time::Timestamp;

/// Which runs a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFilter {
    /// In one of these states.
    pub status: Vec<RunStatus>,
    /// From one of these sources.
    pub source: Vec<String>,
    /// `direct` or `callback`.
    pub delivery: Option<String>,
    /// Of the deployment of that name.
    pub deployment: Option<String>,
    /// Of the variant of that name.
    pub variant: Option<String>,
    /// Started by one of these keys.
    pub api_key: Vec<i64>,
    /// For that user.
    pub user: Option<String>,
    /// With these labels; `None`: whatever the value.
    pub metadata: Vec<(String, Option<String>)>,
    /// Accepted then or later.
    pub from: Option<Timestamp>,
    /// Accepted before.
    pub to: Option<Timestamp>,
    /// That run alone, if it fits the rest.
    pub run_id: Option<Id>,
}

/// How many rows a page looks at where nothing can be skipped, and how many blocks where it can: a filter that matches
/// little gives short pages, not long waits.
pub(super) const SCAN: i64 = 20_000;
pub(super) const BLOCKS: usize = 64;

/// And how many blocks however slow the disk is.
const LEAST_BLOCKS: usize = 2;

/// How far the order of rows may be from that of run ids: those that are made at once wait for the writer in any order.
const UNORDERED: i64 = 8_192;

/// A stretch of rows, newest first: from below `below` down to `lowest`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) below: i64,
    pub(super) lowest: i64,
}

impl Span {
    /// The next stretch of it that may hold what is wanted: what lies of a block within it. `None`: there is none.
    pub(super) fn next_stretch(self, conn: &Connection, wanted: &[Wanted]) -> Result<Option<Span>> {
        if self.below <= self.lowest {
            return Ok(None);
        }
        let block = next_block(conn, wanted, block_of(self.below - 1))?;
        Ok(block.map(|block| Span {
            below: self.below.min(first_of(block + 1)),
            lowest: self.lowest.max(first_of(block)),
        }))
    }

    /// A page of what may hold it, read by `read` from a stretch, so many rows at most. Where reading is slow it is short.
    pub(super) fn page_of_blocks<T>(
        self,
        conn: &Connection,
        wanted: &[Wanted],
        limit: usize,
        read: impl Fn(Span, usize, &mut Room) -> Result<Paged<T>>,
    ) -> Result<Paged<T>> {
        let (mut rows, mut room) = (Vec::new(), Room::default());
        let (mut rest, mut patience) = (self, Patience::new(LEAST_BLOCKS));
        for _ in 0..BLOCKS {
            if patience.is_over() {
                break;
            }
            let Some(stretch) = rest.next_stretch(conn, wanted)? else {
                return Ok(Paged { rows, next: None });
            };
            let more = read(stretch, limit - rows.len(), &mut room)?;
            rows.extend(more.rows);
            rest.below = stretch.lowest;
            if more.next.is_some() {
                let next = more.next;
                return Ok(Paged { rows, next });
            }
            if rows.len() == limit {
                break;
            }
        }
        let next = (rest.below > rest.lowest).then_some(rest.below);
        Ok(Paged { rows, next })
    }

    /// A page of every row: some stretch of it.
    pub(super) fn page_of_all<T>(
        self,
        read: impl Fn(Span) -> Result<Paged<T>>,
    ) -> Result<Paged<T>> {
        let lowest = self.below.saturating_sub(SCAN).max(self.lowest);
        let mut page = read(Span { lowest, ..self })?;
        if page.next.is_none() && lowest > self.lowest {
            page.next = Some(lowest);
        }
        Ok(page)
    }
}

impl Store {
    /// Runs, newest first. A page may be short and still have a next one.
    pub fn list_runs(
        &self,
        filter: &RunFilter,
        page: Page,
        shown: Values,
    ) -> Result<Paged<RunRow>> {
        self.read(|conn| {
            let look = Look::new(filter, page.limit, shown);
            if let Some(run_id) = filter.run_id {
                return look.one(conn, run_id, page.below());
            }
            let span = span(conn, filter, page)?;
            let wanted = wanted(filter);
            match filter.status.iter().all(|status| !status.is_final()) {
                true if !filter.status.is_empty() => {
                    // Of one moment: a run must not move from one state to the next between two looks.
                    let moment = conn.unchecked_transaction()?;
                    look.open(&moment, filter, span)
                }
                _ if wanted.is_empty() => span.page_of_all(|stretch| {
                    look.stretch(conn, stretch, look.limit, &mut Room::default())
                }),
                _ => span.page_of_blocks(conn, &wanted, look.limit, |stretch, limit, room| {
                    look.stretch(conn, stretch, limit, room)
                }),
            }
        })
    }
}

/// The rows that the page and the filter's times leave.
pub(super) fn span(conn: &Connection, filter: &RunFilter, page: Page) -> Result<Span> {
    // Run ids sort by time, so their index finds where a span of time begins and ends.
    let at = |time: Timestamp, slack: i64| -> rusqlite::Result<Option<i64>> {
        let mut bound = [0; 16];
        bound[..6].copy_from_slice(&(time.0 + slack).max(0).to_be_bytes()[2..]);
        conn.prepare_cached("SELECT id FROM runs WHERE run_id >= ?1 ORDER BY run_id LIMIT 1")?
            .query_row([bound], |row| row.get(0))
            .optional()
    };
    let end = |sql: &str| {
        conn.prepare_cached(sql)?
            .query_row([], |row| row.get::<_, i64>(0))
    };
    let newest = end("SELECT coalesce(max(id), 0) FROM runs")?;
    let mut below = page.below().min(newest + 1);
    if let Some(to) = filter.to
        && let Some(id) = at(to, 60_000)?
    {
        below = below.min(id);
    }
    let lowest = match filter.from {
        Some(from) => at(from, -60_000)?.map_or(i64::MAX, |id| id.saturating_sub(UNORDERED)),
        None => end("SELECT coalesce(min(id), 0) FROM runs")?,
    };
    Ok(Span { below, lowest })
}

/// What of the filter can be looked up by block.
pub(super) fn wanted(filter: &RunFilter) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut any_of = |facet, values: Vec<String>| {
        if !values.is_empty() {
            wanted.push((facet, values));
        }
    };
    any_of(Facet::Source, filter.source.clone());
    any_of(Facet::Delivery, filter.delivery.iter().cloned().collect());
    any_of(
        Facet::Deployment,
        filter.deployment.iter().cloned().collect(),
    );
    any_of(Facet::Variant, filter.variant.iter().cloned().collect());
    any_of(
        Facet::ApiKey,
        filter.api_key.iter().map(i64::to_string).collect(),
    );
    any_of(Facet::User, filter.user.iter().cloned().collect());
    if filter.status.iter().all(|status| status.is_final()) {
        let words = filter
            .status
            .iter()
            .map(|status| status.as_str().to_owned());
        any_of(Facet::Ended, words.collect());
    }
    for (key, value) in &filter.metadata {
        match value {
            Some(value) => any_of(Facet::LabelValue, vec![pair(key, value)]),
            None => any_of(Facet::Label, vec![key.clone()]),
        }
    }
    wanted
}

/// A look at rows: the filter's conditions, and how many are wanted.
struct Look {
    select: &'static str,
    sql: String,
    values: Vec<Value>,
    limit: usize,
}

impl Look {
    fn new(filter: &RunFilter, limit: usize, shown: Values) -> Look {
        let (sql, values) = conditions(filter);
        Look {
            select: shown.select_run(),
            sql,
            values,
            limit,
        }
    }

    /// That run alone, if it fits the rest.
    fn one(self, conn: &Connection, run_id: Id, below: i64) -> Result<Paged<RunRow>> {
        let sql = format!(
            "{} WHERE r.run_id = ? AND r.id < ?{}",
            self.select, self.sql
        );
        let mut values: Vec<Value> = vec![run_id.0.to_vec().into(), below.into()];
        values.extend(self.values);
        let found = conn
            .prepare_cached(&sql)?
            .query_row(params_from_iter(values), run)
            .optional()?;
        Ok(Paged {
            rows: found.into_iter().collect(),
            next: None,
        })
    }

    /// Open runs in these states, by their index: a page of them, then those of it that match.
    fn open(&self, conn: &Connection, filter: &RunFilter, span: Span) -> Result<Paged<RunRow>> {
        let mut ids: Vec<i64> = Vec::new();
        let take = self.limit.max(Page::MAX) + 1;
        let deployments = conn
            .prepare_cached("SELECT id FROM deployments")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<i64>>>()?;
        let mut statement = conn.prepare_cached(
            "SELECT id FROM runs WHERE deployment = ?1 AND status = ?2 AND ended_at IS NULL
                 AND id < ?3 AND id >= ?4 ORDER BY id DESC LIMIT ?5",
        )?;
        for deployment in deployments {
            for status in &filter.status {
                let values = (deployment, status.as_str(), span.below, span.lowest, take);
                let found = statement.query_map(values, |row| row.get(0))?;
                ids.extend(found.collect::<rusqlite::Result<Vec<i64>>>()?);
            }
        }
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let last = ids.get(take - 2).copied().filter(|_| ids.len() >= take);
        ids.truncate(take - 1);
        let list = serde_json::to_string(&ids).unwrap_or_default();
        let sql = format!(
            "{} WHERE r.id IN (SELECT value FROM json_each(?)){} ORDER BY r.id DESC LIMIT ?",
            self.select, self.sql
        );
        let mut page = self.gather(
            conn,
            &sql,
            vec![list.into()],
            self.limit,
            &mut Room::default(),
        )?;
        if page.next.is_none() {
            page.next = last;
        }
        Ok(page)
    }

    /// The rows of a stretch that match.
    fn stretch(
        &self,
        conn: &Connection,
        span: Span,
        limit: usize,
        room: &mut Room,
    ) -> Result<Paged<RunRow>> {
        let sql = format!(
            "{} WHERE r.id < ? AND r.id >= ?{} ORDER BY r.id DESC LIMIT ?",
            self.select, self.sql
        );
        self.gather(
            conn,
            &sql,
            vec![span.below.into(), span.lowest.into()],
            limit,
            room,
        )
    }

    fn gather(
        &self,
        conn: &Connection,
        sql: &str,
        mut values: Vec<Value>,
        limit: usize,
        room: &mut Room,
    ) -> Result<Paged<RunRow>> {
        values.extend(self.values.iter().cloned());
        values.push((limit as i64 + 1).into());
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement.query(params_from_iter(values))?;
        // The output is shown under two names.
        let shown = |row: &Row<'_>| weight(row) + weight_of(row, "output");
        Ok(Paged::gather_more(rows, limit, room, run, shown, |row| {
            row.id
        })?)
    }
}

/// The filter as conditions, each beginning with AND, and their values in order.
pub(super) fn conditions(filter: &RunFilter) -> (String, Vec<Value>) {
    let mut sql = String::new();
    let mut values: Vec<Value> = Vec::new();
    let mut any_of = |column: &str, list: Vec<Value>| {
        if !list.is_empty() {
            sql.push_str(&format!(
                " AND {column} IN ({})",
                vec!["?"; list.len()].join(", ")
            ));
            values.extend(list);
        }
    };
    let texts = |list: &[String]| {
        list.iter()
            .map(|text| text.clone().into())
            .collect::<Vec<_>>()
    };
    let text = |one: &Option<String>| {
        one.iter()
            .map(|text| text.clone().into())
            .collect::<Vec<_>>()
    };
    any_of(
        "r.status",
        filter
            .status
            .iter()
            .map(|status| status.as_str().to_owned().into())
            .collect(),
    );
    any_of("r.source", texts(&filter.source));
    any_of("r.delivery", text(&filter.delivery));
    any_of("d.name", text(&filter.deployment));
    any_of("va.name", text(&filter.variant));
    any_of(
        "r.api_key",
        filter.api_key.iter().map(|id| (*id).into()).collect(),
    );
    any_of("r.user", text(&filter.user));
    for (key, value) in &filter.metadata {
        // The key is a parameter of a path, so that no character of it means anything.
        sql.push_str(" AND EXISTS (SELECT 1 FROM json_each(r.metadata) label WHERE label.key = ?");
        values.push(key.clone().into());
        if let Some(value) = value {
            sql.push_str(
                " AND CASE label.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'
                  WHEN 'null' THEN 'null' ELSE CAST(label.value AS TEXT) END = ?",
            );
            values.push(value.clone().into());
        }
        sql.push(')');
    }
    for (comparison, time) in [
        ("r.created_at >= ?", filter.from),
        ("r.created_at < ?", filter.to),
    ] {
        if let Some(time) = time {
            sql.push_str(&format!(" AND {comparison}"));
            values.push(time.0.into());
        }
    }
    (sql, values)
}

#[cfg(test)]
pub(super) mod tests;
