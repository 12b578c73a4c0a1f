//! Sessions in a house whose clock stands still. Over the wire: `tests/session.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::door::{Access, Door, Shown, Who};
use crate::api::sessions::LIFE;
use crate::api::table::ROUTES;
use crate::api::testing::{ADMIN, Ask, House, NOW, Read, URL};

const HOST: (&str, &str) = ("host", "localhost:8080");
const ORIGIN: (&str, &str) = ("origin", "http://localhost:8080");
const JSON: (&str, &str) = ("content-type", "application/json");

/// What a browser holds that has signed in.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    fn of(house: &House, key: &str) -> Browser {
        let read = sign_in(house, key);
        assert_eq!(read.status, 201, "{}", read.body);
        let cookie = read.headers["Set-Cookie"].split(';').next();
        Browser {
            cookie: cookie.expect("a cookie").to_owned(),
            csrf: read.text("csrf"),
        }
    }

    /// As the dashboard's own page sends it.
    fn headers(&self) -> [(&str, &str); 5] {
        [
            HOST,
            ORIGIN,
            JSON,
            ("cookie", &self.cookie),
            ("x-skep-csrf", &self.csrf),
        ]
    }

    fn ask(&self, house: &House, method: &str, path: &str, body: &Value) -> Read {
        house.ask(&Ask {
            method,
            path,
            headers: &self.headers(),
            body: &body.to_string(),
            ..Ask::default()
        })
    }

    fn get(&self, house: &House, path: &str) -> Read {
        self.ask(house, "GET", path, &Value::Null)
    }
}

fn sign_in(house: &House, key: &str) -> Read {
    house.ask(&Ask {
        method: "POST",
        path: "/v1/session",
        headers: &[HOST, ORIGIN, JSON],
        body: &json!({"key": key}).to_string(),
        ..Ask::default()
    })
}

#[test]
fn a_session_opens_what_its_key_opens_until_its_time_is_up() {
    let house = House::new();
    let (_, key) = house.key("read");
    let browser = Browser::of(&house, &key);
    let shown = browser.get(&house, "/v1/session");
    assert_eq!(
        shown.body,
        json!({
            "name": "the read key", "scope": "read", "csrf": browser.csrf,
            "expires_at": NOW.plus(LIFE).to_string(),
        })
    );
    assert_eq!(browser.get(&house, "/v1/stats").status, 200);
    assert_eq!(browser.get(&house, "/v1/audit").status, 403);
    house
        .api
        .clock
        .set(NOW.plus(LIFE - Duration::from_millis(1)));
    assert_eq!(browser.get(&house, "/v1/stats").status, 200);
    house.api.clock.set(NOW.plus(LIFE));
    assert_eq!(browser.get(&house, "/v1/stats").status, 401);
}

#[test]
fn a_key_shown_is_told_apart_from_a_session() {
    let house = House::new();
    let read = house.get("/v1/session", ADMIN);
    assert_eq!(
        read.body,
        json!({"name": "admin key", "scope": "admin", "csrf": null, "expires_at": null})
    );
    assert_eq!(house.get("/v1/session", "").status, 401);
}

#[test]
fn a_session_ends_with_its_key() {
    let house = House::new();
    for (method, path) in [("POST", "/rotate"), ("DELETE", "")] {
        let (id, key) = house.key("admin");
        let browser = Browser::of(&house, &key);
        let other = Browser::of(&house, ADMIN);
        assert_eq!(browser.get(&house, "/v1/keys").status, 200);
        let changed = house.ask(&Ask {
            method,
            path: &format!("/v1/keys/{id}{path}"),
            key: ADMIN,
            ..Ask::default()
        });
        assert_eq!(changed.status, 200);
        assert_eq!(browser.get(&house, "/v1/keys").status, 401, "{method}");
        assert_eq!(sign_in(&house, &key).status, 401, "{method}");
        assert_eq!(other.get(&house, "/v1/keys").status, 200, "{method}");
    }
}

