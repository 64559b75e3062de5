//! Mixtral: grouped-query attention, every layer a mixture of experts.

use briquette_engine::blob::{Attention, Moe, Router, Scoring};

use super::grouped::{self, GroupedDefaults};
use super::keys::Keys;
use super::settings::{Defaults, Description, Parts, Skeleton, layer_kinds};
use crate::checkpoint::ImportError;

/// `MixtralForCausalLM` (transformers, `MixtralConfig`).
pub(super) fn mixtral(keys: Keys<'_>) -> Result<Description, ImportError> {
    let defaults = Defaults {
        max_position_embeddings: 131_072,
        rms_norm_eps: 1e-5,
        rope_theta: 1_000_000.0,
    };
    let skeleton = Skeleton::read(keys, defaults)?;
    let dimensions = GroupedDefaults {
        num_key_value_heads: Some(8),
        head_dim: None,
    };
    let attention = grouped::read(keys, &skeleton, dimensions)?;
    let window = keys.nullable_size("sliding_window", None)?;
    let moe = Moe {
        num_experts: keys.size_or("num_experts", keys.size_or("num_local_experts", 8)?)?,
        top_k: keys.size_or("num_experts_per_tok", 2)?,
        expert_size: skeleton.intermediate_size,
        shared_size: 0,
        router: Router {
            scoring: Scoring::Softmax,
            num_groups: 1,
            top_groups: 1,
            normalize: true,
            scale: 1.0,
        },
    };
    Ok(skeleton.finish(Parts {
        attention: Attention::Gqa(attention),
        rope: skeleton.rope(keys, attention.head_dim, defaults)?,
        adjacent_rope_pairs: false,
        softmax_scale: grouped::softmax_scale(&attention),
        mlp_bias: false,
        moe: Some(moe),
        sliding_window: window,
        layers: layer_kinds(skeleton.num_layers, |_| true, |_| window.is_some()),
        mtp: None,
    }))
}
