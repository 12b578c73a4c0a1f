//! The house rules, as a test over the text of `src`: the arrows between rooms, the absences, the measures.
//!
//! Reads lines, not syntax: rustfmt's form is taken for granted. What is compiled for tests only is exempt from
//! most rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::{Source, indent, product, sources};

/// Ends the test with everything that breaks a rule.
#[track_caller]
fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// The lines outside of `places` that hold one of the words.
fn holding(sources: &[Source], places: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_in(places)) {
        for (number, line) in &source.code {
            if words.iter().any(|word| holds(line, word)) {
                found.push(format!("src/{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

/// Whether the line holds the word, not as the end of a longer one.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let first = word.chars().next().unwrap_or(' ');
        let part = |c: char| c.is_alphanumeric() || c == '_';
        !(part(first) && before.is_some_and(part))
    })
}

/// The base: every room may use it.
const BASE: &[&str] = &["error", "id", "time", "bell", "metrics", "secret"];

/// Who may use whom, beside the base and oneself. `flow::step` is what rooms tell each other about a step.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("id", &[]),
    ("time", &[]),
    ("bell", &[]),
    ("metrics", &[]),
    ("secret", &[]),
    ("config", &[]),
    ("view", &[]),
    ("flow", &[]),
    ("outbound", &["flow::step", "flow::hosts"]),
    ("store", &["flow"]),
    ("steps", &["outbound", "flow"]),
    ("loops", &["store", "steps", "outbound", "flow"]),
    (
        "api",
        &[
            "store",
            "steps",
            "view",
            "flow",
            "outbound::guard",
            // Pure: whose signature a callback bore.
            "outbound::sign",
            "config",
        ],
    ),
    (
        "engine",
        &[
            "config", "flow", "store", "steps", "outbound", "loops", "api",
        ],
    ),
    // Measures the product from outside, as its users know it; a step kind of its own notes when a run begins, and the
    // signatures of callbacks are checked.
    (
        "bench",
        &[
            "config",
            "flow",
            "steps",
            "engine",
            "store::yardstick",
            "outbound::sign",
        ],
    ),
    // The demo serves a small world of its own behind the same edge. Five verbs work on the file itself, without an
    // engine.
    (
        "cli",
        &[
            "bench",
            "config",
            "flow",
            "steps",
            "outbound",
            "engine",
            "api::call",
            "api::door",
            "api::openapi",
            "api::routes",
            "store::audit::verify",
            "store::backup",
            "store::restore",
            "store::check",
            "store::prune",
            "store::watch",
        ],
    ),
    ("main", &["cli"]),
];

#[test]
fn the_arrows_go_one_way() {
    let mut broken = Vec::new();
    for source in sources() {
        // lib.rs is the map: it names everything, and nothing imports from it.
        if source.path == "lib.rs" {
            continue;
        }
        let room = source.room();
        let Some((_, may)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            broken.push(format!(
                "src/{}: no such room in design.md section 2",
                source.path
            ));
            continue;
        };
        for (number, line) in &source.code {
            let inside = line.split("crate::").skip(1);
            let root = if room == "main" {
                line.split("skep::").skip(1).collect()
            } else {
                Vec::new()
            };
            for rest in inside.chain(root) {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                let used = rest[..end.unwrap_or(rest.len())].trim_end_matches(':');
                let first = used.split("::").next().unwrap_or_default();
                let allowed = first == room
                    || BASE.contains(&first)
                    || may
                        .iter()
                        .any(|may| used == *may || used.starts_with(&format!("{may}::")));
                if !allowed {
                    broken.push(format!(
                        "src/{}:{number}: {room} may not use {used}",
                        source.path
                    ));
                }
            }
        }
    }
    none("design.md section 2, \"May use\"", &broken);
}

#[test]
fn imports_come_from_the_module_that_owns_the_item() {
    let mut broken = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !matches!(source.room(), "lib" | "main"))
    {
        for (number, line) in &source.code {
            let from_root = line.match_indices("crate::").any(|(at, found)| {
                line[at + found.len()..]
                    .starts_with(|c: char| c.is_ascii_uppercase() || c == '{' || c == '*')
            });
            if from_root || holds(line, "use skep::") {
                broken.push(format!("src/{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("nothing is imported from the crate's root", &broken);
}

#[test]
fn sql_is_spoken_in_the_store_alone() {
    let words = [
        "rusqlite",
        "r2d2",
        "SELECT ",
        "INSERT INTO",
        "INSERT OR",
        "DELETE FROM",
        "CREATE TABLE",
        "CREATE INDEX",
        "PRAGMA ",
        "BEGIN IMMEDIATE",
        "ORDER BY",
        " WHERE ",
    ];
    none(
        "no SQL and no rusqlite outside store",
        &holding(&sources(), &["store/"], &words),
    );
}

#[test]
fn sockets_leave_through_outbound_alone() {
    let words = [
        "ureq",
        "TcpStream::connect",
        "UdpSocket",
        "UnixStream::connect",
    ];
    none(
        "no outgoing socket outside outbound",
        // The bench is no part of the product: its sockets stand for callers and receivers, on loopback.
        &holding(&sources(), &["outbound/", "bench/"], &words),
    );
}

#[test]
fn threads_are_started_by_the_engine_alone() {
    let words = [
        "thread::spawn",
        "thread::Builder",
        "thread::scope",
        "spawn_blocking",
    ];
    none(
        "no thread started outside engine.rs",
        // The bench's stand for callers and receivers.
        &holding(&sources(), &["engine.rs", "bench/hands.rs"], &words),
    );
}

#[test]
fn the_environment_is_read_by_config_alone() {
    let words = [
        "env::var",
        "env::vars",
        "var_os",
        "vars_os",
        "set_var",
        "dotenv",
    ];
    none(
        "no environment variable read outside config.rs",
        &holding(&sources(), &["config.rs"], &words),
    );
}

#[test]
fn the_clock_is_asked_in_one_file() {
    let words = [
        "SystemTime::now",
        "Utc::now",
        "Local::now",
        "UNIX_EPOCH.elapsed",
    ];
    none(
        "no SystemTime::now outside time.rs",
        &holding(&sources(), &["time.rs"], &words),
    );
}

#[test]
fn only_the_server_s_edge_is_asynchronous() {
    let words = [
        "hyper",
        "hyper_util",
        "http_body_util",
        "tokio",
        "async fn",
        "async move",
        ".await",
    ];
    none(
        "hyper and tokio live in api/server.rs",
        &holding(&sources(), &["api/server.rs"], &words),
    );
}

#[test]
fn flow_is_pure() {
    let words = [
        "Instant",
        "SystemTime",
        "Clock",
        "Dice::System",
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::thread",
        "std::process",
        "thread::",
        "getrandom",
        "rusqlite",
        "crossbeam_channel",
    ];
    let flow: Vec<Source> = sources()
        .into_iter()
        .filter(|source| source.room() == "flow")
        .collect();
    assert!(!flow.is_empty());
    none(
        "flow has no clock, dice, thread, file, socket or rusqlite",
        &holding(&flow, &[], &words),
    );
}

#[test]
fn every_queue_has_a_bound() {
    let words = [
        "unbounded(",
        "unbounded::<",
        "unbounded_channel",
        "mpsc::channel(",
    ];
    none(
        "no queue without a bound",
        &holding(&sources(), &[], &words),
    );
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = ["todo!", "unimplemented!", "dbg!"];
    none(
        "no todo!, unimplemented! or dbg!",
        &holding(&sources(), &[], &words),
    );
    let marks = ["FIX", "TO", "XX"]
        .iter()
        .zip(["ME", "DO", "X"])
        .map(|(a, b)| format!("{a}{b}"));
    let mut broken = Vec::new();
    for mark in marks {
        for source in sources() {
            for (at, line) in source.text.lines().enumerate() {
                if holds(line, &mark) && !line.contains(&format!("{mark}_")) {
                    broken.push(format!("src/{}:{}: {}", source.path, at + 1, line.trim()));
                }
            }
        }
    }
    none("no notes to oneself", &broken);
}

#[test]
fn faults_of_others_do_not_end_the_process() {
    let words = [".unwrap()", ".unwrap_err()", "unreachable_unchecked"];
    none("no unwrap outside tests", &holding(&sources(), &[], &words));
}

#[test]
fn every_exception_to_a_lint_has_a_reason() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            if ["#[allow(", "#![allow(", "#[expect(", "#![expect("]
                .iter()
                .any(|start| line.starts_with(start))
            {
                let whole: String = lines[at..lines.len().min(at + 5)].concat();
                let attribute = whole.split(")]").next().unwrap_or_default();
                if !attribute.contains("reason") {
                    broken.push(format!("src/{}:{}: {line}", source.path, at + 1));
                }
            }
        }
    }
    none("no bare #[allow]", &broken);
}

#[test]
fn every_file_says_what_it_owns() {
    let broken: Vec<String> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("src/{}", source.path))
        .collect();
    none("each file begins with //!", &broken);
}

#[test]
fn files_stay_small() {
    let mut sizes: Vec<(String, usize)> = sources()
        .iter()
        .map(|source| (format!("src/{}", source.path), source.text.lines().count()))
        .collect();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in fs::read_dir(tests)
        .expect("the tests can be read")
        .flatten()
    {
        if entry.path().is_file() {
            let text = fs::read_to_string(entry.path()).expect("sources are UTF-8");
            sizes.push((entry.path().display().to_string(), text.lines().count()));
        }
    }
    let broken: Vec<String> = sizes
        .iter()
        .filter(|(_, count)| *count > 600)
        .map(|(path, count)| format!("{path}: {count} lines"))
        .collect();
    none("no file over 600 lines", &broken);
}

/// Whether a function begins on this line; its name.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let words = ["pub", "const", "async", "unsafe", "extern"];
    let (before, after) = line.split_once("fn ")?;
    let leads = before.split_whitespace().all(|word| {
        let word = word.split('(').next().unwrap_or_default();
        words.contains(&word) || word.ends_with(')')
    });
    leads.then(|| after.split(['(', '<']).next().unwrap_or_default())
}

