//! What may be deployed, and what is said about the rest.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::error::{Code, Error};
use crate::flow::source::{Data, read};
use crate::flow::workflow::{Action, OnFailure};

const ARTICLE: &str = r#"
name: article-research
inputs:
  topic:     {type: text, required: true}
  companies: {type: array, default: []}
steps:
  - id: feed
    http: {method: GET, url: "https://news.example/search?q={{ topic }}"}
    retry: {max: 4, backoff: 1s..30s, on: [connect, 429]}
    timeout: 20s
    on_failure: continue
  - id: gate
    condition: {all: [{left: "{{ feed.output.score }}", op: ">", right: 70}, {not: {left: "{{ topic }}", op: is_empty}}]}
    then: [{id: a, set: {x: 1}}]
    else: [{id: b, set: {x: 2}}]
  - id: pause
    delay: 5s
output: "{{ a.output.x }}"
"#;

#[test]
fn the_contracts_example_is_accepted() {
    let workflow = yaml(ARTICLE);
    assert_eq!(workflow.name.as_deref(), Some("article-research"));
    assert!(!workflow.asks_a_person());
    let paths: Vec<_> = workflow
        .all_steps()
        .iter()
        .map(|step| step.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["feed", "gate", "gate.then.a", "gate.else.b", "pause"]
    );
    for path in paths {
        assert_eq!(
            workflow.step(path).map(|step| step.path.as_str()),
            Some(path)
        );
    }
    for path in [
        "",
        "gat",
        "gate.then",
        "gate.then.b",
        "gate.then.a.x",
        "feed.x",
    ] {
        assert!(workflow.step(path).is_none(), "{path}");
    }
    let feed = workflow.step("feed").expect("it is there");
    assert_eq!((feed.retry.max, feed.retry.on.len()), (4, 2));
    assert_eq!(feed.timeout, Some(Duration::from_secs(20)));
    assert_eq!(feed.on_failure, OnFailure::Continue);
}

#[test]
fn json_is_read_like_yaml_with_its_places() {
    let text = "{\n \"steps\": [\n  {\"id\": \"a\", \"sett\": {\"x\": \"\\ud83d\\ude00\"}}\n ]\n}";
    let Err(DefinitionError::Invalid(problems)) = parse(text, Format::Json, &KINDS) else {
        panic!("accepted")
    };
    assert_eq!(
        (
            problems[0].line,
            problems[0].column,
            problems[0].field.as_str()
        ),
        (3, 15, "/steps/0/sett")
    );
    assert_eq!(
        problems[0].message,
        "unknown key `sett`, did you mean `set`?"
    );
    let workflow = parse(&text.replace("sett", "set"), Format::Json, &KINDS).expect("it is right");
    let Action::Set(template) = &workflow.steps[0].action else {
        panic!("no set")
    };
    assert!(format!("{template:?}").contains('😀'));
    for (text, line, column) in [
        ("{\"a\": 1,\n \"a\": 2}", 2, 2),
        ("{\n\"a\": }", 2, 6),
        ("[1e999]", 1, 2),
        ("", 1, 1),
    ] {
        let problem = read(text, Format::Json).expect_err("it is wrong");
        assert_eq!(problem.line, line, "{text} {problem:?}");
        assert!(problem.column.abs_diff(column) <= 1, "{text} {problem:?}");
    }
}

#[test]
fn only_true_and_false_are_booleans_and_numbers_are_exact() {
    let node = read(
        "a: [no, on, yes, off, true, 010, 12:30, 18446744073709551615, -9223372036854775808, 1e3, 0.1, ~, 1_000, 123456789012345678901234567890]",
        Format::Yaml,
    )
    .expect("it is YAML");
    let expected = json!([
        "no",
        "on",
        "yes",
        "off",
        true,
        "010",
        "12:30",
        18446744073709551615u64,
        -9223372036854775808i64,
        1000.0,
        0.1,
        null,
        "1_000",
        123456789012345678901234567890f64
    ]);
    assert_eq!(node.to_json()["a"], expected);
    let json = r#"[18446744073709551615, -9223372036854775808, 0.1, 1e3, "a\"b\\", true, null, {"k": []}]"#;
    assert_eq!(
        read(json, Format::Json).expect("it is JSON").to_json(),
        serde_json::from_str::<Value>(json).expect("it is")
    );
}

