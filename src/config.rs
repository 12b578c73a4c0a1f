//! Every setting, one row each in [`SETTINGS`], and how a value is found: flag, variable, `skep.toml`, default.
//!
//! The only file that reads the environment. Knows nothing of the command line's library, and judges only the
//! form of a value: what a listed address may reach is the outbound guard's business.

mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::id::Dice;

/// The file looked for in the working directory when `--config` names no other.
pub const FILE: &str = "skep.toml";

/// Where client verbs look for a server when nothing says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Secrets are short; a `_FILE` that is longer than this is some other file.
const SECRET_FILE_MAX: u64 = 64 * 1024;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself. Never log it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Every setting's value. [`Config::default`] holds the defaults of [`SETTINGS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The database file.
    pub data: PathBuf,
    /// `HOST:PORT` to listen on; port 0 picks one.
    pub listen: String,
    /// How the outside reaches this server: http or https, with base path, without a slash at the end.
    pub public_url: Option<String>,
    /// Addresses or CIDRs whose `X-Forwarded-For` and `-Proto` are believed.
    pub trusted_proxies: Vec<String>,
    /// Runs executing at once; 0 accepts and queues only.
    pub workers: usize,
    /// Runs that may wait for a slot.
    pub max_queued: u64,
    /// Direct invokes that may wait for their run's end.
    pub max_direct: usize,
    /// How long a direct invoke waits.
    pub direct_timeout: Duration,
    /// Deliveries being sent at once; 0 holds them back.
    pub senders: usize,
    /// Deliveries being sent at once to one origin.
    pub senders_per_origin: usize,
    /// Addresses that outgoing requests may reach beside public ones, as written; the outbound guard reads it.
    pub allow_outbound: String,
    /// Replaces `allow_outbound` for callbacks; empty allows none.
    pub allow_outbound_callbacks: Option<String>,
    /// Replaces `allow_outbound` for http steps; empty allows none.
    pub allow_outbound_steps: Option<String>,
    /// Replaces `allow_outbound` for notifications; empty allows none.
    pub allow_outbound_notifications: Option<String>,
    /// PEM file of authorities that are believed beside those that browsers know.
    pub ca_file: Option<PathBuf>,
    /// The mail server, as written; outbound's e-mail reads it.
    pub smtp_url: Option<String>,
    /// What the user that `smtp_url` names signs in with.
    pub smtp_password: Option<Secret>,
    /// Who writes the mails, as written.
    pub mail_from: Option<String>,
    /// Where answers to mails go, as written.
    pub mail_reply_to: Option<String>,
    /// A mail's subject, with `{question}` and `{deployment}`; without it, in the recipient's language.
    pub mail_subject: Option<String>,
    /// How long an attempt to hand a mail over may take.
    pub mail_timeout: Duration,
    /// The bot that writes chat messages.
    pub telegram_token: Option<Secret>,
    /// Its API.
    pub telegram_url: String,
    /// Seals the secrets in the file.
    pub master_key: Option<Secret>,
    /// An admin key that exists while it is set; at least 24 characters.
    pub admin_key: Option<Secret>,
    /// What `/metrics` asks for; without it, that needs no key.
    pub metrics_key: Option<Secret>,
    /// How long ended runs are kept; `None` for ever.
    pub retain_runs: Option<Duration>,
    /// How long the attempts of deliveries are kept; `None` for ever.
    pub retain_attempts: Option<Duration>,
    /// How long after a start a question waits that fell due before it.
    pub downtime_grace: Duration,
    /// Open connections, all peers together.
    pub max_connections: usize,
    /// Open connections of one peer.
    pub max_connections_per_peer: usize,
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How long runs in execution may go on after a stop was asked.
    pub shutdown_grace: Duration,
    /// What is logged.
    pub log_level: log::LevelFilter,
    /// How it looks.
    pub log_format: LogFormat,
}

