//! Which answers fit a question, what they decide, and what the step's output is then.
//!
//! Pure. Who may answer, and whose answer came first, is the store's; what a question may be, is in `flow::human`.

use serde_json::{Map, Number, Value, json};

use crate::error::Error;
use crate::flow::approval::{Answer, ApprovalStatus, Ask, Choice, FormField, Given, Mode};
use crate::flow::condition::same;
use crate::flow::inputs::{Input, InputType};
use crate::flow::names::{did_you_mean, excerpt, kind_of, pointer_segment};
use crate::time::Timestamp;

/// The longest comment, in characters.
pub const MAX_COMMENT: usize = 10_000;
/// What the page calls a field of a form: this, and the field's name.
pub const FIELD_PREFIX: &str = "field.";

/// An answer as it came in.
#[derive(Debug, Clone, Copy)]
pub enum Offered<'a> {
    /// The API's JSON body: `choice` (an option's value), `text`, `decision` or `form`, and `comment`.
    Body(&'a Map<String, Value>),
    /// The page's form, name and text: `choice` (an option's place, from 0), `text`, `decision` or `field.NAME`, and
    /// `comment`. Of two texts of one name the last counts. A boolean with a default that is not sent is false: its
    /// tick was taken off.
    Form(&'a [(String, String)]),
}

/// An answer that fits its question.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// What.
    pub answer: Answer,
    /// What was added; never blank.
    pub comment: Option<String>,
}

/// Why what came is no answer to the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer to the field, named as in the API's body: `/choice`, `/form/amount`.
    pub field: String,
    /// One sentence: what was expected, and what came.
    pub message: String,
    /// The same for those who say it in another language.
    pub why: Why,
}

/// The ways in which an answer can be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing came.
    Missing,
    /// It is not of that type.
    NotA(InputType),
    /// It is none of those that can be chosen.
    NotAnOption,
    /// It has fewer than so many characters.
    TooShort(usize),
    /// It has more than so many characters.
    TooLong(usize),
    /// It answers another question: a field that there is not, or that belongs to another mode.
    Stranger,
}

/// What the answers come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// More are needed.
    Open,
    /// Approved, rejected or answered.
    Decided(ApprovalStatus),
    /// No option can have enough of them any more.
    Deadlock,
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Error {
        Error::invalid(misfit.field, misfit.message)
    }
}

fn misfit(field: impl Into<String>, why: Why, message: impl Into<String>) -> Misfit {
    Misfit {
        field: field.into(),
        message: message.into(),
        why,
    }
}

// ---- reading ----

/// The key of an answer, by the mode of its question.
const KEYS: [(Mode, &str); 4] = [
    (Mode::Choices, "choice"),
    (Mode::Text, "text"),
    (Mode::Approval, "decision"),
    (Mode::Form, "form"),
];

/// The word for yes and no.
const DECISIONS: [(&str, bool); 2] = [("approved", true), ("rejected", false)];

/// Reads an answer to this question. White space around a text or a comment is dropped before it is measured.
///
/// # Errors
/// [`Misfit`] names the field, what was expected, and what came.
pub fn read_answer(ask: &Ask, offered: Offered<'_>) -> Result<Offer, Misfit> {
    for (mode, key) in KEYS.iter().filter(|(mode, _)| *mode != ask.mode) {
        if offered.has(key) {
            let message = format!(
                "`{key}` answers a question of mode `{}`; this one has mode `{}`",
                mode.as_str(),
                ask.mode.as_str()
            );
            return Err(misfit(format!("/{key}"), Why::Stranger, message));
        }
    }
    let answer = match ask.mode {
        Mode::Choices => Answer::Choice(choice(ask, offered)?),
        Mode::Text => Answer::Text(text(ask, offered)?),
        Mode::Approval => Answer::Decision(decision(offered)?),
        Mode::Form => Answer::Form(form(ask, offered)?),
    };
    let comment = offered.text("comment")?.unwrap_or_default();
    let comment = comment.trim();
    at_most("comment", comment, MAX_COMMENT)?;
    Ok(Offer {
        answer,
        comment: (!comment.is_empty()).then(|| comment.to_owned()),
    })
}

impl<'a> Offered<'a> {
    /// Whether something came under that name.
    fn has(self, key: &str) -> bool {
        match self {
            Offered::Body(body) => body.get(key).is_some_and(|value| !value.is_null()),
            Offered::Form(_) => self.typed(key).is_some(),
        }
    }

