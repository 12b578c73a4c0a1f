//! The last hour by the minute and the last day by the quarter of an hour, in memory, for charts.
//!
//! No thread turns it: a slot is cleared when something falls into it for the first time. What nothing fell into is not
//! kept; it reads as zeros, with the backlog of the slot before it.

use crate::time::Timestamp;

/// Two buckets an octave, from 1 ms to 24 days.
const BUCKETS: usize = 64;

/// How many of which length, in milliseconds: about 150 KiB when all are in use.
#[derive(Debug, Default, Clone)]
pub struct Spread {
    counts: Option<Box<[u32; BUCKETS]>>,
    number: u64,
    longest: u64,
}

impl Spread {
    fn note(&mut self, ms: u64) {
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        let count = &mut counts[bucket(ms)];
        *count = count.saturating_add(1);
        self.number += 1;
        self.longest = self.longest.max(ms);
    }

    /// What `share` (0 to 1) of them do not exceed, within a quarter; `None`: there were none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let counts = self.counts.as_ref()?;
        let rank = (self.number as f64 * share).ceil().max(1.0);
        let mut below = 0.0;
        for (at, count) in counts.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && below + count >= rank {
                let (low, high) = (lowest(at), lowest(at + 1));
                let within = (rank - below) / count;
                let value = low as f64 + (high - low) as f64 * within;
                return Some((value as u64).min(self.longest));
            }
            below += count;
        }
        Some(self.longest)
    }
}

fn bucket(ms: u64) -> usize {
    if ms == 0 {
        return 0;
    }
    let octave = ms.ilog2() as usize;
    let half = match octave {
        0 => 0,
        _ => (ms >> (octave - 1) & 1) as usize,
    };
    (1 + 2 * octave + half).min(BUCKETS - 1)
}

/// The smallest value of a bucket.
fn lowest(at: usize) -> u64 {
    if at == 0 {
        return 0;
    }
    let (octave, half) = ((at - 1) / 2, (at - 1) % 2);
    (1 << octave) + ((1 << octave) >> 1) * half as u64
}

/// What is open.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Runs waiting for a worker.
    pub queued: u64,
    /// Runs in a worker's hands.
    pub running: u64,
    /// Runs waiting for a time or a person.
    pub parked: u64,
    /// Deliveries still owed.
    pub deliveries: u64,
}

/// What happened in a span of time.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Runs accepted.
    pub accepted: u64,
    /// Runs that ended well.
    pub completed: u64,
    /// Runs that ended badly.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Deliveries accepted by their receivers.
    pub delivered: u64,
    /// Deliveries given up, or taken back.
    pub undelivered: u64,
    /// From a run's acceptance to its first start.
    pub queue_time: Spread,
    /// From a run's first start to its end.
    pub run_duration: Spread,
    /// From an event to its delivery.
    pub delivery_lag: Spread,
    /// What was open at the end of the span, or is now.
    pub backlog: Backlog,
}

/// What is told to a ring.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    Accepted,
    Started(u64),
    Ended(&'static str, Option<u64>),
    Delivered(Option<u64>),
    Undelivered,
}

impl Tally {
    fn note(&mut self, told: Told) {
        match told {
            Told::Accepted => self.accepted += 1,
            Told::Started(waited) => self.queue_time.note(waited),
            Told::Ended(status, ran) => {
                match status {
                    "completed" => self.completed += 1,
                    "failed" => self.failed += 1,
                    _ => self.cancelled += 1,
                }
                if let Some(ran) = ran {
                    self.run_duration.note(ran);
                }
            }
            Told::Delivered(lag) => {
                self.delivered += 1;
                if let Some(lag) = lag {
                    self.delivery_lag.note(lag);
                }
            }
            Told::Undelivered => self.undelivered += 1,
        }
    }
}

/// Spans of one length.
#[derive(Debug)]
struct Track {
    span_ms: i64,
    slots: Vec<Option<(i64, Box<Tally>)>>,
    /// The newest span that something fell into.
    latest: Option<i64>,
    /// What was open when the process began.
    at_first: Backlog,
}

impl Track {
    fn new(span_ms: i64, count: usize) -> Track {
        Track {
            span_ms,
            slots: vec![None; count],
            latest: None,
            at_first: Backlog::default(),
        }
    }

    fn place(&self, number: i64) -> usize {
        number.rem_euclid(self.slots.len() as i64) as usize
    }

    /// The tally of a span; `None` if its place was taken by a later one already.
    fn tally(&mut self, number: i64) -> Option<&mut Tally> {
        let place = self.place(number);
        let slot = &mut self.slots[place];
        match slot {
            Some((there, _)) if *there > number => return None,
            Some((there, _)) if *there == number => {}
            _ => *slot = Some((number, Box::default())),
        }
        self.latest = self.latest.max(Some(number));
        self.slots[place].as_mut().map(|(_, tally)| tally.as_mut())
    }

    fn note(&mut self, told: Told, at: Timestamp) {
        if let Some(tally) = self.tally(at.0.div_euclid(self.span_ms)) {
            tally.note(told);
        }
    }

