//! The dashboard's files, as browsers fetch them. Every address in them is relative to the page, so that a base path works.
//!
//! They hold no data and need no key: what they show they ask of the API.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::api::Request;
use crate::api::call::{Answer, Head, Reply};
use crate::api::routes::nothing_here;
use crate::error::Result;
use crate::view::{self, FILES};

/// The page.
pub const HOME: &str = "/";

/// What it is made of.
pub const FILE: &str = "/view/{file}";

/// And what others made.
pub const LIBRARY: &str = "/view/lib/{file}";

/// Everything from this server and nothing from elsewhere; no script and no style inside of the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `GET /`
pub fn home(request: &Request<'_>) -> Result<Answer> {
    let head = &request.call.head;
    match head.path.as_str() {
        HOME => serve(head, view::HOME),
        // The base path without its slash: what the page names would be looked for beside it.
        path => Ok(Answer::Now(to_folder(path))),
    }
}

/// `GET /view/{file}`
pub fn file(request: &Request<'_>) -> Result<Answer> {
    match request.param(0) {
        // It is right in its own place only.
        view::HOME => Err(nothing_here()),
        name => serve(&request.call.head, name),
    }
}

/// `GET /view/lib/{file}`
pub fn library(request: &Request<'_>) -> Result<Answer> {
    let name = format!("lib/{}", request.param(0));
    serve(&request.call.head, &name)
}

/// To the same path with a slash at its end, whatever a proxy has put before it.
fn to_folder(path: &str) -> Reply {
    let last = path.rsplit('/').next().unwrap_or_default();
    Reply {
        status: 308,
        headers: vec![("Location", format!("./{last}/"))],
        body: Vec::new(),
    }
}

fn serve(head: &Head, name: &str) -> Result<Answer> {
    let at = FILES.iter().position(|file| file.name == name);
    let found = at.and_then(|at| Some((FILES.get(at)?, tags().get(at)?)));
    let (file, tag) = found.ok_or_else(nothing_here)?;
    let mut reply = Reply {
        status: 304,
        headers: Vec::new(),
        body: Vec::new(),
    };
    if !is_known(head, tag) {
        reply.status = 200;
        reply.body = file.bytes.to_vec();
        reply = reply.header("Content-Type", file.kind);
    }
    Ok(Answer::Now(
        reply
            .header("ETag", tag)
            .header("Cache-Control", "no-cache")
            .header("Content-Security-Policy", POLICY)
            .header("Referrer-Policy", "no-referrer")
            .header("X-Content-Type-Options", "nosniff")
            .header("Cross-Origin-Opener-Policy", "same-origin"),
    ))
}

/// What each file's bytes are known by, in the order of the table.
fn tags() -> &'static [String] {
    static TAGS: OnceLock<Vec<String>> = OnceLock::new();
    TAGS.get_or_init(|| {
        let tag = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        FILES
            .iter()
            .map(|file| format!("\"{}\"", tag(file.bytes)))
            .collect()
    })
}

/// Whether the browser has those bytes already. What a proxy has packed is called weak, and holds the same.
fn is_known(head: &Head, tag: &str) -> bool {
    head.headers_of("if-none-match")
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Ask, House};

    fn head(known: &[&str]) -> Head {
        let headers: Vec<_> = known.iter().map(|tag| ("if-none-match", *tag)).collect();
        House::head(&Ask {
            method: "GET",
            path: "/",
            headers: &headers,
            ..Ask::default()
        })
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        for (known, expected) in [
            (&[][..], false),
            (&["\"a\""], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["a"], false),
            (&["\"b\""], false),
            (&[""], false),
        ] {
            assert_eq!(is_known(&head(known), "\"a\""), expected, "{known:?}");
        }
    }

    #[test]
    fn each_file_has_a_tag_of_its_own_bytes() {
        assert_eq!(tags().len(), FILES.len());
        for tag in tags() {
            assert!(tag.len() == 45 && tag.starts_with('"') && tag.ends_with('"'));
        }
    }

    #[test]
    fn a_base_path_without_its_slash_is_led_to_it() {
        for (path, to) in [("/skep", "./skep/"), ("/a/b", "./b/"), ("/a:b", "./a:b/")] {
            let reply = to_folder(path);
            assert_eq!(reply.status, 308);
            assert_eq!(reply.headers, [("Location", to.to_owned())]);
        }
    }
}
