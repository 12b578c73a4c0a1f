//! The approval page by HTTP: each mode walked as a browser without JavaScript does.

mod attacks; // and everything that must not decide

use serde_json::{Value, json};

use crate::house::{House, has_exactly, rows, text};
use crate::people::{
    OUTPUT, Question, approval, asked, deploy, fill_in, form, form_token, is_accepted, link,
    link_of, member, open, says,
};
use crate::wire::Ask;

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
fn the_longest_text_arrives_in_any_script() {
    let house = House::start();
    let ana = member(&house, "Ana", "en");
    let human = json!({"mode": "text", "question": "The text?", "recipient": ana});
    let question = asked(&house, "flow", &human);
    let path = link(&house, &question.id);
    // Nine bytes of a form each.
    let long = "蜂".repeat(10_000);
    is_accepted(&fill_in(&house, &path, &[("text", &long)]), &path);
    assert_eq!(output(&house, &question)["text"], long.as_str());
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
    member(&house, "Zoe", "en");
    let fields = [("decision", "approved"), ("by", " Zoe ")];
    is_accepted(&fill_in(&house, &path, &fields), &path);
    assert_eq!(output(&house, &question)["responded_by"], "Zoe");
    let answer = &approval(&house, &question.id)["answers"][0];
    assert_eq!(
        (&answer["by"], &answer["via"]),
        (&json!("Zoe"), &json!("open link")),
        "a name that was typed is no member's"
    );
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
    let large = "x".repeat(1 << 20);
    let answer = fill_in(
        &house,
        path,
        &[("decision", "approved"), ("comment", &large)],
    );
    assert_eq!(answer.status, 413);
    says(
        &answer,
        &["<html lang=\"en\">", "longer than this server takes"],
    );
    assert_eq!(
        answer.header("content-security-policy"),
        page.header("content-security-policy")
    );
    is_untouched(&house, &question);
    let token = form_token(&page);
    let fields = [("form_token", token.as_str()), ("decision", "approved")];
    let own = form(&house, path, &fields).header("Origin", "http://skep.example");
    is_accepted(&own.send(), path);
}
