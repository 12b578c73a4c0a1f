//! Which answers fit.

mod deciding;

use serde_json::{Value, json};

use super::*;
use crate::flow::approval::{Channel, OnTimeout};

fn ask(mode: Mode) -> Ask {
    Ask {
        mode,
        question: "Q".to_owned(),
        context: Map::new(),
        options: Vec::new(),
        min_length: 1,
        max_length: 10,
        fields: Vec::new(),
        recipients: vec!["r".to_owned()],
        need: 1,
        not_requester: false,
        channel: Channel::Email,
        link_ttl_ms: 1,
        timeout_ms: 1,
        remind_ms: Vec::new(),
        escalate: None,
        on_timeout: OnTimeout::Fail,
    }
}

fn choices(values: &[Value]) -> Ask {
    let options = values.iter().enumerate().map(|(at, value)| Choice {
        label: format!("L{at}"),
        value: value.clone(),
        description: format!("D{at}"),
        raw: json!({ "v": value }),
    });
    Ask {
        options: options.collect(),
        ..ask(Mode::Choices)
    }
}

fn form_of(fields: Value) -> Ask {
    Ask {
        fields: serde_json::from_value(fields).expect("they are fields"),
        ..ask(Mode::Form)
    }
}

fn by_body(ask: &Ask, body: Value) -> Result<Offer, Misfit> {
    read_answer(ask, Offered::Body(body.as_object().expect("an object")))
}

fn by_page(ask: &Ask, pairs: &[(&str, &str)]) -> Result<Offer, Misfit> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    read_answer(ask, Offered::Form(&pairs))
}

fn fits(offer: Result<Offer, Misfit>) -> Answer {
    offer.expect("it fits").answer
}

/// The pointer, and the sentence.
fn wrong(offer: Result<Offer, Misfit>) -> (String, String, Why) {
    let misfit = offer.expect_err("it does not fit");
    (misfit.field, misfit.message, misfit.why)
}

fn told(offer: Result<Offer, Misfit>) -> String {
    let (field, message, _) = wrong(offer);
    format!("{field}: {message}")
}

#[test]
fn a_choice_is_a_value_to_the_api_and_a_place_on_the_page() {
    let ask = choices(&[json!("a"), json!(2), json!(null), json!({"x": [1]})]);
    for (at, value) in [json!("a"), json!(2.0), json!(null), json!({"x": [1]})]
        .iter()
        .enumerate()
    {
        assert_eq!(
            fits(by_body(&ask, json!({ "choice": value }))),
            Answer::Choice(at)
        );
        assert_eq!(
            fits(by_page(&ask, &[("choice", &at.to_string())])),
            Answer::Choice(at)
        );
    }
    let (field, message, why) = wrong(by_body(&ask, json!({"choice": "b"})));
    assert_eq!((field.as_str(), why), ("/choice", Why::NotAnOption));
    assert_eq!(
        message,
        r#"`choice` must be one of "a", 2, null, {"x":[1]}, got "b""#
    );
    for came in ["4", "-1", "", "a", "1.0", "99999999999999999999999"] {
        let (field, message, why) = wrong(by_page(&ask, &[("choice", came)]));
        assert_eq!(
            (field.as_str(), why),
            ("/choice", Why::NotAnOption),
            "{came}"
        );
        assert!(message.starts_with("`choice` must be the place of one of the 4 options, got"));
    }
    let missing = wrong(by_page(&ask, &[("comment", "x")]));
    assert_eq!((missing.0.as_str(), missing.2), ("/choice", Why::Missing));
    assert_eq!(wrong(by_body(&ask, json!({}))).2, Why::Missing);
}

#[test]
fn the_last_of_a_thousand_options_can_be_chosen() {
    let values: Vec<Value> = (0..1_000).map(Value::from).collect();
    let ask = choices(&values);
    assert_eq!(
        fits(by_page(&ask, &[("choice", "999")])),
        Answer::Choice(999)
    );
    assert_eq!(
        fits(by_body(&ask, json!({"choice": 999}))),
        Answer::Choice(999)
    );
    assert_eq!(
        told(by_body(&ask, json!({"choice": 1_000}))),
        "/choice: `choice` must be the value of one of the 1000 options, got 1000"
    );
}