    fn backlog(&mut self, now: Backlog) {
        match self.latest {
            Some(latest) => {
                if let Some(tally) = self.tally(latest) {
                    tally.backlog = now;
                }
            }
            None => self.at_first = now,
        }
    }

    /// The spans from `since` to `now`, as many as are kept, oldest first; each with its beginning.
    fn read(&self, since: Timestamp, now: Timestamp) -> Vec<(Timestamp, Tally)> {
        let last = now.0.div_euclid(self.span_ms);
        let first = (last - self.slots.len() as i64 + 1).max(since.0.div_euclid(self.span_ms));
        let kept = self.slots.iter().flatten();
        let before = kept
            .filter(|(number, _)| *number < first)
            .max_by_key(|(number, _)| *number);
        let mut backlog = before.map_or(self.at_first, |(_, tally)| tally.backlog);
        let mut spans = Vec::new();
        for number in first..=last {
            let tally = match &self.slots[self.place(number)] {
                Some((there, tally)) if *there == number => tally.as_ref().clone(),
                _ => Tally {
                    backlog,
                    ..Tally::default()
                },
            };
            backlog = tally.backlog;
            spans.push((Timestamp(number * self.span_ms), tally));
        }
        spans
    }
}

/// The hour and the day.
#[derive(Debug)]
pub(super) struct Ring {
    hour: Track,
    day: Track,
}

impl Default for Ring {
    fn default() -> Ring {
        Ring {
            hour: Track::new(60_000, 60),
            day: Track::new(900_000, 96),
        }
    }
}

impl Ring {
    pub(super) fn note(&mut self, told: Told, at: Timestamp) {
        self.hour.note(told, at);
        self.day.note(told, at);
    }

    /// What is open now, in the span that was told of last.
    pub(super) fn backlog(&mut self, now: Backlog) {
        self.hour.backlog(now);
        self.day.backlog(now);
    }

    pub(super) fn read(&self, since: Timestamp, now: Timestamp) -> Spans {
        Spans {
            hour: self.hour.read(since, now),
            day: self.day.read(since, now),
        }
    }
}

/// What happened, by spans of time, oldest first; the last is still under way. Each with its beginning.
#[derive(Debug, Default)]
pub struct Spans {
    /// Up to 60 minutes.
    pub hour: Vec<(Timestamp, Tally)>,
    /// Up to 96 quarters of an hour.
    pub day: Vec<(Timestamp, Tally)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut spread = Spread::default();
        assert_eq!(spread.quantile(0.5), None);
        for ms in 1..=1_000 {
            spread.note(ms);
        }
        let near = |share: f64, expected: f64| {
            let found = spread.quantile(share).expect("there are some") as f64;
            assert!(
                (found - expected).abs() <= expected / 4.0,
                "{share}: {found}"
            );
        };
        near(0.01, 10.0);
        near(0.5, 500.0);
        near(0.99, 990.0);
        assert_eq!(spread.quantile(1.0), Some(1_000));
        let mut one = Spread::default();
        one.note(0);
        assert_eq!(one.quantile(0.99), Some(0));
        one.note(u64::MAX);
        assert_eq!(one.quantile(0.5), Some(1));
    }

    #[test]
    fn the_buckets_leave_no_gap() {
        for at in 1..BUCKETS - 1 {
            assert_eq!(bucket(lowest(at)), if at == 2 { 1 } else { at }, "{at}");
            assert!(lowest(at) <= lowest(at + 1), "{at}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_is_over_an_hour_old_makes_room_and_the_backlog_is_carried_on() {
        let mut ring = Ring::default();
        let at = |minute: i64| Timestamp(minute * MINUTE + 1);
        ring.backlog(Backlog {
            parked: 9,
            ..Backlog::default()
        });
        ring.note(Told::Accepted, at(100));
        ring.backlog(Backlog {
            queued: 1,
            ..Backlog::default()
        });
        ring.note(Told::Ended("failed", Some(5)), at(103));
        let read = ring.read(at(98), at(104));
        let shown: Vec<(u64, u64, u64, u64)> = read
            .hour
            .iter()
            .map(|(_, tally)| {
                let open = tally.backlog;
                (tally.accepted, tally.failed, open.queued, open.parked)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (0, 0, 0, 9),
                (0, 0, 0, 9),
                (1, 0, 1, 0),
                (0, 0, 1, 0),
                (0, 0, 1, 0),
                (0, 1, 0, 0),
                (0, 0, 0, 0),
            ]
        );
        assert_eq!(read.hour[0].0, Timestamp(98 * MINUTE));
        // An hour later, the same place is another minute's; what comes late for the old one is let go.
        ring.note(Told::Accepted, at(160));
        ring.note(Told::Accepted, at(100));
        let read = ring.read(at(0), at(160));
        assert_eq!(read.hour.len(), 60);
        let accepted: u64 = read.hour.iter().map(|(_, tally)| tally.accepted).sum();
        assert_eq!(accepted, 1);
        let accepted: u64 = read.day.iter().map(|(_, tally)| tally.accepted).sum();
        assert_eq!(accepted, 3, "the day remembers longer");
    }
}
