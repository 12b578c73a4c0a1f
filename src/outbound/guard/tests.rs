//! Tests of `outbound/guard`.

use super::*;

/// (address, whether it is public). Written from the registries, edges included; not from the table under test.
const ADDRESSES: &[(&str, bool)] = &[
    ("0.0.0.0", false),
    ("0.255.255.255", false),
    ("1.0.0.0", true),
    ("1.1.1.1", true),
    ("8.8.8.8", true),
    ("9.255.255.255", true),
    ("10.0.0.0", false),
    ("10.255.255.255", false),
    ("11.0.0.0", true),
    ("100.63.255.255", true),
    ("100.64.0.0", false),
    ("100.127.255.255", false),
    ("100.128.0.0", true),
    ("126.255.255.255", true),
    ("127.0.0.1", false),
    ("127.255.255.255", false),
    ("128.0.0.0", true),
    ("168.63.129.15", true),
    ("168.63.129.16", false),
    ("168.63.129.17", true),
    ("169.253.255.255", true),
    ("169.254.0.0", false),
    ("169.254.169.254", false),
    ("169.254.255.255", false),
    ("169.255.0.0", true),
    ("172.15.255.255", true),
    ("172.16.0.0", false),
    ("172.31.255.255", false),
    ("172.32.0.0", true),
    ("191.255.255.255", true),
    ("192.0.0.8", false),
    ("192.0.0.192", false),
    ("192.0.1.0", true),
    ("192.0.2.1", false),
    ("192.0.3.0", true),
    ("192.88.98.255", true),
    ("192.88.99.1", false),
    ("192.167.255.255", true),
    ("192.168.0.0", false),
    ("192.168.255.255", false),
    ("192.169.0.0", true),
    ("192.175.48.1", false),
    ("198.17.255.255", true),
    ("198.18.0.0", false),
    ("198.19.255.255", false),
    ("198.20.0.0", true),
    ("198.51.100.7", false),
    ("203.0.113.7", false),
    ("203.0.114.0", true),
    ("223.255.255.255", true),
    ("224.0.0.1", false),
    ("239.255.255.255", false),
    ("240.0.0.1", false),
    ("255.255.255.255", false),
    ("::", false),
    ("::1", false),
    ("::2", false),
    ("::127.0.0.1", false),
    ("::8.8.8.8", false),
    ("::ffff:127.0.0.1", false),
    ("::ffff:169.254.169.254", false),
    ("::ffff:8.8.8.8", true),
    ("64:ff9b::7f00:1", false),
    ("64:ff9b::808:808", false),
    ("64:ff9b:1::1", false),
    ("100::1", false),
    ("1fff:ffff::1", false),
    ("2000::1", true),
    ("2001::1", false),
    ("2001:0:7f00:1::", false),
    ("2001:2::1", false),
    ("2001:1ff:ffff::1", false),
    ("2001:200::1", true),
    ("2001:4860:4860::8888", true),
    ("2001:db7:ffff::1", true),
    ("2001:db8::1", false),
    ("2001:db9::1", true),
    ("2002:7f00:1::", false),
    ("2003::1", true),
    ("2606:4700:4700::1111", true),
    ("2620:4f:8000::1", false),
    ("3ffe:ffff::1", true),
    ("3fff::1", false),
    ("3fff:fff:ffff::1", false),
    ("3fff:1000::1", true),
    ("4000::1", false),
    ("5f00::1", false),
    ("fbff::1", false),
    ("fc00::1", false),
    ("fd12:3456::1", false),
    ("fe80::1", false),
    ("febf::1", false),
    ("fec0::1", false),
    ("ff02::1", false),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
];

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn allow(text: &str) -> AllowList {
    AllowList::parse(text).expect(text)
}

#[test]
fn only_global_unicast_is_public() {
    for (text, public) in ADDRESSES {
        assert_eq!(
            forbidden(ip(text)).is_none(),
            *public,
            "{text}: {:?}",
            forbidden(ip(text))
        );
    }
}

