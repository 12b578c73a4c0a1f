//! The file: who may read it, who may not open it, and what happens when it is not what it should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use crate::house::House;
use crate::process::printed;

fn mode(path: &Path) -> u32 {
    let file = fs::metadata(path).expect("the file is there");
    file.permissions().mode() & 0o777
}

/// It failed with exit code 1, said why in one of these words, and did not panic.
#[track_caller]
fn failed_saying(output: &Output, words: &[&str]) {
    let said = printed(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lower = said.to_lowercase();
    assert!(
        words.iter().any(|word| lower.contains(word)),
        "expected one of {words:?} in: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    assert!(!said.contains("listening on"), "{said}");
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let house = House::start();
    house.deploy("a", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    for name in ["skep.db", "skep.db-wal", "skep.db-shm"] {
        assert_eq!(mode(&house.path(name)), 0o600, "{name}");
    }
    assert!(
        house.log().contains("master_key"),
        "in clear, and the start says so: {}",
        house.log()
    );
}

#[test]
fn a_second_server_on_the_same_file_is_refused() {
    let house = House::start();
    let output = house.serve_fails();
    failed_saying(&output, &["in use", "already", "another", "locked"]);
    house.get("/v1/deployments");
    house.stop();
    house.launch();
}

#[test]
fn a_killed_server_leaves_no_lock_behind() {
    let house = House::start();
    house.kill();
    house.launch();
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let house = House::start();
    house.stop();
    let file = rusqlite::Connection::open(house.data()).expect("the file opens");
    file.pragma_update(None, "user_version", 1_000_000)
        .expect("the version is written");
    drop(file);
    let before = fs::read(house.data()).expect("the file is there");
    let output = house.serve_fails();
    failed_saying(&output, &["newer"]);
    assert_eq!(
        fs::read(house.data()).expect("the file is there"),
        before,
        "nothing changed"
    );
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let house = House::plan().build();
    let garbage = b"this is not a database, it is a letter\n".repeat(500);
    fs::write(house.data(), &garbage).expect("the folder is writable");
    let output = house.serve_fails();
    failed_saying(&output, &["not a database", "corrupt", "damaged"]);
    assert_eq!(
        fs::read(house.data()).expect("the file is there"),
        garbage,
        "nothing changed"
    );
}

#[test]
fn another_program_s_database_is_left_alone() {
    let house = House::plan().build();
    let file = rusqlite::Connection::open(house.data()).expect("a new file");
    file.execute_batch("CREATE TABLE letters (body TEXT); INSERT INTO letters VALUES ('dear')")
        .expect("a table");
    drop(file);
    let before = fs::read(house.data()).expect("the file is there");
    let output = house.serve_fails();
    failed_saying(&output, &["skep"]);
    assert_eq!(
        fs::read(house.data()).expect("the file is there"),
        before,
        "nothing changed"
    );
}

#[test]
fn a_damaged_file_is_left_alone() {
    let house = House::start();
    for value in 0..20 {
        house.deploy(
            "a",
            &format!("steps: [{{id: a, set: {{x: {value}}}}}]\noutput: 1"),
        );
    }
    house.stop();
    let mut bytes = fs::read(house.data()).expect("the file is there");
    // The first page says how large the file is and how to read it; everything after it is torn out.
    let page = u16::from_be_bytes([bytes[16], bytes[17]]) as usize;
    for byte in &mut bytes[page..] {
        *byte = 0xA5;
    }
    fs::write(house.data(), &bytes).expect("the folder is writable");
    let output = house.serve_fails();
    failed_saying(
        &output,
        &["corrupt", "damaged", "malformed", "not a database"],
    );
    assert_eq!(
        fs::read(house.data()).expect("the file is there"),
        bytes,
        "nothing changed"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_a_clear_error() {
    let house = House::plan().build();
    fs::write(house.path("file"), b"a file is no folder").expect("the folder is writable");
    for data in [
        house.path("file").join("skep.db"),
        "/proc/skep.db".into(),
        house.path("none").join("skep.db"),
    ] {
        let data = data.display().to_string();
        house.replan(|plan| plan.set("data", &data));
        failed_saying(&house.serve_fails(), &[data.to_lowercase().as_str()]);
    }
    assert_eq!(
        fs::read(house.path("file")).expect("the file is there"),
        b"a file is no folder"
    );
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let house = House::plan().set("listen", &address).build();
    failed_saying(&house.serve_fails(), &[address.as_str()]);
}

#[test]
fn the_first_start_without_a_key_leaves_one_beside_the_file() {
    let house = House::plan()
        .unset_env("SKEP_ADMIN_KEY")
        .set("log_level", "error")
        .start();
    let path = house.path("skep.db.admin-key");
    assert_eq!(mode(&path), 0o600);
    let key = fs::read_to_string(&path).expect("a text").trim().to_owned();
    assert!(key.starts_with("fhk_"), "{key}");
    house.ask("GET", "/v1/audit").key(&key).send().is(200);
    let log = house.log();
    assert!(
        log.contains("the new admin key is in ") && log.contains("skep.db.admin-key"),
        "told whatever the log level: {log}"
    );
    assert!(!log.contains(&key), "{log}");
    house.restart();
    house.ask("GET", "/v1/audit").key(&key).send().is(200);
    assert_eq!(
        fs::read_to_string(&path).expect("a text").trim(),
        key,
        "only the first start makes one"
    );
}

#[test]
fn a_first_start_that_cannot_hand_over_its_key_makes_none() {
    let house = House::plan().unset_env("SKEP_ADMIN_KEY").build();
    crate::shim::watched(&house);
    // What is written last before the server serves: the key's file is synced.
    let fault = |nth| crate::shim::Fault {
        op: "sync",
        nth,
        errno: crate::shim::EIO,
        forever: false,
    };
    let nth = (1..100).find(|nth| {
        house.replan(|plan| fault(*nth).on(plan));
        for entry in fs::read_dir(house.path("")).expect("the folder is there") {
            fs::remove_file(entry.expect("it is listed").path()).expect("it is ours");
        }
        let ended = house.try_launch();
        let is_it = ended.is_err() && house.log().contains("cannot write the new admin key");
        if ended.is_ok() {
            house.kill();
        }
        is_it
    });
    nth.expect("one of the syncs is that of the key's file");
    house.replan(|plan| plan.unset_env("SHIM_FAIL"));
    house.launch();
    let key = fs::read_to_string(house.path("skep.db.admin-key")).expect("a text");
    house.ask("GET", "/v1/audit").key(key.trim()).send().is(200);
}

#[test]
fn a_link_to_a_file_that_is_still_to_be_made_is_followed() {
    let house = House::plan().build();
    fs::create_dir(house.path("disk")).expect("the folder is writable");
    std::os::unix::fs::symlink("disk/real.db", house.data()).expect("links are supported");
    house.launch();
    house.deploy("a", "steps: [{id: a, set: {x: 1}}]\noutput: 1");
    house.restart();
    house.get("/v1/deployments/a");
    assert!(house.path("disk/real.db").is_file() && house.data().is_symlink());
}
