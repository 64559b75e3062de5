//! A GGUF file's tokenizer.

use super::{AddedToken, TokenizerImportError, TokenizerSpec, patterns};
use crate::import::gguf::GgufTokenizer;

/// Token types of GGUF that are found before anything else is split.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// Ids that no text produces.
const UNUSED: i32 = 5;

/// Reads a GGUF file's tokenizer.
///
/// # Errors
/// If it is broken, or not byte-level BPE with a known pre-tokenizer.
pub fn from_gguf(source: &GgufTokenizer) -> Result<TokenizerSpec, TokenizerImportError> {
    if source.model != "gpt2" {
        return Err(TokenizerImportError::Unsupported {
            what: "GGUF tokenizer",
            found: source.model.clone(),
            supported: "gpt2 (byte-level BPE)",
        });
    }
    let (steps, ignore_merges, normalize_nfc) = patterns::of_gguf(&source.pre)?;
    let mut spec = TokenizerSpec {
        steps,
        ignore_merges,
        normalize_nfc,
        bos: source.bos,
        eos: source.eos,
        ..TokenizerSpec::default()
    };
    let mut vocabulary = Vec::new();
    let typed = (0..).zip(source.tokens.iter().zip(&source.token_types));
    for (id, (text, token_type)) in typed {
        match *token_type {
            CONTROL | USER_DEFINED if !text.is_empty() => spec.added.push(AddedToken {
                id,
                text: text.clone(),
                special: *token_type == CONTROL,
                normalized: false,
            }),
            UNUSED => {}
            _ => vocabulary.push((text.clone(), id)),
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
    if source.add_bos == Some(true) {
        spec.prefix.extend(source.bos);
    }
    if source.add_eos == Some(true) {
        spec.suffix.extend(source.eos);
    }
    for id in [source.eos, source.eot].into_iter().flatten() {
        if !spec.stops.contains(&id) {
            spec.stops.push(id);
        }
    }
    Ok(spec)
}
