//! Which rows a filter matches, as numbers: for what is done to all of them. Read in slices, newest first, so that no look
//! takes long, however many there are.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::error::Result;
use crate::store::deliveries::{self, DeliveryFilter};
use crate::store::facets::Wanted;
use crate::store::listing::{BLOCKS, RunFilter, SCAN, Span, conditions, span, wanted};
use crate::store::page::Page;

/// The most rows of one slice.
pub(super) const SLICE: usize = 20_000;

/// Some rows that match, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Their numbers.
    pub rows: Vec<i64>,
    /// Below which row the rest is; 0: there is none.
    pub below: i64,
}

/// Nothing matches, and nothing is left.
pub(super) const NONE: Slice = Slice {
    rows: Vec::new(),
    below: 0,
};

/// What is asked of one table.
struct Wish<'a> {
    /// `SELECT id FROM …`, up to the conditions.
    select: &'a str,
    /// The column that numbers the rows.
    id: &'a str,
    sql: String,
    values: Vec<Value>,
}

impl Wish<'_> {
    /// The rows of a stretch that match; `limit` at most.
    fn stretch(&self, conn: &Connection, span: Span, limit: usize) -> Result<Slice> {
        let (id, select, sql) = (self.id, self.select, &self.sql);
        let sql = format!("{select} WHERE {id} < ? AND {id} >= ?{sql} ORDER BY {id} DESC LIMIT ?");
        let mut values: Vec<Value> = vec![span.below.into(), span.lowest.into()];
        values.extend(self.values.iter().cloned());
        values.push((limit as i64).into());
        let rows = numbers(conn, &sql, values)?;
        let below = match rows.last() {
            Some(last) if rows.len() == limit => *last,
            _ => span.lowest,
        };
        Ok(Slice { rows, below })
    }

    /// Those of these rows that match.
    fn among(&self, conn: &Connection, rows: &[i64]) -> Result<Vec<i64>> {
        let (id, select, sql) = (self.id, self.select, &self.sql);
        let sql = format!(
            "{select} WHERE {id} IN (SELECT value FROM json_each(?)){sql} ORDER BY {id} DESC"
        );
        let list = serde_json::to_string(rows).unwrap_or_default();
        let mut values: Vec<Value> = vec![list.into()];
        values.extend(self.values.iter().cloned());
        numbers(conn, &sql, values)
    }
}

fn numbers(conn: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A slice that ends at `lowest` is the last one.
fn ended(slice: Slice, lowest: i64) -> Slice {
    let below = match slice.below > lowest {
        true => slice.below,
        false => 0,
    };
    Slice { below, ..slice }
}

const RUNS: &str = "SELECT r.id FROM runs r";
const PLACED_RUNS: &str = "SELECT r.id FROM runs r JOIN deployments d ON d.id = r.deployment
    JOIN versions v ON v.id = r.version JOIN variants va ON va.id = v.variant";

fn of_runs(filter: &RunFilter) -> Wish<'static> {
    let (mut sql, mut values) = conditions(filter);
    if let Some(run_id) = filter.run_id {
        sql.push_str(" AND r.run_id = ?");
        values.push(run_id.0.to_vec().into());
    }
    let is_placed = filter.deployment.is_some() || filter.variant.is_some();
    Wish {
        select: if is_placed { PLACED_RUNS } else { RUNS },
        id: "r.id",
        sql,
        values,
    }
}

/// Runs that match, below that row; `limit` at most.
pub(super) fn runs(
    conn: &Connection,
    filter: &RunFilter,
    below: i64,
    limit: usize,
) -> Result<Slice> {
    let wish = of_runs(filter);
    let cursor = Some(below);
    let span = span(conn, filter, Page { limit, cursor })?;
    let is_open = !filter.status.is_empty() && filter.status.iter().all(|it| !it.is_final());
    if span.below <= span.lowest {
        return Ok(NONE);
    }
    if filter.run_id.is_some() {
        let slice = wish.stretch(conn, span, limit)?;
        return Ok(Slice { below: 0, ..slice });
    }
    if is_open {
        // Of one moment: a run must not move from one state to the next between two looks.
        let moment = conn.unchecked_transaction()?;
        return open(&moment, &wish, filter, span, limit);
    }
    by_notes(conn, &wish, &wanted(filter), span, limit)
}

