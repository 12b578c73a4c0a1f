//! The flags of the verbs that start an engine, one for each row of the settings' table.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::cli::{Failure, text, text_arg};
use crate::config::{self, Config, Loaded, SETTINGS, Setting};

const AFTER: &str = "\
A setting --max-queued is also the variable SKEP_MAX_QUEUED and the key max_queued in skep.toml; the flag is \
strongest, then the variable. Secrets have no flag: SKEP_ADMIN_KEY and SKEP_MASTER_KEY, or SKEP_ADMIN_KEY_FILE and \
SKEP_MASTER_KEY_FILE naming files. `skep config` shows what is in force.";

/// The verb, with a flag for every setting.
pub(super) fn with_settings(command: Command) -> Command {
    let file = text_arg(
        "config",
        "FILE",
        "Settings [default: skep.toml in the working directory, if it is there]",
    );
    command
        .arg(file)
        .args(SETTINGS.iter().filter(|setting| !setting.secret).map(flag))
        .after_help(AFTER)
}

fn flag(setting: &Setting) -> Arg {
    let help = match setting.default {
        "" => setting.doc.to_owned(),
        default => format!("{} [default: {default}]", setting.doc),
    };
    Arg::new(setting.name)
        .long(setting.flag())
        .value_name(setting.example)
        // `-1` is a wrong value, and is told so by the setting's name.
        .allow_hyphen_values(true)
        .help(help)
}

/// The settings in force for this command line.
pub(super) fn load(matches: &ArgMatches) -> Result<Loaded, Failure> {
    let flag = |name: &str| text(matches, name).map(str::to_owned);
    config::load(&flag, text(matches, "config").map(Path::new))
        .map_err(|error| Failure::wrong_use(error.message))
}

/// `--data`, of the verbs that work on the database itself.
pub(super) fn data_arg() -> Arg {
    text_arg(
        "data",
        "FILE",
        "The database [default: the setting data, else skep.db]",
    )
}

/// Which database, by the flag, or as the server finds it.
pub(super) fn data(matches: &ArgMatches) -> Result<PathBuf, Failure> {
    of_data(matches).map(|config| config.data)
}

/// The settings of a verb that works on the database itself, and knows no flag but `--data`.
pub(super) fn of_data(matches: &ArgMatches) -> Result<Config, Failure> {
    let flag = |name: &str| match name {
        "data" => text(matches, name).map(str::to_owned),
        _ => None,
    };
    config::load(&flag, None)
        .map(|loaded| loaded.config)
        .map_err(|error| Failure::wrong_use(error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_but_the_secrets_is_a_flag() {
        let command = with_settings(Command::new("serve"));
        for setting in SETTINGS {
            let flag = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(&setting.flag()));
            assert_eq!(flag.is_some(), !setting.secret, "{}", setting.name);
        }
    }

    #[test]
    fn a_flag_reaches_its_setting() {
        let line = ["serve", "--config", "Cargo.toml", "--workers", "7"];
        let matches = with_settings(Command::new("serve"))
            .try_get_matches_from(line)
            .expect("the line is sound");
        assert_eq!(text(&matches, "workers"), Some("7"));
        let failure = load(&matches).expect_err("Cargo.toml holds no settings");
        assert_eq!(failure.exit, 2);
        assert!(
            failure
                .message
                .starts_with("Cargo.toml: there is no setting "),
            "{}",
            failure.message
        );
    }
}
