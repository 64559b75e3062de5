//! JSON as templates see it.

use minijinja::value::Value;

/// The value of `json`, with the keys of objects in their original order.
pub(super) fn from_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::from(number),
            None => number.as_f64().map_or(Value::UNDEFINED, Value::from),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(from_json).collect(),
        serde_json::Value::Object(pairs) => Value::from_pairs(
            pairs
                .iter()
                .map(|(key, item)| (key.as_str(), from_json(item))),
        ),
    }
}
