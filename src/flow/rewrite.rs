//! Takes the paths out of an expression, and keeps what is dangerous or not ours out of it.
//!
//! `feed.output.items[0].url | default("none")` becomes `v0 | default("none")`, with the path of `v0` beside it; a path with
//! a computed key, `feed.output[key].url`, becomes `at("feed.output", v0, v1, "url")`. The operands of `*` are wrapped
//! in `num()`, those of `~` in `text()`. Everything else is left as it is; the template crate judges its grammar.

use crate::flow::jinja::{FILTERS, TESTS};
use crate::flow::names::did_you_mean;
use crate::flow::scope::{Chain, Segment, spell};

/// The longest expression, in bytes.
const MAX_SOURCE: usize = 4096;
/// How deep brackets may nest.
const MAX_NESTING: usize = 32;
/// How many values may be joined by `~` and `+` in one expression.
const MAX_JOINS: usize = 64;

/// What became of an expression.
#[derive(Debug)]
pub struct Rewritten {
    /// What the template crate gets to see.
    pub text: String,
    /// The paths behind `v0`, `v1` ….
    pub chains: Vec<Chain>,
    /// The expression is one written-out path and nothing else.
    pub plain: bool,
}

/// Rewrites one expression; the error is a sentence.
pub fn rewrite(source: &str) -> Result<Rewritten, String> {
    if source.len() > MAX_SOURCE {
        return Err(format!("the expression is longer than {MAX_SOURCE} bytes"));
    }
    let tokens = tokens(source)?;
    let mut rewriter = Rewriter {
        tokens: &tokens,
        at: 0,
        out: String::new(),
        chains: Vec::new(),
        nesting: 0,
        joins: 0,
    };
    rewriter.sequence(None)?;
    let plain = rewriter.out == "v0";
    Ok(Rewritten {
        text: rewriter.out,
        chains: rewriter.chains,
        plain,
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Ident(&'a str),
    Number(&'a str),
    /// With its quotes.
    Text(&'a str),
    Op(&'a str),
}

const LONG_OPS: [&str; 6] = ["**", "//", "==", "!=", "<=", ">="];

fn tokens(source: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'"' | b'\'' => {
                text_length(&bytes[at..]).ok_or("a text in the expression has no closing quote")?
            }
            b'0'..=b'9' => number_length(&bytes[at..], tokens.last() == Some(&Token::Op("."))),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                run(&bytes[at..], |b| b.is_ascii_alphanumeric() || b == b'_')
            }
            _ if source[at..]
                .chars()
                .next()
                .is_some_and(|c| "+-*/%~<>=!|.,:()[]{}".contains(c)) =>
            {
                if LONG_OPS.iter().any(|op| source[at..].starts_with(op)) {
                    2
                } else {
                    1
                }
            }
            _ => {
                let c = source[at..].chars().next().unwrap_or_default();
                return Err(format!("unexpected {c:?} in the expression"));
            }
        };
        let word = &source[at..at + length];
        tokens.push(match byte {
            b'"' | b'\'' => Token::Text(word),
            b'0'..=b'9' => Token::Number(word),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Token::Ident(word),
            _ => Token::Op(word),
        });
        at += length;
    }
    Ok(tokens)
}

/// How long the text at the start is, quotes included.
pub fn text_length(bytes: &[u8]) -> Option<usize> {
    let quote = *bytes.first()?;
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn run(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| accept(**byte)).count()
}

/// After a dot only digits count: `items.0.url`.
fn number_length(bytes: &[u8], after_dot: bool) -> usize {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if after_dot {
        return run(bytes, |b| b.is_ascii_digit());
    }
    let mut length = run(bytes, word);
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        length += 1 + run(&bytes[length + 1..], word);
    }
    let exponent =
        bytes[length - 1].eq_ignore_ascii_case(&b'e') && !bytes[..length].starts_with(b"0x");
    if exponent && matches!(bytes.get(length), Some(b'+' | b'-')) {
        length += 1 + run(&bytes[length + 1..], word);
    }
    length
}

/// What must happen to an operand once it is complete.
#[derive(Clone, Copy, PartialEq)]
enum Wrap {
    No,
    Number,
    Text,
}

/// Where the walk over one level of brackets stands.
struct Level {
    /// Where the last operand begins in the output, if one stands there.
    operand: Option<usize>,
    /// Where a sign before the coming operand stands.
    sign: Option<usize>,
    /// What the current operand still needs.
    wrap: Wrap,
    /// Whether `*`, `/`, `//`, `%` or `**` stands before the current operand.
    tight: bool,
}

struct Rewriter<'t, 's> {
    tokens: &'t [Token<'s>],
    at: usize,
    out: String,
    chains: Vec<Chain>,
    nesting: usize,
    joins: usize,
}

fn is_tight(token: Option<Token<'_>>) -> bool {
    matches!(token, Some(Token::Op("*" | "/" | "//" | "%" | "**")))
}

impl<'s> Rewriter<'_, 's> {
    fn peek(&self) -> Option<Token<'s>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'s>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// A word or an operator, set apart by spaces.
    fn emit(&mut self, word: &str) {
        self.out.push(' ');
        self.out.push_str(word);
        self.out.push(' ');
    }

    fn wrap(&mut self, from: usize, function: &str) {
        self.out.insert_str(from, &format!("{function}("));
        self.out.push(')');
    }

    /// Everything up to the closing bracket (left for the caller) or the end. Tells whether a colon stood there.
    fn sequence(&mut self, close: Option<&str>) -> Result<bool, String> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(format!(
                "the expression nests deeper than {MAX_NESTING} levels"
            ));
        }
        let mut level = Level {
            operand: None,
            sign: None,
            wrap: Wrap::No,
            tight: false,
        };
        let mut colon = false;
        loop {
            let token = self.peek();
            if !matches!(token, Some(Token::Op("|") | Token::Ident("is"))) {
                self.settle(&mut level, token);
            }
            match token {
                None if close.is_none() => break,
                None => {
                    return Err(format!(
                        "a closing `{}` is missing",
                        close.unwrap_or_default()
                    ));
                }
                Some(Token::Op(op)) if Some(op) == close => break,
                Some(Token::Op(op @ (")" | "]" | "}"))) => {
                    return Err(format!("unexpected `{op}`"));
                }
                Some(Token::Op(op)) if !matches!(op, "(" | "[" | "{") => {
                    self.at += 1;
                    colon |= op == ":";
                    self.operator(op, &mut level)?;
                }
                Some(Token::Ident(word)) if keyword(word) => {
                    self.at += 1;
                    self.keyword(word, &mut level)?;
                }
                Some(_) => {
                    let start = level.sign.take().unwrap_or(self.out.len());
                    level.operand = self.primary()?.then_some(start);
                }
            }
        }
        self.nesting -= 1;
        Ok(colon)
    }

    /// The operand is complete: do what its operator asked for.
    fn settle(&mut self, level: &mut Level, next: Option<Token<'_>>) {
        let Some(start) = level.operand else { return };
        match level.wrap {
            Wrap::Number => self.wrap(start, "num"),
            Wrap::Text if !is_tight(next) => self.wrap(start, "text"),
            _ => {}
        }
        level.wrap = Wrap::No;
    }

    fn operator(&mut self, op: &str, level: &mut Level) -> Result<(), String> {
        let operand = level.operand.take();
        match (op, operand) {
            ("|", Some(start)) => {
                level.operand = Some(start);
                return self.filter();
            }
            ("-", None) => {
                level.sign = level.sign.or(Some(self.out.len()));
                self.out.push('-');
                return Ok(());
            }
            ("*" | "**", None) => return Err(format!("unexpected `{op}`")),
            ("*", Some(start)) => self.wrap(start, "num"),
            ("~", Some(start)) if !level.tight => self.wrap(start, "text"),
            _ => {}
        }
        if matches!(op, "~" | "+") {
            self.joins += 1;
            if self.joins > MAX_JOINS {
                return Err(format!(
                    "more than {MAX_JOINS} `~` and `+` in one expression"
                ));
            }
        }
        level.wrap = match op {
            "*" => Wrap::Number,
            "~" => Wrap::Text,
            _ => Wrap::No,
        };
        level.tight = is_tight(Some(Token::Op(op)));
        self.emit(op);
        Ok(())
    }

    fn keyword(&mut self, word: &str, level: &mut Level) -> Result<(), String> {
        // The crate takes words of the language for variables where no operator can stand. We do not.
        if word != "not" && level.operand.is_none() {
            return Err(format!("unexpected `{word}`"));
        }
        self.emit(word);
        if word != "is" {
            if word == "not" && level.operand.is_some() {
                if self.next() != Some(Token::Ident("in")) {
                    return Err("unexpected `not`".to_owned());
                }
                self.emit("in");
            }
            *level = Level {
                operand: None,
                sign: None,
                wrap: Wrap::No,
                tight: false,
            };
            return Ok(());
        }
        if self.peek() == Some(Token::Ident("not")) {
            self.at += 1;
            self.emit("not");
        }
        match self.next() {
            Some(Token::Ident(name)) if TESTS.contains(&name) => self.emit(name),
            Some(Token::Ident(name)) => {
                return Err(format!(
                    "unknown test `{name}`{}",
                    did_you_mean(name, TESTS)
                ));
            }
            _ => return Err("a test's name is missing after `is`".to_owned()),
        }
        match self.peek() {
            Some(Token::Text(_) | Token::Number(_) | Token::Op("[" | "{" | "-")) => {
                self.test_argument()
            }
            Some(Token::Ident(name)) if !keyword(name) => self.test_argument(),
            Some(Token::Ident("not" | "in" | "if")) => {
                Err("put parentheses around the test: `(x is odd) in y`".to_owned())
            }
            _ => self.arguments(),
        }
    }

    /// The argument of a test without its parentheses, `is divisibleby 3`: they are put around it.
    fn test_argument(&mut self) -> Result<(), String> {
        self.out.push('(');
        while self.peek() == Some(Token::Op("-")) {
            self.at += 1;
            self.emit("-");
        }
        self.primary()?;
        self.out.push(')');
        Ok(())
    }

    fn filter(&mut self) -> Result<(), String> {
        self.emit("|");
        match self.next() {
            Some(Token::Ident(name)) if FILTERS.contains(&name) => self.emit(name),
            Some(Token::Ident(name)) => {
                return Err(format!(
                    "unknown filter `{name}`{}",
                    did_you_mean(name, FILTERS)
                ));
            }
            _ => return Err("a filter's name is missing after `|`".to_owned()),
        }
        self.arguments()?;
        match self.peek() {
            Some(Token::Op("." | "[")) => {
                Err("put parentheses around the filter: `(x | first).y`".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn arguments(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(Token::Op("(")) => self.group("(", ")"),
            _ => Ok(()),
        }
    }

    fn group(&mut self, open: &str, close: &str) -> Result<(), String> {
        self.at += 1;
        self.out.push_str(open);
        self.sequence(Some(close))?;
        self.at += 1;
        self.out.push_str(close);
        Ok(())
    }

    /// A value with what hangs on it. False: it was the name of an argument, and the value follows.
    fn primary(&mut self) -> Result<bool, String> {
        let start = self.out.len();
        match self.peek() {
            Some(Token::Ident(word)) => {
                self.at += 1;
                if self.peek() == Some(Token::Op("=")) {
                    self.at += 1;
                    self.out.push_str(&format!(" {word}="));
                    return Ok(false);
                }
                if matches!(word, "true" | "True" | "false" | "False" | "none" | "None") {
                    self.emit(word);
                    self.postfix(start, word)?;
                    return Ok(true);
                }
                let chain = self.chain(word);
                let label = spell(&chain.root, &chain.path);
                self.out.push_str(&format!("v{}", self.chains.len()));
                self.chains.push(chain);
                self.postfix(start, &label)?;
            }
            Some(Token::Op(open)) => {
                let close = match open {
                    "(" => ")",
                    "[" => "]",
                    _ => "}",
                };
                self.group(open, close)?;
                self.postfix(start, "(…)")?;
            }
            Some(Token::Text(word)) => {
                self.at += 1;
                self.emit(word);
                self.postfix(start, "(…)")?;
            }
            Some(Token::Number(word)) => {
                self.at += 1;
                self.emit(word);
                self.postfix(start, word)?;
            }
            None => {}
        }
        Ok(true)
    }

    /// The part of a path that is written out.
    fn chain(&mut self, root: &str) -> Chain {
        let mut path = Vec::new();
        loop {
            let (segment, length) = match self.tokens.get(self.at..).unwrap_or_default() {
                [Token::Op("."), Token::Ident(name), ..] => {
                    (Some(Segment::Key((*name).to_owned())), 2)
                }
                [Token::Op("."), Token::Number(digits), ..] => (index(digits, false), 2),
                [Token::Op("["), Token::Text(quoted), Token::Op("]"), ..] => {
                    (plain_text(quoted), 3)
                }
                [Token::Op("["), Token::Number(digits), Token::Op("]"), ..] => {
                    (index(digits, false), 3)
                }
                [
                    Token::Op("["),
                    Token::Op("-"),
                    Token::Number(digits),
                    Token::Op("]"),
                    ..,
                ] => (index(digits, true), 4),
                _ => (None, 0),
            };
            let Some(segment) = segment else { break };
            path.push(segment);
            self.at += length;
        }
        Chain {
            root: root.to_owned(),
            path,
        }
    }

    /// What hangs on the operand that begins at `start` and cannot be followed before evaluation.
    fn postfix(&mut self, start: usize, label: &str) -> Result<(), String> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Op(".")) => {
                    self.at += 1;
                    match self.next() {
                        Some(Token::Ident(name)) => keys.push(format!("\"{name}\"")),
                        Some(Token::Number(digits)) => keys.push(digits.to_owned()),
                        _ => return Err("a name is missing after `.`".to_owned()),
                    }
                }
                Some(Token::Op("[")) => {
                    let (key, slice) = self.subscript()?;
                    match slice {
                        false => keys.push(key),
                        true => {
                            self.flush(start, label, &mut keys);
                            self.out.push_str(&format!("[{key}]"));
                        }
                    }
                }
                Some(Token::Op("(")) => {
                    return Err(
                        "expressions have no functions and no methods, only filters: `x | length`"
                            .to_owned(),
                    );
                }
                _ => break,
            }
        }
        self.flush(start, label, &mut keys);
        Ok(())
    }

    fn flush(&mut self, start: usize, label: &str, keys: &mut Vec<String>) {
        if !keys.is_empty() {
            let value = self.out.split_off(start);
            let label = label.replace('\\', "\\\\").replace('"', "\\\"");
            self.out
                .push_str(&format!("at(\"{label}\",{value},{})", keys.join(",")));
            keys.clear();
        }
    }

    /// What stands in brackets, rewritten, and whether it is a slice.
    fn subscript(&mut self) -> Result<(String, bool), String> {
        self.at += 1;
        let before = std::mem::take(&mut self.out);
        let slice = self.sequence(Some("]"))?;
        self.at += 1;
        let key = std::mem::replace(&mut self.out, before);
        match key.trim().is_empty() {
            true => Err("the brackets `[]` are empty".to_owned()),
            false => Ok((key, slice)),
        }
    }
}

fn keyword(word: &str) -> bool {
    matches!(word, "and" | "or" | "not" | "in" | "if" | "else" | "is")
}

fn index(digits: &str, negative: bool) -> Option<Segment> {
    let index: i64 = digits.parse().ok()?;
    Some(Segment::Index(if negative { -index } else { index }))
}

/// A quoted text without escapes; one with escapes is left to the template crate.
fn plain_text(quoted: &str) -> Option<Segment> {
    let inside = quoted.get(1..quoted.len() - 1)?;
    (!inside.contains('\\')).then(|| Segment::Key(inside.to_owned()))
}
