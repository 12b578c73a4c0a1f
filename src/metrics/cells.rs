//! What is counted in: counters, gauges, histograms, and families of them by label. Atomics, no lock, nothing allocated
//! after the start.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Where a word goes that is not in a label's list: a family never grows.
pub const OTHER: &str = "other";

/// What only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// So many more, or fewer.
    pub fn shift(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// So many.
    pub fn set(&self, to: u64) {
        self.0
            .store(i64::try_from(to).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// The bounds of a histogram's buckets, ascending, and what one is worth in the unit that is shown.
#[derive(Debug)]
pub struct Scale {
    /// The greatest value of each bucket; one more bucket takes the rest.
    pub bounds: &'static [u64],
    /// How many of them make one of the unit shown: 1,000,000 for microseconds shown as seconds.
    pub in_one: f64,
}

/// Microseconds, from a commit on a fast disk to an answer that has waited long.
pub static SHORT: Scale = Scale {
    bounds: &[
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 10_000_000, 60_000_000,
    ],
    in_one: 1e6,
};

/// Microseconds, from a millisecond to three days: what may wait for others.
pub static LONG: Scale = Scale {
    bounds: &[
        1_000,
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        300_000_000,
        900_000_000,
        3_600_000_000,
        14_400_000_000,
        86_400_000_000,
        259_200_000_000,
    ],
    in_one: 1e6,
};

/// Verbs in a commit.
pub static BATCH: Scale = Scale {
    bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
    in_one: 1.0,
};

/// How often which values were seen.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub fn new(scale: &'static Scale) -> Histogram {
        Histogram {
            scale,
            buckets: (0..=scale.bounds.len())
                .map(|_| AtomicU64::default())
                .collect(),
            sum: AtomicU64::default(),
        }
    }

    /// A value was seen.
    pub fn note(&self, value: u64) {
        let at = self.scale.bounds.partition_point(|bound| *bound < value);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// A time was taken.
    pub fn time(&self, took: Duration) {
        self.note(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The bounds in the unit shown, each with how many values were at most that; then the number and the sum of all.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut count = 0;
        let mut below = Vec::with_capacity(self.scale.bounds.len());
        let mut bounds = self.scale.bounds.iter();
        for bucket in &self.buckets {
            count += bucket.load(Ordering::Relaxed);
            if let Some(bound) = bounds.next() {
                below.push((*bound as f64 / self.scale.in_one, count));
            }
        }
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.scale.in_one;
        (below, count, sum)
    }
}

/// What a family is made of.
pub trait Cell {
    /// Whether nothing was ever counted.
    fn is_untouched(&self) -> bool;
}

impl Cell for Counter {
    fn is_untouched(&self) -> bool {
        self.get() == 0
    }
}

impl Cell for Histogram {
    fn is_untouched(&self) -> bool {
        self.buckets
            .iter()
            .all(|bucket| bucket.load(Ordering::Relaxed) == 0)
    }
}

/// One cell for each combination of words, one list of words for each label; unknown words count as [`OTHER`].
#[derive(Debug)]
pub struct Family<T> {
    lists: Vec<Vec<String>>,
    cells: Vec<T>,
}

impl<T: Cell> Family<T> {
    /// Untouched cells for all combinations.
    pub fn new(lists: &[&[&str]], cell: impl Fn() -> T) -> Family<T> {
        let with_other = |list: &&[&str]| {
            list.iter()
                .copied()
                .chain([OTHER])
                .map(str::to_owned)
                .collect()
        };
        let lists: Vec<Vec<String>> = lists.iter().map(with_other).collect();
        let count = lists.iter().map(Vec::len).product();
        Family {
            cells: (0..count).map(|_| cell()).collect(),
            lists,
        }
    }

    /// The cell of those words, one for each label.
    pub fn at(&self, words: &[&str]) -> &T {
        let mut index = 0;
        for (at, list) in self.lists.iter().enumerate() {
            let word = words.get(at).copied().unwrap_or(OTHER);
            let place = list.iter().position(|known| known == word);
            index = index * list.len() + place.unwrap_or(list.len() - 1);
        }
        &self.cells[index]
    }

    /// Every cell with its words; those of [`OTHER`] only once they were touched.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<&str>, &T)> {
        self.cells.iter().enumerate().filter_map(|(index, cell)| {
            let mut rest = index;
            let mut words = Vec::with_capacity(self.lists.len());
            for list in self.lists.iter().rev() {
                words.push(list[rest % list.len()].as_str());
                rest /= list.len();
            }
            words.reverse();
            let is_shown = !words.contains(&OTHER) || !cell.is_untouched();
            is_shown.then_some((words, cell))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&BATCH);
        for value in [0, 1, 2, 3, 256, 257, 9_000] {
            histogram.note(value);
        }
        let (below, count, sum) = histogram.read();
        let counts: Vec<u64> = below.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 3, 4, 4, 4, 4, 4, 4, 5]);
        assert_eq!((count, sum), (7, 9_519.0));
    }

    #[test]
    fn times_are_shown_in_seconds() {
        let histogram = Histogram::new(&SHORT);
        histogram.time(Duration::from_millis(3));
        let (below, count, sum) = histogram.read();
        assert_eq!(below[5], (0.0025, 0));
        assert_eq!(below[6], (0.005, 1));
        assert_eq!((count, sum), (1, 0.003));
    }

    #[test]
    fn a_family_never_grows_whatever_it_is_told() {
        let family = Family::new(&[&["a", "b"], &["x"]], Counter::default);
        family.at(&["b", "x"]).add();
        let rows = |family: &Family<Counter>| {
            family
                .rows()
                .map(|(words, cell)| format!("{}={}", words.join(","), cell.get()))
                .collect::<Vec<_>>()
        };
        assert_eq!(rows(&family), ["a,x=0", "b,x=1"]);
        family.at(&["made up", "x"]).add();
        family.at(&["more", "of it"]).add();
        family.at(&[]).add();
        assert_eq!(
            rows(&family),
            ["a,x=0", "b,x=1", "other,x=1", "other,other=2"]
        );
    }
}