    /// What the page sent under that name.
    fn typed(self, key: &str) -> Option<&'a str> {
        match self {
            Offered::Body(_) => None,
            Offered::Form(pairs) => pairs
                .iter()
                .rfind(|(name, _)| name == key)
                .map(|(_, text)| text.as_str()),
        }
    }

    /// A text of that name; null is none. Lines end as on every system but one.
    fn text(self, key: &str) -> Result<Option<String>, Misfit> {
        match self {
            Offered::Form(_) => Ok(self.typed(key).map(lines)),
            Offered::Body(body) => match body.get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(lines(text))),
                Some(other) => {
                    let message = format!("`{key}` must be a text, got {}", kind_of(other));
                    let why = Why::NotA(InputType::Text);
                    Err(misfit(format!("/{key}"), why, message))
                }
            },
        }
    }
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn at_most(key: &str, text: &str, most: usize) -> Result<(), Misfit> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    let message = format!("`{key}` must have at most {most} characters, got {length}");
    Err(misfit(format!("/{key}"), Why::TooLong(most), message))
}

fn choice(ask: &Ask, offered: Offered<'_>) -> Result<usize, Misfit> {
    let options = &ask.options;
    let missing = || {
        let message = "`choice` is required: the value of one of the options";
        misfit("/choice", Why::Missing, message)
    };
    let found = match offered {
        Offered::Body(body) => {
            let value = body.get("choice").ok_or_else(missing)?;
            let at = options.iter().position(|option| same(&option.value, value));
            at.ok_or_else(|| value.to_string())
        }
        Offered::Form(_) => {
            let text = offered.typed("choice").ok_or_else(missing)?;
            let at = text.trim().parse().ok();
            at.filter(|at| *at < options.len())
                .ok_or_else(|| text.to_owned())
        }
    };
    found.map_err(|came| {
        let message = format!(
            "`choice` must be {}, got {}",
            match (offered, options.len()) {
                (Offered::Form(_), count) => format!("the place of one of the {count} options"),
                (Offered::Body(_), 1..=10) => format!("one of {}", values(options)),
                (Offered::Body(_), count) => format!("the value of one of the {count} options"),
            },
            excerpt(&came)
        );
        misfit("/choice", Why::NotAnOption, message)
    })
}

fn values(options: &[Choice]) -> String {
    let values = options
        .iter()
        .map(|option| excerpt(&option.value.to_string()));
    values.collect::<Vec<_>>().join(", ")
}

fn text(ask: &Ask, offered: Offered<'_>) -> Result<String, Misfit> {
    let Some(text) = offered.text("text")? else {
        return Err(misfit("/text", Why::Missing, "`text` is required"));
    };
    let text = text.trim();
    let (length, least) = (text.chars().count(), ask.min_length);
    if length < least {
        let message = format!("`text` must have at least {least} characters, got {length}");
        let why = if length == 0 {
            Why::Missing
        } else {
            Why::TooShort(least)
        };
        return Err(misfit("/text", why, message));
    }
    at_most("text", text, ask.max_length)?;
    Ok(text.to_owned())
}

fn decision(offered: Offered<'_>) -> Result<bool, Misfit> {
    let words = DECISIONS.map(|(word, _)| word);
    let Some(word) = offered.text("decision")? else {
        let message = "`decision` is required: approved or rejected";
        return Err(misfit("/decision", Why::Missing, message));
    };
    let found = DECISIONS.iter().find(|(known, _)| *known == word);
    found.map(|(_, yes)| *yes).ok_or_else(|| {
        let hint = did_you_mean(&word, words);
        let message = format!(
            "`decision` must be approved or rejected, got {:?}{hint}",
            excerpt(&word)
        );
        misfit("/decision", Why::NotAnOption, message)
    })
}

// ---- forms ----

/// The fields, each of them there: null where it was left out.
fn form(ask: &Ask, offered: Offered<'_>) -> Result<Map<String, Value>, Misfit> {
    let inputs: Vec<Input> = ask.fields.iter().map(input).collect();
    let mut given = match offered {
        Offered::Body(body) => posted(body)?,
        Offered::Form(_) => filled_in(&inputs, offered)?,
    };
    let mut form = Map::new();
    for input in &inputs {
        let at = pointer(&input.name);
        let value = match given.shift_remove(&input.name) {
            Some(value) if !value.is_null() => value,
            _ => left_out(input, offered),
        };
        if value.is_null() {
            if input.required {
                let (name, kind) = (&input.name, input.kind.with_article());
                let message = format!("field `{name}` is required: expected {kind}, got nothing");
                return Err(misfit(at, Why::Missing, message));
            }
        } else if let Some(message) = input.refuse_as("field", &value) {
            let why = match input.kind.fits(&value) {
                true => Why::NotAnOption,
                false => Why::NotA(input.kind),
            };
            return Err(misfit(at, why, message));
        }
        form.insert(input.name.clone(), value);
    }
    match given.keys().next() {
        Some(name) => {
            let hint = did_you_mean(name, inputs.iter().map(|input| input.name.as_str()));
            let message = format!("unknown field `{}`{hint}", excerpt(name));
            Err(misfit(pointer(name), Why::Stranger, message))
        }
        None => Ok(form),
    }
}

