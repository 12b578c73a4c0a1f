//! Templates: the same every time, in bounded time; a lone expression keeps the type of its value, and inside a text
//! the value stands as text.

#![no_main]

use std::sync::LazyLock;

use fuzz_targets::as_text;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use skep::flow::expr::{RawPart, SecretMark, split};
use skep::flow::plan::{Then, plan};
use skep::flow::source::Format;
use skep::flow::workflow::{Workflow, parse};
use skep::time::Timestamp;

static INPUTS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let inputs = json!({
        "t": "Text ä", "n": 3, "f": 2.5, "b": true, "z": null,
        "l": [1, "two", [3], {"k": 4}], "o": {"k": "v", "list": [1, 2, 3], "deep": {"x": null}},
    });
    match inputs {
        Value::Object(inputs) => inputs,
        _ => Map::new(),
    }
});

fn workflow(set: Value) -> Option<Workflow> {
    let types = [
        ("t", "text"),
        ("n", "number"),
        ("f", "number"),
        ("b", "boolean"),
        ("z", "text"),
        ("l", "array"),
        ("o", "object"),
    ];
    let inputs: Map<String, Value> = types
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), json!({"type": kind})))
        .collect();
    let text = json!({
        "inputs": inputs,
        "steps": [{"id": "a", "set": set}],
        "output": "{{ a.output.x }}",
    });
    parse(&text.to_string(), Format::Json, &[]).ok()
}

/// What `x` comes to, and the run's output, which is the same; or why it fails.
fn render(workflow: &Workflow) -> Result<Map<String, Value>, String> {
    let mark = SecretMark::new([7; 16]);
    let plan = plan(
        workflow,
        &INPUTS,
        &json!({"id": "r"}),
        &[],
        &mark,
        Timestamp(0),
    );
    match plan.then {
        Then::Complete { output } => match &plan.results[0].output {
            Value::Object(set) => {
                assert_eq!(
                    output, set["x"],
                    "it changed on its way through another template"
                );
                Ok(set.clone())
            }
            other => panic!("`set` came to {other}"),
        },
        Then::Fail { error, .. } => {
            assert!(!error.message.is_empty());
            Err(error.message)
        }
        other => panic!("a `set` asked for {other:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // A text with its parts is the text.
    let parts = split(text);
    if let Ok(parts) = &parts {
        let spell = |part: &RawPart<'_>| match part {
            RawPart::Text(text) => (*text).to_owned(),
            RawPart::Expr(text) => format!("{{{{{text}}}}}"),
        };
        assert_eq!(parts.iter().map(spell).collect::<String>(), text);
    }
    let lone = match parts.as_deref() {
        Ok([RawPart::Expr(_)]) => true,
        Ok([]) | Ok([RawPart::Text(_)]) => false,
        Ok(_) => false,
        Err(_) => return assert!(workflow(json!({"x": text})).is_none(), "{text:?} was taken"),
    };
    let Some(single) = workflow(json!({"x": text})) else {
        return;
    };
    let value = render(&single);
    assert_eq!(
        value,
        render(&single),
        "the same template came to something else"
    );
    let Ok(set) = value else { return };
    let value = &set["x"];
    let size = value.to_string().len();
    assert!(size <= (1 << 20) + 16, "{size} bytes");
    if !lone {
        assert!(value.is_string(), "a text with more in it came to {value}");
        return;
    }
    let RawPart::Expr(inside) = &parts.expect("it was cut before")[0] else {
        return;
    };
    // In a list it is the same value; between texts, its text.
    let Some(several) = workflow(json!({
        "x": text, "list": [text], "text": format!("<{text}>"), "other": format!("{{{{ [{inside}][0] }}}}"),
    })) else {
        return;
    };
    let Ok(set) = render(&several) else { return };
    assert_eq!(&set["list"][0], value);
    if let Value::String(seen) = &set["text"] {
        assert_eq!(*seen, format!("<{}>", as_text(value)));
    }
});