#[test]
fn places_count_lines_and_characters() {
    let node = read("ä: 1\nb:\n  - {c: x}\n", Format::Yaml).expect("it is YAML");
    let b = node.get("b").expect("it is there");
    let Data::List(items) = &b.data else {
        panic!("no list")
    };
    let c = items[0].get("c").expect("it is there");
    assert_eq!((c.line, c.column), (3, 9));
    let problem = read("a: 1\nb: [1\n", Format::Yaml).expect_err("it is wrong");
    assert!(problem.line >= 2, "{problem:?}");
    let problem = read("a: 1\na: 2\n", Format::Yaml).expect_err("a key twice");
    assert_eq!((problem.line, problem.column), (2, 1), "{problem:?}");
    assert!(problem.message.contains("uplicate"), "{problem:?}");
    assert!(read("a: !!python/object x\n", Format::Yaml).is_err());
    assert!(read("a: 1\n---\nb: 2\n", Format::Yaml).is_err());
}

#[test]
fn an_unquoted_template_is_told_to_be_quoted() {
    for (line, fixed) in [
        ("      x: {{ topic }}", r#"x: "{{ topic }}""#),
        (
            "      x: {{ topic | default(\"a\") }}",
            r#"x: '{{ topic | default("a") }}'"#,
        ),
        (
            "      x: {{ base }}/path # why",
            r#"x: "{{ base }}/path" # why"#,
        ),
        (
            "      y: {x: {{ topic }}, z: 1}",
            r#"y: {x: "{{ topic }}", z: 1}"#,
        ),
    ] {
        let text = steps(&format!("  - id: a\n    set:\n{line}\n"));
        let problem = problems(&text).remove(0);
        assert_eq!(problem.line, 4, "{problem:?}");
        assert!(problem.message.ends_with(fixed), "{problem:?}");
        assert!(problem.message.contains("needs quotes"), "{problem:?}");
    }
}

#[test]
fn every_problem_is_listed_with_its_place() {
    let found = problems(
        "nmae: x\nsteps:\n  - id: a\n    sett: {}\n  - id: b\n    set: {x: \"{{ c.output }}\"}\n    timout: 2s\n",
    );
    let seen: Vec<_> = found
        .iter()
        .map(|p| (p.line, p.column, p.field.as_str(), p.message.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (1, 1, "/nmae", "unknown key `nmae`, did you mean `name`?"),
            (
                4,
                5,
                "/steps/0/sett",
                "unknown key `sett`, did you mean `set`?"
            ),
            (
                6,
                14,
                "/steps/1/set/x",
                "unknown name `c`: no input and no step is called so, did you mean `a`?"
            ),
            (
                7,
                5,
                "/steps/1/timout",
                "unknown key `timout`, did you mean `timeout`?"
            ),
        ]
    );
    let error = Error::from(DefinitionError::Invalid(found));
    assert_eq!(
        (error.code, error.message.as_str()),
        (
            Code::InvalidDefinition,
            "unknown key `nmae`, did you mean `name`?"
        )
    );
    assert_eq!(
        error.detail("errors").expect("all of them")[3]["field"],
        "/steps/1/timout"
    );
    let error = Error::from(parse("a: [", Format::Yaml, &KINDS).expect_err("it is wrong"));
    assert_eq!(error.code, Code::MalformedBody);
    assert!(
        error.detail("line").is_some() && error.message.starts_with("line "),
        "{error}"
    );
}

#[test]
fn a_step_has_an_id_and_exactly_one_action() {
    for (body, expected) in [
        ("  - {set: {}}", "the step has no `id`"),
        (
            "  - {id: a}",
            "step `a` has no action: give it one of condition, delay, http, human, own, set",
        ),
        (
            "  - {id: a, set: {}, delay: 5s}",
            "step `a` has two actions, `set` and `delay`: give it one",
        ),
        (
            "  - {id: a, set: {}, then: []}",
            "`then` belongs to a `condition`",
        ),
        ("  - {id: 5, set: {}}", "expected a text, got the number 5"),
        ("  - a", "a step must be an object, got the text \"a\""),
        ("  []", "a workflow needs at least one step"),
        (
            "  - {id: a, set: 5}",
            "`set` must be an object, got the number 5",
        ),
    ] {
        assert_eq!(refusal(&steps(body)), expected, "{body}");
    }
    assert!(refusal("name: x").contains("needs `steps`"));
    assert_eq!(
        refusal("5"),
        "a definition must be an object, got the number 5"
    );
    assert_eq!(refusal(""), "a definition must be an object, got null");
}

#[test]
fn kinds_that_are_not_built_yet_are_refused_by_name() {
    for kind in [
        "each",
        "parallel",
        "workflow",
        "wait_signal",
        "prompt",
        "image",
        "rss",
        "shell",
    ] {
        let text = steps(&format!(
            "  - {{id: a, {kind}: {{x: 1}}, steps: [], concurrency: 8}}"
        ));
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].message,
            format!("step kind `{kind}` is not available in this version")
        );
    }
}

