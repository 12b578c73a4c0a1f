//! The checks: from a tree of values to a [`Workflow`], or every problem with its place.
//!
//! Owns the shape of a definition: keys, ids, limits, which step may speak of which. What stands inside a step's action
//! is read by `action`, templates and references by `reader`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::flow::condition::Test;
use crate::flow::inputs::{Input, InputType};
use crate::flow::names::{RESERVED, did_you_mean, excerpt, is_name, pointer_segment};
use crate::flow::reader::{Reader, type_problem};
use crate::flow::retry::{Retry, Trouble};
use crate::flow::source::{Data, Entry, Node};
use crate::flow::workflow::{
    COMMON_KEYS, FUTURE_KINDS, KindSpec, MAX_NESTING, MAX_STEPS, OnFailure, PURE_KINDS, Problem,
    Step, TOP_KEYS, Workflow,
};
use crate::time::parse_duration;

/// The most tries that can be asked for.
const MAX_RETRIES: u64 = 1000;

/// Checks a definition. The error is never empty.
pub fn check(root: &Node, kinds: &[KindSpec]) -> Result<Workflow, Vec<Problem>> {
    let mut reader = Reader::new(kinds);
    let Some(entries) = reader.map(root, "", "a definition") else {
        return Err(reader.finish());
    };
    for entry in entries {
        if !TOP_KEYS.contains(&entry.key.as_str()) {
            reader.unknown_key(entry, "", TOP_KEYS);
        }
    }
    let name = root.get("name").and_then(|node| reader.text(node, "/name"));
    if let Some(node) = root.get("inputs") {
        reader.inputs = inputs(&mut reader, node);
    }
    let Some(list) = root.get("steps") else {
        reader.problem(
            root,
            "/steps",
            "a workflow needs `steps`: a list with at least one step",
        );
        return Err(reader.finish());
    };
    if !survey(&mut reader, list) {
        return Err(reader.finish());
    }
    let steps = steps(&mut reader, list, "/steps", "");
    reader.now = reader.places.len();
    let output = root
        .get("output")
        .map(|node| reader.template(node, "/output", false));
    let problems = reader.problems.is_empty();
    match problems {
        true => Ok(Workflow {
            name,
            inputs: std::mem::take(&mut reader.inputs),
            steps,
            output,
        }),
        false => Err(reader.finish()),
    }
}

// ---- inputs ----

const INPUT_KEYS: [&str; 5] = ["type", "required", "default", "description", "enum"];

fn inputs(reader: &mut Reader<'_>, node: &Node) -> Vec<Input> {
    let Some(entries) = reader.map(node, "/inputs", "`inputs`") else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| input(reader, entry))
        .collect()
}

fn input(reader: &mut Reader<'_>, entry: &Entry) -> Option<Input> {
    let name = &entry.key;
    let at = format!("/inputs/{}", pointer_segment(name));
    if RESERVED.contains(&name.as_str()) {
        let why = reserved(name, "input");
        reader.problem_at(entry.line, entry.column, &at, why);
    }
    declaration(reader, entry, &at, "input")
}

/// Reads what an input, or anything else that is typed as inputs are (`what` says what it is called), is declared to be.
pub fn declaration(reader: &mut Reader<'_>, entry: &Entry, at: &str, what: &str) -> Option<Input> {
    let name = &entry.key;
    if let Some(why) = malformed(name, what) {
        reader.problem_at(entry.line, entry.column, at, why);
    }
    for field in reader.map(&entry.value, at, &format!("{what} `{}`", excerpt(name)))? {
        if !INPUT_KEYS.contains(&field.key.as_str()) {
            reader.unknown_key(field, at, INPUT_KEYS);
        }
    }
    let kind = declared_type(reader, entry, at, what)?;
    let required = entry
        .value
        .get("required")
        .and_then(|node| reader.boolean(node, &format!("{at}/required")));
    let description = entry
        .value
        .get("description")
        .and_then(|node| reader.text(node, &format!("{at}/description")));
    let mut input = Input {
        name: name.clone(),
        kind,
        required: required.unwrap_or(false),
        default: None,
        description,
        choices: Vec::new(),
    };
    if let Some(node) = entry.value.get("enum") {
        choices(reader, &mut input, node, &format!("{at}/enum"), what);
    }
    if let Some(node) = entry.value.get("default") {
        let default = node.to_json();
        match input.refuse_as(what, &default) {
            Some(why) => reader.problem(
                node,
                &format!("{at}/default"),
                format!("the default does not fit: {why}"),
            ),
            None => input.default = Some(default),
        }
    }
    Some(input)
}

