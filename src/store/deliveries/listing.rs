//! Lists of deliveries: the filter, and how few rows are read for it.
//!
//! The same ways as those of [runs](crate::store::listing): blocks that cannot match are skipped, open ones come by their
//! indexes. Must not change anything.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::{Deserialize, Serialize};

use super::{DeliveryRow, SELECT, delivery};
use crate::error::Result;
use crate::flow::delivery::DeliveryStatus;
use crate::id::Id;
use crate::store::Store;
use crate::store::facets::{Facet, Wanted};
use crate::store::listing::Span;
use crate::store::page::{Page, Paged, Room, weight};
use crate::time::Timestamp;

/// Which deliveries a list shows. Empty fields do not filter.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryFilter {
    /// In one of these states.
    pub status: Vec<DeliveryStatus>,
    /// To that host, whatever the port (or with `host:port`).
    pub host: Option<String>,
    /// Of that run.
    pub run: Option<Id>,
    /// Whose last attempt failed in one of these ways.
    pub class: Vec<String>,
    /// That go one of these ways.
    pub channel: Vec<String>,
    /// Made then or later.
    pub from: Option<Timestamp>,
    /// Made before.
    pub to: Option<Timestamp>,
}

/// Up to how many deliveries that are pending are found by their index, which has them in another order. More of them
/// lie so dense that a walk meets them.
const SORTED: i64 = 200_000;

/// How far the times of two deliveries may be out of order.
const SLACK: i64 = 60_000;

/// The newest pending ones of a stretch.
const PENDING: &str = "SELECT id FROM deliveries INDEXED BY deliveries_due
    WHERE status = 'pending' AND id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3";

/// And of those in flight.
const DELIVERING: &str = "SELECT id FROM deliveries INDEXED BY deliveries_sending
    WHERE status = 'delivering' AND id < ?1 AND id >= ?2 ORDER BY id DESC LIMIT ?3";

impl Store {
    /// Deliveries, newest first. A page may be short and still have a next one.
    pub fn list_deliveries(
        &self,
        filter: &DeliveryFilter,
        page: Page,
    ) -> Result<Paged<DeliveryRow>> {
        self.read(|conn| {
            let origins = match &filter.host {
                Some(host) => Some(origins_of(conn, host)?),
                None => None,
            };
            let look = Look::new(filter, origins.as_deref(), page.limit);
            if let Some(run) = filter.run {
                return look.of_run(conn, run, page.below());
            }
            let span = span(conn, filter, page)?;
            let is_open = |status: &DeliveryStatus| !status.is_final();
            if !filter.status.is_empty() && filter.status.iter().all(is_open) {
                // Of one moment: a delivery must not move from one state to the next between two looks.
                let moment = conn.unchecked_transaction()?;
                if let Some(page) = look.open(&moment, filter, span)? {
                    return Ok(page);
                }
            }
            let wanted = wanted(filter, origins.as_deref());
            match wanted.is_empty() {
                true => span.page_of_all(|stretch| {
                    look.stretch(conn, stretch, look.limit, &mut Room::default())
                }),
                false => span.page_of_blocks(conn, &wanted, look.limit, |stretch, limit, room| {
                    look.stretch(conn, stretch, limit, room)
                }),
            }
        })
    }
}