#[test]
fn a_text_is_held_to_its_lengths_in_characters() {
    let ask = Ask {
        min_length: 2,
        max_length: 4,
        ..ask(Mode::Text)
    };
    let text = |text: &str| by_body(&ask, json!({ "text": text }));
    assert_eq!(fits(text("äöü")), Answer::Text("äöü".to_owned()));
    assert_eq!(fits(text("  abcd \n")), Answer::Text("abcd".to_owned()));
    assert_eq!(
        fits(by_page(&ask, &[("text", "a\r\nb")])),
        Answer::Text("a\nb".to_owned())
    );
    assert_eq!(wrong(text("a")).2, Why::TooShort(2));
    assert_eq!(wrong(text("ä")).2, Why::TooShort(2));
    assert_eq!(wrong(text(" ")).2, Why::Missing);
    let long = wrong(text("äöüßx"));
    assert_eq!((long.0.as_str(), long.2), ("/text", Why::TooLong(4)));
    assert_eq!(long.1, "`text` must have at most 4 characters, got 5");
    assert_eq!(
        told(by_body(&ask, json!({"text": 5}))),
        "/text: `text` must be a text, got a number"
    );
    assert_eq!(
        told(by_body(&ask, json!({"text": null}))),
        "/text: `text` is required"
    );
    let free = Ask {
        min_length: 0,
        ..ask.clone()
    };
    assert_eq!(
        fits(by_page(&free, &[("text", " ")])),
        Answer::Text(String::new())
    );
    assert_eq!(wrong(by_page(&free, &[])).2, Why::Missing);
}

#[test]
fn a_decision_is_one_of_two_words() {
    let ask = ask(Mode::Approval);
    for (word, yes) in DECISIONS {
        let offer = by_body(&ask, json!({"decision": word, "comment": " why \r\n not "}));
        let offer = offer.expect("it fits");
        assert_eq!(offer.answer, Answer::Decision(yes));
        assert_eq!(offer.comment.as_deref(), Some("why \n not"));
        assert_eq!(
            fits(by_page(&ask, &[("decision", word)])),
            Answer::Decision(yes)
        );
    }
    let blank = by_page(&ask, &[("decision", "approved"), ("comment", " ")]);
    assert_eq!(blank.expect("it fits").comment, None);
    assert_eq!(
        told(by_body(&ask, json!({"decision": "aproved"}))),
        "/decision: `decision` must be approved or rejected, got \"aproved\", did you mean `approved`?"
    );
    for (body, expected) in [
        (
            json!({"decision": true}),
            "/decision: `decision` must be a text, got a boolean",
        ),
        (
            json!({}),
            "/decision: `decision` is required: approved or rejected",
        ),
        (
            json!({"decision": "approved", "comment": 5}),
            "/comment: `comment` must be a text, got a number",
        ),
        (
            json!({"text": "yes"}),
            "/text: `text` answers a question of mode `text`; this one has mode `approval`",
        ),
        (
            json!({"decision": "approved", "choice": 1}),
            "/choice: `choice` answers a question of mode `choices`; this one has mode `approval`",
        ),
    ] {
        assert_eq!(told(by_body(&ask, body)), expected);
    }
    let long = "x".repeat(MAX_COMMENT + 1);
    let long = wrong(by_page(
        &ask,
        &[("decision", "approved"), ("comment", &long)],
    ));
    assert_eq!(
        (long.0.as_str(), long.2),
        ("/comment", Why::TooLong(MAX_COMMENT))
    );
    // What the contract does not know is ignored; null is nothing.
    let more = json!({"decision": "rejected", "by": "Anna", "text": null, "other": 1});
    assert_eq!(fits(by_body(&ask, more)), Answer::Decision(false));
}

/// A field of each type.
fn all_types() -> Ask {
    form_of(json!([
        {"name": "t", "type": "text", "required": true},
        {"name": "n", "type": "number"},
        {"name": "b", "type": "boolean"},
        {"name": "a", "type": "array"},
        {"name": "o", "type": "object"},
        {"name": "d", "type": "number", "default": 5},
        {"name": "e", "type": "number", "enum": [1, 2.5]},
        {"name": "y", "type": "boolean", "default": true},
    ]))
}

