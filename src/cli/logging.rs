//! Log lines: always standard error, RFC 3339 UTC, as text or as one JSON object a line.
//!
//! Ids come as key-values (`log::info!(run_id:% = id; "…")`). No environment variable is read.

use std::io::Write;
use std::panic;
use std::thread;

use env_logger::{Builder, Target};
use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use serde_json::{Map, Value as Json};

use crate::cli::screen::{harmless_json, steers};
use crate::config::LogFormat;
use crate::time::{Clock, Timestamp};

/// Starts logging; a second start in the same process changes nothing.
pub(super) fn start(level: LevelFilter, format: LogFormat) {
    let clock = Clock::System;
    let started = Builder::new()
        .target(Target::Stderr)
        // What libraries say of themselves is worth reading only when something is wrong.
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("skep", level)
        .format(move |out, record| {
            let line = match format {
                LogFormat::Text => text(clock.now(), record),
                LogFormat::Json => json(clock.now(), record),
            };
            writeln!(out, "{line}")
        })
        .try_init();
    if started.is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
}

/// A panic is a log line like any other. What it says is left out: it may quote anything.
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    match panic.location() {
        Some(at) => log::error!(thread = name; "panic at {}:{}", at.file(), at.line()),
        None => log::error!(thread = name; "panic"),
    }
}

fn text(now: Timestamp, record: &Record<'_>) -> String {
    let mut line = format!(
        "{now} {:5} {}: {}",
        record.level(),
        record.target(),
        record.args()
    );
    for (name, value) in ids(record) {
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        line.push_str(&format!(" {name}={shown}"));
    }
    // A message may quote what came from outside: it must not be able to forge a line.
    line.chars()
        .flat_map(|c| {
            if steers(c) {
                c.escape_default().collect()
            } else {
                vec![c]
            }
        })
        .collect()
}

fn json(now: Timestamp, record: &Record<'_>) -> String {
    let mut line = Map::new();
    line.insert("ts".to_owned(), now.to_string().into());
    line.insert(
        "level".to_owned(),
        record.level().as_str().to_ascii_lowercase().into(),
    );
    line.insert("target".to_owned(), record.target().into());
    line.insert("msg".to_owned(), record.args().to_string().into());
    for (name, value) in ids(record) {
        // A key-value cannot stand in for what the line itself says.
        line.entry(name).or_insert(value);
    }
    harmless_json(&Json::Object(line).to_string())
}

/// The record's key-values (`run_id`, `request_id`, `delivery_id`), in the order they were written.
fn ids(record: &Record<'_>) -> Vec<(String, Json)> {
    struct Collected(Vec<(String, Json)>);
    impl<'kvs> VisitSource<'kvs> for Collected {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            let json = match (value.to_u64(), value.to_i64(), value.to_bool()) {
                (Some(number), ..) => number.into(),
                (_, Some(number), _) => number.into(),
                (.., Some(truth)) => truth.into(),
                _ => value.to_string().into(),
            };
            self.0.push((key.to_string(), json));
            Ok(())
        }
    }
    let mut collected = Collected(Vec::new());
    // Our own visitor never fails.
    drop(record.key_values().visit(&mut collected));
    collected.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_614_265_330_007);

    fn with_record<T>(message: &str, check: impl Fn(&Record<'_>) -> T) -> T {
        let pairs = [
            ("run_id", Value::from("0190")),
            ("attempt", Value::from(3)),
            ("msg", Value::from("forged")),
        ];
        check(
            &Record::builder()
                .level(log::Level::Info)
                .target("skep::loops::worker")
                .args(format_args!("{message}"))
                .key_values(&&pairs[..])
                .build(),
        )
    }

    #[test]
    fn a_json_line_has_the_contracts_members() {
        assert_eq!(
            with_record("done \"well\"\n", |record| json(NOW, record)),
            r#"{"ts":"2021-02-25T15:02:10.007Z","level":"info","target":"skep::loops::worker","msg":"done \"well\"\n","run_id":"0190","attempt":3}"#
        );
    }

    #[test]
    fn no_line_holds_what_steers_a_terminal() {
        let message = "\u{9b}2J \u{202e}dexim";
        for shown in [text, json] {
            let line = with_record(message, |record| shown(NOW, record));
            assert!(!line.chars().any(steers), "{line:?}");
        }
    }

    /// Runs itself again, in a process where the hook is its own.
    #[test]
    fn a_panic_is_one_log_line_without_what_it_said() {
        const AGAIN: &str = "SKEP_TEST_PANIC_IS_LOGGED";
        if std::env::var_os(AGAIN).is_some() {
            start(LevelFilter::Error, LogFormat::Json);
            let secret = "hunter22";
            let thrower = thread::Builder::new().name("thrower".to_owned());
            let thrown = thrower
                .spawn(move || panic!("it said {secret}"))
                .map(thread::JoinHandle::join);
            assert!(matches!(thrown, Ok(Err(_))));
            return;
        }
        let this = std::env::current_exe().expect("a test has a binary");
        let name = "cli::logging::tests::a_panic_is_one_log_line_without_what_it_said";
        let output = std::process::Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(AGAIN, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("hunter22"),
            "{said}"
        );
        let lines: Vec<Json> = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert_eq!(
            (&lines[0]["level"], &lines[0]["thread"]),
            (&"error".into(), &"thrower".into())
        );
        let message = lines[0]["msg"].as_str().unwrap_or_default();
        assert!(
            message.starts_with("panic at src/cli/logging.rs:"),
            "{message}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }

    #[test]
    fn a_text_line_is_one_line_whatever_it_quotes() {
        assert_eq!(
            with_record("got é\n2021 INFO forged\x1b[1m", |record| text(
                NOW, record
            )),
            "2021-02-25T15:02:10.007Z INFO  skep::loops::worker: got é\\n2021 INFO forged\\u{1b}[1m run_id=0190 attempt=3 msg=forged"
        );
    }
}
