//! Judgements over a head, before anything behind the edge sees it.
//!
//! Owns framing, Host, whom to believe about the client's address, and the base path. Pure: no socket, no
//! HTTP library, no clock.

use std::net::{IpAddr, Ipv6Addr};

use crate::api::call::Head;
use crate::error::{Code, Error, Result};

/// What a request line says beside method, path and query.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Whether it is HTTP/1.1; else HTTP/1.0.
    pub is_11: bool,
    /// The scheme and the authority of an absolute-form target.
    pub authority: Option<(&'a str, &'a str)>,
}

/// Bytes of one request target; over it 414.
pub const MAX_TARGET: usize = 8 << 10;

/// A request refused for its form; the connection is closed after it.
pub fn bad_request(status: u16, message: impl Into<String>) -> Error {
    let mut error = Error::new(Code::BadRequest, message);
    error.status = Some(status);
    error
}

/// Judges the form of a request: Host, Transfer-Encoding, Expect, target. The parser has judged the rest.
/// `public_host`: when given, only `localhost`, a literal address or this name may be asked for.
pub fn framing(head: &Head, line: Line<'_>, public_host: Option<&str>) -> Result<()> {
    // RFC 9112, 3.2: exactly one Host in HTTP/1.1; HTTP/1.0 may have none.
    let host = match values(head, "host")[..] {
        [host] => Some(
            host_parts(host).ok_or_else(|| bad_request(400, "The Host header is not valid."))?,
        ),
        [] if !line.is_11 => None,
        ref hosts => {
            return Err(bad_request(
                400,
                format!("expected exactly one Host header, got {}", hosts.len()),
            ));
        }
    };
    // Two layers that read a message's length differently can be made to see different requests.
    match values(head, "transfer-encoding")[..] {
        [] => {}
        [coding] if coding.eq_ignore_ascii_case("chunked") => {}
        _ => {
            return Err(bad_request(
                501,
                "Transfer-Encoding: only a single \"chunked\" is implemented.",
            ));
        }
    }
    if !values(head, "expect")
        .iter()
        .all(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        return Err(bad_request(417, "Expect: only 100-continue is known."));
    }
    target(head, line, host)?;
    match (host, public_host) {
        (Some((name, _)), Some(public)) if !may_name_loopback(name, public) => Err(bad_request(
            400,
            "This Host is not served here: expected localhost, a literal address, or public_url's host.",
        )),
        _ => Ok(()),
    }
}

/// The 413, which names the limit.
pub fn too_large(limit: usize) -> Error {
    Error::new(
        Code::BodyTooLarge,
        format!("The body is over the limit of {limit} bytes."),
    )
    .with("limit", limit)
}

fn target(head: &Head, line: Line<'_>, host: Option<(&str, Option<u16>)>) -> Result<()> {
    if head.method == "CONNECT" {
        return Err(bad_request(400, "CONNECT: this is not a proxy."));
    }
    if !(head.path.starts_with('/') || head.path == "*") {
        return Err(bad_request(400, "expected a request target that is a path"));
    }
    if head.path.len() + head.query.len() > MAX_TARGET {
        let message = format!("The request target is over the limit of {MAX_TARGET} bytes.");
        return Err(bad_request(414, message));
    }
    let Some((scheme, authority)) = line.authority else {
        return Ok(());
    };
    // RFC 9110, 7.4: what was meant for a secured connection is not answered on another.
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(bad_request(400, "expected a request target of scheme http"));
    }
    let same = match (host_parts(authority), host) {
        (Some((name, port)), Some((other, other_port))) => {
            // Only plain HTTP is spoken here, so an absent port is 80.
            name.eq_ignore_ascii_case(other) && port.unwrap_or(80) == other_port.unwrap_or(80)
        }
        _ => false,
    };
    if same {
        Ok(())
    } else {
        Err(bad_request(
            400,
            "The request target names another host than the Host header.",
        ))
    }
}

fn values<'a>(head: &'a Head, name: &str) -> Vec<&'a str> {
    head.headers
        .iter()
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value.trim())
        .collect()
}

