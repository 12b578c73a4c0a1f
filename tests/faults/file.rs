//! The file: deleted or replaced under the server, not writable, or another server's.

use std::fs;

use serde_json::json;

use crate::faults::{WORK, ended_saying, is_called_back_once};
use crate::house::House;
use crate::receiver::{Act, Receiver, status};
use crate::shim::{Fault, watched};

/// Permission denied.
const EACCES: i32 = 13;
/// A file system that is mounted for reading only.
const EROFS: i32 = 30;

/// The copy that the server left when its file was gone.
#[track_caller]
fn rescued(house: &House) -> std::path::PathBuf {
    let folder = house.path("");
    let mut found = fs::read_dir(&folder)
        .expect("the folder is there")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.display().to_string().contains(".rescued-"));
    found
        .next()
        .unwrap_or_else(|| panic!("no copy: {}", house.log()))
}

fn lose(what: &str, lose_it: impl Fn(&House)) {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("work", &receiver.fill(WORK));
    // In flight when it happens: a step, which is executed again, and a callback that is owed.
    receiver.on("/b", [Act::Hang, status(200)]);
    let id = house.start_run("work", &json!({"n": "1"}), &receiver.at("/hook"));
    receiver.wait_for("/b", 1);
    lose_it(&house);
    // Without any request: an idle server notices too.
    let code = house.ended_by_itself().code();
    ended_saying(&house, code, &[what]);
    let copy = rescued(&house);
    for suffix in ["", "-wal", "-shm"] {
        // What lies there now is not what was served.
        let _ = fs::remove_file(house.path(&format!("skep.db{suffix}")));
    }
    fs::rename(copy, house.data()).expect("the folder is writable");
    house.launch();
    house.run_is(&id, "completed");
    house.delivery_is(&id, "delivered");
    is_called_back_once(&receiver, &id);
    assert_eq!(
        receiver.arrived("/a").len(),
        1,
        "a finished step is not repeated"
    );
}

#[test]
fn a_file_deleted_under_the_server_ends_it_and_a_copy_is_left() {
    lose("skep.db was deleted", |house| {
        fs::remove_file(house.data()).expect("it is there");
    });
}

#[test]
fn a_log_deleted_under_the_server_ends_it_and_a_copy_is_left() {
    lose("skep.db-wal was deleted", |house| {
        fs::remove_file(house.path("skep.db-wal")).expect("it is there");
    });
}

#[test]
fn a_file_replaced_under_the_server_ends_it_and_a_copy_is_left() {
    lose("skep.db was replaced", |house| {
        let other = house.path("other.db");
        fs::copy(house.data(), &other).expect("the folder is writable");
        fs::rename(other, house.data()).expect("the folder is writable");
    });
}

#[test]
fn no_run_is_answered_once_the_file_is_gone() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("work", &receiver.fill(WORK));
    fs::remove_file(house.data()).expect("it is there");
    let body = crate::house::callback_body("work", &json!({"n": "1"}), &receiver.at("/hook"));
    let answer = house
        .ask("POST", "/v1/workflow/invoke")
        .json(&body)
        .try_send();
    assert!(answer.is_err(), "{answer:?}");
    let code = house.ended_by_itself().code();
    ended_saying(&house, code, &["skep.db was deleted"]);
}

#[test]
fn a_folder_deleted_under_the_server_ends_it() {
    let house = House::plan().build();
    fs::create_dir(house.path("folder")).expect("the folder is writable");
    let data = house.path("folder").join("skep.db").display().to_string();
    house.replan(|plan| plan.set("data", &data));
    house.launch();
    fs::remove_dir_all(house.path("folder")).expect("it is there");
    let code = house.ended_by_itself().code();
    ended_saying(&house, code, &["skep.db was deleted"]);
}

#[test]
fn a_file_or_folder_that_is_read_only_is_a_clear_error_and_nothing_is_changed() {
    for (op, errno) in [("open", EROFS), ("open", EACCES), ("opendb", EACCES)] {
        let house = House::start();
        house.deploy("a", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
        house.stop();
        let before = fs::read(house.data()).expect("the file is there");
        watched(&house);
        let fault = Fault {
            op,
            nth: 1,
            errno,
            forever: true,
        };
        house.replan(|plan| fault.on(plan));
        let ended = house.try_launch();
        let code = ended.expect_err("it cannot serve").code();
        ended_saying(
            &house,
            code,
            &["cannot be written", "read-only", "readonly", "denied"],
        );
        let after = fs::read(house.data()).expect("the file is there");
        assert!(before == after, "{op} {errno}: the file was changed");
        house.replan(|plan| plan.unset_env("SHIM_FAIL"));
        house.launch();
        house.get("/v1/deployments/a");
    }
}

#[test]
fn a_second_server_is_refused_and_the_first_goes_on() {
    let (house, receiver) = (House::start(), Receiver::start());
    house.deploy("work", &receiver.fill(WORK));
    receiver.on("/b", [Act::Gate]);
    let id = house.start_run("work", &json!({"n": "1"}), &receiver.at("/hook"));
    receiver.wait_for("/b", 1);
    assert_eq!(house.serve_fails().status.code(), Some(1));
    receiver.open_gate();
    house.delivery_is(&id, "delivered");
    assert_eq!(
        (receiver.arrived("/a").len(), receiver.arrived("/b").len()),
        (1, 1)
    );
}
