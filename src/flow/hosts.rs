//! Host patterns: what a secret, a `hosts` list and an allow list name.
//!
//! Owns how a host is spelled for comparing. Resolves nothing, and judges no address.

use url::Host;

use crate::flow::names::excerpt;

/// One pattern: an exact name or address, or `*.suffix`; with `:port`, that port only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Exact(String),
    Below(String),
}

impl HostRule {
    /// Reads `api.example`, `api.example:8443`, `*.example`, `10.0.0.1`, `[::1]:80`.
    /// The error is a sentence that says what was expected.
    pub fn parse(text: &str) -> Result<HostRule, String> {
        let (host, port) = split_port(text)?;
        let name = match host.strip_prefix("*.") {
            Some(suffix) => match parse_host(suffix) {
                Some(Host::Domain(domain)) => Name::Below(canonical(&domain)),
                _ => return Err(wrong(text)),
            },
            None => Name::Exact(canonical(
                &parse_host(host).ok_or_else(|| wrong(text))?.to_string(),
            )),
        };
        Ok(HostRule { name, port })
    }

    /// Whether the pattern names this host, at this port. `*.example` names what is below `example`, not `example`.
    pub fn covers(&self, host: &str, port: u16) -> bool {
        let host = canonical(host);
        let named = match &self.name {
            Name::Exact(name) => *name == host,
            Name::Below(suffix) => host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        };
        named && self.port.is_none_or(|named| named == port)
    }

    /// The one name or address that the pattern is, in its [`canonical`] spelling; `None` for `*.suffix`.
    pub fn exact(&self) -> Option<&str> {
        match &self.name {
            Name::Exact(name) => Some(name),
            Name::Below(_) => None,
        }
    }

    /// The port, where the pattern names one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

/// Whether a callback may go to the host of `url`. The error is a sentence.
pub fn judge_callback_host(hosts: &[String], url: &url::Url) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let covers = |rule: &String| HostRule::parse(rule).is_ok_and(|rule| rule.covers(host, port));
    if hosts.iter().any(covers) {
        return Ok(());
    }
    Err(format!(
        "callback_url is forbidden: the host {} is not among the deployment's callback_hosts",
        excerpt(host)
    ))
}

/// One spelling for a host: lower case, no brackets, no final dot.
pub fn canonical(host: &str) -> String {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

/// `host:port`, `host`, `[v6]:port`, `[v6]` or a bare `v6`, taken apart; the brackets are dropped.
/// The error is a sentence.
pub fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let text = text.trim();
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(|| wrong(text))?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(wrong(text)),
        }
    } else if text.matches(':').count() == 1 {
        text.split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port)))
    } else {
        (text, None)
    };
    let port = match port {
        None => None,
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) => return Err(wrong(text)),
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                return Err(format!(
                    "{text:?}: expected a port from 1 to 65535, got {port:?}"
                ));
            }
        },
    };
    if host.is_empty() {
        Err(wrong(text))
    } else {
        Ok((host, port))
    }
}

fn parse_host(host: &str) -> Option<Host<String>> {
    let host = if host.contains(':') {
        Host::parse(&format!("[{host}]"))
    } else {
        Host::parse(host)
    };
    host.ok().filter(
        |host| !matches!(host, Host::Domain(domain) if domain.contains('*') || domain == "."),
    )
}

fn wrong(text: &str) -> String {
    format!(
        "expected a host such as api.example, api.example:8443, *.example or [::1]:80, got {text:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_its_host_and_no_other() {
        for (rule, host, port, covered) in [
            ("api.example", "api.example", 443, true),
            ("api.example", "API.example.", 80, true),
            ("api.example", "xapi.example", 443, false),
            ("api.example", "api.example.evil", 443, false),
            ("api.example:8443", "api.example", 8443, true),
            ("api.example:8443", "api.example", 443, false),
            ("*.example", "api.example", 443, true),
            ("*.example", "a.b.example", 443, true),
            ("*.example", "example", 443, false),
            ("*.example", ".example", 443, false),
            ("*.example", "badexample", 443, false),
            ("*.example:80", "api.example", 443, false),
            ("127.1", "127.0.0.1", 80, true),
            ("[::1]:80", "[::1]", 80, true),
            ("::1", "[::1]", 81, true),
            ("bücher.example", "xn--bcher-kva.example", 443, true),
        ] {
            assert_eq!(
                HostRule::parse(rule).expect(rule).covers(host, port),
                covered,
                "{rule} {host}:{port}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.example",
            "http://api.example",
            "api.example/x",
            "a b",
            ":80",
            "a:0",
            "a:x",
            "a:70000",
            "[::1",
            "[::1]x",
            "*.10.0.0.1",
            "a@b",
        ] {
            assert!(HostRule::parse(text).is_err(), "{text}");
        }
    }
}
