//! A line on the terminal for what takes longer than a second, and Ctrl-C that ends it cleanly.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::Failure;
use crate::cli::screen::{Screen, for_people};
use crate::store::watch::{Progress, Watch};

/// What is over sooner has no line.
const QUIET: Duration = Duration::from_secs(1);

/// How often the line changes.
const EVERY: Duration = Duration::from_millis(200);

/// The line, which is there once it was shown.
struct Line {
    began: Instant,
    shown: Option<Instant>,
}

/// Shows how far work is, and ends it when a person has had enough.
pub(super) struct Onlooker {
    line: Arc<Mutex<Line>>,
    asked: Arc<AtomicBool>,
}

impl Onlooker {
    /// From now on, SIGINT and SIGTERM end the work, not the process: it puts away what it has begun.
    pub(super) fn start(screen: &Screen) -> Result<(Onlooker, Watch), Failure> {
        let onlooker = Onlooker {
            line: Arc::new(Mutex::new(Line {
                began: Instant::now(),
                shown: None,
            })),
            asked: Arc::default(),
        };
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, onlooker.asked.clone())
                .map_err(|fault| Failure::new(format!("cannot listen for signals: {fault}")))?;
        }
        let shows = !screen.json && std::io::stderr().is_terminal();
        let (line, asked) = (onlooker.line.clone(), onlooker.asked.clone());
        let watch = Watch::new(move |progress| {
            if shows {
                show(&line, progress);
            }
            !asked.load(Ordering::SeqCst)
        });
        Ok((onlooker, watch))
    }

    /// How long it took; takes the line away.
    pub(super) fn end(&self) -> Duration {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.shown.is_some() {
            drop(std::io::stderr().write_all(b"\r\x1b[K"));
        }
        line.began.elapsed()
    }
}

fn show(line: &Mutex<Line>, progress: Progress) {
    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = match line.shown {
        None => line.began.elapsed() >= QUIET,
        Some(at) => at.elapsed() >= EVERY,
    };
    if is_due {
        line.shown = Some(Instant::now());
        let text = format!("\r{}\x1b[K", text(progress, line.began.elapsed()));
        drop(std::io::stderr().write_all(text.as_bytes()));
    }
}

/// `copying: 42 % (3.4s)`
fn text(progress: Progress, elapsed: Duration) -> String {
    let elapsed = for_people(elapsed.as_millis() as u64);
    let Progress { doing, done, total } = progress;
    match total {
        0 => format!("{doing} ({elapsed})"),
        total => format!("{doing}: {} % ({elapsed})", done.min(total) * 100 / total),
    }
}

/// Bytes as `512 B`, `3.4 KiB`, `12.0 MiB` or `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let in_units = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", in_units(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", in_units(1 << 20)),
        _ => format!("{:.1} GiB", in_units(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_where_that_is_known() {
        let progress = |done, total| Progress {
            doing: "copying",
            done,
            total,
        };
        let elapsed = Duration::from_millis(3_450);
        assert_eq!(text(progress(1, 3), elapsed), "copying: 33 % (3.4s)");
        assert_eq!(text(progress(9, 3), elapsed), "copying: 100 % (3.4s)");
        assert_eq!(text(progress(0, 0), elapsed), "copying (3.4s)");
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 1_023, 1_024, 1_048_576, 3 << 29].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.5 GiB"]);
    }
}