fn pointer(name: &str) -> String {
    format!("/form/{}", pointer_segment(name))
}

fn input(field: &FormField) -> Input {
    Input {
        name: field.name.clone(),
        kind: InputType::parse(&field.kind).unwrap_or(InputType::Text),
        required: field.required,
        default: field.default.clone(),
        description: field.description.clone(),
        choices: field.choices.clone(),
    }
}

fn posted(body: &Map<String, Value>) -> Result<Map<String, Value>, Misfit> {
    match body.get("form") {
        Some(Value::Object(form)) => Ok(form.clone()),
        None | Some(Value::Null) => {
            let message = "`form` is required: an object with the fields";
            Err(misfit("/form", Why::Missing, message))
        }
        Some(other) => {
            let message = format!("`form` must be an object, got {}", kind_of(other));
            Err(misfit("/form", Why::NotA(InputType::Object), message))
        }
    }
}

/// What is taken where nothing came. On the page a default stands in its field at first, so that who sends nothing has
/// taken it out: a box with its tick taken off is not sent at all.
fn left_out(input: &Input, offered: Offered<'_>) -> Value {
    match (offered, &input.default) {
        (Offered::Body(_), Some(default)) => default.clone(),
        (Offered::Form(_), Some(_)) if input.kind == InputType::Boolean => {
            match offered.typed(&format!("{FIELD_PREFIX}{}", input.name)) {
                Some(_) => Value::Null,
                None => Value::Bool(false),
            }
        }
        _ => Value::Null,
    }
}

/// The page's texts as values; a blank one was left out.
fn filled_in(inputs: &[Input], offered: Offered<'_>) -> Result<Map<String, Value>, Misfit> {
    let Offered::Form(pairs) = offered else {
        return Ok(Map::new());
    };
    let mut given = Map::new();
    for (name, text) in pairs {
        let Some(name) = name.strip_prefix(FIELD_PREFIX) else {
            continue;
        };
        let kind = inputs.iter().find(|input| input.name == name);
        let value = match kind {
            _ if text.trim().is_empty() => Value::Null,
            Some(input) => typed_value(input, text)?,
            None => Value::from(text.as_str()),
        };
        given.insert(name.to_owned(), value);
    }
    Ok(given)
}

fn typed_value(input: &Input, text: &str) -> Result<Value, Misfit> {
    let word = text.trim();
    let value = match input.kind {
        InputType::Text => Some(Value::from(lines(text))),
        InputType::Number => number(word).map(Value::Number),
        InputType::Boolean => boolean(word).map(Value::Bool),
        InputType::Array | InputType::Object => serde_json::from_str(word)
            .ok()
            .filter(|value| input.kind.fits(value)),
    };
    value.ok_or_else(|| {
        let message = format!(
            "field `{}` must be {}, got {:?}",
            input.name,
            input.kind.with_article(),
            excerpt(word)
        );
        misfit(pointer(&input.name), Why::NotA(input.kind), message)
    })
}

/// A number as JSON writes it, or as people do: `+5`, `.5`, `5.`, `007`.
fn number(word: &str) -> Option<Number> {
    let plain = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    if !word.chars().all(plain) {
        return None;
    }
    let whole = word.parse::<i64>().map(Number::from);
    let whole = whole.or_else(|_| word.parse::<u64>().map(Number::from));
    whole
        .ok()
        .or_else(|| word.parse::<f64>().ok().and_then(Number::from_f64))
}

