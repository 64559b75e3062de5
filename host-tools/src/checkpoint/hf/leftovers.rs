//! Tensors of published folders that may be left out.
//!
//! - Tables of RoPE and masks (`rotary_emb.…`, `masked_bias`), which old
//!   versions of transformers stored: they are computed from the configuration.
//! - A head that repeats the embedding.
//! - Layers after the configuration's own, as for multi-token prediction.
//! - Other inputs than text: towers for images and sound and what joins them.
//!
//! Everything else that is not read is refused.

use super::names::HEAD;
use crate::checkpoint::LeftOut;

/// Modules for other inputs than text.
const OTHER_INPUTS: [&str; 16] = [
    "vision_tower",
    "vision_model",
    "vision_encoder",
    "vision_language_adapter",
    "visual",
    "embed_vision",
    "image_newline",
    "multi_modal_projector",
    "mm_projector",
    "patch_merger",
    "pre_mm_projector_norm",
    "audio_tower",
    "audio_model",
    "audio_encoder",
    "embed_audio",
    "audio_projection_layer",
];

/// What decides which of a model's tensors are leftovers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Layers that are read, that for multi-token prediction included.
    pub(super) layers: u32,
    /// The head is the embedding.
    pub(super) is_tied: bool,
    /// Layers for multi-token prediction follow the model's own.
    pub(super) has_mtp: bool,
}

/// How tensor `name` may be left out of a model.
pub(super) fn of(name: &str, model: Whole) -> Option<LeftOut> {
    if model.is_tied && name == HEAD || is_derived(name) {
        return Some(LeftOut::Silently);
    }
    if layer(name).is_some_and(|layer| layer >= model.layers) {
        return Some(match model.has_mtp {
            true => LeftOut::Silently,
            false => LeftOut::Saying("layers beyond the `num_hidden_layers` of config.json"),
        });
    }
    let mut modules = name.split('.').take_while(|module| *module != "layers");
    modules
        .any(|module| OTHER_INPUTS.contains(&module))
        .then_some(LeftOut::Saying("other inputs than text"))
}

fn is_derived(name: &str) -> bool {
    let mut parts = name.split('.');
    parts.any(|part| matches!(part, "rotary_emb" | "masked_bias"))
}

fn layer(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("model.layers.")?;
    rest.split('.').next()?.parse().ok()
}
