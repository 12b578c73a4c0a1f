//! What must not decide: scanners, forged forms, links that were guessed, cut, taken away or have expired; and what a page
//! must not let happen to it.

use std::thread;

use serde_json::json;

use super::{is_untouched, noted, output, yes_or_no};
use crate::house::House;
use crate::people::{
    asked, deploy, fill_in, form, form_token, is_accepted, link, link_of, member, open, says, start,
};
use crate::wire::{Answer, Ask};

#[test]
fn a_form_that_is_not_the_page_s_decides_nothing() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let mut human = yes_or_no(&ana);
    human["recipients"] = json!([ana, ben]);
    human
        .as_object_mut()
        .expect("an object")
        .remove("recipient");
    let question = asked(&house, "flow", &human);
    let another = start(&house, "flow", &json!({}));
    let ana = json!({"recipient": ana});
    let path = link_of(&house, &question.id, &ana);
    let own = form_token(&open(&house, &path));
    let others = [
        link_of(&house, &question.id, &ana),
        link_of(&house, &question.id, &json!({"recipient": ben})),
        link_of(&house, &another.id, &ana),
    ];
    let mut forged = others
        .map(|other| form_token(&open(&house, &other)))
        .to_vec();
    forged.extend(["", "0", &own[1..], &own.to_uppercase()].map(str::to_owned));
    for token in &forged {
        let fields = [("form_token", token.as_str()), ("decision", "approved")];
        let answer = form(&house, &path, &fields).send();
        assert_eq!(answer.status, 403, "{token}");
        says(&answer, &["not accepted"]);
    }
    assert_eq!(
        form(&house, &path, &[("decision", "approved")])
            .send()
            .status,
        403
    );
    let fields = [("form_token", own.as_str()), ("decision", "approved")];
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "http://127.0.0.1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer = form(&house, &path, &fields).header(name, value).send();
        assert_eq!(answer.status, 403, "{name}: {value}");
    }
    let ask = Ask::new(house.address(), "POST", &path);
    ask.json(&json!({"form_token": own, "decision": "approved"}))
        .send()
        .refused(400, "malformed_body");
    is_untouched(&house, &question);
    let refused = noted(&house, &question)
        .iter()
        .filter(|it| *it == "approval.refuse")
        .count();
    assert_eq!(refused, 2, "each reason is noted, and once an hour");
    // As most browsers send it: the page asks them to send no referrer.
    let answer = form(&house, &path, &fields)
        .header("Origin", "null")
        .header("Sec-Fetch-Site", "same-origin");
    is_accepted(&answer.send(), &path);
    is_untouched(&house, &another);
}

#[test]
fn a_token_that_was_guessed_cut_or_taken_away_leads_nowhere() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let path = link(&house, &question.id);
    let token = form_token(&open(&house, &path));
    let cut = &path[..path.len() - 1];
    let guesses = [
        format!("/approve/{}", "A".repeat(43)),
        cut.to_owned(),
        format!("{cut}%00"),
        format!("{path}x"),
        format!("/approve/{}", question.id),
        "/approve/%27%20OR%201=1--".to_owned(),
    ];
    let nowhere = |path: &str| {
        for answer in [
            open(&house, path),
            form(
                &house,
                path,
                &[("form_token", &token), ("decision", "approved")],
            )
            .send(),
            form(&house, path, &[("form_token", &token), ("again", "1")]).send(),
        ] {
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.text().contains("Publish"), "{}", answer.text());
        }
    };
    guesses.iter().for_each(|guess| nowhere(guess));
    is_untouched(&house, &question);
    // Handed on to somebody else, the link is a stranger's.
    let to = json!({"to": ben});
    house
        .post(&format!("/v1/approvals/{}/reassign", question.id), &to)
        .is(200);
    nowhere(&path);
    is_untouched(&house, &question);
    let path = link(&house, &question.id);
    is_accepted(&fill_in(&house, &path, &[("decision", "approved")]), &path);
    assert_eq!(output(&house, &question)["responded_by"], ben.as_str());
}

