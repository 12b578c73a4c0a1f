//! Runs from afar: how many there are, when they were accepted, and what they can be filtered by.

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::fields::pointer;
use crate::api::query::{Query, wrong_cursor};
use crate::api::runs;
use crate::api::wire::{
    Counted, Histogram, HistogramBar, MetadataKey, MetadataValue, RunCounts, StatusCounts,
};
use crate::error::{Error, Result};
use crate::flow::names::excerpt;
use crate::flow::run::RunStatus;
use crate::store::counting::{self, ByStatus};
use crate::store::facets::{Facet, pair};
use crate::store::instance::hex;
use crate::store::minutes::{Bars, MINUTE, Tally};
use crate::time::Timestamp;

/// How many bars a histogram has at most, and if nothing else is said.
pub const BARS: i64 = 500;
/// See [`BARS`].
pub const USUAL_BARS: i64 = 60;

/// What `kind` can be.
pub const KINDS: [&str; 2] = ["metadata", "user"];

/// What a cursor of a list of values begins with; the value follows, as hex.
const CURSOR: &str = "v";

/// `GET /v1/workflow_runs/counts`
pub fn counts(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let body = match runs::filter(request, &query)? {
        None => shown(&ByStatus::default(), &[]),
        Some(filter) => shown(&request.store().count_runs(&filter)?, &filter.status),
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

/// `of`: the states that are asked for; empty: all.
fn shown(counts: &ByStatus, of: &[RunStatus]) -> RunCounts {
    let pairs = || RunStatus::ALL.into_iter().zip(counts);
    let sum = pairs()
        .filter(|(status, _)| of.is_empty() || of.contains(status))
        .fold(counting::Counted::default(), |sum, (_, one)| sum.with(*one));
    let at = |status: RunStatus| {
        let found = pairs().find(|(other, _)| *other == status);
        let one = found.map_or_else(counting::Counted::default, |(_, one)| *one);
        Counted {
            count: one.count,
            count_is_lower_bound: one.is_lower_bound,
        }
    };
    RunCounts {
        count: sum.count,
        count_is_lower_bound: sum.is_lower_bound,
        statuses: StatusCounts {
            queued: at(RunStatus::Queued),
            running: at(RunStatus::Running),
            awaiting_approval: at(RunStatus::AwaitingApproval),
            waiting: at(RunStatus::Waiting),
            completed: at(RunStatus::Completed),
            failed: at(RunStatus::Failed),
            cancelled: at(RunStatus::Cancelled),
        },
    }
}

/// `GET /v1/workflow_runs/histogram`
pub fn histogram(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let most = bars_asked(&query)?;
    let deployment = query.one("deployment");
    let to = query.time("to")?.unwrap_or_else(|| request.now());
    let from = match query.time("from")? {
        Some(from) if from < to => from,
        Some(_) => {
            return Err(Error::invalid("/from", "from must be before to"));
        }
        None => {
            // From the first run on.
            let first = request.store().first_minute(deployment)?;
            let hour = Timestamp(to.0.saturating_sub(60 * MINUTE));
            first.filter(|first| *first < hour).unwrap_or(hour)
        }
    };
    let bars = Bars::new(from, to, most);
    let sums = request.store().histogram(deployment, bars)?;
    let body = Histogram {
        from: bars.at(0),
        to: bars.at(bars.count),
        span_ms: bars.width * MINUTE,
        bars: (0..)
            .zip(&sums)
            .map(|(at, sum)| bar(bars.at(at), sum))
            .collect(),
    };
    Ok(Answer::Now(Reply::json(200, &body)))
}

fn bars_asked(query: &Query) -> Result<i64> {
    let Some(text) = query.one("bars") else {
        return Ok(USUAL_BARS);
    };
    match text.parse() {
        Ok(bars) if (1..=BARS).contains(&bars) => Ok(bars),
        _ => Err(Error::invalid(
            "/bars",
            format!(
                "bars must be a whole number from 1 to {BARS}, got {:?}",
                excerpt(text)
            ),
        )),
    }
}

fn bar(at: Timestamp, sum: &Tally) -> HistogramBar {
    HistogramBar {
        at,
        accepted: sum.accepted,
        completed: sum.completed,
        failed: sum.failed,
        cancelled: sum.cancelled,
        open: sum.open(),
    }
}

/// `GET /v1/metadata_keys`
pub fn metadata_keys(request: &Request<'_>) -> Result<Answer> {
    let query = request.query();
    let prefix = query.one("prefix").unwrap_or_default();
    let kind = query.one("kind").unwrap_or(KINDS[0]);
    if !KINDS.contains(&kind) {
        let message = format!(
            "kind must be one of {}, got {:?}",
            KINDS.join(", "),
            excerpt(kind)
        );
        return Err(Error::invalid(pointer("kind"), message));
    }
    let value = |value: String| MetadataValue { value };
    if kind == KINDS[1] {
        let (rows, next) = values(request, &query, Facet::User, prefix, "")?;
        return query.list_from(rows.into_iter().map(value).collect(), next);
    }
    match query.one("key") {
        None => {
            let (rows, next) = values(request, &query, Facet::Label, prefix, "")?;
            let rows = rows.into_iter().map(|key| MetadataKey { key });
            query.list_from(rows.collect(), next)
        }
        Some(key) => {
            // What stands before each value of that key.
            let before = pair(key, "");
            let (rows, next) = values(request, &query, Facet::LabelValue, prefix, &before)?;
            query.list_from(rows.into_iter().map(value).collect(), next)
        }
    }
}

/// A page of a facet's values that begin with `before` and `prefix`, without `before`; and the next page's cursor.
fn values(
    request: &Request<'_>,
    query: &Query,
    facet: Facet,
    prefix: &str,
    before: &str,
) -> Result<(Vec<String>, Option<String>)> {
    let limit = query.limit()?;
    let after = match query.one("cursor") {
        None => None,
        Some(text) => Some(read_cursor(text).ok_or_else(|| wrong_cursor(text))?),
    };
    let after = after.map(|after| format!("{before}{after}"));
    let whole = format!("{before}{prefix}");
    let mut rows = request
        .store()
        .facet_values(facet, &whole, after.as_deref(), limit + 1)?;
    for row in &mut rows {
        row.drain(..before.len());
    }
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|last| write_cursor(last));
    Ok((rows, next))
}

fn write_cursor(last: &str) -> String {
    format!("{CURSOR}{}", hex(last.as_bytes()))
}

fn read_cursor(text: &str) -> Option<String> {
    let digits = text.strip_prefix(CURSOR)?.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
    // Whatever it says, it is a place in the list.
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
