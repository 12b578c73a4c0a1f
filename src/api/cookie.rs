//! The session's cookie, and where a browser says that a request comes from. Pure: plain heads, no clock, no table.

use std::time::Duration;

use crate::api::call::Head;
use crate::api::edge::host_parts;
use crate::error::{Code, Error, Result};
use crate::flow::names::excerpt;

/// The header that repeats the session's `csrf`.
pub const CSRF: &str = "x-skep-csrf";

/// How browsers reach this server: what the cookie is called and sent to, and which origin is this server's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The origin of `public_url`; none: whichever host was asked, over plain HTTP.
    origin: Option<String>,
    name: &'static str,
    path: String,
    is_secure: bool,
}

impl Site {
    /// By `public_url`, if it is set. The name's prefix makes browsers hold to what it says: `__Host-` to this host and
    /// all of it, `__Secure-` to encrypted connections.
    pub fn of(public_url: Option<&str>) -> Site {
        let url = public_url.and_then(|url| url::Url::parse(url).ok());
        let base = url.as_ref().map_or("", |url| url.path());
        let base = base.trim_end_matches('/');
        let is_secure = url.as_ref().is_some_and(|url| url.scheme() == "https");
        Site {
            origin: url.as_ref().map(|url| url.origin().ascii_serialization()),
            name: match (is_secure, base) {
                (true, "") => "__Host-skep_session",
                (true, _) => "__Secure-skep_session",
                (false, _) => "skep_session",
            },
            path: format!("{base}/"),
            is_secure,
        }
    }

    /// What the cookie is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// `Set-Cookie` for that token; empty to take the cookie back.
    pub fn set_cookie(&self, token: &str, life: Duration) -> String {
        let (name, path) = (self.name, &self.path);
        let life = if token.is_empty() { 0 } else { life.as_secs() };
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!("{name}={token}; HttpOnly; SameSite=Strict; Path={path}; Max-Age={life}{secure}")
    }

    /// The token that came in the cookie. Of several, the first: browsers send the one with the longest path first.
    pub fn token<'a>(&self, head: &'a Head) -> Option<&'a str> {
        head.headers_of("cookie")
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == self.name)
            .map(|(_, token)| token)
    }

    /// Judges where a request with a cookie comes from.
    ///
    /// # Errors
    /// 403 when `Origin` is missing or not this server's own.
    pub fn judge_origin(&self, head: &Head) -> Result<()> {
        if head.header("origin").is_none() {
            return Err(forbidden(
                "The header Origin is missing: what a session's cookie may change is asked for by the dashboard's own \
                 pages. Programs send a key instead.",
            ));
        }
        self.judge_origin_if_any(head)
    }

    /// The same where it need not say: programs do not.
    ///
    /// # Errors
    /// 403 when `Origin` is there and not this server's own.
    pub fn judge_origin_if_any(&self, head: &Head) -> Result<()> {
        let host = head.header("host").unwrap_or_default();
        let foreign = head
            .headers_of("origin")
            .find(|came| !self.is_own(came, host));
        let Some(came) = foreign else { return Ok(()) };
        let came = excerpt(came);
        Err(forbidden(match &self.origin {
            Some(own) => format!(
                "The header Origin must be {own}, as public_url says, got {came:?}: open the dashboard there."
            ),
            None => format!(
                "The header Origin must be http:// and the host that is asked, got {came:?}: set public_url to the URL \
                 that browsers use."
            ),
        }))
    }

    fn is_own(&self, origin: &str, host: &str) -> bool {
        if let Some(own) = &self.origin {
            return origin == own;
        }
        let asked = origin.strip_prefix("http://").and_then(host_parts);
        match (asked, host_parts(host.trim())) {
            (Some((name, port)), Some((own, own_port))) => {
                name.eq_ignore_ascii_case(own) && port.unwrap_or(80) == own_port.unwrap_or(80)
            }
            _ => false,
        }
    }
}