#[test]
fn functions_stay_small() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        let product: BTreeSet<usize> = source.code.iter().map(|(number, _)| *number).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = function(line).filter(|_| product.contains(&(at + 1))) else {
                continue;
            };
            let closing = format!("{}}}", " ".repeat(indent(line)));
            let ends_here = line.trim_end().ends_with(['}', ';']);
            let end = if ends_here {
                at
            } else {
                at + body_end(&lines[at..], &closing)
            };
            if end - at + 1 > 70 {
                broken.push(format!(
                    "src/{}:{}: {name} has {} lines",
                    source.path,
                    at + 1,
                    end - at + 1
                ));
            }
        }
    }
    none("no function over 70 lines", &broken);
}

/// How many lines after the first the function ends: at its closing brace, or at the `;` of a declaration.
fn body_end(lines: &[&str], closing: &str) -> usize {
    let begins = lines.iter().position(|line| line.trim_end().ends_with('{'));
    let declared = lines.iter().position(|line| line.trim_end().ends_with(';'));
    match (begins, declared) {
        (None, declared) => declared.unwrap_or(0),
        (Some(begins), Some(declared)) if declared < begins => declared,
        _ => lines
            .iter()
            .position(|line| *line == closing)
            .unwrap_or(lines.len() - 1),
    }
}

