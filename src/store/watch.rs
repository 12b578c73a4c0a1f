//! Long work on a file, looked on: how far it is, whether to go on, and the log that grows behind a reader.
//!
//! As long as a reader holds on to a moment, what the server writes after that moment stays in its log (`-wal`), which
//! therefore grows. [`LogGuard`] ends the reader before the log takes more than the disk was made for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;

use crate::error::{Error, Result};
use crate::store::open::beside;

/// How far something long is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: "copying", "checking".
    pub doing: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0: nobody knows.
    pub total: u64,
}

/// Who looks on: is told how far it is, and answers whether to go on.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(Progress) -> bool + Send + Sync>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// How many instructions SQLite executes between two looks.
const INSTRUCTIONS: i32 = 200_000;

/// A log may always grow to this size, however small its file is.
const LOG_MIN: u64 = 1 << 30;

impl Watch {
    /// Someone who is told, and answers whether to go on.
    pub fn new(tell: impl Fn(Progress) -> bool + Send + Sync + 'static) -> Watch {
        Watch(Arc::new(tell))
    }

    /// Nobody: it goes on to its end.
    pub fn nobody() -> Watch {
        Watch::new(|_| true)
    }

    /// Tells how far it is.
    ///
    /// # Errors
    /// If it is not to go on.
    pub fn tell(&self, doing: &'static str, done: u64, total: u64) -> Result<()> {
        match (self.0)(Progress { doing, done, total }) {
            true => Ok(()),
            false => Err(interrupted()),
        }
    }

    /// Looks on while `work` has a connection busy with statements that take long.
    pub(super) fn during<T>(
        &self,
        conn: &Connection,
        doing: &'static str,
        log: Option<&LogGuard>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let (watch, guard) = (self.clone(), log.cloned());
        let too_long = Arc::new(AtomicBool::new(false));
        let (seen, over) = (too_long.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = over.clone();
        conn.progress_handler(
            INSTRUCTIONS,
            Some(move || {
                if guard.as_ref().is_some_and(|guard| guard.look().is_err()) {
                    seen.store(true, Ordering::SeqCst);
                    return true;
                }
                let stop = watch.tell(doing, 0, 0).is_err();
                stopped.fetch_or(stop, Ordering::SeqCst);
                stop
            }),
        )?;
        let result = work();
        conn.progress_handler(0, None::<fn() -> bool>)?;
        match (
            over.load(Ordering::SeqCst),
            too_long.load(Ordering::SeqCst),
            log,
        ) {
            (true, _, _) => Err(interrupted()),
            (_, true, Some(guard)) => Err(guard.too_long()),
            _ => result,
        }
    }
}

fn interrupted() -> Error {
    Error::unavailable("interrupted")
}

/// Watches over the log of a file that is read while its server writes.
#[derive(Debug, Clone)]
pub(super) struct LogGuard {
    log: PathBuf,
    at_first: u64,
    limit: u64,
    largest: Arc<AtomicU64>,
}

impl LogGuard {
    /// From now on. The log may grow by as much as the file is large, at least by 1 GiB.
    pub(super) fn over(path: &Path) -> LogGuard {
        let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
        let log = beside(path, "-wal");
        let at_first = size(&log);
        LogGuard {
            at_first,
            limit: size(path).max(LOG_MIN),
            largest: Arc::new(AtomicU64::new(at_first)),
            log,
        }
    }

    /// Looks at it.
    ///
    /// # Errors
    /// If it has become too long.
    pub(super) fn look(&self) -> Result<()> {
        let size = self.log.metadata().map_or(0, |found| found.len());
        let largest = self.largest.fetch_max(size, Ordering::SeqCst).max(size);
        match largest - self.at_first > self.limit {
            true => Err(self.too_long()),
            false => Ok(()),
        }
    }

    /// By how much it has grown, in bytes.
    pub(super) fn grown(&self) -> u64 {
        // A last look is not what ends it.
        drop(self.look());
        self.largest.load(Ordering::SeqCst) - self.at_first
    }

    fn too_long(&self) -> Error {
        Error::unavailable(format!(
            "given up: the server writes so much that {} grew by {} MiB meanwhile; try again when it has less to do, \
             or with a faster disk",
            self.log.display(),
            self.limit >> 20
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_statement_is_interrupted_by_who_looks_on() {
        let conn = Connection::open_in_memory().expect("memory");
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let ask = || -> Result<i64> { Ok(conn.query_row(endless, [], |row| row.get(0))?) };
        let told = Watch::new(|progress| {
            assert_eq!(progress.doing, "counting");
            false
        });
        let fault = told
            .during(&conn, "counting", None, ask)
            .expect_err("it is endless");
        assert_eq!(fault.message, "interrupted");
        // What comes after it is not looked on any more.
        let short = conn.query_row("SELECT 1", [], |row| row.get(0));
        assert_eq!(short, Ok(1));
    }

    #[test]
    fn a_log_that_grows_too_long_ends_its_reader() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.db");
        let log = std::fs::File::create(beside(&path, "-wal")).expect("writable");
        log.set_len(10).expect("writable");
        let guard = LogGuard::over(&path);
        log.set_len(10 + LOG_MIN).expect("a sparse file");
        assert!(guard.look().is_ok());
        log.set_len(11 + LOG_MIN).expect("a sparse file");
        let fault = guard.look().expect_err("too long");
        assert!(fault.message.contains("a.db-wal"), "{fault}");
        log.set_len(0).expect("writable");
        assert_eq!(guard.grown(), LOG_MIN + 1);
    }
}