fn declared_type(
    reader: &mut Reader<'_>,
    entry: &Entry,
    at: &str,
    what: &str,
) -> Option<InputType> {
    let words = InputType::ALL.map(InputType::as_str);
    let Some(word) = entry.value.get("type") else {
        let message = format!(
            "{what} `{}` needs a `type`: one of {}",
            excerpt(&entry.key),
            words.join(", ")
        );
        reader.problem_at(entry.line, entry.column, at, message);
        return None;
    };
    let kind = word.text().and_then(InputType::parse);
    if kind.is_none() {
        let hint = word
            .text()
            .map(|text| did_you_mean(text, words))
            .unwrap_or_default();
        let message = format!(
            "unknown type {}{hint}; types are {}",
            word.what(),
            words.join(", ")
        );
        reader.problem(word, &format!("{at}/type"), message);
    }
    kind
}

fn choices(reader: &mut Reader<'_>, input: &mut Input, node: &Node, at: &str, what: &str) {
    let Some(items) = reader.list(node, at, "`enum`") else {
        return;
    };
    if items.is_empty() {
        reader.problem(node, at, "`enum` is empty: nothing could be given");
    }
    let mut choices = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let value = item.to_json();
        match input.refuse_as(what, &value) {
            Some(why) => reader.problem(item, &format!("{at}/{index}"), why),
            None => choices.push(value),
        }
    }
    input.choices = choices;
}

fn name_problem(name: &str, what: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(reserved(name, what));
    }
    malformed(name, what)
}

fn reserved(name: &str, what: &str) -> String {
    format!("`{name}` is a reserved name; give the {what} another")
}

fn malformed(name: &str, what: &str) -> Option<String> {
    (!is_name(name)).then(|| {
        format!(
            "the {what} name `{}` must be a letter or `_`, then up to 63 letters, digits or `_`",
            excerpt(name)
        )
    })
}

// ---- the survey: which steps there are, before any of them is read ----

/// Notes the place of every step. False: there are so many, or they nest so deep, that nothing more is looked at.
fn survey(reader: &mut Reader<'_>, list: &Node) -> bool {
    let mut count = 0;
    if let Err((node_line, node_column, field, why)) =
        survey_list(reader, list, "/steps", 0, &mut count)
    {
        reader.problem_at(node_line, node_column, &field, why);
        return false;
    }
    let top = match &list.data {
        Data::List(items) => items
            .iter()
            .map(|item| id_of(item).unwrap_or_default())
            .collect(),
        _ => Vec::new(),
    };
    reader.top = top;
    true
}

fn id_of(step: &Node) -> Option<String> {
    step.get("id").and_then(Node::text).map(str::to_owned)
}

type Stop = (u32, u32, String, String);

fn survey_list(
    reader: &mut Reader<'_>,
    list: &Node,
    at: &str,
    depth: usize,
    count: &mut usize,
) -> Result<(), Stop> {
    let Data::List(items) = &list.data else {
        return Ok(());
    };
    if depth > MAX_NESTING {
        let why = format!("conditions nest deeper than {MAX_NESTING} levels");
        return Err((list.line, list.column, at.to_owned(), why));
    }
    if *count + items.len() > MAX_STEPS {
        let why = format!("a workflow has at most {MAX_STEPS} steps, nested ones included");
        return Err((list.line, list.column, at.to_owned(), why));
    }
    for (index, step) in items.iter().enumerate() {
        let place = *count;
        *count += 1;
        let at = format!("{at}/{index}");
        survey_id(reader, step, &format!("{at}/id"), place);
        for branch in ["then", "else"] {
            if let Some(inner) = step.get(branch) {
                survey_list(reader, inner, &format!("{at}/{branch}"), depth + 1, count)?;
            }
        }
    }
    Ok(())
}

fn survey_id(reader: &mut Reader<'_>, step: &Node, at: &str, place: usize) {
    let (Some(id), Some(node)) = (id_of(step), step.get("id")) else {
        return;
    };
    if let Some(why) = name_problem(&id, "step") {
        reader.problem(node, at, why);
    } else if reader.inputs.iter().any(|input| input.name == id) {
        reader.problem(
            node,
            at,
            format!("`{id}` is an input already; steps and inputs share their names"),
        );
    } else if let Some(_earlier) = reader.places.get(&id) {
        reader.problem(node, at, format!("the step id `{id}` is used twice"));
    } else {
        reader.places.insert(id, place);
    }
}

// ---- steps ----

