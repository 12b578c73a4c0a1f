//! What stays and what goes, over rows of every kind; how much a chunk does; that the file becomes smaller.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::store::upgrade::SCHEMA;

const BEFORE: Timestamp = Timestamp(1_000_000);

/// What a run needs to be there.
const DEPLOYMENT: &str = "INSERT INTO deployments (id, name, endpoint_id, secret, created_at) VALUES (1, 'd', randomblob(16), x'00', 1);
         INSERT INTO variants (id, deployment, name, variant_id, created_at) VALUES (1, 1, 'v', randomblob(16), 1);
         INSERT INTO versions (id, variant, number, format, definition, digest, created_at, created_by)
             VALUES (1, 1, 1, 'yaml', '', randomblob(32), 1, 'x');
         INSERT INTO origins (id, origin, health) VALUES (1, 'http://o.test', 'answered');";

/// A run as it lies in the file, with what hangs on it.
#[derive(Debug, Clone)]
struct Row {
    status: &'static str,
    created_at: i64,
    ended_at: i64,
    delivery: Option<&'static str>,
    steps: usize,
    attempts: usize,
    has_key: bool,
}

impl Row {
    fn is_final(&self) -> bool {
        matches!(self.status, "completed" | "failed" | "cancelled")
    }

    fn owes(&self) -> bool {
        matches!(self.delivery, Some("pending" | "delivering"))
    }

    /// By the words of the rule, not by the code's.
    fn goes(&self) -> bool {
        self.is_final() && self.ended_at < BEFORE.0 && !self.owes() && !self.has_key
    }
}

fn old(steps: usize) -> Row {
    Row {
        status: "completed",
        created_at: 1,
        ended_at: 2,
        delivery: Some("delivered"),
        steps,
        attempts: 1,
        has_key: false,
    }
}

fn file(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("a file");
    conn.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF;",
    )
    .expect("sound");
    conn.execute_batch(SCHEMA).expect("the schema is sound");
    conn.execute_batch(DEPLOYMENT).expect("a deployment");
    conn
}

fn put(conn: &Connection, id: i64, row: &Row) {
    let is = |status: &str| row.status == status;
    conn.execute(
        "INSERT INTO runs (id, run_id, deployment, version, status, source, delivery, callback_url, inputs, output, error,
                           created_at, ended_at, wake_at, claim_token, claim_expires_at)
         VALUES (?1, randomblob(16), 1, 1, ?2, 'api', iif(?3, 'callback', 'direct'), iif(?3, 'http://o.test/', NULL),
                 json_object('n', hex(zeroblob(200))), iif(?2 = 'completed', '1', NULL),
                 iif(?2 IN ('failed', 'cancelled'), 'e', NULL), ?4, ?5, ?6, ?7, ?7)",
        (
            id,
            row.status,
            row.delivery.is_some(),
            row.created_at,
            row.is_final().then_some(row.ended_at),
            is("waiting").then_some(9),
            is("running").then_some(9),
        ),
    )
    .expect("a run");
    conn.execute(
        "WITH RECURSIVE n(value) AS (SELECT 1 WHERE ?2 > 0 UNION ALL SELECT value + 1 FROM n WHERE value < ?2)
         INSERT INTO steps (run, path, kind, status, output, started_at, ended_at)
         SELECT ?1, 's' || value, 'set', 'completed', json_quote(hex(zeroblob(100))), 1, 1 FROM n",
        (id, row.steps as i64),
    )
    .expect("steps");
    if row.has_key {
        conn.execute(
            "INSERT INTO idempotency SELECT 'key:1', ?1, randomblob(32), run_id, 'queued', 1 FROM runs WHERE id = ?1",
            [id],
        )
        .expect("a key");
    }
    let Some(status) = row.delivery else { return };
    conn.execute(
        "INSERT INTO deliveries (id, delivery_id, run, event_id, event_type, url, origin, body, status, next_attempt_at,
                                 created_at, ended_at, claim_token, claim_expires_at)
         VALUES (?1, randomblob(16), ?1, ?1, 'workflow.completed', '', 1, '{}', ?2, iif(?2 = 'pending', 9, NULL), 1,
                 iif(?2 IN ('pending', 'delivering'), NULL, 9), iif(?2 = 'delivering', 9, NULL),
                 iif(?2 = 'delivering', 9, NULL))",
        (id, status),
    )
    .expect("a delivery");
    for number in 1..=row.attempts {
        conn.execute(
            "INSERT INTO attempts (delivery, number, trigger, started_at) VALUES (?1, ?2, 'automatic', 1)",
            (id, number as i64),
        )
        .expect("an attempt");
    }
}

