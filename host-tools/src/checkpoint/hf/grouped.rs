//! Grouped-query attention, as Llama, Mistral, Qwen and Mixtral share it.

use briquette_engine::blob::Gqa;

use super::keys::Keys;
use super::settings::Skeleton;
use crate::checkpoint::ImportError;

/// What the configuration classes differ in.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupedDefaults {
    /// Key/value heads if the key is absent; `None`: as many as query heads.
    pub(super) num_key_value_heads: Option<u32>,
    /// Head width if the key is absent; `None`: hidden size over heads.
    pub(super) head_dim: Option<u32>,
}

/// The dimensions, without biases and norms of queries and keys.
pub(super) fn read(
    keys: Keys<'_>,
    skeleton: &Skeleton,
    defaults: GroupedDefaults,
) -> Result<Gqa, ImportError> {
    let heads = skeleton.num_heads;
    let kv_heads = keys.nullable_size(
        "num_key_value_heads",
        defaults.num_key_value_heads.or(Some(heads)),
    )?;
    let kv_heads = kv_heads.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of num_attention_heads = {heads}");
        return Err(keys.bad("num_key_value_heads", kv_heads, expected));
    }
    let head_dim = match keys.nullable_size("head_dim", defaults.head_dim)? {
        Some(width) => width,
        None if skeleton.hidden_size.is_multiple_of(heads) => skeleton.hidden_size / heads,
        None => {
            let expected = format!("a multiple of num_attention_heads = {heads}");
            return Err(keys.bad("hidden_size", skeleton.hidden_size, expected));
        }
    };
    Ok(Gqa {
        num_key_value_heads: kv_heads,
        head_dim,
        query_key_norm: false,
        qkv_bias: false,
        output_bias: false,
    })
}

/// The factor on the scores: `head_dim^(-1/2)`.
pub(super) fn softmax_scale(attention: &Gqa) -> f64 {
    f64::from(attention.head_dim).powf(-0.5)
}
