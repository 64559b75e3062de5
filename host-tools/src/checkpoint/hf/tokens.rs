//! What a folder says about special tokens and the chat template.
//!
//! *Where an answer ends* is `eos_token_id` of `generation_config.json`, one id
//! or several; `config.json` counts only where that file or its key is absent.
//! transformers generates by this rule (fine-tuning scripts leave ids of other
//! vocabularies behind in `config.json`). The tokenizer's own `eos_token` ends
//! an answer too, which transformers leaves to the caller: vLLM and llama.cpp
//! end there, and a chat that runs on after its `<|im_end|>` because
//! `generation_config.json` still has the base model's `<|endoftext|>` is
//! useless.
//!
//! *What a template sees* as `bos_token` and `eos_token` is the tokenizer's
//! too, or nothing: never an id of `config.json`.

use std::path::Path;
use std::slice;

use serde_json::Value;

use super::CONFIG;
use crate::checkpoint::ImportError;

pub(super) const GENERATION_CONFIG: &str = "generation_config.json";

/// The ids of the tokens that end an answer, each once.
///
/// # Errors
/// If one of them is not the id of a token.
pub(super) fn ends(
    folder: &Path,
    generation_config: Option<&Value>,
    config: &Value,
    vocab_size: u32,
) -> Result<Vec<u32>, ImportError> {
    const KEY: &str = "eos_token_id";
    let (file, value) = match generation_config.map(|generation| &generation[KEY]) {
        Some(value) if !value.is_null() => (GENERATION_CONFIG, value),
        _ => (CONFIG, &config[KEY]),
    };
    let entries = match value {
        Value::Null => &[],
        Value::Array(entries) => entries.as_slice(),
        one => slice::from_ref(one),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let id = entry.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.filter(|id| *id < vocab_size);
        let id = id.ok_or_else(|| ImportError::BadValue {
            path: folder.join(file),
            key: KEY.to_owned(),
            found: entry.to_string(),
            expected: format!(
                "the id of a token, less than vocab_size = {vocab_size}; correct it, or remove \
                 the key if the tokenizer's eos_token is enough"
            ),
        })?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The text of a special token, such as `bos_token`: in `tokenizer_config.json`,
/// or in `special_tokens_map.json`, which counts, as in transformers, only with
/// configurations that do not list the added tokens themselves.
pub(super) fn special_token<'a>(
    tokenizer_config: Option<&'a Value>,
    special_tokens_map: Option<&'a Value>,
    key: &str,
) -> Option<&'a str> {
    let lists_tokens = |config: &Value| !config["added_tokens_decoder"].is_null();
    let map = special_tokens_map.filter(|_| !tokenizer_config.is_some_and(lists_tokens));
    let text = |source: &'a Value| {
        let value = &source[key];
        let text = value.as_str().or_else(|| value["content"].as_str());
        text.filter(|text| !text.is_empty())
    };
    let mut sources = tokenizer_config.into_iter().chain(map);
    sources.find_map(text)
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