/// Reads a list of steps; `prefix` is the path before their ids.
pub fn steps(reader: &mut Reader<'_>, node: &Node, at: &str, prefix: &str) -> Vec<Step> {
    let Some(items) = reader.list(node, at, "a list of steps") else {
        return Vec::new();
    };
    if items.is_empty() && prefix.is_empty() {
        reader.problem(node, at, "a workflow needs at least one step");
    }
    let read = items
        .iter()
        .enumerate()
        .map(|(index, item)| step(reader, item, &format!("{at}/{index}"), prefix));
    read.collect::<Vec<_>>().into_iter().flatten().collect()
}

fn step(reader: &mut Reader<'_>, node: &Node, at: &str, prefix: &str) -> Option<Step> {
    let place = reader.visited;
    reader.visited += 1;
    let entries = reader.map(node, at, "a step")?;
    let id = match node.get("id") {
        Some(id) => reader.text(id, &format!("{at}/id")).unwrap_or_default(),
        None => {
            reader.problem(node, at, "the step has no `id`");
            String::new()
        }
    };
    // A step that could not be read hides the ones inside it; the survey has seen them all.
    reader.now = reader.places.get(&id).copied().unwrap_or(place);
    reader.visited = reader.now + 1;
    reader.current = id.clone();
    let action = action_key(reader, node, entries, at, &id);
    let only_if = node
        .get("if")
        .and_then(|test| reader.bare_test(test, &format!("{at}/if")));
    let (retry, timeout, on_failure) = common(reader, node, at);
    let name = node
        .get("name")
        .and_then(|name| reader.text(name, &format!("{at}/name")));
    let path = format!("{prefix}{id}");
    let action = reader.action(action?, node, at, &path)?;
    Some(Step {
        id,
        path,
        name,
        only_if,
        action,
        retry,
        timeout,
        on_failure,
    })
}

/// Finds the one action key, and reports every key that does not belong.
fn action_key<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    entries: &'n [Entry],
    at: &str,
    id: &str,
) -> Option<&'n Entry> {
    let registered = reader.kinds.iter().map(|kind| kind.name);
    let kinds: BTreeSet<&str> = PURE_KINDS.into_iter().chain(registered).collect();
    let is_action = |entry: &Entry| kinds.contains(entry.key.as_str());
    let future = entries
        .iter()
        .find(|entry| FUTURE_KINDS.contains(&entry.key.as_str()) && !is_action(entry));
    if let Some(Entry {
        key, line, column, ..
    }) = future
    {
        let message = format!("step kind `{key}` is not available in this version");
        reader.problem_at(*line, *column, &format!("{at}/{key}"), message);
        return None;
    }
    let actions: Vec<&Entry> = entries.iter().filter(|entry| is_action(entry)).collect();
    let has_unknown = stray_keys(reader, entries, at, &kinds);
    match actions.as_slice() {
        [one] => return Some(one),
        // Most likely the unknown key was meant to be the action.
        [] if has_unknown => {}
        [] => {
            let kinds: Vec<&str> = kinds.into_iter().collect();
            let message = format!(
                "step `{}` has no action: give it one of {}",
                excerpt(id),
                kinds.join(", ")
            );
            reader.problem(node, at, message);
        }
        [one, two, ..] => {
            let message = format!(
                "step `{}` has two actions, `{}` and `{}`: give it one",
                excerpt(id),
                one.key,
                two.key
            );
            reader.problem_at(two.line, two.column, &format!("{at}/{}", two.key), message);
        }
    }
    None
}

/// Reports every key of a step that is neither an action nor common, nor a branch of the step's condition. Whether
/// one of them is unknown altogether.
fn stray_keys(
    reader: &mut Reader<'_>,
    entries: &[Entry],
    at: &str,
    kinds: &BTreeSet<&str>,
) -> bool {
    let branches: &[&str] = match entries.iter().any(|entry| entry.key == "condition") {
        true => &["then", "else"],
        false => &[],
    };
    let mut has_unknown = false;
    for entry in entries {
        let key = entry.key.as_str();
        if kinds.contains(key) || COMMON_KEYS.contains(&key) || branches.contains(&key) {
            continue;
        }
        if matches!(key, "then" | "else") {
            let message = format!("`{key}` belongs to a `condition`");
            reader.problem_at(entry.line, entry.column, &format!("{at}/{key}"), message);
            continue;
        }
        has_unknown = true;
        let known = COMMON_KEYS.into_iter().chain(PURE_KINDS);
        let known = known.chain(kinds.iter().chain(branches).copied());
        reader.unknown_key(entry, at, known);
    }
    has_unknown
}

// ---- what every step may have ----