/// One setting: everything there is to know of it.
#[derive(Debug)]
pub struct Setting {
    /// In snake case: the key in `skep.toml`; flag and variable follow from it.
    pub name: &'static str,
    /// As it would be written; empty for none.
    pub default: &'static str,
    /// What a value looks like, for the help.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    /// Has no flag, may come from a file named by `SKEP_…_FILE`, and is never shown.
    pub secret: bool,
    /// Reads a value into its field; the error says what was expected and what came.
    set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// `--max-queued`, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// `SKEP_MAX_QUEUED`.
    pub fn variable(&self) -> String {
        format!("SKEP_{}", self.name.to_ascii_uppercase())
    }
}

macro_rules! setting {
    ($name:ident, $default:literal, $example:literal, $parse:expr, $doc:literal) => {
        setting!(@row $name, $default, $example, $parse, $doc, false)
    };
    (secret $name:ident, $example:literal, $parse:expr, $doc:literal) => {
        setting!(@row $name, "", $example, $parse, $doc, true)
    };
    (@row $name:ident, $default:literal, $example:literal, $parse:expr, $doc:literal, $secret:literal) => {
        Setting {
            name: stringify!($name),
            default: $default,
            example: $example,
            doc: $doc,
            secret: $secret,
            set: |config, text| {
                config.$name = $parse(text)?;
                Ok(())
            },
        }
    };
}

/// Every setting, in the order of the contract.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting!(data, "skep.db", "FILE", value::path, "The database file"),
    setting!(listen, "127.0.0.1:8080", "HOST:PORT", value::listen, "Where to listen; port 0 picks a free one"),
    setting!(public_url, "", "URL", value::public_url, "How the outside reaches this server, base path included (default: the listening URL)"),
    setting!(trusted_proxies, "", "CIDR,…", value::cidrs, "Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"),
    setting!(workers, "32", "N", |text| value::number(text, 0, 4_096), "Runs executing at once; 0 accepts and queues only"),
    setting!(max_queued, "100000", "N", |text| value::number(text, 1, 1_000_000_000), "Runs that may wait; over it an invoke is answered 429"),
    setting!(max_direct, "1024", "N", |text| value::number(text, 0, 1_000_000), "Direct invokes that may wait for their run's end"),
    setting!(direct_timeout, "110s", "DURATION", value::positive_duration, "How long a direct invoke waits before it is answered 504; its run goes on"),
    setting!(senders, "64", "N", |text| value::number(text, 0, 4_096), "Deliveries being sent at once; 0 holds them back"),
    setting!(senders_per_origin, "4", "N", |text| value::number(text, 1, 4_096), "Deliveries being sent at once to one origin"),
    setting!(allow_outbound, "", "CIDR[:PORT]|HOST,…", value::list_text, "What outgoing requests may reach beside public addresses"),
    setting!(allow_outbound_callbacks, "", "CIDR[:PORT]|HOST,…", value::some_list_text, "Replaces allow_outbound for callbacks"),
    setting!(allow_outbound_steps, "", "CIDR[:PORT]|HOST,…", value::some_list_text, "Replaces allow_outbound for http steps"),
    setting!(allow_outbound_notifications, "", "CIDR[:PORT]|HOST,…", value::some_list_text, "Replaces allow_outbound for notifications"),
    setting!(ca_file, "", "FILE", value::some_path, "PEM file of authorities to believe beside those that browsers know, for HTTPS and mail"),
    setting!(smtp_url, "", "smtp[s]://[USER@]HOST[:PORT]", value::some_line, "The mail server; smtp:// asks for STARTTLS unless ?tls=optional or ?tls=none"),
    setting!(secret smtp_password, "PASSWORD", value::secret, "What the user of smtp_url signs in with"),
    setting!(mail_from, "", "ADDRESS", value::some_line, "Who writes the mails; needed with smtp_url"),
    setting!(mail_reply_to, "", "ADDRESS", value::some_line, "Where answers to mails go"),
    setting!(mail_subject, "", "TEXT", value::mail_subject, "A mail's subject, with {question} and {deployment} (default: words in the recipient's language)"),
    setting!(mail_timeout, "60s", "DURATION", value::positive_duration, "How long an attempt to hand a mail over may take"),
    setting!(secret telegram_token, "TOKEN", value::secret, "The Telegram bot that writes chat messages"),
    setting!(telegram_url, "https://api.telegram.org", "URL", value::base_url, "Where Telegram's bot API is"),
    setting!(secret master_key, "KEY", value::secret, "Seals the secrets in the database file"),
    setting!(secret admin_key, "KEY", value::admin_key, "An admin key that exists exactly while it is set; at least 24 characters"),
    setting!(secret metrics_key, "KEY", value::admin_key, "If set, /metrics asks for it, or for a read key; at least 24 characters"),
    setting!(retain_runs, "30d", "DURATION|forever", value::retention, "How long ended runs are kept"),
    setting!(retain_attempts, "30d", "DURATION|forever", value::retention, "How long the attempts of deliveries are kept"),
    setting!(downtime_grace, "1h", "DURATION", crate::time::parse_duration, "How long approvals that fell due while Skep was down still wait after the start"),
    setting!(max_connections, "8192", "N", |text| value::number(text, 1, 1_000_000), "Open connections, all peers together"),
    setting!(max_connections_per_peer, "2048", "N", |text| value::number(text, 1, 1_000_000), "Open connections of one peer"),
    setting!(body_limit, "1MiB", "SIZE", value::body_limit, "The largest request body; over it 413"),
    setting!(shutdown_grace, "7s", "DURATION", crate::time::parse_duration, "How long runs in execution may go on after a stop was asked"),
    setting!(log_level, "info", "LEVEL", value::log_level, "off, error, warn, info, debug or trace"),
    setting!(log_format, "text", "FORMAT", value::log_format, "text, or json: one object a line"),
];

