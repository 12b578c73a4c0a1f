//! How many runs a filter matches, by state: exact where the minutes know it or few are to be looked at, else "at least
//! so many".
//!
//! Open runs are counted by their index, ended ones by the minutes or, with a filter that these do not know, in the
//! blocks that may hold some. Each way has a limit on what it looks at. Must not change anything.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::error::Result;
use crate::flow::run::RunStatus;
use crate::store::Store;
use crate::store::facets::{Facet, Wanted};
use crate::store::listing::{RunFilter, Span, conditions, span, wanted};
use crate::store::minutes::{self, MINUTE, Tally};
use crate::store::page::{Page, Patience};
use crate::store::past::{Asked, Past};
use crate::store::runs::{Values, run_status};
use crate::time::Timestamp;

/// Where counting ends.
pub const ENOUGH: i64 = 10_000;

/// How many rows are looked at for one number where an index leads to them, and how many of them at once.
const ROWS: i64 = 20_000;
const CHUNK: i64 = 2_000;

/// How many blocks are looked at for all ended states together, and then, while there is time, for each.
const BLOCKS: usize = 10;
const MORE_BLOCKS: usize = 6;

/// In minutes.
const HOUR: i64 = 60;

/// The last time that a run's id can tell, about; a whole minute.
const LAST: i64 = (1 << 47) / MINUTE * MINUTE;

/// How many runs, or at least how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// So many were found.
    pub count: i64,
    /// There may be more.
    pub is_lower_bound: bool,
}

impl Counted {
    /// So many, of which no more than enough are told.
    fn found(count: i64, has_more: bool) -> Counted {
        Counted {
            count: count.min(ENOUGH),
            is_lower_bound: has_more || count > ENOUGH,
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Counted) -> Counted {
        Counted {
            count: self.count + other.count,
            is_lower_bound: self.is_lower_bound || other.is_lower_bound,
        }
    }
}

/// By state, in the order of [`RunStatus::ALL`].
pub type ByStatus = [Counted; RunStatus::ALL.len()];

/// The place of a state among all.
fn place(status: RunStatus) -> usize {
    let found = RunStatus::ALL.iter().position(|one| *one == status);
    found.expect("ALL has every state")
}

impl Store {
    /// The runs that match all of the filter but its states, by state.
    pub fn count_runs(&self, filter: &RunFilter) -> Result<ByStatus> {
        let filter = RunFilter {
            status: Vec::new(),
            ..filter.clone()
        };
        let mut counts = ByStatus::default();
        if filter.run_id.is_some() {
            let one = self.list_runs(&filter, Page::first(1), Values::Sizes)?;
            for run in one.rows {
                counts[place(run.status)] = Counted::found(1, false);
            }
            return Ok(counts);
        }
        self.read(|conn| {
            let long_ago = LongAgo::ask(&self.past, conn, &filter)?;
            // Of one moment: a run must not move from one state to the next between two looks.
            let moment = conn.unchecked_transaction()?;
            let look = Look::new(&moment, &filter)?;
            let mut patience = Patience::new(0);
            for status in RunStatus::ALL.into_iter().filter(|one| !one.is_final()) {
                counts[place(status)] = look.open(status, &mut patience)?;
            }
            match look
                .wanted
                .iter()
                .all(|(facet, _)| *facet == Facet::Deployment)
            {
                true => look.by_minutes(&filter, &long_ago, &mut counts)?,
                false => look.by_blocks(&mut counts)?,
            }
            Ok(counts)
        })
    }
}

/// The sums of minutes that are not likely to change any more: known already, or asked for before the file is looked at.
struct LongAgo<'a> {
    past: &'a Past,
    before: i64,
    sums: Vec<(i64, Result<Tally, Asked>)>,
}

impl<'a> LongAgo<'a> {
    fn ask(past: &'a Past, conn: &Connection, filter: &RunFilter) -> Result<LongAgo<'a>> {
        let last = minutes::last(conn)?.unwrap_or(0);
        let before = last / HOUR * HOUR - HOUR;
        // What begins at some time has a sum of its own.
        let rows = match filter.from {
            Some(_) => Vec::new(),
            None => minutes::rows_of(conn, filter.deployment.as_deref())?,
        };
        let sums = rows.into_iter().map(|row| (row, past.sum(row, before)));
        Ok(LongAgo {
            past,
            before,
            sums: sums.collect(),
        })
    }

    /// The minutes of a deployment from `first` on and before `last`.
    fn sum(&self, conn: &Connection, row: i64, first: i64, last: i64) -> Result<Tally> {
        let sum = |first, last| minutes::sum(conn, row, first, last);
        let found = self.sums.iter().find(|(one, _)| *one == row);
        let Some((_, known)) = found.filter(|_| first <= 0 && last >= self.before) else {
            return sum(first, last);
        };
        let early = match known {
            Ok(tally) => *tally,
            Err(asked) => {
                let tally = sum(0, self.before)?;
                self.past.tell(*asked, tally);
                tally
            }
        };
        Ok(early.with(sum(self.before, last)?))
    }
}

/// The filter, made ready.
struct Look<'a> {
    conn: &'a Connection,
    /// The rows of the deployments of that name; `None`: of all.
    deployments: Option<Vec<i64>>,
    /// The joins that the conditions need.
    joins: &'static str,
    sql: String,
    values: Vec<Value>,
    span: Span,
    wanted: Vec<Wanted>,
}

