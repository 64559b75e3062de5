//! Refuses configurations whose numbers do not fit together, before any of
//! them is used to compute a size.

use briquette_engine::blob::{Attention, Gqa, Mla, Moe, Scoring};

use super::keys::Keys;
use super::settings::Description;
use crate::checkpoint::ImportError;

/// The largest width of all heads together.
const MAX_WIDTH: u64 = i32::MAX as u64;

/// Checks products of sizes, the experts' groups and derived factors.
///
/// # Errors
/// If something does not fit, naming the key.
pub(super) fn check(keys: Keys<'_>, description: &Description) -> Result<(), ImportError> {
    let config = &description.config;
    let heads = u64::from(config.num_attention_heads);
    match config.attention {
        Attention::Mla(mla) => check_latent_widths(keys, heads, mla)?,
        Attention::Gqa(gqa) => check_grouped_width(keys, heads, gqa)?,
    }
    if let Some(moe) = config.moe {
        check_experts(keys, moe)?;
    }
    let factors = [config.softmax_scale, config.rope_attention_factor];
    let frequencies = &description.rope_inverse_frequencies;
    let sound = factors
        .iter()
        .all(|factor| factor.is_finite() && *factor > 0.0)
        && frequencies.iter().all(|frequency| frequency.is_finite());
    if !sound {
        let found = "one that overflows";
        let expected = "parameters whose frequencies and factors fit in 32 bits";
        return Err(keys.bad("rope_scaling or rope_parameters", found, expected));
    }
    Ok(())
}

fn check_latent_widths(keys: Keys<'_>, heads: u64, mla: Mla) -> Result<(), ImportError> {
    let nope = u64::from(mla.qk_nope_head_dim);
    let rope = u64::from(mla.qk_rope_head_dim);
    let value = u64::from(mla.v_head_dim);
    let widths = [
        ("qk_nope_head_dim", heads * (nope + rope)),
        ("v_head_dim", heads * (nope + value)),
        ("kv_lora_rank", u64::from(mla.kv_lora_rank) + rope),
    ];
    widths
        .iter()
        .try_for_each(|&(key, width)| check_width(keys, key, width))
}

fn check_grouped_width(keys: Keys<'_>, heads: u64, gqa: Gqa) -> Result<(), ImportError> {
    check_width(keys, "head_dim", heads * u64::from(gqa.head_dim))
}

fn check_width(keys: Keys<'_>, key: &str, width: u64) -> Result<(), ImportError> {
    if width <= MAX_WIDTH {
        return Ok(());
    }
    let found = format!("so large that a projection has {width} rows");
    Err(keys.bad(key, found, format!("at most {MAX_WIDTH} rows")))
}

fn check_experts(keys: Keys<'_>, moe: Moe) -> Result<(), ImportError> {
    let (experts, router) = (moe.num_experts, moe.router);
    if !experts.is_multiple_of(router.num_groups) {
        let expected = format!("a divisor of the {experts} experts");
        return Err(keys.bad("n_group", router.num_groups, expected));
    }
    let group_size = experts / router.num_groups;
    if router.scoring == Scoring::SigmoidWithBias && group_size < 2 {
        let expected = format!("at most half of the {experts} experts: a group's score sums two");
        return Err(keys.bad("n_group", router.num_groups, expected));
    }
    if router.top_groups > router.num_groups {
        let expected = format!("at most n_group = {}", router.num_groups);
        return Err(keys.bad("topk_group", router.top_groups, expected));
    }
    let candidates = u64::from(router.top_groups) * u64::from(group_size);
    if u64::from(moe.top_k) > candidates {
        let expected = format!("at most the {candidates} experts that a token may choose from");
        return Err(keys.bad("num_experts_per_tok", moe.top_k, expected));
    }
    Ok(())
}
