//! Approvals by API and command line: listed, shown, decided, handed on, linked; and what a receipt is worth.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use ureq::http::HeaderMap;

use crate::house::{House, has_exactly, rows, text};
use crate::people::{approval, asked, deploy, fill_in, is_accepted, link, member, open, start};
use crate::process::printed;

const ROW: [&str; 20] = [
    "id",
    "status",
    "request_id",
    "run_id",
    "deployment",
    "variant",
    "version",
    "step",
    "mode",
    "question",
    "recipient",
    "need",
    "answered",
    "channel",
    "requester",
    "created_at",
    "expires_at",
    "reminder_at",
    "decided_at",
    "ask",
];

fn decide(house: &House, id: &str, body: &Value) -> crate::wire::Answer {
    house.post(&format!("/v1/approvals/{id}/decide"), body)
}

fn yes_or_no(recipient: &str) -> Value {
    json!({"mode": "approval", "question": "Publish it?", "recipient": recipient})
}

#[test]
fn a_question_is_listed_shown_and_what_a_run_waits_for() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let question = asked(&house, "flow", &yes_or_no(&ana));
    let other = asked(
        &house,
        "other",
        &json!({"mode": "text", "question": "Title?"}),
    );
    let run = house.run(&question.run);
    let waiting = &run["waiting_on"];
    has_exactly(
        waiting,
        &[
            "step",
            "kind",
            "until",
            "approval_id",
            "recipient",
            "expires_at",
        ],
    );
    assert_eq!(
        (&waiting["step"], &waiting["kind"], &waiting["recipient"]),
        (&json!("ask"), &json!("approval"), &json!(ana))
    );
    let shown = approval(&house, &question.id);
    let mut names: Vec<&str> = ROW.to_vec();
    names.extend(["recipients", "answers", "output", "receipt"]);
    has_exactly(&shown, &names);
    assert_eq!(shown["ask"]["question"], "Publish it?");
    assert_eq!(shown["recipients"][0]["email"], ana.as_str());
    assert_eq!(shown["expires_at"], waiting["expires_at"]);
    assert!(
        shown["output"].is_null() && shown["receipt"].is_null(),
        "{shown}"
    );
    let listed = |query: &str| -> Vec<String> {
        let list = house.get(&format!("/v1/approvals{query}"));
        rows(&list).iter().map(|row| text(&row["id"])).collect()
    };
    let (a, b) = (question.id.clone(), other.id.clone());
    let rows = rows(&house.get("/v1/approvals"));
    has_exactly(&rows[0], &ROW[..19]);
    assert_eq!(listed(""), [b.as_str(), a.as_str()], "newest first");
    assert_eq!(listed("?recipient=ANA%40office.example"), [a.as_str()]);
    assert_eq!(
        listed("?recipient=nobody%40office.example"),
        Vec::<String>::new()
    );
    assert_eq!(listed(&format!("?run={}", other.run)), [b.as_str()]);
    decide(&house, &b, &json!({"by": "Zoe", "text": "A skep"})).is(200);
    assert_eq!(listed("?status=pending"), [a.as_str()]);
    assert_eq!(listed("?status=answered,rejected"), [b.as_str()]);
    house
        .ask("GET", "/v1/approvals?status=open")
        .send()
        .refused(400, "validation_error");
    house
        .ask("GET", "/v1/approvals/apr_nobody")
        .send()
        .refused(404, "not_found");
}