/// Runs a pass to its end, and looks at each chunk.
fn pass(conn: &Connection, table: Table) -> (usize, usize) {
    let (mut after, mut removed, mut chunks) = (0, 0, 0);
    loop {
        let changes = conn.total_changes();
        let (chunk, _) = chunk(conn, table, after, BEFORE).expect("sound");
        let rows = (conn.total_changes() - changes) as usize;
        assert!(rows <= CHUNK, "a chunk of {rows} rows");
        assert_eq!(rows, chunk.rows, "what the chunk says of itself");
        assert!(
            chunk.done || rows > 0 || chunk.through > after,
            "it goes on"
        );
        after = chunk.through;
        removed += chunk.removed;
        chunks += 1;
        // An ended run has its event for as long as it is there.
        assert_eq!(
            count(
                conn,
                "SELECT count(*) FROM runs r WHERE callback_url IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run = r.id)"
            ),
            0
        );
        if chunk.done {
            return (removed, chunks);
        }
    }
}

fn count(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).expect("sound")
}

fn ids(conn: &Connection) -> BTreeSet<i64> {
    let mut statement = conn.prepare("SELECT id FROM runs").expect("sound");
    let rows = statement.query_map([], |row| row.get(0)).expect("sound");
    rows.collect::<Result<_, _>>().expect("sound")
}

