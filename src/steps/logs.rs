//! What a step writes down while it is tried, for whoever looks at the run: lines with their times, of which so many are kept.
//!
//! Owns the caps. What is handed in has been masked.

use std::sync::Mutex;

use crate::flow::step::LogLine;
use crate::time::Clock;

/// The most lines of one try that are kept.
pub const MOST_LINES: usize = 100;
/// The most bytes that they have together.
pub const MOST_BYTES: usize = 16 << 10;
/// The most characters that one line has.
pub const LONGEST: usize = 1_000;

/// The lines of one try.
#[derive(Debug)]
pub struct Logs {
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Vec<LogLine>,
    bytes: usize,
    left_out: usize,
}

impl Logs {
    /// None yet; their times are told by that clock.
    pub fn new(clock: Clock) -> Logs {
        Logs {
            clock,
            kept: Mutex::default(),
        }
    }

    /// Adds a line. What would be too much is counted instead.
    pub(super) fn add(&self, text: &str) {
        let text: String = text.trim_end().chars().take(LONGEST).collect();
        let at = self.clock.now();
        let Ok(mut kept) = self.kept.lock() else {
            return;
        };
        if kept.lines.len() == MOST_LINES || kept.bytes + text.len() > MOST_BYTES {
            kept.left_out += 1;
            return;
        }
        kept.bytes += text.len();
        kept.lines.push(LogLine { at, text });
    }

    /// All that was kept; a last line says how many were not.
    pub fn take(self) -> Vec<LogLine> {
        let Ok(kept) = self.kept.into_inner() else {
            return Vec::new();
        };
        let mut lines = kept.lines;
        if kept.left_out > 0 {
            lines.push(LogLine {
                at: self.clock.now(),
                text: format!("({} more lines were left out)", kept.left_out),
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn kept(texts: impl IntoIterator<Item = String>) -> Vec<String> {
        let logs = Logs::new(Clock::manual(Timestamp(7)));
        for text in texts {
            logs.add(&text);
        }
        let lines = logs.take();
        assert!(lines.iter().all(|line| line.at == Timestamp(7)));
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_kept_in_their_order() {
        assert_eq!(kept(["a\n".to_owned(), "b".to_owned()]), ["a", "b"]);
    }

    #[test]
    fn a_step_that_writes_without_end_fills_no_file() {
        let many = kept((0..1_000).map(|at| at.to_string()));
        assert_eq!(many.len(), MOST_LINES + 1);
        assert_eq!(
            many.last().map(String::as_str),
            Some("(900 more lines were left out)")
        );
        let long = kept((0..1_000).map(|_| "é".repeat(LONGEST + 1)));
        assert!(long.iter().all(|line| line.chars().count() <= LONGEST));
        assert!(long.iter().map(String::len).sum::<usize>() <= MOST_BYTES + 100);
    }
}
