//! A list with a filter is what a look at every row would give, however many blocks lie between.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::flow::run::Ending;
use crate::flow::source::Format;
use crate::id::Dice;
use crate::store::Options;
use crate::store::audit::Actor;
use crate::store::claims::{Next, Record};
use crate::store::deployments::NewVersion;
use crate::store::notices::Notices;
use crate::store::runs::NewRun;
use crate::store::turns::Shares;

pub(in crate::store) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(in crate::store) struct House {
    pub(in crate::store) store: Arc<Store>,
    /// Row numbers are made to leap by this much, so that blocks are left behind.
    _folder: tempfile::TempDir,
}

impl House {
    pub(in crate::store) fn open() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        let options = Options {
            path: folder.path().join("skep.db"),
            master_keys: Vec::new(),
            kinds: Vec::new(),
            workers: 4,
            max_queued: 1_000_000,
            shares: Shares {
                senders: 4,
                per_origin: 1,
            },
            notices: Notices::default(),
            dice: Arc::new(Dice::System),
            inline: true,
        };
        let (store, _) = Store::open(options, NOW).expect("a new file");
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            let new = NewVersion {
                deployment: name.to_owned(),
                variant: "prod".to_owned(),
                format: Format::Yaml,
                definition: "steps: [{id: a, set: {x: 1}}]".to_owned(),
                digest: [1; 32],
                endpoint_id: Id::new(NOW, &Dice::seeded(number as u64)),
                variant_id: Id::new(NOW, &Dice::seeded(number as u64 + 9)),
                secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            };
            store
                .put_version(new, Actor::system(), NOW)
                .expect("deployed");
        }
        House {
            store,
            _folder: folder,
        }
    }

    /// The n-th run: what it can be found by follows from n.
    pub(in crate::store) fn insert(&self, n: usize) {
        self.insert_at(n, Timestamp(NOW.0 + n as i64));
    }

    /// The same, accepted then.
    pub(in crate::store) fn insert_at(&self, n: usize, now: Timestamp) {
        let directory = self.store.directory();
        let name = if n.is_multiple_of(5) { "b" } else { "a" };
        let row = &directory.deployment(name).expect("deployed").row;
        let labels = json!({"n": n % 3, "half": n as f64 / 2.0, "big": 1e300, "odd": n % 2 == 1, "none": null});
        let new = NewRun {
            run_id: Id::new(now, &Dice::System),
            deployment: row.id,
            version: row.variants[0].version_id,
            source: if n.is_multiple_of(7) {
                "webhook"
            } else {
                "api"
            },
            callback_url: n
                .is_multiple_of(2)
                .then(|| format!("http://r{}.test/", n % 3)),
            api_key: n.is_multiple_of(3).then_some((n % 2) as i64),
            user: Some(format!("user {}", n % 4)),
            metadata: labels.as_object().cloned().expect("an object"),
            inputs: serde_json::Map::new(),
            idempotency: None,
            waits: false,
        };
        self.store.insert_run(new, now).expect("inserted");
    }

    /// Ends some of those that wait, one way or another.
    pub(in crate::store) fn end(&self, count: usize) {
        for claim in self.store.claim_runs(count, 1, NOW).expect("claimed") {
            let ending = match claim.id % 2 {
                0 => Ending::Completed { output: json!(1) },
                _ => Ending::Failed {
                    error: "no".to_owned(),
                    code: "step_failed",
                    step: None,
                },
            };
            let record = Record::only(Next::End(ending));
            drop(self.store.record(claim, Arc::new(record), NOW));
        }
    }

    /// Leaves the rest of the block, and many more, empty.
    pub(in crate::store) fn leap(&self) {
        let leap = "UPDATE runs SET id = id + 5000 WHERE id = (SELECT max(id) FROM runs)";
        self.store
            .write(move |tx| {
                // The moved run is found by notes of the block it is in now.
                tx.conn.execute_batch(&format!(
                    "{leap};
                     INSERT OR IGNORE INTO facets SELECT facet, value, (SELECT max(id) >> 10 FROM runs) FROM facets"
                ))?;
                Ok(())
            })
            .expect("moved");
    }

    /// Every page of a list, and how many there were.
    pub(in crate::store) fn pages(&self, filter: &RunFilter, limit: usize) -> (Vec<i64>, usize) {
        let (mut ids, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = Page { limit, cursor };
            let page = self
                .store
                .list_runs(filter, page, Values::Whole)
                .expect("readable");
            ids.extend(page.rows.iter().map(|row| row.id));
            pages += 1;
            cursor = page.next;
            if cursor.is_none() {
                return (ids, pages);
            }
        }
    }

    /// What a look at every row gives.
    fn every(&self, filter: &RunFilter) -> Vec<i64> {
        let look = Look::new(filter, 100_000, Values::Whole);
        let whole = Span {
            below: i64::MAX,
            lowest: 0,
        };
        let all = self
            .store
            .read(|conn| look.stretch(conn, whole, 100_000, &mut Room::default()));
        all.expect("readable")
            .rows
            .iter()
            .map(|row| row.id)
            .collect()
    }
}