impl<'a> Look<'a> {
    fn new(conn: &'a Connection, filter: &RunFilter) -> Result<Look<'a>> {
        let name = filter.deployment.as_deref();
        let deployments = name
            .map(|name| minutes::rows_of(conn, Some(name)))
            .transpose()?;
        let (mut sql, mut values) = conditions(&RunFilter {
            deployment: None,
            ..filter.clone()
        });
        if let Some(rows) = &deployments {
            sql.push_str(" AND r.deployment IN (SELECT value FROM json_each(?))");
            values.push(json_list(rows));
        }
        Ok(Look {
            conn,
            deployments,
            joins: match filter.variant {
                Some(_) => {
                    " JOIN versions v ON v.id = r.version JOIN variants va ON va.id = v.variant"
                }
                None => "",
            },
            sql,
            values,
            span: span(conn, filter, Page::first(1))?,
            wanted: wanted(filter),
        })
    }

    /// The open runs in that state: so many as are looked at in the time there is.
    fn open(&self, status: RunStatus, patience: &mut Patience) -> Result<Counted> {
        let deployments = match &self.deployments {
            Some(rows) => rows.clone(),
            None => self
                .conn
                .prepare_cached("SELECT id FROM deployments")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?,
        };
        // The index alone says it, if it is all that is asked.
        let sql = format!(
            "SELECT count(*), total(1{}), min(o.id) FROM (
                 SELECT id FROM runs WHERE deployment = ? AND status = ? AND ended_at IS NULL
                     AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?) o{}{}",
            self.sql,
            if self.sql.is_empty() {
                ""
            } else {
                " JOIN runs r ON r.id = o.id"
            },
            self.joins
        );
        let most = if self.sql.is_empty() { ENOUGH } else { ROWS };
        let (mut count, mut left, mut has_more) = (0, most + 1, false);
        'all: for deployment in deployments {
            let mut below = Some(self.span.below);
            while let Some(next) = below {
                // What a deployment begins with is always looked at.
                let is_on = next != self.span.below;
                if left == 0 || is_on && !self.sql.is_empty() && patience.is_over() {
                    has_more = true;
                    break 'all;
                }
                let limit = left.min(CHUNK);
                let given: [Value; 5] = [
                    deployment.into(),
                    status.as_str().to_owned().into(),
                    next.into(),
                    self.span.lowest.into(),
                    limit.into(),
                ];
                let values = self.values.iter().chain(&given);
                let (looked, found, lowest): (i64, f64, Option<i64>) = self
                    .conn
                    .prepare_cached(&sql)?
                    .query_row(params_from_iter(values), |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?;
                left -= looked;
                count += found as i64;
                below = lowest.filter(|_| looked == limit);
            }
        }
        Ok(Counted::found(count, has_more))
    }

    /// The ended runs of a filter that names no more than a deployment and a span of time.
    fn by_minutes(
        &self,
        filter: &RunFilter,
        long_ago: &LongAgo<'_>,
        counts: &mut ByStatus,
    ) -> Result<()> {
        let rows = match &self.deployments {
            Some(rows) => rows.clone(),
            None => minutes::rows_of(self.conn, None)?,
        };
        let from = filter.from.map_or(0, |from| from.0.clamp(0, LAST));
        let to = filter.to.map_or(LAST, |to| to.0.clamp(0, LAST));
        if from >= to {
            return Ok(());
        }
        let first = from.div_euclid(MINUTE) + i64::from(from.rem_euclid(MINUTE) > 0);
        let last = to.div_euclid(MINUTE);
        let mut tally = Tally::default();
        for row in rows {
            tally = tally.with(long_ago.sum(self.conn, row, first, last)?);
        }
        for (status, count) in [
            (RunStatus::Completed, tally.completed),
            (RunStatus::Failed, tally.failed),
            (RunStatus::Cancelled, tally.cancelled),
        ] {
            counts[place(status)].count += count;
        }
        // What lies at the edges is less than a minute each, or all of it.
        let whole = (first * MINUTE, last * MINUTE);
        let edges = match first < last {
            true => vec![(from, whole.0), (whole.1, to)],
            false => vec![(from, to)],
        };
        for (from, to) in edges {
            if from < to {
                self.edge(Timestamp(from), Timestamp(to), counts)?;
            }
        }
        Ok(())
    }

