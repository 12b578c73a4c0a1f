//! The page over plain values: what each mode shows, what stays after a mistake, and what hostile texts become.

use serde_json::{Value, json};

use super::fields::mistakes;
use super::page::{Asked, Done, Entered, Line, Message, Wrong, done, message, question};
use super::words;
use crate::flow::answer::{Offered, read_answer};
use crate::flow::approval::{ApprovalStatus, Ask};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// Every text from outside is this one.
const HOSTILE: &str = "\u{202e}\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;";

fn ask(more: Value) -> Ask {
    let mut ask = json!({
        "mode": "approval", "question": "Publish it?", "need": 1, "channel": "email",
        "link_ttl_ms": 3_600_000, "timeout_ms": 259_200_000, "on_timeout": "fail",
        "min_length": 1, "max_length": 100,
    });
    let members = ask.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().expect("an object"));
    serde_json::from_value(ask).expect("an ask")
}

fn entered(pairs: &[(&str, &str)]) -> Entered {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Entered(pairs.iter().map(owned).collect())
}

/// The question as it is shown; `lang`, what was searched, what was entered.
fn shown(ask: &Ask, lang: &str, query: &str, entered: &Entered, wrong: &[Wrong]) -> String {
    question(&Asked {
        words: words::of(lang),
        ask,
        place: "news/prod",
        member: Some("Ana"),
        token: "TOKEN",
        form_token: "FORM",
        now: NOW,
        expires_at: Timestamp(NOW.0 + 90_000_000),
        given: 1,
        barred: None,
        query,
        entered,
        wrong,
    })
    .into_string()
}

fn plain(ask: &Ask) -> String {
    shown(ask, "en", "", &Entered::default(), &[])
}

/// The page after a wrong answer.
fn after(ask: &Ask, pairs: &[(&str, &str)]) -> String {
    let entered = entered(pairs);
    let misfit = read_answer(ask, Offered::Form(&entered.0)).expect_err("it does not fit");
    let wrong = mistakes(words::of("en"), ask, &entered, &misfit);
    shown(ask, "en", "", &entered, &wrong)
}

/// The page holds each of these.
#[track_caller]
fn has(html: &str, parts: &[&str]) {
    for part in parts {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
}

fn options(count: usize) -> Value {
    let all = (0..count).map(
        |at| json!({"label": format!("Option {at}."), "value": at, "description": "", "raw": null}),
    );
    all.collect()
}

#[test]
fn the_enter_key_decides_nothing() {
    let page = plain(&ask(json!({})));
    let first = page.find("<button").expect("a button");
    assert!(page[first..].starts_with("<button type=\"submit\" disabled hidden>"));
    let text = plain(&ask(json!({"mode": "text"})));
    assert!(!text.contains("disabled"));
}

#[test]
fn all_that_is_wrong_with_a_form_is_said_at_once() {
    let fields = json!([
        {"name": "title", "type": "text", "required": true},
        {"name": "amount", "type": "number", "required": true},
        {"name": "tags", "type": "array"},
        {"name": "size", "type": "text", "enum": ["s", "m"], "required": true},
    ]);
    let form = ask(json!({"mode": "form", "fields": fields}));
    let page = after(&form, &[("field.amount", "many"), ("field.tags", "[]")]);
    has(
        &page,
        &[
            "<a href=\"#field.title\">Fill in “title”.</a>",
            "<a href=\"#field.amount\">“amount” must be a number, such as 12.5.</a>",
            "<a href=\"#field.size\">Choose one of the values for “size”.</a>",
        ],
    );
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 3, "{page}");
}

#[test]
fn each_mode_has_its_own_controls() {
    let approval = plain(&ask(json!({})));
    has(
        &approval,
        &[
            "<html lang=\"en\">",
            "<h1 dir=\"auto\">Publish it?</h1>",
            "name=\"decision\" value=\"approved\"",
            "name=\"decision\" value=\"rejected\"",
            "name=\"comment\"",
            "1 day and 1 hour left",
            "<time datetime=\"2026-09-22T15:13:20.000Z\">",
            "action=\"TOKEN\"",
            "value=\"FORM\"",
        ],
    );
    assert_eq!(approval.matches("<h1").count(), 1);
    let text = plain(&ask(json!({"mode": "text", "min_length": 3})));
    has(&text, &["<textarea id=\"text\"", "3 to 100 characters"]);
    let choices = plain(&ask(json!({"mode": "choices", "options": options(20)})));
    has(
        &choices,
        &["value=\"0\"", "value=\"19\"", "Option 19.", "<legend>"],
    );
    assert!(!choices.contains("type=\"search\""), "20 need no search");
    assert!(
        !choices.contains(" checked>"),
        "nothing is chosen for anyone"
    );
    let fields = json!([
        {"name": "amount", "type": "number", "required": true, "default": 12.5},
        {"name": "ok", "type": "boolean", "default": true},
        {"name": "tags", "type": "array", "description": "Some tags"},
        {"name": "kind", "type": "text", "enum": ["a", "b"], "default": "b"},
    ]);
    let form = plain(&ask(json!({"mode": "form", "fields": fields})));
    has(
        &form,
        &[
            "name=\"field.amount\" value=\"12.5\"",
            "inputmode=\"decimal\"",
            "name=\"field.ok\" value=\"true\" checked",
            "Some tags",
            "<option value=\"b\" selected",
        ],
    );
}