/// The name and port of a Host value or an authority without userinfo; `None` if it is not valid.
pub fn host_parts(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, rest) = match text.strip_prefix('[') {
        Some(inside) => {
            let (address, rest) = inside.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            (address, rest)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let known =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            if name.is_empty() || !name.bytes().all(known) {
                return None;
            }
            (name, rest)
        }
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((name, None)),
        None => None,
        Some("") => Some((name, None)),
        // `u16::from_str` would take a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((name, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

/// Whether a browser that was led here by DNS rebinding could not have sent this name.
fn may_name_loopback(name: &str, public_host: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.eq_ignore_ascii_case(public_host)
        || name.parse::<IpAddr>().is_ok()
}

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Reads a range. The error is a sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Cidr, String> {
        let wrong = || format!("expected an address or a range such as 10.0.0.0/8, got {text:?}");
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let base: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= most)
                .ok_or_else(wrong)?,
            Some(_) => return Err(wrong()),
        };
        Ok(Cidr { base, prefix })
    }

    /// Whether the address is in the range. `::ffff:a.b.c.d` counts as `a.b.c.d`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(other)) => {
                (u32::from(base) ^ u32::from(other)).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(base), IpAddr::V6(other)) => {
                (u128::from(base) ^ u128::from(other)).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether that peer's word on its clients is believed.
pub fn is_trusted(peer: IpAddr, trusted: &[Cidr]) -> bool {
    trusted.iter().any(|range| range.contains(peer))
}

/// Who the client is. Of a trusted peer, the rightmost address in `X-Forwarded-For` that is not itself a
/// trusted proxy; of any other, the peer, and what it says about forwarding is taken out of `headers`.
pub fn client(peer: IpAddr, headers: &mut Vec<(String, String)>, trusted: &[Cidr]) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        headers.retain(|(name, _)| name != "forwarded" && !name.starts_with("x-forwarded-"));
        return peer;
    }
    let lines = headers
        .iter()
        .filter(|(name, _)| name == "x-forwarded-for")
        .map(|(_, value)| value);
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut client = peer;
    for hop in hops.iter().rev() {
        // What stands left of something unreadable may be made up.
        let Some(address) = hop_address(hop.trim()) else {
            break;
        };
        client = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// An address, with or without a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = match hop
        .strip_prefix('[')
        .and_then(|inside| inside.split_once(']'))
    {
        Some((address, _)) => address,
        None => hop.parse::<IpAddr>().map_or_else(
            |_| hop.split_once(':').map_or(hop, |(address, _)| address),
            |_| hop,
        ),
    };
    bare.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

/// What counts as one peer: an IPv4 address, or an IPv6 network of 64 bits, which is what one host is given.
pub fn peer_group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
    }
}

