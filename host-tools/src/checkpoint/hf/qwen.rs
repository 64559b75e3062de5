//! Qwen2, Qwen3 and Qwen3-MoE.

use briquette_engine::blob::{Attention, Gqa, LayerKind, Moe, Router, Scoring};
use serde_json::Value;

use super::grouped::{self, GroupedDefaults};
use super::keys::Keys;
use super::settings::{Defaults, Description, Parts, Skeleton, layer_kinds};
use crate::checkpoint::ImportError;

const DEFAULTS: Defaults = Defaults {
    max_position_embeddings: 32_768,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000.0,
};

/// `Qwen2ForCausalLM` (transformers, `Qwen2Config`): biases on query, key and
/// value, always.
pub(super) fn qwen2(keys: Keys<'_>) -> Result<Description, ImportError> {
    let skeleton = Skeleton::read(keys, DEFAULTS)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: Some(32),
        head_dim: None,
    };
    let attention = Gqa {
        qkv_bias: true,
        ..grouped::read(keys, &skeleton, dimensions)?
    };
    dense(keys, skeleton, attention)
}

/// `Qwen3ForCausalLM` (transformers, `Qwen3Config`): norms on each head's query
/// and key.
pub(super) fn qwen3(keys: Keys<'_>) -> Result<Description, ImportError> {
    let skeleton = Skeleton::read(keys, DEFAULTS)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: Some(32),
        head_dim: Some(128),
    };
    let attention = normed_attention(keys, &skeleton, dimensions)?;
    dense(keys, skeleton, attention)
}

/// `Qwen3MoeForCausalLM` (transformers, `Qwen3MoeConfig`). A sliding window, if
/// used, is used by all layers.
pub(super) fn qwen3_moe(keys: Keys<'_>) -> Result<Description, ImportError> {
    let skeleton = Skeleton::read(keys, DEFAULTS)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: Some(4),
        head_dim: None,
    };
    let attention = normed_attention(keys, &skeleton, dimensions)?;
    let moe = Moe {
        num_experts: keys.size_or("num_experts", keys.size_or("num_local_experts", 128)?)?,
        top_k: keys.size_or("num_experts_per_tok", 8)?,
        expert_size: keys.size_or("moe_intermediate_size", 768)?,
        shared_size: 0,
        router: Router {
            scoring: Scoring::Softmax,
            num_groups: 1,
            top_groups: 1,
            normalize: keys.flag_or("norm_topk_prob", false)?,
            scale: 1.0,
        },
    };
    let sparse_step = keys.size_or("decoder_sparse_step", 1)?;
    let dense_layers = keys.list("mlp_only_layers")?.unwrap_or_default();
    let is_moe = |layer: u32| {
        let named_dense = dense_layers.contains(&Value::from(layer));
        !named_dense && (layer + 1).is_multiple_of(sparse_step)
    };
    let window = sliding_window(keys)?;
    Ok(skeleton.finish(Parts {
        attention: Attention::Gqa(attention),
        rope: skeleton.rope(keys, attention.head_dim, DEFAULTS)?,
        adjacent_rope_pairs: false,
        softmax_scale: grouped::softmax_scale(&attention),
        mlp_bias: false,
        moe: Some(moe),
        sliding_window: window,
        layers: layer_kinds(skeleton.num_layers, is_moe, |_| window.is_some()),
        mtp: None,
    }))
}

fn normed_attention(
    keys: Keys<'_>,
    skeleton: &Skeleton,
    dimensions: GroupedDefaults,
) -> Result<Gqa, ImportError> {
    let bias = keys.flag_or("attention_bias", false)?;
    Ok(Gqa {
        query_key_norm: true,
        qkv_bias: bias,
        output_bias: bias,
        ..grouped::read(keys, skeleton, dimensions)?
    })
}

fn dense(keys: Keys<'_>, skeleton: Skeleton, attention: Gqa) -> Result<Description, ImportError> {
    let window = sliding_window(keys)?;
    Ok(skeleton.finish(Parts {
        attention: Attention::Gqa(attention),
        rope: skeleton.rope(keys, attention.head_dim, DEFAULTS)?,
        adjacent_rope_pairs: false,
        softmax_scale: grouped::softmax_scale(&attention),
        mlp_bias: false,
        moe: None,
        sliding_window: window,
        layers: sliding_layers(keys, skeleton.num_layers, window)?,
        mtp: None,
    }))
}

fn sliding_window(keys: Keys<'_>) -> Result<Option<u32>, ImportError> {
    if !keys.flag_or("use_sliding_window", false)? {
        return Ok(None);
    }
    keys.nullable_size("sliding_window", Some(4096))
}

/// Which layers slide: those that `layer_types` says, or else those from
/// `max_window_layers` on.
fn sliding_layers(
    keys: Keys<'_>,
    num_layers: u32,
    window: Option<u32>,
) -> Result<Vec<LayerKind>, ImportError> {
    let Some(types) = keys.list("layer_types")? else {
        let first = keys.count_or("max_window_layers", 28)?;
        let is_sliding = |layer| window.is_some() && layer >= first;
        return Ok(layer_kinds(num_layers, |_| false, is_sliding));
    };
    if types.len() != num_layers as usize {
        let found = format!("a list of {}", types.len());
        let expected = format!("one entry for each of {num_layers} layers");
        return Err(keys.bad("layer_types", found, expected));
    }
    let kind = |name: &Value| match (name.as_str(), window) {
        (Some("full_attention"), _) => Ok(LayerKind::default()),
        (Some("sliding_attention"), Some(_)) => Ok(LayerKind(LayerKind::SLIDING)),
        (Some("sliding_attention"), None) => {
            let expected = "full_attention only, as use_sliding_window is not true";
            Err(keys.bad("layer_types", name, expected))
        }
        _ => Err(ImportError::Unsupported {
            what: "layer type",
            found: name.to_string(),
            supported: "full_attention, sliding_attention".to_owned(),
        }),
    };
    types.iter().map(kind).collect()
}