#[test]
fn no_row_of_the_table_is_hidden_by_one_before_it() {
    for (row, (block, class)) in NOT_PUBLIC.iter().enumerate() {
        assert_eq!(
            block.base & !block.mask(),
            0,
            "{class} has bits behind its prefix"
        );
        for (before, _) in &NOT_PUBLIC[..row] {
            assert!(
                !(before.holds(block.base) && before.bits <= block.bits && *before != *block),
                "{class} is hidden"
            );
        }
    }
    assert_eq!(forbidden(ip("10.1.2.3")), Some("private (10.0.0.0/8)"));
    assert_eq!(
        forbidden(ip("::ffff:10.1.2.3")),
        Some("private (10.0.0.0/8)")
    );
    assert_eq!(forbidden(ip("255.255.255.255")), Some("broadcast"));
    assert_eq!(forbidden(ip("2001:0:1::")), Some("Teredo (2001::/32)"));
}

#[test]
fn a_callback_url_is_refused_in_every_spelling_of_an_address() {
    let guard = Guard::default();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.0x1",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0",
        "0.0.0.0",
        "0x0",
        "[::]",
        "10.0.0.1",
        "0xa9fea9fe",
        "169.254.169.254",
        "2852039166",
    ] {
        for url in [format!("http://{host}/x"), format!("https://{host}:8443")] {
            let error = guard.judge_callback_url(&url).expect_err(&url);
            assert_eq!(error.code, Code::CallbackUrlForbidden, "{url}");
            assert!(
                error.message.contains("allow_outbound_callbacks"),
                "{}",
                error.message
            );
            assert_eq!(error.field.as_deref(), Some("/async/callback_url"));
        }
    }
}

#[test]
fn a_callback_url_must_be_absolute_with_a_host_and_without_userinfo() {
    let guard = Guard::default();
    for url in [
        "",
        "x",
        "/x",
        "//api.example/x",
        "example.com",
        "ftp://api.example/",
        "file:///etc/passwd",
        "http:",
        "http://",
        "http:///x",
        "https://?x",
        "http:api.example",
        "http:/api.example",
        "http://u@api.example/",
        "http://u:p@api.example/",
        "http://:@api.example/",
        "http://@api.example/",
        " http://api.example/",
        "http://api.example/a b",
        "http://api.example\\@evil.example/",
        "http://api.example:99999/",
        "http://[::1/",
        "http://256.256.256.256/",
        "http://a..b\u{0}/",
        "http://api.example/\n",
        "javascript:alert(1)",
        "http://%00/",
    ] {
        let error = guard.judge_callback_url(url).expect_err(url);
        assert_eq!(error.code, Code::ValidationError, "{url}");
        assert_eq!(error.message, "callback_url must be a valid URL", "{url}");
    }
    for url in [
        "http://api.example",
        "HTTPS://api.example:8443/x?y=a@b#z",
        "http://8.8.8.8/",
        "http://localhost/",
        "https://[2606:4700:4700::1111]/",
    ] {
        guard.judge_callback_url(url).expect(url);
    }
}

#[test]
fn what_is_allowed_is_reached_and_nothing_else() {
    let list = "10.0.0.0/8:8080, printer.local, 192.168.1.5, [fd00::/8]:443, nas.local:631, ::1";
    let guard = Guard::new(allow(list));
    for (host, address, port, passes) in [
        ("10.1.2.3", "10.1.2.3", 8080, true),
        ("10.1.2.3", "::ffff:10.1.2.3", 8080, true),
        ("10.1.2.3", "10.1.2.3", 80, false),
        ("11.1.2.3", "11.1.2.3", 80, true),
        ("printer.local", "172.16.0.9", 9100, true),
        ("Printer.Local.", "172.16.0.9", 9100, true),
        ("other.local", "172.16.0.9", 9100, false),
        ("nas.local", "10.0.0.9", 631, true),
        ("nas.local", "10.0.0.9", 632, false),
        ("any.local", "192.168.1.5", 1, true),
        ("any.local", "192.168.1.6", 1, false),
        ("v6.local", "fd00::1", 443, true),
        ("v6.local", "fd00::1", 80, false),
        ("localhost", "::1", 80, true),
    ] {
        let verdict = guard.judge(host, ip(address), port, Purpose::Steps, false);
        assert_eq!(
            verdict.is_ok(),
            passes,
            "{host} {address}:{port} {verdict:?}"
        );
    }
    let why = guard
        .judge("10.1.2.3", ip("10.1.2.3"), 8080, Purpose::Steps, true)
        .expect_err("public only");
    assert!(
        why.contains("private (10.0.0.0/8)") && why.contains("hosts"),
        "{why}"
    );
    let why = guard
        .judge(
            "db.local",
            ip("172.16.0.1"),
            80,
            Purpose::Notifications,
            false,
        )
        .expect_err("private");
    assert!(
        why.contains("db.local resolves to 172.16.0.1")
            && why.contains("allow_outbound_notifications"),
        "{why}"
    );
}

