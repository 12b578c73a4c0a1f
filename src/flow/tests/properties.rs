//! What holds for everything that can be thrown at the room.

use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::flow::expr::{Expr, percent_encode, split};
use crate::flow::plan::Then;
use crate::flow::scope::Scope;

const EXAMPLE: &str = r#"name: x
inputs: {t: {type: text, required: true}, n: {type: number, default: 3, enum: [1, 3]}}
steps:
  - id: a
    set: {x: "{{ t | upper ~ '-' ~ n * 2 }}", y: ["{{ start.z[0].k | default(none) }}", 1.5]}
  - id: gate
    if: n > 1
    condition: {any: [{left: "{{ a.output.x }}", op: starts_with, right: "A"}, {not: {left: "{{ t }}", op: is_empty}}]}
    then:
      - id: f
        http: {method: GET, url: "https://a.example/{{ t }}?q={{ n }}", headers: {A: "Bearer {{ secrets.K }}"}}
        retry: {max: 2, backoff: 1s..30s, on: [connect, 429]}
        on_failure: continue
    else: [{id: d, delay: "{{ n }}s"}]
  - id: ask
    human: {mode: choices, question: "Which of {{ t }}?", options: [{k: "{{ a.output.x }}"}, {k: 1}], value: k, recipients: ["{{ t }}", b@example.com], remind: [1h], escalate: {after: 2h, recipient: c}}
    on_failure: continue
  - id: form
    human: {mode: form, question: Q, channel: none, fields: {n: {type: number, default: 1}}, context: {a: "{{ a.output }}"}}
  - {id: o, own: {v: "{{ f.output.items[0].url | default('none') }}", e: "{{ f.error }}"}}
output: {a: "{{ a.output }}", last: "{{ step_3.output }}"}
"#;

const PATHS: [&str; 8] = [
    "a",
    "gate",
    "gate.then.f",
    "gate.else.d",
    "ask",
    "form",
    "o",
    "elsewhere",
];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|float| json!(float)),
        "[ -~ä]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("(x|items|url|k)", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn any_record()(
        path in prop::sample::select(PATHS.to_vec()),
        status in prop::sample::select(StepStatus::ALL.to_vec()),
        output in any_value(),
        error in prop::option::of("[a-z]{0,5}"),
        failures in 0u32..5,
        due in prop::option::of(-5i64..5),
    ) -> StepRecord {
        let due_at = due.map(|due| Timestamp(NOW.0 + due));
        StepRecord { path: path.to_owned(), status, output, meta: None, error, failures, due_at }
    }
}

