//! From the step to the question: templates rendered, options read, limits kept.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::flow::approval::{Ask, Choice, Escalation, Mode};
use crate::flow::expr::{SecretMark, Template};
use crate::flow::human::{
    Human, MAX_CONTEXT, MAX_DESCRIPTION, MAX_LABEL, MAX_OPTIONS, MAX_QUESTION, MAX_RECIPIENT,
    MAX_RECIPIENTS, Recipients,
};
use crate::flow::names::{excerpt, kind_of};
use crate::flow::scope::{Scope, Segment, walk};
use crate::flow::values::as_text;

/// The members of an option that are its label, where the definition does not say; the first that there is.
const LABELS: [&str; 3] = ["label", "title", "name"];

/// How long the context is at most, written as JSON: it is shown on one page.
const LONGEST_CONTEXT: usize = 64 << 10;

/// How long a question is at most with all that belongs to it, written as JSON.
const LONGEST_ASK: usize = 1 << 20;

/// What templates are rendered with.
struct View<'s, 'a> {
    scope: &'s Scope<'a>,
    mark: &'s SecretMark,
}

impl Human {
    /// The question. The error is the sentence that says what is wrong with it.
    pub fn ask(&self, scope: &Scope<'_>, mark: &SecretMark) -> Result<Ask, String> {
        let view = View { scope, mark };
        let mut ask = self.frame.clone();
        ask.question = question(&view.render(&self.question, "question")?)?;
        if let Some(context) = &self.context {
            ask.context = self::context(view.render(context, "context")?)?;
        }
        if let Some(options) = self.options.as_ref().filter(|_| ask.mode == Mode::Choices) {
            ask.options = self.options(view.render(options, "options")?)?;
        }
        ask.recipients = match &self.recipients {
            Recipients::Anyone => Vec::new(),
            Recipients::One(one) => {
                let value = view.render(one, "recipient")?;
                vec![recipient(&value, "recipient")?]
            }
            Recipients::Many(many) => recipients(&view.render(many, "recipients")?)?,
        };
        if ask.need > ask.recipients.len().max(1) {
            return Err(format!(
                "`human.need` is {}, but only {} different recipients are asked",
                ask.need,
                ask.recipients.len()
            ));
        }
        if let Some((after_ms, template)) = &self.escalate {
            let value = view.render(template, "escalate.recipient")?;
            ask.escalate = Some(Escalation {
                after_ms: *after_ms,
                recipient: recipient(&value, "escalate.recipient")?,
            });
        }
        match json_length(&ask) {
            0..=LONGEST_ASK => Ok(ask),
            length => Err(format!(
                "the question has {length} bytes with its options and context; at most {LONGEST_ASK} can be asked"
            )),
        }
    }

    fn options(&self, items: Value) -> Result<Vec<Choice>, String> {
        let Value::Array(items) = items else {
            let came = kind_of(&items);
            return Err(format!("`human.options` must be an array, got {came}"));
        };
        if items.is_empty() {
            return Err("`human.options` is empty: there is nothing to choose from".to_owned());
        }
        if items.len() > MAX_OPTIONS {
            return Err(format!(
                "`human.options` has {} options; at most {MAX_OPTIONS} can be asked",
                items.len()
            ));
        }
        let options = items.into_iter().enumerate();
        options.map(|(at, item)| self.option(at, item)).collect()
    }

    fn option(&self, at: usize, item: Value) -> Result<Choice, String> {
        let name = format!("options[{at}]");
        let find = |path: &Option<Vec<Segment>>, key: &str| match path {
            None => Ok(None),
            Some(path) => walk(&item, &name, path)
                .map(Some)
                .map_err(|why| format!("`human.{key}`: {why}")),
        };
        let label = match find(&self.label, "label")? {
            Some(found) => one_line(&as_text(found)),
            None => own_label(&item),
        };
        let value = find(&self.value, "value")?.unwrap_or(&item).clone();
        // Not every option need have one.
        let description = match find(&self.description, "description") {
            Ok(Some(found)) => as_text(found),
            Ok(None) | Err(_) => String::new(),
        };
        let label = match label.is_empty() {
            true => one_line(&item.to_string()),
            false => label,
        };
        Ok(Choice {
            label: cut(&label, MAX_LABEL),
            value,
            description: cut(description.trim(), MAX_DESCRIPTION),
            raw: item,
        })
    }
}