#[test]
fn a_form_is_the_same_from_the_api_and_from_the_page() {
    let ask = all_types();
    let body = json!({"form": {"t": "x\ny", "n": 1.5, "b": false, "a": [1], "o": {"k": "v"}, "d": 7, "e": 2.5, "y": true}});
    let page = [
        ("field.t", "x\r\ny"),
        ("field.n", " 1.5 "),
        ("field.b", "off"),
        ("field.a", "[1]"),
        ("field.o", "{\"k\": \"v\"}"),
        ("field.d", "7"),
        ("field.e", "2.5"),
        ("field.y", "on"),
        ("token", "not ours"),
    ];
    let answer = fits(by_body(&ask, body.clone()));
    assert_eq!(json!(answer)["form"], body["form"]);
    assert!(is_same_answer(&answer, &fits(by_page(&ask, &page))));
}

#[test]
fn what_is_left_out_is_null_or_the_default() {
    let ask = all_types();
    let nulls =
        json!({"t": "x", "n": null, "b": null, "a": null, "o": null, "d": 5, "e": null, "y": true});
    let form = |offer| json!(fits(offer))["form"].clone();
    assert_eq!(
        form(by_body(&ask, json!({"form": {"t": "x", "n": null}}))),
        nulls
    );
    // On the page the default stood there, and was taken out; so was the tick.
    let mut taken_out = nulls;
    taken_out["d"] = Value::Null;
    taken_out["y"] = json!(false);
    assert_eq!(
        form(by_page(&ask, &[("field.t", "x"), ("field.d", " ")])),
        taken_out
    );
    // A box may have a hidden field before it: the last text counts.
    let both = [("field.t", "x"), ("field.y", "false"), ("field.y", "true")];
    assert_eq!(form(by_page(&ask, &both))["y"], true);
    let (field, message, why) = wrong(by_page(&ask, &[("field.t", " ")]));
    assert_eq!((field.as_str(), why), ("/form/t", Why::Missing));
    assert_eq!(
        message,
        "field `t` is required: expected a text, got nothing"
    );
    assert_eq!(wrong(by_body(&ask, json!({"form": {}}))).0, "/form/t");
}

#[test]
fn a_field_of_the_wrong_type_is_named_by_its_pointer() {
    let ask = all_types();
    for (name, came, text, kind) in [
        ("n", json!("5"), "five", InputType::Number),
        ("n", json!(true), "NaN", InputType::Number),
        ("n", json!([]), "inf", InputType::Number),
        ("n", json!({}), "1,5", InputType::Number),
        ("b", json!("true"), "maybe", InputType::Boolean),
        ("a", json!({}), "{}", InputType::Array),
        ("a", json!("[]"), "[1", InputType::Array),
        ("o", json!([]), "[]", InputType::Object),
    ] {
        let (field, message, why) = wrong(by_body(&ask, json!({"form": {"t": "x", name: came}})));
        assert_eq!((field, why), (format!("/form/{name}"), Why::NotA(kind)));
        assert!(
            message.starts_with(&format!("field `{name}` must be ")),
            "{message}"
        );
        let pairs = [("field.t", "x"), (&format!("field.{name}"), text)];
        let (field, message, why) = wrong(by_page(&ask, &pairs));
        assert_eq!(
            (field, why),
            (format!("/form/{name}"), Why::NotA(kind)),
            "{text}"
        );
        assert!(message.contains(&format!("{text:?}")), "{message}");
    }
    assert_eq!(
        told(by_body(&ask, json!({"form": {"t": "x", "e": 2}}))),
        "/form/e: field `e` must be one of 1, 2.5, got 2"
    );
    assert_eq!(
        wrong(by_page(&ask, &[("field.t", "x"), ("field.e", "2")])).2,
        Why::NotAnOption
    );
    assert_eq!(
        told(by_body(&ask, json!({"form": {"t": "x", "a/b": 2}}))),
        "/form/a~1b: unknown field `a/b`"
    );
    assert_eq!(
        wrong(by_page(&ask, &[("field.t", "x"), ("field.z", "")])).2,
        Why::Stranger
    );
    assert_eq!(
        told(by_body(&ask, json!({"form": []}))),
        "/form: `form` must be an object, got an array"
    );
    assert_eq!(wrong(by_body(&ask, json!({"form": null}))).2, Why::Missing);
}

#[test]
fn numbers_are_read_as_people_write_them_and_exactly() {
    let ask = form_of(json!([{"name": "n", "type": "number"}]));
    let number =
        |text: &str| json!(fits(by_page(&ask, &[("field.n", text)])))["form"]["n"].to_string();
    for (text, expected) in [
        ("5", "5"),
        ("-5", "-5"),
        ("+5", "5"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5.0"),
        ("1e3", "1000.0"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(number(text), expected, "{text}");
    }
}
