//! What templates become.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::flow::expr::{Expr, Fault, SecretMark};
use crate::flow::scope::{Scope, StepView};

/// The value of one expression over a fixed scope: inputs of every type, and steps that are done, failed and skipped.
fn eval(source: &str) -> Result<Value, Fault> {
    let inputs = object(json!({
        "t": "Ab c", "n": 7, "f": 1.5, "big": u64::MAX, "low": i64::MIN, "huge": 1e300, "yes": true,
        "list": [3, 1, 2], "o": {"z": 1, "a": [true, null, {"k": "v"}], "with space": 5}, "key": "z",
        "people": [{"name": "B", "age": 2}, {"name": "A"}], "extra": 1,
    }));
    let feed = json!({"items": [], "first": [{"url": "https://a.example/x"}], "title": "T"});
    let meta = json!({"status": 200});
    let view = |output: &Value, error: Option<&str>| StepView {
        output: Cow::Owned(output.clone()),
        error: error.map(|text| Cow::Owned(text.to_owned())),
        meta: None,
    };
    let mut steps = HashMap::new();
    steps.insert(
        "feed",
        StepView {
            meta: Some(&meta),
            ..view(&feed, None)
        },
    );
    steps.insert("failed", view(&Value::Null, Some("it broke")));
    steps.insert("skipped", view(&Value::Null, None));
    let declared = [
        "t", "n", "f", "big", "low", "huge", "yes", "list", "o", "key", "people", "absent",
    ];
    let run = json!({"id": "r1"});
    let scope = Scope {
        inputs: &inputs,
        declared: declared.into_iter().collect(),
        run: &run,
        steps,
        top: vec!["feed", "failed"],
    };
    Expr::parse(source)
        .unwrap_or_else(|why| panic!("{source}: {why}"))
        .eval(&scope)
}

fn message(source: &str) -> String {
    match eval(source) {
        Err(fault) => fault.message(),
        Ok(value) => panic!("{source} gave {value}"),
    }
}