impl View<'_, '_> {
    fn render(&self, template: &Template, key: &str) -> Result<Value, String> {
        template
            .render(self.scope, self.mark)
            .map_err(|fault| format!("`human.{key}`: {}", fault.message()))
    }
}

/// A text without line ends and other control characters: it may become the subject of a message.
pub(super) fn one_line(text: &str) -> String {
    let plain = text.replace(|c: char| c.is_control() || c.is_whitespace(), " ");
    plain.split(' ').filter(|word| !word.is_empty()).fold(
        String::with_capacity(plain.len()),
        |line, word| match line.is_empty() {
            true => word.to_owned(),
            false => line + " " + word,
        },
    )
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// How many bytes that is as JSON; what cannot be written is longer than anything.
fn json_length(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |text| text.len())
}

fn question(value: &Value) -> Result<String, String> {
    if value.is_array() || value.is_object() {
        let came = kind_of(value);
        return Err(format!("`human.question` must be a text, got {came}"));
    }
    let question = one_line(&as_text(value));
    let length = question.chars().count();
    match length {
        0 => Err("`human.question` is empty".to_owned()),
        1..=MAX_QUESTION => Ok(question),
        _ => Err(format!(
            "`human.question` has {length} characters; at most {MAX_QUESTION} can be asked"
        )),
    }
}

fn context(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(rows) if rows.len() > MAX_CONTEXT => Err(format!(
            "`human.context` has {} rows; at most {MAX_CONTEXT} can be shown",
            rows.len()
        )),
        Value::Object(rows) => match json_length(&rows) {
            0..=LONGEST_CONTEXT => Ok(rows),
            length => Err(format!(
                "`human.context` has {length} bytes as JSON; at most {LONGEST_CONTEXT} can be shown"
            )),
        },
        other => Err(format!(
            "`human.context` must be an object, got {}",
            kind_of(&other)
        )),
    }
}

fn recipient(value: &Value, key: &str) -> Result<String, String> {
    if value.is_array() || value.is_object() {
        let came = kind_of(value);
        return Err(format!("`human.{key}` must be a text, got {came}"));
    }
    let who = one_line(&as_text(value));
    match who.chars().count() {
        0 => Err(format!("`human.{key}` is empty: nobody would be asked")),
        1..=MAX_RECIPIENT => Ok(who),
        _ => Err(format!(
            "`human.{key}` must have at most {MAX_RECIPIENT} characters, got {:?}",
            excerpt(&who)
        )),
    }
}

/// Each of them once.
fn recipients(value: &Value) -> Result<Vec<String>, String> {
    let Value::Array(items) = value else {
        let came = kind_of(value);
        return Err(format!(
            "`human.recipients` must be an array of texts, got {came}"
        ));
    };
    let mut who: Vec<String> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let one = recipient(item, &format!("recipients[{at}]"))?;
        if who.iter().all(|other| !other.eq_ignore_ascii_case(&one)) {
            who.push(one);
        }
    }
    match who.len() {
        0 => Err("`human.recipients` is empty: nobody would be asked".to_owned()),
        1..=MAX_RECIPIENTS => Ok(who),
        many => Err(format!(
            "`human.recipients` names {many} people; at most {MAX_RECIPIENTS} can be asked"
        )),
    }
}

/// An option's label where the definition does not say: the first of these members that says something, or all of it.
fn own_label(item: &Value) -> String {
    let members = LABELS.iter().filter_map(|key| item.get(key));
    let mut texts = members
        .filter(|value| !value.is_array() && !value.is_object())
        .map(|value| one_line(&as_text(value)));
    texts
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| one_line(&as_text(item)))
}