#[test]
fn a_step_that_cannot_be_read_does_not_put_later_ones_in_the_wrong() {
    let text = steps(
        "  - {id: g, parallel: {}, then: [{id: a, set: {}}, {id: b, set: {}}]}\n  - {id: c, set: {}}\n  - {id: d, set: {x: '{{ c.output }}'}}",
    );
    assert_eq!(problems(&text).len(), 1, "{:?}", problems(&text));
}

#[test]
fn names_are_one_namespace() {
    let two = |first: &str, second: &str| {
        steps(&format!(
            "  - {{id: {first}, set: {{}}}}\n  - {{id: {second}, set: {{}}}}"
        ))
    };
    assert_eq!(refusal(&two("a", "a")), "the step id `a` is used twice");
    for reserved in ["start", "item", "index", "run", "secrets"] {
        assert!(
            refusal(&two("a", reserved)).contains("reserved"),
            "{reserved}"
        );
        assert!(
            refusal(&format!(
                "inputs: {{{reserved}: {{type: text}}}}\n{}",
                two("a", "b")
            ))
            .contains("reserved")
        );
    }
    assert!(refusal(&two("a", "9b")).contains("must be a letter"));
    assert!(refusal(&two("a", "b-c")).contains("must be a letter"));
    assert!(
        refusal(&format!("inputs: {{a: {{type: text}}}}\n{}", two("a", "b")))
            .contains("is an input already")
    );
    let nested =
        "  - {id: g, condition: \"true\", then: [{id: a, set: {}}], else: [{id: a, set: {}}]}";
    assert_eq!(refusal(&steps(nested)), "the step id `a` is used twice");
}

#[test]
fn references_are_checked_at_deploy() {
    let uses = |expr: &str| {
        steps(&format!(
            "  - {{id: feed, set: {{}}}}\n  - {{id: b, set: {{x: \"{{{{ {expr} }}}}\"}}}}\n  - {{id: c, set: {{}}}}"
        ))
    };
    for good in [
        "feed.output.x[0].y",
        "feed.error",
        "feed.meta.status",
        "start.any",
        "run.id",
        "step_1.output",
        "feed",
    ] {
        yaml(&uses(good));
    }
    for (bad, expected) in [
        (
            "feeed.output",
            "unknown name `feeed`: no input and no step is called so, did you mean `feed`?",
        ),
        (
            "c.output",
            "step `c` comes later; only steps before this one can be used",
        ),
        (
            "step_3.output",
            "step `step_3` comes later; only steps before this one can be used",
        ),
        (
            "step_4.output",
            "`step_4`: the workflow has 3 top-level steps",
        ),
        ("b.output", "step `b` cannot use its own result"),
        ("feed.items", "did you mean `feed.output.items`?"),
        ("item.url", "`item` exists only inside `each`"),
        (
            "feed.output | uper",
            "unknown filter `uper`, did you mean `upper`?",
        ),
        (
            "feed.output is defned",
            "unknown test `defned`, did you mean `defined`?",
        ),
        ("range(5)", "no functions"),
        ("feed.output.items()", "no functions"),
        ("feed.output +", "not a valid expression"),
        (
            "step_2.output",
            "step `step_2` comes later; only steps before this one can be used",
        ),
        ("feed and and", "unexpected `and`"),
        ("1 2", "not a valid expression"),
        ("", "is empty"),
        ("feed.output | first.x", "parentheses"),
        ("x if", "unexpected end of input"),
    ] {
        assert!(
            refusal(&uses(bad)).contains(expected),
            "{bad}: {}",
            refusal(&uses(bad))
        );
    }
    // A step may be called `step_2`; then the name is its own.
    yaml(&steps(
        "  - {id: step_2, set: {}}\n  - {id: b, set: {x: \"{{ step_2.output }}\"}}",
    ));
    // From outside a branch, what stands inside may be used; inside, what comes later may not.
    yaml(&steps(
        "  - {id: g, condition: \"true\", then: [{id: a, set: {}}]}\n  - {id: b, set: {x: \"{{ a.output }}\"}}",
    ));
    let early = steps("  - {id: g, condition: \"a.output\", then: [{id: a, set: {}}]}");
    assert!(refusal(&early).contains("comes later"));
    assert!(
        refusal("steps: [{id: a, set: {}}]\noutput: \"{{ b.output }}\"")
            .contains("unknown name `b`")
    );
}