#[test]
fn more_than_twenty_options_can_be_searched_and_one_that_is_chosen_stays() {
    let ask = ask(json!({"mode": "choices", "options": options(200)}));
    has(&plain(&ask), &["type=\"search\"", "method=\"get\""]);
    let found = shown(&ask, "en", "OPTION 7.", &Entered::default(), &[]);
    has(
        &found,
        &[
            "1 of 200 options are shown.",
            "value=\"7\"",
            "name=\"q\" value=\"OPTION 7.\"",
        ],
    );
    assert_eq!(found.matches("type=\"radio\"").count(), 1);
    let entered = entered(&[("choice", "150")]);
    let kept = shown(&ask, "en", "Option 7.", &entered, &[]);
    has(&kept, &["2 of 200", "value=\"150\" checked"]);
    let none = shown(&ask, "de", "nothing like it", &Entered::default(), &[]);
    has(&none, &["0 von 200 Optionen", "Alle Optionen zeigen"]);
}

#[test]
fn a_mistake_is_told_beside_its_field_and_keeps_what_was_typed() {
    let text = after(
        &ask(json!({"mode": "text", "min_length": 5})),
        &[("text", "abc"), ("comment", "a note")],
    );
    has(
        &text,
        &[
            "role=\"alert\"",
            "autofocus",
            "href=\"#text\"",
            "The answer must have 5 to 100 characters; it has 3.",
            "aria-invalid=\"true\" aria-describedby=\"text-hint text-wrong\"",
            ">\nabc</textarea>",
            ">\na note</textarea>",
            "<title>Please check your answer: Publish it?</title>",
        ],
    );
    let fields = json!([
        {"name": "amount", "type": "number", "required": true},
        {"name": "ok", "type": "boolean", "required": true},
        {"name": "data", "type": "object"},
    ]);
    let form = ask(json!({"mode": "form", "fields": fields}));
    for (pairs, told, kept) in [
        (
            &[("field.amount", "a lot"), ("field.ok", "true")][..],
            "must be a number",
            "value=\"a lot\"",
        ),
        (
            &[
                ("field.amount", ""),
                ("field.ok", "false"),
                ("field.data", "{}"),
            ],
            "Fill in",
            "value=\"false\" checked",
        ),
        (
            &[("field.amount", "1"), ("field.data", "x")],
            "must be an object in JSON",
            "value=\"1\"",
        ),
        (&[("field.amount", "1")], "Choose Yes or No", "value=\"1\""),
    ] {
        has(&after(&form, pairs), &[told, kept, "role=\"alert\""]);
    }
    let choices = ask(json!({"mode": "choices", "options": options(3)}));
    let html = after(&choices, &[("choice", "3")]);
    has(
        &html,
        &[
            "href=\"#choices\"",
            "id=\"choices\"",
            "Choose one of the options.",
        ],
    );
    let html = after(&ask(json!({})), &[("comment", "a note")]);
    has(
        &html,
        &[
            "href=\"#decision\"",
            "id=\"decision\"",
            ">\na note</textarea>",
        ],
    );
}

#[test]
fn every_link_of_a_summary_leads_to_a_place_on_the_page() {
    let fields = json!([{"name": "a", "type": "text", "required": true}]);
    for (ask, pairs) in [
        (ask(json!({"mode": "text"})), &[][..]),
        (ask(json!({})), &[("decision", "maybe")]),
        (ask(json!({"mode": "choices", "options": options(2)})), &[]),
        (
            ask(json!({"mode": "form", "fields": fields})),
            &[("field.b", "1")],
        ),
        (ask(json!({"mode": "form", "fields": fields})), &[]),
    ] {
        let html = after(&ask, pairs);
        let target = html
            .split("href=\"#")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let target = target.expect("a link");
        has(&html, &[&format!("id=\"{target}\"")]);
    }
}

