//! Signing in with a browser: the cookie, what must come with it, when it ends, and where nothing of it stays.

use std::fs;

use serde_json::{Value, json};
use skep::api::routes::Route;
use skep::api::table::ROUTES;

use crate::house::{ADMIN, House, callback_body, rows, text};
use crate::people::{asked, deploy, link, open};
use crate::wire::{Answer, Ask};

const FLOW: &str = "steps: [{id: a, set: {x: 1}}]\noutput: 1";

/// Signs in as a browser does, from the origin that it is told.
fn sign_in(house: &House, key: &str, origin: &str) -> Answer {
    Ask::new(house.address(), "POST", "/v1/session")
        .header("Origin", origin)
        .json(&json!({"key": key}))
        .send()
}

/// What a browser holds that has signed in.
struct Browser<'a> {
    house: &'a House,
    cookie: String,
    token: String,
    csrf: String,
    origin: String,
}

impl Browser<'_> {
    #[track_caller]
    fn of<'a>(house: &'a House, key: &str) -> Browser<'a> {
        Browser::at(house, key, &house.url())
    }

    #[track_caller]
    fn at<'a>(house: &'a House, key: &str, origin: &str) -> Browser<'a> {
        let answer = sign_in(house, key, origin);
        let csrf = text(&answer.is(201)["csrf"]);
        let set = answer.header("set-cookie").expect("a cookie");
        let cookie = set.split(';').next().expect("a pair").to_owned();
        let token = cookie.split('=').nth(1).expect("a value").to_owned();
        let origin = origin.to_owned();
        Browser {
            house,
            cookie,
            token,
            csrf,
            origin,
        }
    }

    /// With the cookie alone.
    fn bare(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.house.address(), method, path).header("Cookie", &self.cookie)
    }

    /// As the dashboard's own page asks.
    fn ask(&self, method: &str, path: &str) -> Ask {
        self.bare(method, path)
            .header("Origin", &self.origin)
            .header("X-Skep-CSRF", &self.csrf)
    }

    fn status(&self) -> u16 {
        self.bare("GET", "/v1/session").send().status
    }
}

#[test]
fn the_cookie_is_as_strict_as_public_url_allows() {
    for (public_url, origin, expected) in [
        (
            None,
            None,
            "skep_session=…; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200",
        ),
        (
            Some("http://skep.internal/base"),
            Some("http://skep.internal"),
            "skep_session=…; HttpOnly; SameSite=Strict; Path=/base/; Max-Age=43200",
        ),
        (
            Some("https://skep.example"),
            Some("https://skep.example"),
            "__Host-skep_session=…; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure",
        ),
        (
            Some("https://skep.example/base"),
            Some("https://skep.example"),
            "__Secure-skep_session=…; HttpOnly; SameSite=Strict; Path=/base/; Max-Age=43200; Secure",
        ),
    ] {
        let mut plan = House::plan();
        if let Some(url) = public_url {
            plan = plan.set("public_url", url);
        }
        let house = plan.start();
        let origin = origin.map_or_else(|| house.url(), str::to_owned);
        let answer = sign_in(&house, ADMIN, &origin);
        let browser = Browser::at(&house, ADMIN, &origin);
        let set = answer.header("set-cookie").expect("a cookie");
        let (name, rest) = set.split_once('=').expect("a pair");
        let (token, attributes) = rest.split_once("; ").expect("attributes");
        assert_eq!(format!("{name}=…; {attributes}"), expected);
        assert!(token.len() >= 43 && token != browser.token, "256 bits each");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        browser
            .ask("POST", "/v1/members")
            .json(&json!({"name": "Ana"}))
            .send()
            .is(201);
        // The origin is public_url's, whichever host was asked.
        let own = browser
            .bare("POST", "/v1/members")
            .header("X-Skep-CSRF", &browser.csrf);
        let other = if public_url.is_some() {
            house.url()
        } else {
            "http://skep.example".to_owned()
        };
        own.header("Origin", &other)
            .send()
            .refused(403, "insufficient_scope");
        // Another name is another cookie.
        let renamed = format!("x{}", browser.cookie);
        Ask::new(house.address(), "GET", "/v1/session")
            .header("Cookie", &renamed)
            .send()
            .refused(401, "invalid_access");
        let out = browser.ask("DELETE", "/v1/session").send();
        assert_eq!((out.status, out.body.len()), (204, 0));
        let taken_back = expected.replace('…', "").replace("43200", "0");
        assert_eq!(out.header("set-cookie"), Some(taken_back.as_str()));
        assert_eq!(browser.status(), 401);
    }
}

