//! What is wrong, in sentences for whoever is woken at three in the morning. Decides only: what it judges is given.

use std::time::Duration;

use crate::config::Config;
use crate::metrics::Looked;
use crate::metrics::ring::{Backlog, Tally};
use crate::store::figures::{COUNTED, FailingOrigin};

/// What waits longer than this for its turn is worth a sentence.
const LATE: Duration = Duration::from_secs(60);

/// A disk with less than this left is.
const DISK_LOW: u64 = 512 << 20;

/// A log larger than this is: SQLite gives back what is over 64 MiB when it begins anew.
const WAL_HIGH: u64 = 256 << 20;

/// Fewer failed runs than this say nothing about the share that fails.
const FAILED_MANY: u64 = 10;

/// What is judged.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The settings in force.
    pub config: &'a Config,
    /// What is open.
    pub backlog: Backlog,
    /// What the file says.
    pub looked: Looked,
    /// Slots in use.
    pub workers_busy: u64,
    /// Slots in use.
    pub senders_busy: u64,
    /// Open connections, and how many may be.
    pub connections: (u64, u64),
    /// Commits that failed in a row, and why the last one did.
    pub failing_commits: Option<(u64, String)>,
    /// Why the file cannot be read.
    pub unreadable: Option<String>,
    /// Where deliveries fail.
    pub failing_origins: Vec<FailingOrigin>,
    /// Runs that ended badly, and all that ended, in the last hour.
    pub failed_runs: (u64, u64),
    /// Deliveries given up in the last hour.
    pub undelivered: u64,
    /// Whether a stop was asked.
    pub is_stopping: bool,
}

/// Failed runs, all that ended, and deliveries given up, over some spans.
pub fn ends<'a>(tallies: impl Iterator<Item = &'a Tally>) -> ((u64, u64), u64) {
    tallies.fold(((0, 0), 0), |((failed, all), undelivered), tally| {
        let ended = tally.completed + tally.failed + tally.cancelled;
        (
            (failed + tally.failed, all + ended),
            undelivered + tally.undelivered,
        )
    })
}

/// One sentence for each problem; none: all is well.
pub fn problems(seen: &Seen<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if seen.is_stopping {
        told.push("The server is stopping.".to_owned());
    }
    if let Some((count, why)) = &seen.failing_commits {
        let last = match count {
            1 => "commit".to_owned(),
            count => format!("{} commits", number(*count)),
        };
        told.push(format!("The last {last} failed: {why}."));
    }
    if let Some(why) = &seen.unreadable {
        told.push(format!("The file cannot be read: {why}."));
    }
    told.extend(disk(seen));
    told.extend(queue(seen));
    told.extend(deliveries(seen));
    let (failed, ended) = seen.failed_runs;
    if failed >= FAILED_MANY && failed * 2 > ended {
        told.push(format!(
            "{} of {} runs that ended in the last hour failed.",
            number(failed),
            number(ended)
        ));
    }
    told.extend(connections(seen));
    told
}

fn disk(seen: &Seen<'_>) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(left) = seen.looked.disk_free.filter(|left| *left < DISK_LOW) {
        told.push(format!(
            "Only {} MiB are left on the disk of the database; once it is full, nothing is accepted.",
            left >> 20
        ));
    }
    if let Some(bytes) = seen.looked.wal_bytes.filter(|bytes| *bytes > WAL_HIGH) {
        told.push(format!(
            "The write-ahead log has grown to {} MiB: something reads the file for so long that it cannot begin anew.",
            bytes >> 20
        ));
    }
    told
}

fn queue(seen: &Seen<'_>) -> Vec<String> {
    let (queued, most) = (seen.backlog.queued, seen.config.max_queued);
    let mut told = Vec::new();
    if queued.saturating_mul(10) >= most.saturating_mul(9) {
        told.push(format!(
            "{} of {} places in the queue are taken; over it, invokes are answered 429 (max_queued).",
            number(queued),
            number(most)
        ));
    }
    let age = seen.looked.oldest_queued.unwrap_or_default();
    if queued > 0 && seen.config.workers == 0 {
        told.push(format!(
            "{} and workers is 0: none is executed.",
            are(queued, "run", "queued")
        ));
    } else if queued > 0 && age > LATE {
        told.push(format!(
            "{}, the oldest of those not yet begun for {}; {} of {} workers are busy.",
            are(queued, "run", "queued"),
            span(age),
            number(seen.workers_busy),
            number(seen.config.workers as u64)
        ));
    }
    told
}

fn deliveries(seen: &Seen<'_>) -> Vec<String> {
    let mut told = Vec::new();
    let age = seen.looked.oldest_due.unwrap_or_default();
    if seen.backlog.deliveries > 0 && seen.config.senders == 0 {
        told.push(format!(
            "{} and senders is 0: none is sent.",
            are(seen.backlog.deliveries, "delivery", "owed")
        ));
    } else if age > LATE {
        told.push(format!(
            "The most overdue delivery has been due for {}; {} of {} senders are busy.",
            span(age),
            number(seen.senders_busy),
            number(seen.config.senders as u64)
        ));
    }
    for failing in &seen.failing_origins {
        let more = match failing.count {
            COUNTED.. => " or more",
            _ => "",
        };
        told.push(format!(
            "{}{more} to {} failed and will be tried again; the oldest is owed since {}.",
            some(failing.count, "delivery"),
            failing.origin,
            failing.since
        ));
    }
    if seen.undelivered > 0 {
        told.push(format!(
            "{} ended undelivered in the last hour.",
            some(seen.undelivered, "delivery")
        ));
    }
    told
}

