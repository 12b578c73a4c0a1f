//! The page, as pure functions from plain values to HTML: no script, no picture, nothing from elsewhere.
//!
//! Owns what a person sees. Every text from outside is escaped, and kept apart from what stands around it, so that one
//! that is written from right to left does not turn its neighbours around. Must not know HTTP or the store.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use crate::api::approve::markdown::{plain, rendered};
use crate::api::approve::words::{Words, fill};
use crate::flow::approval::{ApprovalStatus, Ask, Mode};
use crate::time::Timestamp;

/// The stylesheet; it stands in the page, and its hash in the page's policy.
pub const STYLE: &str = include_str!("style.css");

/// From how many options on they can be searched.
pub const SEARCHED: usize = 20;

/// What a person sent, or nothing yet: the form's fields, decoded.
#[derive(Debug, Default)]
pub struct Entered(pub Vec<(String, String)>);

impl Entered {
    /// The last value of that field; empty if it was not sent.
    pub fn one(&self, name: &str) -> &str {
        let mut found = self.0.iter().rev().filter(|(key, _)| key == name);
        found.next().map_or("", |(_, value)| value.as_str())
    }

    /// Whether the form has been sent.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }
}

/// What is wrong with an answer, and where.
#[derive(Debug)]
pub struct Wrong {
    /// The form's field: `choice`, `text`, `decision`, `comment`, `by`, `field.NAME`.
    pub field: String,
    /// One sentence.
    pub text: String,
}

/// A question that waits for an answer.
#[derive(Debug)]
pub struct Asked<'a> {
    pub words: &'static Words,
    pub ask: &'a Ask,
    /// `deployment/variant`.
    pub place: &'a str,
    /// Whose link it is; none: whoever answers says who they are.
    pub member: Option<&'a str>,
    /// The link's token: the last part of the page's own address, which forms are sent to.
    pub token: &'a str,
    pub form_token: &'a str,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// How many have answered so far.
    pub given: usize,
    /// Why this person may only look.
    pub barred: Option<&'a str>,
    /// What the options are searched for; empty: nothing.
    pub query: &'a str,
    pub entered: &'a Entered,
    /// In the order of the page; the first is what a reader is led to.
    pub wrong: &'a [Wrong],
}

/// One answer, as it is told.
#[derive(Debug)]
pub struct Line {
    pub by: String,
    pub answer: String,
    /// The fields, if it was a form.
    pub form: Vec<(String, Value)>,
    pub comment: Option<String>,
    pub at: Timestamp,
    /// Whether it is that of the person who looks.
    pub is_own: bool,
}

/// A question that was answered, by this person or by all that it takes.
#[derive(Debug)]
pub struct Done<'a> {
    pub words: &'static Words,
    pub ask: &'a Ask,
    pub status: ApprovalStatus,
    pub decided_at: Option<Timestamp>,
    pub answers: Vec<Line>,
    /// Whether this person has just tried to answer otherwise.
    pub is_taken: bool,
}

/// A page that leads to no question.
#[derive(Debug)]
pub struct Message<'a> {
    pub words: &'static Words,
    pub title: &'a str,
    pub texts: &'a [&'a str],
    /// What was sent in vain, to be copied.
    pub kept: &'a [String],
    /// The token of an expired link that a fresh one can be asked for with, and the form's.
    pub fresh: Option<(&'a str, &'a str)>,
    /// The token of the question to go back to.
    pub back: Option<&'a str>,
}

