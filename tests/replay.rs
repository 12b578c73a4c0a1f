//! The power goes off: a life is recorded write by write and sync by sync, and Skep is started on what a disk could
//! hold at any moment of it.
//!
//! `SKEP_TEST_STATES` says how many disks are tried, `SKEP_TEST_SEED` which. Controls with a weaker `synchronous`
//! show that the replay finds what is lost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::dice::{Dice, asked};
use crate::house::{BINARY, House, count_in_file, rows, wait_until};
use crate::receiver::{Act, Receiver};
use crate::replay::disk::{Disk, Files};
use crate::replay::judge::Rows;
use crate::replay::load::{Recording, SLOW, record};
use crate::shim::{Kind, watched};
use crate::wire::PATIENCE;

mod disk;
mod judge;
mod load;

/// The pragma as the serving connection has it, at the end of a line, and as the controls have it: texts of one length.
const SHIPPED: &[u8] = b"synchronous = FULL;\n";
const NORMAL: &[u8] = b"synchronous = 1   ;\n";
const OFF: &[u8] = b"synchronous = 0   ;\n";

/// How many disks of one recorded life are tried.
const STATES_OF_A_LIFE: u64 = 200;

/// How many disks are tried at once: most of a start is waiting.
const LANES: usize = 4;

/// A disk that a crash could have left.
struct State {
    /// The crash came before this record.
    point: usize,
    /// What was promised up to here counts.
    until: u64,
    files: Files,
}

/// Plays a recorded life to so many random points, in their order, and crashes there.
fn crashes(life: &Recording, seed: u64, count: usize, mut each: impl FnMut(State)) {
    let mut dice = Dice(seed);
    let records = life.trace.records.len();
    let mut points: Vec<usize> = (0..count)
        .map(|at| match at % 10 {
            // The file's first moments are few records and many ways to go wrong.
            0 | 1 => dice.below(records.min(150)),
            _ => dice.below(records + 1),
        })
        .collect();
    points.sort_unstable();
    let mut disk = Disk::new(&life.trace);
    let mut played = 0;
    for point in points {
        (played..point).for_each(|number| disk.play(number));
        played = point;
        // A client that knew it before the next record was written down knew it from what came before that record.
        let next = life.trace.records.get(point);
        each(State {
            point,
            until: next.map_or(u64::MAX, |record| record.at),
            files: disk.crash(&mut dice),
        });
    }
}

fn lay_out(files: &Files, data: &Path) {
    for (name, bytes) in files {
        let mut path = data.as_os_str().to_owned();
        path.push(name);
        let path = PathBuf::from(path);
        fs::write(&path, bytes).expect("the folder is writable");
        let owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, owner).expect("the file is ours");
    }
}

/// What the disk holds, looked at in a copy, and what of the promises it does not.
fn look(life: &Recording, state: &State) -> Result<Rows, Vec<String>> {
    let folder = TempDir::new().expect("the temporary folder is writable");
    let data = folder.path().join("skep.db");
    lay_out(&state.files, &data);
    let rows = Rows::read(&data).map_err(|fault| vec![fault])?;
    match rows.missing(life, state.until) {
        lost if lost.is_empty() => Ok(rows),
        lost => Err(lost),
    }
}

/// Starts the real binary on the disk and waits until everything has come to its end.
fn go_on(life: &Recording, state: &State, before: &Rows) -> Vec<String> {
    let receiver = Receiver::start();
    for path in ["/a", "/b", "/hook"] {
        receiver.on(path, [Act::Number(0)]);
    }
    let house = House::plan()
        .set("workers", "8")
        .set("senders", "8")
        .set("senders_per_origin", "8")
        .build();
    lay_out(&state.files, &house.data());
    watched(&house);
    let ports = format!("{}:{}", life.port, receiver.port());
    house.replan(|plan| plan.env("SHIM_CONNECT", &ports));
    house.launch();
    wait_until("every run has ended", PATIENCE, || {
        let open = house.get("/v1/workflow_runs?limit=500&status=queued,running,waiting");
        let all_slow = rows(&open).iter().all(|run| run["deployment"] == SLOW);
        // A page may be short, or empty, and still not the last.
        (all_slow && open["next_cursor"].is_null()).then_some(())
    });
    wait_until("every delivery has ended", PATIENCE, || {
        let owed = house.get("/v1/deliveries?limit=500&status=pending,delivering");
        (rows(&owed).is_empty() && owed["next_cursor"].is_null()).then_some(())
    });
    house.kill();
    match Rows::read(&house.data()) {
        Ok(after) => after.wrong_end(before, &receiver.all()),
        Err(fault) => vec![fault],
    }
}

