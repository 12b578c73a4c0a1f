//! A copy of the file as it is in one moment, taken beside a running server.
//!
//! SQLite's page copy inside one read transaction: it never starts again however much is written, it does not hold up the
//! writer, and it reads and writes each page once. What it costs is the server's log, which cannot be emptied until the
//! last page is copied; that is watched, and bounded.

use std::path::Path;

use crate::error::Result;
use crate::store::copy::{Facts, Part, taken};
use crate::store::open::{observe, resolved};
use crate::store::watch::{LogGuard, Watch};

/// A backup that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// What is in it.
    pub facts: Facts,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// By how much the server's log grew meanwhile, in bytes.
    pub log_grew: u64,
}

/// Copies `source` as it is now to `target`, checks the copy, and only then gives it its name. Whatever was answered
/// before this was called is in it.
///
/// # Errors
/// If `target` exists, the source cannot be read, the copy is not sound, the log grew too long, or nobody wants it any
/// more; nothing is left behind then.
pub fn backup(source: &Path, target: &Path, watch: &Watch) -> Result<BackedUp> {
    let source = resolved(source);
    if target.symlink_metadata().is_ok() {
        return Err(taken(target));
    }
    let (part, facts, log_grew) = observe(&source, |conn| {
        let log = LogGuard::over(&source);
        let part = Part::beside(target)?;
        let facts = part.fill(conn, &log, watch)?;
        Ok((part, facts, log.grown()))
    })?;
    part.settle(watch)?;
    Ok(BackedUp {
        facts,
        bytes: part.name_new()?,
        log_grew,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::open::connection;
    use crate::time::Timestamp;

    #[test]
    fn a_backup_that_nobody_wants_any_more_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        drop(connection(&at("a.db"), Timestamp(0)).expect("a new file"));
        let count = || std::fs::read_dir(folder.path()).expect("a folder").count();
        let before = count();
        for stage in ["copying", "checking", "syncing"] {
            let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
            let told = seen.clone();
            let watch = Watch::new(move |progress| {
                told.lock().expect("no panic").push(progress.doing);
                progress.doing != stage
            });
            let made = backup(&at("a.db"), &at("b.db"), &watch);
            let seen = seen.lock().expect("no panic").clone();
            // What is small is checked before anyone looks.
            let cut = seen.contains(&stage);
            assert_eq!(made.is_err(), cut, "{stage}: {seen:?}");
            if made.is_ok() {
                std::fs::remove_file(at("b.db")).expect("it is there");
            }
            assert_eq!(count(), before, "{stage}");
        }
        backup(&at("a.db"), &at("b.db"), &Watch::nobody()).expect("nobody minds");
        assert_eq!(count(), before + 1);
    }
}
