//! DeepSeek-V2 and DeepSeek-V3: multi-head latent attention and a mixture of
//! experts with shared ones.
//!
//! As in transformers' classes, not as in DeepSeek's first remote code:
//! `moe_layer_freq` is ignored, V2 never renormalises its experts' weights, and
//! V3's router follows from the architecture alone, whatever `topk_method` and
//! `scoring_func` say.

use briquette_engine::blob::{Attention, LayerKind, Mla, Moe, Router, Scoring};

use super::keys::Keys;
use super::settings::{Defaults, Description, Parts, Skeleton, layer_kinds};
use crate::checkpoint::ImportError;

/// The compressing norms are built without an epsilon in transformers and take
/// their class's, whatever `rms_norm_eps` says.
const LATENT_NORM_EPS: f32 = 1e-6;

/// `DeepseekV2ForCausalLM` (transformers, `DeepseekV2Config`).
pub(super) fn deepseek_v2(keys: Keys<'_>) -> Result<Description, ImportError> {
    let defaults = Defaults {
        max_position_embeddings: 2048,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
    };
    let skeleton = Skeleton::read(keys, defaults)?;
    let experts = ExpertDefaults {
        first_k_dense_replace: 0,
        num_routed: 64,
        num_shared: 2,
        size: 1407,
        top_k: None,
    };
    describe(
        keys,
        skeleton,
        defaults,
        experts,
        router_v2,
        DecoderOptions {
            mlp_bias: keys.flag_or("mlp_bias", false)?,
            adjacent_rope_pairs: true,
        },
    )
}

/// `DeepseekV3ForCausalLM` (transformers, `DeepseekV3Config`); also Moonlight
/// and Kimi K2.
pub(super) fn deepseek_v3(keys: Keys<'_>) -> Result<Description, ImportError> {
    let defaults = Defaults {
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
    };
    let skeleton = Skeleton::read(keys, defaults)?;
    let experts = ExpertDefaults {
        first_k_dense_replace: 3,
        num_routed: 256,
        num_shared: 1,
        size: 2048,
        top_k: Some(8),
    };
    describe(
        keys,
        skeleton,
        defaults,
        experts,
        router_v3,
        DecoderOptions {
            mlp_bias: false,
            adjacent_rope_pairs: keys.flag_or("rope_interleave", true)?,
        },
    )
}

