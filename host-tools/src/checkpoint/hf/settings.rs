//! What all architectures' configurations have in common.

use briquette_engine::blob::{Attention, LayerKind, ModelConfig, Moe};

use super::keys::Keys;
use super::rope_settings::Rope;
use crate::checkpoint::ImportError;

/// The most layers that a configuration may state: far above any model, far
/// below what would exhaust memory.
const MAX_LAYERS: u32 = 1 << 16;

/// What an architecture's file makes of a configuration.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) config: ModelConfig,
    pub(super) layers: Vec<LayerKind>,
    /// The layer for multi-token prediction, if the configuration speaks of one.
    pub(super) mtp: Option<LayerKind>,
    pub(super) rope_inverse_frequencies: Vec<f32>,
    /// RoPE pairs stand side by side in the checkpoint.
    pub(super) adjacent_rope_pairs: bool,
}

/// Values that the architectures' configuration classes take for absent keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) max_position_embeddings: u32,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
}

/// The dimensions of the skeleton that every decoder has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skeleton {
    pub(super) vocab_size: u32,
    pub(super) hidden_size: u32,
    pub(super) num_layers: u32,
    pub(super) num_heads: u32,
    pub(super) intermediate_size: u32,
    max_position_embeddings: u32,
    rms_norm_eps: f32,
    tie_word_embeddings: bool,
}

/// What an architecture adds to the skeleton.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) attention: Attention,
    pub(super) rope: Rope,
    pub(super) adjacent_rope_pairs: bool,
    /// Factor on the scores before softmax.
    pub(super) softmax_scale: f64,
    pub(super) mlp_bias: bool,
    pub(super) moe: Option<Moe>,
    pub(super) sliding_window: Option<u32>,
    pub(super) layers: Vec<LayerKind>,
    pub(super) mtp: Option<LayerKind>,
}

impl Skeleton {
    /// Reads the common keys. The five sizes without which there is no model
    /// have no defaults here, although transformers' classes have some: a file
    /// without them is broken.
    pub(super) fn read(keys: Keys<'_>, defaults: Defaults) -> Result<Self, ImportError> {
        if let Some(activation) = keys.text("hidden_act")?
            && !["silu", "swish"].contains(&activation)
        {
            return Err(ImportError::Unsupported {
                what: "hidden_act",
                found: activation.to_owned(),
                supported: "silu".to_owned(),
            });
        }
        let num_layers = keys.size("num_hidden_layers")?;
        if num_layers > MAX_LAYERS {
            let expected = format!("at most {MAX_LAYERS}");
            return Err(keys.bad("num_hidden_layers", num_layers, expected));
        }
        let max_positions = defaults.max_position_embeddings;
        Ok(Self {
            vocab_size: keys.size("vocab_size")?,
            hidden_size: keys.size("hidden_size")?,
            num_layers,
            num_heads: keys.size("num_attention_heads")?,
            intermediate_size: keys.size("intermediate_size")?,
            max_position_embeddings: keys.size_or("max_position_embeddings", max_positions)?,
            rms_norm_eps: keys.positive_or("rms_norm_eps", defaults.rms_norm_eps)? as f32,
            tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
        })
    }

    /// RoPE for heads whose rotated part is `dim` wide.
    pub(super) fn rope(
        &self,
        keys: Keys<'_>,
        dim: u32,
        defaults: Defaults,
    ) -> Result<Rope, ImportError> {
        Rope::read(keys, dim, self.max_position_embeddings, defaults.rope_theta)
    }

    /// Puts the whole description together.
    pub(super) fn finish(self, parts: Parts) -> Description {
        let any_moe = parts.layers.iter().any(|kind| kind.is_moe());
        let any_dense = parts.layers.iter().any(|kind| !kind.is_moe());
        let any_sliding = parts.layers.iter().any(|kind| kind.is_sliding());
        let config = ModelConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_layers,
            num_attention_heads: self.num_heads,
            intermediate_size: if any_dense { self.intermediate_size } else { 0 },
            max_position_embeddings: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
            mlp_bias: parts.mlp_bias,
            attention: parts.attention,
            softmax_scale: parts.softmax_scale as f32,
            rope_attention_factor: parts.rope.attention_factor as f32,
            sliding_window: parts.sliding_window.filter(|_| any_sliding),
            moe: parts.moe.filter(|_| any_moe),
        };
        Description {
            config,
            layers: parts.layers,
            mtp: parts.mtp,
            rope_inverse_frequencies: parts.rope.inverse_frequencies,
            adjacent_rope_pairs: parts.adjacent_rope_pairs,
        }
    }
}

/// One kind a layer, from two questions about its number.
pub(super) fn layer_kinds(
    num_layers: u32,
    is_moe: impl Fn(u32) -> bool,
    is_sliding: impl Fn(u32) -> bool,
) -> Vec<LayerKind> {
    (0..num_layers)
        .map(|layer| {
            let moe = if is_moe(layer) { LayerKind::MOE } else { 0 };
            let sliding = if is_sliding(layer) {
                LayerKind::SLIDING
            } else {
                0
            };
            LayerKind(moe | sliding)
        })
        .collect()
}