/// The 403 of a request that may not have been meant by whoever is signed in.
pub fn forbidden(message: impl Into<String>) -> Error {
    Error::new(Code::InsufficientScope, message)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Head {
            method: "POST".to_owned(),
            path: "/v1/session".to_owned(),
            query: String::new(),
            headers: headers.iter().map(owned).collect(),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }

    #[test]
    fn the_cookie_is_as_strict_as_the_url_allows() {
        let life = Duration::from_secs(43_200);
        for (public_url, expected) in [
            (
                None,
                "skep_session=t; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200",
            ),
            (
                Some("http://skep.internal:8080/base"),
                "skep_session=t; HttpOnly; SameSite=Strict; Path=/base/; Max-Age=43200",
            ),
            (
                Some("https://skep.example"),
                "__Host-skep_session=t; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure",
            ),
            (
                Some("https://skep.example/a/b"),
                "__Secure-skep_session=t; HttpOnly; SameSite=Strict; Path=/a/b/; Max-Age=43200; \
                 Secure",
            ),
        ] {
            let site = Site::of(public_url);
            assert_eq!(site.set_cookie("t", life), expected);
            let gone = expected.replace("=t;", "=;").replace("43200", "0");
            assert_eq!(site.set_cookie("", life), gone);
        }
    }

    #[test]
    fn the_token_is_found_among_other_cookies_by_its_whole_name() {
        let site = Site::of(None);
        for (lines, expected) in [
            (&["skep_session=t"][..], Some("t")),
            (&["a=b; skep_session=t;c=d"], Some("t")),
            (&["a=b", "skep_session=t"], Some("t")),
            (&["skep_session=t; skep_session=u"], Some("t")),
            (&["skep_session="], Some("")),
            (&["xskep_session=t"], None),
            (&["__Host-skep_session=t"], None),
            (&["Skep_Session=t"], None),
            (&["skep_session"], None),
            (&["a=skep_session=t"], None),
            (&[], None),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            assert_eq!(site.token(&head(&headers)), expected, "{lines:?}");
        }
    }

    #[test]
    fn only_the_own_origin_may_change_something() {
        let public = Site::of(Some("https://skep.example/base"));
        let local = Site::of(None);
        for (site, host, origin, own) in [
            (&public, "skep.example", "https://skep.example", true),
            (&public, "10.0.0.7:8080", "https://skep.example", true),
            (&public, "skep.example", "https://skep.example:443", false),
            (&public, "skep.example", "http://skep.example", false),
            (
                &public,
                "skep.example",
                "https://skep.example.evil.example",
                false,
            ),
            (&public, "evil.example", "https://evil.example", false),
            (&public, "skep.example", "null", false),
            (&public, "skep.example", "", false),
            (&local, "127.0.0.1:8080", "http://127.0.0.1:8080", true),
            (&local, "LOCALHOST:8080", "http://localhost:8080", true),
            (&local, "localhost", "http://localhost", true),
            (&local, "[::1]:8080", "http://[::1]:8080", true),
            (&local, "127.0.0.1:8080", "http://127.0.0.1:8081", false),
            (&local, "127.0.0.1:8080", "http://localhost:8080", false),
            (&local, "127.0.0.1:8080", "https://127.0.0.1:8080", false),
            (&local, "127.0.0.1:8080", "http://evil.example", false),
            (&local, "127.0.0.1:8080", "null", false),
            (&local, "", "http://", false),
        ] {
            let head = head(&[("host", host), ("origin", origin)]);
            assert_eq!(site.judge_origin(&head).is_ok(), own, "{host} {origin}");
            assert_eq!(site.judge_origin_if_any(&head).is_ok(), own);
        }
        let silent = head(&[("host", "skep.example")]);
        assert!(public.judge_origin_if_any(&silent).is_ok());
        let refused = public.judge_origin(&silent).expect_err("it must say");
        assert_eq!(refused.status(), 403);
        assert!(refused.message.contains("Origin is missing"));
        let two = head(&[
            ("origin", "https://skep.example"),
            ("origin", "https://evil.example"),
        ]);
        assert!(public.judge_origin(&two).is_err());
    }
}
