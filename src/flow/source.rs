//! Text to a tree that remembers where each value stands.
//!
//! Owns the two syntaxes (YAML, JSON) and their budgets. Knows nothing of workflows.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Spanned};

use crate::flow::names::excerpt;
use crate::flow::workflow::Problem;

/// How a definition is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, one document.
    Yaml,
    /// JSON.
    Json,
}

/// How deep lists and objects may lie in each other. The YAML reader is recursive and takes up to 40 KiB of stack a
/// level in debug builds: this fits the two MiB that threads have by default, with room to spare.
const MAX_DEPTH: usize = 40;
/// How many values a document may have, aliases counted each time they are used.
const MAX_NODES: usize = 250_000;
/// The longest document, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// A value and where it begins (1-based; columns count characters).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// What it is.
    pub data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// Exact to 64 bits where it is whole.
    Number(Number),
    /// A text.
    Text(String),
    /// In order.
    List(Vec<Node>),
    /// In order; no key twice.
    Map(Vec<Entry>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Line of the name.
    pub line: u32,
    /// Column of the name.
    pub column: u32,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The member of that name, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.data {
            Data::Map(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same value without positions.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Data::Map(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, with its article: `a text`, `null`.
    pub fn what(&self) -> String {
        match &self.data {
            Data::Null => "null".to_owned(),
            Data::Bool(flag) => format!("the boolean {flag}"),
            Data::Number(number) => format!("the number {number}"),
            Data::Text(text) => format!("the text {:?}", excerpt(text)),
            Data::List(_) => "an array".to_owned(),
            Data::Map(_) => "an object".to_owned(),
        }
    }
}

/// Reads a document. The error says where and what; duplicate keys, deep nesting, alias bombs and over-long
/// documents are errors. In YAML only `true` and `false` are booleans, and numbers with leading zeros are texts.
pub fn read(text: &str, format: Format) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(problem(
            1,
            1,
            format!("the document is longer than {MAX_BYTES} bytes"),
        ));
    }
    match format {
        Format::Yaml => read_yaml(text),
        Format::Json => read_json(text),
    }
}

fn problem(line: u32, column: u32, message: impl Into<String>) -> Problem {
    Problem {
        line,
        column,
        field: String::new(),
        message: message.into(),
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

// ---- YAML ----

fn read_yaml(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = match error.location() {
            Some(at) => (narrow(at.line()).max(1), narrow(at.column()).max(1)),
            None => (1, 1),
        };
        if let Some((line, message)) = unquoted_template(text, line) {
            return problem(line, column, message);
        }
        problem(line, column, yaml_message(&error.to_string()))
    })?;
    match complex_key(&node) {
        Some((line, column)) => {
            let message = unquoted_template(text, line)
                .map(|(_, message)| message)
                .unwrap_or_else(|| "a key must be a text".to_owned());
            Err(problem(line, column, message))
        }
        None => Ok(node),
    }
}

/// The parser's sentence, without the position that it repeats and without more lines than one.
fn yaml_message(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first);
    format!("not valid YAML: {}", excerpt_long(first))
}

fn excerpt_long(text: &str) -> String {
    text.chars().take(300).collect()
}

/// How an object or a list that stands where a key belongs is marked until the tree is whole.
const COMPLEX_KEY: &str = "\u{0}complex";

fn complex_key(node: &Node) -> Option<(u32, u32)> {
    match &node.data {
        Data::List(items) => items.iter().find_map(complex_key),
        Data::Map(entries) => entries
            .iter()
            .find_map(|entry| match entry.key == COMPLEX_KEY {
                true => Some((entry.line, entry.column)),
                false => complex_key(&entry.value),
            }),
        _ => None,
    }
}