#[test]
fn what_may_change_something_needs_the_own_origin_and_the_csrf_token() {
    let house = House::start();
    let browser = Browser::of(&house, ADMIN);
    let other = Browser::of(&house, ADMIN);
    let before = rows(&house.get("/v1/audit?limit=500")).len();
    let url = house.url();
    let foreign = [
        "null",
        "https://evil.example",
        "http://127.0.0.1",
        "",
        "http://localhost",
    ];
    let mut wrong: Vec<(Option<&str>, Option<&str>)> = foreign
        .iter()
        .map(|origin| (Some(*origin), Some(browser.csrf.as_str())))
        .collect();
    wrong.extend([
        (None, None),
        (None, Some(browser.csrf.as_str())),
        (Some(url.as_str()), None),
        (Some(url.as_str()), Some("")),
        (Some(url.as_str()), Some("wrong")),
        (Some(url.as_str()), Some(&browser.csrf[..42])),
        (Some(url.as_str()), Some(&other.csrf)),
        (Some(url.as_str()), Some(&browser.token)),
    ]);
    for (method, path) in [
        ("POST", "/v1/members"),
        ("PUT", "/v1/deployments/a/variants/prod"),
        ("DELETE", "/v1/keys/key_00000000000000000000000000000000"),
        ("PATCH", "/v1/deployments/a"),
        ("DELETE", "/v1/session"),
    ] {
        for (origin, csrf) in &wrong {
            let mut ask = browser.bare(method, path);
            if let Some(origin) = origin {
                ask = ask.header("Origin", origin);
            }
            if let Some(csrf) = csrf {
                ask = ask.header("X-Skep-CSRF", csrf);
            }
            let refused = ask
                .json(&json!({"name": "Ana"}))
                .send()
                .refused(403, "insufficient_scope");
            let said = text(&refused["error"]);
            assert!(
                said.contains("Origin") || said.contains("X-Skep-CSRF"),
                "{said}"
            );
        }
    }
    assert_eq!(rows(&house.get("/v1/audit?limit=500")).len(), before);
    browser
        .ask("POST", "/v1/members")
        .json(&json!({"name": "Ana"}))
        .send()
        .is(201);
}

/// The path of a route of which nothing is there.
fn path_of<H>(route: &Route<H>) -> String {
    route.pattern.replace('{', "no-").replace('}', "")
}