fn common(reader: &mut Reader<'_>, node: &Node, at: &str) -> (Retry, Option<Duration>, OnFailure) {
    let retry = node
        .get("retry")
        .map(|node| retry(reader, node, &format!("{at}/retry")))
        .unwrap_or_default();
    let timeout = node.get("timeout").and_then(|node| {
        let at = format!("{at}/timeout");
        let timeout = duration(reader, node, &at)?;
        if timeout.is_zero() {
            reader.problem(node, &at, "`timeout` must be longer than nothing");
        }
        Some(timeout)
    });
    let on_failure = match node.get("on_failure") {
        None => OnFailure::Terminate,
        Some(word) => match word.text() {
            Some("terminate") => OnFailure::Terminate,
            Some("continue") => OnFailure::Continue,
            _ => {
                let message = format!(
                    "`on_failure` must be `terminate` or `continue`, got {}",
                    word.what()
                );
                reader.problem(word, &format!("{at}/on_failure"), message);
                OnFailure::Terminate
            }
        },
    };
    (retry, timeout, on_failure)
}

/// A duration as the contract writes it.
pub fn duration(reader: &mut Reader<'_>, node: &Node, at: &str) -> Option<Duration> {
    let parsed = match node.text() {
        Some(text) => parse_duration(text),
        None => Err(format!(
            "expected a duration such as 250ms, 20s, 2h or 7d, got {}",
            node.what()
        )),
    };
    parsed.map_err(|why| reader.problem(node, at, why)).ok()
}

const RETRY_KEYS: [&str; 3] = ["max", "backoff", "on"];

fn retry(reader: &mut Reader<'_>, node: &Node, at: &str) -> Retry {
    let mut retry = Retry::default();
    let Some(entries) = reader.map(node, at, "`retry`") else {
        return retry;
    };
    for entry in entries {
        let at = format!("{at}/{}", pointer_segment(&entry.key));
        match entry.key.as_str() {
            "max" => match &entry.value.data {
                Data::Number(number) if number.as_u64().is_some_and(|max| max <= MAX_RETRIES) => {
                    retry.max = number
                        .as_u64()
                        .and_then(|max| u32::try_from(max).ok())
                        .unwrap_or_default();
                }
                _ => {
                    let message = format!(
                        "`max` must be a whole number from 0 to {MAX_RETRIES}, got {}",
                        entry.value.what()
                    );
                    reader.problem(&entry.value, &at, message);
                }
            },
            "backoff" => match entry.value.text().and_then(backoff) {
                Some((first, longest)) => (retry.first, retry.longest) = (first, longest),
                None => {
                    let message = format!(
                        "`backoff` must be two durations, such as 1s..30s, got {}",
                        entry.value.what()
                    );
                    reader.problem(&entry.value, &at, message);
                }
            },
            "on" => retry.on = troubles(reader, &entry.value, &at),
            _ => reader.unknown_key(
                entry,
                at.rsplit_once('/').map_or("", |(parent, _)| parent),
                RETRY_KEYS,
            ),
        }
    }
    retry
}

fn backoff(text: &str) -> Option<(Duration, Duration)> {
    let (first, longest) = text.split_once("..")?;
    let (first, longest) = (parse_duration(first).ok()?, parse_duration(longest).ok()?);
    (first <= longest && !first.is_zero()).then_some((first, longest))
}

fn troubles(reader: &mut Reader<'_>, node: &Node, at: &str) -> Vec<Trouble> {
    let words = Trouble::ALL.map(Trouble::as_str);
    let Some(items) = reader.list(node, at, "`on`") else {
        return Vec::new();
    };
    let mut troubles = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let word = match &item.data {
            Data::Text(text) => text.clone(),
            Data::Number(number) => number.to_string(),
            _ => String::new(),
        };
        match Trouble::parse(&word) {
            Some(trouble) => troubles.push(trouble),
            None => {
                let message = format!("`on` knows {}, got {}", words.join(", "), item.what());
                reader.problem(item, &format!("{at}/{index}"), message);
            }
        }
    }
    troubles
}

impl Reader<'_> {
    /// `if`: a bare expression, `{{ }}` around it or not, or a boolean.
    pub fn bare_test(&mut self, node: &Node, at: &str) -> Option<Test> {
        match &node.data {
            Data::Bool(flag) => Some(Test::Literal(*flag)),
            Data::Text(text) => {
                let trimmed = text.trim();
                let bare = trimmed
                    .strip_prefix("{{")
                    .and_then(|inner| inner.strip_suffix("}}"));
                let bare = bare
                    .filter(|inner| !inner.contains("{{"))
                    .unwrap_or(trimmed);
                self.expression(bare, node, at).map(Test::Bare)
            }
            _ => {
                self.problem(node, at, type_problem("a bare expression", node));
                None
            }
        }
    }
}
