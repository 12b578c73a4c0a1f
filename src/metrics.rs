//! What the figures of `/metrics`, `/v1/stats` and `/v1/system` are counted in: atomics on the way, read when someone asks.
//!
//! Each store has one [`Metrics`], which whoever has the store can reach: two engines in one process count apart, and
//! nothing is global. Counting takes no lock for a request and never reads the file; what is known elsewhere (the
//! senders at work, the bytes in flight) is asked for there, by [`Metrics::watch`], when a scrape comes. A label never
//! holds what a caller wrote. Knows no room but the base: rooms tell it [`Fact`]s.

pub mod cells;
pub mod http;
pub mod process;
pub mod ring;
pub mod table;
pub mod text;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::bell::locked;
use crate::error::CODES;
use crate::metrics::cells::{BATCH, Counter, Family, Gauge, Histogram, LONG, SHORT};
use crate::metrics::http::Http;
use crate::metrics::ring::{Backlog, Ring, Spans, Told};
use crate::time::{Timestamp, millis};

/// What starts a run.
const SOURCES: &[&str] = &["api", "webhook", "schedule", "dashboard", "workflow"];
/// How a run ends.
const RUN_ENDS: &[&str] = &["completed", "failed", "cancelled"];
/// How a step ends; those of cancelled runs are not counted.
const STEP_ENDS: &[&str] = &["completed", "failed", "skipped"];
/// How a delivery ends.
const DELIVERY_ENDS: &[&str] = &["delivered", "dead", "gone", "cancelled"];
/// What becomes of a try of a step.
const STEP_OUTCOMES: &[&str] = &[
    "done",
    "dns",
    "connect",
    "tls",
    "timeout",
    "reset",
    "forbidden_address",
    "http_status",
    "step",
    "cancelled",
];
/// What becomes of an attempt of a delivery.
const ATTEMPT_OUTCOMES: &[&str] = &[
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "dns",
    "connect",
    "tls",
    "timeout",
    "reset",
    "forbidden_address",
    "smtp_status",
    "interrupted",
];

/// Something that is on disk now.
#[derive(Debug, Clone, Copy)]
pub enum Fact {
    /// A run was accepted.
    Accepted {
        /// What started it.
        source: &'static str,
        /// When.
        at: Timestamp,
    },
    /// A run was started for the first time.
    Started {
        /// How long it was queued.
        waited: Duration,
        /// When.
        at: Timestamp,
    },
    /// A run has ended.
    Ended {
        /// How.
        status: &'static str,
        /// How long after its first start, if it ever started.
        ran: Option<Duration>,
        /// When.
        at: Timestamp,
    },
    /// A delivery is owed.
    Owed,
    /// A delivery changed its state.
    Moved {
        /// Where it was.
        from: &'static str,
        /// Where it is.
        to: &'static str,
        /// How long it was owed, if that says anything.
        lag: Option<Duration>,
        /// When.
        at: Timestamp,
    },
    /// An attempt of a delivery was cut short by the end of a process.
    Interrupted,
    /// A step that no worker had in hand came to its end.
    StepEnded {
        /// Its action key.
        kind: &'static str,
        /// How.
        status: &'static str,
    },
}

/// What is asked for where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Worker slots in use.
    Workers,
    /// Sender slots in use.
    Senders,
    /// Callers that wait for a run's end.
    Direct,
    /// Open connections.
    Connections,
    /// Bytes of requests in flight.
    BodyBytes,
    /// Bytes of answers in flight.
    AnswerBytes,
}

const WATCHED: usize = 6;

type Watch = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a scrape reads of the file. What could not be read is `None`, and left out.
#[derive(Debug, Default, Clone, Copy)]
pub struct Looked {
    /// The size of the file.
    pub file_bytes: Option<u64>,
    /// What of it is free.
    pub free_bytes: Option<u64>,
    /// The size of the write-ahead log.
    pub wal_bytes: Option<u64>,
    /// How often the log began anew.
    pub wal_resets: Option<u64>,
    /// What the file system has left.
    pub disk_free: Option<u64>,
    /// How long ago the oldest run was accepted that was never started; zero if there is none.
    pub oldest_queued: Option<Duration>,
    /// For how long the most overdue delivery has been due; zero if there is none.
    pub oldest_due: Option<Duration>,
    /// Writes that wait for the writer.
    pub writer_queue: Option<u64>,
}

