//! The dashboard's files over the wire: what they come with, what a browser keeps, and the base path.

use skep::view::{FILES, HOME};

use crate::house::House;
use crate::wire::{Answer, Ask};

fn get(house: &House, path: &str) -> Answer {
    Ask::new(house.address(), "GET", path).send()
}

/// Where a file is found.
fn path_of(name: &str) -> String {
    match name {
        HOME => "/".to_owned(),
        name => format!("/view/{name}"),
    }
}

#[test]
fn every_file_is_served_with_headers_that_allow_nothing_foreign() {
    let house = House::start();
    for file in FILES {
        let answer = get(&house, &path_of(file.name));
        assert_eq!(
            (answer.status, &*answer.body),
            (200, file.bytes),
            "{}",
            file.name
        );
        for (name, value) in [
            ("content-type", file.kind),
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                 connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            ),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", file.name);
        }
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[test]
fn what_a_browser_has_already_is_not_sent_again() {
    let house = House::start();
    for file in FILES {
        let path = path_of(file.name);
        let tag = get(&house, &path).header("etag").expect("a tag").to_owned();
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let ask = Ask::new(house.address(), "GET", &path).header("If-None-Match", &known);
            let raw = ask.raw();
            assert!(raw.starts_with("HTTP/1.1 304 "), "{raw}");
            assert!(raw.ends_with("\r\n\r\n") && raw.contains(&tag), "{raw}");
        }
        let other = Ask::new(house.address(), "GET", &path).header("If-None-Match", "\"x\"");
        assert_eq!(other.send().body, file.bytes);
        let head = Ask::new(house.address(), "HEAD", &path).send();
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("etag"), Some(tag.as_str()));
        let length = file.bytes.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
    }
}

#[test]
fn only_the_files_are_there() {
    let house = House::start();
    for path in [
        "/view",
        "/view/",
        "/view/nothing.js",
        "/view/mod.rs",
        "/view/index.html",
        "/view/lib/nothing.js",
        "/view/%2e%2e/mod.rs",
        "/view/lib/..%2fapp.js",
        "/index.html",
        "/favicon.ico",
    ] {
        get(&house, path).refused(404, "not_found");
    }
    for path in ["/", "/view/app.js"] {
        let post = Ask::new(house.address(), "POST", path).send();
        post.refused(405, "method_not_allowed");
    }
}

#[test]
fn below_a_base_path_the_page_is_at_its_slash() {
    let house = House::plan()
        .set("public_url", "https://hooks.example/a/skep")
        .start();
    for (path, name) in FILES.iter().map(|file| (path_of(file.name), file.name)) {
        let answer = get(&house, &format!("/a/skep{path}"));
        assert_eq!(answer.status, 200, "{name}");
        // A proxy may have taken the base path away.
        assert_eq!(get(&house, &path).body, answer.body, "{name}");
    }
    for method in ["GET", "HEAD"] {
        let led = Ask::new(house.address(), method, "/a/skep").send();
        assert_eq!((led.status, led.header("location")), (308, Some("./skep/")));
    }
    get(&house, "/a/skepticism").refused(404, "not_found");
    get(&house, "/a").refused(404, "not_found");
}