/// The words that boxes and lists send.
fn boolean(word: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
    if is(["true", "on", "yes", "1"]) {
        Some(true)
    } else if is(["false", "off", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

// ---- deciding ----

/// Whether two answers say the same.
pub fn is_same_answer(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Answer::Form(one), Answer::Form(other)) => {
            same(&Value::Object(one.clone()), &Value::Object(other.clone()))
        }
        _ => one == other,
    }
}

/// What the answers, in the order in which they came, come to. `asked` is how many may answer; 0: anyone. A person's
/// first answer counts.
///
/// Where one answer is enough, the first decides. Where more are needed, an approval is approved once so many said yes,
/// and rejected once so many said no that this cannot come about any more; an option is chosen once so many chose it.
/// What is decided stays decided, whoever answers then; and in whatever order, it comes to the same.
pub fn verdict(ask: &Ask, given: &[Given], asked: usize) -> Verdict {
    let mut first: Vec<&Given> = Vec::new();
    for one in given {
        if first.iter().all(|earlier| earlier.person != one.person) {
            first.push(one);
        }
    }
    let Some(earliest) = first.first() else {
        return Verdict::Open;
    };
    let is_counted = matches!(ask.mode, Mode::Approval | Mode::Choices);
    if ask.need <= 1 || !is_counted {
        return Verdict::Decided(decided_by(&earliest.answer));
    }
    let count = |answer: &Answer| first.iter().filter(|one| one.answer == *answer).count();
    let most = first
        .iter()
        .map(|one| count(&one.answer))
        .max()
        .unwrap_or_default();
    let yes = Answer::Decision(true);
    let (need, agreed) = match ask.mode {
        Mode::Approval => (ask.need, count(&yes)),
        _ => (ask.need, most),
    };
    // Fewer than are needed may be left of those who were asked: that alone is nobody's no.
    let may = asked.max(first.len()).max(need);
    match (agreed + (may - first.len()), ask.mode) {
        _ if agreed >= need => Verdict::Decided(match ask.mode {
            Mode::Approval => ApprovalStatus::Approved,
            _ => ApprovalStatus::Answered,
        }),
        // Anyone may still come and agree.
        _ if asked == 0 => Verdict::Open,
        (reachable, Mode::Approval) if reachable < need => {
            Verdict::Decided(ApprovalStatus::Rejected)
        }
        (reachable, _) if reachable < need => Verdict::Deadlock,
        _ => Verdict::Open,
    }
}

fn decided_by(answer: &Answer) -> ApprovalStatus {
    match answer {
        Answer::Decision(true) => ApprovalStatus::Approved,
        Answer::Decision(false) => ApprovalStatus::Rejected,
        Answer::Choice(_) | Answer::Text(_) | Answer::Form(_) => ApprovalStatus::Answered,
    }
}

// ---- the step's output ----

/// The output of the step: every key, always. `deciding` is the answer that decided, if one did; `at` is when.
pub fn output(ask: &Ask, status: ApprovalStatus, deciding: Option<&Given>, at: Timestamp) -> Value {
    let answer = deciding.map(|given| &given.answer);
    let nothing = Choice {
        label: String::new(),
        value: Value::Null,
        description: String::new(),
        raw: Value::Null,
    };
    let choice = match answer {
        Some(Answer::Choice(at)) => ask.options.get(*at).unwrap_or(&nothing),
        _ => &nothing,
    };
    let text = match answer {
        Some(Answer::Text(text)) => text.as_str(),
        _ => "",
    };
    let form = match answer {
        Some(Answer::Form(form)) => Some(form),
        _ => None,
    };
    let approved = match status {
        ApprovalStatus::Approved => Some(true),
        ApprovalStatus::Rejected => Some(false),
        _ => None,
    };
    json!({
        "mode": ask.mode,
        "text": text,
        "choice": {
            "label": choice.label,
            "value": choice.value,
            "description": choice.description,
            "raw": choice.raw,
        },
        "approved": approved,
        "decision": status,
        "form": form,
        "comment": deciding.and_then(|given| given.comment.as_ref()),
        "responded_at": deciding.map(|_| at),
        "responded_by": deciding.map(|given| &given.by),
        "channel": ask.channel,
        "timed_out": status == ApprovalStatus::TimedOut,
    })
}

/// An answer in words: the option's label, the text, `approved` or `rejected`, the form as JSON.
pub fn shown(ask: &Ask, answer: &Answer) -> String {
    match answer {
        Answer::Choice(at) => match ask.options.get(*at) {
            Some(option) => option.label.clone(),
            None => format!("option {}", at.saturating_add(1)),
        },
        Answer::Text(text) => text.clone(),
        Answer::Decision(_) => decided_by(answer).as_str().to_owned(),
        Answer::Form(form) => json!(form).to_string(),
    }
}

#[cfg(test)]
mod tests;