/// Rows of a span: of the blocks that may match, if anything that is asked for is noted by block.
fn by_notes(
    conn: &Connection,
    wish: &Wish<'_>,
    wanted: &[Wanted],
    span: Span,
    limit: usize,
) -> Result<Slice> {
    if !wanted.is_empty() {
        return blocks(conn, wish, wanted, span, limit);
    }
    let lowest = span.below.saturating_sub(SCAN).max(span.lowest);
    let slice = wish.stretch(conn, Span { lowest, ..span }, limit)?;
    Ok(ended(slice, span.lowest))
}

/// Rows of the blocks that may match.
fn blocks(
    conn: &Connection,
    wish: &Wish<'_>,
    wanted: &[Wanted],
    span: Span,
    limit: usize,
) -> Result<Slice> {
    let (mut rows, mut rest) = (Vec::new(), span);
    for _ in 0..BLOCKS {
        let Some(stretch) = rest.next_stretch(conn, wanted)? else {
            return Ok(Slice { rows, below: 0 });
        };
        let more = wish.stretch(conn, stretch, limit - rows.len())?;
        rows.extend(more.rows);
        rest.below = more.below;
        if rows.len() == limit {
            break;
        }
    }
    let below = rest.below;
    Ok(ended(Slice { rows, below }, span.lowest))
}

/// Open runs in these states, by their index: as many as a slice looks at, then those of them that match.
fn open(
    conn: &Connection,
    wish: &Wish<'_>,
    filter: &RunFilter,
    span: Span,
    limit: usize,
) -> Result<Slice> {
    let mut found: Vec<i64> = Vec::new();
    let deployments = numbers(conn, "SELECT id FROM deployments", Vec::new())?;
    let sql = "SELECT id FROM runs WHERE deployment = ? AND status = ? AND ended_at IS NULL
                   AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?";
    for deployment in deployments {
        for status in &filter.status {
            let values = vec![
                deployment.into(),
                status.as_str().to_owned().into(),
                span.below.into(),
                span.lowest.into(),
                (limit as i64).into(),
            ];
            found.extend(numbers(conn, sql, values)?);
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    let is_all = found.len() < limit;
    found.truncate(limit);
    let below = match (is_all, found.last()) {
        (false, Some(last)) => *last,
        (true, _) | (false, None) => 0,
    };
    let rows = wish.among(conn, &found)?;
    Ok(ended(Slice { rows, below }, span.lowest))
}

/// Those of these runs that match.
pub(super) fn runs_among(conn: &Connection, filter: &RunFilter, rows: &[i64]) -> Result<Vec<i64>> {
    of_runs(filter).among(conn, rows)
}

fn of_deliveries(filter: &DeliveryFilter, origins: Option<&[i64]>) -> Wish<'static> {
    let (mut sql, mut values) = deliveries::conditions(filter, origins);
    if let Some(run) = filter.run {
        sql.push_str(" AND d.run = (SELECT id FROM runs WHERE run_id = ?)");
        values.push(run.0.to_vec().into());
    }
    Wish {
        select: "SELECT d.id FROM deliveries d",
        id: "d.id",
        sql,
        values,
    }
}

/// The rows of the origins at the filter's host.
fn origins(conn: &Connection, filter: &DeliveryFilter) -> Result<Option<Vec<i64>>> {
    let host = filter.host.as_ref();
    host.map(|host| deliveries::origins_of(conn, host))
        .transpose()
}

/// Deliveries that match, below that row; `limit` at most.
pub(super) fn deliveries(
    conn: &Connection,
    filter: &DeliveryFilter,
    below: i64,
    limit: usize,
) -> Result<Slice> {
    let origins = origins(conn, filter)?;
    let wish = of_deliveries(filter, origins.as_deref());
    let cursor = Some(below);
    let span = deliveries::span(conn, filter, Page { limit, cursor })?;
    if span.below <= span.lowest {
        return Ok(NONE);
    }
    // A run's own are few, and found by its index.
    if filter.run.is_some() {
        return Ok(ended(wish.stretch(conn, span, limit)?, span.lowest));
    }
    by_notes(
        conn,
        &wish,
        &deliveries::wanted(filter, origins.as_deref()),
        span,
        limit,
    )
}

/// Those of these deliveries that match.
pub(super) fn deliveries_among(
    conn: &Connection,
    filter: &DeliveryFilter,
    rows: &[i64],
) -> Result<Vec<i64>> {
    let origins = origins(conn, filter)?;
    of_deliveries(filter, origins.as_deref()).among(conn, rows)
}

#[cfg(test)]
mod tests;
