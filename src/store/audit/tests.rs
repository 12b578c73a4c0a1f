//! Tests of `store/audit`: whatever is done to the rows behind Skep's back is found.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rusqlite::params;
use serde_json::json;
use tempfile::TempDir;

use super::verify::{AuditState, verify_file};
use super::*;
use crate::error::Code;
use crate::id::Dice;
use crate::store::notices::Notices;
use crate::store::turns::Shares;
use crate::store::watch::Watch;
use crate::store::{Options, backup, upgrade};

const MASTER: &str = "a master key of enough characters";

fn actor() -> Actor {
    Actor {
        name: "key ci".to_owned(),
        address: Some("192.0.2.7".to_owned()),
    }
}

fn open(path: &Path, master_keys: &[&str]) -> Arc<Store> {
    let options = Options {
        path: path.to_owned(),
        master_keys: master_keys.iter().map(|key| (*key).to_owned()).collect(),
        kinds: Vec::new(),
        workers: 1,
        max_queued: 10,
        shares: Shares {
            senders: 1,
            per_origin: 1,
        },
        notices: Notices::default(),
        dice: Arc::new(Dice::System),
        inline: true,
    };
    Store::open(options, Timestamp(1)).expect("it opens").0
}

/// A store with that many rows of different forms.
fn written(rows: i64, master_keys: &[&str]) -> (TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("skep.db"), master_keys);
    write(&store, 1..=rows);
    (dir, store)
}

fn write(store: &Store, rows: std::ops::RangeInclusive<i64>) {
    store
        .write(move |tx| {
            for row in rows.clone() {
                let detail = match row % 3 {
                    0 => Value::Null,
                    _ => json!({"row": row}),
                };
                let actor = match row % 2 {
                    0 => Actor::system(),
                    _ => actor(),
                };
                tx.audit(
                    &actor,
                    "deploy",
                    &format!("hello/{row}"),
                    &detail,
                    Timestamp(row),
                )?;
            }
            Ok(())
        })
        .expect("it is written");
}

/// A connection that may do what the triggers forbid.
fn behind(dir: &TempDir) -> Connection {
    let conn = Connection::open(dir.path().join("skep.db")).expect("a database");
    conn.execute_batch("DROP TRIGGER audit_stands; DROP TRIGGER audit_stays;")
        .expect("they are there");
    conn
}

fn verified(store: &Store) -> AuditState {
    store.verify_audit().expect("it can be read")
}

fn is_sound(store: &Store) -> bool {
    verified(store).is_sound()
}

#[test]
fn what_was_written_is_sound_whatever_the_number_of_rows() {
    // A chunk is a thousand rows.
    let (_dir, store) = written(0, &[]);
    assert!(is_sound(&store));
    assert_eq!(verified(&store).last, None);
    let mut from = 1;
    for rows in [1, 999, 1_000, 1_001, 2_003] {
        write(&store, from..=rows);
        from = rows + 1;
        let state = verified(&store);
        assert!(state.is_sound(), "{rows}: {state:?}");
        assert_eq!((state.rows, state.recorded), (rows as u64, rows));
        let (last, hash) = state.last.expect("there are rows");
        let listed = store.list_audit(Page::first(1)).expect("listed");
        assert_eq!((last, &hash[..]), (rows, &listed.rows[0].hash[..]));
    }
}

#[test]
fn what_was_rolled_back_leaves_no_trace() {
    let (_dir, store) = written(2, &[]);
    let failed: Result<()> = store.write(|tx| {
        tx.audit(&actor(), "deploy", "never", &Value::Null, Timestamp(9))?;
        Err(Error::of(Code::ValidationError))
    });
    assert!(failed.is_err());
    assert!(is_sound(&store));
    write(&store, 3..=4);
    let state = verified(&store);
    assert!(state.is_sound(), "{state:?}");
    assert_eq!(state.rows, 4);
}

