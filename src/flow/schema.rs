//! The definition format as a JSON Schema (draft 2020-12), from the tables that the checks use.

use serde_json::{Map, Value, json};

use crate::flow::condition::Op;
use crate::flow::human;
use crate::flow::inputs::InputType;
use crate::flow::retry::Trouble;
use crate::flow::workflow::{FieldKind, FieldSpec, KindSpec, MAX_STEPS, PURE_KINDS};

/// The form of a name, as a pattern.
pub const NAME: &str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";
const DURATION: &str = r"^[0-9]+(ms|s|m|h|d)$";

/// The schema of a definition whose steps are of the built-in kinds or of these.
pub fn json_schema(kinds: &[KindSpec]) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Skep workflow",
        "type": "object",
        "required": ["steps"],
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "description": "For people." },
            "inputs": {
                "type": "object",
                "description": "What a run is given.",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/input" },
            },
            "steps": { "$ref": "#/$defs/steps", "minItems": 1, "maxItems": MAX_STEPS },
            "output": { "description": "The run's output; without it, the last step's." },
        },
        "$defs": {
            "expression": { "type": "string", "pattern": r"^\{\{[\s\S]*\}\}$" },
            "duration": { "type": "string", "pattern": DURATION },
            "input": input(),
            "steps": { "type": "array", "items": { "$ref": "#/$defs/step" } },
            "step": step(kinds),
            "condition": condition(),
        },
    })
}

fn input() -> Value {
    json!({
        "type": "object",
        "required": ["type"],
        "additionalProperties": false,
        "properties": {
            "type": { "enum": InputType::ALL.map(InputType::as_str) },
            "required": { "type": "boolean", "default": false },
            "default": {},
            "description": { "type": "string" },
            "enum": { "type": "array", "minItems": 1 },
        },
    })
}

fn step(kinds: &[KindSpec]) -> Value {
    let mut properties = common();
    properties.insert(
        "set".to_owned(),
        json!({ "type": "object", "description": "Computes an object: its members, rendered." }),
    );
    properties.insert("delay".to_owned(), delay());
    properties.insert(
        "condition".to_owned(),
        json!({ "$ref": "#/$defs/condition" }),
    );
    properties.insert("then".to_owned(), json!({ "$ref": "#/$defs/steps" }));
    properties.insert("else".to_owned(), json!({ "$ref": "#/$defs/steps" }));
    properties.insert(human::KIND.to_owned(), human::schema());
    for spec in kinds {
        properties.insert(spec.name.to_owned(), kind(spec));
    }
    let actions = PURE_KINDS
        .into_iter()
        .chain(kinds.iter().map(|kind| kind.name));
    let one_of: Vec<Value> = actions.map(|name| json!({ "required": [name] })).collect();
    json!({
        "type": "object",
        "required": ["id"],
        "oneOf": one_of,
        "additionalProperties": false,
        "dependentRequired": { "then": ["condition"], "else": ["condition"] },
        "dependentSchemas": { human::KIND: human::schema_beside() },
        "properties": properties,
    })
}

fn common() -> Map<String, Value> {
    let common = json!({
        "id": { "type": "string", "pattern": NAME },
        "name": { "type": "string", "description": "For people." },
        "if": { "type": ["string", "boolean"], "description": "A bare expression; false: the step is skipped." },
        "retry": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "max": { "type": "integer", "minimum": 0, "maximum": 1000, "description": "Tries after the first." },
                "backoff": { "type": "string", "pattern": r"^[0-9]+(ms|s|m|h|d)\.\.[0-9]+(ms|s|m|h|d)$" },
                "on": { "type": "array", "items": { "enum": on() } },
            },
        },
        "timeout": { "$ref": "#/$defs/duration" },
        "on_failure": { "enum": ["terminate", "continue"], "default": "terminate" },
    });
    match common {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The words of `retry.on`; 429 may be written as a number.
fn on() -> Vec<Value> {
    Trouble::ALL
        .iter()
        .map(|trouble| Value::from(trouble.as_str()))
        .chain([Value::from(429)])
        .collect()
}

fn delay() -> Value {
    json!({
        "description": "Waits; holds nothing meanwhile.",
        "anyOf": [
            { "$ref": "#/$defs/duration" },
            { "type": "string", "pattern": r"\{\{" },
            {
                "type": "object",
                "required": ["until"],
                "additionalProperties": false,
                "properties": { "until": { "type": "string" } },
            },
        ],
    })
}

fn condition() -> Value {
    let with_right: Vec<_> = Op::ALL
        .into_iter()
        .filter(|op| op.takes_right())
        .map(Op::as_str)
        .collect();
    let without: Vec<_> = Op::ALL
        .into_iter()
        .filter(|op| !op.takes_right())
        .map(Op::as_str)
        .collect();
    let group = json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/condition" } });
    let object = |properties: Value, required: Value| json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required });
    json!({
        "anyOf": [
            { "type": ["string", "boolean"], "description": "A bare expression." },
            object(json!({ "left": {}, "op": { "enum": with_right }, "right": {} }), json!(["left", "op", "right"])),
            object(json!({ "left": {}, "op": { "enum": without } }), json!(["left", "op"])),
            object(json!({ "all": group }), json!(["all"])),
            object(json!({ "any": group }), json!(["any"])),
            object(json!({ "not": { "$ref": "#/$defs/condition" } }), json!(["not"])),
        ],
    })
}

fn kind(spec: &KindSpec) -> Value {
    let properties: Map<String, Value> = spec
        .fields
        .iter()
        .map(|field| (field.name.to_owned(), self::field(field)))
        .collect();
    let required: Vec<&str> = spec
        .fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": spec.doc,
        "additionalProperties": spec.open,
        "properties": properties,
        "required": required,
    });
    let pairs: Vec<Value> = spec
        .exclusive
        .iter()
        .flat_map(|group| pairs(group))
        .collect();
    if !pairs.is_empty() {
        schema["not"] = json!({ "anyOf": pairs });
    }
    schema
}

/// Every two of a group: no two may be there together.
fn pairs(group: &[&str]) -> Vec<Value> {
    let after = |at: usize| group[at + 1..].iter();
    group
        .iter()
        .enumerate()
        .flat_map(|(at, one)| after(at).map(move |two| json!({ "required": [one, two] })))
        .collect()
}

fn field(spec: &FieldSpec) -> Value {
    let mut field = match spec.kind {
        FieldKind::Any => json!({}),
        FieldKind::Text => json!({ "type": ["string", "number", "boolean"] }),
        FieldKind::Url => json!({ "type": "string", "minLength": 1 }),
        FieldKind::Number => json!({ "type": "number" }),
        FieldKind::Boolean => json!({ "type": "boolean" }),
        FieldKind::Array => json!({ "type": "array" }),
        FieldKind::Object => json!({ "type": "object" }),
        FieldKind::OneOf(words) => json!({ "enum": words }),
        FieldKind::TextList => {
            json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] } })
        }
    };
    let takes_any_text = matches!(spec.kind, FieldKind::Any | FieldKind::Text | FieldKind::Url);
    if spec.literal {
        let no_expression = json!({ "type": "string", "pattern": r"\{\{" });
        match field.get_mut("items") {
            Some(items) => items["not"] = no_expression,
            None => field["not"] = no_expression,
        }
    } else if !takes_any_text {
        field = json!({ "anyOf": [field, { "$ref": "#/$defs/expression" }] });
    }
    field["description"] = spec.doc.into();
    field
}
