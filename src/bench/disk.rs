//! What one flush to the disk costs: everything durable is a multiple of it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::bench::Result;
use crate::bench::stats::Times;

/// Medians further apart than this are of a disk that changed meanwhile.
pub const STEADY: f64 = 1.5;

const PAGE: usize = 4_096;

/// The pages of the file, overwritten in turn, as those of a write-ahead log are.
const PAGES: usize = 1_024;

/// Overwrites 4 KiB in place and flushes it (`fdatasync`), so many times; the flushes' times. The file is a new one in
/// `folder`, and removed.
pub fn flushes(folder: &Path, rounds: usize) -> Result<Times> {
    let path = folder.join("flush");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    file.write_all_at(&vec![7; PAGES * PAGE], 0)?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let page = [round as u8; PAGE];
        file.write_all_at(&page, (round % PAGES * PAGE) as u64)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(Times::new(times))
}

/// How many times slower the slowest of these medians is than the fastest.
pub fn spread(medians: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let most = medians.clone().into_iter().fold(0.0, f64::max);
    let least = medians.into_iter().fold(f64::INFINITY, f64::min);
    most / least.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_are_counted_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let times = flushes(folder.path(), 9).expect("the folder is writable");
        assert_eq!(times.count(), 9);
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn a_file_that_is_there_is_not_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("flush"), "mine").expect("the folder is writable");
        flushes(folder.path(), 1).expect_err("the name is taken");
        let kept = fs::read(folder.path().join("flush")).expect("it is still there");
        assert_eq!(kept, b"mine");
    }

    #[test]
    fn the_spread_is_the_slowest_to_the_fastest() {
        assert_eq!(spread([2.0, 1.0, 3.0]), 3.0);
    }
}
