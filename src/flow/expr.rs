//! Templates: values with `{{ expressions }}` in them, and how they are rendered; secrets as marks.
//!
//! Owns where an expression begins and ends, what its value becomes inside text and inside a URL, and the marks that
//! stand for secrets until the last moment. What an expression means is `jinja`'s; what it can see is `scope`'s.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub use crate::flow::jinja::{Expr, Fault};
use crate::flow::names::{excerpt, is_name};
use crate::flow::rewrite::text_length;
use crate::flow::scope::Scope;
use crate::flow::values::{MAX_VALUE_BYTES, as_text, check_size};

// ---- secrets ----

/// What stands for a secret in a rendered value until it is sent. The mark cannot be guessed, so that nobody who only
/// sends data can make one; it is all letters, digits and `_`, so that no encoding changes it.
#[derive(Clone)]
pub struct SecretMark(String);

impl std::fmt::Debug for SecretMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretMark")
    }
}

impl SecretMark {
    /// A mark for this process, from 16 random bytes.
    pub fn new(random: [u8; 16]) -> SecretMark {
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        SecretMark(format!("skep_{hex}_"))
    }

    /// What `{{ secrets.NAME }}` renders to.
    pub fn of(&self, name: &str) -> String {
        format!("{}{:02}{name}", self.0, name.len())
    }

    /// The pieces of a text: plain ones, and names of secrets.
    fn split<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(&self.0) {
            let behind = &rest[at + self.0.len()..];
            let length = behind
                .get(..2)
                .and_then(|digits| digits.parse::<usize>().ok());
            match length
                .and_then(|length| behind.get(2..2 + length))
                .filter(|name| is_name(name))
            {
                Some(name) => {
                    pieces.push(Piece::Plain(&rest[..at]));
                    pieces.push(Piece::Secret(name));
                    rest = &behind[2 + name.len()..];
                }
                None => {
                    pieces.push(Piece::Plain(&rest[..at + self.0.len()]));
                    rest = behind;
                }
            }
        }
        pieces.push(Piece::Plain(rest));
        pieces
    }

    /// The text with every mark replaced by `[secret NAME]`.
    pub fn mask_text(&self, text: &str) -> String {
        let pieces = self.split(text);
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Plain(text) => (*text).to_owned(),
                Piece::Secret(name) => format!("[secret {name}]"),
            })
            .collect()
    }

    /// The value with every mark in it, keys included, replaced by `[secret NAME]`.
    pub fn mask(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask_text(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.mask(item)).collect()),
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| (self.mask_text(key), self.mask(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// Which secrets the value holds marks of.
    pub fn names_in(&self, value: &Value) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.collect(value, &mut names);
        names
    }

    fn collect(&self, value: &Value, names: &mut BTreeSet<String>) {
        let mut add = |text: &str| {
            names.extend(self.split(text).iter().filter_map(|piece| match piece {
                Piece::Secret(name) => Some((*name).to_owned()),
                Piece::Plain(_) => None,
            }));
        };
        match value {
            Value::String(text) => add(text),
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, names)),
            Value::Object(map) => {
                map.keys().for_each(|key| add(key));
                map.values().for_each(|value| self.collect(value, names));
            }
            _ => {}
        }
    }

    /// The text with every mark replaced by what `secret` says it stands for.
    pub fn reveal<E>(
        &self,
        text: &str,
        mut secret: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut revealed = String::with_capacity(text.len());
        for piece in self.split(text) {
            match piece {
                Piece::Plain(text) => revealed.push_str(text),
                Piece::Secret(name) => revealed.push_str(&secret(name)?),
            }
        }
        Ok(revealed)
    }
}