#[test]
fn whatever_is_no_get_needs_more_than_the_cookie_and_no_get_does() {
    let house = House::new();
    let browser = Browser::of(&house, ADMIN);
    for route in ROUTES {
        let path = route.pattern.replace(['{', '}'], "");
        let admit = |headers: &[(&str, &str)]| {
            let admission = house.admit(&Ask {
                method: route.method,
                path: &path,
                headers,
                ..Ask::default()
            });
            admission.map_err(|error| error.status())
        };
        let bare = admit(&[HOST, ("cookie", &browser.cookie)]).map(|it| it.who);
        let full = admit(&browser.headers()).map(|it| it.who);
        let (expected, with_all) = match (route.access, route.method) {
            (Access::Open, _) => (Ok(Who::Nobody), Ok(Who::Nobody)),
            (Access::Webhook, _) => (Err(401), Err(401)),
            (_, "GET") => (Ok(Who::AdminKey), Ok(Who::AdminKey)),
            _ => (Err(403), Ok(Who::AdminKey)),
        };
        assert_eq!(bare, expected, "{} {}", route.method, route.pattern);
        assert_eq!(full, with_all, "{} {}", route.method, route.pattern);
    }
}

#[test]
fn a_missing_or_wrong_origin_or_csrf_is_named() {
    let house = House::new();
    let browser = Browser::of(&house, ADMIN);
    let other = Browser::of(&house, ADMIN);
    let cookie = ("cookie", browser.cookie.as_str());
    let csrf = ("x-skep-csrf", browser.csrf.as_str());
    for (headers, said) in [
        (vec![HOST, cookie, csrf], "Origin is missing"),
        (vec![HOST, cookie, csrf, ("origin", "null")], "\"null\""),
        (
            vec![HOST, cookie, csrf, ("origin", "http://evil.example")],
            "evil.example",
        ),
        (vec![HOST, cookie, ORIGIN], "X-Skep-CSRF is missing"),
        (
            vec![HOST, cookie, ORIGIN, ("x-skep-csrf", "")],
            "not this session's",
        ),
        (
            vec![HOST, cookie, ORIGIN, ("x-skep-csrf", &other.csrf)],
            "not this session's",
        ),
    ] {
        let read = house.ask(&Ask {
            method: "POST",
            path: "/v1/members",
            headers: &headers,
            body: "{\"name\": \"Ana\"}",
            ..Ask::default()
        });
        assert_eq!(read.status, 403, "{headers:?}");
        assert_eq!(read.text("error_code"), "insufficient_scope");
        assert!(read.text("message").contains(said), "{}", read.body);
    }
    let made = browser.ask(&house, "POST", "/v1/members", &json!({"name": "Ana"}));
    assert_eq!(made.status, 201);
}

#[test]
fn the_header_wins_over_the_cookie() {
    let house = House::new();
    let (_, key) = house.key("read");
    let browser = Browser::of(&house, ADMIN);
    let status = |authorization: &str| {
        let read = house.ask(&Ask {
            method: "GET",
            path: "/v1/audit",
            headers: &[
                ("cookie", &browser.cookie),
                ("authorization", authorization),
            ],
            ..Ask::default()
        });
        read.status
    };
    assert_eq!(status(&format!("Bearer {key}")), 403);
    for wrong in ["Bearer wrong", "Bearer ", "", "Basic dTpw"] {
        assert_eq!(status(wrong), 401, "{wrong}");
    }
}

#[test]
fn signing_in_asks_for_json_from_here() {
    let house = House::new();
    let body = json!({"key": ADMIN}).to_string();
    let form = ("content-type", "text/plain");
    let foreign = ("origin", "http://evil.example");
    for (headers, body, status) in [
        (vec![JSON], body.as_str(), 201),
        (vec![HOST, JSON, ORIGIN], &body, 201),
        (
            vec![("content-type", "Application/JSON; charset=utf-8")],
            &body,
            201,
        ),
        (vec![], &body, 400),
        (vec![form], &body, 400),
        (vec![HOST, JSON, foreign], &body, 403),
        (vec![HOST, JSON, ("origin", "null")], &body, 403),
        (vec![JSON], "{}", 400),
        (vec![JSON], "", 400),
        (vec![JSON], "{\"key\": 7}", 400),
        (vec![JSON], "{\"key\": \" \"}", 400),
        (vec![JSON], "[]", 400),
    ] {
        let read = house.ask(&Ask {
            method: "POST",
            path: "/v1/session",
            headers: &headers,
            body,
            ..Ask::default()
        });
        assert_eq!(read.status, status, "{headers:?} {body}: {}", read.body);
        assert_eq!(read.headers.contains_key("Set-Cookie"), status == 201);
    }
}

