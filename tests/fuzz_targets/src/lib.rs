//! What several targets share.

use serde_json::Value;
use skep::flow::workflow::KindSpec;
use skep::steps::Registry;

/// The step kinds that come with the server.
pub fn kinds() -> Vec<KindSpec> {
    Registry::builtin().specs()
}

/// A value as it stands in a text.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
