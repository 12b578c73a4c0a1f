//! What many measured times say: pure arithmetic.

use std::time::Duration;

/// Measured times.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Of these, in any order.
    pub fn new(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times(times)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of all do not exceed, in milliseconds; 0 if there are none.
    pub fn percentile(&self, percent: f64) -> f64 {
        let rank = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        let at = rank.saturating_sub(1).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| ms(*time))
    }

    /// The median, in milliseconds.
    pub fn p50(&self) -> f64 {
        self.percentile(50.0)
    }

    /// In milliseconds.
    pub fn p99(&self) -> f64 {
        self.percentile(99.0)
    }

    /// The longest, in milliseconds.
    pub fn max(&self) -> f64 {
        self.percentile(100.0)
    }
}

/// A duration in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The middle one of a few values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
