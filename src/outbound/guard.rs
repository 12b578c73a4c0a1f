//! Where outgoing requests may go.
//!
//! Owns the table of addresses that are not public, the allow lists, and Skep's own listeners. Opens no socket: it
//! judges an address before it is connected to, and again once it is.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use url::{Host, Url};

use super::Purpose;
use crate::error::{Code, Error};
use crate::flow::hosts::{HostRule, canonical, split_port};

/// A block of addresses, as IPv6 bits; IPv4 lies mapped at `::ffff:0:0/96`, so that each is judged by the inner one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    base: u128,
    bits: u32,
}

const MAPPED: u128 = 0xffff << 32;

impl Block {
    const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u32) -> Block {
        Block {
            base: MAPPED | u32::from_be_bytes([a, b, c, d]) as u128,
            bits: bits + 96,
        }
    }

    const fn v6(a: u16, b: u16, c: u16, bits: u32) -> Block {
        Block {
            base: (a as u128) << 112 | (b as u128) << 96 | (c as u128) << 80,
            bits,
        }
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.bits).unwrap_or(0)
    }

    fn holds(self, ip: u128) -> bool {
        (ip ^ self.base) & self.mask() == 0
    }

    /// The same for a block that a person allowed: one of IPv6 (`::/0`) does not speak of the IPv4 that lies mapped in
    /// it, unless it lies within that itself.
    fn names(self, ip: u128) -> bool {
        let mapped = ip >> 32 == MAPPED >> 32;
        self.holds(ip) && (!mapped || self.bits >= 96)
    }
}

/// Every block that is not global unicast, from the IANA special-purpose registries (RFC 6890 and successors), the
/// IPv6 address space registry, and one address that a cloud gives its hosts. The narrower block stands first.
const NOT_PUBLIC: &[(Block, &str)] = &[
    (
        Block::v4(168, 63, 129, 16, 32),
        "cloud metadata (168.63.129.16)",
    ),
    (
        Block::v4(169, 254, 169, 254, 32),
        "cloud metadata (169.254.169.254)",
    ),
    (Block::v4(0, 0, 0, 0, 32), "unspecified"),
    (Block::v4(0, 0, 0, 0, 8), "this network (0.0.0.0/8)"),
    (Block::v4(10, 0, 0, 0, 8), "private (10.0.0.0/8)"),
    (
        Block::v4(100, 64, 0, 0, 10),
        "shared address space (100.64.0.0/10)",
    ),
    (Block::v4(127, 0, 0, 0, 8), "loopback (127.0.0.0/8)"),
    (Block::v4(169, 254, 0, 0, 16), "link-local (169.254.0.0/16)"),
    (Block::v4(172, 16, 0, 0, 12), "private (172.16.0.0/12)"),
    (
        Block::v4(192, 0, 0, 0, 24),
        "protocol assignments (192.0.0.0/24)",
    ),
    (Block::v4(192, 0, 2, 0, 24), "documentation (192.0.2.0/24)"),
    (Block::v4(192, 31, 196, 0, 24), "AS112 (192.31.196.0/24)"),
    (Block::v4(192, 52, 193, 0, 24), "AMT (192.52.193.0/24)"),
    (
        Block::v4(192, 88, 99, 0, 24),
        "6to4 relays (192.88.99.0/24)",
    ),
    (Block::v4(192, 168, 0, 0, 16), "private (192.168.0.0/16)"),
    (Block::v4(192, 175, 48, 0, 24), "AS112 (192.175.48.0/24)"),
    (Block::v4(198, 18, 0, 0, 15), "benchmarking (198.18.0.0/15)"),
    (
        Block::v4(198, 51, 100, 0, 24),
        "documentation (198.51.100.0/24)",
    ),
    (
        Block::v4(203, 0, 113, 0, 24),
        "documentation (203.0.113.0/24)",
    ),
    (Block::v4(224, 0, 0, 0, 4), "multicast (224.0.0.0/4)"),
    (Block::v4(255, 255, 255, 255, 32), "broadcast"),
    (Block::v4(240, 0, 0, 0, 4), "reserved (240.0.0.0/4)"),
    (Block { base: 0, bits: 128 }, "unspecified"),
    (Block { base: 1, bits: 128 }, "loopback (::1)"),
    (Block::v6(0, 0, 0, 96), "IPv4-compatible (::/96)"),
    (
        Block::v6(0x64, 0xff9b, 1, 48),
        "local NAT64 (64:ff9b:1::/48)",
    ),
    (Block::v6(0x64, 0xff9b, 0, 96), "NAT64 (64:ff9b::/96)"),
    (Block::v6(0x100, 0, 0, 64), "discard-only (100::/64)"),
    (Block::v6(0x2001, 0, 0, 32), "Teredo (2001::/32)"),
    (
        Block::v6(0x2001, 0, 0, 23),
        "protocol assignments (2001::/23)",
    ),
    (
        Block::v6(0x2001, 0xdb8, 0, 32),
        "documentation (2001:db8::/32)",
    ),
    (Block::v6(0x2002, 0, 0, 16), "6to4 (2002::/16)"),
    (
        Block::v6(0x2620, 0x4f, 0x8000, 48),
        "AS112 (2620:4f:8000::/48)",
    ),
    (Block::v6(0x3fff, 0, 0, 20), "documentation (3fff::/20)"),
    (Block::v6(0x5f00, 0, 0, 16), "segment routing (5f00::/16)"),
    (Block::v6(0xfc00, 0, 0, 7), "private (fc00::/7)"),
    (Block::v6(0xfe80, 0, 0, 10), "link-local (fe80::/10)"),
    (Block::v6(0xfec0, 0, 0, 10), "site-local (fec0::/10)"),
    (Block::v6(0xff00, 0, 0, 8), "multicast (ff00::/8)"),
];

