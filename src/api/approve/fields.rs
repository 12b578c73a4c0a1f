//! The fields of a form on the page: one control for each type of input, and what is wrong with what was sent.

use maud::{Markup, html};
use serde_json::Value;

use crate::api::approve::markdown::plain;
use crate::api::approve::page::{Asked, Entered, Wrong, described, invalid, wrong};
use crate::api::approve::words::{Words, fill};
use crate::flow::answer::{Misfit, Offered, Why, read_answer};
use crate::flow::approval::{Ask, FormField, Mode};
use crate::flow::inputs::InputType;
use crate::flow::names::pointer_segment;

/// A value as it stands in a control: texts bare, anything else as JSON.
fn written(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What stands in a field: what was sent; before that, its default.
fn standing(asked: &Asked<'_>, field: &FormField) -> String {
    if asked.entered.is_some() {
        return asked.entered.one(&name(field)).to_owned();
    }
    field.default.as_ref().map(written).unwrap_or_default()
}

/// What the form calls it.
fn name(field: &FormField) -> String {
    format!("field.{}", field.name)
}

/// A field with its label, its hint, and what is wrong with it.
pub fn field(asked: &Asked<'_>, field: &FormField) -> Markup {
    if field.kind == "boolean" && field.choices.is_empty() {
        return yes_or_no(asked, field);
    }
    let words = asked.words;
    let name = name(field);
    let hint = hint(words, field);
    html! {
        div.field {
            label.label for=(name) {
                bdi { (plain(&field.name)) }
                @if !field.required { " " span.weak { "(" (words.optional) ")" } }
            }
            @if let Some(hint) = &hint { p.hint id={ (name) "-hint" } { (hint) } }
            (wrong(asked, &name))
            (control(asked, field, hint.is_some()))
        }
    }
}

/// What helps to fill it in.
fn hint(words: &Words, field: &FormField) -> Option<Markup> {
    let of_kind = match field.kind.as_str() {
        _ if !field.choices.is_empty() => None,
        "number" => Some(words.number_hint),
        "array" => Some(words.array_hint),
        "object" => Some(words.object_hint),
        _ => None,
    };
    let about = field.description.as_deref().filter(|text| !text.is_empty());
    (of_kind.is_some() || about.is_some()).then(|| {
        html! {
            @if let Some(about) = about { bdi { (plain(about)) } }
            @if about.is_some() && of_kind.is_some() { br; }
            @if let Some(text) = of_kind { (text) }
        }
    })
}

fn control(asked: &Asked<'_>, field: &FormField, has_hint: bool) -> Markup {
    let name = name(field);
    let value = standing(asked, field);
    let (bad, about) = (invalid(asked, &name), described(asked, &name, has_hint));
    if !field.choices.is_empty() {
        return html! {
            select id=(name) name=(name) required[field.required] aria-invalid=[bad]
                aria-describedby=[about] {
                option value="" selected[value.is_empty()] {
                    @if field.required { (asked.words.choose) } @else { (asked.words.no_answer) }
                }
                @for choice in field.choices.iter().map(written) {
                    option value=(choice) selected[value == choice] dir="auto" { (plain(&choice)) }
                }
            }
        };
    }
    match field.kind.as_str() {
        "number" => html! {
            input type="text" inputmode="decimal" id=(name) name=(name) value=(plain(&value))
                autocomplete="off" required[field.required] aria-invalid=[bad]
                aria-describedby=[about];
        },
        kind => html! {
            textarea id=(name) name=(name) rows=(if kind == "text" { 2 } else { 4 }) dir="auto"
                required[field.required] aria-invalid=[bad] aria-describedby=[about]
                spellcheck=[(kind != "text").then_some("false")]
                { "\n" (plain(&value)) }
        },
    }
}

fn yes_or_no(asked: &Asked<'_>, field: &FormField) -> Markup {
    let words = asked.words;
    let name = name(field);
    let hint = hint(words, field);
    let value = standing(asked, field);
    let mut answers = vec![("true", words.yes), ("false", words.no)];
    if !field.required {
        answers.push(("", words.no_answer));
    }
    html! {
        fieldset id=(name) tabindex="-1" aria-describedby=[described(asked, &name, hint.is_some())] {
            legend {
                bdi { (plain(&field.name)) }
                @if !field.required { " " span.weak { "(" (words.optional) ")" } }
            }
            @if let Some(hint) = &hint { p.hint id={ (name) "-hint" } { (hint) } }
            (wrong(asked, &name))
            ul.options {
                @for (answer, label) in answers {
                    li { label.option {
                        input type="radio" name=(name) value=(answer) checked[value == answer && !(answer.is_empty() && field.required)];
                        span { (label) }
                    } }
                }
            }
        }
    }
}

/// All that is wrong with an answer, in the page's language: of a form, every field, so that nobody is sent back and
/// forth. `misfit` is what was found first.
pub fn mistakes(words: &Words, ask: &Ask, entered: &Entered, misfit: &Misfit) -> Vec<Wrong> {
    let mut found: Vec<Wrong> = Vec::new();
    let mut add = |wrong: Wrong| {
        if found.iter().all(|other| other.field != wrong.field) {
            found.push(wrong);
        }
    };
    if ask.mode == Mode::Form {
        let mut alone = ask.clone();
        for field in &ask.fields {
            let own = entered.0.iter().filter(|(key, _)| *key == name(field));
            let own: Vec<(String, String)> = own.cloned().collect();
            alone.fields = vec![field.clone()];
            if let Err(misfit) = read_answer(&alone, Offered::Form(&own)) {
                add(mistake(words, &alone, entered, &misfit));
            }
        }
    }
    // What is wrong beside the fields, if they are all right.
    add(mistake(words, ask, entered, misfit));
    found
}

/// What is wrong with an answer.
fn mistake(words: &Words, ask: &Ask, entered: &Entered, misfit: &Misfit) -> Wrong {
    let wrong = |field: &str, text: String| Wrong {
        field: field.to_owned(),
        text,
    };
    if misfit.field == "/comment" {
        return wrong("comment", words.wrong_comment.to_owned());
    }
    match ask.mode {
        Mode::Choices => wrong("choice", words.wrong_choice.to_owned()),
        Mode::Approval => wrong("decision", words.wrong_decision.to_owned()),
        Mode::Text => wrong("text", of_text(words, ask, entered, misfit.why)),
        Mode::Form => {
            let wanted = misfit.field.strip_prefix("/form/").unwrap_or_default();
            let found = ask
                .fields
                .iter()
                .find(|field| pointer_segment(&field.name) == wanted);
            match found {
                Some(field) => wrong(&name(field), of_field(words, field, misfit)),
                None => wrong("answer", misfit.message.clone()),
            }
        }
    }
}

fn of_text(words: &Words, ask: &Ask, entered: &Entered, why: Why) -> String {
    if why == Why::Missing {
        return words.wrong_text_empty.to_owned();
    }
    let count = entered.one("text").trim().chars().count();
    fill(
        words.wrong_text_length,
        &[
            ("min", &ask.min_length.to_string()),
            ("max", &ask.max_length.to_string()),
            ("count", &count.to_string()),
        ],
    )
}

fn of_field(words: &Words, field: &FormField, misfit: &Misfit) -> String {
    let sentence = match misfit.why {
        Why::Missing | Why::NotA(InputType::Boolean) if field.kind == "boolean" => {
            words.wrong_boolean
        }
        Why::NotAnOption => words.wrong_one_of,
        Why::Missing if !field.choices.is_empty() => words.wrong_one_of,
        Why::Missing => words.wrong_missing,
        Why::NotA(InputType::Number) => words.wrong_number,
        Why::NotA(InputType::Array) => words.wrong_array,
        Why::NotA(InputType::Object) => words.wrong_object,
        _ => words.wrong_field,
    };
    fill(
        sentence,
        &[("field", &field.name), ("why", &misfit.message)],
    )
}
