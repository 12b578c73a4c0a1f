//! The claims about size, measured: files with a million rows and more, filled by a tool, served by the real binary.
//!
//! `scripts/scale [--quick] [--json] [--record] [--clean] [--only PART]...`. A report, not a test. Owns the order of the
//! parts; knows Skep by its command line and its HTTP API, and the file by SQL.

#[path = "figures/disk.rs"]
mod disk;
#[path = "scale/file.rs"]
mod file;
mod fill;
#[path = "scale/finished.rs"]
mod finished;
#[path = "scale/idle.rs"]
mod idle;
mod job;
#[path = "scale/memory.rs"]
mod memory;
mod parts;
mod proc;
#[path = "scale/prune.rs"]
mod prune;
#[path = "figures/report.rs"]
mod report;
#[path = "scale/restore.rs"]
mod restore;
mod results;
#[path = "figures/server.rs"]
mod server;
#[path = "scale/turns.rs"]
mod turns;
#[path = "scale/waiting.rs"]
mod waiting;

use std::process::ExitCode;

use parts::{Asked, Part, progress};

/// The parts, in the order in which they are measured.
const PARTS: &[Part] = &[
    ("memory", memory::measure),
    ("idle", idle::measure),
    ("file", file::measure),
    ("waiting", waiting::measure),
    ("finished", finished::measure),
    ("restore", restore::measure),
    ("prune", prune::measure),
];

fn main() -> ExitCode {
    parts::run("scale", PARTS, fill::clean)
}
