//! The schema of a definition, taken apart into components.

use serde_json::{Map, Value};

use crate::flow::human;
use crate::flow::schema::json_schema;
use crate::flow::workflow::KindSpec;

/// Where a definition's schema is found.
pub const DEFINITION: &str = "#/components/schemas/Definition";

/// `Definition`, and `Definition.step` and its like for what it refers to.
pub fn components(kinds: &[KindSpec]) -> Map<String, Value> {
    let mut whole = json_schema(kinds);
    let mut components = Map::new();
    if let Value::Object(whole) = &mut whole {
        whole.remove("$schema");
        if let Some(Value::Object(parts)) = whole.remove("$defs") {
            for (name, mut part) in parts {
                loosen(&mut part);
                move_references(&mut part);
                components.insert(format!("Definition.{name}"), part);
            }
        }
    }
    move_references(&mut whole);
    components.insert("Definition".to_owned(), whole);
    components
}

/// Leaves out which keys of a `human` step belong together: client and test generators make nothing of such rules, and
/// the server says what is wrong. `GET /schema/workflow.json` has them.
fn loosen(part: &mut Value) {
    let Value::Object(step) = part else { return };
    step.remove("dependentSchemas");
    let human = step
        .get_mut("properties")
        .and_then(|properties| properties.get_mut(human::KIND));
    if let Some(Value::Object(human)) = human {
        human.remove("allOf");
        human.remove("not");
    }
}

fn move_references(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(to) if name == "$ref" => {
                        *to = to.replace("#/$defs/", &format!("{DEFINITION}."));
                    }
                    other => move_references(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