enum Piece<'t> {
    Plain(&'t str),
    Secret(&'t str),
}

// ---- templates ----

/// A value with expressions in it.
#[derive(Debug, Clone)]
pub enum Template {
    /// No expression anywhere in it.
    Literal(Value),
    /// One expression and nothing else: its value keeps its type.
    Expr(Expr),
    /// Text with expressions in it.
    Text(Vec<Part>),
    /// The same, where what is inserted must not change the URL around it.
    Url(Vec<Part>),
    /// Element by element.
    List(Vec<Template>),
    /// Member by member.
    Object(Vec<(String, Template)>),
}

/// A piece of a text template.
#[derive(Debug, Clone)]
pub enum Part {
    /// As it is.
    Text(String),
    /// The value of an expression, as text.
    Expr(Expr),
    /// The mark of a secret.
    Secret(String),
}

/// A piece of a text that has not been read yet: the text outside braces, or what stands inside.
#[derive(Debug, PartialEq, Eq)]
pub enum RawPart<'a> {
    /// Outside.
    Text(&'a str),
    /// Inside `{{ }}`.
    Expr(&'a str),
}

/// Cuts a text at its `{{ }}`. The error is a sentence about what is not allowed in it.
pub fn split(text: &str) -> Result<Vec<RawPart<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let open = match rest.find('{').map(|_| next_brace(rest)) {
            None | Some(None) => break,
            Some(Some(open)) => open,
        };
        if !rest[open..].starts_with("{{") {
            let what = if rest[open..].starts_with("{%") {
                "statements `{% … %}`"
            } else {
                "comments `{# … #}`"
            };
            return Err(format!(
                "{what} are not allowed, only expressions `{{{{ … }}}}`"
            ));
        }
        let inside = &rest[open + 2..];
        let close = closing(inside)
            .ok_or_else(|| format!("`{}` has no closing `}}}}`", excerpt(&rest[open..])))?;
        let expression = &inside[..close];
        if expression.starts_with('-') || expression.ends_with('-') {
            return Err("`{{-` and `-}}` are not allowed, write `{{ … }}`".to_owned());
        }
        if open > 0 {
            parts.push(RawPart::Text(&rest[..open]));
        }
        parts.push(RawPart::Expr(expression));
        rest = &inside[close + 2..];
    }
    if !rest.is_empty() {
        parts.push(RawPart::Text(rest));
    }
    Ok(parts)
}

/// Where the next `{{`, `{%` or `{#` is.
fn next_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(1))
        .find(|at| bytes[*at] == b'{' && matches!(bytes[at + 1], b'{' | b'%' | b'#'))
}

/// Where the `}}` is that ends the expression: not in a text, not in a bracket.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' | b'\'' => {
                at += text_length(&bytes[at..])?;
                continue;
            }
            b'{' | b'[' | b'(' => depth += 1,
            b'}' if depth == 0 && bytes.get(at + 1) == Some(&b'}') => return Some(at),
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

impl Template {
    /// The value. Secrets become marks; the whole is at most 1 MiB and 100 levels deep.
    pub fn render(&self, scope: &Scope<'_>, mark: &SecretMark) -> Result<Value, Fault> {
        let mut left = MAX_VALUE_BYTES;
        let value = self.render_within(scope, mark, &mut left)?;
        check_size(&value).map_err(Fault::Other)?;
        Ok(value)
    }