/// All of IPv6 that is given out as global unicast.
const GLOBAL_V6: Block = Block::v6(0x2000, 0, 0, 3);

/// The class of an address that is not global unicast (`"loopback (127.0.0.0/8)"`); `None` for a public one.
/// A v4-mapped address is judged by the IPv4 address in it.
pub fn forbidden(ip: IpAddr) -> Option<&'static str> {
    let ip = bits(ip);
    let listed = NOT_PUBLIC
        .iter()
        .find(|(block, _)| block.holds(ip))
        .map(|(_, class)| *class);
    let given_out = ip >> 32 == 0xffff || GLOBAL_V6.holds(ip);
    listed.or((!given_out).then_some("reserved (outside 2000::/3)"))
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// What may be reached although it is not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Rule>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Block(Block, Option<u16>),
    Host(HostRule),
}

impl AllowList {
    /// Reads the setting: comma-separated CIDRs or addresses (`10.0.0.0/8:8080`, `[fd00::/8]:443`, `192.168.1.5`) and
    /// exact host names (`printer.local:631`). A block of IPv6 covers no IPv4, unless it lies within `::ffff:0:0/96`; one
    /// of IPv4 covers it mapped too. The error is a sentence naming the entry.
    pub fn parse(text: &str) -> Result<AllowList, String> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        Ok(AllowList(
            entries.map(parse_rule).collect::<Result<_, _>>()?,
        ))
    }

    /// All loopback addresses: what `skep demo` and `skep dev` allow.
    pub fn loopback() -> AllowList {
        let blocks = [Block::v4(127, 0, 0, 0, 8), Block { base: 1, bits: 128 }];
        AllowList(
            blocks
                .into_iter()
                .map(|block| Rule::Block(block, None))
                .collect(),
        )
    }

    fn covers(&self, host: &str, ip: IpAddr, port: u16) -> bool {
        self.0.iter().any(|rule| match rule {
            Rule::Block(block, only) => {
                block.names(bits(ip)) && only.is_none_or(|only| only == port)
            }
            Rule::Host(rule) => rule.covers(host, port),
        })
    }
}

fn parse_rule(entry: &str) -> Result<Rule, String> {
    let (host, port) = split_port(entry)?;
    let Some((address, length)) = host.split_once('/') else {
        let rule = HostRule::parse(entry)?;
        let Some(name) = rule.exact() else {
            return Err(format!(
                "{entry:?}: expected an exact host name, not a pattern"
            ));
        };
        return Ok(match name.parse().map(bits) {
            Ok(base) => Rule::Block(Block { base, bits: 128 }, rule.port()),
            Err(_) => Rule::Host(rule),
        });
    };
    let wrong = || {
        format!(
            "expected a block such as 10.0.0.0/8, [fd00::/8]:443 or 10.0.0.0/8:8080, got {entry:?}"
        )
    };
    let ip: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let length: u32 = length
        .parse()
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(wrong)?;
    let block = Block {
        base: bits(ip),
        bits: length + 128 - most,
    };
    let base = block.base & block.mask();
    if base != block.base {
        let first = Ipv6Addr::from_bits(base);
        let first = if ip.is_ipv4() {
            IpAddr::from(first).to_canonical()
        } else {
            IpAddr::from(first)
        };
        return Err(format!(
            "{entry:?} has bits set behind its /{length}: the block begins at {first}"
        ));
    }
    Ok(Rule::Block(block, port))
}

/// Judges every address that a request is about to be sent to.
#[derive(Debug, Default)]
pub struct Guard {
    general: AllowList,
    special: Vec<(Purpose, AllowList)>,
    own: RwLock<Vec<SocketAddr>>,
}

impl Guard {
    /// A guard with the list that applies where [`Guard::with`] names no other.
    pub fn new(general: AllowList) -> Guard {
        Guard {
            general,
            ..Guard::default()
        }
    }

