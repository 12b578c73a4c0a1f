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
#[path = "figures/load.rs"]
#[allow(dead_code, reason = "shared with figures")]
mod load;
#[path = "scale/memory.rs"]
mod memory;
mod parts;
mod proc;
#[path = "scale/prune.rs"]
mod prune;
#[path = "figures/receiver.rs"]
#[allow(dead_code, reason = "shared with figures")]
mod receiver;
#[path = "figures/report.rs"]
mod report;
#[path = "scale/restore.rs"]
mod restore;
mod results;
#[path = "figures/server.rs"]
#[allow(dead_code, reason = "shared with figures")]
mod server;
#[path = "figures/stats.rs"]
#[allow(dead_code, reason = "shared with figures")]
mod stats;
#[path = "scale/turns.rs"]
mod turns;
#[path = "scale/waiting.rs"]
mod waiting;
#[path = "figures/wire.rs"]
mod wire;

use std::fmt::Display;
use std::process::ExitCode;

use parts::{Asked, Part, progress};

/// Why a part could not be measured.
type Fault = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Fault>;

/// A fault with a sentence of its own.
fn fault(text: impl Display) -> Fault {
    text.to_string().into()
}

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
