//! `skep bench`: what it says, what it leaves alone, and that it leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::house::{BINARY, wait_until};
use crate::process::{finish, printed, wait_for_child};
use crate::wire::PATIENCE;

const FIGURES: [&str; 33] = [
    "fdatasync_p50_us",
    "fdatasync_p99_us",
    "fdatasync_p50_before_us",
    "fdatasync_p50_after_us",
    "single_commits_per_s",
    "grouped_commits_per_s",
    "life_1_per_s",
    "life_64_per_s",
    "noop_requests_per_s",
    "invokes_1_per_s",
    "invokes_1_p50_ms",
    "invokes_1_p99_ms",
    "invokes_1_max_ms",
    "invokes_8_per_s",
    "invokes_8_p50_ms",
    "invokes_8_p99_ms",
    "invokes_8_max_ms",
    "invokes_64_per_s",
    "invokes_64_p50_ms",
    "invokes_64_p99_ms",
    "invokes_64_max_ms",
    "invokes_64_executing_per_s",
    "invokes_64_executing_p50_ms",
    "invokes_64_executing_p99_ms",
    "invokes_64_executing_max_ms",
    "in_process_runs_per_s",
    "end_to_end_runs_per_s",
    "plain_posts_per_s",
    "in_turn_runs_per_s",
    "callback_connections",
    "idle_to_answer_p50_ms",
    "idle_to_step_p50_ms",
    "idle_to_step_p99_ms",
];

/// Each with its goal in the issue that asked for it.
const RATIOS: [(&str, &str); 12] = [
    ("invokes_64_to_noop", ">= 0.25"),
    ("invokes_64_to_commits", ">= 3.2"),
    ("invokes_8_to_commits", ">= 1.9"),
    ("invokes_1_to_commits", ">= 0.45"),
    ("invokes_1_p50_to_flush", "<= 3"),
    ("invokes_64_executing_to_commits", ">= 2.2"),
    ("slowest_commit_to_flush", "<= 300"),
    ("errors", "<= 0"),
    ("in_process_to_life", ">= 0.2"),
    ("end_to_end_to_in_turn", ">= 0.5"),
    ("idle_p50_to_flush", "<= 5"),
    ("idle_p99_to_flush", "<= 20"),
];

fn folder() -> TempDir {
    TempDir::new().expect("the temporary folder is writable")
}

/// As briefly as it can be, in that folder.
fn bench(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(["bench", "--quick", "--seconds", "1"])
        .args(args)
        .current_dir(folder)
        // Somebody else's settings are not those that it measures.
        .env("SKEP_WORKERS", "none")
        .stdin(Stdio::null());
    command
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The processes that work in that folder.
fn working_in(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("this is Linux").flatten();
    let folders = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    let folders = folders.map(|path| path.display().to_string());
    folders
        .filter(|path| path.starts_with(&format!("{}/", folder.display())))
        .collect()
}

#[test]
fn a_quick_one_says_everything_and_leaves_nothing_behind() {
    let folder = folder();
    let output = finish(bench(folder.path(), &["--json"]), "the bench ends");
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let said: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    for name in FIGURES {
        let value = said["figures"][name].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {said:#}");
    }
    assert_eq!(said["figures"]["errors"], 0.0, "{said:#}");
    for (name, goal) in RATIOS {
        let ratio = &said["ratios"][name];
        assert_eq!(ratio["goal"], goal, "{name}: {said:#}");
        assert!(ratio["value"].is_f64() && ratio["met"].is_boolean());
    }
    assert_eq!(said["ratios"].as_object().map(|all| all.len()), Some(12));
    let first = said["sentences"][0].as_str().unwrap_or_default();
    assert!(first.starts_with("This disk lets Skep accept about "));
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        progress.contains("invokes by 64 connections …"),
        "{progress}"
    );
    assert_eq!(names(folder.path()), Vec::<String>::new());
    assert_eq!(working_in(folder.path()), Vec::<String>::new());
}

#[test]
fn a_file_that_exists_is_refused_and_left_as_it_is() {
    let folder = folder();
    for taken in ["skep.db", "skep.db-wal", "skep.db.bench"] {
        let path = folder.path().join(taken);
        fs::write(&path, "mine").expect("the folder is writable");
        let output = finish(bench(folder.path(), &["--data", "skep.db"]), "it refuses");
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        assert!(printed(&output).contains(taken), "{}", printed(&output));
        assert_eq!(names(folder.path()), [taken]);
        assert_eq!(fs::read(&path).expect("it is still there"), b"mine");
        fs::remove_file(&path).expect("it is ours");
    }
    let output = finish(bench(folder.path(), &["--dir", "nowhere"]), "it refuses");
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).contains("nowhere"), "{}", printed(&output));
    let both = bench(folder.path(), &["--dir", ".", "--data", "x.db"]);
    assert_eq!(finish(both, "it refuses").status.code(), Some(2));
}

#[test]
fn stopped_in_the_middle_it_leaves_nothing_behind_either() {
    for signal in ["INT", "TERM"] {
        let folder = folder();
        let mut command = bench(folder.path(), &["--data", "new.db", "--json"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        while !line.contains("invokes by 8 connections") {
            line.clear();
            let read = lines.read_line(&mut line).expect("it can be read");
            assert!(read > 0, "it ended early");
        }
        assert_eq!(names(folder.path()), ["new.db.bench"]);
        assert_eq!(working_in(folder.path()).len(), 1, "its server");
        let id = child.id().to_string();
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(&id)
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "it was sent");
        let status = wait_for_child(&mut child, PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(1));
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("it can be read");
        let told = rest.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(told).expect("errors are JSON too");
        let told = told["error"].as_str().unwrap_or_default().to_owned();
        assert!(told.starts_with("stopped before its end"), "{rest}");
        assert_eq!(names(folder.path()), Vec::<String>::new());
        wait_until("its server is gone", PATIENCE, || {
            working_in(folder.path()).is_empty().then_some(())
        });
    }
}
