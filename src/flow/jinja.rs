//! One expression: from text to a value. The only file that knows the template crate.
//!
//! The crate's own lookups cannot say which path was missing, know nothing of "below null is null", sort the keys of
//! objects and print values in Python's way. So every path (`feed.output.items[0].url`) is taken out of the
//! expression (see `rewrite`), followed by [`Scope`], and handed in as a value; what is left is computed by the crate,
//! with the filters and tests of the tables below and nothing else: no clock, no dice, no environment, no functions.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use minijinja::value::{Kwargs, Object, Rest, Value as Jinja, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Expression, State, UndefinedBehavior};
use minijinja::{filters, tests as builtin};
use serde_json::Value;

use crate::flow::rewrite::{Rewritten, rewrite};
use crate::flow::scope::{Chain, Scope};
use crate::flow::values::{
    MAX_VALUE_BYTES, MAX_VALUE_DEPTH, as_text, check_size, from_jinja, reason, to_jinja, too_big,
};

/// The filters that expressions may use.
pub const FILTERS: [&str; 34] = [
    "abs",
    "bool",
    "capitalize",
    "default",
    "first",
    "float",
    "int",
    "items",
    "join",
    "keys",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];
/// The tests that expressions may use, after `is`.
pub const TESTS: [&str; 26] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
];
/// How many instructions one evaluation may take.
const FUEL: u64 = 50_000;

/// Why an expression gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A path leads nowhere; the sentence names it.
    Missing(String),
    /// Anything else.
    Other(String),
}

impl Fault {
    /// The sentence.
    pub fn message(self) -> String {
        match self {
            Fault::Missing(text) | Fault::Other(text) => text,
        }
    }
}

/// A checked expression, ready to be evaluated again and again.
#[derive(Clone)]
pub struct Expr {
    source: Arc<str>,
    chains: Arc<[Chain]>,
    /// `None`: the expression is its one chain and nothing else.
    compiled: Option<Arc<Expression<'static, 'static>>>,
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{ {} }}}}", self.source)
    }
}

impl Expr {
    /// Reads an expression. The error is a sentence about its syntax.
    pub fn parse(source: &str) -> Result<Expr, String> {
        let source = source.trim();
        if source.is_empty() {
            return Err("the expression is empty".to_owned());
        }
        let Rewritten {
            text,
            chains,
            plain,
        } = rewrite(source)?;
        let compiled = match plain {
            true => None,
            false => {
                let compiled = environment().compile_expression_owned(text);
                // The complaint is to be about what the author wrote. Only then: the crate computes what is constant
                // while it compiles, and only in the rewritten text does `*` repeat nothing.
                let expression =
                    compiled.map_err(|error| match environment().compile_expression(source) {
                        Err(original) => syntax(&original),
                        Ok(_) => syntax(&error),
                    })?;
                Some(Arc::new(expression))
            }
        };
        Ok(Expr {
            source: source.into(),
            chains: chains.into(),
            compiled,
        })
    }

    /// As written, without the braces.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The paths it follows, as far as they are written out.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// Its value.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        let Some(compiled) = &self.compiled else {
            let value = match self.chains.first() {
                Some(chain) => scope.resolve(chain).map_err(Fault::Missing)?,
                None => return Err(Fault::Other("the expression is empty".to_owned())),
            };
            check_size(&value).map_err(|why| self.fault(&why))?;
            return Ok(value.into_owned());
        };
        let paths = self
            .chains
            .iter()
            .map(|chain| scope.resolve(chain).map(|value| to_jinja(&value)))
            .collect();
        let paths = Arc::new(Paths {
            paths,
            missing: Mutex::new(Vec::new()),
        });
        let result = compiled.eval(Jinja::from_dyn_object(paths.clone()));
        if let Some(first) = paths.log().first() {
            return Err(Fault::Missing(first.clone()));
        }
        let value = result.map_err(|error| self.fault(&reason(&error)))?;
        if value.is_undefined() {
            return Err(Fault::Missing(format!("`{}` gives nothing", self.source)));
        }
        let mut left = MAX_VALUE_BYTES;
        from_jinja(&value, MAX_VALUE_DEPTH, &mut left).map_err(|why| self.fault(&why))
    }

    fn fault(&self, why: &str) -> Fault {
        Fault::Other(format!(
            "`{}`: {why}",
            crate::flow::names::excerpt(&self.source)
        ))
    }
}

fn syntax(error: &Error) -> String {
    format!(
        "not a valid expression: {}",
        error.detail().unwrap_or("syntax error")
    )
}

/// The variables of one evaluation, `v0`, `v1` …, and the log of those that were asked for and are not there.
#[derive(Debug)]
struct Paths {
    paths: Vec<Result<Jinja, String>>,
    missing: Mutex<Vec<String>>,
}