#[test]
fn a_get_needs_no_token_and_changes_nothing_whatever_it_says() {
    let house = House::start();
    house.deploy("flow", FLOW);
    let (_, key) = house.make_key("desk", "admin");
    let browser = Browser::of(&house, &key);
    let seen = |path: &str| house.get(path)["data"].as_array().map(Vec::len);
    let lists = [
        "/v1/audit",
        "/v1/keys",
        "/v1/members",
        "/v1/deployments",
        "/v1/workflow_runs",
        "/v1/secrets",
    ];
    let before = lists.map(seen);
    // Of no kind that there is, so that the stream of events, which would go on, is refused.
    let query = "_method=DELETE&dry_run=false&kinds=none";
    for route in ROUTES {
        for method in ["GET", "HEAD"] {
            let ask = browser
                .bare(method, &format!("{}?{query}", path_of(route)))
                .header("X-HTTP-Method-Override", "DELETE")
                .header("Origin", "https://evil.example");
            let status = ask.send().status;
            assert!(
                matches!(status, 200 | 400 | 404 | 405),
                "{method} {}: {status}",
                route.pattern
            );
        }
    }
    assert_eq!(lists.map(seen), before);
    assert_eq!(browser.status(), 200, "not even the session ended");
    for path in lists {
        browser.bare("GET", path).send().is(200);
        let head = browser.bare("HEAD", path).send();
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
}

#[test]
fn the_authorization_header_wins() {
    let house = House::start();
    let (_, reader) = house.make_key("reader", "read");
    let browser = Browser::of(&house, ADMIN);
    for wrong in [
        "Bearer wrong",
        "Bearer",
        "",
        "Basic dTpw",
        "Bearer fhk_x, Bearer fhk_y",
    ] {
        browser
            .ask("GET", "/v1/audit")
            .header("Authorization", wrong)
            .send()
            .refused(401, "invalid_access");
    }
    let as_reader = browser
        .bare("GET", "/v1/session")
        .key(&reader)
        .send()
        .is(200);
    assert_eq!(
        (&as_reader["name"], &as_reader["csrf"]),
        (&json!("reader"), &Value::Null)
    );
    browser
        .ask("GET", "/v1/audit")
        .key(&reader)
        .send()
        .refused(403, "insufficient_scope");
    // With a key, nothing else is asked for; and the session beside it is none of its business.
    let by_key = browser.bare("DELETE", "/v1/session").key(&reader).send();
    assert_eq!((by_key.status, browser.status()), (204, 200));
}

#[test]
fn a_session_is_its_key_s_and_ends_with_it() {
    let house = House::start();
    let (id, key) = house.make_key("desk", "read");
    let (browser, second) = (Browser::of(&house, &key), Browser::of(&house, &key));
    let shown = browser.bare("GET", "/v1/session").send().is(200);
    assert_eq!(shown["name"], "desk");
    assert_eq!(shown["scope"], "read");
    assert_eq!(shown["csrf"], browser.csrf.as_str());
    browser
        .bare("GET", "/v1/audit")
        .send()
        .refused(403, "insufficient_scope");
    browser.ask("DELETE", "/v1/session").send();
    assert_eq!((browser.status(), second.status()), (401, 200));

    let rotated = house
        .post(&format!("/v1/keys/{id}/rotate"), &json!({}))
        .is(200);
    assert_eq!(second.status(), 401, "rotated");
    sign_in(&house, &key, &house.url()).refused(401, "invalid_access");
    let third = Browser::of(&house, &text(&rotated["key"]));
    house.delete(&format!("/v1/keys/{id}")).is(200);
    assert_eq!(third.status(), 401, "revoked");
    third
        .bare("GET", "/v1/workflow_runs")
        .send()
        .refused(401, "invalid_access");

    let admin = Browser::of(&house, ADMIN);
    house.restart();
    assert_eq!(admin.status(), 401, "restarted");
}

#[test]
fn a_hundred_sessions_of_a_key_and_one_more_end_its_oldest() {
    let house = House::start();
    let (_, other) = house.make_key("other", "read");
    let other = Browser::of(&house, &other);
    let oldest = Browser::of(&house, ADMIN);
    let second = Browser::of(&house, ADMIN);
    for _ in 0..99 {
        assert_eq!(sign_in(&house, ADMIN, &house.url()).status, 201);
    }
    assert_eq!((oldest.status(), second.status()), (401, 200));
    assert_eq!(other.status(), 200, "another key's");
}

#[test]
fn keys_are_not_guessed() {
    let house = House::start();
    let browser = Browser::of(&house, ADMIN);
    let first = sign_in(&house, "fhk_wrong", &house.url());
    first.refused(401, "invalid_access");
    assert_eq!(first.header("set-cookie"), None);
    for _ in 0..9 {
        sign_in(&house, "fhk_wrong", &house.url()).refused(401, "invalid_access");
    }
    for key in ["fhk_wrong", ADMIN] {
        let answer = sign_in(&house, key, &house.url());
        answer.refused(429, "too_many_requests");
        let wait: u64 = answer
            .header("retry-after")
            .and_then(|text| text.parse().ok())
            .expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    assert_eq!(browser.status(), 200, "whoever is signed in stays so");
}

#[test]
fn signing_in_is_json_and_from_here() {
    let house = House::start();
    let key = json!({"key": ADMIN}).to_string();
    let ask = || Ask::new(house.address(), "POST", "/v1/session");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
    ] {
        ask()
            .body(kind, key.as_bytes())
            .send()
            .refused(400, "malformed_body");
    }
    for origin in ["null", "https://evil.example", ""] {
        sign_in(&house, ADMIN, origin).refused(403, "insufficient_scope");
    }
    for body in [
        json!({}),
        json!({"key": null}),
        json!({"key": 7}),
        json!({"key": " "}),
    ] {
        let refused = ask().json(&body).send().refused(400, "validation_error");
        assert_eq!(refused["field"], "/key", "{body}");
    }
    let long = json!({"key": "x".repeat(501)});
    ask().json(&long).send().refused(400, "validation_error");
    // A program need not say where it comes from.
    ask().json(&json!({"key": ADMIN})).send().is(201);
    house
        .ask("PUT", "/v1/session")
        .send()
        .refused(405, "method_not_allowed");
}

#[test]
fn webhooks_and_approval_pages_do_not_look_at_it() {
    let house = House::start();
    let deployed = house.deploy("flow", FLOW);
    let browser = Browser::of(&house, ADMIN);
    let url = text(&deployed["webhook_url"]);
    let path = url.strip_prefix(&house.url()).expect("on this server");
    let body = json!({"inputs": {}});
    browser
        .ask("POST", path)
        .json(&body)
        .send()
        .refused(401, "invalid_access");
    let wrong = browser
        .ask("POST", path)
        .header("X-Fetch-Hive-Webhook-Secret", "whsec_wrong");
    wrong.json(&body).send().refused(401, "invalid_access");

    let question = json!({"mode": "approval", "question": "Publish it?"});
    let path = link(&house, &asked(&house, "asks", &question).id);
    let without = open(&house, &path);
    let with = browser.bare("GET", &path).send();
    assert_eq!((with.status, with.text()), (200, without.text()));
    let form = (
        "application/x-www-form-urlencoded",
        b"decision=approved&by=Eve",
    );
    let forged = browser.ask("POST", &path).body(form.0, form.1).send();
    assert_eq!(forged.status, 403, "the form's own token is what counts");
    let nowhere = browser.bare("GET", "/approve/nowhere").send();
    assert_eq!(nowhere.status, 404);
}

#[test]
fn nothing_of_a_session_is_written_down() {
    let house = House::plan().set("log_level", "trace").start();
    let (_, key) = house.make_key("desk", "admin");
    let browser = Browser::of(&house, &key);
    browser
        .ask("POST", "/v1/members")
        .json(&json!({"name": "Ana"}))
        .send()
        .is(201);
    browser
        .bare("POST", "/v1/members")
        .send()
        .refused(403, "insufficient_scope");
    sign_in(&house, "fhk_wrong-but-secret-0123456789", &house.url()).refused(401, "invalid_access");
    browser.ask("DELETE", "/v1/session").send();
    house.stop();
    let mut all = house.log().into_bytes();
    for file in ["skep.db", "skep.db-wal"] {
        all.extend(fs::read(house.path(file)).unwrap_or_default());
    }
    for secret in [
        &key,
        &browser.token,
        &browser.csrf,
        "fhk_wrong-but-secret-0123456789",
    ] {
        let is_there = all
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!is_there, "{secret} was written down");
    }
}