impl Default for Config {
    /// The defaults of [`SETTINGS`]: what `skep serve` uses when nothing is set.
    fn default() -> Config {
        let mut config = Config::blank();
        for setting in SETTINGS
            .iter()
            .filter(|setting| !setting.default.is_empty())
        {
            (setting.set)(&mut config, setting.default)
                .expect("defaults are valid; a test says so");
        }
        config
    }
}

impl Config {
    /// What seals the secrets in the file: the first of these seals, each of them opens.
    pub fn master_keys(&self) -> Vec<String> {
        let keys = self.master_key.as_ref().map_or("", Secret::expose);
        let each = keys.split(',').map(|key| key.trim().to_owned());
        match self.master_key {
            Some(_) => each.collect(),
            None => Vec::new(),
        }
    }

    /// Before any default: so that the defaults stand in the table alone.
    fn blank() -> Config {
        Config {
            data: PathBuf::new(),
            listen: String::new(),
            public_url: None,
            trusted_proxies: Vec::new(),
            workers: 0,
            max_queued: 0,
            max_direct: 0,
            direct_timeout: Duration::ZERO,
            senders: 0,
            senders_per_origin: 0,
            allow_outbound: String::new(),
            allow_outbound_callbacks: None,
            allow_outbound_steps: None,
            allow_outbound_notifications: None,
            ca_file: None,
            smtp_url: None,
            smtp_password: None,
            mail_from: None,
            mail_reply_to: None,
            mail_subject: None,
            mail_timeout: Duration::ZERO,
            telegram_token: None,
            telegram_url: String::new(),
            master_key: None,
            admin_key: None,
            metrics_key: None,
            retain_runs: None,
            retain_attempts: None,
            downtime_grace: Duration::ZERO,
            max_connections: 0,
            max_connections_per_peer: 0,
            body_limit: 0,
            shutdown_grace: Duration::ZERO,
            log_level: log::LevelFilter::Off,
            log_format: LogFormat::Text,
        }
    }