    /// The ended runs of less than two minutes, one by one.
    fn edge(&self, from: Timestamp, to: Timestamp, counts: &mut ByStatus) -> Result<()> {
        let bound = |time: Timestamp| {
            let mut bound = vec![0; 16];
            bound[..6].copy_from_slice(&time.0.to_be_bytes()[2..]);
            bound
        };
        let of = match self.deployments {
            Some(_) => " AND r.deployment IN (SELECT value FROM json_each(?))",
            None => "",
        };
        let sql = format!(
            "WITH o AS MATERIALIZED (SELECT id FROM runs WHERE run_id >= ? AND run_id < ? LIMIT ?)
             SELECT r.status, count(*), (SELECT count(*) FROM o) FROM o JOIN runs r ON r.id = o.id
             WHERE r.ended_at IS NOT NULL{of} GROUP BY r.status"
        );
        let mut values: Vec<Value> = vec![bound(from).into(), bound(to).into(), (ROWS + 1).into()];
        values.extend(self.deployments.as_ref().map(|rows| json_list(rows)));
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let status = run_status(row, 0)?;
            let sum = &mut counts[place(status)];
            sum.count += row.get::<_, i64>(1)?;
            sum.is_lower_bound |= row.get::<_, i64>(2)? > ROWS;
        }
        Ok(())
    }

    /// The ended runs of any other filter: first all states in one walk, then those of which there may be more.
    fn by_blocks(&self, counts: &mut ByStatus) -> Result<()> {
        let mut found = [0; RunStatus::ALL.len()];
        let ended = || RunStatus::ALL.into_iter().filter(|one| one.is_final());
        let mut patience = Patience::new(BLOCKS);
        let look = (self.span.below, BLOCKS);
        let left = self.walk(&self.wanted, look, &mut patience, &mut found, |found| {
            ended().all(|one| found[place(one)] > ENOUGH)
        })?;
        for status in ended() {
            let at = place(status);
            let mut left = left;
            if let Some(below) = left
                && found[at] <= ENOUGH
            {
                let mut wanted = self.wanted.clone();
                wanted.push((Facet::Ended, vec![status.as_str().to_owned()]));
                let mut more = [0; RunStatus::ALL.len()];
                let look = (below, MORE_BLOCKS);
                left = self.walk(&wanted, look, &mut patience, &mut more, |more| {
                    found[at] + more[at] > ENOUGH
                })?;
                found[at] += more[at];
            }
            counts[at] = Counted::found(found[at], left.is_some());
        }
        Ok(())
    }

    /// Counts in so many blocks below that row that may hold what is wanted, until it is enough or has taken too long. Says
    /// where it goes on, if it does.
    fn walk(
        &self,
        wanted: &[Wanted],
        (below, most): (i64, usize),
        patience: &mut Patience,
        found: &mut [i64; RunStatus::ALL.len()],
        enough: impl Fn(&[i64; RunStatus::ALL.len()]) -> bool,
    ) -> Result<Option<i64>> {
        let sql = format!(
            "SELECT r.status, count(*) FROM runs r{}
             WHERE r.ended_at IS NOT NULL{} AND r.id < ? AND r.id >= ? GROUP BY r.status",
            self.joins, self.sql
        );
        let mut rest = Span { below, ..self.span };
        for _ in 0..most {
            if patience.is_over() {
                break;
            }
            let Some(stretch) = rest.next_stretch(self.conn, wanted)? else {
                return Ok(None);
            };
            let given: [Value; 2] = [stretch.below.into(), stretch.lowest.into()];
            let mut statement = self.conn.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(self.values.iter().chain(&given)))?;
            while let Some(row) = rows.next()? {
                let status = run_status(row, 0)?;
                found[place(status)] += row.get::<_, i64>(1)?;
            }
            rest.below = stretch.lowest;
            if enough(found) {
                break;
            }
        }
        Ok((rest.below > rest.lowest).then_some(rest.below))
    }
}

fn json_list(rows: &[i64]) -> Value {
    serde_json::to_string(rows).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
