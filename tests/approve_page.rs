//! The approval page by HTTP: each mode walked as a browser without JavaScript does, and everything that must not decide.

use std::thread;

use serde_json::{Value, json};

use crate::house::{House, has_exactly, rows, text};
use crate::people::{
    Question, approval, asked, deploy, fill_in, form, form_token, is_accepted, link, link_of,
    member, open, says, start,
};
use crate::wire::{Answer, Ask};

/// What every human step's output has.
const OUTPUT: [&str; 11] = [
    "mode",
    "text",
    "choice",
    "approved",
    "decision",
    "form",
    "comment",
    "responded_at",
    "responded_by",
    "channel",
    "timed_out",
];

/// The run's output, once it has ended well.
#[track_caller]
fn output(house: &House, question: &Question) -> Value {
    let run = house.run_is(&question.run, "completed");
    has_exactly(&run["output"], &OUTPUT);
    run["output"].clone()
}

/// Still waiting, and nobody has answered.
#[track_caller]
fn is_untouched(house: &House, question: &Question) {
    let shown = approval(house, &question.id);
    assert_eq!(
        (&shown["status"], &shown["answers"]),
        (&json!("pending"), &json!([]))
    );
    assert_eq!(house.run(&question.run)["status"], "awaiting_approval");
}

/// What the audit says of a question, oldest first.
#[track_caller]
fn noted(house: &House, question: &Question) -> Vec<String> {
    let all = rows(&house.get("/v1/audit?limit=500"));
    let own = all
        .iter()
        .rev()
        .filter(|row| row["target"] == question.id.as_str());
    own.map(|row| text(&row["action"])).collect()
}

fn yes_or_no(recipient: &str) -> Value {
    json!({"mode": "approval", "question": "Publish it?", "recipient": recipient})
}

#[test]
fn an_approval_is_given_and_shown_to_whoever_gave_it() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let mut human = yes_or_no(&ana);
    human["context"] = json!({"title": "A *skep*", "about": "{{ topic }}"});
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    let page = open(&house, &path);
    assert_eq!(page.status, 200);
    says(
        &page,
        &[
            "<html lang=\"en\">",
            "Publish it?",
            "A <em>skep</em>",
            "bees",
            "Ana",
            "left",
        ],
    );
    let wrong = fill_in(&house, &path, &[("comment", "not yet")]);
    assert_eq!(wrong.status, 400);
    says(&wrong, &["role=\"alert\"", "not yet</textarea>"]);
    is_untouched(&house, &question);
    let answer = fill_in(
        &house,
        &path,
        &[("decision", "approved"), ("comment", " fine ")],
    );
    is_accepted(&answer, &path);
    let out = output(&house, &question);
    assert_eq!(
        (&out["approved"], &out["decision"], &out["comment"]),
        (&json!(true), &json!("approved"), &json!("fine"))
    );
    assert_eq!(out["responded_by"], ana.as_str());
    let page = open(&house, &path);
    says(
        &page,
        &["Approved", "Your answer is recorded", &ana, "fine"],
    );
    assert!(!page.text().contains("<form"), "nothing is left to answer");
}

#[test]
fn a_text_is_given_and_a_wrong_one_keeps_what_was_typed() {
    let house = House::start();
    let ana = member(&house, "Ana", "de");
    let human = json!({
        "mode": "text", "question": "Headline?", "recipient": ana, "min_length": 5, "max_length": 20,
    });
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    let typed = [("text", "a\u{202e}<c"), ("comment", "x & y")];
    let wrong = fill_in(&house, &path, &typed);
    assert_eq!(wrong.status, 400);
    says(
        &wrong,
        &[
            "<html lang=\"de\">",
            "5 bis 20 Zeichen",
            "a\u{fffd}&lt;c</textarea>",
            "x &amp; y</textarea>",
        ],
    );
    is_untouched(&house, &question);
    is_accepted(&fill_in(&house, &path, &[("text", "two\r\nlines")]), &path);
    let out = output(&house, &question);
    assert_eq!(
        (&out["text"], &out["decision"]),
        (&json!("two\nlines"), &json!("answered"))
    );
    says(&open(&house, &path), &["Beantwortet", "two\nlines"]);
}