#[test]
fn a_block_covers_its_own_family() {
    for (list, address, passes) in [
        ("::/0", "fd00::1", true),
        ("::/0", "::1", true),
        ("::/0", "127.0.0.1", false),
        ("::/0", "::ffff:127.0.0.1", false),
        ("::/64", "10.0.0.1", false),
        ("::fffe:0:0/95", "10.0.0.1", false),
        ("::ffff:0:0/96", "10.0.0.1", true),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.1", true),
        ("0.0.0.0/0", "10.0.0.1", true),
        ("0.0.0.0/0", "::ffff:10.0.0.1", true),
        ("0.0.0.0/0", "fd00::1", false),
    ] {
        let verdict =
            Guard::new(allow(list)).judge("any.local", ip(address), 80, Purpose::Steps, false);
        assert_eq!(verdict.is_ok(), passes, "{list} {address} {verdict:?}");
    }
}

#[test]
fn a_list_for_one_purpose_replaces_the_general_one() {
    let guard = Guard::new(allow("127.0.0.0/8")).with(Purpose::Callbacks, AllowList::default());
    let judge = |purpose| guard.judge("127.0.0.1", ip("127.0.0.1"), 80, purpose, false);
    assert!(judge(Purpose::Steps).is_ok() && judge(Purpose::Notifications).is_ok());
    assert!(judge(Purpose::Callbacks).is_err());
    assert!(guard.judge_callback_url("http://127.0.0.1/").is_err());
    assert!(
        Guard::new(AllowList::loopback())
            .judge_callback_url("http://[::1]:9/")
            .is_ok()
    );
}

#[test]
fn skeps_own_listeners_are_never_reached() {
    let guard = Guard::new(allow("0.0.0.0/0, ::/0, localhost"));
    let reaches = |address: &str, port| {
        guard
            .judge("localhost", ip(address), port, Purpose::Steps, false)
            .is_ok()
    };
    assert!(reaches("127.0.0.1", 8080));
    guard.set_own(vec![at("127.0.0.1:8080"), at("10.0.0.5:9000")]);
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
        assert!(!reaches(address, 8080), "{address}");
        assert!(reaches(address, 8081), "{address}");
    }
    assert!(!reaches("10.0.0.5", 9000) && reaches("10.0.0.6", 9000));
    guard.set_own(vec![at("[::]:8080")]);
    for address in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"] {
        assert!(!reaches(address, 8080), "{address}");
    }
    let why = guard
        .judge_connected(at("192.168.1.2:50000"), at("192.168.1.2:8080"))
        .expect_err("itself");
    assert!(
        why.contains("192.168.1.2:8080 is Skep's own listener"),
        "{why}"
    );
    assert!(
        guard
            .judge_connected(at("192.168.1.2:50000"), at("192.168.1.3:8080"))
            .is_ok()
    );
    assert!(
        guard
            .judge_connected(at("192.168.1.2:50000"), at("192.168.1.2:8081"))
            .is_ok()
    );
}

#[test]
fn a_malformed_allow_list_is_told_by_entry() {
    for (text, hint) in [
        ("10.0.0.0/33", "10.0.0.0/8"),
        ("10.0.0.0/x", "10.0.0.0/8"),
        ("10.1.2.3/8", "begins at 10.0.0.0"),
        ("fd00::1/8", "begins at fd00::"),
        ("x/8", "block"),
        ("*.local", "exact"),
        ("a b", "host"),
        ("10.0.0.0/8:0", "port"),
        ("http://x", "host"),
        ("ok.local, 10.0.0.0/99", "10.0.0.0/99"),
    ] {
        let why = AllowList::parse(text).expect_err(text);
        assert!(why.contains(hint), "{text}: {why}");
    }
    assert_eq!(allow(""), AllowList::default());
    assert_eq!(allow(" , "), AllowList::default());
    assert_eq!(allow("::ffff:10.0.0.0/104"), allow("10.0.0.0/8"));
}