    /// What an operator should hear at the start, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.public_url.is_none() && !value::is_loopback(&self.listen) {
            warnings.push(format!(
                "listening on {} without public_url: webhook URLs and links will name that address; set \
                 public_url to the URL that the outside uses",
                self.listen
            ));
        }
        let tells = self.smtp_url.is_some() || self.telegram_token.is_some();
        if tells && self.public_url.is_none() {
            warnings.push(
                "no public_url: the links in messages to people lead to the listening address; set public_url to \
                 the URL that their browsers reach"
                    .to_owned(),
            );
        }
        if self.smtp_url.is_none() {
            let idle = [
                ("smtp_password", self.smtp_password.is_some()),
                ("mail_from", self.mail_from.is_some()),
                ("mail_reply_to", self.mail_reply_to.is_some()),
                ("mail_subject", self.mail_subject.is_some()),
            ];
            for (name, _) in idle.into_iter().filter(|(_, is_set)| *is_set) {
                warnings.push(format!(
                    "{name} is set but smtp_url is not: no mail is sent"
                ));
            }
        }
        if self.master_key.is_none() {
            warnings.push(format!(
                "no master_key: secrets lie in {} in clear, protected by its file mode alone",
                self.data.display()
            ));
        }
        warnings
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// `skep.toml`, or the file given by `--config`.
    File(PathBuf),
    /// Nothing set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "flag --{flag}"),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// One setting as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: &'static str,
    /// As it was written; `set` or `not set` for a secret; empty for none.
    pub shown: String,
    /// Where it came from.
    pub origin: Origin,
}

/// The settings in force, and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// One for each row of [`SETTINGS`], in its order.
    pub found: Vec<Found>,
}

/// Finds every setting. `flag` answers what the command line says of a setting, by its name; `file` is `--config`.
pub fn load(flag: &dyn Fn(&str) -> Option<String>, file: Option<&Path>) -> Result<Loaded> {
    let file = match file {
        Some(path) => Some(read_file(path)?),
        None if Path::new(FILE).exists() => Some(read_file(Path::new(FILE))?),
        None => None,
    };
    resolve(&Sources {
        flag,
        variable: &variable,
        file,
    })
}

/// Where a folder for what is thrown away afterwards may be made: in the system's place for such, which others may write
/// to, by a name that nobody can guess.
pub fn scratch_folder(name: &str, dice: &Dice) -> PathBuf {
    let random = u128::from_be_bytes(dice.bytes());
    std::env::temp_dir().join(format!("{name}-{random:032x}"))
}

/// The server that client verbs talk to, and the key they show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Without a slash at the end.
    pub url: String,
    /// None: only what needs no key can be asked.
    pub key: Option<Secret>,
}

/// `--url` or `SKEP_URL`, and `--key` or `SKEP_KEY` (or `SKEP_KEY_FILE`).
pub fn client(url: Option<String>, key: Option<String>) -> Result<Client> {
    client_from(url, key, &variable)
}

fn client_from(
    url: Option<String>,
    key: Option<String>,
    variable: &Variables<'_>,
) -> Result<Client> {
    let (url, origin) = match url {
        Some(url) => (url, Origin::Flag("url".to_owned())),
        None => match variable("SKEP_URL")? {
            Some(url) => (url, Origin::Variable("SKEP_URL".to_owned())),
            None => (DEFAULT_URL.to_owned(), Origin::Default),
        },
    };
    let url = value::base_url(&url).map_err(|reason| wrong("url", &reason, &origin))?;
    let key = match key {
        Some(key) => Some(key),
        None => secret_variable("SKEP_KEY", variable)?.map(|(key, _)| key),
    };
    Ok(Client {
        url,
        key: key.map(Secret::new),
    })
}

type Variables<'a> = dyn Fn(&str) -> Result<Option<String>> + 'a;

/// The places a value may come from, strongest first.
struct Sources<'a> {
    flag: &'a dyn Fn(&str) -> Option<String>,
    variable: &'a Variables<'a>,
    file: Option<(PathBuf, toml::Table)>,
}

fn resolve(sources: &Sources<'_>) -> Result<Loaded> {
    if let Some((path, table)) = &sources.file {
        known_keys(path, table)?;
    }
    let mut config = Config::default();
    let mut found = Vec::with_capacity(SETTINGS.len());
    for setting in SETTINGS {
        let (text, origin) = match find(setting, sources)? {
            Some((text, origin)) => {
                (setting.set)(&mut config, &text)
                    .map_err(|reason| wrong(setting.name, &reason, &origin))?;
                (Some(text), origin)
            }
            None => (None, Origin::Default),
        };
        let shown = match (setting.secret, text) {
            (true, Some(_)) => "set".to_owned(),
            (true, None) => "not set".to_owned(),
            (false, text) => text.unwrap_or_else(|| setting.default.to_owned()),
        };
        found.push(Found {
            name: setting.name,
            shown,
            origin,
        });
    }
    Ok(Loaded { config, found })
}