#[test]
fn whoever_is_wrong_ten_times_waits_even_with_the_right_key() {
    let house = House::new();
    for _ in 0..10 {
        assert_eq!(sign_in(&house, "fhk_wrong").status, 401);
    }
    for key in ["fhk_wrong", ADMIN] {
        let read = sign_in(&house, key);
        assert_eq!(read.status, 429);
        assert_eq!(read.text("error_code"), "too_many_requests");
        assert_eq!(read.headers["Retry-After"], "60");
    }
    house.api.clock.set(NOW.plus(Duration::from_secs(60)));
    assert_eq!(sign_in(&house, ADMIN).status, 201);
}

#[test]
fn what_is_done_with_a_cookie_is_on_record_as_such() {
    let house = House::furnished();
    let (_, key) = house.key("admin");
    for (key, actor) in [
        (key.as_str(), "dashboard the admin key"),
        (ADMIN, "dashboard admin key"),
    ] {
        let browser = Browser::of(&house, key);
        browser.ask(&house, "POST", "/v1/members", &json!({"name": "Ana"}));
        let row = &browser.get(&house, "/v1/audit?limit=1").body["data"][0];
        assert_eq!(row["actor"], actor);
        let body = json!({"deployment": "plain", "async": {"enabled": true, "callback_url": URL}});
        let started = browser.ask(&house, "POST", "/v1/workflow/invoke", &body);
        assert_eq!(started.status, 202, "{}", started.body);
        let path = format!("/v1/workflow_runs/{}", started.text("request_id"));
        let run = browser.get(&house, &path);
        assert_eq!(run.body["workflow_run"]["source"], "dashboard");
    }
}

#[test]
fn whoever_signs_out_is_out() {
    let house = House::new();
    let (browser, other) = (Browser::of(&house, ADMIN), Browser::of(&house, ADMIN));
    let out = browser.ask(&house, "DELETE", "/v1/session", &Value::Null);
    assert_eq!((out.status, &out.body), (204, &Value::Null));
    assert_eq!(
        out.headers["Set-Cookie"],
        "skep_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"
    );
    assert_eq!(browser.get(&house, "/v1/session").status, 401);
    assert_eq!(other.get(&house, "/v1/session").status, 200);
}

#[test]
fn an_answer_that_takes_long_can_ask_whether_it_may_go_on() {
    let house = House::new();
    let (id, key) = house.key("read");
    let browser = Browser::of(&house, &key);
    let ask = |key, headers| Ask {
        method: "GET",
        path: "/v1/workflow_runs",
        key,
        headers,
        ..Ask::default()
    };
    let headers = browser.headers();
    let by_cookie = house.admit(&ask("", &headers)).expect("let in");
    let by_key = house.admit(&ask(&key, &[])).expect("let in");
    assert!(matches!(by_cookie.shown, Shown::Session(_)));
    assert!(matches!(by_key.shown, Shown::Key(_)));
    assert!(house.api.is_still_admitted(&by_cookie));
    assert!(house.api.is_still_admitted(&by_key));
    house.api.clock.set(NOW.plus(LIFE));
    assert!(!house.api.is_still_admitted(&by_cookie));
    assert!(house.api.is_still_admitted(&by_key));
    house.ask(&Ask {
        method: "DELETE",
        path: &format!("/v1/keys/{id}"),
        key: ADMIN,
        ..Ask::default()
    });
    assert!(!house.api.is_still_admitted(&by_key));
}

#[test]
fn the_base_path_without_its_slash_leads_to_the_page() {
    let house = House::new();
    let ask = |method, path| Ask {
        method,
        path,
        ..Ask::default()
    };
    let read = house.ask(&ask("GET", "/base"));
    assert_eq!((read.status, &*read.headers["Location"]), (308, "./base/"));
    assert_eq!(house.ask(&ask("POST", "/base")).status, 405);
    assert_eq!(house.ask(&ask("GET", "/bas")).status, 404);
    let at = |path| house.api.route(&House::head(&ask("GET", path)));
    assert_eq!(at("/base"), at("/"));
}