/// A text from outside.
fn text(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// The same, of many lines.
fn lines(text: &str) -> Markup {
    html! { div.lines dir="auto" { (plain(text)) } }
}

/// The frame around everything.
fn shell(words: &Words, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(words.lang) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex, nofollow";
                meta name="referrer" content="no-referrer";
                title { (plain(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    }
}

/// A page with a title and a few sentences.
pub fn message(message: &Message<'_>) -> Markup {
    let words = message.words;
    let body = html! {
        h1 { (message.title) }
        @for one in message.texts { p { (one) } }
        @if !message.kept.is_empty() {
            h2 { (words.expired_kept) }
            @for one in message.kept { pre tabindex="0" dir="auto" { (plain(one)) } }
        }
        @if let Some((token, form_token)) = message.fresh {
            form method="post" action=(token) {
                input type="hidden" name="form_token" value=(form_token);
                button type="submit" name="again" value="1" { (words.fresh) }
            }
        }
        @if let Some(token) = message.back {
            p { a href=(token) { (words.open_again) } }
        }
    };
    shell(words, message.title, &body)
}

/// The question, to be answered.
pub fn question(asked: &Asked<'_>) -> Markup {
    let (words, ask) = (asked.words, asked.ask);
    let title = match asked.wrong.is_empty() {
        false => format!("{}: {}", words.wrong_title, ask.question),
        true => ask.question.clone(),
    };
    let body = html! {
        (alert(asked))
        p.about {
            (around(words.from_workflow, "{place}", asked.place)) " "
            @if let Some(name) = asked.member { (around(words.for_member, "{name}", name)) }
        }
        h1 dir="auto" { (plain(&ask.question)) }
        (time_left(asked))
        @if ask.need > 1 {
            p { (fill(words.need, &[("need", &ask.need.to_string()), ("given", &asked.given.to_string())])) }
        }
        (context(words, ask))
        @match asked.barred {
            Some(why) => div.box.bad { p { (why) } },
            None => {
                @if is_searched(ask) { (search(asked)) }
                @if ask.mode != Mode::Choices || !options(asked).is_empty() { (form(asked)) }
            }
        }
    };
    shell(words, &title, &body)
}

/// A sentence with a text from outside in it.
fn around(sentence: &str, place: &str, value: &str) -> Markup {
    let (before, behind) = sentence.split_once(place).unwrap_or((sentence, ""));
    html! { (before) (text(value)) (behind) }
}

/// What is wrong, where a reader hears it first.
fn alert(asked: &Asked<'_>) -> Markup {
    html! {
        @if !asked.wrong.is_empty() {
            div.box.bad role="alert" tabindex="-1" autofocus {
                h2 { (asked.words.wrong_title) }
                @for wrong in asked.wrong {
                    p { a href={ "#" (place_of(asked.ask, &wrong.field)) } { (plain(&wrong.text)) } }
                }
            }
        }
    }
}

/// The id of what a mistake in that field leads to.
fn place_of(ask: &Ask, field: &str) -> String {
    let name = field.strip_prefix("field.");
    let of_form = name.and_then(|name| ask.fields.iter().find(|field| field.name == name));
    match (ask.mode, field) {
        (_, "by" | "comment") => field.to_owned(),
        (Mode::Choices, _) => "choices".to_owned(),
        (Mode::Text, _) => "text".to_owned(),
        (Mode::Approval, _) => "decision".to_owned(),
        (Mode::Form, _) => match of_form {
            Some(found) => format!("field.{}", found.name),
            None => "answer".to_owned(),
        },
    }
}

fn time_left(asked: &Asked<'_>) -> Markup {
    let words = asked.words;
    let left = words.span(asked.expires_at.since(asked.now));
    html! {
        p.time {
            strong { (fill(words.left, &[("time", &left)])) }
            ", " (time(words, words.until, asked.expires_at))
        }
    }
}

/// A time within a sentence.
fn time(words: &Words, sentence: &str, at: Timestamp) -> Markup {
    let (before, behind) = sentence.split_once("{at}").unwrap_or(("", ""));
    html! { (before) time datetime=(at.to_string()) { (words.at(at)) } (behind) }
}

/// What the question comes with.
fn context(words: &Words, ask: &Ask) -> Markup {
    html! {
        @if !ask.context.is_empty() {
            table {
                caption { (words.details) }
                tbody {
                    @for (name, value) in &ask.context {
                        tr { th scope="row" { (text(name)) } td { (shown(words, value)) } }
                    }
                }
            }
        }
    }
}

/// A value: texts as Markdown, numbers as they are, what is nested as JSON.
fn shown(words: &Words, value: &Value) -> Markup {
    match value {
        Value::String(text) => html! { div dir="auto" { (rendered(text)) } },
        Value::Bool(true) => html! { (words.yes) },
        Value::Bool(false) => html! { (words.no) },
        Value::Number(number) => html! { (number.to_string()) },
        Value::Null => html! { span.soft { (words.nothing) } },
        nested => html! { pre tabindex="0" dir="auto" { (plain(&format!("{nested:#}"))) } },
    }
}

/// A value that a person gave.
fn given(words: &Words, value: &Value) -> Markup {
    match value {
        Value::String(long) if long.contains('\n') => lines(long),
        Value::String(line) => text(line),
        Value::Array(_) | Value::Object(_) => text(&value.to_string()),
        other => shown(words, other),
    }
}

fn is_searched(ask: &Ask) -> bool {
    ask.mode == Mode::Choices && ask.options.len() > SEARCHED
}

/// The options that are shown, each with its number.
fn options<'a>(asked: &Asked<'a>) -> Vec<(usize, &'a crate::flow::approval::Choice)> {
    let wanted = asked.query.trim().to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&wanted);
    let all = asked.ask.options.iter().enumerate();
    let chosen = asked.entered.one("choice");
    all.filter(|(at, option)| {
        wanted.is_empty()
            || fits(&option.label)
            || fits(&option.description)
            || chosen == at.to_string()
    })
    .collect()
}

fn search(asked: &Asked<'_>) -> Markup {
    let words = asked.words;
    let (count, all) = (options(asked).len(), asked.ask.options.len());
    html! {
        form.search method="get" action=(asked.token) role="search" {
            span {
                label.label for="q" { (words.search) }
                input type="search" id="q" name="q" value=(plain(asked.query)) maxlength="200" dir="auto"
                    autocomplete="off" enterkeyhint="search";
            }
            button type="submit" { (words.search_button) }
        }
        @if !asked.query.is_empty() {
            p role="status" {
                (fill(words.search_count, &[("count", &count.to_string()), ("all", &all.to_string())]))
                " " a href=(asked.token) { (words.search_all) }
            }
        }
    }
}

fn form(asked: &Asked<'_>) -> Markup {
    let words = asked.words;
    html! {
        form method="post" action=(asked.token) id="answer" novalidate accept-charset="utf-8" {
            input type="hidden" name="form_token" value=(asked.form_token);
            // What the enter key in a field presses is a form's first button, and must not be one that decides.
            @if asked.ask.mode == Mode::Approval { button type="submit" disabled hidden {} }
            @if !asked.query.is_empty() { input type="hidden" name="q" value=(plain(asked.query)); }
            @match asked.ask.mode {
                Mode::Choices => (choices(asked)),
                Mode::Text => (written(asked)),
                Mode::Approval => {},
                Mode::Form => @for field in &asked.ask.fields { (super::fields::field(asked, field)) },
            }
            @if asked.member.is_none() { (name(asked)) }
            div.field {
                label.label for="comment" {
                    (words.comment) " " span.weak { "(" (words.optional) ")" }
                }
                (wrong(asked, "comment"))
                textarea id="comment" name="comment" rows="2" dir="auto"
                    aria-invalid=[invalid(asked, "comment")]
                    aria-describedby=[described(asked, "comment", false)]
                    { "\n" (plain(asked.entered.one("comment"))) }
            }
            @if asked.ask.mode == Mode::Approval { (decision(asked)) }
            @else { button type="submit" { (words.send) } }
        }
    }
}

/// `true` for a field that is wrong.
pub(super) fn invalid(asked: &Asked<'_>, field: &str) -> Option<&'static str> {
    wrong_of(asked, field).map(|_| "true")
}

fn wrong_of<'a>(asked: &Asked<'a>, field: &str) -> Option<&'a Wrong> {
    asked.wrong.iter().find(|wrong| wrong.field == field)
}

