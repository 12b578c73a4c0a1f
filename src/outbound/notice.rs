//! What a message to a person says, per channel and language.
//!
//! Pure: from the neutral body of a notification and a link to a mail's parts, a chat message, or the JSON of a webhook.
//! Everything in the body may come from outside: it is text here, never markup, and never more than one line where one
//! is expected.

mod words;

#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};

use crate::time::Timestamp;
use words::{LANGUAGES, Words};

/// A chat message is no longer, in UTF-16 code units (Telegram, `sendMessage`).
pub const LONGEST_CHAT: usize = 4_096;
/// A subject is no longer, in characters.
const LONGEST_SUBJECT: usize = 150;
/// A value of the context, and a label, are no longer.
const LONGEST_VALUE: usize = 500;
/// So many labels are in the body at most: where all are there, more may be on the page.
const MOST_LABELS: usize = 20;

/// What is to be told to whom.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// The neutral body, as it is stored: without the link.
    pub body: &'a Value,
    /// The page's address, with the token. Never log it.
    pub link: &'a str,
    /// Until when it works.
    pub link_expires_at: Timestamp,
    /// The recipient's name.
    pub name: &'a str,
    /// The recipient's language, as a tag; one that we do not speak is answered in English.
    pub language: &'a str,
}

/// A mail's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// The part for programs that show text.
    pub text: String,
    /// The part for those that show HTML.
    pub html: String,
    /// What both are written in.
    pub language: &'static str,
}

/// A chat message, with one button that leads to the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatText {
    /// Plain text, without the link.
    pub text: String,
    /// What stands on the button.
    pub button: &'static str,
}

impl Notice<'_> {
    /// The mail. `subject`: the operator's template, with `{question}` and `{deployment}`; without one, our own words.
    pub fn letter(&self, subject: Option<&str>) -> Letter {
        let words = self.words();
        Letter {
            subject: self.subject(subject),
            text: self.mail_text(words),
            html: self.mail_html(words).into_string(),
            language: words.tag,
        }
    }

    /// The chat message.
    pub fn chat(&self) -> ChatText {
        let words = self.words();
        let mut lines = vec![words.headlines[self.kind()].to_owned(), String::new()];
        lines.push(self.lead(words));
        lines.extend([String::new(), self.question(), String::new()]);
        lines.extend(self.details(words));
        lines.push(self.until(words));
        ChatText {
            text: cut_units(&lines.join("\n"), LONGEST_CHAT),
            button: words.button,
        }
    }

    /// The webhook's JSON: the neutral body with the link in it, and a sentence that holds all there is to know.
    pub fn hook(&self) -> Value {
        let words = self.words();
        let mut body = self.body.clone();
        body["link_expires_at"] = json!(self.link_expires_at.to_string());
        body["url"] = json!(self.link);
        let (headline, lead) = (words.headlines[self.kind()], self.lead(words));
        // Where `<!channel>` calls everyone (Slack), what is asked must not; a word joiner is seen by machines alone.
        let question = self.question().replace('<', "<\u{2060}");
        body["text"] = json!(format!("{headline}: {question} — {lead} {}", self.link));
        body
    }

    fn words(&self) -> &'static Words {
        let tag = self.language.split(['-', '_']).next().unwrap_or("");
        LANGUAGES
            .iter()
            .find(|words| words.tag.eq_ignore_ascii_case(tag))
            .unwrap_or(&LANGUAGES[0])
    }

    /// Which of the headlines it is.
    fn kind(&self) -> usize {
        match self.text("event_type") {
            "approval.reminder" => 1,
            "approval.escalated" => 2,
            "approval.resent" => 3,
            _ => 0,
        }
    }

    fn text(&self, key: &str) -> &str {
        self.body.get(key).and_then(Value::as_str).unwrap_or("")
    }

    fn question(&self) -> String {
        one_line(self.text("question"), 1_000)
    }

    fn deployment(&self) -> String {
        one_line(self.text("deployment"), 100)
    }

    fn subject(&self, template: Option<&str>) -> String {
        let headline = self.words().headlines[self.kind()];
        let filled = match template {
            Some(template) => {
                let own = self.fill(template);
                match self.kind() {
                    0 => own,
                    _ => format!("{headline}: {own}"),
                }
            }
            None => format!("{headline}: {}", self.question()),
        };
        one_line(&filled, LONGEST_SUBJECT)
    }

    /// What is filled in is not looked at again: a question may well hold `{deployment}`.
    fn fill(&self, template: &str) -> String {
        let (question, deployment) = (self.question(), self.deployment());
        fill(
            template,
            &[("question", &question), ("deployment", &deployment)],
        )
    }

    fn lead(&self, words: &Words) -> String {
        fill(
            words.leads[self.kind()],
            &[("deployment", &self.deployment())],
        )
    }

    fn hello(&self, words: &Words) -> String {
        fill(words.hello, &[("name", &one_line(self.name, 100))])
    }

    /// The context's rows, as name and value.
    fn rows(&self) -> Vec<(String, String)> {
        let context = self.body.get("context").and_then(Value::as_object);
        let rows = context.into_iter().flatten();
        rows.map(|(name, value)| (one_line(name, 100), shown(value)))
            .collect()
    }

    fn labels(&self) -> Vec<String> {
        let labels = self.body.get("options").and_then(Value::as_array);
        labels
            .into_iter()
            .flatten()
            .map(|label| one_line(&shown(label), LONGEST_VALUE))
            .collect()
    }

    fn need(&self, words: &Words) -> Option<String> {
        let need = self.body.get("need").and_then(Value::as_u64)?;
        (need > 1).then(|| fill(words.need, &[("need", &need.to_string())]))
    }

    fn until(&self, words: &Words) -> String {
        let question =
            Timestamp::parse(self.text("expires_at")).map_or_else(|| "–".to_owned(), minute);
        let link = minute(self.link_expires_at);
        fill(words.until, &[("link", &link), ("question", &question)])
    }

    fn origin(&self, words: &Words) -> String {
        let of = |key| one_line(self.text(key), 100);
        let (variant, step, run, approval) = (
            of("variant"),
            of("step"),
            of("request_id"),
            of("approval_id"),
        );
        let parts: [(&str, &str); 5] = [
            ("deployment", &self.deployment()),
            ("variant", &variant),
            ("step", &step),
            ("run", &run),
            ("approval", &approval),
        ];
        fill(words.origin, &parts)
    }

    /// Context, options and how many must answer, in lines; each block is followed by an empty one.
    fn details(&self, words: &Words) -> Vec<String> {
        let mut lines: Vec<String> = self
            .rows()
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        close(&mut lines);
        let labels = self.labels();
        if !labels.is_empty() {
            lines.push(words.options.to_owned());
            lines.extend(labels.iter().map(|label| format!("- {label}")));
            if labels.len() >= MOST_LABELS {
                lines.push(words.more_options.to_owned());
            }
            close(&mut lines);
        }
        lines.extend(self.need(words));
        close(&mut lines);
        lines
    }

    fn mail_text(&self, words: &Words) -> String {
        let mut lines = vec![self.hello(words), String::new(), self.lead(words)];
        lines.extend([
            String::new(),
            format!("  {}", self.question()),
            String::new(),
        ]);
        lines.extend(self.details(words));
        lines.push(words.invite.to_owned());
        lines.extend([String::new(), self.link.to_owned(), String::new()]);
        lines.push(self.until(words));
        lines.push(words.secrecy.to_owned());
        lines.extend([String::new(), "-- ".to_owned(), self.origin(words)]);
        lines.push(String::new());
        lines.join("\n")
    }

    fn mail_html(&self, words: &Words) -> Markup {
        let labels = self.labels();
        html! {
            (DOCTYPE)
            html lang=(words.tag) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    meta name="color-scheme" content="light dark";
                    title { (self.subject(None)) }
                }
                body style=(BODY) {
                    p { (self.hello(words)) }
                    p { (self.lead(words)) }
                    h1 style="font-size:1.25em" { (self.question()) }
                    @for (name, value) in self.rows() {
                        p style="margin:0 0 .5em;white-space:pre-line" { strong { (name) ":" } " " (value) }
                    }
                    @if !labels.is_empty() {
                        p style="margin-bottom:.25em" { (words.options) }
                        ul style="margin-top:0" { @for label in &labels { li { (label) } } }
                        @if labels.len() >= MOST_LABELS { p { (words.more_options) } }
                    }
                    @if let Some(need) = self.need(words) { p { (need) } }
                    p { (words.invite) }
                    p style="margin:1.5em 0" { a href=(self.link) style=(BUTTON) { (words.button) } }
                    p { (words.plain) br; span style="word-break:break-all" { (self.link) } }
                    p { (self.until(words)) " " (words.secrecy) }
                    p style="font-size:.8em" { (self.origin(words)) }
                }
            }
        }
    }
}