/// The path without `public_url`'s base path, if it begins with it: a proxy may or may not have taken it away. The base
/// path without a slash behind it stays, so that it can be told from the one with a slash.
pub fn without_base<'a>(path: &'a str, base: &str) -> &'a str {
    match path.strip_prefix(base) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Head {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            headers: headers.iter().map(owned).collect(),
            peer: IpAddr::from([192, 0, 2, 1]),
        }
    }

    const LINE: Line<'_> = Line {
        is_11: true,
        authority: None,
    };

    fn status(head: &Head, line: Line<'_>, public_host: Option<&str>) -> u16 {
        framing(head, line, public_host).map_or_else(|error| error.status(), |()| 200)
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (text, expected) in [
            ("a.example", Some(("a.example", None))),
            ("a.example:80", Some(("a.example", Some(80)))),
            ("a.example:", Some(("a.example", None))),
            ("[::1]:8080", Some(("::1", Some(8080)))),
            ("[::1]", Some(("::1", None))),
            ("", None),
            (":80", None),
            ("a b", None),
            ("u@a", None),
            ("a/b", None),
            ("a:80:80", None),
            ("a:+80", None),
            ("a:99999", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[zz]", None),
            ("ü", None),
        ] {
            assert_eq!(host_parts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn framing_that_two_layers_could_read_differently_is_refused() {
        let ok = ("host", "a");
        for (expected, headers) in [
            (200, vec![ok]),
            (400, vec![]),
            (400, vec![ok, ok]),
            (400, vec![("host", "a b")]),
            (200, vec![ok, ("transfer-encoding", "Chunked")]),
            (501, vec![ok, ("transfer-encoding", "gzip, chunked")]),
            (501, vec![ok, ("transfer-encoding", "chunked, chunked")]),
            (
                501,
                vec![
                    ok,
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
            ),
            (501, vec![ok, ("transfer-encoding", "")]),
            (200, vec![ok, ("expect", "100-Continue")]),
            (417, vec![ok, ("expect", "a-miracle")]),
            (
                417,
                vec![ok, ("expect", "100-continue"), ("expect", "more")],
            ),
        ] {
            assert_eq!(
                status(&head("GET", "/", &headers), LINE, None),
                expected,
                "{headers:?}"
            );
        }
        let old = Line {
            is_11: false,
            authority: None,
        };
        assert_eq!(status(&head("GET", "/", &[]), old, None), 200);
        assert_eq!(status(&head("GET", "/", &[ok, ok]), old, None), 400);
    }

    #[test]
    fn a_target_is_a_path_or_names_the_same_host() {
        let long = "/".repeat(MAX_TARGET + 1);
        for (expected, method, path, authority, host) in [
            (200, "GET", "/", Some(("http", "a.example")), "A.example:80"),
            (400, "GET", "/", Some(("https", "a.example")), "a.example"),
            (400, "GET", "/", Some(("http", "b.example")), "a.example"),
            (400, "GET", "/", Some(("http", "a.example:81")), "a.example"),
            (400, "GET", "/", Some(("http", "u@a.example")), "a.example"),
            (400, "GET", "", Some(("http", "a.example")), "a.example"),
            (
                400,
                "CONNECT",
                "",
                Some(("", "a.example:80")),
                "a.example:80",
            ),
            (200, "OPTIONS", "*", None, "a.example"),
            (200, "GET", &long[1..], None, "a.example"),
            (414, "GET", &long, None, "a.example"),
        ] {
            let head = head(method, path, &[("host", host)]);
            let line = Line {
                is_11: true,
                authority,
            };
            assert_eq!(
                status(&head, line, None),
                expected,
                "{method} {path} {authority:?} {host}"
            );
        }
    }

    #[test]
    fn on_loopback_a_foreign_name_is_refused() {
        for (expected, host) in [
            (200, "localhost:8080"),
            (200, "LOCALHOST."),
            (200, "127.0.0.1:8080"),
            (200, "[::1]:8080"),
            (200, "192.0.2.7"),
            (200, "skep.example"),
            (400, "evil.example"),
            (400, "localhost.evil.example"),
            (400, "127.0.0.1.evil.example"),
        ] {
            assert_eq!(
                status(
                    &head("GET", "/", &[("host", host)]),
                    LINE,
                    Some("skep.example")
                ),
                expected,
                "{host}"
            );
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ranges_hold_what_they_say() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::1", "::1", "::2"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.100"),
        ] {
            let range = Cidr::parse(range).expect("a range");
            assert!(range.contains(address(inside)), "{range:?} {inside}");
            assert!(!range.contains(address(outside)), "{range:?} {outside}");
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "ten",
            "10.0.0/8",
        ] {
            assert!(Cidr::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed_about_the_client() {
        let trusted = [Cidr::parse("10.0.0.0/8").expect("a range")];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["6.6.6.6, 198.51.100.1, 10.0.0.2"],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["6.6.6.6", "198.51.100.1:4711"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
        ] {
            let mut headers: Vec<(String, String)> = forwarded
                .iter()
                .map(|value| ("x-forwarded-for".to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(
                client(address(peer), &mut headers, &trusted),
                address(expected),
                "{peer} {forwarded:?}"
            );
        }
        let mut headers = vec![("x-forwarded-proto".to_owned(), "https".to_owned())];
        client(address("203.0.113.9"), &mut headers, &trusted);
        assert_eq!(headers, [], "an untrusted peer's word is taken out");
    }

    #[test]
    fn one_host_with_a_whole_ipv6_network_is_one_peer() {
        assert_eq!(
            peer_group(address("2001:db8::1")),
            peer_group(address("2001:db8::ffff:2"))
        );
        assert_ne!(
            peer_group(address("2001:db8::1")),
            peer_group(address("2001:db8:0:1::1"))
        );
        assert_eq!(
            peer_group(address("::ffff:192.0.2.1")),
            address("192.0.2.1")
        );
    }

    #[test]
    fn the_base_path_may_be_there_or_not() {
        for (path, base, expected) in [
            ("/skep/v1/x", "/skep", "/v1/x"),
            ("/v1/x", "/skep", "/v1/x"),
            ("/skep", "/skep", "/skep"),
            ("/skep/", "/skep", "/"),
            ("/skeptic", "/skep", "/skeptic"),
            ("/v1/x", "", "/v1/x"),
            ("", "", ""),
        ] {
            assert_eq!(without_base(path, base), expected, "{path} {base}");
        }
    }
}
