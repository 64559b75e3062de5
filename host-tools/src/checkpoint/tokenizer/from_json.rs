//! Hugging Face's `tokenizer.json`.

use briquette_engine::text::Splitter;
use serde_json::Value;

use super::{AddedToken, SplitStep, TokenizerImportError, TokenizerSpec, patterns};

/// Reads a `tokenizer.json`.
///
/// # Errors
/// If it is broken, or not a byte-level BPE tokenizer of a known kind.
pub fn from_json(json: &[u8]) -> Result<TokenizerSpec, TokenizerImportError> {
    let root: Value = serde_json::from_slice(json)?;
    let model = root
        .get("model")
        .ok_or_else(|| TokenizerImportError::field("model", "an object"))?;
    check_model(model)?;
    let mut spec = TokenizerSpec {
        added: added_tokens(&root)?,
        normalize_nfc: normalizes(&root["normalizer"])?,
        ignore_merges: model["ignore_merges"].as_bool().unwrap_or(false),
        ..TokenizerSpec::default()
    };
    let is_byte_level = pre_tokenizer(&root["pre_tokenizer"], &mut spec.steps)?;
    if !is_byte_level {
        return Err(TokenizerImportError::Unsupported {
            what: "pre-tokenizer",
            found: kind(&root["pre_tokenizer"]).to_owned(),
            supported: "ByteLevel, alone or at the end of a Sequence",
        });
    }
    spec.fill_vocabulary(&vocabulary(model)?, &merges(model)?)?;
    spec.unknown = unknown(model, &spec.tokens)?;
    post_processor(&root["post_processor"], &mut spec)?;
    Ok(spec)
}

/// The token for bytes that have none.
fn unknown(model: &Value, tokens: &[Vec<u8>]) -> Result<Option<u32>, TokenizerImportError> {
    let Some(name) = model["unk_token"].as_str() else {
        return Ok(None);
    };
    let has_token = |byte: u8| tokens.iter().any(|token| token == &[byte]);
    if model["fuse_unk"].as_bool() == Some(true) && !(0..=255).all(has_token) {
        return Err(TokenizerImportError::Unsupported {
            what: "BPE option",
            found: "fuse_unk".to_owned(),
            supported: "one unknown token for each byte",
        });
    }
    let index = tokens.iter().position(|token| token == name.as_bytes());
    Ok(index.and_then(|index| u32::try_from(index).ok()))
}

fn kind(value: &Value) -> &str {
    value["type"].as_str().unwrap_or("none")
}

fn check_model(model: &Value) -> Result<(), TokenizerImportError> {
    let unsupported = |what, found: String, supported| TokenizerImportError::Unsupported {
        what,
        found,
        supported,
    };
    // Old files leave the type out.
    let is_bpe = model["type"].as_str().unwrap_or("BPE") == "BPE" && model["merges"].is_array();
    if !is_bpe {
        let supported = "BPE with byte-level pre-tokenization";
        return Err(unsupported("model", kind(model).to_owned(), supported));
    }
    if model["byte_fallback"].as_bool() == Some(true) {
        let found = "SentencePiece BPE with byte fallback".to_owned();
        return Err(unsupported("model", found, "byte-level BPE"));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[key].as_str().is_some_and(|text| !text.is_empty()) {
            return Err(unsupported("BPE option", key.to_owned(), "no such option"));
        }
    }
    if model["dropout"]
        .as_f64()
        .is_some_and(|dropout| dropout > 0.0)
    {
        let found = "dropout".to_owned();
        return Err(unsupported("BPE option", found, "no such option"));
    }
    Ok(())
}

fn vocabulary(model: &Value) -> Result<Vec<(String, u32)>, TokenizerImportError> {
    let entries = model["vocab"]
        .as_object()
        .ok_or_else(|| TokenizerImportError::field("model.vocab", "an object"))?;
    entries
        .iter()
        // No text becomes an empty token.
        .filter(|(text, _)| !text.is_empty())
        .map(|(text, id)| Ok((text.clone(), token_id(id, "model.vocab")?)))
        .collect()
}

/// Merges are `"left right"` in old files and `["left", "right"]` in new ones.
fn merges(model: &Value) -> Result<Vec<(String, String)>, TokenizerImportError> {
    let wrong = || TokenizerImportError::field("model.merges", "a list of pairs");
    let entries = model["merges"].as_array().ok_or_else(wrong)?;
    entries
        .iter()
        .map(|entry| {
            let pair = match entry {
                Value::String(text) => text.split_once(' '),
                Value::Array(parts) => match parts.as_slice() {
                    [left, right] => left.as_str().zip(right.as_str()),
                    _ => None,
                },
                _ => None,
            };
            let (left, right) = pair.ok_or_else(wrong)?;
            Ok((left.to_owned(), right.to_owned()))
        })
        .collect()
}

