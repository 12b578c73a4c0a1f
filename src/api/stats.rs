//! `GET /v1/stats`: what happened lately, for charts. From memory: it begins with the process.

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::api::wire::{OpenWork, Quantiles, Stats, StatsSpan, StatsTrack};
use crate::error::Result;
use crate::metrics::ring::{Backlog, Spread, Tally};
use crate::time::Timestamp;

/// `GET /v1/stats`
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let (metrics, now) = (request.store().metrics(), request.now());
    let spans = metrics.spans(now);
    Ok(Answer::Now(Reply::json(
        200,
        &Stats {
            since: metrics.started_at,
            now,
            backlog: backlog(&metrics.backlog()),
            hour: track(60_000, &spans.hour),
            day: track(900_000, &spans.day),
        },
    )))
}

fn track(span: u64, spans: &[(Timestamp, Tally)]) -> StatsTrack {
    StatsTrack {
        span,
        spans: spans.iter().map(shown).collect(),
    }
}

fn backlog(open: &Backlog) -> OpenWork {
    OpenWork {
        queued: open.queued,
        running: open.running,
        parked: open.parked,
        deliveries: open.deliveries,
    }
}

fn quantiles(times: &Spread) -> Option<Quantiles> {
    Some(Quantiles {
        p50: times.quantile(0.5)?,
        p99: times.quantile(0.99)?,
    })
}

fn shown((at, tally): &(Timestamp, Tally)) -> StatsSpan {
    StatsSpan {
        at: *at,
        accepted: tally.accepted,
        completed: tally.completed,
        failed: tally.failed,
        cancelled: tally.cancelled,
        delivered: tally.delivered,
        undelivered: tally.undelivered,
        queue_time: quantiles(&tally.queue_time),
        run_duration: quantiles(&tally.run_duration),
        delivery_lag: quantiles(&tally.delivery_lag),
        backlog: backlog(&tally.backlog),
    }
}