#[test]
fn the_schema_has_one_copy_and_is_strict() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql");
    let schema = fs::read_to_string(schema).expect("schema.sql is there");
    let schema: String = schema
        .lines()
        .map(|line| format!("{}\n", line.split("--").next().unwrap_or_default()))
        .collect();
    let statements: Vec<&str> = schema
        .split(';')
        .filter(|text| text.contains("CREATE TABLE"))
        .collect();
    assert!(!statements.is_empty());
    for statement in statements {
        let table = statement
            .split("CREATE TABLE")
            .nth(1)
            .unwrap_or_default()
            .trim_start();
        let name = table.split([' ', '(']).next().unwrap_or_default();
        let end = statement.rsplit(')').next().unwrap_or_default();
        assert!(end.contains("STRICT"), "{name} is not STRICT");
    }
    none(
        "CREATE TABLE stands in schema.sql alone",
        &holding(&sources(), &[], &["CREATE TABLE"]),
    );
}

#[test]
fn the_lines_of_tests_are_told_apart() {
    let text = "use a;\n#[cfg(test)]\nmod tests;\nfn b() {\n    c(); // d\n}\n#[cfg(test)]\nmod more {\n    fn e() {}\n}\nfn f() {}\n";
    let (code, modules) = product(text);
    let lines: Vec<&str> = code.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines, ["use a;", "fn b() {", "    c();", "}", "fn f() {}"]);
    assert_eq!(modules, ["tests"]);
    assert!(holds("let x = tokio::spawn()", "tokio") && !holds("let mytokio = 1", "tokio"));
    assert_eq!(
        function("    pub(crate) const fn name<T>(x: T) {"),
        Some("name")
    );
    assert_eq!(function("    // a line about fn pointers"), None);
}
