//! The audit: who changed what, by `skep audit list`; whether it is as it was written, by `skep audit verify`.

use std::process::Output;

use serde_json::{Value, json};

use crate::house::{House, rows};
use crate::process::{finish, printed};

const MASTER: &str = "a master key of enough characters";

/// A house with some history: members who came and changed.
fn lived_in(house: House) -> House {
    for at in 0..6 {
        let member = json!({"name": format!("Member {at}")});
        house.post("/v1/members", &member).is(201);
    }
    house
}

/// `skep audit verify` on the house's file, without a server to ask.
#[track_caller]
fn verify(house: &House, more: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = house.command();
    command
        .args(["audit", "verify", "--data"])
        .arg(house.data());
    command.args(more).envs(variables.iter().copied());
    finish(command, "the audit is verified")
}

#[track_caller]
fn verified(house: &House, code: i32) -> Value {
    let output = verify(house, &["--json"], &[]);
    assert_eq!(output.status.code(), Some(code), "{}", printed(&output));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// Does to the stopped house's file what nobody should.
#[track_caller]
fn tamper(house: &House, sql: &str) {
    let file = rusqlite::Connection::open(house.data()).expect("the file opens");
    let forced =
        format!("DROP TRIGGER IF EXISTS audit_stands; DROP TRIGGER IF EXISTS audit_stays; {sql}");
    file.execute_batch(&forced).expect("the file is writable");
}

#[test]
fn a_sound_audit_is_verified_beside_its_server_and_after() {
    let house = lived_in(House::start());
    let listed = rows(&house.get("/v1/audit?limit=500"));
    let beside = verified(&house, 0);
    assert_eq!(
        (&beside["sound"], &beside["rows"], &beside["problems"]),
        (&json!(true), &json!(listed.len()), &json!([]))
    );
    let last = &beside["last_row"];
    assert_eq!(
        (&last["id"], &last["hash"]),
        (&listed[0]["id"], &listed[0]["hash"])
    );
    house.stop();
    let output = verify(&house, &[], &[]);
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "sound       yes",
        "lies in the file, in clear",
        "does not show a change by someone who can read and write the file",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Later rows leave the noted one where it is.
    let noted = format!("{}:{}", last["id"], last["hash"].as_str().expect("hex"));
    house.launch();
    house.post("/v1/members", &json!({"name": "Late"})).is(201);
    let output = verify(&house, &["--noted", &noted], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[test]
fn what_is_done_behind_its_back_is_said_in_a_sentence() {
    for (sql, told, first, is_cut) in [
        (
            "UPDATE audit SET actor = 'key somebody-else' WHERE id = 3",
            "Row 3 is the first that is not as it was written",
            json!(3),
            false,
        ),
        (
            "DELETE FROM audit WHERE id = 2",
            "Row 3 is the first that is not as it was written",
            json!(3),
            false,
        ),
        (
            "UPDATE audit SET id = 99 WHERE id = 2; UPDATE audit SET id = 2 WHERE id = 4;
             UPDATE audit SET id = 4 WHERE id = 99",
            "Row 2 is the first that is not as it was written",
            json!(2),
            false,
        ),
        (
            "INSERT INTO audit SELECT 0, at, actor, address, action, target, detail, hash FROM audit WHERE id = 1",
            "Row 0 is the first that is not as it was written",
            json!(0),
            false,
        ),
        (
            "DELETE FROM audit WHERE id >= 5",
            "The end was cut off: 6 rows were written, and the last that is there is row 4.",
            Value::Null,
            true,
        ),
        (
            "DELETE FROM audit; UPDATE instance SET audit_rows = 0",
            "The end, row 0, is not the one on record",
            Value::Null,
            true,
        ),
    ] {
        let house = lived_in(House::start());
        house.stop();
        tamper(&house, sql);
        let output = verify(&house, &[], &[]);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{sql}: {said}");
        assert!(said.contains(told), "{sql}: {said}");
        assert!(said.contains("sound       no"), "{sql}: {said}");
        let found = verified(&house, 1);
        assert_eq!(
            (&found["first_bad_row"], &found["cut"]),
            (&first, &json!(is_cut)),
            "{sql}"
        );
    }
}

#[test]
fn a_cut_end_shows_at_the_next_start_and_stays_cut() {
    let house = lived_in(House::start());
    house.stop();
    tamper(
        &house,
        "DELETE FROM audit WHERE id = 6; UPDATE instance SET audit_rows = 5",
    );
    house.launch();
    assert!(
        house
            .log()
            .contains("the audit does not end as it was left"),
        "{}",
        house.log()
    );
    house.post("/v1/members", &json!({"name": "Late"})).is(201);
    assert_eq!(verified(&house, 1)["cut"], true);
}

#[test]
fn a_sealed_file_is_verified_with_its_master_key_only() {
    let house = lived_in(House::plan().env("SKEP_MASTER_KEY", MASTER).start());
    let key = [("SKEP_MASTER_KEY", MASTER)];
    let output = verify(&house, &[], &key);
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("sealed by master_key"), "{said}");
    for (variables, why) in [
        (&[][..], "sealed with a master_key, and none is given"),
        (
            &[("SKEP_MASTER_KEY", "another one of enough characters")],
            "sealed with another master_key",
        ),
    ] {
        let output = verify(&house, &[], variables);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("the audit was not verified") && said.contains(why),
            "{said}"
        );
    }
}

#[test]
fn a_key_in_clear_where_it_should_be_sealed_is_no_sound_audit() {
    let house = lived_in(House::start());
    let output = verify(&house, &[], &[("SKEP_MASTER_KEY", MASTER)]);
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("somebody put another key there"), "{said}");
    // Started with it once, it is sealed.
    house.stop();
    house.replan(|plan| plan.env("SKEP_MASTER_KEY", MASTER));
    house.launch();
    let output = verify(&house, &[], &[("SKEP_MASTER_KEY", MASTER)]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[test]
fn a_backup_is_verified_too_and_is_told_from_what_came_after() {
    let house = lived_in(House::start());
    let made = house.cli(&["backup", "copy.db"]);
    assert_eq!(made.status.code(), Some(0), "{}", printed(&made));
    house.post("/v1/members", &json!({"name": "Late"})).is(201);
    let last = &verified(&house, 0)["last_row"];
    let noted = format!("{}:{}", last["id"], last["hash"].as_str().expect("hex"));
    let of_copy = ["audit", "verify", "--data", "copy.db"];
    let output = house.cli(&of_copy);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let output = house.cli(&[&of_copy[..], &["--noted", &noted]].concat());
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("an older copy of the file"), "{said}");
}

#[test]
fn the_audit_is_listed_and_what_cannot_be_read_is_said() {
    let house = lived_in(House::start());
    let output = house.cli(&["audit", "list", "--limit", "2"]);
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "ACTOR",
        "member.create",
        "admin key",
        "127.0.0.1",
        "more: --cursor ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (line, code) in [
        (&["audit", "verify", "--data", "nothing.db"][..], 1),
        (&["audit", "verify", "--data", "log.txt"], 1),
        (&["audit", "verify", "--noted", "7"], 2),
        (&["audit"], 2),
    ] {
        let output = house.cli(line);
        let said = printed(&output);
        assert_eq!(output.status.code(), Some(code), "{line:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
