//! What a GGUF file holds, and whether the engine can compute it at all.

use briquette_engine::blob::Attention;

use super::metadata::Metadata;
use crate::checkpoint::{ImportError, Model};

/// Refuses files that hold anything but a model.
pub(super) fn check(metadata: &Metadata) -> Result<(), ImportError> {
    let advice = match metadata.string("general.type")? {
        None | Some("model") => return Ok(()),
        Some("adapter") => {
            "a model; this is an adapter (LoRA): merge it into its model with llama.cpp's \
             llama-export-lora"
        }
        Some("mmproj") => "a model; this is the part for images or sound: give the model's file",
        Some("imatrix") => "a model; this is only an importance matrix",
        Some(_) => "a model",
    };
    Err(metadata.bad("general.type", advice))
}

/// RoPE turns pairs of numbers.
pub(super) fn check_pairs(metadata: &Metadata, model: &Model) -> Result<(), ImportError> {
    let width = model.config.rope_dim();
    if width.is_multiple_of(2) {
        return Ok(());
    }
    let architecture = &model.architecture;
    let key = match model.config.attention {
        Attention::Mla(_) => format!("{architecture}.rope.dimension_count"),
        Attention::Gqa(_) => format!("{architecture}.attention.key_length"),
    };
    let expected = format!(
        "an even width of the heads, not {width} (which embedding_length / \
         attention.head_count gives where the key is absent): RoPE turns pairs of numbers"
    );
    Err(metadata.bad(&key, &expected))
}
