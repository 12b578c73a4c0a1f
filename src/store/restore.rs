//! A copy put back in the place of the file, while no server has it.
//!
//! The copy is checked before anything is touched. What lay there is kept beside it under another name, whole: its log is
//! moved into it first, because a log left behind would be applied to whatever file has the name.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Result};
use crate::store::copy::{Facts, Part, facts, sync_folder};
use crate::store::open::{beside, header, lock, observe, resolved};
use crate::store::watch::{LogGuard, Watch};
use crate::time::Timestamp;

/// A copy that is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What is in it.
    pub facts: Facts,
    /// How large it is, in bytes.
    pub bytes: u64,
    /// Where the file is that lay there before; `None`: there was none.
    pub kept: Option<PathBuf>,
}

/// Puts a checked copy of `file` in the place of `target`, all at once. Unless `force`, not over a file whose latest
/// change is later than that of `file`, or that cannot be judged.
///
/// # Errors
/// If a server has `target`, `file` is not sound or of a newer version, `target` is newer, or nobody wants it any more;
/// `target` is as it was then.
pub fn restore(
    file: &Path,
    target: &Path,
    force: bool,
    now: Timestamp,
    watch: &Watch,
) -> Result<Restored> {
    let (file, target) = (resolved(file), resolved(target));
    if file == target {
        return Err(Error::unavailable(format!(
            "{} is the file itself; nothing was changed",
            file.display()
        )));
    }
    let _lock = lock(&target)?;
    let (part, facts) = observe(&file, |conn| {
        if !force {
            let theirs = facts(conn)?;
            not_newer(&target, &file, theirs)?;
        }
        let part = Part::beside(&target)?;
        let facts = part.fill(conn, &LogGuard::over(&file), watch)?;
        Ok((part, facts))
    })?;
    part.settle(watch)?;
    let kept = set_aside(&target, part.path(), now)?;
    Ok(Restored {
        facts,
        bytes: part.name_over()?,
        kept,
    })
}

/// Refuses if `target` has changed since `file` was taken.
fn not_newer(target: &Path, file: &Path, theirs: Facts) -> Result<()> {
    if target.metadata().map_or(0, |found| found.len()) == 0 {
        return Ok(());
    }
    let ours = observe(target, facts).map_err(|fault| {
        Error::unavailable(format!(
            "{} cannot be judged ({fault}); with --force it is set aside unseen",
            target.display()
        ))
    })?;
    if ours.latest <= theirs.latest {
        return Ok(());
    }
    let at = |facts: Facts| {
        facts
            .latest
            .map_or("no time at all".to_owned(), |at| at.to_string())
    };
    Err(Error::unavailable(format!(
        "{} is newer: its latest change is of {}, that of {} of {}; what came in between would be lost. With --force it \
         is set aside",
        target.display(),
        at(ours),
        file.display(),
        at(theirs)
    )))
}

/// Leaves `target` to be replaced: a link to it under another name, and no log beside it.
fn set_aside(target: &Path, part: &Path, now: Timestamp) -> Result<Option<PathBuf>> {
    let bad = |fault: std::io::Error| {
        let path = target.display();
        Error::unavailable(format!("cannot set {path} aside: {fault}; it is as it was"))
    };
    let aside = free_name(target, now);
    let found = target.metadata().ok();
    if let Some(found) = &found {
        let is_database = fs::File::open(target).is_ok_and(|file| header(&file).is_ok());
        if is_database && found.len() > 0 {
            empty_log(target)?;
        }
        // The server's user is not always who restores. Whoever may not give a file away keeps it.
        drop(chown(part, Some(found.uid()), Some(found.gid())));
        if fs::hard_link(target, &aside).is_err() {
            // Not every file system has links.
            fs::copy(target, &aside).map_err(bad)?;
            fs::File::open(&aside)
                .and_then(|copy| copy.sync_all())
                .map_err(bad)?;
        }
    }
    // There is one only where it could not be moved into its file, or has none.
    for suffix in ["-wal", "-journal"] {
        let log = beside(target, suffix);
        if log.symlink_metadata().is_ok() {
            fs::rename(&log, beside(&aside, suffix)).map_err(bad)?;
        }
    }
    drop(fs::remove_file(beside(target, "-shm")));
    sync_folder(target)?;
    Ok(found.map(|_| aside))
}

/// Moves a file's log into the file. One that is too damaged for that keeps its log.
fn empty_log(path: &Path) -> Result<()> {
    let empty = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA journal_mode = DELETE;")
    };
    match empty() {
        Err(fault)
            if matches!(
                fault.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Err(Error::unavailable(format!(
                "another program reads {}; end it first, nothing was changed",
                path.display()
            )))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `FILE.before-restore-SECONDS`, or, if that is taken, with a number behind it.
fn free_name(path: &Path, now: Timestamp) -> PathBuf {
    let first = beside(path, &format!(".before-restore-{}", now.seconds()));
    let numbered = (2..).map(|number| beside(&first, &format!("-{number}")));
    std::iter::once(first.clone())
        .chain(numbered)
        .find(|name| name.symlink_metadata().is_err())
        .unwrap_or(first)
}