/// What is wrong with a field, beside it.
pub(super) fn wrong(asked: &Asked<'_>, field: &str) -> Markup {
    html! {
        @if let Some(wrong) = wrong_of(asked, field) {
            p.wrong id={ (field) "-wrong" } { (plain(&wrong.text)) }
        }
    }
}

/// What describes a field: its hint, and what is wrong with it.
pub(super) fn described(asked: &Asked<'_>, field: &str, has_hint: bool) -> Option<String> {
    let mut ids = Vec::new();
    if has_hint {
        ids.push(format!("{field}-hint"));
    }
    if invalid(asked, field).is_some() {
        ids.push(format!("{field}-wrong"));
    }
    (!ids.is_empty()).then(|| ids.join(" "))
}

fn choices(asked: &Asked<'_>) -> Markup {
    let chosen = asked.entered.one("choice");
    html! {
        fieldset id="choices" tabindex="-1" aria-describedby=[described(asked, "choice", false)] {
            legend { (asked.words.choose) }
            (wrong(asked, "choice"))
            ul.options {
                @for (at, option) in options(asked) {
                    li { label.option {
                        input type="radio" name="choice" value=(at) checked[chosen == at.to_string()];
                        span {
                            (text(&option.label))
                            @if !option.description.is_empty() {
                                span.more dir="auto" { (plain(&option.description)) }
                            }
                        }
                    } }
                }
            }
        }
    }
}