fn connections(seen: &Seen<'_>) -> Vec<String> {
    let (open, most) = seen.connections;
    let mut told = Vec::new();
    if most > 0 && open.saturating_mul(20) >= most.saturating_mul(19) {
        told.push(format!(
            "{} of {} connections are open; over it, new ones are refused.",
            number(open),
            number(most)
        ));
    }
    let wanted = seen.config.max_connections as u64;
    if most > 0 && most < wanted {
        told.push(format!(
            "At most {} connections are served, not max_connections = {}: this process may open too few files.",
            number(most),
            number(wanted)
        ));
    }
    told
}

/// `1,234`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 delivery`, `12 deliveries`
fn some(count: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix("ry") {
        Some(stem) => format!("{stem}ries"),
        None => format!("{noun}s"),
    };
    match count {
        1 => format!("1 {noun}"),
        count => format!("{} {plural}", number(count)),
    }
}

/// `1 run is queued`, `12 runs are queued`
fn are(count: u64, noun: &str, what: &str) -> String {
    let verb = if count == 1 { "is" } else { "are" };
    format!("{} {verb} {what}", some(count, noun))
}

/// `90 seconds`, `5 minutes`, `3 hours`, `2 days`: the largest unit of which there are at least two.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, length) in [("day", 86_400), ("hour", 3_600), ("minute", 60)] {
        if seconds >= 2 * length {
            return some(seconds / length, unit);
        }
    }
    some(seconds, "second")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn well(config: &Config) -> Seen<'_> {
        Seen {
            config,
            backlog: Backlog::default(),
            looked: Looked::default(),
            workers_busy: 0,
            senders_busy: 0,
            connections: (1, 8_192),
            failing_commits: None,
            unreadable: None,
            failing_origins: Vec::new(),
            failed_runs: (9, 9),
            undelivered: 0,
            is_stopping: false,
        }
    }

    #[test]
    fn where_all_is_well_nothing_is_said() {
        let config = Config::default();
        assert_eq!(problems(&well(&config)), [""; 0]);
    }

    #[test]
    fn each_problem_is_one_sentence_with_its_figures() {
        let config = Config::default();
        let mut seen = well(&config);
        seen.backlog = Backlog {
            queued: 95_000,
            ..Backlog::default()
        };
        seen.looked.oldest_queued = Some(Duration::from_secs(300));
        seen.looked.oldest_due = Some(Duration::from_secs(61));
        seen.looked.disk_free = Some(200 << 20);
        seen.looked.wal_bytes = Some(300 << 20);
        seen.workers_busy = 32;
        seen.senders_busy = 5;
        seen.connections = (760, 768);
        seen.failing_commits = Some((3, "the disk is full".to_owned()));
        seen.unreadable = Some("all readers are busy".to_owned());
        seen.failed_runs = (48, 60);
        seen.undelivered = 1;
        seen.is_stopping = true;
        seen.failing_origins = vec![FailingOrigin {
            origin: "https://x.example".to_owned(),
            count: 12,
            since: Timestamp(0),
        }];
        assert_eq!(
            problems(&seen),
            [
                "The server is stopping.",
                "The last 3 commits failed: the disk is full.",
                "The file cannot be read: all readers are busy.",
                "Only 200 MiB are left on the disk of the database; once it is full, nothing is accepted.",
                "The write-ahead log has grown to 300 MiB: something reads the file for so long that it cannot begin anew.",
                "95,000 of 100,000 places in the queue are taken; over it, invokes are answered 429 (max_queued).",
                "95,000 runs are queued, the oldest of those not yet begun for 5 minutes; 32 of 32 workers are busy.",
                "The most overdue delivery has been due for 61 seconds; 5 of 64 senders are busy.",
                "12 deliveries to https://x.example failed and will be tried again; the oldest is owed since 1970-01-01T00:00:00.000Z.",
                "1 delivery ended undelivered in the last hour.",
                "48 of 60 runs that ended in the last hour failed.",
                "760 of 768 connections are open; over it, new ones are refused.",
                "At most 768 connections are served, not max_connections = 8,192: this process may open too few files.",
            ]
        );
    }

    #[test]
    fn what_is_held_back_on_purpose_is_said_at_once() {
        let config = Config {
            workers: 0,
            senders: 0,
            ..Config::default()
        };
        let mut seen = well(&config);
        seen.backlog = Backlog {
            queued: 1,
            deliveries: 2,
            ..Backlog::default()
        };
        assert_eq!(
            problems(&seen),
            [
                "1 run is queued and workers is 0: none is executed.",
                "2 deliveries are owed and senders is 0: none is sent.",
            ]
        );
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
        for (seconds, text) in [
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7_300, "2 hours"),
            (200_000, "2 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