/// The figures of one store and what works on it.
#[expect(
    missing_docs,
    reason = "each is a row of table::ROWS, which says what it means"
)]
pub struct Metrics {
    pub started_at: Timestamp,
    pub queued: Gauge,
    pub running: Gauge,
    pub parked: Gauge,
    pub pending: Gauge,
    pub delivering: Gauge,
    pub workers: Gauge,
    pub senders: Gauge,
    pub connections_limit: Gauge,
    pub runs_accepted: Family<Counter>,
    pub runs_refused: Family<Counter>,
    pub runs_ended: Family<Counter>,
    pub queue_time: Histogram,
    pub run_duration: Histogram,
    pub steps_ended: Family<Counter>,
    pub step_attempts: Family<Counter>,
    pub step_retries: Family<Counter>,
    pub step_duration: Family<Histogram>,
    pub deliveries_created: Counter,
    pub deliveries_ended: Family<Counter>,
    pub delivery_attempts: Family<Counter>,
    pub attempt_duration: Histogram,
    pub delivery_lag: Histogram,
    pub commit_duration: Histogram,
    pub commit_verbs: Histogram,
    pub commits_failed: Counter,
    pub connections_accepted: Counter,
    pub connections_refused: Counter,
    pub http: Http,
    watches: [OnceLock<Watch>; WATCHED],
    /// As far as it was seen: the log's header may be gone for a moment, what was counted may not.
    wal_resets: AtomicU64,
    ring: Mutex<Ring>,
    /// Commits that failed in a row up to now, and why the last one did.
    failing: Mutex<Option<(u64, String)>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new(&[], &[], Timestamp(0))
    }
}

