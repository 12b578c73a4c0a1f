//! The whole engine without threads: a manual clock, a scripted outside, crashes anywhere. One seed, one history.
//!
//! Every loop's turn is taken apart into its beats, and the seed decides whose beat is next: callers, workers, senders,
//! upkeep and operators come between any two commits of each other. A process may die in a commit (the change is in the
//! file, or it is not) or between two; the next one finds the file. After every beat the file and the counts in memory
//! are held against the rules of `checks`. A history that breaks one is told again, line by line.

mod checks;
mod end;
mod fiber;
mod history;
mod life;
mod log;
mod many;
mod people;
mod script;
mod world;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use history::{Crashes, History};

/// What a number of histories came to.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Tally {
    histories: u64,
    lives: u64,
    wishes: u64,
    commits: u64,
    /// Questions that people decided.
    decided: u64,
}

fn folder() -> tempfile::TempDir {
    // Memory where there is some: what is tested is the logic of a crash, not the disk's.
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

fn forget(path: &Path) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    }
}

fn play(folder: &Path, seed: u64, crashes: Crashes, is_told: bool) -> History {
    let mut history = History::new(folder, seed, crashes, is_told);
    history.run();
    forget(&history.setup.path);
    history
}

/// Plays a history; if it breaks a rule, tells it again, and ends.
fn survive(folder: &Path, seed: u64, crashes: Crashes) -> Tally {
    let history = play(folder, seed, crashes, false);
    if history.checks.broken.is_empty() {
        return Tally {
            histories: 1,
            lives: history.lives,
            wishes: history.wishes.len() as u64,
            commits: history.commits,
            decided: history.said.decided(),
        };
    }
    let again = play(folder, seed, crashes, true);
    panic!(
        "the history of seed {seed} ({crashes:?}):\n{}\n\nVIOLATED, seed {seed}:\n  {}",
        again.world.log.text(),
        again.checks.broken.join("\n  ")
    );
}

/// A number from outside; `scripts/simulate` and `scripts/proof` ask for more.
fn asked(variable: &str, usual: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
#[expect(clippy::print_stdout, reason = "a night's run says how far it is")]
fn every_seeded_history_survives_its_crashes() {
    let seeds = asked("SKEP_TEST_SEEDS", 1_000);
    let from = asked("SKEP_TEST_FROM", 0);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    let folder = folder();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let threads = asked("SKEP_TEST_SHARDS", threads);
    let totals: Vec<Tally> = std::thread::scope(|scope| {
        let play = || {
            let mut total = Tally::default();
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= seeds {
                    return total;
                }
                let tally = survive(folder.path(), from + seed, Crashes::Seeded);
                total.histories += 1;
                total.lives += tally.lives;
                total.wishes += tally.wishes;
                total.decided += tally.decided;
                let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                if done.is_multiple_of(1_000) {
                    let rate = done as f64 / begun.elapsed().as_secs_f64();
                    println!("{done} of {seeds} histories, {rate:.0} a second");
                }
            }
        };
        let shards: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        shards
            .into_iter()
            .map(|shard| {
                shard
                    .join()
                    .unwrap_or_else(|broken| std::panic::resume_unwind(broken))
            })
            .collect()
    });
    let sum = |of: fn(&Tally) -> u64| totals.iter().map(of).sum::<u64>();
    let (histories, lives, wishes) = (
        sum(|one| one.histories),
        sum(|one| one.lives),
        sum(|one| one.wishes),
    );
    let decided = sum(|one| one.decided);
    assert!(decided > 0 || seeds < 100, "nobody was asked");
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "seeds {from} to {}: {histories} histories, {lives} lives, {wishes} wishes, {decided} decisions, 0 violations; {:.0} a second",
        from + seeds.saturating_sub(1),
        histories as f64 / seconds
    );
}

#[test]
fn a_history_survives_a_crash_at_each_of_its_commits() {
    let folder = folder();
    // Unasked, a sample: every tenth commit of two.
    let (histories, stride) = match asked("SKEP_TEST_HISTORIES", 0) {
        0 => (2, 10),
        asked => (asked, 1),
    };
    for seed in 0..histories {
        let commits = survive(folder.path(), seed, Crashes::Once(None)).commits;
        for at in (1..=commits).step_by(stride) {
            for after in [false, true] {
                survive(folder.path(), seed, Crashes::Once(Some((at, after))));
            }
        }
    }
}

#[test]
fn a_seed_gives_one_history() {
    let folder = folder();
    let [one, other] = [0, 1].map(|_| {
        play(folder.path(), 42, Crashes::Seeded, true)
            .world
            .log
            .text()
    });
    assert!(one.lines().count() > 100, "{one}");
    assert_eq!(one, other);
}