fn written(asked: &Asked<'_>) -> Markup {
    let (words, ask) = (asked.words, asked.ask);
    let limits = [
        ("min", ask.min_length.to_string()),
        ("max", ask.max_length.to_string()),
    ];
    let limits = limits
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    html! {
        div.field {
            label.label for="text" { (words.your_answer) }
            p.hint id="text-hint" { (fill(words.length, &limits)) }
            (wrong(asked, "text"))
            textarea id="text" name="text" rows="6" dir="auto" required
                aria-invalid=[invalid(asked, "text")]
                aria-describedby=[described(asked, "text", true)]
                { "\n" (plain(asked.entered.one("text"))) }
        }
    }
}

fn name(asked: &Asked<'_>) -> Markup {
    html! {
        div.field {
            label.label for="by" { (asked.words.your_name) }
            (wrong(asked, "by"))
            input type="text" id="by" name="by" value=(plain(asked.entered.one("by"))) required dir="auto"
                autocomplete="name" maxlength="100" aria-invalid=[invalid(asked, "by")]
                aria-describedby=[described(asked, "by", false)];
        }
    }
}

fn decision(asked: &Asked<'_>) -> Markup {
    let words = asked.words;
    html! {
        fieldset id="decision" tabindex="-1" aria-describedby=[described(asked, "decision", false)] {
            legend { (words.your_decision) }
            (wrong(asked, "decision"))
            div.pair {
                button.yes type="submit" name="decision" value="approved" { (words.approve) }
                button.no type="submit" name="decision" value="rejected" { (words.reject) }
            }
        }
    }
}

/// What became of the question.
pub fn done(done: &Done<'_>) -> Markup {
    let words = done.words;
    let own = done.answers.iter().any(|line| line.is_own);
    let is_open = done.status == ApprovalStatus::Pending;
    let heading = match done.status {
        _ if done.is_taken => words.taken_title,
        ApprovalStatus::Pending => words.thanks,
        ApprovalStatus::Approved => words.approved,
        ApprovalStatus::Rejected => words.rejected,
        ApprovalStatus::Answered => words.answered,
        ApprovalStatus::TimedOut => words.timed_out,
        ApprovalStatus::Cancelled => words.cancelled,
    };
    let has_ended = matches!(
        done.status,
        ApprovalStatus::TimedOut | ApprovalStatus::Cancelled
    );
    let state = match (done.is_taken, has_ended) {
        (true, _) => "bad",
        (false, true) => "plain",
        (false, false) => "good",
    };
    // Nobody came first where nobody decided.
    let taken = match done.status {
        ApprovalStatus::TimedOut => words.timed_out,
        ApprovalStatus::Cancelled => words.cancelled,
        _ => words.taken,
    };
    let body = html! {
        h1 { (heading) }
        div class={ "box " (state) } role=(if done.is_taken { "alert" } else { "status" }) {
            @if done.is_taken { p { (taken) } }
            @else if own && !is_open { p { (words.thanks) } }
            @if is_open { p { (words.still_open) } }
            p.question dir="auto" { strong { (plain(&done.ask.question)) } }
            @if done.answers.is_empty() && let Some(at) = done.decided_at {
                p { (time(words, "{at}", at)) }
            }
        }
        @if !done.answers.is_empty() {
            h2 { (words.answers) }
            @for line in &done.answers { (answer(words, done.ask, line)) }
        }
        (context(words, done.ask))
        p.soft { (words.may_close) }
    };
    shell(words, heading, &body)
}

fn answer(words: &Words, ask: &Ask, line: &Line) -> Markup {
    // Where it is yes or no, it is said in the page's language.
    let said = match (ask.mode, line.answer.as_str()) {
        (Mode::Approval, "approved") => words.approved,
        (Mode::Approval, "rejected") => words.rejected,
        (_, other) => other,
    };
    html! {
        dl {
            dt { (words.answer) }
            @if line.form.is_empty() { dd { (lines(said)) } }
            @for (name, value) in &line.form {
                dd.given { (text(name)) ": " (given(words, value)) }
            }
            dt { (words.by) }
            dd { (text(&line.by)) @if line.is_own { " (" (words.you_answered) ")" } }
            dt { (words.when) }
            dd { (time(words, "{at}", line.at)) }
            @if let Some(comment) = &line.comment {
                dt { (words.comment) }
                dd { (lines(comment)) }
            }
        }
    }
}