#[derive(Debug, Clone, Copy)]
struct ExpertDefaults {
    first_k_dense_replace: u32,
    num_routed: u32,
    num_shared: u32,
    size: u32,
    top_k: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct DecoderOptions {
    mlp_bias: bool,
    adjacent_rope_pairs: bool,
}

fn describe(
    keys: Keys<'_>,
    skeleton: Skeleton,
    defaults: Defaults,
    experts: ExpertDefaults,
    router: fn(Keys<'_>) -> Result<Router, ImportError>,
    options: DecoderOptions,
) -> Result<Description, ImportError> {
    let attention = latent_attention(keys)?;
    let rope = skeleton.rope(keys, attention.qk_rope_head_dim, defaults)?;
    let head_dim = f64::from(attention.qk_nope_head_dim) + f64::from(attention.qk_rope_head_dim);
    let first_moe = keys.count_or("first_k_dense_replace", experts.first_k_dense_replace)?;
    let num_experts = keys.nullable_size("n_routed_experts", Some(experts.num_routed))?;
    let moe = match num_experts {
        Some(num_experts) if first_moe < skeleton.num_layers => {
            Some(mixture(keys, num_experts, experts, router(keys)?)?)
        }
        _ => None,
    };
    let is_moe = |layer| moe.is_some() && layer >= first_moe;
    let mtp = keys.count_or("num_nextn_predict_layers", 0)? > 0;
    let mtp = mtp.then(|| {
        let experts = u8::from(is_moe(skeleton.num_layers)) * LayerKind::MOE;
        LayerKind(LayerKind::MTP | experts)
    });
    Ok(skeleton.finish(Parts {
        attention: Attention::Mla(attention),
        softmax_scale: head_dim.powf(-0.5) * rope.score_scale * rope.score_scale,
        rope,
        adjacent_rope_pairs: options.adjacent_rope_pairs,
        mlp_bias: options.mlp_bias,
        moe,
        sliding_window: None,
        layers: layer_kinds(skeleton.num_layers, is_moe, |_| false),
        mtp,
    }))
}

fn latent_attention(keys: Keys<'_>) -> Result<Mla, ImportError> {
    Ok(Mla {
        q_lora_rank: keys.nullable_size("q_lora_rank", Some(1536))?,
        kv_lora_rank: keys.size_or("kv_lora_rank", 512)?,
        qk_nope_head_dim: keys.size_or("qk_nope_head_dim", 128)?,
        qk_rope_head_dim: keys.size_or("qk_rope_head_dim", 64)?,
        v_head_dim: keys.size_or("v_head_dim", 128)?,
        latent_norm_eps: LATENT_NORM_EPS,
        bias: keys.flag_or("attention_bias", false)?,
    })
}

fn mixture(
    keys: Keys<'_>,
    num_experts: u32,
    defaults: ExpertDefaults,
    router: Router,
) -> Result<Moe, ImportError> {
    let top_k = match defaults.top_k {
        Some(top_k) => keys.size_or("num_experts_per_tok", top_k)?,
        None => keys.size("num_experts_per_tok")?,
    };
    let expert_size = keys.size_or("moe_intermediate_size", defaults.size)?;
    let num_shared = keys.nullable_count("n_shared_experts", Some(defaults.num_shared))?;
    let num_shared = num_shared.unwrap_or(0);
    let shared_size = num_shared.checked_mul(expert_size).ok_or_else(|| {
        let expected = format!("fewer, at moe_intermediate_size = {expert_size}");
        keys.bad("n_shared_experts", num_shared, expected)
    })?;
    Ok(Moe {
        num_experts,
        top_k,
        expert_size,
        shared_size,
        router,
    })
}

fn router_v2(keys: Keys<'_>) -> Result<Router, ImportError> {
    let (num_groups, top_groups) = match keys.text("topk_method")? {
        // `gready` is how the first published configurations spell it.
        None | Some("greedy" | "gready") => (1, 1),
        Some("group_limited_greedy") => groups(keys, None, None)?,
        Some(other) => {
            return Err(ImportError::Unsupported {
                what: "topk_method",
                found: other.to_owned(),
                supported: "greedy, group_limited_greedy".to_owned(),
            });
        }
    };
    Ok(Router {
        scoring: Scoring::Softmax,
        num_groups,
        top_groups,
        normalize: false,
        scale: routed_scale(keys, 1.0)?,
    })
}

fn router_v3(keys: Keys<'_>) -> Result<Router, ImportError> {
    let (num_groups, top_groups) = groups(keys, Some(8), Some(4))?;
    Ok(Router {
        scoring: Scoring::SigmoidWithBias,
        num_groups,
        top_groups,
        normalize: keys.flag_or("norm_topk_prob", true)?,
        scale: routed_scale(keys, 2.5)?,
    })
}

/// Groups of experts, and how many of them a token may choose from. Without
/// groups (`n_group: null`) there is one.
fn groups(
    keys: Keys<'_>,
    default_groups: Option<u32>,
    default_top: Option<u32>,
) -> Result<(u32, u32), ImportError> {
    let Some(num_groups) = keys.nullable_size("n_group", default_groups)? else {
        return Ok((1, 1));
    };
    let default_top = default_top.map(|top| top.min(num_groups));
    let top_groups = match keys.nullable_size("topk_group", default_top)? {
        Some(top_groups) => top_groups,
        None if num_groups == 1 => 1,
        None => return Err(keys.missing("topk_group")),
    };
    Ok((num_groups, top_groups))
}

fn routed_scale(keys: Keys<'_>, default: f64) -> Result<f32, ImportError> {
    Ok(keys.number("routed_scaling_factor")?.unwrap_or(default) as f32)
}
