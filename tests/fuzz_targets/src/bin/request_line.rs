//! The head of a request: from its bytes, parsed as the server's library parses them, to the route that answers.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use libfuzzer_sys::fuzz_target;
use skep::api::call::Head;
use skep::api::edge::{Cidr, Line, client, framing, host_parts, without_base};
use skep::api::query::Query;
use skep::api::routes::{Found, find};
use skep::api::table::ROUTES;
use skep::flow::expr::percent_encode;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// What the server makes of the bytes: head, whether HTTP/1.1, authority.
fn read(data: &[u8]) -> Option<(Head, bool, Option<String>)> {
    let mut space = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut space);
    if !parsed.parse(data).ok()?.is_complete() {
        return None;
    }
    let uri: Uri = parsed.path?.parse().ok()?;
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = parsed.headers.iter();
    let headers = headers.map(|header| (header.name.to_ascii_lowercase(), lossy(header.value)));
    let head = Head {
        method: parsed.method?.to_owned(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        peer: PEER,
    };
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    Some((head, parsed.version == Some(1), authority))
}

fn count(head: &Head, name: &str) -> usize {
    head.headers_of(name).count()
}

/// What was let through leaves nothing to a second opinion.
fn check_framing(head: &Head, is_11: bool, authority: Option<&str>) {
    let line = Line {
        is_11,
        authority: authority.map(|authority| ("http", authority)),
    };
    let Err(error) = framing(head, line, None) else {
        let hosts = count(head, "host");
        assert!(hosts == 1 || (hosts == 0 && !is_11), "{hosts} Hosts");
        let codings: Vec<&str> = head
            .headers_of("transfer-encoding")
            .map(str::trim)
            .collect();
        assert!(
            codings.is_empty()
                || (codings.len() == 1 && codings[0].eq_ignore_ascii_case("chunked"))
        );
        assert!(head.method != "CONNECT" && (head.path.starts_with('/') || head.path == "*"));
        if let Some(host) = head.header("host") {
            let (name, port) = host_parts(host.trim()).expect("a Host that was let through");
            assert!(
                !name.is_empty() && !name.contains(['/', '@', ' ', '\\', '?', '#']),
                "{name:?}"
            );
            if let Some(authority) = authority {
                let (other, its) =
                    host_parts(authority).expect("an authority that was let through");
                assert!(
                    other.eq_ignore_ascii_case(name) && its.unwrap_or(80) == port.unwrap_or(80)
                );
            }
        }
        // On loopback, fewer names are served, never more.
        return;
    };
    assert!([400, 417, 501].contains(&error.status()), "{error:?}");
    assert!(
        framing(head, line, Some("skep.example")).is_err(),
        "a narrower rule let it through"
    );
}

fn check_route(head: &Head) {
    let at = |method: &str, path: &str| match find(ROUTES, method, path) {
        Found::Route(_, index, params) => Some((index, params)),
        Found::WrongMethod(_) | Found::Nothing => None,
    };
    match find(ROUTES, &head.method, &head.path) {
        Found::Route(route, index, params) => {
            let wanted = if head.method == "HEAD" {
                "GET"
            } else {
                &head.method
            };
            assert_eq!(route.method, wanted);
            assert_eq!(route.pattern.matches('{').count(), params.len());
            // The canonical spelling of what was asked leads to the same place.
            let mut left = params.iter();
            let spell = |part: &str| match part.starts_with('{') {
                true => percent_encode(left.next().expect("one for each")),
                false => part.to_owned(),
            };
            let path = route
                .pattern
                .split('/')
                .map(spell)
                .collect::<Vec<_>>()
                .join("/");
            if params.iter().all(|param| param != "." && param != "..") {
                assert_eq!(at(&head.method, &path), Some((index, params)), "{path}");
            }
        }
        Found::WrongMethod(allowed) => {
            for method in allowed.split(", ") {
                assert!(
                    at(method, &head.path).is_some(),
                    "{method} is not allowed after all"
                );
            }
        }
        Found::Nothing => assert!(at("GET", &head.path).is_none()),
    }
    for base in ["", "/base"] {
        let rest = without_base(&head.path, base);
        assert!(rest == head.path || format!("{base}{rest}") == head.path || rest == "/");
    }
}

fn check_query(head: &Head) {
    let query = Query::of(head);
    let limit = query.limit();
    assert!(limit.is_err() || limit.is_ok_and(|limit| limit >= 1));
    let _ = (
        query.page(),
        query.time("from"),
        query.flag("wait"),
        query.one("secret"),
    );
    let _ = (query.many("status"), query.labels("metadata"));
    let pairs: Vec<(String, String)> = head.query_pairs().collect();
    let spelled = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&pairs)
        .finish();
    let again = Head {
        query: spelled,
        ..head.clone()
    };
    assert_eq!(pairs, again.query_pairs().collect::<Vec<_>>());
}

/// An untrusted peer cannot say who it is, a trusted one only by an address that it wrote down.
fn check_client(head: &Head) {
    let trusted = [Cidr::parse("10.0.0.0/8").expect("a range")];
    let mut headers = head.headers.clone();
    assert_eq!(client(PEER, &mut headers, &trusted), PEER);
    assert!(
        headers
            .iter()
            .all(|(name, _)| !name.starts_with("x-forwarded-") && name != "forwarded")
    );
    let mut headers = head.headers.clone();
    let told = client(PROXY, &mut headers, &trusted);
    assert_eq!(headers, head.headers);
    assert!(told == PROXY || head.header("x-forwarded-for").is_some());
}

fuzz_target!(|data: &[u8]| {
    let Some((head, is_11, authority)) = read(data) else {
        return;
    };
    check_framing(&head, is_11, authority.as_deref());
    check_route(&head);
    check_query(&head);
    check_client(&head);
});