pub(in crate::store) fn filters() -> Vec<RunFilter> {
    let base = RunFilter::default;
    let one = |name: &str| Some(name.to_owned());
    let label = |key: &str, value: Option<&str>| RunFilter {
        metadata: vec![(key.to_owned(), value.map(str::to_owned))],
        ..base()
    };
    vec![
        base(),
        RunFilter {
            source: vec!["webhook".to_owned()],
            ..base()
        },
        RunFilter {
            source: vec!["webhook".to_owned(), "api".to_owned()],
            ..base()
        },
        RunFilter {
            source: vec!["schedule".to_owned()],
            ..base()
        },
        RunFilter {
            delivery: one("direct"),
            ..base()
        },
        RunFilter {
            deployment: one("b"),
            ..base()
        },
        RunFilter {
            deployment: one("b"),
            user: one("user 1"),
            ..base()
        },
        RunFilter {
            variant: one("prod"),
            ..base()
        },
        RunFilter {
            api_key: vec![0],
            ..base()
        },
        RunFilter {
            api_key: vec![0, 1],
            ..base()
        },
        RunFilter {
            user: one("user 3"),
            source: vec!["webhook".to_owned()],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Failed],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Completed, RunStatus::Failed],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Queued],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Queued],
            user: one("user 2"),
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Queued, RunStatus::Running],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Queued, RunStatus::Failed],
            ..base()
        },
        RunFilter {
            status: vec![RunStatus::Cancelled],
            ..base()
        },
        label("n", None),
        label("n", Some("2")),
        label("half", Some("1.5")),
        label("half", Some("1")),
        label("big", Some("1.0e+300")),
        label("odd", Some("true")),
        label("none", Some("null")),
        label("nothing", None),
        RunFilter {
            from: Some(Timestamp(NOW.0 + 20)),
            to: Some(Timestamp(NOW.0 + 70)),
            ..base()
        },
        RunFilter {
            from: Some(Timestamp(NOW.0 + 20)),
            source: vec!["webhook".to_owned()],
            ..base()
        },
    ]
}

#[test]
fn a_filtered_list_is_what_a_look_at_every_row_gives() {
    let house = House::open();
    for n in 0..90 {
        house.insert(n);
        if n % 30 == 9 {
            house.end(4);
        }
        if n % 10 == 5 {
            house.leap();
        }
    }
    for filter in filters() {
        let every = house.every(&filter);
        for limit in [1, 3, 500] {
            let (ids, _) = house.pages(&filter, limit);
            assert_eq!(ids, every, "{limit} a page of {filter:?}");
        }
    }
    assert!(!house.every(&filters()[20]).is_empty(), "a float is found");
}

#[test]
fn blocks_that_cannot_match_are_not_looked_at() {
    let house = House::open();
    for n in 1..8 {
        house.insert(n);
        house.leap();
    }
    // The only webhook is the newest; without notes there would be a page for every 20,000 rows.
    let filter = RunFilter {
        source: vec!["webhook".to_owned()],
        ..RunFilter::default()
    };
    let (ids, pages) = house.pages(&filter, 50);
    assert_eq!((ids.len(), pages), (1, 1));
}

#[test]
fn notes_of_runs_that_are_gone_are_forgotten() {
    let house = House::open();
    // Those without a callback: an owed one would stay.
    for n in [1, 3, 5] {
        house.insert(n);
        house.leap();
        house.end(1);
    }
    let later = Timestamp(NOW.0 + 1_000_000);
    let notes = |store: &Store| -> (i64, i64) {
        let count = "SELECT (SELECT count(*) FROM facets), (SELECT count(*) FROM runs)";
        let read =
            store.read(|conn| Ok(conn.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?));
        read.expect("readable")
    };
    assert!(notes(&house.store).0 > 20);
    let mut after = 0;
    loop {
        let pass = house.store.prune_runs(after, later).expect("pruned");
        after = pass.through;
        if pass.done {
            break;
        }
    }
    while house.store.prune_notes().expect("pruned") > 0 {}
    assert_eq!(notes(&house.store), (0, 0));
    house.insert(7);
    let filter = RunFilter {
        source: vec!["webhook".to_owned()],
        ..RunFilter::default()
    };
    assert_eq!(house.pages(&filter, 9).0.len(), 1, "it is noted anew");
}

#[test]
fn a_page_over_many_blocks_keeps_to_its_bytes() {
    let house = House::open();
    for n in [1, 3, 5, 7, 9, 11] {
        house.insert(n);
        house.leap();
    }
    let heavy = "UPDATE runs SET inputs = json_object('x', hex(zeroblob(200000)))";
    house
        .store
        .write(move |tx| Ok(tx.conn.execute_batch(heavy)?))
        .expect("written");
    let filter = RunFilter {
        user: Some("user 1".to_owned()),
        ..RunFilter::default()
    };
    let (ids, pages) = house.pages(&filter, 50);
    // 1, 5 and 9 have that user, 400 kB each.
    assert_eq!(ids.len(), 3);
    assert!(pages > 1, "{pages}");
}
