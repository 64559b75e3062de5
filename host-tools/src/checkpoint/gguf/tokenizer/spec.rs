//! A GGUF file's tokenizer.

use super::{GgufTokenizer, ends};
use crate::checkpoint::tokenizer::patterns::{GGUF_SUPPORTED, GgufPreTokenizer};
use crate::checkpoint::tokenizer::{AddedToken, TokenizerImportError, TokenizerSpec};

/// Token types of GGUF that are found before anything else is split.
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
/// Ids that no text produces.
const UNUSED: i32 = 5;

/// Checks the name of a GGUF pre-tokenizer.
///
/// # Errors
/// If there is none of that name.
pub fn check_pre(name: &str) -> Result<(), TokenizerImportError> {
    GgufPreTokenizer::find(name).map(|_| ())
}

/// Reads a GGUF file's tokenizer.
///
/// # Errors
/// If it is broken, or not byte-level BPE with a known pre-tokenizer.
pub fn tokenizer_spec(source: &GgufTokenizer) -> Result<TokenizerSpec, TokenizerImportError> {
    if source.model != "gpt2" {
        return Err(TokenizerImportError::Unsupported {
            what: "GGUF tokenizer",
            found: source.model.clone(),
            supported: "gpt2 (byte-level BPE)",
        });
    }
    let pre = source.pre.as_deref();
    let pre = pre.ok_or(TokenizerImportError::NoPreTokenizer {
        known: GGUF_SUPPORTED,
    })?;
    let pre = GgufPreTokenizer::find(pre)?;
    let mut spec = TokenizerSpec {
        steps: pre.steps()?,
        ignore_merges: pre.ignores_merges,
        normalize_nfc: pre.normalizes_nfc,
        bos: source.bos,
        eos: source.eos,
        stops: ends::of_gguf(source),
        ..TokenizerSpec::default()
    };
    let mut vocabulary = Vec::new();
    let typed = (0..).zip(source.tokens.iter().zip(&source.token_types));
    for (id, (text, token_type)) in typed {
        let is_end = ends::is_end(text, *token_type);
        let is_marked = matches!(*token_type, CONTROL | USER_DEFINED);
        if (is_marked || is_end) && !text.is_empty() {
            spec.added.push(AddedToken {
                id,
                text: text.clone(),
                special: is_end || *token_type == CONTROL,
                normalized: false,
            });
        }
        // Merges may still make a token that only its name shows to be an end. An
        // empty token is an id that no text produces.
        if !is_marked && !text.is_empty() && *token_type != UNUSED {
            vocabulary.push((text.clone(), id));
        }
    }
    let merges = source.merges.iter().enumerate().map(|(rank, merge)| {
        // A part may itself start with a space-like character, never with a
        // space: that is the separator.
        let pair = merge.split_once(' ');
        let (left, right) = pair.ok_or_else(|| TokenizerImportError::Merge {
            rank,
            token: merge.clone(),
        })?;
        Ok((left.to_owned(), right.to_owned()))
    });
    let merges: Vec<_> = merges.collect::<Result<_, TokenizerImportError>>()?;
    spec.fill_vocabulary(&vocabulary, &merges)?;
    if source.add_bos.unwrap_or(pre.adds_bos) {
        spec.prefix.extend(needed(source.bos, "bos"));
    }
    if source.add_eos == Some(true) {
        spec.suffix.extend(needed(source.eos, "eos"));
    }
    Ok(spec)
}

/// A token that prompts are to have around them, with a warning if the file
/// does not say which one it is.
fn needed(token: Option<u32>, key: &str) -> Option<u32> {
    if token.is_none() {
        tracing::warn!(
            "prompts should have the {key} token, but tokenizer.ggml.{key}_token_id is missing: \
             they go without"
        );
    }
    token
}