fn judge(life: &Recording, state: &State) -> Vec<String> {
    match look(life, state) {
        Ok(before) => go_on(life, state, &before),
        Err(lost) => lost,
    }
}

fn described(life: &Recording) -> String {
    let count = |kind| life.trace.count(kind);
    format!(
        "{} records ({} writes, {} syncs), {} promises, {} calls from outside",
        life.trace.records.len(),
        count(Kind::Write),
        count(Kind::SyncEnds),
        life.promises.len(),
        life.arrivals.len()
    )
}

/// Keeps a disk that is bad: a life is not recorded twice, so the seed alone does not bring it back.
fn keep(state: &State, seed: u64) {
    let name = format!("bad-disk-{seed}-{}", state.point);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    lay_out(&state.files, &folder.join("skep.db"));
    eprintln!("a bad disk is kept in {}", folder.display());
}

/// Tries so many disks of one life; says what is wrong with which.
fn try_life(life: &Recording, seed: u64, states: usize) -> Vec<String> {
    let bad: Mutex<BTreeMap<usize, Vec<String>>> = Mutex::default();
    let (hand_out, states_to_try) = mpsc::sync_channel::<State>(LANES);
    let states_to_try = Mutex::new(states_to_try);
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let next = || {
                    let queue = states_to_try.lock();
                    queue.unwrap_or_else(PoisonError::into_inner).recv().ok()
                };
                while let Some(state) = next() {
                    let judged = catch_unwind(AssertUnwindSafe(|| judge(life, &state)));
                    let wrong = judged.unwrap_or_else(|_| vec!["it did not go on".to_owned()]);
                    if !wrong.is_empty() {
                        keep(&state, seed);
                        let mut bad = bad.lock().unwrap_or_else(PoisonError::into_inner);
                        bad.insert(state.point, wrong);
                    }
                }
            });
        }
        crashes(life, seed, states, |state| {
            hand_out.send(state).expect("the lanes are open");
        });
        drop(hand_out);
    });
    let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    bad.iter()
        .map(|(point, wrong)| format!("seed {seed}, before record {point}: {}", wrong.join("; ")))
        .collect()
}

#[test]
fn the_power_goes_off_at_any_moment_and_nothing_promised_is_lost() {
    let (seed, states) = (asked("SKEP_TEST_SEED", 3), asked("SKEP_TEST_STATES", 200));
    let mut bad = Vec::new();
    let (mut left, mut life_seed) = (states, seed);
    while left > 0 {
        let now = left.min(STATES_OF_A_LIFE);
        let begun = Instant::now();
        let life = record(Path::new(BINARY), 600);
        let recorded = Instant::now();
        let found = try_life(&life, life_seed, now as usize);
        eprintln!(
            "{}, recorded in {:?}; {now} crash states (seed {life_seed}), {} bad, in {:?}",
            described(&life),
            recorded - begun,
            found.len(),
            recorded.elapsed()
        );
        bad.extend(found);
        left -= now;
        life_seed += 1;
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The binary with another text in the place of the one `synchronous` pragma.
fn weakened(folder: &TempDir, pragma: &[u8]) -> PathBuf {
    assert_eq!(pragma.len(), SHIPPED.len());
    let found = count_in_file(Path::new(BINARY), SHIPPED);
    assert_eq!(found, 1, "the binary sets `synchronous` in one place");
    let mut bytes = fs::read(BINARY).expect("the binary is there");
    let at = bytes
        .windows(SHIPPED.len())
        .position(|window| window == SHIPPED)
        .expect("it was counted");
    bytes[at..at + SHIPPED.len()].copy_from_slice(pragma);
    let path = folder.path().join("skep");
    fs::write(&path, bytes).expect("the folder is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the file is ours");
    path
}

#[test]
fn a_weaker_setting_is_found_out() {
    let seed = asked("SKEP_TEST_SEED", 3);
    let states = (asked("SKEP_TEST_STATES", 200) / 4).max(25) as usize;
    for (name, pragma) in [("NORMAL", NORMAL), ("OFF", OFF)] {
        let folder = TempDir::new().expect("the temporary folder is writable");
        let life = record(&weakened(&folder, pragma), 150);
        let (mut bad, mut first) = (0, None);
        crashes(&life, seed, states, |state| {
            if let Err(lost) = look(&life, &state) {
                bad += 1;
                first.get_or_insert(lost);
            }
        });
        eprintln!("{name}: {}; {bad} of {states} states bad", described(&life));
        let first = first.unwrap_or_else(|| panic!("{name} loses nothing: the replay is blind"));
        eprintln!("{name}: {}", &first[0]);
    }
}
