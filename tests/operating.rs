//! Backup, restore, check, prune: on the file itself, under load, and where they must refuse.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::house::{FINAL, House, pause, rows, text, wait_until};
use crate::process::{finish, printed};
use crate::receiver::{Receiver, status};
use crate::wire::PATIENCE;

const FLOW: &str =
    "inputs: {n: {type: text}}\nsteps: [{id: a, set: {n: '{{ n }}'}}]\noutput: '{{ n }}'\n";

/// A verb in the house's folder, whether its server runs or not.
#[track_caller]
fn verb(house: &House, args: &[&str]) -> Output {
    let mut command = house.command();
    command.args(args);
    finish(command, &format!("skep {} ends", args.join(" ")))
}

#[track_caller]
fn done(house: &House, args: &[&str]) -> Value {
    let output = verb(house, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

#[track_caller]
fn refused(house: &House, args: &[&str], word: &str) -> String {
    let output = verb(house, args);
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(word), "expected {word:?} in: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// The names in a house's folder that begin so.
fn names(house: &House, start: &str) -> BTreeSet<String> {
    fs::read_dir(house.path(""))
        .expect("the folder is readable")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(start))
        .collect()
}

fn file(path: &Path) -> Connection {
    Connection::open(path).expect("the file opens")
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0))
        .expect("sound SQL")
}

/// A house with some finished runs, and what they were answered as.
fn with_runs(count: usize) -> (House, Vec<String>) {
    let house = House::start();
    house.deploy("a", FLOW);
    let ids = (0..count)
        .map(|n| text(&house.direct("a", &json!({"n": n.to_string()}))["request_id"]))
        .collect();
    (house, ids)
}

#[test]
fn a_backup_under_load_holds_every_run_answered_before_it_and_is_restored_to_start_paused() {
    let receiver = Receiver::start();
    let house = House::start();
    house.deploy("a", FLOW);
    let (over, answered) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let before = thread::scope(|scope| {
        for loader in 0..4 {
            let (house, over, answered, hook) = (&house, &over, &answered, receiver.at("/hook"));
            scope.spawn(move || {
                for n in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let id = house.start_run("a", &json!({"n": format!("{loader}-{n}")}), &hook);
                    answered.lock().expect("no loader panicked").push(id);
                }
            });
        }
        let _until = Until(&over);
        let count = || answered.lock().expect("no loader panicked").len();
        wait_until("there is load", PATIENCE, || (count() > 100).then_some(()));
        let before = answered.lock().expect("no loader panicked").clone();
        let made = done(&house, &["backup", "copy.db"]);
        let meanwhile = count();
        assert!(made["runs"].as_u64() >= Some(before.len() as u64), "{made}");
        wait_until("the load goes on", PATIENCE, || {
            (count() > meanwhile + 20).then_some(())
        });
        before
    });
    let copy = house.path("copy.db");
    let mode = fs::metadata(&copy).expect("the copy").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names(&house, "copy.db").len(), 1, "nothing lies beside it");
    refused(&house, &["backup", "copy.db"], "exists");
    house.stop();

    let other = House::plan()
        .set("workers", "0")
        .set("senders", "0")
        .build();
    let made = done(&other, &["restore", &copy.display().to_string()]);
    assert_eq!(made["kept"], Value::Null);
    assert!(text(&made["next"]).contains("--workers 0 --senders 0"));
    assert_eq!(done(&other, &["check"])["sound"], true);
    let arrived = receiver.all().len();
    other.launch();
    for id in &before {
        other.run(id);
    }
    assert_eq!(receiver.all().len(), arrived, "nothing is sent");
    other.stop();
    other.replan(|plan| plan.unset("workers").unset("senders"));
    other.launch();
    for id in &before {
        other.delivery_is(id, "delivered");
    }
}

/// Ends the load, also where the test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How many runs, or deliveries, are in each state.
fn states(house: &House) -> (Value, Value) {
    let seen = done(house, &["check"]);
    assert_eq!(seen["sound"], true, "{seen}");
    (seen["runs"].clone(), seen["deliveries"].clone())
}

