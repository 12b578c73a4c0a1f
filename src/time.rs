//! Instants, durations as people write them, and the only place that asks what time it is.
//!
//! Owns the clock. Everything else is given a [`Timestamp`] as an argument.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: milliseconds since 1970, UTC. Shown as RFC 3339 with milliseconds and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// The years that RFC 3339 can write.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

impl Timestamp {
    /// Reads RFC 3339, any offset. `None` if it is not that, or cannot be shown in UTC.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let at = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
        YEARS
            .contains(&at.year())
            .then(|| Timestamp(at.timestamp_millis()))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This much later (saturating).
    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(duration)))
    }

    /// How long from `earlier` to here; zero if it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As it is sent.
impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no time")))
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a duration as the contract writes it: a whole number and `ms`, `s`, `m`, `h` or `d`.
/// The error is a sentence that says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let wrong = || format!("expected a duration such as 250ms, 20s, 2h or 7d, got {text:?}");
    let number: u64 = text[..split].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[split..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    // A century is enough for anyone, and keeps every sum below far from overflow.
    match number.checked_mul(unit) {
        Some(ms) if ms <= 36_525 * 86_400_000 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("{text:?} is longer than 100 years")),
    }
}

/// What the machine's clock shows, in microseconds.
fn wall_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// What was shown last, in microseconds, and when.
type Shown = Option<(i64, Instant)>;

/// The machine's time, but never back: where its clock is set back, time goes on from where it was, at half speed until
/// the clock has caught up, so that nothing that was due is suddenly in the future.
fn steady() -> Timestamp {
    static SHOWN: Mutex<Shown> = Mutex::new(None);
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let next = after(*shown, wall_us(), Instant::now());
    *shown = Some(next);
    Timestamp(next.0.div_euclid(1000))
}

fn after(shown: Shown, wall: i64, at: Instant) -> (i64, Instant) {
    match shown {
        Some((us, since)) if wall < us => {
            let step = i64::try_from(at.duration_since(since).as_micros() / 2).unwrap_or(0);
            // Too little time for a step is kept for the next one.
            if step == 0 {
                (us, since)
            } else {
                (us + step, at)
            }
        }
        Some(_) | None => (wall, at),
    }
}

/// Where time comes from: the system, or a test's hand.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// Stands still until it is set.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that shows `at` until it is moved.
    pub fn manual(at: Timestamp) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at.0)))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => steady(),
            Clock::Manual(at) => Timestamp(at.load(Ordering::SeqCst)),
        }
    }

    /// What the machine's clock shows, even where it was set back: for what others compare with theirs.
    pub fn wall(&self) -> Timestamp {
        match self {
            Clock::System => Timestamp(wall_us().div_euclid(1000)),
            Clock::Manual(_) => self.now(),
        }
    }

    /// Moves a manual clock; the system's cannot be moved.
    pub fn set(&self, to: Timestamp) {
        if let Clock::Manual(at) = self {
            at.store(to.0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, ms) in [
            ("250ms", 250),
            ("20s", 20_000),
            ("2m", 120_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "5",
            "-5s",
            "5 s",
            "1.5s",
            "5w",
            "99999999999999999999d",
            "40000d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_clock_set_back_does_not_take_time_back_and_is_caught_up_with() {
        let (start, hour) = (Instant::now(), 3_600_000_000);
        let mut shown = (10 * hour, start);
        // Set back an hour, and looked at every 3 ms for three hours.
        for look in 1..=3_600_000_i64 {
            let at = start + Duration::from_micros(look as u64 * 3_000);
            let wall = 9 * hour + look * 3_000;
            let next = after(Some(shown), wall, at);
            assert!(next.0 >= shown.0, "time went back");
            shown = next;
            if look == 3_600_000_000 / 3_000 {
                assert_eq!(shown.0, 10 * hour + hour / 2, "half speed while behind");
            }
        }
        assert_eq!(shown.0, 12 * hour, "caught up");
        assert_eq!(after(None, 5, start), (5, start));
    }

    #[test]
    fn timestamps_print_with_milliseconds_and_z() {
        assert_eq!(
            Timestamp(1_614_265_330_007).to_string(),
            "2021-02-25T15:02:10.007Z"
        );
        assert_eq!(
            Timestamp::parse("2021-02-25T16:02:10.007+01:00"),
            Some(Timestamp(1_614_265_330_007))
        );
    }

    #[test]
    fn a_time_that_cannot_be_shown_again_is_none() {
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
        for text in ["9999-12-31T23:59:59.999Z", "0000-01-01T00:00:00.000Z"] {
            let read = Timestamp::parse(text).expect("a time");
            assert_eq!(read.to_string(), text);
        }
    }
}