impl Metrics {
    /// All at zero. The kinds of step there are: those decided inside this process, and those that leave it.
    pub fn new(inside: &[&str], leaving: &[&str], now: Timestamp) -> Metrics {
        let kinds = [inside, leaving].concat();
        let codes: Vec<&str> = CODES.iter().map(|row| row.name).collect();
        let one = |list: &[&str]| Family::new(&[list], Counter::default);
        Metrics {
            started_at: now,
            queued: Gauge::default(),
            running: Gauge::default(),
            parked: Gauge::default(),
            pending: Gauge::default(),
            delivering: Gauge::default(),
            workers: Gauge::default(),
            senders: Gauge::default(),
            connections_limit: Gauge::default(),
            runs_accepted: one(SOURCES),
            runs_refused: one(&codes),
            runs_ended: one(RUN_ENDS),
            queue_time: Histogram::new(&LONG),
            run_duration: Histogram::new(&LONG),
            steps_ended: Family::new(&[&kinds, STEP_ENDS], Counter::default),
            step_attempts: Family::new(&[leaving, STEP_OUTCOMES], Counter::default),
            step_retries: one(leaving),
            step_duration: Family::new(&[leaving], || Histogram::new(&SHORT)),
            deliveries_created: Counter::default(),
            deliveries_ended: one(DELIVERY_ENDS),
            delivery_attempts: one(ATTEMPT_OUTCOMES),
            attempt_duration: Histogram::new(&SHORT),
            delivery_lag: Histogram::new(&LONG),
            commit_duration: Histogram::new(&SHORT),
            commit_verbs: Histogram::new(&BATCH),
            commits_failed: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            http: Http::default(),
            watches: Default::default(),
            wal_resets: AtomicU64::default(),
            ring: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// Where a figure is to be asked for. Only the first call for each counts. `look` must be quick, and must not hold
    /// what holds these metrics.
    pub fn watch(&self, what: Watched, look: impl Fn() -> u64 + Send + Sync + 'static) {
        self.watches[what as usize].get_or_init(|| Box::new(look));
    }

    /// What is seen there now; `None`: nobody told where.
    pub fn watched(&self, what: Watched) -> Option<u64> {
        self.watches[what as usize].get().map(|look| look())
    }

    /// Counts what is on disk. Of the one writer's thread, after the commit.
    pub fn tell(&self, fact: Fact) {
        match fact {
            Fact::Accepted { source, at } => {
                self.runs_accepted.at(&[source]).add();
                self.note(Told::Accepted, at);
            }
            Fact::Started { waited, at } => {
                self.queue_time.time(waited);
                self.note(Told::Started(millis(waited) as u64), at);
            }
            Fact::Ended { status, ran, at } => {
                self.runs_ended.at(&[status]).add();
                if let Some(ran) = ran {
                    self.run_duration.time(ran);
                }
                self.note(Told::Ended(status, ran.map(|ran| millis(ran) as u64)), at);
            }
            Fact::Owed => {
                self.deliveries_created.add();
                self.pending.shift(1);
            }
            Fact::Moved { from, to, lag, at } => self.moved(from, to, lag, at),
            Fact::Interrupted => self.delivery_attempts.at(&["interrupted"]).add(),
            Fact::StepEnded { kind, status } => self.step_ended(kind, status),
        }
    }

    fn moved(&self, from: &str, to: &str, lag: Option<Duration>, at: Timestamp) {
        for (status, by) in [(from, -1), (to, 1)] {
            match status {
                "pending" => self.pending.shift(by),
                "delivering" => self.delivering.shift(by),
                _ => {}
            }
        }
        if matches!(to, "pending" | "delivering") {
            return;
        }
        self.deliveries_ended.at(&[to]).add();
        if to != "delivered" {
            return self.note(Told::Undelivered, at);
        }
        if let Some(lag) = lag {
            self.delivery_lag.time(lag);
        }
        self.note(Told::Delivered(lag.map(|lag| millis(lag) as u64)), at);
    }

    fn note(&self, told: Told, at: Timestamp) {
        locked(&self.ring).note(told, at);
    }

    /// How many runs are open, after a commit.
    pub fn open_runs(&self, queued: u64, running: u64, parked: u64) {
        self.queued.set(queued);
        self.running.set(running);
        self.parked.set(parked);
        locked(&self.ring).backlog(self.backlog());
    }

    /// What is open now.
    pub fn backlog(&self) -> Backlog {
        Backlog {
            queued: self.queued.get(),
            running: self.running.get(),
            parked: self.parked.get(),
            deliveries: self.pending.get() + self.delivering.get(),
        }
    }

    /// A batch of so many verbs was committed, in so much time.
    pub fn committed(&self, verbs: usize, took: Duration) {
        self.commit_verbs.note(verbs as u64);
        self.commit_duration.time(took);
        *locked(&self.failing) = None;
    }

    /// A batch could not be committed.
    pub fn not_committed(&self, why: &str) {
        self.commits_failed.add();
        let mut failing = locked(&self.failing);
        let before = failing.take().map_or(0, |(count, _)| count);
        *failing = Some((before + 1, why.to_owned()));
    }

    /// How many commits in a row have failed up to now, and why the last one did.
    pub fn failing(&self) -> Option<(u64, String)> {
        locked(&self.failing).clone()
    }

    /// A try of a step was made: what became of it, and how long it took.
    pub fn step_tried(&self, kind: &str, outcome: &str, took: Duration) {
        self.step_attempts.at(&[kind, outcome]).add();
        self.step_duration.at(&[kind]).time(took);
    }

    /// A step came to an end in that state, or, `waiting`, to a try that is made again.
    pub fn step_ended(&self, kind: &str, status: &str) {
        match status {
            "waiting" => self.step_retries.at(&[kind]).add(),
            status => self.steps_ended.at(&[kind, status]).add(),
        }
    }

    /// An attempt of a delivery was made: the answer's status, if it got one, or the class of the error.
    pub fn delivery_tried(&self, status: Option<u16>, class: Option<&str>, took: Duration) {
        let outcome = match (class, status.map(|status| status / 100)) {
            (Some(class), _) if class != "http_status" => class,
            (_, Some(2)) => "2xx",
            (_, Some(3)) => "3xx",
            (_, Some(4)) => "4xx",
            (_, Some(5)) => "5xx",
            _ => cells::OTHER,
        };
        self.delivery_attempts.at(&[outcome]).add();
        self.attempt_duration.time(took);
    }

    /// How often the log began anew, where `seen` was read in its header now.
    pub fn wal_resets(&self, seen: u64) -> u64 {
        self.wal_resets.fetch_max(seen, Ordering::Relaxed).max(seen)
    }

    /// What happened lately, by spans of time.
    pub fn spans(&self, now: Timestamp) -> Spans {
        locked(&self.ring).read(self.started_at, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn told(facts: &[Fact]) -> Metrics {
        let metrics = Metrics::new(&["set"], &["http"], NOW);
        for fact in facts {
            metrics.tell(*fact);
        }
        metrics
    }

    fn moved(from: &'static str, to: &'static str) -> Fact {
        let lag = Some(Duration::from_secs(2));
        Fact::Moved {
            from,
            to,
            lag,
            at: NOW,
        }
    }

    #[test]
    fn a_delivery_is_counted_where_it_is_and_once_when_it_ends() {
        let metrics = told(&[Fact::Owed, Fact::Owed, moved("pending", "delivering")]);
        assert_eq!((metrics.pending.get(), metrics.delivering.get()), (1, 1));
        metrics.tell(moved("delivering", "pending"));
        metrics.tell(moved("pending", "delivering"));
        metrics.tell(moved("delivering", "dead"));
        assert_eq!((metrics.pending.get(), metrics.delivering.get()), (1, 0));
        assert_eq!(metrics.deliveries_ended.at(&["dead"]).get(), 1);
        // Sent again by hand.
        metrics.tell(moved("dead", "pending"));
        metrics.tell(moved("pending", "delivering"));
        metrics.tell(moved("delivering", "delivered"));
        assert_eq!((metrics.pending.get(), metrics.delivering.get()), (1, 0));
        assert_eq!(metrics.deliveries_ended.at(&["delivered"]).get(), 1);
        assert_eq!(metrics.deliveries_created.get(), 2);
        assert_eq!(metrics.delivery_lag.read().1, 1);
        let last = metrics.spans(NOW).hour.pop().expect("the present minute");
        assert_eq!((last.1.delivered, last.1.undelivered), (1, 1));
    }

    #[test]
    fn an_attempt_is_of_the_class_of_its_answer_or_of_its_error() {
        let metrics = told(&[]);
        for (status, class, outcome) in [
            (Some(204), None, "2xx"),
            (Some(302), Some("http_status"), "3xx"),
            (Some(503), Some("http_status"), "5xx"),
            (Some(200), Some("reset"), "reset"),
            (Some(550), Some("smtp_status"), "smtp_status"),
            (None, Some("dns"), "dns"),
            (Some(999), Some("http_status"), "other"),
            (None, None, "other"),
        ] {
            let before = metrics.delivery_attempts.at(&[outcome]).get();
            metrics.delivery_tried(status, class, Duration::ZERO);
            let after = metrics.delivery_attempts.at(&[outcome]).get();
            assert_eq!(after, before + 1, "{status:?} {class:?}");
        }
    }

    #[test]
    fn commits_that_fail_are_told_until_one_succeeds() {
        let metrics = told(&[]);
        metrics.not_committed("the disk is full");
        metrics.not_committed("the disk is full");
        assert_eq!(metrics.failing(), Some((2, "the disk is full".to_owned())));
        metrics.committed(1, Duration::from_millis(1));
        assert_eq!(metrics.failing(), None);
        assert_eq!(metrics.commits_failed.get(), 2);
    }

    #[test]
    fn every_row_of_the_table_is_rendered_with_what_was_told() {
        let metrics = told(&[
            Fact::Accepted {
                source: "api",
                at: NOW,
            },
            Fact::Ended {
                status: "failed",
                ran: None,
                at: NOW,
            },
        ]);
        metrics.watch(Watched::Workers, || 3);
        metrics.step_tried("http", "timeout", Duration::from_secs(1));
        let text = table::render(&metrics, &Looked::default(), text::Format::Text);
        for line in [
            "skep_runs_accepted_total{source=\"api\"} 1",
            "skep_runs_accepted_total{source=\"webhook\"} 0",
            "skep_runs_ended_total{status=\"failed\"} 1",
            "skep_workers_busy 3",
            "skep_step_attempts_total{kind=\"http\",outcome=\"timeout\"} 1",
            "skep_step_duration_seconds_bucket{kind=\"http\",le=\"1.0\"} 1",
            "process_start_time_seconds 1000",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("\nskep_senders_busy "),
            "nobody told where to look"
        );
        for row in table::ROWS {
            let name = table::shown_name(&row.heading);
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
        }
    }
}
