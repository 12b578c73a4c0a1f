//! Whether the file is still where it was: someone may delete it, or put another in its place, under a running server.
//!
//! What is written then lands in a file that nobody will find again. So the writer looks after each commit, before it
//! answers; what it has can still be copied, because the open file lives until the process ends.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::error::{Error, Result};
use crate::store::open::{beside, make_durable, owned_file};
use crate::time::{Clock, Timestamp};

/// Device and inode.
type Identity = (u64, u64);

/// The file and its log, as they were found at the start.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    log: PathBuf,
    file_is: Identity,
    log_is: Option<Identity>,
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// What is wrong with a path where that file should be. A path that cannot be looked at tells nothing.
fn moved(path: &Path, was: Identity) -> Option<&'static str> {
    match identity(path) {
        Ok(is) if is == was => None,
        Ok(_) => Some("replaced"),
        Err(fault) if fault.kind() == ErrorKind::NotFound => Some("deleted"),
        Err(_) => None,
    }
}

impl Place {
    /// The place of an open file.
    ///
    /// # Errors
    /// If the file is not there.
    pub(super) fn of(path: &Path) -> Result<Place> {
        let log = beside(path, "-wal");
        let file_is = identity(path).map_err(|fault| {
            Error::unavailable(format!("cannot find {}: {fault}", path.display()))
        })?;
        Ok(Place {
            path: path.to_owned(),
            log_is: identity(&log).ok(),
            log,
            file_is,
        })
    }

    /// Ends the process where the file is no longer where it was: what was committed just now is told to nobody, and
    /// copied if that is possible.
    pub(super) fn is_kept(&self, conn: &Connection) -> Result<()> {
        let Some(why) = self.is_lost() else {
            return Ok(());
        };
        match self.rescue(conn, Clock::System.now()) {
            Ok(copy) => log::error!(
                "{why}; everything is copied to {}: put that in its place and start again; ending",
                copy.display()
            ),
            Err(fault) => log::error!("{why}, and it cannot be copied ({fault}); ending"),
        }
        std::process::exit(1);
    }

    /// What happened to the file or its log: a sentence; none if both are in place.
    fn is_lost(&self) -> Option<String> {
        let file = moved(&self.path, self.file_is).map(|how| (&self.path, how));
        let log = || Some((&self.log, moved(&self.log, self.log_is?)?));
        let (path, how) = file.or_else(log)?;
        Some(format!(
            "{} was {how} under the running server",
            path.display()
        ))
    }

    /// Copies everything that is committed beside the place where the file was; says where that is.
    fn rescue(&self, conn: &Connection, now: Timestamp) -> Result<PathBuf> {
        let path = beside(&self.path, &format!(".rescued-{}", now.seconds()));
        let cannot = |fault: std::io::Error| Error::unavailable(fault.to_string());
        drop(owned_file(&path).map_err(cannot)?);
        copy(conn, &path)?;
        make_durable(&path).map_err(cannot)?;
        Ok(path)
    }
}

/// Copies all that is committed into a file that is there and empty.
pub(super) fn copy(conn: &Connection, to: &Path) -> Result<()> {
    let mut copy = Connection::open(to)?;
    Backup::new(conn, &mut copy)?.run_to_completion(1_000, std::time::Duration::ZERO, None)?;
    copy.close().map_err(|(_, fault)| fault)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_another_is_noticed_and_its_rows_can_be_rescued() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.db");
        let conn = Connection::open(&path).expect("a file");
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (7);",
        )
        .expect("written");
        let place = Place::of(&path).expect("it is there");
        assert_eq!(place.is_lost(), None);
        for (name, word) in [
            ("a.db-wal", "a.db-wal was deleted"),
            ("a.db", "a.db was deleted"),
        ] {
            fs::remove_file(folder.path().join(name)).expect("it is there");
            assert!(
                place.is_lost().is_some_and(|why| why.contains(word)),
                "{word}"
            );
        }
        fs::write(&path, b"another").expect("the folder is writable");
        assert!(
            place
                .is_lost()
                .is_some_and(|why| why.contains("a.db was replaced"))
        );
        let rescued = place.rescue(&conn, Timestamp(5_000)).expect("copied");
        assert!(rescued.ends_with("a.db.rescued-5"), "{rescued:?}");
        let copy = Connection::open(rescued).expect("a database");
        assert_eq!(
            copy.query_row("SELECT a FROM t", [], |row| row.get(0)),
            Ok(7)
        );
    }
}