/// If this line, or the one before, has a `{{` that YAML takes for an object: the line's number and the advice.
fn unquoted_template(text: &str, line: u32) -> Option<(u32, String)> {
    [line, line.saturating_sub(1)]
        .into_iter()
        .filter(|line| *line > 0)
        .find_map(|number| {
            let line = text.lines().nth(number as usize - 1)?;
            let begin = line.find("{{")?;
            let before = line[..begin].trim_end();
            if !(before.ends_with([':', '-', '[', ',']) || before.is_empty()) {
                return None;
            }
            let inside = before.contains(['{', '[']);
            let rest = &line[begin..];
            let close = rest.find("}}").map(|at| at + 2);
            let end = match (inside, close) {
                (true, Some(close)) => close,
                _ => rest.find(" #").unwrap_or(rest.len()),
            };
            let value = rest[..end].trim_end();
            let shown = &rest[..close.unwrap_or(value.len())];
            let quoted = match value.contains('"') {
                true => format!("'{}'", value.replace('\'', "''")),
                false => format!("\"{value}\""),
            };
            let fixed = format!("{}{quoted}{}", &line[..begin], &rest[end..]);
            let advice = format!(
                "`{}` needs quotes around it in YAML. Write: {}",
                excerpt(shown),
                fixed.trim()
            );
            Some((number, advice))
        })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Data>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Node {
            line: narrow(at.line()),
            column: narrow(at.column()),
            data: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Data, E> {
        Ok(Data::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Data, E> {
        Ok(Data::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Data, E> {
        Ok(Data::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Data, E> {
        Number::from_f64(number)
            .map(Data::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Data, E> {
        Ok(Data::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Data, E> {
        Ok(Data::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Data::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<Key>>()? {
            let value = map.next_value()?;
            let (line, column) = (
                narrow(key.referenced.line()),
                narrow(key.referenced.column()),
            );
            entries.push(Entry {
                key: key.value.0,
                line,
                column,
                value,
            });
        }
        Ok(Data::Map(entries))
    }
}

/// A key: any scalar, as text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_unit<E>(self) -> Result<Key, E> {
        Ok(Key("null".to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Key, E> {
        Ok(Key(flag.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Key, E> {
        Ok(Key(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Key, E> {
        Ok(Key(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Key, E> {
        Ok(Key(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Key, E> {
        Ok(Key(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Key, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Key(COMPLEX_KEY.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Key, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Key(COMPLEX_KEY.to_owned()))
    }
}

// ---- JSON ----

fn read_json(text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let full = error.to_string();
        let message = full.split(" at line ").next().unwrap_or_default();
        problem(
            narrow(error.line() as u64).max(1),
            narrow(error.column() as u64).max(1),
            format!("not valid JSON: {message}"),
        )
    })?;
    Json {
        rest: text,
        line: 1,
        column: 1,
        nodes: 0,
    }
    .value(0)
}

/// Walks a text that is known to be JSON, and counts lines and columns as it goes.
struct Json<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    nodes: usize,
}

impl<'a> Json<'a> {
    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        self.space();
        let (line, column) = (self.line, self.column);
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(problem(
                line,
                column,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        if self.nodes > MAX_NODES {
            return Err(problem(
                line,
                column,
                format!("more than {MAX_NODES} values"),
            ));
        }
        let data = match self.rest.as_bytes().first() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Data::Text(self.string()?),
            _ => self.scalar()?,
        };
        Ok(Node { line, column, data })
    }

    fn map(&mut self, depth: usize) -> Result<Data, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        self.take(1);
        while !self.closed(b'}') {
            let (line, column) = (self.line, self.column);
            let key = self.string()?;
            if !seen.insert(key.clone()) {
                return Err(problem(
                    line,
                    column,
                    format!("the key {:?} is there twice", excerpt(&key)),
                ));
            }
            self.space();
            self.take(1);
            let value = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                line,
                column,
                value,
            });
        }
        Ok(Data::Map(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Data, Problem> {
        let mut items = Vec::new();
        self.take(1);
        while !self.closed(b']') {
            items.push(self.value(depth + 1)?);
        }
        Ok(Data::List(items))
    }

    /// Skips space and a comma; consumes the closing bracket if it is next. The end of the text closes too.
    fn closed(&mut self, bracket: u8) -> bool {
        self.space();
        if self.rest.starts_with(',') {
            self.take(1);
            self.space();
        }
        match self.rest.as_bytes().first() {
            Some(byte) if *byte == bracket => {
                self.take(1);
                true
            }
            Some(_) => false,
            None => true,
        }
    }

    fn string(&mut self) -> Result<String, Problem> {
        let bytes = self.rest.as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let raw = self.take(end + 1);
        serde_json::from_str(raw)
            .map_err(|_| problem(self.line, self.column, "not a valid JSON text"))
    }

    fn scalar(&mut self) -> Result<Data, Problem> {
        let end = self
            .rest
            .find([',', ']', '}', ' ', '\t', '\r', '\n'])
            .unwrap_or(self.rest.len());
        let (line, column) = (self.line, self.column);
        match self.take(end) {
            "null" => Ok(Data::Null),
            "true" => Ok(Data::Bool(true)),
            "false" => Ok(Data::Bool(false)),
            raw => json_number(raw).map(Data::Number).ok_or_else(|| {
                problem(
                    line,
                    column,
                    format!("{:?} is not a number that can be kept", excerpt(raw)),
                )
            }),
        }
    }

    fn space(&mut self) {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_whitespace())
            .unwrap_or(self.rest.len());
        self.take(end);
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let bytes = bytes.min(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        for c in taken.chars() {
            match c {
                '\n' => (self.line, self.column) = (self.line.saturating_add(1), 1),
                _ => self.column = self.column.saturating_add(1),
            }
        }
        self.rest = rest;
        taken
    }
}

/// Exact to 64 bits where it is whole, the nearest float where not.
fn json_number(raw: &str) -> Option<Number> {
    match raw.contains(['.', 'e', 'E']) {
        true => raw.parse().ok().and_then(Number::from_f64),
        false => serde_json::from_str(raw).ok(),
    }
}