#[test]
fn a_link_that_is_nobody_s_ends_when_somebody_is_asked() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let human = json!({"mode": "approval", "question": "Publish it?"});
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    let token = form_token(&open(&house, &path));
    let to = json!({"to": ana});
    house
        .post(&format!("/v1/approvals/{}/reassign", question.id), &to)
        .is(200);
    let fields = [
        ("form_token", token.as_str()),
        ("decision", "approved"),
        ("by", "Ana"),
    ];
    for answer in [open(&house, &path), form(&house, &path, &fields).send()] {
        assert_eq!(answer.status, 404);
        assert!(!answer.text().contains("Publish"), "{}", answer.text());
    }
    is_untouched(&house, &question);
    let own = link(&house, &question.id);
    is_accepted(&fill_in(&house, &own, &[("decision", "rejected")]), &own);
    assert_eq!(open(&house, &path).status, 404, "decided or not");
}

#[test]
fn no_link_fills_the_audit_whatever_is_sent_by_it() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let expired = link_of(&house, &question.id, &json!({"ttl": "1ms"}));
    let path = link(&house, &question.id);
    let tokens = [&expired, &path].map(|path| form_token(&open(&house, path)));
    is_accepted(&fill_in(&house, &path, &[("decision", "approved")]), &path);
    let before = noted(&house, &question).len();
    for at in 0..10 {
        for (path, token, status) in [
            (&expired, tokens[0].as_str(), 410),
            (&expired, "forged", 403),
            (&path, tokens[1].as_str(), 409),
            (&path, "forged", 403),
        ] {
            let comment = format!("again {at}");
            let fields = [
                ("form_token", token),
                ("decision", "rejected"),
                ("comment", &comment),
            ];
            assert_eq!(form(&house, path, &fields).send().status, status);
        }
        let api = format!("/v1/approvals/{}/decide", question.id);
        let other = json!({"by": ana, "decision": "rejected"});
        house.post(&api, &other).refused(409, "already_decided");
    }
    let new = noted(&house, &question).split_off(before);
    assert_eq!(new, ["approval.refuse"; 5], "each once");
}

#[test]
fn an_expired_link_tells_nothing_and_a_fresh_one_can_be_had_three_times_an_hour() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let mut human = yes_or_no(&ana);
    human["channel"] = json!("email");
    let question = asked(&house, "payroll", &human);
    let path = link_of(&house, &question.id, &json!({"ttl": "1ms"}));
    let page = open(&house, &path);
    assert_eq!(page.status, 200);
    says(&page, &["This link has expired", "name=\"again\""]);
    let token = form_token(&page);
    let hides = |answer: &Answer| {
        let html = answer.text();
        let hidden = ["Publish", "payroll", &ana]
            .iter()
            .all(|word| !html.contains(*word));
        assert!(hidden, "{html}");
    };
    hides(&page);
    let fields = [
        ("form_token", token.as_str()),
        ("decision", "approved"),
        ("comment", "typed"),
    ];
    let late = form(&house, &path, &fields).send();
    assert_eq!(late.status, 410);
    says(&late, &["was not counted", "typed"]);
    hides(&late);
    is_untouched(&house, &question);
    let again = || form(&house, &path, &[("form_token", &token), ("again", "1")]).send();
    for _ in 0..3 {
        let answer = again();
        assert_eq!(answer.status, 200);
        says(&answer, &["A fresh link is on its way"]);
        hides(&answer);
    }
    let answer = again();
    assert_eq!(answer.status, 429);
    hides(&answer);
    let sent = house.deliveries(&question.run);
    let resent = sent
        .iter()
        .filter(|row| row["event_type"] == "approval.resent")
        .count();
    assert_eq!(resent, 3);
    // A fresh one shows the question; once it is decided, the expired one still tells nothing.
    let fresh = link(&house, &question.id);
    is_accepted(
        &fill_in(&house, &fresh, &[("decision", "approved")]),
        &fresh,
    );
    hides(&open(&house, &path));
    let closed = again();
    says(&closed, &["nothing to answer any more"]);
    hides(&closed);
}

/// What mail scanners, previews and browsers that fetch ahead send.
const SCANNERS: [(&str, &str); 6] = [
    ("Sec-Purpose", "prefetch;prerender"),
    ("Purpose", "prefetch"),
    ("X-Moz", "prefetch"),
    ("X-Purpose", "preview"),
    (
        "User-Agent",
        "Mozilla/5.0 (compatible; SafeLinks; Slackbot-LinkExpanding 1.0)",
    ),
    ("Accept", "image/*"),
];