/// The rows of the origins at that host.
pub(in crate::store) fn origins_of(conn: &Connection, host: &str) -> Result<Vec<i64>> {
    let with_port = format!("{host}:");
    let length = with_port.chars().count() as i64;
    Ok(conn
        .prepare_cached(
            "SELECT id FROM origins WHERE substr(origin, instr(origin, '://') + 3) = ?1
                 OR substr(origin, instr(origin, '://') + 3, ?2) = ?3",
        )?
        .query_map((host, length, with_port), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

/// The rows that the page and the filter's times leave.
pub(in crate::store) fn span(
    conn: &Connection,
    filter: &DeliveryFilter,
    page: Page,
) -> Result<Span> {
    let end = |sql: &str| {
        conn.prepare_cached(sql)?
            .query_row([], |row| row.get::<_, i64>(0))
    };
    let newest = end("SELECT coalesce(max(id), 0) FROM deliveries")?;
    let oldest = end("SELECT coalesce(min(id), 0) FROM deliveries")?;
    let first = |time: Timestamp, slack: i64| {
        let time = Timestamp(time.0.saturating_add(slack));
        first_since(conn, time, oldest, newest)
    };
    let mut span = Span {
        below: page.below().min(newest + 1),
        lowest: oldest,
    };
    if let Some(to) = filter.to {
        span.below = span.below.min(first(to, SLACK)?);
    }
    if let Some(from) = filter.from {
        span.lowest = first(from, -SLACK)?;
    }
    Ok(span)
}

/// The first row, about, that was made at that time or later: they were made in their order.
fn first_since(conn: &Connection, time: Timestamp, oldest: i64, newest: i64) -> Result<i64> {
    let mut statement = conn.prepare_cached(
        "SELECT id, created_at FROM deliveries WHERE id >= ?1 ORDER BY id LIMIT 1",
    )?;
    let (mut low, mut high) = (oldest, newest + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(i64, i64)> = statement
            .query_row([middle], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((id, made)) if id < high && made < time.0 => low = id + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// What of the filter can be looked up by block.
pub(in crate::store) fn wanted(filter: &DeliveryFilter, origins: Option<&[i64]>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    if let Some(origins) = origins {
        let rows = origins.iter().map(i64::to_string);
        wanted.push((Facet::Origin, rows.collect()));
    }
    let words = |list: &[String]| list.to_vec();
    for (facet, values) in [
        (Facet::Class, words(&filter.class)),
        (Facet::Channel, words(&filter.channel)),
    ] {
        if !values.is_empty() {
            wanted.push((facet, values));
        }
    }
    let ended = filter.status.iter().filter(|status| status.is_final());
    let ended: Vec<String> = ended.map(|status| status.as_str().to_owned()).collect();
    if !ended.is_empty() && ended.len() == filter.status.len() {
        wanted.push((Facet::Settled, ended));
    }
    wanted
}

/// The filter but for its run, as conditions, each beginning with AND, and their values in order. `origins`: those of
/// the filter's host.
pub(in crate::store) fn conditions(
    filter: &DeliveryFilter,
    origins: Option<&[i64]>,
) -> (String, Vec<Value>) {
    let (mut sql, mut values) = (String::new(), Vec::<Value>::new());
    let status = filter.status.iter();
    for (column, list) in [
        (
            "d.status",
            status.map(|status| status.as_str().to_owned()).collect(),
        ),
        ("d.class", filter.class.clone()),
        ("d.channel", filter.channel.clone()),
    ] {
        if !list.is_empty() {
            let marks = vec!["?"; list.len()].join(", ");
            sql.push_str(&format!(" AND {column} IN ({marks})"));
            values.extend(list.into_iter().map(Value::from));
        }
    }
    if let Some(origins) = origins {
        sql.push_str(" AND d.origin IN (SELECT value FROM json_each(?))");
        values.push(serde_json::to_string(origins).unwrap_or_default().into());
    }
    for (comparison, time) in [
        ("d.created_at >= ?", filter.from),
        ("d.created_at < ?", filter.to),
    ] {
        if let Some(time) = time {
            sql.push_str(&format!(" AND {comparison}"));
            values.push(time.0.into());
        }
    }
    (sql, values)
}

/// A look at rows: the filter's conditions, and how many are wanted.
struct Look {
    sql: String,
    values: Vec<Value>,
    limit: usize,
}

impl Look {
    fn new(filter: &DeliveryFilter, origins: Option<&[i64]>, limit: usize) -> Look {
        let (sql, values) = conditions(filter, origins);
        Look { sql, values, limit }
    }

    /// Those of one run.
    fn of_run(&self, conn: &Connection, run: Id, below: i64) -> Result<Paged<DeliveryRow>> {
        let first = "d.run = (SELECT id FROM runs WHERE run_id = ?) AND d.id < ?";
        let given = vec![run.0.to_vec().into(), below.into()];
        self.gather(conn, first, given, self.limit, &mut Room::default())
    }

    /// Open deliveries in these states, by their indexes: a page of them, then those of it that match. `None`: there are
    /// too many pending ones.
    fn open(
        &self,
        conn: &Connection,
        filter: &DeliveryFilter,
        span: Span,
    ) -> Result<Option<Paged<DeliveryRow>>> {
        let pending: i64 = conn
            .prepare_cached(
                "SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due
                                       WHERE status = 'pending' LIMIT ?1)",
            )?
            .query_row([SORTED + 1], |row| row.get(0))?;
        if pending > SORTED && filter.status.contains(&DeliveryStatus::Pending) {
            return Ok(None);
        }
        let take = self.limit.max(Page::MAX) + 1;
        let mut ids: Vec<i64> = Vec::new();
        for (status, sql) in [
            (DeliveryStatus::Pending, PENDING),
            (DeliveryStatus::Delivering, DELIVERING),
        ] {
            if filter.status.contains(&status) {
                let mut statement = conn.prepare_cached(sql)?;
                let found = statement.query_map((span.below, span.lowest, take), |row| row.get(0));
                ids.extend(found?.collect::<rusqlite::Result<Vec<i64>>>()?);
            }
        }
        ids.sort_unstable_by(|one, other| other.cmp(one));
        let last = ids.get(take - 2).copied().filter(|_| ids.len() >= take);
        ids.truncate(take - 1);
        let list = serde_json::to_string(&ids).unwrap_or_default();
        let first = "d.id IN (SELECT value FROM json_each(?))";
        let given = vec![list.into()];
        let mut page = self.gather(conn, first, given, self.limit, &mut Room::default())?;
        if page.next.is_none() {
            page.next = last;
        }
        Ok(Some(page))
    }

    /// The rows of a stretch that match.
    fn stretch(
        &self,
        conn: &Connection,
        span: Span,
        limit: usize,
        room: &mut Room,
    ) -> Result<Paged<DeliveryRow>> {
        let given = vec![span.below.into(), span.lowest.into()];
        self.gather(conn, "d.id < ? AND d.id >= ?", given, limit, room)
    }

    fn gather(
        &self,
        conn: &Connection,
        first: &str,
        mut values: Vec<Value>,
        limit: usize,
        room: &mut Room,
    ) -> Result<Paged<DeliveryRow>> {
        let sql = format!(
            "{SELECT} WHERE {first}{} ORDER BY d.id DESC LIMIT ?",
            self.sql
        );
        values.extend(self.values.iter().cloned());
        values.push((limit as i64 + 1).into());
        let mut statement = conn.prepare_cached(&sql)?;
        let rows = statement.query(params_from_iter(values))?;
        Ok(Paged::gather_more(
            rows,
            limit,
            room,
            delivery,
            weight,
            |row| row.id,
        )?)
    }
}

#[cfg(test)]
mod tests;