#[test]
fn what_is_done_with_it_bears_the_dashboard_s_name() {
    let house = House::start();
    house.deploy("flow", FLOW);
    let (_, key) = house.make_key("desk", "admin");
    for (key, name) in [(key.as_str(), "desk"), (ADMIN, "admin key")] {
        let browser = Browser::of(&house, key);
        browser
            .ask("POST", "/v1/members")
            .json(&json!({"name": "Ana"}))
            .send()
            .is(201);
        let row = &house.get("/v1/audit?limit=1")["data"][0];
        assert_eq!(row["actor"], format!("dashboard {name}"));
        assert_eq!(row["address"], "127.0.0.1");
        let body = callback_body("flow", &json!({}), "http://127.0.0.1:9/done");
        let started = browser
            .ask("POST", "/v1/workflow/invoke")
            .json(&body)
            .send()
            .is(202);
        let run = house.run(&text(&started["run_id"]));
        assert_eq!(run["source"], "dashboard");
    }
    let listed = rows(&house.get("/v1/workflow_runs?source=dashboard"));
    assert_eq!(listed.len(), 2);
}

#[test]
fn whoever_started_a_run_may_not_answer_it_by_the_other_way_in() {
    let house = House::start();
    let human = json!({"mode": "approval", "question": "Pay?", "not_requester": true});
    deploy(&house, "pays", &human);
    let (_, desk) = house.make_key("desk", "admin");
    let yes = json!({"by": "Zoe", "decision": "approved"});
    for key in [ADMIN, &desk] {
        let browser = Browser::of(&house, key);
        for starts_signed_in in [true, false] {
            let by = |signed_in: bool, path: &str| match signed_in {
                true => browser.ask("POST", path),
                false => Ask::new(house.address(), "POST", path).key(key),
            };
            let body = callback_body("pays", &json!({}), "http://127.0.0.1:9/done");
            let started = by(starts_signed_in, "/v1/workflow/invoke")
                .json(&body)
                .send()
                .is(202);
            let run = house.run_is(&text(&started["run_id"]), "awaiting_approval");
            let path = format!(
                "/v1/approvals/{}/decide",
                text(&run["waiting_on"]["approval_id"])
            );
            for signed_in in [true, false] {
                by(signed_in, &path)
                    .json(&yes)
                    .send()
                    .refused(403, "insufficient_scope");
            }
        }
    }
}