#[test]
fn a_paused_server_executes_wakes_sends_and_removes_nothing() {
    let receiver = Receiver::start();
    receiver.on("/hook", [status(500), status(500), status(200)]);
    let house = House::start();
    house.deploy("a", FLOW);
    house.deploy("nap", "steps: [{id: nap, delay: 700ms}]\noutput: 1\n");
    house.tune("a", &json!({"retry_schedule": ["0s", "700ms", "0s"]}));
    house.direct("a", &json!({"n": "old"}));
    let owed = house.start_run("a", &json!({"n": "owed"}), &receiver.at("/hook"));
    house.first_attempt(&owed);
    let asleep = house.start_run("nap", &json!({}), &receiver.at("/other"));
    house.run_is(&asleep, "waiting");
    house.stop();
    let stopped = states(&house);
    let sent = receiver.all().len();

    let paused = |plan: crate::house::Plan| {
        plan.set("workers", "0")
            .set("senders", "0")
            .set("retain_runs", "1ms")
    };
    house.replan(paused);
    house.launch();
    let direct = json!({"deployment": "a", "variant": "prod", "inputs": {"n": "x"}});
    house
        .invoke(&direct)
        .refused(429, "concurrency_limit_reached");
    let queued = house.start_run("a", &json!({"n": "queued"}), &receiver.at("/hook"));
    // There is no event that says that nothing happens: time for everything to come due, and for two looks at it.
    pause(Duration::from_millis(2_500));
    assert_eq!(house.run(&queued)["status"], "queued");
    assert_eq!(house.run(&asleep)["status"], "waiting");
    assert_eq!(house.delivery(&owed)["status"], "pending");
    assert_eq!(receiver.all().len(), sent, "nothing was sent");
    let now = states(&house);
    assert_eq!(
        now.0["completed"], stopped.0["completed"],
        "nothing was removed"
    );
    assert!(house.log().contains("paused"), "{}", house.log());

    house.stop();
    house.replan(|plan| plan.unset("workers").unset("senders").unset("retain_runs"));
    house.launch();
    for id in [&queued, &asleep, &owed] {
        house.delivery_is(id, "delivered");
    }
}

#[test]
fn a_restore_refuses_what_would_lose_something() {
    let (house, ids) = with_runs(3);
    done(&house, &["backup", "copy.db"]);
    refused(&house, &["restore", "copy.db"], "stop that one first");
    let later = text(&house.direct("a", &json!({"n": "later"}))["request_id"]);
    // A log that was not moved into its file yet.
    house.kill();
    assert!(fs::metadata(house.path("skep.db-wal")).is_ok_and(|log| log.len() > 0));

    let said = refused(&house, &["restore", "copy.db"], "is newer");
    assert!(
        said.matches("T").count() >= 2 && said.contains("--force"),
        "both times: {said}"
    );
    refused(&house, &["restore", "missing.db"], "missing.db");
    refused(&house, &["restore", "skep.db"], "the file itself");
    fs::write(house.path("letter.db"), b"dear all\n".repeat(900)).expect("writable");
    refused(
        &house,
        &["restore", "--force", "letter.db"],
        "not a database",
    );
    fs::copy(house.path("copy.db"), house.path("newer.db")).expect("writable");
    file(&house.path("newer.db"))
        .pragma_update(None, "user_version", 1_000)
        .expect("writable");
    refused(&house, &["restore", "--force", "newer.db"], "newer skep");
    let mut bytes = fs::read(house.path("copy.db")).expect("the copy");
    let end = bytes.len() - 5 * 4_096;
    bytes[4_096..end].fill(0xA5);
    fs::write(house.path("torn.db"), bytes).expect("writable");
    refused(&house, &["restore", "--force", "torn.db"], "damaged");
    assert_eq!(names(&house, "skep.db.part"), BTreeSet::new());
    assert_eq!(names(&house, "skep.db.before"), BTreeSet::new());

    let made = done(&house, &["restore", "--force", "copy.db"]);
    let kept = text(&made["kept"]);
    assert!(kept.contains("skep.db.before-restore-"), "{kept}");
    assert!(names(&house, "skep.db-").is_empty(), "no old log beside it");
    house.launch();
    for id in &ids {
        house.run(id);
    }
    let gone = format!("/v1/workflow_runs/{later}");
    house.ask("GET", &gone).send().refused(404, "not_found");
    // What was set aside is whole, its log included.
    let aside = file(Path::new(&kept));
    assert_eq!(number(&aside, "SELECT count(*) FROM runs"), 4);
}

#[test]
fn a_damaged_database_is_replaced_by_force_alone_and_kept_with_its_log() {
    let (house, ids) = with_runs(2);
    done(&house, &["backup", "copy.db"]);
    house.kill();
    let log = fs::read(house.path("skep.db-wal")).expect("a log");
    let garbage = b"something else lies here\n".repeat(400);
    fs::write(house.data(), &garbage).expect("writable");
    refused(&house, &["restore", "copy.db"], "cannot be judged");
    assert!(fs::read(house.data()).expect("still there") == garbage);
    let kept = text(&done(&house, &["restore", "--force", "copy.db"])["kept"]);
    let same = |path: &str, bytes: &[u8]| fs::read(path).expect("kept") == bytes;
    assert!(same(&kept, &garbage) && same(&format!("{kept}-wal"), &log));
    house.launch();
    for id in &ids {
        house.run(id);
    }
}