#[test]
fn an_option_is_searched_and_chosen() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let items: Vec<Value> = (0..200)
        .map(|at| json!({"t": format!("Article {at}."), "u": at, "d": "from the agency"}))
        .collect();
    let human = json!({
        "mode": "choices", "question": "Which?", "recipient": ana, "options": items, "label": "t",
        "value": "u", "description": "d",
    });
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    let page = open(&house, &format!("{path}?q=ARTICLE+17."));
    says(
        &page,
        &[
            "1 of 200 options are shown.",
            "value=\"17\"",
            "type=\"search\"",
        ],
    );
    assert_eq!(page.text().matches("type=\"radio\"").count(), 1);
    for wrong in ["200", "-1", "x", ""] {
        let answer = fill_in(&house, &path, &[("choice", wrong), ("q", "Article 17.")]);
        assert_eq!(answer.status, 400, "{wrong}");
        says(
            &answer,
            &["role=\"alert\"", "name=\"q\" value=\"Article 17.\""],
        );
    }
    is_untouched(&house, &question);
    is_accepted(&fill_in(&house, &path, &[("choice", "17")]), &path);
    let choice = &output(&house, &question)["choice"];
    assert_eq!(
        (&choice["label"], &choice["value"]),
        (&json!("Article 17."), &json!(17))
    );
    assert_eq!(choice["raw"], items[17]);
    says(&open(&house, &path), &["Answered", "Article 17."]);
}

#[test]
fn a_form_is_filled_in() {
    let house = House::start();
    let ana = member(&house, "Ana", "es");
    let human = json!({
        "mode": "form", "question": "The order?", "recipient": ana,
        "fields": {
            "amount": {"type": "number", "required": true},
            "urgent": {"type": "boolean", "required": true},
            "tags": {"type": "array"},
            "extra": {"type": "object"},
            "kind": {"type": "text", "enum": ["print", "web"], "default": "web"},
        },
    });
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    says(
        &open(&house, &path),
        &["<option value=\"web\" selected", "Comentario"],
    );
    let good = [
        ("field.amount", "12.5"),
        ("field.urgent", "false"),
        ("field.tags", "[\"a\", 1]"),
        ("field.extra", ""),
        ("field.kind", "print"),
    ];
    for (name, value) in [
        ("field.amount", "a lot"),
        ("field.amount", ""),
        ("field.urgent", "perhaps"),
        ("field.tags", "a, b"),
        ("field.extra", "[]"),
        ("field.kind", "radio"),
    ] {
        let typed = good.map(|(other, kept)| (other, if other == name { value } else { kept }));
        let answer = fill_in(&house, &path, &typed);
        assert_eq!(answer.status, 400, "{name} {value:?}: {}", answer.text());
        let (to, wrong) = (format!("href=\"#{name}\""), format!("id=\"{name}-wrong\""));
        says(&answer, &["role=\"alert\"", &to, &wrong]);
        if name != "field.urgent" {
            says(&answer, &["value=\"false\" checked"]);
        }
    }
    is_untouched(&house, &question);
    is_accepted(&fill_in(&house, &path, &good), &path);
    let wanted = json!({
        "amount": 12.5, "urgent": false, "tags": ["a", 1], "extra": null, "kind": "print",
    });
    assert_eq!(output(&house, &question)["form"], wanted);
    says(&open(&house, &path), &["Respondido", "amount"]);
}

#[test]
fn the_same_answer_again_is_fine_and_another_one_is_told_what_stands() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let mut human = yes_or_no(&ana);
    human["recipients"] = json!([ana, ben]);
    human
        .as_object_mut()
        .expect("an object")
        .remove("recipient");
    let question = asked(&house, "flow", &human);
    let own = link_of(&house, &question.id, &json!({"recipient": ana}));
    let other = link_of(&house, &question.id, &json!({"recipient": "Ben"}));
    let tokens = [&own, &other].map(|path| form_token(&open(&house, path)));
    let send = |path: &str, token: &str, decision: &str| {
        form(
            &house,
            path,
            &[("form_token", token), ("decision", decision)],
        )
        .send()
    };
    is_accepted(&send(&own, &tokens[0], "rejected"), &own);
    assert_eq!(send(&own, &tokens[0], "rejected").status, 200);
    for (path, token) in [(&own, &tokens[0]), (&other, &tokens[1])] {
        let answer = send(path, token, "approved");
        assert_eq!(answer.status, 409);
        says(
            &answer,
            &["role=\"alert\"", "Rejected", &ana, "<time datetime="],
        );
    }
    // What fits no question is another answer too.
    assert_eq!(send(&own, &tokens[0], "perhaps").status, 409);
    says(&open(&house, &other), &["Rejected", &ana]);
    assert_eq!(output(&house, &question)["decision"], "rejected");
}