/// Words of the expression language, thrown together.
fn any_expression() -> impl Strategy<Value = String> {
    let words = vec![
        "t",
        "start",
        ".x",
        "[0]",
        "['k']",
        "[n]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "|",
        "default",
        "upper",
        "join",
        "map",
        "attribute=",
        "'a'",
        "\"b\"",
        "1",
        "2.5",
        "-",
        "+",
        "*",
        "**",
        "/",
        "//",
        "%",
        "~",
        "==",
        "<",
        "and",
        "or",
        "not",
        "in",
        "is",
        "defined",
        "none",
        "true",
        "if",
        "else",
        ",",
        ":",
        "[1:]",
        "\\",
        "'",
        "é",
        "n",
        "1e5",
        "0x1f",
        "..",
    ];
    prop::collection::vec(prop::sample::select(words), 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\\n\\t\\u{0}ä😀]{0,200}") {
        let _ = parse(&text, Format::Yaml, &KINDS);
        let _ = parse(&text, Format::Json, &KINDS);
    }

    #[test]
    fn no_mutation_of_an_example_makes_the_parser_panic(
        at in 0usize..EXAMPLE.len(),
        cut in 0usize..20,
        insert in prop::sample::select(vec!["", "{{", "}}", "'", "\"", ":", "- ", "\n", "  ", "[", "{", "*", "&a ", "secrets.", "~", "😀"]),
    ) {
        let end = (at + cut).min(EXAMPLE.len());
        let text = format!("{}{insert}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        match parse(&text, Format::Yaml, &KINDS) {
            Ok(workflow) => {
                let _ = run_plan(&workflow, json!({"t": "abc", "n": 3}), &[]);
            }
            Err(DefinitionError::Malformed(problem)) => prop_assert!(problem.line > 0 && problem.column > 0),
            Err(DefinitionError::Invalid(problems)) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.line > 0 && problem.column > 0));
            }
        }
    }

    #[test]
    fn json_is_read_exactly(value in any_value()) {
        let text = value.to_string();
        let node = crate::flow::source::read(&text, Format::Json).expect("it is JSON");
        prop_assert_eq!(node.to_json(), value);
    }

    #[test]
    fn no_expression_panics(source in any_expression(), value in any_value()) {
        let inputs = object(json!({"t": value, "n": 1}));
        let scope = Scope {
            inputs: &inputs,
            declared: ["t", "n"].into_iter().collect(),
            run: &Value::Null,
            steps: Default::default(),
            top: Vec::new(),
        };
        if let Ok(expr) = Expr::parse(&source) {
            let _ = expr.eval(&scope);
        }
        let _ = split(&source);
    }

    #[test]
    fn a_value_goes_through_an_expression_unchanged(value in any_value()) {
        let inputs = object(json!({"t": value}));
        let scope = Scope {
            inputs: &inputs,
            declared: ["t"].into_iter().collect(),
            run: &Value::Null,
            steps: Default::default(),
            top: Vec::new(),
        };
        for source in ["t", "[t][0]", "t if true else 1"] {
            let eval = Expr::parse(source).expect("it is right").eval(&scope);
            prop_assert_eq!(eval.map(|value| value.to_string()), Ok(value.to_string()), "{}", source);
        }
    }

    #[test]
    fn a_plan_starts_nothing_that_is_final_and_records_nothing_twice(
        records in prop::collection::vec(any_record(), 0..8),
        text in "[ -~]{0,10}",
        n in prop::sample::select(vec![1, 3]),
    ) {
        let mut seen = std::collections::HashSet::new();
        let records: Vec<_> = records.into_iter().filter(|record| seen.insert(record.path.clone())).collect();
        let plan = run_plan(&yaml(EXAMPLE), json!({"t": text, "n": n}), &records);
        let is_final = |path: &str| records.iter().any(|record| record.path == path && record.status.is_final());
        let mut results = std::collections::HashSet::new();
        for result in &plan.results {
            prop_assert!(result.status.is_final() && !is_final(&result.path), "{:?}", result);
            prop_assert!(results.insert(result.path.clone()), "{} twice", result.path);
        }
        match &plan.then {
            Then::Start(start) => prop_assert!(!is_final(&start.path) && !results.contains(&start.path)),
            Then::Park { path, until, .. } => {
                prop_assert!(!is_final(path) && !results.contains(path));
                prop_assert!(*until > NOW);
            }
            Then::Ask { path, .. } => prop_assert!(!is_final(path) && !results.contains(path)),
            Then::Complete { .. } | Then::Fail { .. } => {}
        }
    }

    #[test]
    fn an_inserted_value_never_changes_host_or_number_of_segments(value in any::<String>()) {
        let text = "steps: [{id: f, http: {method: GET, url: 'https://a.example/p/{{ start.x }}/q?r={{ start.x }}#s'}}]";
        let plan = run_plan(&yaml(text), json!({"x": value}), &[]);
        match plan.then {
            Then::Start(start) => {
                let url = Url::parse(start.input["url"].as_str().unwrap_or_default()).expect("it is a URL");
                prop_assert_eq!(url.host_str(), Some("a.example"));
                prop_assert_eq!(url.path_segments().map(|segments| segments.count()), Some(3));
                prop_assert_eq!(url.query_pairs().count(), 1);
                prop_assert_eq!(url.fragment(), Some("s"));
                prop_assert_eq!(url.query_pairs().next().map(|(_, seen)| seen.into_owned()), Some(value));
            }
            Then::Fail { .. } => prop_assert!(matches!(value.as_str(), "." | "..")),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn encoded_text_is_unreserved(text in any::<String>()) {
        let encoded = percent_encode(&text);
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
    }
}
