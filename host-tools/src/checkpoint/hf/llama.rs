//! Llama and Mistral: grouped-query attention and a dense MLP.

use briquette_engine::blob::{Attention, Gqa};

use super::grouped::{self, GroupedDefaults};
use super::keys::Keys;
use super::settings::{Defaults, Description, Parts, Skeleton, layer_kinds};
use crate::checkpoint::ImportError;

/// `LlamaForCausalLM` (transformers, `LlamaConfig`).
pub(super) fn llama(keys: Keys<'_>) -> Result<Description, ImportError> {
    let defaults = Defaults {
        max_position_embeddings: 2048,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
    };
    let skeleton = Skeleton::read(keys, defaults)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: None,
        head_dim: None,
    };
    let bias = keys.flag_or("attention_bias", false)?;
    let attention = Gqa {
        qkv_bias: bias,
        output_bias: bias,
        ..grouped::read(keys, &skeleton, dimensions)?
    };
    Ok(skeleton.finish(Parts {
        attention: Attention::Gqa(attention),
        rope: skeleton.rope(keys, attention.head_dim, defaults)?,
        adjacent_rope_pairs: false,
        softmax_scale: grouped::softmax_scale(&attention),
        mlp_bias: keys.flag_or("mlp_bias", false)?,
        moe: None,
        sliding_window: None,
        layers: layer_kinds(skeleton.num_layers, |_| false, |_| false),
        mtp: None,
    }))
}

/// `MistralForCausalLM` (transformers, `MistralConfig`): every layer slides
/// over a window, unless that is `null`.
pub(super) fn mistral(keys: Keys<'_>) -> Result<Description, ImportError> {
    let defaults = Defaults {
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
    };
    let skeleton = Skeleton::read(keys, defaults)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: Some(8),
        head_dim: None,
    };
    let attention = grouped::read(keys, &skeleton, dimensions)?;
    let window = keys.nullable_size("sliding_window", Some(4096))?;
    Ok(skeleton.finish(Parts {
        attention: Attention::Gqa(attention),
        rope: skeleton.rope(keys, attention.head_dim, defaults)?,
        adjacent_rope_pairs: false,
        softmax_scale: grouped::softmax_scale(&attention),
        mlp_bias: false,
        moe: None,
        sliding_window: window,
        layers: layer_kinds(skeleton.num_layers, |_| false, |_| window.is_some()),
        mtp: None,
    }))
}
