//! What a person reads of a failing history: one line per event.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::bell::locked;
use crate::time::Timestamp;

/// The lines, if they are kept: only of a history that is known to fail.
#[derive(Debug, Default)]
pub struct Log {
    lines: Option<Mutex<Vec<String>>>,
    last: AtomicI64,
}

impl Log {
    /// A log that keeps its lines, or none.
    pub fn new(is_kept: bool) -> Log {
        Log {
            lines: is_kept.then(Mutex::default),
            last: AtomicI64::new(0),
        }
    }

    /// One event: when, who, what.
    pub fn say(&self, now: Timestamp, who: &str, what: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let passed = now.0 - self.last.swap(now.0, Ordering::SeqCst);
        let mut lines = locked(lines);
        let passed = match lines.is_empty() {
            true => 0,
            false => passed,
        };
        lines.push(format!("{now} {passed:>+10} ms  {who:<14}  {}", what()));
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines
            .as_ref()
            .map(|lines| locked(lines).join("\n"))
            .unwrap_or_default()
    }
}