#[test]
fn hostile_texts_are_shown_as_texts() {
    let option = json!({"label": HOSTILE, "value": 1, "description": HOSTILE, "raw": null});
    let field = json!({"name": "a", "type": "text", "description": HOSTILE, "default": HOSTILE});
    let context = json!({HOSTILE: HOSTILE, "n": {"x": HOSTILE}, "m": [HOSTILE]});
    let entered = entered(&[("text", HOSTILE), ("comment", HOSTILE), ("by", HOSTILE)]);
    let hostile = |more: Value| {
        let mut all = json!({"question": HOSTILE, "context": context});
        let members = all.as_object_mut().expect("an object");
        members.extend(more.as_object().cloned().expect("an object"));
        ask(all)
    };
    for ask in [
        hostile(json!({})),
        hostile(json!({"mode": "text"})),
        hostile(json!({"mode": "choices", "options": [option]})),
        hostile(json!({"mode": "form", "fields": [field]})),
    ] {
        let line = Line {
            by: HOSTILE.to_owned(),
            answer: HOSTILE.to_owned(),
            form: Vec::new(),
            comment: Some(HOSTILE.to_owned()),
            at: NOW,
            is_own: true,
        };
        let decided = done(&Done {
            words: words::of("en"),
            ask: &ask,
            status: ApprovalStatus::Answered,
            decided_at: Some(NOW),
            answers: vec![line],
            is_taken: false,
        });
        let kept = message(&Message {
            words: words::of("en"),
            title: "t",
            texts: &[],
            kept: &[HOSTILE.to_owned()],
            fresh: None,
            back: None,
        });
        let mut entering = Asked {
            words: words::of("en"),
            ask: &ask,
            place: HOSTILE,
            member: None,
            token: "TOKEN",
            form_token: "FORM",
            now: NOW,
            expires_at: NOW,
            given: 0,
            barred: None,
            query: HOSTILE,
            entered: &entered,
            wrong: &[],
        };
        let nameless = question(&entering);
        entering.member = Some(HOSTILE);
        let named = question(&entering);
        for html in [decided, kept, nameless, named].map(maud::PreEscaped::into_string) {
            for tag in [
                "<script",
                "<img",
                "onerror=alert(2)>&amp;<",
                "\"'>",
                "\u{202e}",
            ] {
                assert!(!html.contains(tag), "{tag} in {html}");
            }
            assert!(html.contains("&lt;script&gt;"), "{html}");
        }
    }
}

#[test]
fn what_became_of_it_says_who_what_and_when() {
    let line = |is_own| Line {
        by: "ana@example.com".to_owned(),
        answer: "approved".to_owned(),
        form: Vec::new(),
        comment: Some("fine".to_owned()),
        at: NOW,
        is_own,
    };
    let page = |lang: &str, status, answers, is_taken| {
        let decided_at = (status != ApprovalStatus::Pending).then_some(NOW);
        done(&Done {
            words: words::of(lang),
            ask: &ask(json!({})),
            status,
            decided_at,
            answers,
            is_taken,
        })
        .into_string()
    };
    let own = page("en", ApprovalStatus::Approved, vec![line(true)], false);
    has(
        &own,
        &[
            "<h1>Approved</h1>",
            "Your answer is recorded",
            "ana@example.com",
            "fine",
            "(You)",
        ],
    );
    has(
        &own,
        &["<time datetime=\"2026-09-21T14:13:20.000Z\">21 September 2026, 14:13 UTC</time>"],
    );
    let other = page("de", ApprovalStatus::Approved, vec![line(false)], true);
    has(
        &other,
        &[
            "<html lang=\"de\">",
            "role=\"alert\"",
            "nicht gezählt",
            "Zugestimmt",
        ],
    );
    assert!(!other.contains("(Sie)"));
    let counted = page("es", ApprovalStatus::Pending, vec![line(true)], false);
    has(&counted, &["sigue abierta"]);
    let late = page("en", ApprovalStatus::TimedOut, vec![], false);
    has(&late, &["<h1>Nobody answered in time</h1>"]);
}

#[test]
fn who_may_only_look_is_told_why_and_finds_no_form() {
    let words = words::of("en");
    let html = question(&Asked {
        words,
        ask: &ask(json!({"not_requester": true})),
        place: "news/prod",
        member: Some("Ana"),
        token: "TOKEN",
        form_token: "FORM",
        now: NOW,
        expires_at: NOW,
        given: 0,
        barred: Some(words.requester),
        query: "",
        entered: &Entered::default(),
        wrong: &[],
    })
    .into_string();
    has(
        &html,
        &["You asked for this yourself", "less than a minute left"],
    );
    assert!(!html.contains("<form"), "{html}");
}

#[test]
fn no_page_holds_a_script_a_picture_or_anything_from_elsewhere() {
    let html = plain(&ask(
        json!({"context": {"a": "![x](https://evil.example/x.png)"}}),
    ));
    for word in [
        "<script", "<img", "<link", "src=", "@import", "url(", "http://", "https://",
    ] {
        assert!(!html.contains(word), "{word} in {html}");
    }
}