#[test]
fn the_audit_cannot_be_changed_by_statements() {
    let (dir, _store) = written(3, &[]);
    let conn = Connection::open(dir.path().join("skep.db")).expect("a database");
    for sql in [
        "UPDATE audit SET actor = 'x' WHERE id = 2",
        "DELETE FROM audit WHERE id = 3",
    ] {
        let error = conn.execute(sql, []).expect_err("a trigger").to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

#[test]
fn a_cut_end_is_never_made_good_by_what_comes_after() {
    let (dir, store) = written(5, &[]);
    let conn = behind(&dir);
    conn.execute("DELETE FROM audit WHERE id = 5", [])
        .expect("deleted");
    let state = verified(&store);
    assert!(state.is_cut && state.first_bad.is_none(), "{state:?}");
    assert_eq!((state.rows, state.recorded), (4, 5));
    // Nor by as many rows as are on record. Other rows than those that went: the very same would be no change.
    conn.execute("UPDATE instance SET audit_rows = 4", [])
        .expect("written");
    write(&store, 6..=8);
    let state = verified(&store);
    assert!(state.is_cut && state.first_bad.is_none(), "{state:?}");
    drop(store);
    let again = open(&dir.path().join("skep.db"), &[]);
    assert!(verified(&again).is_cut, "nor by a start");
}

#[test]
fn an_audit_that_is_taken_away_whole_shows() {
    let (dir, store) = written(5, &[]);
    let conn = behind(&dir);
    conn.execute("DELETE FROM audit", []).expect("deleted");
    assert!(verified(&store).is_cut);
    conn.execute("UPDATE instance SET audit_rows = 0", [])
        .expect("written");
    assert!(verified(&store).is_cut, "the record cannot be forged");
}

#[test]
fn another_key_is_another_chain() {
    let (dir, store) = written(3, &[]);
    drop(store);
    let conn = behind(&dir);
    conn.execute("DELETE FROM instance", []).expect("deleted");
    drop(conn);
    let again = open(&dir.path().join("skep.db"), &[]);
    let state = verified(&again);
    assert_eq!(
        (state.first_bad, state.bad, state.is_cut),
        (Some(1), 3, true)
    );
}

#[test]
fn a_file_is_verified_beside_its_server_and_so_is_its_backup() {
    let (dir, store) = written(4, &[]);
    let data = dir.path().join("skep.db");
    let copy = dir.path().join("copy.db");
    let verify = |path: &Path, noted| {
        verify_file(path, &[], noted, &Watch::nobody()).expect("it can be read")
    };
    let beside = verify(&data, None);
    assert!(beside.state.is_sound() && !beside.is_sealed, "{beside:?}");
    assert_eq!(beside.has_noted, None);
    backup::backup(&data, &copy, &Watch::nobody()).expect("copied");
    write(&store, 5..=6);
    let older = verify(&copy, None);
    assert!(older.state.is_sound(), "{older:?}");
    assert_eq!(older.state.rows, 4);
    // The older copy shows by nothing but a row that was noted elsewhere.
    let (row, hash) = verified(&store).last.expect("there are rows");
    let hash: [u8; 32] = hash.try_into().expect("32 bytes");
    assert_eq!(verify(&data, Some((row, hash))).has_noted, Some(true));
    assert_eq!(verify(&copy, Some((row, hash))).has_noted, Some(false));
    assert_eq!(verify(&data, Some((row, [0; 32]))).has_noted, Some(false));
}

#[test]
fn without_its_master_key_a_file_cannot_be_verified_and_says_so() {
    let (dir, store) = written(2, &[MASTER]);
    drop(store);
    let data = dir.path().join("skep.db");
    let verify = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        verify_file(&data, &keys, None, &Watch::nobody())
    };
    let found = verify(&[MASTER]).expect("the key opens it");
    assert!(found.state.is_sound() && found.is_sealed, "{found:?}");
    assert!(verify(&["another one, of enough characters", MASTER]).is_ok());
    for (keys, told) in [
        (&[][..], "sealed with a master_key, and none is given"),
        (
            &["another one, of enough characters"],
            "sealed with another master_key",
        ),
        (&["short"], "at least 24 characters"),
    ] {
        let error = verify(keys).expect_err("it cannot be opened");
        assert!(error.message.contains(told), "{}", error.message);
    }
}

/// A row as it lies in the file.
#[derive(Debug, Clone, PartialEq)]
struct Lying {
    id: i64,
    at: i64,
    actor: String,
    address: Option<String>,
    action: String,
    target: String,
    detail: Option<String>,
    hash: Vec<u8>,
}

/// A file as it was written: its key, its rows, and the record of their end.
struct Sound {
    key: InstanceKey,
    rows: Vec<Lying>,
    end: (i64, Vec<u8>),
}

impl Sound {
    fn of(rows: i64) -> Sound {
        let (dir, store) = written(rows, &[]);
        let conn = Connection::open(dir.path().join("skep.db")).expect("a database");
        let sql =
            "SELECT id, at, actor, address, action, target, detail, hash FROM audit ORDER BY id";
        let mut statement = conn.prepare(sql).expect("prepared");
        let read = statement.query_map([], |row| {
            Ok(Lying {
                id: row.get(0)?,
                at: row.get(1)?,
                actor: row.get(2)?,
                address: row.get(3)?,
                action: row.get(4)?,
                target: row.get(5)?,
                detail: row.get(6)?,
                hash: row.get(7)?,
            })
        });
        let rows = read.and_then(Iterator::collect).expect("read");
        let end = conn
            .query_row("SELECT audit_rows, audit_mac FROM instance", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("there is a record");
        Sound {
            key: store.instance_key().clone(),
            rows,
            end,
        }
    }

    /// Whether a file with these rows and that record is found to be as it was written.
    fn takes(&self, rows: &[Lying], end: &(i64, Vec<u8>)) -> bool {
        let conn = Connection::open_in_memory().expect("memory");
        upgrade::create(&conn).expect("the schema is sound");
        let sql = "INSERT INTO instance (id, key, audit_rows, audit_mac) VALUES (1, x'00', ?1, ?2)";
        conn.execute(sql, params![end.0, end.1]).expect("written");
        for row in rows {
            conn.execute(
                "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    row.id,
                    row.at,
                    row.actor,
                    row.address,
                    row.action,
                    row.target,
                    row.detail,
                    row.hash
                ],
            )
            .expect("written");
        }
        verify::walk(&conn, &self.key)
            .expect("it can be read")
            .is_sound()
    }
}

/// What somebody does to the rows.
#[derive(Debug, Clone)]
enum Harm {
    /// A field of a row is another: which one, and how.
    Field(usize, usize, u8),
    /// Rows are gone: from where, and how many.
    Gone(usize, usize),
    /// Two rows stand in each other's place; with their numbers, or without.
    Swapped(usize, usize, bool),
    /// A row stands a second time, under a number before, between or behind.
    PutIn(usize, i64),
    /// The record of the end is another.
    End(i64, u8),
    /// What one field ends with begins the next.
    Moved(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let row = 0..ROWS as usize;
    prop_oneof![
        (row.clone(), 0..8_usize, 1..=255_u8)
            .prop_map(|(row, field, by)| Harm::Field(row, field, by)),
        (row.clone(), 1..=ROWS as usize).prop_map(|(from, count)| Harm::Gone(from, count)),
        (row.clone(), row.clone(), any::<bool>())
            .prop_map(|(one, other, with)| Harm::Swapped(one, other, with)),
        (
            row.clone(),
            prop_oneof![
                Just(i64::MIN),
                Just(i64::MAX),
                -2..=0_i64,
                ROWS + 1..ROWS + 3
            ]
        )
            .prop_map(|(row, id)| Harm::PutIn(row, id)),
        (-3..=3_i64, any::<u8>()).prop_map(|(rows, by)| Harm::End(rows, by)),
        row.prop_map(Harm::Moved),
    ]
}

/// Makes a text another one.
fn other_text(text: &mut String, by: u8) {
    match by % 3 {
        0 => text.push('x'),
        1 if !text.is_empty() => drop(text.pop()),
        _ => text.insert(0, char::from(b'a' + by % 26)),
    }
}

fn other_option(text: &mut Option<String>, by: u8, fresh: &str) {
    *text = match text.take() {
        Some(_) if by.is_multiple_of(2) => None,
        Some(text) => Some(format!("{text} ")),
        None => Some(fresh.to_owned()),
    };
}

fn do_harm(rows: &mut Vec<Lying>, end: &mut (i64, Vec<u8>), harm: &Harm) {
    match *harm {
        Harm::Field(at, field, by) => {
            let row = &mut rows[at];
            match field {
                0 => row.id += i64::from(by) + ROWS,
                1 => row.at ^= i64::from(by),
                2 => other_text(&mut row.actor, by),
                3 => other_option(&mut row.address, by, ""),
                4 => other_text(&mut row.action, by),
                5 => other_text(&mut row.target, by),
                6 => other_option(&mut row.detail, by, "null"),
                _ => row.hash[usize::from(by) % 32] ^= by,
            }
        }
        Harm::Gone(from, count) => drop(rows.drain(from..rows.len().min(from + count))),
        Harm::Swapped(one, other, with_numbers) => {
            rows.swap(one, other);
            if !with_numbers {
                let (low, high) = (rows[one].id, rows[other].id);
                (rows[one].id, rows[other].id) = (high, low);
            }
        }
        Harm::PutIn(at, id) => {
            let copy = Lying {
                id,
                ..rows[at].clone()
            };
            rows.push(copy);
        }
        Harm::End(more, by) => {
            end.0 += more;
            end.1[usize::from(by) % 32] ^= by;
        }
        Harm::Moved(at) => {
            let row = &mut rows[at];
            if let Some(last) = row.action.pop() {
                row.target.insert(0, last);
            }
        }
    }
}

const ROWS: i64 = 9;

#[test]
fn whatever_is_changed_removed_moved_put_in_or_cut_is_found() {
    let sound = Sound::of(ROWS);
    assert!(sound.takes(&sound.rows, &sound.end));
    let mut by_id = sound.rows.clone();
    by_id.reverse();
    assert!(
        sound.takes(&by_id, &sound.end),
        "only the numbers order them"
    );
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    };
    proptest!(config, |(harms in prop::collection::vec(harm(), 1..3))| {
        let (mut rows, mut end) = (sound.rows.clone(), sound.end.clone());
        for harm in &harms {
            // A second harm may have nothing left to harm.
            let (mut next, mut next_end) = (rows.clone(), end.clone());
            if rows.len() == sound.rows.len() {
                do_harm(&mut next, &mut next_end, harm);
            }
            let mut ids: Vec<i64> = next.iter().map(|row| row.id).collect();
            ids.sort_unstable();
            ids.dedup();
            if ids.len() == next.len() {
                (rows, end) = (next, next_end);
            }
        }
        let mut ordered = rows.clone();
        ordered.sort_by_key(|row| row.id);
        let is_unharmed = ordered == sound.rows && end == sound.end;
        prop_assert_eq!(sound.takes(&rows, &end), is_unharmed, "{:?}", harms);
    });
}