impl Paths {
    fn log(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.missing
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Object for Paths {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let name = key.as_str()?;
        if name == "paths" {
            return Some(Jinja::from_dyn_object(self.clone()));
        }
        match self
            .paths
            .get(name.strip_prefix('v')?.parse::<usize>().ok()?)?
        {
            Ok(value) => Some(value.clone()),
            Err(why) => {
                self.log().push(why.clone());
                None
            }
        }
    }
}

fn paths_of(state: &State<'_, '_>) -> Option<Arc<Paths>> {
    state.lookup("paths")?.downcast_object::<Paths>()
}

/// A missing path was taken care of: by `default`, or by asking whether it is there. `later` undefined values were
/// looked up after it.
fn forgive(state: &State<'_, '_>, later: usize) {
    if let Some(paths) = paths_of(state) {
        let mut log = paths.log();
        if let Some(at) = log.len().checked_sub(1 + later) {
            log.remove(at);
        }
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(build)
}

fn build() -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_debug(false);
    add_filters(&mut env);
    add_tests(&mut env);
    env.add_function("at", at);
    env.add_function("num", num);
    env.add_function("text", |value: Jinja| text(&value));
    env
}

fn add_filters(env: &mut Environment<'static>) {
    env.add_filter("abs", filters::abs);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("default", default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("items", filters::items);
    env.add_filter("join", join);
    env.add_filter("keys", keys);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("map", filters::map);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("reject", filters::reject);
    env.add_filter("rejectattr", filters::rejectattr);
    env.add_filter("replace", replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("select", filters::select);
    env.add_filter("selectattr", filters::selectattr);
    env.add_filter("sort", filters::sort);
    env.add_filter("split", filters::split);
    env.add_filter("string", |value: Jinja| text(&value));
    env.add_filter("sum", filters::sum);
    env.add_filter("title", filters::title);
    env.add_filter("tojson", |value: Jinja| json(&value));
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);
}

fn add_tests(env: &mut Environment<'static>) {
    env.add_test("boolean", builtin::is_boolean);
    env.add_test("defined", |state: &State<'_, '_>, value: &Jinja| {
        !undefined(state, value)
    });
    env.add_test("divisibleby", builtin::is_divisibleby);
    env.add_test("endingwith", builtin::is_endingwith);
    env.add_test("eq", builtin::is_eq);
    env.add_test("even", builtin::is_even);
    env.add_test("false", builtin::is_false);
    env.add_test("float", builtin::is_float);
    env.add_test("ge", builtin::is_ge);
    env.add_test("gt", builtin::is_gt);
    env.add_test("in", builtin::is_in);
    env.add_test("integer", builtin::is_integer);
    env.add_test("iterable", builtin::is_iterable);
    env.add_test("le", builtin::is_le);
    env.add_test("lower", builtin::is_lower);
    env.add_test("lt", builtin::is_lt);
    env.add_test("mapping", builtin::is_mapping);
    env.add_test("ne", builtin::is_ne);
    env.add_test("none", builtin::is_none);
    env.add_test("number", builtin::is_number);
    env.add_test("odd", builtin::is_odd);
    env.add_test("sequence", builtin::is_sequence);
    env.add_test("startingwith", builtin::is_startingwith);
    env.add_test("string", builtin::is_string);
    env.add_test("true", builtin::is_true);
    env.add_test("undefined", undefined);
}

fn undefined(state: &State<'_, '_>, value: &Jinja) -> bool {
    if value.is_undefined() {
        forgive(state, 0);
    }
    value.is_undefined()
}

/// `x | default(y)`: y where x is missing or null; with `true` as second argument, where x is empty too.
fn default(state: &State<'_, '_>, value: &Jinja, args: Rest<Jinja>) -> Result<Jinja, Error> {
    if args.len() > 2 {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let other = args.first().cloned().unwrap_or_else(|| Jinja::from(""));
    let lax = args.get(1).is_some_and(Jinja::is_true);
    if value.is_undefined() {
        forgive(state, args.iter().filter(|arg| arg.is_undefined()).count());
        return Ok(other);
    }
    Ok(if value.is_none() || (lax && !value.is_true()) {
        other
    } else {
        value.clone()
    })
}

/// `at("feed.output", value, key, …)`: follows a path whose keys are only known now.
fn at(
    state: &State<'_, '_>,
    label: String,
    value: Jinja,
    Rest(keys): Rest<Jinja>,
) -> Result<Jinja, Error> {
    let mut here = value;
    let mut path = label;
    for key in keys {
        if here.is_undefined() || here.is_none() {
            return Ok(here);
        }
        let next = match here.kind() {
            ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => {
                here.get_item(&key).unwrap_or(Jinja::UNDEFINED)
            }
            _ => Jinja::UNDEFINED,
        };
        let holder = std::mem::take(&mut path);
        path = match key.as_str() {
            Some(name) if crate::flow::names::is_name(name) => format!("{holder}.{name}"),
            Some(name) => format!("{holder}[{:?}]", crate::flow::names::excerpt(name)),
            None => format!("{holder}[{key}]"),
        };
        if next.is_undefined() {
            let why = match (here.kind(), here.len()) {
                (ValueKind::Seq | ValueKind::Iterable, Some(len)) => format!("has {len} elements"),
                (ValueKind::Map, _) => "has no such member".to_owned(),
                (kind, _) => format!("is a {kind}"),
            };
            if let Some(paths) = paths_of(state) {
                paths
                    .log()
                    .push(format!("`{path}` does not exist: `{holder}` {why}"));
            }
        }
        here = next;
    }
    Ok(here)
}

/// The operands of `*`: the crate would repeat texts and lists, a hundred million times if asked to.
fn num(value: Jinja) -> Result<Jinja, Error> {
    match value.kind() {
        ValueKind::Number => Ok(value),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        kind => Err(wrong(format!("`*` needs numbers, got a {kind}"))),
    }
}

fn to_value(value: &Jinja) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let mut left = MAX_VALUE_BYTES;
    from_jinja(value, MAX_VALUE_DEPTH, &mut left).map_err(wrong)
}

fn text(value: &Jinja) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Ok(as_text(&to_value(value)?)),
    }
}