#[test]
fn a_check_finds_planted_damage_beside_a_running_and_a_stopped_server() {
    let (house, _) = with_runs(30);
    let receiver = Receiver::start();
    let id = house.start_run("a", &json!({"n": "x"}), &receiver.at("/hook"));
    house.delivery_is(&id, "delivered");
    let sound = done(&house, &["check"]);
    assert_eq!(
        (&sound["sound"], &sound["problems"]),
        (&json!(true), &json!([]))
    );
    house.stop();
    file(&house.data())
        .execute_batch(
            "DELETE FROM attempts; DELETE FROM deliveries; DELETE FROM steps WHERE run <= 12; UPDATE runs SET status = 'queued', ended_at = NULL, \
             output = NULL, created_at = 1 WHERE id <= 12; DROP INDEX runs_waiting;",
        )
        .expect("writable");
    // At rest, and its owner may only read it: nothing of it or beside it changes.
    fs::set_permissions(house.data(), fs::Permissions::from_mode(0o400)).expect("ours");
    let (before, beside) = (
        fs::read(house.data()).expect("readable"),
        names(&house, "skep.db"),
    );
    let output = verb(&house, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rules = |of: &str| -> Vec<String> {
        let findings = seen[of].as_array().expect("a list");
        findings.iter().map(|found| text(&found["rule"])).collect()
    };
    assert_eq!(
        rules("problems"),
        ["other_shape", "run_without_event", "minutes_out_of_step"]
    );
    assert_eq!(seen["problems"][1]["ids"], json!([id]));
    assert_eq!(rules("stuck"), ["queued_long"]);
    assert_eq!(
        (
            &seen["stuck"][0]["count"],
            seen["stuck"][0]["ids"].as_array().map(Vec::len)
        ),
        (&json!(12), Some(10))
    );
    let said = refused(&house, &["check"], "not sound");
    assert!(said.contains("and 2 more") && said.contains(&id), "{said}");
    assert!(
        fs::read(house.data()).expect("readable") == before,
        "it changed"
    );
    assert_eq!(names(&house, "skep.db"), beside);
    fs::set_permissions(house.data(), fs::Permissions::from_mode(0o600)).expect("ours");
    let mut torn = before.clone();
    let end = torn.len() - 4_096;
    torn[8_192..end].fill(0x5A);
    fs::write(house.path("torn.db"), torn).expect("writable");
    refused(&house, &["check", "--data", "torn.db"], "damaged");
    refused(&house, &["check", "--data", "none.db"], "none.db");
}

#[test]
fn a_prune_needs_the_server_stopped_and_leaves_what_lives() {
    let (house, _) = with_runs(400);
    house.deploy("nap", "steps: [{id: nap, delay: 1h}]\noutput: 1\n");
    let asleep = house.start_run("nap", &json!({}), "http://127.0.0.1:9/");
    house.run_is(&asleep, "waiting");
    refused(
        &house,
        &["prune", "--runs", "0s"],
        "a running server prunes by itself",
    );
    let said = done(&house, &["prune", "--runs", "0s", "--dry-run"]);
    assert_eq!(
        (&said["runs"], &said["dry_run"]),
        (&json!(400), &json!(true))
    );
    house.stop();
    assert_eq!(done(&house, &["prune"])["runs"], 0, "30 days are kept");
    let output = verb(&house, &["prune", "--runs", "soon"]);
    assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
    let gone = done(&house, &["prune", "--runs", "0s"]);
    assert_eq!((&gone["runs"], &gone["rows"]), (&json!(400), &json!(800)));
    assert!(
        gone["bytes_after"].as_u64() < gone["bytes_before"].as_u64(),
        "{gone}"
    );
    house.launch();
    let left = rows(&house.get("/v1/workflow_runs"));
    assert_eq!(left.len(), 1, "{left:?}");
    house.run_is(&asleep, "waiting");
}

#[test]
fn a_running_server_removes_what_is_old_and_its_file_becomes_smaller() {
    let (house, _) = with_runs(1);
    let (owed, hook) = ("the callback is refused", "http://127.0.0.1:9/");
    let id = house.start_run("a", &json!({"n": owed}), hook);
    house.first_attempt(&id);
    house.stop();
    let conn = file(&house.data());
    conn.execute_batch(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)
         INSERT INTO runs (run_id, deployment, version, status, source, delivery, inputs, output, created_at, ended_at)
         SELECT randomblob(16), deployment, version, 'completed', 'api', 'direct',
                json_object('n', hex(zeroblob(1000))), '1', created_at, created_at
         FROM runs JOIN n WHERE id = 1;",
    )
    .expect("writable");
    drop(conn);
    let size = || fs::metadata(house.data()).expect("a file").len();
    let before = size();
    house.replan(|plan| plan.set("retain_runs", "1ms"));
    house.launch();
    wait_until("only what is owed is left", PATIENCE, || {
        let left = rows(&house.get("/v1/workflow_runs"));
        (left.len() == 1).then_some(left)
    });
    wait_until("the pass is over", PATIENCE, || {
        house.log().contains("removed 3001 runs").then_some(())
    });
    assert!(!FINAL.contains(&text(&house.delivery(&id)["status"]).as_str()));
    house.stop();
    assert!(size() < before / 2, "{before} → {}", size());
    assert_eq!(done(&house, &["check"])["sound"], true);
}
