//! Where it is measured: a new folder of our own on the disk that is asked about, gone afterwards, whatever happens.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::bell::locked;
use crate::bench::server::{Process, Server, Starting, end};
use crate::bench::{Result, fault, hands};
use crate::id::Dice;

/// The folder, and the servers that work in it. Removed when dropped.
#[derive(Debug, Clone)]
pub struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// Locked for good once all was given up, so that no server starts then.
    servers: Mutex<Vec<Process>>,
}

impl Place {
    /// A new folder in `folder`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn within(folder: &Path, dice: &Dice) -> Result<Place> {
        let random = u32::from_be_bytes(dice.bytes());
        Place::make(folder.join(format!("skep-bench-{random:08x}")))
    }

    /// A new folder beside the file that a database would be.
    ///
    /// # Errors
    /// If the file, or what belongs to it, is there already: nothing is written then.
    pub fn beside(file: &Path) -> Result<Place> {
        for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
            let mut path = file.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            // A link that leads nowhere is there too.
            if path.symlink_metadata().is_ok() {
                return Err(fault(format!(
                    "{} exists already; the bench writes into files of its own only: name one that does not exist, \
                     or a folder with --dir",
                    path.display()
                )));
            }
        }
        let mut folder = file.as_os_str().to_owned();
        folder.push(".bench");
        Place::make(PathBuf::from(folder))
    }

    fn make(folder: PathBuf) -> Result<Place> {
        // Not `create_dir_all`: what is there already was made by somebody else.
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|why| fault(format!("cannot make {}: {why}", folder.display())))?;
        // The servers' working folder is another one.
        let folder = folder.canonicalize()?;
        let servers = Mutex::new(Vec::new());
        Ok(Place(Arc::new(Inner { folder, servers })))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// A new folder of that name in it, for one database.
    pub fn room(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.folder.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// A server of this very program in that room.
    pub fn server(&self, room: &Path, flags: &[&str]) -> Result<Server> {
        let binary = std::env::current_exe()?;
        let starting = {
            let mut servers = locked(&self.0.servers);
            let starting = Starting::new(&binary, room, flags)?;
            servers.push(starting.process());
            starting
        };
        starting.listening(room)
    }

    /// Gives everything up as soon as `asked` returns: ends the servers, removes the folder, and then does `last`.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn give_up_when(
        &self,
        asked: impl FnOnce() + Send + 'static,
        last: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let inner = Arc::downgrade(&self.0);
        hands::start("bench-watch", move || {
            asked();
            if let Some(inner) = inner.upgrade() {
                let mut servers = locked(&inner.servers);
                servers.drain(..).for_each(|server| end(&server));
                // Under another name, so that nobody who is still at it makes a file in it meanwhile.
                let aside = inner.folder.with_extension("gone");
                let folder = match fs::rename(&inner.folder, &aside) {
                    Ok(()) => &aside,
                    Err(_) => &inner.folder,
                };
                drop(fs::remove_dir_all(folder));
                last();
            }
        })?;
        Ok(())
    }

    /// Ends the servers and removes the folder.
    ///
    /// # Errors
    /// If something of it cannot be removed.
    pub fn remove(&self) -> Result<()> {
        locked(&self.0.servers)
            .drain(..)
            .for_each(|server| end(&server));
        match fs::remove_dir_all(&self.0.folder) {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(fault(format!(
                "cannot remove {}: {why}",
                self.0.folder.display()
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let file = parent.path().join("skep.db");
        for taken in ["skep.db", "skep.db-wal", "skep.db.lock", "skep.db.bench"] {
            let path = parent.path().join(taken);
            fs::write(&path, "mine").expect("the folder is writable");
            let why = Place::beside(&file).expect_err("it is taken").to_string();
            assert!(why.contains(taken), "{why}");
            assert_eq!(fs::read(&path).expect("still there"), b"mine");
            fs::remove_file(&path).expect("it is ours");
        }
        let place = Place::beside(&file).expect("nothing is there");
        assert!(parent.path().join("skep.db.bench").is_dir());
        place.remove().expect("it is ours");
        assert_eq!(fs::read_dir(parent.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn what_is_given_up_is_gone_before_the_last_word() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let place = Place::within(parent.path(), &Dice::System).expect("it is writable");
        fs::write(place.folder().join("x"), "x").expect("it is writable");
        place.room("y").expect("it is writable");
        let (ask, asked) = bounded::<()>(1);
        let (said, last) = bounded::<()>(1);
        place
            .give_up_when(
                move || assert!(asked.recv().is_ok()),
                move || said.send(()).expect("somebody listens"),
            )
            .expect("a thread");
        assert!(last.is_empty());
        ask.send(()).expect("it waits");
        last.recv().expect("it is said");
        assert_eq!(fs::read_dir(parent.path()).expect("it is there").count(), 0);
    }
}
