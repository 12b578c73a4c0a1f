//! Tests of `api/start`.

use serde_json::json;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

#[test]
fn a_digest_knows_values_but_not_spelling() {
    let one = object(json!({"a": {"x": 1, "y": [1, 2]}, "b": "t"}));
    let same: Map<String, Value> =
        serde_json::from_str(r#" {"b":"t", "a":{"y":[1,2],"x":1}}"#).expect("JSON");
    assert_eq!(digest("r", &one), digest("r", &same));
    let others = [
        json!({"a": {"x": 1, "y": [2, 1]}, "b": "t"}),
        json!({"a": {"x": 1, "y": [1, 2]}, "b": "u"}),
    ];
    for other in others {
        assert_ne!(digest("r", &one), digest("r", &object(other)));
    }
    assert_ne!(digest("r", &one), digest("s", &one));
    // No two shapes may be written alike.
    let shapes = [
        json!({"a": ["1,2"]}),
        json!({"a": ["1", "2"]}),
        json!({"a": [[1], 2]}),
        json!({"a": [1, 2]}),
        json!({"a": "1"}),
        json!({"a": 1}),
    ];
    for (at, shape) in shapes.iter().enumerate() {
        for other in &shapes[at + 1..] {
            assert_ne!(
                digest("r", &object(shape.clone())),
                digest("r", &object(other.clone()))
            );
        }
    }
}

#[test]
fn an_idempotency_key_is_visible_ascii() {
    for good in ["a", "!~", &"k".repeat(255)] {
        assert!(idempotency_key(good).is_ok(), "{good}");
    }
    for bad in ["", "a b", "ä", "a\t", &"k".repeat(256)] {
        assert_eq!(idempotency_key(bad).expect_err(bad).status(), 400);
    }
}

#[test]
fn metadata_is_flat_few_and_short() {
    let judge = |value: Value| metadata(&object(json!({"metadata": value})));
    let many: Map<String, Value> = (0..51).map(|n| (format!("k{n}"), json!(n))).collect();
    for (value, field) in [
        (json!([]), "/metadata"),
        (json!("x"), "/metadata"),
        (json!({"a": []}), "/metadata/a"),
        (json!({"a/b": {}}), "/metadata/a~1b"),
        (json!({"": 1}), "/metadata/"),
        (
            json!({"k".repeat(41): 1}),
            &*format!("/metadata/{}", "k".repeat(41)),
        ),
        (json!({"a": "ü".repeat(501)}), "/metadata/a"),
        (Value::Object(many), "/metadata"),
    ] {
        let error = judge(value.clone()).expect_err("refused");
        assert_eq!(
            (error.code, error.field.as_deref()),
            (Code::ValidationError, Some(field)),
            "{value}"
        );
    }
    let good = json!({"s": "ü".repeat(500), "n": 1.5, "b": true, "z": null, "ü".repeat(40): ""});
    assert_eq!(judge(good.clone()).expect("accepted"), object(good));
    let error = judge(json!({"deep": {}})).expect_err("nested");
    assert_eq!(
        error.message,
        "metadata key \"deep\" must hold a string, a number, a boolean or null, got an object"
    );
}