#[test]
fn a_lone_expression_keeps_its_type() {
    for (source, expected) in [
        ("t", json!("Ab c")),
        ("n", json!(7)),
        (
            "o",
            json!({"z": 1, "a": [true, null, {"k": "v"}], "with space": 5}),
        ),
        ("start.t", json!("Ab c")),
        ("start.extra", json!(1)),
        ("run.id", json!("r1")),
        ("feed.output.first[0].url", json!("https://a.example/x")),
        ("feed.output.first[-1]['url']", json!("https://a.example/x")),
        ("feed.output.first.0.url", json!("https://a.example/x")),
        ("feed.meta.status", json!(200)),
        ("feed.error", json!(null)),
        ("failed.error", json!("it broke")),
        ("step_1.output.title", json!("T")),
        ("o['with space']", json!(5)),
        ("absent", json!(null)),
        ("start.absent", json!(null)),
        ("n + 1", json!(8)),
        ("-n", json!(-7)),
        ("n * 2 - 1", json!(13)),
        ("-n | abs * 2", json!(14)),
        ("2 * -n", json!(-14)),
        ("n / 2", json!(3.5)),
        ("n // 2", json!(3)),
        ("n > 5 and not (t == 'x')", json!(true)),
        ("'a' if yes else 'b'", json!("a")),
        ("[n, {'a': t}]", json!([7, {"a": "Ab c"}])),
        ("1 in list", json!(true)),
        ("list[1:]", json!([1, 2])),
        ("o.a[2].k ~ '!'", json!("v!")),
        ("o[key]", json!(1)),
        ("o['a'][n - 5].k", json!("v")),
        ("(list | sort)[0]", json!(1)),
        ("(people | first).name", json!("B")),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn the_order_of_keys_survives() {
    for source in ["o", "[o] | first", "o if yes else 1"] {
        assert!(
            eval(source)
                .expect("a value")
                .to_string()
                .starts_with(r#"{"z":1,"a":"#),
            "{source}"
        );
    }
}

#[test]
fn numbers_are_exact() {
    for source in ["big", "[big][0]", "big if yes else 0"] {
        assert_eq!(eval(source), Ok(json!(u64::MAX)), "{source}");
    }
    assert_eq!(eval("[low, huge, f]"), Ok(json!([i64::MIN, 1e300, 1.5])));
    assert_eq!(eval("big - 1"), Ok(json!(u64::MAX - 1)));
    assert_eq!(eval("big ~ ''"), Ok(json!(u64::MAX.to_string())));
    assert!(message("1 / 0").contains("1 / 0"));
    assert!(message("huge * huge").contains("not a finite number"));
}

#[test]
fn values_print_as_json_inside_text() {
    for (source, expected) in [
        ("yes ~ ''", "true"),
        ("'<' ~ none ~ '>'", "<>"),
        (
            "'' ~ o",
            r#"{"z":1,"a":[true,null,{"k":"v"}],"with space":5}"#,
        ),
        ("list ~ ''", "[3,1,2]"),
        ("yes | string", "true"),
        ("[yes, o.a[2]] | join('-')", r#"true-{"k":"v"}"#),
        ("f ~ '' ~ n * 2", "1.514"),
        (
            "o | tojson",
            r#"{"z":1,"a":[true,null,{"k":"v"}],"with space":5}"#,
        ),
    ] {
        assert_eq!(eval(source), Ok(json!(expected)), "{source}");
    }
}

#[test]
fn every_filter_works() {
    for (source, expected) in [
        (
            "t | lower | upper | title | capitalize | trim",
            json!("Ab c"),
        ),
        ("t | length", json!(4)),
        ("t | replace('b', 'x') | split(' ')", json!(["Ax", "c"])),
        ("list | sort | reverse | list", json!([3, 2, 1])),
        (
            "[list | first, list | last, list | min, list | max, list | sum]",
            json!([3, 2, 1, 3, 6]),
        ),
        ("list | map('string') | join(',')", json!("3,1,2")),
        ("people | map(attribute='name') | join", json!("BA")),
        ("people | join('-', attribute='name')", json!("B-A")),
        (
            "people | map(attribute='age', default=0) | list",
            json!([2, 0]),
        ),
        (
            "people | selectattr('age', 'defined') | map(attribute='name') | list",
            json!(["B"]),
        ),
        (
            "people | rejectattr('age', 'defined') | map(attribute='name') | list",
            json!(["A"]),
        ),
        ("list | select('odd') | list", json!([3, 1])),
        ("list | reject('odd') | list", json!([2])),
        ("[1, 1, 2] | unique | list", json!([1, 2])),
        ("o | keys", json!(["z", "a", "with space"])),
        ("{'a': 1} | items | list", json!([["a", 1]])),
        (
            "['5' | int, '1.5' | float, 1.26 | round(1), -3 | abs, 1 | bool]",
            json!([5, 1.5, 1.3, 3, true]),
        ),
        ("'a\\nb' | lines", json!(["a", "b"])),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn the_tables_are_what_there_is() {
    use crate::flow::jinja::{FILTERS, TESTS};
    for filter in FILTERS {
        assert!(
            !matches!(eval(&format!("n | {filter}")), Err(Fault::Other(why)) if why.contains("unknown filter")),
            "{filter}"
        );
    }
    for test in TESTS {
        let known = eval(&format!("n is {test}"));
        assert!(
            !matches!(known, Err(Fault::Other(why)) if why.contains("unknown test")),
            "{test}"
        );
    }
}

#[test]
fn a_missing_path_fails_with_the_path() {
    for (source, expected) in [
        (
            "feed.output.items[0].url",
            "`feed.output.items[0].url` does not exist: `items` has 0 elements",
        ),
        (
            "feed.output.nope.x",
            "`feed.output.nope.x` does not exist: `output` has no `nope`",
        ),
        (
            "feed.output.title.x",
            "`feed.output.title.x` does not exist: `title` is a text",
        ),
        ("o.a.k", "`o.a.k` does not exist: `a` is an array"),
        ("list[3]", "`list[3]` does not exist: `list` has 3 elements"),
        (
            "start.nope",
            "`start.nope` does not exist: no such input was given",
        ),
        ("o.nope == 1", "`o.nope` does not exist: `o` has no `nope`"),
        ("o.nope or 1", "`o.nope` does not exist: `o` has no `nope`"),
        ("'x' ~ o.nope", "`o.nope` does not exist: `o` has no `nope`"),
        ("[o.nope]", "`o.nope` does not exist: `o` has no `nope`"),
        (
            "o[t]",
            "`o[\"Ab c\"]` does not exist: `o` has no such member",
        ),
        ("list[n]", "`list[7]` does not exist: `list` has 3 elements"),
        (
            "o.nope | default(o.nil)",
            "`o.nil` does not exist: `o` has no `nil`",
        ),
        ("o.nope[n].x", "`o.nope` does not exist: `o` has no `nope`"),
    ] {
        assert_eq!(
            eval(source),
            Err(Fault::Missing(expected.to_owned())),
            "{source}"
        );
    }
    assert!(
        matches!(eval("people | map(attribute='age') | list"), Err(Fault::Other(why)) if why.contains("does not exist"))
    );
    assert!(matches!(eval("1 if false"), Err(Fault::Missing(_))));
    assert!(eval("([] | first).x").is_err());
}

#[test]
fn default_and_defined_take_care_of_what_is_missing() {
    for (source, expected) in [
        ("feed.output.items[0].url | default('d')", json!("d")),
        ("feed.output.items[n].url | default('d')", json!("d")),
        ("o.nope | default(o.nope2 | default(1))", json!(1)),
        ("o.nope is defined", json!(false)),
        ("o.nope is not defined and o.z is defined", json!(true)),
        ("o.nope is undefined", json!(true)),
        (
            "'y' if o.nope is defined and o.nope > 5 else 'n'",
            json!("n"),
        ),
        ("absent | default('d')", json!("d")),
        ("none | default('d')", json!("d")),
        ("'' | default('d', true)", json!("d")),
        ("'' | default('d')", json!("")),
    ] {
        assert_eq!(eval(source), Ok(expected), "{source}");
    }
}

#[test]
fn what_hangs_below_null_is_null() {
    for source in [
        "skipped.output.a[0].b",
        "absent.x",
        "skipped.meta.status",
        "failed.output.x[n].y",
        "o.a[1].deep",
        "(none).x",
    ] {
        assert_eq!(eval(source), Ok(Value::Null), "{source}");
    }
}

#[test]
fn expressions_cannot_burn_time_or_memory() {
    assert!(message("'x' * 100000000").contains("`*` needs numbers"));
    assert!(message("100000000 * [0]").contains("`*` needs numbers"));
    assert!(message("n * t | upper").contains("`*` needs numbers"));
    assert!(Expr::parse(&"1 + ".repeat(100)).is_err());
    assert!(Expr::parse(&"x".repeat(5_000)).is_err());
    assert!(Expr::parse("[*list]").is_err());
    assert!(Expr::parse("x | map(*list)").is_err());
    let long = "a".repeat(700);
    let grown = format!("'{long}' | replace('a', '{long}') | replace('a', '{long}')");
    assert!(message(&grown).contains("larger than 1024 KiB"));
    for gone in [
        "now()",
        "range(10)",
        "debug()",
        "dict(a=1)",
        "x | pprint",
        "x | batch(2)",
        "x | format",
        "x | safe",
    ] {
        assert!(Expr::parse(gone).is_err(), "{gone}");
    }
}

#[test]
fn every_operator_of_conditions() {
    let holds = |left: Value, op: &str, right: Value| {
        let right = if right == json!("—") {
            String::new()
        } else {
            format!(", right: {right}")
        };
        let text = format!("steps: [{{id: g, condition: {{left: {left}, op: '{op}'{right}}}}}]");
        let plan = run_plan(&yaml(&text), json!({}), &[]);
        match &plan.results[0] {
            result if result.error.is_none() => result.output.as_bool(),
            _ => None,
        }
    };
    let none = || json!("—");
    for (left, op, right, expected) in [
        (json!(1), "equals", json!(1.0), Some(true)),
        (json!(1), "equals", json!("1"), Some(false)),
        (
            json!({"a": [1], "b": 2}),
            "equals",
            json!({"b": 2.0, "a": [1]}),
            Some(true),
        ),
        (json!(true), "does_not_equal", json!("true"), Some(true)),
        (json!(u64::MAX), ">", json!(u64::MAX - 1), Some(true)),
        (json!(1), ">=", json!(1.0), Some(true)),
        (json!("a"), "<", json!("b"), Some(true)),
        (json!(2), "<=", json!(1), Some(false)),
        (json!("2"), ">", json!(1), None),
        (json!(null), "<", json!(1), None),
        (json!("hello"), "contains", json!("ell"), Some(true)),
        (json!([1, 2]), "contains", json!(2.0), Some(true)),
        (json!({"k": 1}), "contains", json!("k"), Some(true)),
        (json!("5"), "contains", json!(5), None),
        (json!(5), "contains", json!(5), None),
        (json!("hello"), "starts_with", json!("he"), Some(true)),
        (json!("hello"), "ends_with", json!("he"), Some(false)),
        (json!(5), "ends_with", json!("he"), None),
        (json!("a"), "is_one_of", json!(["a", "b"]), Some(true)),
        (json!("a"), "is_one_of", json!("abc"), None),
        (json!(0), "exists", none(), Some(true)),
        (json!(null), "exists", none(), Some(false)),
        (json!(""), "is_empty", none(), Some(true)),
        (json!([]), "is_empty", none(), Some(true)),
        (json!({}), "is_empty", none(), Some(true)),
        (json!(null), "is_empty", none(), Some(true)),
        (json!(0), "is_empty", none(), Some(false)),
        (json!("{{ start.nope }}"), "exists", none(), Some(false)),
        (json!("{{ start.nope }}"), "is_empty", none(), Some(true)),
        (json!("{{ start.nope }}"), "equals", json!(null), None),
    ] {
        assert_eq!(
            holds(left.clone(), op, right.clone()),
            expected,
            "{left} {op} {right}"
        );
    }
}

#[test]
fn groups_stop_early_and_bare_expressions_must_be_boolean() {
    let gate = |condition: &str| {
        let plan = run_plan(
            &yaml(&format!("steps: [{{id: g, condition: {condition}}}]")),
            json!({"x": 5}),
            &[],
        );
        plan.results[0].clone()
    };
    let guarded = "{all: [{left: '{{ start.no }}', op: exists}, {left: '{{ start.no.z }}', op: '>', right: 1}]}";
    assert_eq!(gate(guarded).output, json!(false));
    assert_eq!(gate("{any: [{left: 1, op: equals, right: 1}, {left: '{{ start.no }}', op: equals, right: 1}]}").output, json!(true));
    assert_eq!(gate("{not: 'start.x > 4'}").output, json!(false));
    assert_eq!(gate("'{{ start.x == 5 }}'").output, json!(true));
    let why = gate("start.x").error.expect("it fails").message;
    assert!(
        why.contains("`start.x` must be true or false, got a number"),
        "{why}"
    );
    let why = gate("{left: a, op: '>', right: 1}")
        .error
        .expect("it fails")
        .message;
    assert_eq!(
        why,
        "`>` needs two numbers or two texts, got a text and a number"
    );
}

#[test]
fn marks_stand_for_secrets_until_they_are_revealed() {
    let mark = SecretMark::new([1; 16]);
    let text = format!("Bearer {}x{}", mark.of("PAY"), mark.of("B_2"));
    let value = json!({"h": [text.clone(), 5], mark.of("K"): null});
    assert_eq!(mark.mask_text(&text), "Bearer [secret PAY]x[secret B_2]");
    assert_eq!(
        mark.mask(&value),
        json!({"h": ["Bearer [secret PAY]x[secret B_2]", 5], "[secret K]": null})
    );
    assert_eq!(
        mark.names_in(&value).into_iter().collect::<Vec<_>>(),
        ["B_2", "K", "PAY"]
    );
    let reveal = |text: &str| {
        mark.reveal(text, |name| {
            if name == "PAY" {
                Ok("s3".to_owned())
            } else {
                Err(name.to_owned())
            }
        })
    };
    assert_eq!(reveal(&mark.of("PAY")), Ok("s3".to_owned()));
    assert_eq!(reveal(&text), Err("B_2".to_owned()));
    assert_eq!(
        SecretMark::new([2; 16]).mask_text(&text),
        text,
        "another process's marks mean nothing"
    );
    let cut = &mark.of("PAY")[..mark.of("PAY").len() - 1];
    assert_eq!(mark.mask_text(cut), cut);
    assert_eq!(
        crate::flow::expr::percent_encode(&mark.of("PAY")),
        mark.of("PAY")
    );
    assert!(!format!("{mark:?}").contains("0101"));
}