    /// The same guard, with a list that replaces the general one for one purpose.
    pub fn with(mut self, purpose: Purpose, list: AllowList) -> Guard {
        self.special.retain(|(other, _)| *other != purpose);
        self.special.push((purpose, list));
        self
    }

    /// Names Skep's own listeners, once they are bound. They are never reached, whatever is allowed.
    pub fn set_own(&self, listeners: Vec<SocketAddr>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = listeners;
    }

    /// Judges one address of `host`. Every address that a name resolves to must pass. The error names the class of
    /// the address and the setting that allows it.
    pub fn judge(
        &self,
        host: &str,
        ip: IpAddr,
        port: u16,
        purpose: Purpose,
        public_only: bool,
    ) -> Result<(), String> {
        let ip = ip.to_canonical();
        if self.is_own(ip, port) {
            return Err(own_listener(ip, port));
        }
        let Some(class) = forbidden(ip) else {
            return Ok(());
        };
        let literal = canonical(host).parse::<IpAddr>().is_ok();
        let what = if literal {
            format!("{ip} is {class}")
        } else {
            format!("{host} resolves to {ip}, which is {class}")
        };
        if public_only {
            return Err(format!(
                "{what}: a step whose host comes from a template reaches only public addresses, unless it lists hosts"
            ));
        }
        let list = self
            .special
            .iter()
            .find(|(other, _)| *other == purpose)
            .map_or(&self.general, |(_, list)| list);
        if list.covers(host, ip, port) {
            return Ok(());
        }
        Err(format!(
            "{what}: outgoing requests may not go there unless allow_outbound or {} names it",
            setting(purpose)
        ))
    }

    /// Judges an established connection: one from an address to itself, at a listener's port, reached Skep.
    pub fn judge_connected(&self, local: SocketAddr, peer: SocketAddr) -> Result<(), String> {
        let (local, ip) = (local.ip().to_canonical(), peer.ip().to_canonical());
        let wild = self
            .listeners()
            .iter()
            .any(|own| own.port() == peer.port() && own.ip().is_unspecified());
        if wild && local == ip {
            Err(own_listener(ip, peer.port()))
        } else {
            Ok(())
        }
    }

    /// Judges a callback URL when it is given: its form, and the host if that is an address, in whatever spelling.
    /// Names are judged when they are connected to.
    pub fn judge_callback_url(&self, url: &str) -> Result<Url, Error> {
        let field = "/async/callback_url";
        let url = parse_url(url)
            .map_err(|_| Error::invalid(field, "callback_url must be a valid URL"))?;
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) | None => return Ok(url),
        };
        let (host, port) = (ip.to_string(), url.port_or_known_default().unwrap_or(0));
        self.judge(&host, ip, port, Purpose::Callbacks, false)
            .map_err(|why| {
                Error::new(
                    Code::CallbackUrlForbidden,
                    format!("callback_url is forbidden: {why}"),
                )
                .at(field)
            })?;
        Ok(url)
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        // To connect to the unspecified address is to connect to loopback; a listener on it hears every local one.
        let same = |own: IpAddr| {
            own == ip || ip.is_unspecified() || (own.is_unspecified() && ip.is_loopback())
        };
        self.listeners()
            .iter()
            .any(|own| own.port() == port && same(own.ip().to_canonical()))
    }

    fn listeners(&self) -> std::sync::RwLockReadGuard<'_, Vec<SocketAddr>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a URL that a request may be sent to: absolute, http or https, a host, no user name or password. The same
/// parser judges and connects. The error is a sentence that does not repeat the URL.
pub fn parse_url(text: &str) -> Result<Url, String> {
    // The parser repairs what a person would call broken; only what is plainly absolute is let through to it.
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err("expected an absolute http or https URL".to_owned());
    }
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return Err("the URL holds white space, a control character or a backslash".to_owned());
    }
    if text.len() > 16 << 10 {
        return Err("the URL is longer than 16 KiB".to_owned());
    }
    let url = Url::parse(text).map_err(|why| format!("the URL is not valid: {why}"))?;
    // As written: the parser drops an empty user name, and skips slashes until it finds a host.
    let written = text.split_once("//").map_or("", |(_, rest)| rest);
    let authority = written.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("the URL holds a user name or password".to_owned());
    }
    if authority.is_empty() || url.host_str().is_none_or(str::is_empty) {
        return Err("the URL has no host".to_owned());
    }
    Ok(url)
}

fn own_listener(ip: IpAddr, port: u16) -> String {
    format!(
        "{} is Skep's own listener, which outgoing requests never reach",
        SocketAddr::new(ip, port)
    )
}

fn setting(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Callbacks => "allow_outbound_callbacks",
        Purpose::Steps => "allow_outbound_steps",
        Purpose::Notifications => "allow_outbound_notifications",
    }
}

#[cfg(test)]
mod tests;
