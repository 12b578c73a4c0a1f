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

    /// Of all of these together.
    pub fn of_all<'a>(parts: impl IntoIterator<Item = &'a Times>) -> Times {
        Times::new(
            parts
                .into_iter()
                .flat_map(|times| times.0.iter().copied())
                .collect(),
        )
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

/// The middle one of a few values; of two, their mean. 0 if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    match (values.get(low), values.get(high)) {
        (Some(low), Some(high)) => (low + high) / 2.0,
        _ => 0.0,
    }
}

/// `part` in units of `whole`; 0 if there is no whole.
pub fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times = Times::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((times.p50(), times.p99(), times.max()), (50.0, 99.0, 100.0));
        let one = Times::new(vec![Duration::from_millis(7)]);
        assert_eq!((one.p50(), one.p99(), one.max()), (7.0, 7.0, 7.0));
        assert_eq!(Times::default().p99(), 0.0);
        assert_eq!(Times::of_all([&one, &times]).count(), 101);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
        assert_eq!((ratio(1.0, 2.0), ratio(1.0, 0.0)), (0.5, 0.0));
    }
}