#[test]
fn each_mode_is_decided_by_key_for_a_person() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let (_, key) = house.make_key("desk", "approve");
    let options = json!([{"t": "One", "u": 1}, {"t": "Two", "u": {"x": 2}}]);
    let fields = json!({"n": {"type": "number", "required": true}});
    for (mode, more, wrong, field, right, status, shown) in [
        (
            "approval",
            json!({}),
            json!({"decision": "yes"}),
            "/decision",
            json!({"decision": "rejected"}),
            "rejected",
            "rejected",
        ),
        (
            "text",
            json!({"min_length": 3}),
            json!({"text": "ab"}),
            "/text",
            json!({"text": "abc"}),
            "answered",
            "abc",
        ),
        (
            "choices",
            json!({"options": options, "label": "t", "value": "u"}),
            json!({"choice": 2}),
            "/choice",
            json!({"choice": {"x": 2}}),
            "answered",
            "Two",
        ),
        (
            "form",
            json!({"fields": fields}),
            json!({"form": {"n": "x"}}),
            "/form/n",
            json!({"form": {"n": 7}}),
            "answered",
            "{\"n\":7}",
        ),
    ] {
        let mut human = json!({"mode": mode, "question": "So?", "recipient": ana});
        for (name, value) in more.as_object().expect("an object") {
            human[name] = value.clone();
        }
        let question = asked(&house, mode, &human);
        let path = format!("/v1/approvals/{}/decide", question.id);
        let send = |body: &Value, by: &str| {
            let mut body = body.clone();
            body["by"] = json!(by);
            house.ask("POST", &path).key(&key).json(&body).send()
        };
        assert_eq!(
            send(&wrong, &ana).refused(400, "validation_error")["field"],
            field
        );
        for nobody in ["", "Zoe", "zoe@office.example"] {
            assert_eq!(
                send(&right, nobody).refused(400, "validation_error")["field"],
                "/by"
            );
        }
        assert_eq!(approval(&house, &question.id)["status"], "pending");
        let decided = send(&right, "Ana").is(200);
        assert_eq!(decided["status"], status, "{decided}");
        let answer = &decided["answers"][0];
        assert_eq!(
            (&answer["by"], &answer["via"], &answer["shown"]),
            (&json!(ana), &json!("key desk"), &json!(shown))
        );
        let run = house.run_is(&question.run, "completed");
        assert_eq!(run["output"], decided["output"]);
        assert_eq!(run["output"]["responded_by"], ana.as_str());
        let audit = rows(&house.get("/v1/audit?limit=500"));
        let noted = audit.iter().find(|row| {
            row["action"] == "approval.answer" && row["target"] == question.id.as_str()
        });
        assert_eq!(
            noted.expect("it is noted")["actor"],
            format!("key desk for {ana}")
        );
    }
}

#[test]
fn the_first_answer_stands_and_another_is_told_which() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let human = json!({"mode": "approval", "question": "Pay?", "recipients": [ana, ben]});
    let question = asked(&house, "flow", &human);
    let yes = json!({"by": ana, "decision": "approved"});
    let first = decide(&house, &question.id, &yes).is(200);
    assert_eq!(decide(&house, &question.id, &yes).is(200), first);
    for by in [&ana, &ben] {
        let no = json!({"by": by, "decision": "rejected"});
        let refused = decide(&house, &question.id, &no).refused(409, "already_decided");
        assert_eq!(refused["approval"], first, "what stands is told");
    }
    for verb in ["resend", "reassign"] {
        let path = format!("/v1/approvals/{}/{verb}", question.id);
        house
            .post(&path, &json!({"to": ben, "from": ana}))
            .refused(409, "already_decided");
    }
    house.run_is(&question.run, "completed");
}

#[test]
fn of_many_answers_at_once_one_stands() {
    let house = House::start();
    let people: Vec<String> = (0..8)
        .map(|at| member(&house, &format!("P{at}"), "en"))
        .collect();
    let human = json!({
        "mode": "choices", "question": "Which?", "recipients": people,
        "options": ["a", "b", "c", "d", "e", "f", "g", "h"],
    });
    let question = asked(&house, "flow", &human);
    let stood = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (at, person) in people.iter().enumerate() {
            for _ in 0..4 {
                let (house, question, stood) = (&house, &question, &stood);
                scope.spawn(move || {
                    let choice = ["a", "b", "c", "d", "e", "f", "g", "h"][at];
                    let body = json!({"by": person, "choice": choice});
                    let answer = decide(house, &question.id, &body);
                    match answer.status {
                        200 => {
                            assert_eq!(answer.json()["output"]["choice"]["value"], choice);
                            stood.fetch_add(1, Ordering::SeqCst);
                        }
                        _ => {
                            answer.refused(409, "already_decided");
                        }
                    }
                });
            }
        }
    });
    assert!(
        matches!(stood.load(Ordering::SeqCst), 1..=4),
        "one person's, and the same again"
    );
    let shown = approval(&house, &question.id);
    assert_eq!(shown["answers"].as_array().map(Vec::len), Some(1));
    let run = house.run_is(&question.run, "completed");
    assert_eq!(run["output"], shown["output"]);
}