#[test]
fn fifty_scanners_leave_it_open_and_then_the_person_decides() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let path = link(&house, &question.id);
    thread::scope(|scope| {
        for at in 0..50 {
            let (house, path) = (&house, &path);
            scope.spawn(move || {
                for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 405)] {
                    for query in ["", "?decision=approved", "?q=x&again=1&form_token=0"] {
                        let mut ask = Ask::new(house.address(), method, &format!("{path}{query}"));
                        for (name, value) in SCANNERS.iter().cycle().skip(at).take(at % 7) {
                            ask = ask.header(name, value);
                        }
                        let answer = ask.raw();
                        let start = format!("HTTP/1.1 {status} ");
                        assert!(answer.starts_with(&start), "{method} {query}: {answer}");
                    }
                }
            });
        }
    });
    is_untouched(&house, &question);
    let views = noted(&house, &question)
        .iter()
        .filter(|it| *it == "approval.view")
        .count();
    assert!(views <= 1, "a link's views are noted once an hour: {views}");
    is_accepted(&fill_in(&house, &path, &[("decision", "approved")]), &path);
    assert_eq!(output(&house, &question)["approved"], true);
}

#[test]
fn no_answer_can_be_framed_cached_or_referred_to_and_none_holds_a_script() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let path = link(&house, &question.id);
    let expired = link_of(&house, &question.id, &json!({"ttl": "1ms"}));
    let unknown = format!("/approve/{}", "A".repeat(43));
    let answers = [
        open(&house, &path),
        open(&house, &expired),
        open(&house, &unknown),
        fill_in(&house, &path, &[]),
        form(&house, &path, &[]).send(),
        fill_in(&house, &path, &[("decision", "approved")]),
        open(&house, &path),
    ];
    for answer in &answers {
        for (name, value) in [
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("x-robots-tag", "noindex, nofollow"),
        ] {
            assert_eq!(
                answer.header(name),
                Some(value),
                "{name} of {}",
                answer.status
            );
        }
        let policy = answer.header("content-security-policy").unwrap_or_default();
        for part in [
            "default-src 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part} is missing in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("script"),
            "{policy}"
        );
        let html = answer.text().to_lowercase();
        for word in [
            "<script",
            "javascript:",
            " onclick",
            "<img",
            "<link",
            "style=",
            "src=",
        ] {
            assert!(!html.contains(word), "{word} in {html}");
        }
    }
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        let refused = Ask::new(house.address(), method, &path).send();
        refused.refused(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, POST"), "{method}");
    }
}

#[test]
fn a_head_is_the_page_without_its_body_and_no_log_or_figure_knows_a_token() {
    let house = House::plan().set("log_level", "trace").start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let path = link(&house, &question.id);
    let page = open(&house, &path);
    let head = Ask::new(house.address(), "HEAD", &path)
        .raw()
        .to_lowercase();
    assert!(
        head.starts_with("http/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!("content-length: {}\r\n", page.body.len())),
        "{head}"
    );
    fill_in(&house, &path, &[("decision", "approved")]);
    open(&house, &format!("{path}x"));
    let token = path.rsplit('/').next().unwrap_or_default();
    let metrics = Ask::new(house.address(), "GET", "/metrics").send().text();
    assert!(metrics.contains("/approve/{token}") && !metrics.contains(token));
    house.stop();
    assert!(house.log().contains("/approve/{token}") && !house.log().contains(token));
    for file in std::fs::read_dir(house.path(""))
        .expect("the folder is ours")
        .flatten()
    {
        let found = crate::house::count_in_file(&file.path(), token.as_bytes());
        assert_eq!(found, 0, "{:?}", file.path());
    }
}

#[test]
fn hostile_texts_of_an_input_are_shown_as_texts() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let human = json!({
        "mode": "choices", "question": "{{ topic }}?", "recipient": ana, "options": ["{{ topic }}"],
        "context": {"about": "{{ topic }}"},
    });
    deploy(&house, "flow", &human);
    let hostile = "\u{202e}\"><script>alert(1)</script>[x](javascript:alert(1))";
    let question = start(&house, "flow", &json!({"topic": hostile}));
    let path = link(&house, &question.id);
    for page in [open(&house, &path), fill_in(&house, &path, &[])] {
        let html = page.text();
        says(&page, &["&lt;script&gt;alert(1)&lt;/script&gt;"]);
        for word in ["<script", "\u{202e}", "href=\"javascript", "\"><script"] {
            assert!(!html.contains(word), "{word} in {html}");
        }
    }
    is_accepted(&fill_in(&house, &path, &[("choice", "0")]), &path);
    assert_eq!(
        output(&house, &question)["choice"]["value"],
        hostile,
        "what was chosen is not changed"
    );
    assert!(!open(&house, &path).text().contains("<script"));
}