fn json(value: &Jinja) -> Result<String, Error> {
    Ok(to_value(value)?.to_string())
}

fn capped(text: &str, more: &str) -> Result<(), Error> {
    match text.len() + more.len() > MAX_VALUE_BYTES {
        true => Err(wrong(too_big())),
        false => Ok(()),
    }
}

fn join(value: &Jinja, joiner: Option<String>, kwargs: Kwargs) -> Result<String, Error> {
    let attribute: Option<String> = kwargs.get("attribute")?;
    kwargs.assert_all_used()?;
    let joiner = joiner.unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        let item = text(&item)?;
        capped(&joined, &item)?;
        if at > 0 {
            capped(&joined, &joiner)?;
            joined.push_str(&joiner);
        }
        joined.push_str(&item);
    }
    Ok(joined)
}

fn replace(value: String, from: String, to: String) -> Result<String, Error> {
    let grows = to
        .len()
        .saturating_sub(from.len())
        .saturating_mul(value.matches(from.as_str()).count());
    match value.len().saturating_add(grows) > MAX_VALUE_BYTES {
        true => Err(wrong(too_big())),
        false => Ok(value.replace(from.as_str(), &to)),
    }
}

fn keys(value: &Jinja) -> Result<Vec<Jinja>, Error> {
    match value.kind() {
        ValueKind::Map => Ok(value.try_iter()?.collect()),
        kind => Err(wrong(format!("`keys` needs an object, got a {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Arithmetic and joins of literals, as anyone might nest them.
    fn arithmetic() -> impl Strategy<Value = String> {
        let words = vec![
            "1",
            "2",
            "3",
            "(4 - 1)",
            "[5, 6][1]",
            "-",
            "-",
            "+",
            "*",
            "*",
            "~",
            "~",
            "/",
            "//",
            "%",
            "**",
            "| abs",
            "| int",
            "not in",
            "in [2]",
            "is odd",
            "<",
            "==",
            "and",
            "or",
            "not",
            "if",
            "else",
        ];
        prop::collection::vec(prop::sample::select(words), 1..9).prop_map(|words| words.join(" "))
    }

    /// The template crate computes what is constant while it compiles: found by the fuzzer, as an expression that took
    /// a minute to be refused.
    #[test]
    fn nothing_is_repeated_while_an_expression_is_read() {
        let long = r#""a" ~ 100000000 * ["b"]"#;
        let Ok(read) = Expr::parse(long) else { return };
        let inputs = serde_json::Map::new();
        let scope = Scope {
            inputs: &inputs,
            declared: Default::default(),
            run: &Value::Null,
            steps: Default::default(),
            top: Vec::new(),
        };
        let fault = read
            .eval(&scope)
            .expect_err("a list is no number")
            .message();
        assert!(fault.contains('*') || fault.contains("number"), "{fault}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn rewriting_does_not_change_what_an_expression_means(source in arithmetic()) {
            let Ok(original) = environment().compile_expression(&source) else { return Ok(()) };
            // What is refused has no other meaning.
            let Ok(rewritten) = rewrite(&source) else { return Ok(()) };
            let compiled = environment().compile_expression(&rewritten.text);
            let compiled = compiled.map_err(|why| TestCaseError::fail(format!("{source} → {}: {why}", rewritten.text)))?;
            let show = |value: Result<Jinja, Error>| value.map(|value| value.to_string()).ok();
            // Joined booleans print as `true` with us, as `True` without; strings do not multiply with us.
            let expected = show(original.eval(())).map(|text| text.to_lowercase());
            let got = show(compiled.eval(())).map(|text| text.to_lowercase());
            let repeats = got.is_none() && expected.is_some() && source.contains('*');
            prop_assert!(got == expected || repeats, "{} → {}: {:?}, not {:?}", source, rewritten.text, got, expected);
        }
    }
}