#[test]
fn a_receipt_says_what_was_shown_and_is_signed_by_the_deployment() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let mut human = yes_or_no(&ana);
    human["context"] = json!({"title": "A skep \u{2026} \u{e9}"});
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    is_accepted(
        &fill_in(
            &house,
            &path,
            &[("decision", "approved"), ("comment", "ok")],
        ),
        &path,
    );
    let shown = approval(&house, &question.id);
    let body = &shown["receipt"]["body"];
    for name in [
        "ask",
        "answers",
        "status",
        "decided_at",
        "run_id",
        "request_id",
        "version",
        "step",
    ] {
        assert_eq!(body[name], shown[name], "{name}");
    }
    assert_eq!(
        (&body["approval_id"], &body["answers"][0]["via"]),
        (&shown["id"], &json!("link"))
    );
    let secret = text(&house.get("/v1/deployments/flow")["webhook_secret"]);
    let decided = text(&shown["decided_at"]);
    let seconds = chrono::DateTime::parse_from_rfc3339(&decided)
        .expect("a time")
        .timestamp();
    let verify = |body: &str| {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", question.id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", text(&shown["receipt"]["signature"])),
        ] {
            headers.insert(name, value.parse().expect("a header's value"));
        }
        Webhook::new(&secret)
            .expect("a secret")
            .verify(body.as_bytes(), &headers)
            .is_ok()
    };
    let exact = body.to_string();
    assert!(verify(&exact), "{exact}");
    assert!(!verify(&exact.replace("approved", "rejected")));
}

#[test]
fn a_question_is_told_again_and_handed_on() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let mut human = yes_or_no(&ana);
    human["channel"] = json!("email");
    let question = asked(&house, "flow", &human);
    let told = || -> Vec<(String, String)> {
        let all = house.deliveries(&question.run);
        let pair = |row: &Value| (text(&row["event_type"]), text(&row["url"]));
        let mut told: Vec<_> = all.iter().map(pair).collect();
        told.sort();
        told
    };
    let path = |verb: &str| format!("/v1/approvals/{}/{verb}", question.id);
    house.post(&path("resend"), &json!({})).is(202);
    let mail = |who: &str| format!("mailto:{who}");
    assert_eq!(
        told(),
        [
            ("approval.requested".to_owned(), mail(&ana)),
            ("approval.resent".to_owned(), mail(&ana)),
        ]
    );
    for (body, field) in [
        (json!({}), "/to"),
        (json!({"to": "nobody@office.example"}), "/to"),
        (json!({"to": ana}), "/to"),
        (json!({"to": ben, "from": ben}), "/from"),
    ] {
        let refused = house
            .post(&path("reassign"), &body)
            .refused(400, "validation_error");
        assert_eq!(refused["field"], field, "{body}");
    }
    let shown = house.post(&path("reassign"), &json!({"to": ben})).is(200);
    assert_eq!(shown["recipient"], ben.as_str());
    assert!(shown["recipients"][0]["until"].is_string(), "{shown}");
    assert_eq!(shown["recipients"][1]["because"], "reassigned");
    assert_eq!(told().len(), 3);
    let old = json!({"by": ana, "decision": "approved"});
    assert_eq!(
        decide(&house, &question.id, &old).refused(400, "validation_error")["field"],
        "/by"
    );
    decide(
        &house,
        &question.id,
        &json!({"by": ben, "decision": "approved"}),
    )
    .is(200);
}

