//! What is counted is what the lists show, and counting ends.

use super::*;
use crate::store::listing::tests::{House, NOW, filters};
use crate::store::minutes::Tally;

#[test]
fn counts_are_what_the_lists_show() {
    let house = House::open();
    for n in 0..90 {
        // Over ten minutes.
        house.insert_at(n, Timestamp(NOW.0 + n as i64 * 7_000));
        if n % 30 == 9 {
            house.end(4);
        }
        if n % 15 == 5 {
            house.leap();
        }
    }
    let mut all = filters();
    for (from, to) in [
        (0, 90),
        (3, 4),
        (3, 5),
        (11, 60),
        (60, 200),
        (70, 11),
        (-100, 0),
    ] {
        let at = |n: i64| Some(Timestamp(NOW.0 + n * 7_000 + 500));
        for deployment in [None, Some("b".to_owned())] {
            all.push(RunFilter {
                from: at(from),
                to: at(to),
                deployment,
                ..RunFilter::default()
            });
        }
    }
    for filter in all {
        let counts = house.store.count_runs(&filter).expect("readable");
        for (status, counted) in RunStatus::ALL.into_iter().zip(counts) {
            let only = RunFilter {
                status: vec![status],
                ..filter.clone()
            };
            let listed = house.pages(&only, 500).0.len() as i64;
            let expected = Counted::found(listed, false);
            assert_eq!(counted, expected, "{status:?} of {filter:?}");
        }
    }
    let nobody = RunFilter {
        deployment: Some("nobody".to_owned()),
        ..RunFilter::default()
    };
    let counts = house.store.count_runs(&nobody).expect("readable");
    assert_eq!(counts, ByStatus::default());
}

#[test]
fn what_ends_or_goes_long_after_it_came_is_counted_at_once() {
    let house = House::open();
    let counted = || {
        let counts = house
            .store
            .count_runs(&RunFilter::default())
            .expect("readable");
        RunStatus::ALL.map(|status| counts[place(status)].count)
    };
    // So that what is known of the past has nothing to do with the minutes of today.
    for n in [1, 3] {
        house.insert_at(n, NOW);
    }
    house.insert_at(5, Timestamp(NOW.0 + 5 * 60 * MINUTE));
    let of = |queued, completed, failed| {
        RunStatus::ALL.map(|status| match status {
            RunStatus::Queued => queued,
            RunStatus::Completed => completed,
            RunStatus::Failed => failed,
            _ => 0,
        })
    };
    // Asked twice: the second time, what is known is told.
    assert_eq!([counted(), counted()], [of(3, 0, 0); 2]);
    house.end(3);
    assert_eq!([counted(), counted()], [of(0, 1, 2); 2]);
    let pass = house.store.prune_runs(0, Timestamp(NOW.0 + 600 * MINUTE));
    assert_eq!(pass.expect("pruned").removed, 3);
    assert_eq!(counted(), of(0, 0, 0));
}

/// Adds that many runs by hand, in that state, all for one user.
fn fill(house: &House, status: &'static str, count: i64) {
    let ended = i64::from(status == "failed");
    house
        .store
        .write(move |tx| {
            tx.conn.execute(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?2)
                 INSERT INTO runs (run_id, deployment, version, status, source, delivery, user, inputs, error,
                                   created_at, ended_at)
                 SELECT randomblob(16), 1, 1, ?1, 'api', 'direct', 'many', '{}', iif(?3, 'e', NULL), 1, iif(?3, 2, NULL)
                 FROM n",
                (status, count, ended),
            )?;
            tx.conn.execute_batch(
                "INSERT OR IGNORE INTO facets SELECT 6, 'many', id >> 10 FROM runs;
                 INSERT OR IGNORE INTO facets SELECT 9, status, id >> 10 FROM runs WHERE ended_at IS NOT NULL",
            )?;
            Ok(())
        })
        .expect("written");
}

#[test]
fn counting_ends_where_it_is_enough_and_says_so() {
    let house = House::open();
    fill(&house, "failed", ENOUGH);
    let filter = RunFilter {
        user: Some("many".to_owned()),
        ..RunFilter::default()
    };
    let count = |status| house.store.count_runs(&filter).expect("readable")[place(status)];
    let exact = Counted::found(ENOUGH, false);
    assert_eq!(count(RunStatus::Failed), exact);
    fill(&house, "failed", 1);
    let more = Counted::found(ENOUGH, true);
    assert_eq!(count(RunStatus::Failed), more);
    fill(&house, "queued", ENOUGH + 1);
    // Of these, as many as there is time for.
    let queued = count(RunStatus::Queued);
    assert!(
        queued.is_lower_bound && (CHUNK..=ENOUGH).contains(&queued.count),
        "{queued:?}"
    );
    assert_eq!(count(RunStatus::Completed), Counted::default());
}

#[test]
fn minutes_are_taken_back_with_what_failed_and_go_with_the_runs() {
    let house = House::open();
    let minutes = || -> (i64, Tally) {
        let read = house.store.read(|conn| {
            let rows = conn.query_row("SELECT count(*) FROM minutes", [], |row| row.get(0))?;
            Ok((rows, minutes::sum(conn, 0, 0, LAST)?))
        });
        read.expect("readable")
    };
    // Run twice, in a savepoint of its own the second time.
    let refused = house.store.write(|tx| -> Result<()> {
        tx.sql("INSERT INTO facets VALUES (99, 'x', 1)")?
            .execute([])?;
        tx.counts.note_accepted(1, crate::id::Id([1; 16]));
        Err(crate::error::Error::internal("no"))
    });
    assert!(refused.is_err());
    assert_eq!(minutes(), (0, Tally::default()));
    for n in [1, 3, 5] {
        house.insert_at(n, Timestamp(NOW.0 + n as i64 * MINUTE));
    }
    house.end(2);
    let (rows, sum) = minutes();
    assert_eq!((rows, sum.accepted, sum.open()), (6, 3, 1));
    let pass = house
        .store
        .prune_runs(0, Timestamp(NOW.0 + 1_000_000))
        .expect("pruned");
    assert_eq!((pass.removed, minutes()), (2, (2, Tally::ACCEPTED)));
}
