//! `skep serve`: starts the engine, says where it listens, and waits for the word to stop.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{ArgMatches, Command};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::screen::Screen;
use crate::cli::{Done, Failure, logging, settings};
use crate::config::Loaded;
use crate::engine::Engine;
use crate::error::Error;

/// How many old key files may lie beside a database before we stop looking for a free name.
const OLD_KEY_FILES: usize = 1_000;

pub(super) fn command() -> Command {
    settings::with_settings(
        Command::new("serve").about("Serve: accept runs, execute them, deliver their results"),
    )
}

pub(super) fn run(matches: &ArgMatches, screen: &Screen) -> Done {
    let Loaded { config, found } = settings::load(matches)?;
    logging::start(config.log_level, config.log_format);
    // Before the engine, so that a stop asked for during its start is a clean one too.
    let mut signals = signals()?;
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let data = config.data.clone();
    let engine = Engine::builder()
        .config(config)
        .settings(found)
        .on_new_key(move |key| hand_over(key, &data))
        .start()
        .map_err(|error| Failure::new(error.message))?;
    let served = announce(&engine, screen);
    if served.is_ok() {
        wait_for(&mut signals);
    }
    engine.stop();
    served
}

/// Waits for the word to stop.
pub(super) fn wait_for(signals: &mut Signals) {
    if let Some(signal) = signals.forever().next() {
        let name = if signal == SIGINT {
            "SIGINT"
        } else {
            "SIGTERM"
        };
        log::info!("stopping on {name}");
    }
}

fn announce(engine: &Engine, screen: &Screen) -> Done {
    let url = format!("http://{}", engine.addr());
    match screen.json {
        true => screen.line(&json!({"listening": url}).to_string()),
        false => screen.line(&format!("listening on {url}")),
    }
}

/// The first stop signal is waited for; the second ends the process at once, whatever it is doing.
pub(super) fn signals() -> Result<Signals, Failure> {
    let fail = |fault: io::Error| Failure::new(format!("cannot listen for signals: {fault}"));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and only then raises it.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))
            .map_err(fail)?;
        signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(fail)?;
    }
    Signals::new([SIGTERM, SIGINT]).map_err(fail)
}

/// A new file's admin key: to a person at a terminal, else into a file that only its owner can read.
fn hand_over(key: &str, data: &Path) -> Result<(), Error> {
    let notice = format!("Admin key (shown once, keep it): {key}\n");
    if io::stderr().is_terminal() {
        drop(io::stderr().write_all(notice.as_bytes()));
    } else if io::stdout().is_terminal() {
        drop(io::stdout().write_all(notice.as_bytes()));
    } else {
        let path = key_path(data);
        write_key(&path, key).map_err(|fault| {
            Error::unavailable(format!(
                "cannot write the new admin key to {}: {fault}; set SKEP_ADMIN_KEY and start again",
                path.display()
            ))
        })?;
        // No log line: whoever starts a server needs it, whatever the log level.
        let notice = format!("the new admin key is in {}\n", path.display());
        drop(io::stderr().write_all(notice.as_bytes()));
    }
    Ok(())
}

/// `skep.db` has its key in `skep.db.admin-key`.
fn key_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".admin-key");
    PathBuf::from(name)
}

/// Never follows a link or writes into a file that is there: an older key may belong to a database that was moved away.
fn write_key(path: &Path, key: &str) -> io::Result<()> {
    set_aside(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(key.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn set_aside(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let free = (1..OLD_KEY_FILES)
        .map(numbered)
        .find(|other| fs::symlink_metadata(other).is_err());
    match free {
        Some(other) => fs::rename(path, other),
        None => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "too many old key files lie beside it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_key_is_for_its_owner_only_and_an_old_one_is_set_aside() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = key_path(&folder.path().join("skep.db"));
        assert!(path.ends_with("skep.db.admin-key"));
        for key in ["first", "second", "third"] {
            write_key(&path, key).expect("the folder is writable");
        }
        let read =
            |name: &str| fs::read_to_string(folder.path().join(name)).expect("the file is there");
        assert_eq!(read("skep.db.admin-key"), "third\n");
        assert_eq!(read("skep.db.admin-key.1"), "first\n");
        assert_eq!(read("skep.db.admin-key.2"), "second\n");
        let mode = fs::metadata(&path)
            .expect("the file is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_in_the_keys_place_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("skep.db.admin-key");
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("links are supported");
        write_key(&path, "key").expect("the folder is writable");
        assert!(!elsewhere.exists());
    }
}