#[test]
fn statements_and_comments_are_not_templates() {
    let with = |text: &str| steps(&format!("  - id: a\n    set: {{x: '{text}'}}"));
    assert!(refusal(&with("{% if x %}")).contains("statements"));
    assert!(refusal(&with("{# x #}")).contains("comments"));
    assert!(refusal(&with("a {{ x")).contains("no closing"));
    assert!(refusal(&with("{{- run.id }}")).contains("not allowed"));
    yaml(&with("}} { a } { {"));
    assert!(refusal("steps: [{id: a, set: {'{{ run.id }}': 1}}]").contains("a key cannot hold"));
}

#[test]
fn secrets_stand_alone_and_only_where_they_may() {
    let http = |field: &str| {
        steps(&format!(
            "  - id: a\n    http: {{method: GET, url: 'https://a.example/', {field}}}"
        ))
    };
    let workflow = yaml(&http(
        "headers: {Authorization: 'Bearer {{ secrets.PAY }}'}, json: {deep: [{x: '{{secrets.B}}'}]}",
    ));
    assert_eq!(
        workflow.secrets_used().into_iter().collect::<Vec<_>>(),
        ["B", "PAY"]
    );
    for bad in [
        "hosts: ['{{ secrets.PAY }}']",
        "json: '{{ secrets.PAY | upper }}'",
        "json: '{{ secrets }}'",
        "json: '{{ secrets[\"PAY\"] }}'",
        "json: '{{ secrets.PAY ~ \"x\" }}'",
        "json: '{{ [secrets.PAY] }}'",
        "json: '{{ secrets.PAY.x }}'",
    ] {
        assert!(refusal(&http(bad)).contains("must stand alone"), "{bad}");
    }
    for bad in [
        "  - {id: a, set: {x: '{{ secrets.PAY }}'}}",
        "  - {id: a, delay: '{{ secrets.PAY }}'}",
        "  - {id: a, if: secrets.PAY, set: {}}",
        "  - {id: a, own: {x: '{{ secrets.PAY }}'}}",
        "  - {id: a, condition: {left: '{{ secrets.PAY }}', op: exists}}",
        "  - {id: a, http: {method: GET, url: 'https://a.example/{{ secrets.PAY }}'}}",
    ] {
        assert!(refusal(&steps(bad)).contains("must stand alone"), "{bad}");
    }
    assert!(
        refusal("steps: [{id: a, set: {}}]\noutput: '{{ secrets.PAY }}'")
            .contains("must stand alone")
    );
}

#[test]
fn what_is_too_much_is_refused() {
    let many: String = (0..10_000)
        .map(|n| format!("  - {{id: s{n}, set: {{x: 1}}}}\n"))
        .collect();
    assert_eq!(
        refusal(&steps(&many)),
        "a workflow has at most 1000 steps, nested ones included"
    );
    let exactly: String = (0..1_000)
        .map(|n| format!("  - {{id: s{n}, set: {{x: 1}}}}\n"))
        .collect();
    assert_eq!(yaml(&steps(&exactly)).steps.len(), 1000);

    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let deep = format!("{}{}", open.repeat(5_000), close.repeat(5_000));
        assert!(read(&deep, Format::Yaml).is_err());
        let deep = deep.replace("a:", "\"a\":");
        assert!(read(&deep, Format::Json).is_err());
    }
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    assert!(
        read(&deep, Format::Json)
            .expect_err("too deep")
            .message
            .contains("nested deeper")
    );

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    assert!(read(&bomb, Format::Yaml).is_err());
    assert!(read(&"x".repeat(17 << 20), Format::Yaml).is_err());

    let mut nested = "{id: s, set: {}}".to_owned();
    for n in 0..18 {
        nested = format!("{{id: g{n}, condition: true, then: [{nested}]}}");
    }
    assert_eq!(
        refusal(&format!("steps: [{nested}]")),
        "conditions nest deeper than 16 levels"
    );
    let long = format!(
        "steps: [{{id: a, set: {{x: '{{{{ {}1{} }}}}'}}}}]",
        "(".repeat(1_500),
        ")".repeat(1_500)
    );
    assert!(
        refusal(&long).contains("nests deeper"),
        "{}",
        refusal(&long)
    );
}
