//! What configurations say about special tokens and the chat template.

use serde_json::Value;

/// The token ids under `key`: one, a list, or none.
pub(super) fn ids(config: &Value, key: &str) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match config.get(key) {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The chat template in a tokenizer's configuration: a string, or a list of
/// named ones, of which `default` counts, or the only one.
pub(super) fn chat_template(tokenizer_config: &Value) -> Option<String> {
    let named = match tokenizer_config.get("chat_template")? {
        Value::String(template) => return Some(template.clone()),
        Value::Array(named) => named,
        _ => return None,
    };
    let default = named.iter().find(|entry| entry["name"] == "default");
    let chosen = match (default, named.as_slice()) {
        (Some(default), _) => default,
        (None, [only]) => only,
        (None, _) => return None,
    };
    chosen["template"].as_str().map(str::to_owned)
}