fn find(setting: &Setting, sources: &Sources<'_>) -> Result<Option<(String, Origin)>> {
    let variable = setting.variable();
    if setting.secret {
        if let Some((text, name)) = secret_variable(&variable, sources.variable)? {
            return Ok(Some((text, Origin::Variable(name))));
        }
    } else if let Some(text) = (sources.flag)(setting.name) {
        return Ok(Some((text, Origin::Flag(setting.flag()))));
    } else if let Some(text) = (sources.variable)(&variable)? {
        return Ok(Some((text, Origin::Variable(variable))));
    }
    let Some((path, table)) = &sources.file else {
        return Ok(None);
    };
    let Some(value) = table.get(setting.name) else {
        return Ok(None);
    };
    let origin = Origin::File(path.clone());
    let text = value::from_toml(value).map_err(|reason| wrong(setting.name, &reason, &origin))?;
    Ok(Some((text, origin)))
}

/// A secret from `NAME`, or from the file that `NAME_FILE` names; with the variable it came by.
fn secret_variable(name: &str, variable: &Variables<'_>) -> Result<Option<(String, String)>> {
    let file_name = format!("{name}_FILE");
    match (variable(name)?, variable(&file_name)?) {
        (Some(_), Some(_)) => Err(Error::invalid(
            name,
            format!("{name} and {file_name} are both set: set one of them"),
        )),
        (Some(text), None) => Ok(Some((text, name.to_owned()))),
        (None, Some(path)) => {
            let text = read_secret_file(Path::new(&path)).map_err(|reason| {
                Error::invalid(
                    file_name.as_str(),
                    format!("{file_name}: cannot read {path}: {reason}"),
                )
            })?;
            Ok(Some((text, file_name)))
        }
        (None, None) => Ok(None),
    }
}

fn read_secret_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|fault| fault.to_string())?;
    file.take(SECRET_FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|fault| fault.to_string())?;
    if text.len() as u64 > SECRET_FILE_MAX {
        return Err("expected a secret of at most 64 KiB".to_owned());
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A variable; an empty one counts as not set, as in `SKEP_PUBLIC_URL= skep serve`.
fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::invalid(
            name,
            format!("the variable {name} is not UTF-8"),
        )),
    }
}

fn read_file(path: &Path) -> Result<(PathBuf, toml::Table)> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|fault| Error::invalid("config", format!("cannot read {shown}: {fault}")))?;
    let table = text.parse::<toml::Table>().map_err(|fault| {
        let line = fault.span().map_or(1, |span| {
            text[..span.start.min(text.len())].lines().count().max(1)
        });
        let reason = fault.message().replace('\n', ", ");
        Error::invalid("config", format!("{shown}, line {line}: {reason}"))
    })?;
    Ok((path.to_owned(), table))
}

fn known_keys(path: &Path, table: &toml::Table) -> Result<()> {
    for key in table.keys() {
        if SETTINGS.iter().all(|setting| setting.name != key) {
            let near = nearest(key)
                .map(|name| format!(", did you mean {name}?"))
                .unwrap_or_default();
            let message = format!("{}: there is no setting {key:?}{near}", path.display());
            return Err(Error::invalid(key.as_str(), message));
        }
    }
    Ok(())
}

/// The setting whose name is most like `key`, if one is like it at all.
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.replace('-', "_");
    SETTINGS
        .iter()
        .map(|setting| (strsim::jaro_winkler(setting.name, &key), setting.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

fn wrong(name: &str, reason: &str, origin: &Origin) -> Error {
    Error::invalid(name, format!("{name}: {reason} (from the {origin})"))
}
