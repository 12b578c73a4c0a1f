//! What SQLite allows here without Skep: the yardsticks that its figures are held against.

use std::fs;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::bench::place::Place;
use crate::bench::{MANY, Result, fault, hands};
use crate::store::yardstick::Yardstick;

/// A new file for each, so that none finds what another left.
fn with<T>(place: &Place, name: &str, act: impl FnOnce(Yardstick) -> Result<T>) -> Result<T> {
    let room = place.room(name)?;
    let done = act(Yardstick::create(&room.join("yardstick.db"))?)?;
    fs::remove_dir_all(room)?;
    Ok(done)
}

/// How often a second it can be done, tried for so long.
fn rate(time: Duration, mut act: impl FnMut() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    let mut count = 0_u32;
    while count == 0 || begun.elapsed() < time {
        act()?;
        count += 1;
    }
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Rows a second, one a commit, one thread.
pub fn single(place: &Place, time: Duration) -> Result<f64> {
    with(place, "single", |mut yardstick| {
        rate(time, || Ok(yardstick.insert(1)?))
    })
}

/// Jobs inserted, claimed and finished a second, one thread, so many to a commit.
pub fn life(place: &Place, jobs: usize, time: Duration) -> Result<f64> {
    with(place, "life", |mut yardstick| {
        Ok(rate(time, || Ok(yardstick.life(jobs)?))? * jobs as f64)
    })
}

/// Rows a second that one writer commits for 64 threads, each waiting until its own is on disk.
pub fn grouped(place: &Place, time: Duration) -> Result<f64> {
    with(place, "grouped", |mut yardstick| {
        let (sender, waiting) = bounded(4 * MANY);
        let begun = Instant::now();
        let writer = hands::start("bench-writer", move || Ok(yardstick.serve(&waiting)?))?;
        let callers = hands::beside(MANY, move |_| {
            let (caller, answer) = bounded(1);
            while begun.elapsed() < time {
                sender
                    .send(caller.clone())
                    .map_err(|_| fault("the writer of the yardstick ended"))?;
                answer.recv()?;
            }
            Ok(())
        })?;
        let called = hands::joined(callers);
        let took = begun.elapsed();
        // What the writer has to say is the reason why callers failed.
        let jobs = hands::joined(vec![writer])?.into_iter().sum::<usize>();
        called?;
        Ok(jobs as f64 / took.as_secs_f64())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Dice;

    #[test]
    fn every_yardstick_says_something_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place::within(folder.path(), &Dice::System).expect("it is writable");
        let time = Duration::from_millis(20);
        for rate in [
            single(&place, time),
            life(&place, 64, time),
            grouped(&place, time),
        ] {
            assert!(rate.expect("it is measured") > 0.0);
        }
        let left = fs::read_dir(place.folder()).expect("it is there").count();
        assert_eq!(left, 0);
    }
}