#[test]
fn a_link_is_made_by_an_administrator_for_one_who_is_asked() {
    let house = House::start();
    let (ana, ben) = (member(&house, "Ana", "en"), member(&house, "Ben", "en"));
    let zoe = member(&house, "Zoe", "en");
    let human = json!({"mode": "approval", "question": "Pay?", "recipients": [ana, ben]});
    let question = asked(&house, "flow", &human);
    let path = format!("/v1/approvals/{}/link", question.id);
    for body in [
        json!({}),
        json!({"recipient": zoe}),
        json!({"recipient": "x"}),
    ] {
        let refused = house.post(&path, &body).refused(400, "validation_error");
        assert_eq!(refused["field"], "/recipient", "{body}");
    }
    for ttl in [json!("soon"), json!("0s"), json!(5)] {
        let body = json!({"recipient": ana, "ttl": ttl});
        assert_eq!(
            house.post(&path, &body).refused(400, "validation_error")["field"],
            "/ttl"
        );
    }
    let made = house
        .post(&path, &json!({"recipient": ana, "ttl": "10m"}))
        .is(201);
    has_exactly(&made, &["url", "expires_at"]);
    assert!(
        text(&made["url"]).starts_with(&format!("{}/approve/", house.url())),
        "{made}"
    );
}

#[test]
fn the_starter_s_key_may_not_answer_where_the_requester_may_not() {
    let house = House::start();
    let (_, starter) = house.make_key("starter", "admin");
    let (_, desk) = house.make_key("desk", "approve");
    let human = json!({"mode": "approval", "question": "Pay?", "not_requester": true});
    deploy(&house, "flow", &human);
    let body = crate::house::callback_body("flow", &json!({}), "http://127.0.0.1:9/done");
    let ask = house
        .ask("POST", "/v1/workflow/invoke")
        .key(&starter)
        .json(&body);
    let run = text(&ask.send().is(202)["run_id"]);
    let run = house.run_is(&run, "awaiting_approval");
    let id = text(&run["waiting_on"]["approval_id"]);
    let path = format!("/v1/approvals/{id}/decide");
    let yes = json!({"by": "Zoe", "decision": "approved"});
    let refused = house.ask("POST", &path).key(&starter).json(&yes).send();
    let refused = refused.refused(403, "insufficient_scope");
    assert!(
        text(&refused["error"]).contains("started the run"),
        "{refused}"
    );
    house
        .ask("POST", &path)
        .key(&desk)
        .json(&yes)
        .send()
        .is(200);
}

#[test]
fn the_command_line_lists_shows_links_and_decides() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let human = json!({
        "mode": "choices", "question": "Which one?", "recipient": ana,
        "options": [{"t": "One", "u": 1}, {"t": "Two", "u": 2}], "label": "t", "value": "u",
    });
    deploy(&house, "flow", &human);
    let question = start(&house, "flow", &json!({}));
    let id = question.id.as_str();
    let done = |args: &[&str]| {
        let output = house.cli(args);
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let listed = done(&["approvals", "list", "--status", "pending"]);
    assert!(
        listed.contains(id) && listed.contains("Which one?"),
        "{listed}"
    );
    let shown = done(&["approvals", "show", id]);
    assert!(shown.contains(&ana) && shown.contains("Two"), "{shown}");
    let url = done(&["approvals", "link", id]);
    let path = url
        .trim()
        .strip_prefix(&house.url())
        .expect("on this server");
    assert_eq!(open(&house, path).status, 200);
    for args in [
        &["approvals", "decide", id, "--by", &ana][..],
        &[
            "approvals",
            "decide",
            id,
            "--by",
            &ana,
            "--approve",
            "--reject",
        ],
        &["approvals", "decide", id, "--choice", "Two"],
        &["approvals", "decide", id, "--by", &ana, "--form", "{"],
    ] {
        assert_eq!(house.cli(args).status.code(), Some(2), "{args:?}");
    }
    let wrong = house.cli(&["approvals", "decide", id, "--by", &ana, "--choice", "Three"]);
    assert_eq!(wrong.status.code(), Some(1));
    let decided = done(&["approvals", "decide", id, "--by", &ana, "--choice", "Two"]);
    assert!(decided.contains("answered"), "{decided}");
    assert_eq!(
        house.run_is(&question.run, "completed")["output"]["choice"]["value"],
        2
    );
}