fn any_row() -> impl Strategy<Value = Row> {
    let status = prop::sample::select(vec![
        "queued",
        "running",
        "waiting",
        "awaiting_approval",
        "completed",
        "completed",
        "completed",
        "failed",
        "cancelled",
    ]);
    let delivery = prop::sample::select(vec![
        "pending",
        "delivering",
        "delivered",
        "delivered",
        "dead",
        "gone",
        "cancelled",
    ]);
    let ended = prop_oneof![3 => 1..BEFORE.0, 1 => BEFORE.0..2 * BEFORE.0];
    let steps = prop_oneof![6 => 0..4usize, 1 => 490..1_010usize];
    (
        status,
        ended,
        prop::option::of(delivery),
        steps,
        0..4usize,
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(status, ended_at, delivery, steps, attempts, has_key)| Row {
                status,
                created_at: ended_at / 2,
                ended_at,
                delivery,
                steps,
                attempts,
                has_key,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_lives_is_owed_or_answered_for_stays_whole_and_the_rest_goes(rows in prop::collection::vec(any_row(), 0..16)) {
        let conn = file(Path::new(":memory:"));
        for (id, row) in (1..).zip(&rows) {
            put(&conn, id, row);
        }
        pass(&conn, RUNS);
        let stay: BTreeSet<i64> = (1..).zip(&rows).filter(|(_, row)| !row.goes()).map(|(id, _)| id).collect();
        prop_assert_eq!(ids(&conn), stay);
        for (id, row) in (1..).zip(&rows) {
            let (steps, attempts) = if row.goes() { (0, 0) } else { (row.steps, row.attempts) };
            prop_assert_eq!(count(&conn, &format!("SELECT count(*) FROM steps WHERE run = {id}")), steps as i64);
            let expected = if row.delivery.is_some() { attempts as i64 } else { 0 };
            let found = count(&conn, &format!("SELECT count(*) FROM attempts WHERE delivery = {id}"));
            prop_assert_eq!(found, expected);
        }
        pass(&conn, ATTEMPTS);
        for (id, row) in (1..).zip(&rows) {
            let expected = if row.owes() { row.attempts as i64 } else { 0 };
            let found = count(&conn, &format!("SELECT count(*) FROM attempts WHERE delivery = {id}"));
            prop_assert_eq!(found, expected, "attempts of what is owed stay");
        }
    }
}

#[test]
fn a_huge_run_goes_over_several_chunks_and_stays_whole_enough_until_the_last() {
    let conn = file(Path::new(":memory:"));
    put(&conn, 1, &old(10_000));
    put(&conn, 2, &old(1));
    let (removed, chunks) = pass(&conn, RUNS);
    assert_eq!(removed, 2);
    assert!((21..=22).contains(&chunks), "{chunks} chunks");
    assert_eq!(count(&conn, "SELECT count(*) FROM steps"), 0);
}

#[test]
fn large_rows_make_small_chunks() {
    let conn = file(Path::new(":memory:"));
    for id in 1..=20 {
        put(&conn, id, &old(1));
    }
    conn.execute_batch("UPDATE steps SET output = json_quote(hex(zeroblob(1 << 19)))")
        .expect("large outputs");
    let (removed, chunks) = pass(&conn, RUNS);
    assert_eq!(removed, 20);
    assert!((4..=8).contains(&chunks), "1 MiB each: {chunks} chunks");
}

#[test]
fn a_run_that_is_redelivered_between_two_chunks_stays() {
    let conn = file(Path::new(":memory:"));
    put(&conn, 1, &old(700));
    let (first, _) = chunk(&conn, RUNS, 0, BEFORE).expect("sound");
    assert_eq!((first.rows, first.removed, first.done), (CHUNK, 0, false));
    conn.execute_batch(
        "UPDATE deliveries SET status = 'pending', next_attempt_at = 9, ended_at = NULL",
    )
    .expect("owed again");
    let (removed, _) = pass(&conn, RUNS);
    assert_eq!((removed, ids(&conn).len()), (0, 1));
}

#[test]
fn one_row_from_the_future_does_not_hide_the_old_ones_behind_it() {
    let conn = file(Path::new(":memory:"));
    let future = Row {
        created_at: i64::MAX,
        ended_at: i64::MAX,
        ..old(0)
    };
    put(&conn, 1, &future);
    for id in 2..=CHUNK as i64 + 9 {
        put(&conn, id, &old(0));
    }
    pass(&conn, RUNS);
    assert_eq!(ids(&conn), BTreeSet::from([1]));
}

#[test]
fn the_file_becomes_smaller_step_by_step_and_keeps_a_little_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.db");
    let conn = file(&path);
    conn.execute_batch("BEGIN").expect("one commit is enough");
    for id in 1..=600 {
        put(&conn, id, &old(40));
    }
    conn.execute_batch("COMMIT").expect("writable");
    let pages = || number(&conn, "page_count").expect("sound");
    let free = || number(&conn, "freelist_count").expect("sound");
    let (full, size) = (pages(), || path.metadata().expect("a file").len());
    let before = size();
    pass(&conn, RUNS);
    assert_eq!(pages(), full, "only pages come free");
    let spare = |used: i64| (used / 16).max(SPARE_PAGES);
    let mut steps = 0;
    while give_back(&conn, STEP_PAGES, spare).expect("sound") > 0 {
        steps += 1;
        assert!(
            full - pages() <= (steps + 1) * STEP_PAGES,
            "a step is bounded"
        );
    }
    assert_eq!(free(), SPARE_PAGES);
    assert!(
        steps > 2 && size() < before / 2,
        "{steps} steps, {before} → {}",
        size()
    );
    while give_back(&conn, STEP_PAGES, |_| 0).expect("sound") > 0 {}
    assert_eq!(free(), 0);
}

#[test]
fn a_file_that_cannot_give_pages_back_is_left_alone() {
    let conn = Connection::open_in_memory().expect("memory");
    conn.execute_batch(
        "PRAGMA auto_vacuum = NONE; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(99999)); DELETE FROM t;",
    )
    .expect("free pages");
    assert!(number(&conn, "freelist_count").expect("sound") > 0);
    assert_eq!(give_back(&conn, STEP_PAGES, |_| 0).expect("sound"), 0);
}

#[test]
fn a_stopped_file_is_pruned_as_was_said_beforehand() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.db");
    let now = Timestamp(BEFORE.0 + 1_000);
    drop(connection(&path, now).expect("a new file"));
    let conn = Connection::open(&path).expect("the file");
    conn.execute_batch(DEPLOYMENT).expect("a deployment");
    conn.execute_batch("BEGIN").expect("one commit is enough");
    for id in 1..=60 {
        put(&conn, id, &old(20));
    }
    put(
        &conn,
        61,
        &Row {
            delivery: Some("pending"),
            ..old(1)
        },
    );
    put(
        &conn,
        62,
        &Row {
            ended_at: BEFORE.0 + 1,
            ..old(1)
        },
    );
    conn.execute_batch("COMMIT").expect("writable");
    drop(conn);
    let keep = Keep {
        runs: Some(Duration::from_secs(1)),
        attempts: Some(Duration::from_secs(1)),
    };
    let watch = Watch::nobody();
    let said = would_prune(&path, keep, now, &watch).expect("readable");
    let done = prune(&path, keep, now, &watch).expect("pruned");
    assert_eq!((said.runs, said.attempts), (60, 1));
    assert_eq!((done.runs, done.attempts), (60, 1));
    assert_eq!(done.rows, 60 * 23 + 1);
    assert!(done.bytes.1 < done.bytes.0 / 2, "{:?}", done.bytes);
    let _held = lock(&path).expect("the file is free again");
    assert!(prune(&path, keep, now, &watch).is_err(), "a server has it");
}