const BODY: &str =
    "font-family:system-ui,sans-serif;line-height:1.5;max-width:36em;margin:1em auto;padding:0 1em";
const BUTTON: &str = "display:inline-block;padding:.75em 1.5em;border-radius:.4em;background:#14532d;color:#ffffff;\
                      font-weight:bold;text-decoration:none";

fn close(lines: &mut Vec<String>) {
    if lines.last().is_some_and(|line| !line.is_empty()) {
        lines.push(String::new());
    }
}

/// Puts each part where its name stands in braces; what is put in is not looked at again.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let part = parts.iter().find_map(|(name, value)| {
            let after = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value, after))
        });
        match part {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

/// A value as people read it, of bounded length.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => clean(text),
        Value::Null => "–".to_owned(),
        other => clean(&other.to_string()),
    };
    cut(&text, LONGEST_VALUE)
}

/// Without what is not seen but acts: control characters but line breaks, and what turns the direction of writing.
fn clean(text: &str) -> String {
    let acts = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace("\r\n", "\n")
        .replace(['\r', '\u{2028}', '\u{2029}'], "\n")
        .replace('\t', " ")
        .chars()
        .filter(|c| !acts(c))
        .collect()
}

fn one_line(text: &str, most: usize) -> String {
    let words: Vec<String> = clean(text).split_whitespace().map(str::to_owned).collect();
    cut(&words.join(" "), most)
}

/// At most so many characters, an ellipsis where more were.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// At most so many UTF-16 code units, never half a character.
fn cut_units(text: &str, most: usize) -> String {
    if text.encode_utf16().count() <= most {
        return text.to_owned();
    }
    let mut room = most - 1;
    let fits = text.chars().take_while(|c| {
        let fits = c.len_utf16() <= room;
        room = room.saturating_sub(c.len_utf16());
        fits
    });
    fits.chain(['…']).collect()
}

/// To the minute, in UTC.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = (text.get(..10), text.get(11..16));
    format!("{} {} UTC", day.unwrap_or(&text), time.unwrap_or(""))
}
