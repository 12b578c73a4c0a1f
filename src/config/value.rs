//! Reads one setting's text. Each error is a piece of a sentence: what was expected, what came.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::{LogFormat, Secret};
use crate::time::parse_duration;

type Read<T> = Result<T, String>;

/// Below this an admin key could be guessed (contract, section 2).
const ADMIN_KEY_MIN: usize = 24;

/// A request body is held in memory whole.
const BODY_LIMIT_MAX: u64 = 1024 * 1024 * 1024;

pub(super) fn path(text: &str) -> Read<PathBuf> {
    match text {
        "" => Err("expected a file name, got an empty text".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

pub(super) fn some_path(text: &str) -> Read<Option<PathBuf>> {
    path(text).map(Some)
}

/// A text of one line that another room reads.
pub(super) fn some_line(text: &str) -> Read<Option<String>> {
    match text.trim() {
        "" => Err("expected a text, got an empty one".to_owned()),
        text if text.chars().any(char::is_control) => {
            Err("expected one line without control characters".to_owned())
        }
        text => Ok(Some(text.to_owned())),
    }
}

/// One line that holds no braces but those of what is filled in.
pub(super) fn mail_subject(text: &str) -> Read<Option<String>> {
    let rest = text.replace("{question}", "").replace("{deployment}", "");
    match rest.contains(['{', '}']) {
        true => Err(format!(
            "expected no braces but {{question}} and {{deployment}}, got {text:?}"
        )),
        false => some_line(text),
    }
}

/// `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn listen(text: &str) -> Read<String> {
    match split_host_port(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "expected HOST:PORT such as 127.0.0.1:8080 or [::1]:8080, got {text:?}"
        )),
    }
}

fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = match bracketed {
        Some(inner) => inner
            .parse::<std::net::Ipv6Addr>()
            .is_ok()
            .then_some(inner)?,
        None => host,
    };
    let sound = bracketed.is_some() || !host.contains([':', '/', ' ', '[', ']']);
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (sound && digits && !host.is_empty()).then_some(())?;
    Some((host, port.parse().ok()?))
}

/// Whether only this machine can reach what listens there.
pub(super) fn is_loopback(listen: &str) -> bool {
    split_host_port(listen).is_some_and(|(host, _)| match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    })
}

pub(super) fn public_url(text: &str) -> Read<Option<String>> {
    base_url(text).map(Some)
}

/// An absolute http(s) URL with a host and nothing behind the path; without the slash at the end.
pub(super) fn base_url(text: &str) -> Read<String> {
    let wrong = |what: &str| format!("expected {what}, got {text:?}");
    let url = Url::parse(text).map_err(|_| wrong("a URL such as https://skep.example"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("an http or https URL with a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without a user name or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a URL without ? and #"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// A list without empty entries.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

pub(super) fn cidrs(text: &str) -> Read<Vec<String>> {
    entries(text)
        .map(|entry| match is_cidr(entry) {
            true => Ok(entry.to_owned()),
            false => Err(format!(
                "expected addresses or CIDRs such as 10.0.0.0/8, got {entry:?}"
            )),
        })
        .collect()
}

fn is_cidr(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    prefix.is_none_or(|prefix| {
        prefix.bytes().all(|byte| byte.is_ascii_digit())
            && prefix.parse::<u8>().is_ok_and(|length| length <= longest)
    })
}

/// A comma-separated list that another room reads; here only its spaces are tidied.
pub(super) fn list_text(text: &str) -> Read<String> {
    Ok(entries(text).collect::<Vec<_>>().join(","))
}

pub(super) fn some_list_text(text: &str) -> Read<Option<String>> {
    list_text(text).map(Some)
}

/// A whole number within bounds, both included.
pub(super) fn number<N: Copy + FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    least: N,
    most: N,
) -> Read<N> {
    match text.parse::<N>() {
        Ok(number) if number >= least && number <= most => Ok(number),
        _ => Err(format!(
            "expected a whole number from {least} to {most}, got {text:?}"
        )),
    }
}

pub(super) fn positive_duration(text: &str) -> Read<Duration> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("expected a duration above zero, got {text:?}")),
        duration => Ok(duration),
    }
}

/// A duration, or `forever`.
pub(super) fn retention(text: &str) -> Read<Option<Duration>> {
    match text {
        "forever" => Ok(None),
        text => parse_duration(text)
            .map(Some)
            .map_err(|reason| format!("{reason}, or forever")),
    }
}

pub(super) fn body_limit(text: &str) -> Read<usize> {
    let bytes = size(text)?;
    match usize::try_from(bytes) {
        Ok(limit) if (1..=BODY_LIMIT_MAX).contains(&bytes) => Ok(limit),
        _ => Err(format!("expected a size from 1 byte to 1GiB, got {text:?}")),
    }
}

/// Plain bytes, or a whole number and `B`, `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Read<u64> {
    let wrong = || format!("expected a size such as 64KiB, 1MiB or plain bytes, got {text:?}");
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..split].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[split..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

pub(super) fn secret(text: &str) -> Read<Option<Secret>> {
    match text.trim().is_empty() {
        true => Err("expected a secret, got an empty text".to_owned()),
        false => Ok(Some(Secret::new(text))),
    }
}

pub(super) fn admin_key(text: &str) -> Read<Option<Secret>> {
    let length = text.chars().count();
    if length < ADMIN_KEY_MIN {
        return Err(format!(
            "expected at least {ADMIN_KEY_MIN} characters, got {length}"
        ));
    }
    // It travels in a header, which holds no control characters and loses spaces at its ends.
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err("expected no control characters, and no spaces at its ends".to_owned());
    }
    Ok(Some(Secret::new(text)))
}

pub(super) fn log_level(text: &str) -> Read<log::LevelFilter> {
    const LEVELS: [(&str, log::LevelFilter); 6] = [
        ("off", log::LevelFilter::Off),
        ("error", log::LevelFilter::Error),
        ("warn", log::LevelFilter::Warn),
        ("info", log::LevelFilter::Info),
        ("debug", log::LevelFilter::Debug),
        ("trace", log::LevelFilter::Trace),
    ];
    LEVELS
        .into_iter()
        .find(|(name, _)| *name == text)
        .map(|(_, level)| level)
        .ok_or_else(|| {
            let names = LEVELS.map(|(name, _)| name).join(", ");
            format!("expected one of {names}, got {text:?}")
        })
}

pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("expected text or json, got {other:?}")),
    }
}

/// A value of `skep.toml` as it would be written in a flag; a list becomes comma-separated.
pub(super) fn from_toml(value: &toml::Value) -> Read<String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Array(items) => {
            let texts = items.iter().map(|item| match item {
                toml::Value::String(text) => Ok(text.as_str()),
                other => Err(format!(
                    "expected a list of texts, got {} in it",
                    kind(other)
                )),
            });
            Ok(texts.collect::<Read<Vec<_>>>()?.join(","))
        }
        other => Err(format!(
            "expected a text, a whole number or a list of texts, got {}",
            kind(other)
        )),
    }
}

fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a text",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a fraction",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}
