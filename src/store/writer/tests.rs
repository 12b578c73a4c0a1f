//! A verb that fails leaves no trace, and takes nobody with it.

use std::sync::mpsc;

use super::*;
use crate::id::Dice;
use crate::store::notices::Notices;
use crate::store::turns::Shares;
use crate::store::{Options, Store};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn parts(folder: &tempfile::TempDir) -> Parts {
    let options = Options {
        path: folder.path().join("skep.db"),
        master_keys: Vec::new(),
        kinds: Vec::new(),
        workers: 4,
        max_queued: 10,
        shares: Shares {
            senders: 4,
            per_origin: 1,
        },
        notices: Notices::default(),
        dice: Arc::new(Dice::System),
        inline: true,
    };
    drop(Store::open(options, NOW).expect("a new file"));
    let path = folder.path().join("skep.db");
    Parts {
        conn: crate::store::open::connection(&path, NOW).expect("the file"),
        place: crate::store::place::Place::of(&path).expect("it is there"),
        limits: Limits {
            workers: 4,
            max_queued: 10,
        },
        shares: Shares {
            senders: 4,
            per_origin: 1,
        },
        sealer: Arc::new(Sealer::new(&[]).expect("no keys")),
        desk: Desk::new(Notices::default(), Arc::new(Dice::System)),
        instance: Arc::new(InstanceKey::draw(&crate::id::Dice::seeded(1))),
        bells: Arc::default(),
        past: Arc::default(),
        changes: Arc::default(),
        touched: Arc::default(),
        stops: Stops::default(),
        hands: Arc::default(),
        couriers: Arc::default(),
        in_hand: InHand::default(),
        metrics: Arc::new(Metrics::new(&[], &[], NOW)),
        inline: true,
    }
}

/// Notes a fact in the file and in memory, then fails or not; says what it came to.
fn verb(
    name: &'static str,
    fails: bool,
    said: &mpsc::Sender<(&'static str, bool)>,
) -> Box<dyn Job> {
    let said = said.clone();
    let verb = move |tx: &mut Tx<'_>| {
        tx.sql("INSERT INTO origins (origin, health) VALUES (?1, 'answered')")?
            .execute([name])?;
        tx.counts.enter(1, RunStatus::Queued);
        match fails {
            true => Err(Error::invalid("", name)),
            false => Ok(()),
        }
    };
    Typed::new(verb, move |result| {
        said.send((name, result.is_ok())).expect("someone listens");
    })
}

fn batch(verbs: &[(&'static str, bool)]) -> (Vec<String>, Vec<(&'static str, bool)>, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, writer) = Writer::start(Parts {
        inline: false,
        ..parts(&folder)
    })
    .expect("a writer");
    let mut writer = writer.expect("not inline");
    let (said, heard) = mpsc::channel();
    let mut jobs = verbs.iter().map(|(name, fails)| verb(name, *fails, &said));
    // One that spoils a batch ends its gathering; the rest is the next one.
    while let Some(first) = jobs.next() {
        writer.batch(first, || jobs.next());
    }
    drop(jobs);
    drop(said);
    let mut statement = writer
        .parts
        .conn
        .prepare("SELECT origin FROM origins ORDER BY id")
        .expect("sound");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    let rows = rows.collect::<rusqlite::Result<_>>().expect("texts");
    (
        rows,
        heard.into_iter().collect(),
        writer.counts.total().queued,
    )
}

#[test]
fn a_verb_that_fails_after_it_wrote_leaves_the_others_whole() {
    let verbs = [
        ("a", false),
        ("b", true),
        ("c", false),
        ("d", true),
        ("e", false),
    ];
    let (rows, said, queued) = batch(&verbs);
    assert_eq!(rows, ["a", "c", "e"]);
    assert_eq!(queued, 3);
    let told: Vec<_> = verbs.iter().map(|(name, fails)| (*name, !fails)).collect();
    assert_eq!(said, told);
}

#[test]
fn a_batch_that_goes_well_is_one_commit() {
    let (rows, said, queued) = batch(&[("a", false), ("b", false)]);
    assert_eq!((rows.len(), said.len(), queued), (2, 2, 2));
}
