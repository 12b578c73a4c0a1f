//! Every metric, one row each: its name, its meaning, and where its samples are read. README's table is compared with it.

use std::time::Duration;

use crate::metrics::cells::{Cell, Counter, Family, Histogram};
use crate::metrics::process::Process;
use crate::metrics::text::Kind::{self, Counter as Total, Gauge, Histogram as Spread};
use crate::metrics::text::{Format, Heading, Samples, end, family};
use crate::metrics::{Looked, Metrics, Watched};

/// What samples are read from.
#[derive(Debug)]
pub struct Scrape<'a> {
    metrics: &'a Metrics,
    looked: &'a Looked,
    process: Process,
}

type Read = fn(&Scrape<'_>, &mut Samples<'_>);

/// One metric.
pub struct Row {
    /// Its name and meaning.
    pub heading: Heading,
    read: Read,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.heading.fmt(f)
    }
}

const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Row {
    Row {
        heading: Heading {
            name,
            kind,
            unit,
            labels,
            help,
        },
        read,
    }
}

fn counters(samples: &mut Samples<'_>, family: &Family<Counter>) {
    for (words, counter) in family.rows() {
        samples.value(&words, counter.get() as f64);
    }
}

fn histograms(samples: &mut Samples<'_>, family: &Family<Histogram>) {
    for (words, histogram) in family.rows().filter(|(_, one)| !one.is_untouched()) {
        samples.histogram(&words, histogram);
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn number(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn watched(scrape: &Scrape<'_>, what: Watched) -> Option<f64> {
    number(scrape.metrics.watched(what))
}

/// Every metric.
#[rustfmt::skip] // One line a row.
pub static ROWS: &[Row] = &[
    row("skep_build_info", Gauge, "", &["version"], "Always 1; the label says which Skep this is.", |_, o| o.value(&[env!("CARGO_PKG_VERSION")], 1.0)),
    row("skep_runs_open", Gauge, "", &["state"], "Runs that have not ended, by state; parked ones wait for a time or a person.", |s, o| {
        let m = s.metrics;
        for (state, gauge) in [("queued", &m.queued), ("running", &m.running), ("parked", &m.parked)] {
            o.value(&[state], gauge.get() as f64);
        }
    }),
    row("skep_runs_accepted", Total, "", &["source"], "Runs accepted, by what started them.", |s, o| counters(o, &s.metrics.runs_accepted)),
    row("skep_runs_refused", Total, "", &["code"], "Invokes and webhooks refused, by error code.", |s, o| counters(o, &s.metrics.runs_refused)),
    row("skep_runs_ended", Total, "", &["status"], "Runs that ended, by status.", |s, o| counters(o, &s.metrics.runs_ended)),
    row("skep_run_queue_time_seconds", Spread, "seconds", &[], "From a run's acceptance to its first start.", |s, o| o.histogram(&[], &s.metrics.queue_time)),
    row("skep_run_duration_seconds", Spread, "seconds", &[], "From a run's first start to its end.", |s, o| o.histogram(&[], &s.metrics.run_duration)),
    row("skep_run_oldest_queued_age_seconds", Gauge, "seconds", &[], "How long ago the oldest run was accepted that has never started; 0 if there is none.", |s, o| o.maybe(seconds(s.looked.oldest_queued))),
    row("skep_direct_waiting", Gauge, "", &[], "Callers that wait for the end of a run.", |s, o| o.maybe(watched(s, Watched::Direct))),
    row("skep_workers", Gauge, "", &[], "Worker slots.", |s, o| o.value(&[], s.metrics.workers.get() as f64)),
    row("skep_workers_busy", Gauge, "", &[], "Worker slots in use.", |s, o| o.maybe(watched(s, Watched::Workers))),
    row("skep_steps_ended", Total, "", &["kind", "status"], "Steps that ended, by kind and status.", |s, o| counters(o, &s.metrics.steps_ended)),
    row("skep_step_attempts", Total, "", &["kind", "outcome"], "Tries of steps that leave the process, by kind and what became of them: done, or the class of the error.", |s, o| counters(o, &s.metrics.step_attempts)),
    row("skep_step_retries", Total, "", &["kind"], "Tries that failed and are made again, by kind.", |s, o| counters(o, &s.metrics.step_retries)),
    row("skep_step_duration_seconds", Spread, "seconds", &["kind"], "How long a try took, by kind.", |s, o| histograms(o, &s.metrics.step_duration)),
    row("skep_deliveries_open", Gauge, "", &["status"], "Deliveries that are owed, by status.", |s, o| {
        for (status, gauge) in [("pending", &s.metrics.pending), ("delivering", &s.metrics.delivering)] {
            o.value(&[status], gauge.get() as f64);
        }
    }),
    row("skep_deliveries_created", Total, "", &[], "Deliveries that came to be owed.", |s, o| o.value(&[], s.metrics.deliveries_created.get() as f64)),
    row("skep_deliveries_ended", Total, "", &["status"], "Deliveries that ended, by status; one sent again by hand ends again.", |s, o| counters(o, &s.metrics.deliveries_ended)),
    row("skep_delivery_attempts", Total, "", &["outcome"], "Attempts of deliveries: the class of the answer's status, or of the error.", |s, o| counters(o, &s.metrics.delivery_attempts)),
    row("skep_delivery_attempt_duration_seconds", Spread, "seconds", &[], "How long an attempt took.", |s, o| o.histogram(&[], &s.metrics.attempt_duration)),
    row("skep_delivery_lag_seconds", Spread, "seconds", &[], "From an event to its delivery; without those sent again by hand.", |s, o| o.histogram(&[], &s.metrics.delivery_lag)),
    row("skep_delivery_oldest_due_age_seconds", Gauge, "seconds", &[], "For how long the longest overdue delivery has been due; 0 if none is.", |s, o| o.maybe(seconds(s.looked.oldest_due))),
    row("skep_senders", Gauge, "", &[], "Sender slots.", |s, o| o.value(&[], s.metrics.senders.get() as f64)),
    row("skep_senders_busy", Gauge, "", &[], "Sender slots in use.", |s, o| o.maybe(watched(s, Watched::Senders))),
    row("skep_commit_duration_seconds", Spread, "seconds", &[], "How long a commit took to reach the disk.", |s, o| o.histogram(&[], &s.metrics.commit_duration)),
    row("skep_commit_verbs", Spread, "", &[], "How many writes shared a commit.", |s, o| o.histogram(&[], &s.metrics.commit_verbs)),
    row("skep_commits_failed", Total, "", &[], "Commits that failed; whoever waited for them was refused.", |s, o| o.value(&[], s.metrics.commits_failed.get() as f64)),
    row("skep_writer_queue", Gauge, "", &[], "Writes that wait for the writer.", |s, o| o.maybe(number(s.looked.writer_queue))),
    row("skep_file_bytes", Gauge, "bytes", &[], "The size of the database file.", |s, o| o.maybe(number(s.looked.file_bytes))),
    row("skep_file_free_bytes", Gauge, "bytes", &[], "How much of the database file is free for reuse.", |s, o| o.maybe(number(s.looked.free_bytes))),
    row("skep_wal_bytes", Gauge, "bytes", &[], "The size of the write-ahead log.", |s, o| o.maybe(number(s.looked.wal_bytes))),
    row("skep_wal_resets", Total, "", &[], "How often the write-ahead log began anew: a whole checkpoint lay before.", |s, o| o.maybe(number(s.looked.wal_resets))),
    row("skep_disk_free_bytes", Gauge, "bytes", &[], "What the file system of the database file has left.", |s, o| o.maybe(number(s.looked.disk_free))),
    row("skep_http_requests", Total, "", &["method", "route", "status"], "Requests answered, by the route's method and pattern and by status.", |s, o| {
        for (words, count) in s.metrics.http.counts() {
            o.value(&words, count as f64);
        }
    }),
    row("skep_http_request_duration_seconds", Spread, "seconds", &["method", "route"], "From a request's head to its answer, by the route's method and pattern.", |s, o| {
        for (words, times) in s.metrics.http.times() {
            o.histogram(&words, times);
        }
    }),
    row("skep_http_connections", Gauge, "", &[], "Open connections.", |s, o| o.maybe(watched(s, Watched::Connections))),
    row("skep_http_connections_limit", Gauge, "", &[], "Connections that may be open.", |s, o| o.value(&[], s.metrics.connections_limit.get() as f64)),
    row("skep_http_connections_accepted", Total, "", &[], "Connections accepted.", |s, o| o.value(&[], s.metrics.connections_accepted.get() as f64)),
    row("skep_http_connections_refused", Total, "", &[], "Connections refused because there were too many.", |s, o| o.value(&[], s.metrics.connections_refused.get() as f64)),
    row("skep_http_bodies_in_flight_bytes", Gauge, "bytes", &[], "Bytes of requests that are being read or handled.", |s, o| o.maybe(watched(s, Watched::BodyBytes))),
    row("skep_http_answers_in_flight_bytes", Gauge, "bytes", &[], "Bytes of answers that clients have not read.", |s, o| o.maybe(watched(s, Watched::AnswerBytes))),
    row("process_start_time_seconds", Gauge, "seconds", &[], "When the process began, in seconds since 1970.", |s, o| o.value(&[], s.metrics.started_at.0 as f64 / 1e3)),
    row("process_cpu_seconds", Total, "seconds", &[], "User and system time.", |s, o| o.maybe(s.process.cpu_seconds)),
    row("process_resident_memory_bytes", Gauge, "bytes", &[], "Memory in use.", |s, o| o.maybe(number(s.process.resident_bytes))),
    row("process_open_fds", Gauge, "", &[], "Open descriptors.", |s, o| o.maybe(number(s.process.open_fds))),
    row("process_max_fds", Gauge, "", &[], "Descriptors that may be open.", |s, o| o.maybe(number(s.process.max_fds))),
    row("process_threads", Gauge, "", &[], "Threads.", |s, o| o.maybe(number(s.process.threads))),
];

/// The name as README and queries write it.
pub fn shown_name(heading: &Heading) -> String {
    match heading.kind {
        Kind::Counter => format!("{}_total", heading.name),
        Kind::Gauge | Kind::Histogram => heading.name.to_owned(),
    }
}

/// Everything, as text.
pub fn render(metrics: &Metrics, looked: &Looked, format: Format) -> String {
    let scrape = Scrape {
        metrics,
        looked,
        process: Process::look(),
    };
    let mut text = String::with_capacity(64 << 10);
    for row in ROWS {
        family(&mut text, format, row.heading, |samples| {
            (row.read)(&scrape, samples)
        });
    }
    end(&mut text, format);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for Row { heading, .. } in ROWS {
            let Heading {
                name,
                kind,
                unit,
                labels,
                help,
            } = *heading;
            assert!(names.insert(name), "{name} is there twice");
            assert!(
                name.starts_with("skep_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name}"
            );
            assert!(
                unit.is_empty() || name.ends_with(&format!("_{unit}")),
                "{name}: {unit}"
            );
            assert!(
                matches!(unit, "" | "seconds" | "bytes"),
                "{name}: base units only"
            );
            for suffix in ["_total", "_count", "_sum", "_bucket"] {
                assert!(
                    !name.ends_with(suffix),
                    "{name}: the suffix follows from the kind"
                );
            }
            assert!(kind != Kind::Gauge || !name.ends_with("_created"), "{name}");
            assert!(
                help.ends_with('.') && !help.contains(['\n', '\\']),
                "{name}: {help}"
            );
            assert!(!labels.contains(&"le"), "{name}");
        }
    }
}