    fn render_within(
        &self,
        scope: &Scope<'_>,
        mark: &SecretMark,
        left: &mut usize,
    ) -> Result<Value, Fault> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expr(expr) => {
                let value = expr.eval(scope)?;
                // Counted roughly here, so that a long list of large values stops early; exactly at the end.
                if let Value::String(text) = &value {
                    spend(left, text.len())?;
                }
                Ok(value)
            }
            Template::Text(parts) => render_text(parts, scope, mark, left).map(Value::String),
            Template::Url(parts) => render_url(parts, scope, mark, left).map(Value::String),
            Template::List(items) => {
                let items = items
                    .iter()
                    .map(|item| item.render_within(scope, mark, left));
                items.collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Template::Object(members) => {
                let mut map = Map::new();
                for (key, template) in members {
                    map.insert(key.clone(), template.render_within(scope, mark, left)?);
                }
                Ok(Value::Object(map))
            }
        }
    }

    /// Which secrets it mentions.
    pub fn secrets(&self, names: &mut BTreeSet<String>) {
        match self {
            Template::Literal(_) | Template::Expr(_) => {}
            Template::Text(parts) | Template::Url(parts) => {
                names.extend(parts.iter().filter_map(|part| match part {
                    Part::Secret(name) => Some(name.clone()),
                    Part::Text(_) | Part::Expr(_) => None,
                }))
            }
            Template::List(items) => items.iter().for_each(|item| item.secrets(names)),
            Template::Object(members) => members.iter().for_each(|(_, item)| item.secrets(names)),
        }
    }

    /// Whether the value decides which host a URL leads to: unless the text before the first expression holds
    /// `scheme://authority` and the `/`, `?` or `#` that ends it.
    pub fn decides_host(&self) -> bool {
        match self {
            Template::Literal(_) => false,
            Template::Url(parts) | Template::Text(parts) => match parts.first() {
                Some(Part::Text(text)) if parts.len() > 1 => !has_whole_host(text),
                Some(Part::Text(_)) | None => false,
                Some(Part::Expr(_) | Part::Secret(_)) => true,
            },
            Template::Expr(_) | Template::List(_) | Template::Object(_) => true,
        }
    }
}

fn has_whole_host(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.trim_start().chars().all(plain)
        && rest.find(['/', '?', '#', '\\']).is_some_and(|at| at > 0)
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Fault> {
    match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            Ok(())
        }
        None => Err(Fault::Other(format!(
            "the value is larger than {} KiB",
            MAX_VALUE_BYTES >> 10
        ))),
    }
}

fn render_text(
    parts: &[Part],
    scope: &Scope<'_>,
    mark: &SecretMark,
    left: &mut usize,
) -> Result<String, Fault> {
    let mut text = String::new();
    for part in parts {
        let piece = match part {
            Part::Text(piece) => piece.clone(),
            Part::Expr(expr) => as_text(&expr.eval(scope)?),
            Part::Secret(name) => mark.of(name),
        };
        spend(left, piece.len())?;
        text.push_str(&piece);
    }
    Ok(text)
}

/// An expression that begins the URL is inserted as it is; every other is encoded, so that it stays within the segment
/// or the parameter where it stands.
fn render_url(
    parts: &[Part],
    scope: &Scope<'_>,
    mark: &SecretMark,
    left: &mut usize,
) -> Result<String, Fault> {
    let mut url = String::new();
    let mut inserted = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let piece = match part {
            Part::Text(piece) => piece.clone(),
            Part::Secret(name) => mark.of(name),
            Part::Expr(expr) if at == 0 => as_text(&expr.eval(scope)?),
            Part::Expr(expr) => {
                let piece = percent_encode(&as_text(&expr.eval(scope)?));
                inserted.push((url.len(), url.len() + piece.len(), expr));
                piece
            }
        };
        spend(left, piece.len())?;
        url.push_str(&piece);
    }
    for (begin, end, expr) in inserted {
        if makes_dots(&url, begin, end) {
            return Err(Fault::Other(format!(
                "`{{{{ {} }}}}` makes a path segment of the URL `.` or `..`, which would change where it leads",
                expr.source()
            )));
        }
    }
    Ok(url)
}

/// All but the unreserved characters of RFC 3986, as UTF-8.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Whether what was inserted at `begin..end` lies in a path segment that is `.` or `..`, in any spelling that URL parsers
/// take for these.
fn makes_dots(url: &str, begin: usize, end: usize) -> bool {
    if url[..begin].contains(['?', '#']) {
        return false;
    }
    let from = url[..begin].rfind(['/', '\\']).map_or(0, |at| at + 1);
    let to = url[end..]
        .find(['/', '\\', '?', '#'])
        .map_or(url.len(), |at| end + at);
    let segment = url[from..to]
        .replace(['\t', '\n', '\r'], "")
        .to_ascii_lowercase()
        .replace("%2e", ".");
    matches!(segment.trim_end_matches(|c: char| c <= ' '), "." | "..")
}
