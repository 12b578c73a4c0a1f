//! Which endpoint a path means.
//!
//! Owns the shape of a route's row and how rows are found. The table itself lives beside the handlers.
//! Must not know what a handler does.

use crate::api::door::Access;
use crate::error::{Code, Error};

/// One endpoint. `H` is what answers it.
#[derive(Debug)]
pub struct Route<H> {
    /// Upper case. A `GET` row also answers `HEAD`.
    pub method: &'static str,
    /// `/v1/workflow_runs/{id}/steps`: a segment in braces takes any one segment that is not empty.
    pub pattern: &'static str,
    /// Who is let in.
    pub access: Access,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// What answers.
    pub handler: H,
}

/// What a method and a path mean.
#[derive(Debug)]
pub enum Found<H: 'static> {
    /// That row, its index in the table, and the decoded parameters in order.
    Route(&'static Route<H>, usize, Vec<String>),
    /// The path is known, the method is not. Holds the methods that are, for `Allow`.
    WrongMethod(String),
    /// Nothing is there.
    Nothing,
}

/// Finds the first row that fits. Where a pattern is the path itself, only its rows do: what is said of `/runs/cancel` has
/// nothing to do with a run called `cancel`.
///
/// Segments are compared and handed on percent-decoded. A doubled or trailing slash, `.` and `..`, a
/// broken escape and bytes that are not UTF-8 fit nothing.
pub fn find<H>(routes: &'static [Route<H>], method: &str, path: &str) -> Found<H> {
    let Some(segments) = decoded_segments(path) else {
        return Found::Nothing;
    };
    let wanted = if method == "HEAD" { "GET" } else { method };
    let mut allowed: Vec<&'static str> = Vec::new();
    let is_itself = |route: &&Route<H>| pattern_segments(route.pattern).eq(segments.iter());
    let itself = routes.iter().find(is_itself).map(|route| route.pattern);
    for (index, route) in routes.iter().enumerate() {
        let is_other = itself.is_some_and(|pattern| pattern != route.pattern);
        if is_other || !fits(route.pattern, &segments) {
            continue;
        }
        if route.method == wanted {
            return Found::Route(route, index, parameters(route.pattern, segments));
        }
        for method in [route.method, "HEAD"] {
            if (method != "HEAD" || route.method == "GET") && !allowed.contains(&method) {
                allowed.push(method);
            }
        }
    }
    if allowed.is_empty() {
        Found::Nothing
    } else {
        Found::WrongMethod(allowed.join(", "))
    }
}

/// The 404 of a path that leads nowhere.
pub fn nothing_here() -> Error {
    Error::not_found("Nothing is found at this path")
}

/// The 405 that goes with [`Found::WrongMethod`]; the answer carries `Allow`.
pub fn wrong_method(allowed: &str) -> Error {
    Error::new(
        Code::MethodNotAllowed,
        format!("The method is not allowed on this path; allowed: {allowed}"),
    )
    .with("allow", allowed)
}

/// Whether a pattern takes these segments.
fn fits(pattern: &str, segments: &[String]) -> bool {
    let mut parts = pattern_segments(pattern);
    segments.iter().all(|segment| {
        parts
            .next()
            .is_some_and(|part| is_parameter(part) || part == segment)
    }) && parts.next().is_none()
}

fn parameters(pattern: &str, segments: Vec<String>) -> Vec<String> {
    let pairs = pattern_segments(pattern).zip(segments);
    pairs
        .filter(|(part, _)| is_parameter(part))
        .map(|(_, segment)| segment)
        .collect()
}

/// The segments of a pattern; none for `/`.
fn pattern_segments(pattern: &str) -> impl Iterator<Item = &str> {
    pattern.split('/').filter(|part| !part.is_empty())
}

fn is_parameter(part: &str) -> bool {
    part.starts_with('{')
}

/// The decoded segments of a path; none for `/`; `None` for a path that cannot fit any pattern.
fn decoded_segments(path: &str) -> Option<Vec<String>> {
    let rest = path.strip_prefix('/')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    rest.split('/').map(decoded).collect()
}

fn decoded(segment: &str) -> Option<String> {
    if matches!(segment, "" | "." | "..") {
        return None;
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(method: &'static str, pattern: &'static str) -> Route<()> {
        Route {
            method,
            pattern,
            access: Access::Open,
            doc: "",
            handler: (),
        }
    }

    static TABLE: &[Route<()>] = &[
        row("GET", "/"),
        row("GET", "/v1/runs"),
        row("POST", "/v1/runs/cancel"),
        row("GET", "/v1/runs/{id}"),
        row("DELETE", "/v1/runs/{id}"),
        row("POST", "/v1/d/{deployment}/v/{variant}"),
    ];

    fn index_and_params(method: &str, path: &str) -> Option<(usize, Vec<String>)> {
        match find(TABLE, method, path) {
            Found::Route(_, index, params) => Some((index, params)),
            Found::WrongMethod(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn a_path_finds_its_row_and_its_decoded_parameters() {
        assert_eq!(index_and_params("GET", "/"), Some((0, vec![])));
        assert_eq!(index_and_params("GET", "/v1/runs"), Some((1, vec![])));
        assert_eq!(
            index_and_params("POST", "/v1/runs/cancel"),
            Some((2, vec![]))
        );
        assert_eq!(
            index_and_params("GET", "/v1/runs/one"),
            Some((3, vec!["one".to_owned()]))
        );
        assert_eq!(index_and_params("GET", "/v1/runs/cancel"), None);
        let two = Some((5, vec!["a/b ü".to_owned(), "..".to_owned()]));
        assert_eq!(
            index_and_params("POST", "/v1/d/a%2fb%20%C3%BC/v/%2e%2e"),
            two
        );
    }

    #[test]
    fn head_is_answered_by_the_get_row() {
        assert_eq!(index_and_params("HEAD", "/v1/runs"), Some((1, vec![])));
        assert_eq!(
            index_and_params("HEAD", "/v1/runs/one"),
            Some((3, vec!["one".to_owned()]))
        );
    }

    #[test]
    fn paths_that_are_not_exactly_right_are_not_found() {
        for path in [
            "",
            "v1/runs",
            "//",
            "/v1/runs/",
            "//v1/runs",
            "/v1//runs",
            "/v1/../v1/runs",
            "/v1/./runs",
            "/v1/runs/%ff",
            "/v1/runs/%zz",
            "/v1/runs/%2",
            "/v1/runs/%+1",
            "/v1/runs%2Fcancel",
            "/V1/runs",
            "/v1",
            "*",
        ] {
            assert!(matches!(find(TABLE, "GET", path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        for (method, path, allowed) in [
            ("OPTIONS", "/v1/runs", "GET, HEAD"),
            ("get", "/v1/runs", "GET, HEAD"),
            ("PUT", "/v1/runs/7", "GET, HEAD, DELETE"),
            ("OPTIONS", "/v1/runs/cancel", "POST"),
            ("HEAD", "/v1/d/a/v/b", "POST"),
        ] {
            match find(TABLE, method, path) {
                Found::WrongMethod(found) => assert_eq!(found, allowed, "{method} {path}"),
                other => panic!("{method} {path}: {other:?}"),
            }
        }
        assert_eq!(wrong_method("GET, HEAD").status(), 405);
    }
}