fn added_tokens(root: &Value) -> Result<Vec<AddedToken>, TokenizerImportError> {
    let Some(entries) = root["added_tokens"].as_array() else {
        return Ok(Vec::new());
    };
    let mut tokens = Vec::new();
    for entry in entries {
        let text = entry["content"]
            .as_str()
            .ok_or_else(|| TokenizerImportError::field("added_tokens.content", "a text"))?;
        // The `tokenizers` package ignores such an entry too.
        if text.is_empty() {
            continue;
        }
        let flag = |key: &str| entry[key].as_bool().unwrap_or(false);
        for option in ["single_word", "lstrip", "rstrip"] {
            if flag(option) {
                return Err(TokenizerImportError::Unsupported {
                    what: "option of an added token",
                    found: format!("{option} of {text}"),
                    supported: "tokens without single_word, lstrip and rstrip",
                });
            }
        }
        tokens.push(AddedToken {
            id: token_id(&entry["id"], "added_tokens.id")?,
            text: text.to_owned(),
            special: flag("special"),
            normalized: flag("normalized"),
        });
    }
    Ok(tokens)
}

fn token_id(value: &Value, field: &str) -> Result<u32, TokenizerImportError> {
    value
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        // No vocabulary is near this size; a wild id would cost memory.
        .filter(|id| *id < 1 << 24)
        .ok_or_else(|| TokenizerImportError::field(field, "a token id"))
}

fn normalizes(normalizer: &Value) -> Result<bool, TokenizerImportError> {
    match kind(normalizer) {
        "none" => Ok(false),
        "NFC" => Ok(true),
        "Sequence" => {
            let mut found = false;
            for part in list(&normalizer["normalizers"], "normalizers")? {
                found |= normalizes(part)?;
            }
            Ok(found)
        }
        other => Err(TokenizerImportError::Unsupported {
            what: "normalizer",
            found: other.to_owned(),
            supported: "none, NFC",
        }),
    }
}

/// Appends the steps; returns whether bytes are mapped at the end.
fn pre_tokenizer(value: &Value, steps: &mut Vec<SplitStep>) -> Result<bool, TokenizerImportError> {
    let unsupported = |found: String, supported| TokenizerImportError::Unsupported {
        what: "pre-tokenizer",
        found,
        supported,
    };
    match kind(value) {
        "Sequence" => {
            let mut is_byte_level = false;
            for part in list(&value["pretokenizers"], "pretokenizers")? {
                is_byte_level |= pre_tokenizer(part, steps)?;
            }
            Ok(is_byte_level)
        }
        "ByteLevel" => {
            if value["add_prefix_space"].as_bool() == Some(true) {
                let found = "ByteLevel with add_prefix_space".to_owned();
                return Err(unsupported(found, "ByteLevel without it"));
            }
            if value["use_regex"].as_bool().unwrap_or(true) {
                steps.push(Splitter::Gpt2.into());
            }
            Ok(true)
        }
        "Digits" => {
            let single = value["individual_digits"].as_bool().unwrap_or(false);
            let digits = u8::from(single);
            steps.push(Splitter::Numbers { digits }.into());
            Ok(false)
        }
        "Split" => {
            let behavior = value["behavior"].as_str().unwrap_or_default();
            if behavior != "Isolated" || value["invert"].as_bool() == Some(true) {
                let found = format!("Split with behavior {behavior}");
                return Err(unsupported(found, "Split with behavior Isolated"));
            }
            let pattern = value["pattern"]["Regex"].as_str();
            let pattern =
                pattern.ok_or_else(|| TokenizerImportError::field("pattern.Regex", "a text"))?;
            steps.push(patterns::recognize(pattern)?);
            Ok(false)
        }
        other => Err(unsupported(
            other.to_owned(),
            "Sequence, Split, Digits, ByteLevel",
        )),
    }
}

fn post_processor(value: &Value, spec: &mut TokenizerSpec) -> Result<(), TokenizerImportError> {
    match kind(value) {
        "none" | "ByteLevel" => Ok(()),
        "Sequence" => {
            for part in list(&value["processors"], "processors")? {
                post_processor(part, spec)?;
            }
            Ok(())
        }
        "TemplateProcessing" => {
            let mut before = true;
            for part in list(&value["single"], "single")? {
                if part.get("Sequence").is_some() {
                    before = false;
                    continue;
                }
                let name = part["SpecialToken"]["id"].as_str().unwrap_or_default();
                let ids = &value["special_tokens"][name]["ids"];
                for id in list(ids, "special_tokens.ids")? {
                    let id = token_id(id, "special_tokens.ids")?;
                    if before {
                        spec.prefix.push(id);
                    } else {
                        spec.suffix.push(id);
                    }
                }
            }
            Ok(())
        }
        other => Err(TokenizerImportError::Unsupported {
            what: "post-processor",
            found: other.to_owned(),
            supported: "none, ByteLevel, TemplateProcessing, Sequence",
        }),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], TokenizerImportError> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| TokenizerImportError::field(field, "a list"))
}
