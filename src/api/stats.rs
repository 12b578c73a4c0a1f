//! `GET /v1/stats`: what happened lately, for charts. From memory: it begins with the process.

use serde_json::{Value, json};

use crate::api::Request;
use crate::api::call::{Answer, Reply};
use crate::error::Result;
use crate::metrics::ring::{Backlog, Spread, Tally};
use crate::time::Timestamp;

/// `GET /v1/stats`: `{since, now, backlog, hour: {span, spans}, day: {span, spans}}`. A span's length is in
/// milliseconds, as are its times; the last span is still under way.
pub fn show(request: &Request<'_>) -> Result<Answer> {
    let (metrics, now) = (request.store().metrics(), request.now());
    let spans = metrics.spans(now);
    let track = |span: u64, spans: &[(Timestamp, Tally)]| {
        let spans: Vec<Value> = spans.iter().map(shown).collect();
        json!({"span": span, "spans": spans})
    };
    Ok(Answer::Now(Reply::json(
        200,
        &json!({
            "since": metrics.started_at,
            "now": now,
            "backlog": backlog(&metrics.backlog()),
            "hour": track(60_000, &spans.hour),
            "day": track(900_000, &spans.day),
        }),
    )))
}

fn backlog(open: &Backlog) -> Value {
    json!({
        "queued": open.queued,
        "running": open.running,
        "parked": open.parked,
        "deliveries": open.deliveries,
    })
}

fn spread(times: &Spread) -> Value {
    match (times.quantile(0.5), times.quantile(0.99)) {
        (Some(p50), Some(p99)) => json!({"p50": p50, "p99": p99}),
        _ => Value::Null,
    }
}

fn shown((at, tally): &(Timestamp, Tally)) -> Value {
    json!({
        "at": at,
        "accepted": tally.accepted,
        "completed": tally.completed,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
        "delivered": tally.delivered,
        "undelivered": tally.undelivered,
        "queue_time": spread(&tally.queue_time),
        "run_duration": spread(&tally.run_duration),
        "delivery_lag": spread(&tally.delivery_lag),
        "backlog": backlog(&tally.backlog),
    })
}