#[test]
fn those_who_must_agree_are_counted_one_by_one() {
    let house = House::start();
    let all = ["Ana", "Ben", "Cem"].map(|name| member(&house, name, "en"));
    let human = json!({
        "mode": "approval", "question": "Publish it?", "recipients": all, "need": 2,
    });
    let question = asked(&house, "flow", &human);
    let paths = all
        .each_ref()
        .map(|who| link_of(&house, &question.id, &json!({"recipient": who})));
    says(
        &open(&house, &paths[0]),
        &["It takes 2 people who agree. Answers so far: 0."],
    );
    is_accepted(
        &fill_in(&house, &paths[0], &[("decision", "approved")]),
        &paths[0],
    );
    says(
        &open(&house, &paths[0]),
        &["Your answer is recorded", "stays open"],
    );
    let page = open(&house, &paths[1]);
    says(&page, &["Answers so far: 1.", "name=\"decision\""]);
    assert!(
        !page.text().contains(&all[0]),
        "nobody is swayed by what others said"
    );
    assert_eq!(house.run(&question.run)["status"], "awaiting_approval");
    is_accepted(
        &fill_in(&house, &paths[2], &[("decision", "approved")]),
        &paths[2],
    );
    assert_eq!(output(&house, &question)["approved"], true);
    says(&open(&house, &paths[1]), &["Approved", &all[0], &all[2]]);
}

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
    assert_eq!(refused, forged.len() + 1 + 4);
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

#[test]
fn whoever_asked_for_the_run_may_look_but_not_answer() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let human = json!({
        "mode": "approval", "question": "Pay it?", "recipients": [ana, ben], "not_requester": true,
    });
    deploy(&house, "flow", &human);
    let mut body = crate::house::callback_body("flow", &json!({}), "http://127.0.0.1:9/done");
    body["user"] = json!(ana.to_uppercase());
    let run = text(&house.invoke(&body).is(202)["run_id"]);
    let run = house.run_is(&run, "awaiting_approval");
    let question = Question {
        run: text(&run["run_id"]),
        id: text(&run["waiting_on"]["approval_id"]),
    };
    let own = link_of(&house, &question.id, &json!({"recipient": ana}));
    let page = open(&house, &own);
    says(&page, &["Pay it?", "You asked for this yourself"]);
    assert!(!page.text().contains("<form"), "{}", page.text());
    is_untouched(&house, &question);
    let other = link_of(&house, &question.id, &json!({"recipient": ben}));
    is_accepted(
        &fill_in(&house, &other, &[("decision", "approved")]),
        &other,
    );
    assert_eq!(output(&house, &question)["responded_by"], ben.as_str());
}

#[test]
fn where_nobody_is_asked_the_page_asks_for_a_name() {
    let house = House::start();
    let question = asked(
        &house,
        "flow",
        &json!({"mode": "approval", "question": "Publish it?"}),
    );
    let path = link(&house, &question.id);
    says(&open(&house, &path), &["name=\"by\""]);
    let wrong = fill_in(
        &house,
        &path,
        &[("decision", "approved"), ("comment", "kept")],
    );
    assert_eq!(wrong.status, 400);
    says(
        &wrong,
        &["href=\"#by\"", "Write your name.", "kept</textarea>"],
    );
    is_untouched(&house, &question);
    let fields = [("decision", "approved"), ("by", " Zoe ")];
    is_accepted(&fill_in(&house, &path, &fields), &path);
    assert_eq!(output(&house, &question)["responded_by"], "Zoe");
    let german = Ask::new(house.address(), "GET", &path).header("Accept-Language", "fr, de;q=0.7");
    says(&german.send(), &["<html lang=\"de\">", "Zugestimmt", "Zoe"]);
}

#[test]
fn a_form_has_a_bound_and_behind_a_base_path_all_stays_relative() {
    let house = House::plan()
        .set("public_url", "http://skep.example/base")
        .start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let made = house
        .post(&format!("/v1/approvals/{}/link", question.id), &json!({}))
        .is(201);
    let url = text(&made["url"]);
    let path = url
        .strip_prefix("http://skep.example")
        .expect("headed by public_url");
    assert!(path.starts_with("/base/approve/"), "{path}");
    let page = open(&house, path);
    let last = path.rsplit('/').next().unwrap_or_default();
    says(&page, &[&format!("action=\"{last}\"")]);
    let large = "x".repeat(64 << 10);
    let answer = fill_in(
        &house,
        path,
        &[("decision", "approved"), ("comment", &large)],
    );
    assert_eq!(answer.status, 413);
    is_untouched(&house, &question);
    let token = form_token(&page);
    let fields = [("form_token", token.as_str()), ("decision", "approved")];
    let own = form(&house, path, &fields).header("Origin", "http://skep.example");
    is_accepted(&own.send(), path);
}
