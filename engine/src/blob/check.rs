//! Whether a configuration makes sense, before anything is computed from it.

use super::{Attention, BlobError, ModelConfig, Moe, Scoring};

/// No single dimension may exceed this; products of two then fit 64 bits
/// easily, and sums of a few fit 32.
const MAX_SIZE: u32 = 1 << 24;

/// The most experts that one token may use.
const MAX_TOP_K: u32 = 64;

impl ModelConfig {
    /// Checks each dimension and option.
    ///
    /// # Errors
    /// [`BlobError::Config`] naming the first field that makes no sense.
    pub fn check(&self) -> Result<(), BlobError> {
        size("vocab_size", self.vocab_size)?;
        size("hidden_size", self.hidden_size)?;
        size("num_attention_heads", self.num_attention_heads)?;
        size("max_position_embeddings", self.max_position_embeddings)?;
        require(
            self.num_hidden_layers < u32::from(u16::MAX),
            "num_hidden_layers",
            self.num_hidden_layers,
            "fewer than 65535",
        )?;
        require(
            self.intermediate_size <= MAX_SIZE,
            "intermediate_size",
            self.intermediate_size,
            "at most 2^24",
        )?;
        positive("rms_norm_eps", self.rms_norm_eps)?;
        positive("softmax_scale", self.softmax_scale)?;
        positive("rope_attention_factor", self.rope_attention_factor)?;
        if let Some(window) = self.sliding_window {
            require(window > 0, "sliding_window", window, "at least 1")?;
        }
        self.check_attention()?;
        if let Some(moe) = &self.moe {
            check_moe(moe)?;
        }
        Ok(())
    }

    fn check_attention(&self) -> Result<(), BlobError> {
        let heads = self.num_attention_heads;
        match self.attention {
            Attention::Mla(mla) => {
                if let Some(rank) = mla.q_lora_rank {
                    size("q_lora_rank", rank)?;
                }
                size("kv_lora_rank", mla.kv_lora_rank)?;
                size("qk_nope_head_dim", mla.qk_nope_head_dim)?;
                size("qk_rope_head_dim", mla.qk_rope_head_dim)?;
                size("v_head_dim", mla.v_head_dim)?;
                positive("latent_norm_eps", mla.latent_norm_eps)?;
                product("kv_lora_rank of all heads", heads, mla.kv_lora_rank)?;
                product("qk_nope_head_dim of all heads", heads, mla.qk_nope_head_dim)?;
                product("v_head_dim of all heads", heads, mla.v_head_dim)?;
                product(
                    "query of all heads",
                    heads,
                    mla.qk_nope_head_dim + mla.qk_rope_head_dim,
                )?;
            }
            Attention::Gqa(gqa) => {
                size("head_dim", gqa.head_dim)?;
                size("num_key_value_heads", gqa.num_key_value_heads)?;
                product("query of all heads", heads, gqa.head_dim)?;
                require(
                    heads.is_multiple_of(gqa.num_key_value_heads),
                    "num_key_value_heads",
                    gqa.num_key_value_heads,
                    "a divisor of num_attention_heads",
                )?;
            }
        }
        require(
            self.rope_dim().is_multiple_of(2),
            "rope dimension",
            self.rope_dim(),
            "an even number",
        )
    }
}

fn check_moe(moe: &Moe) -> Result<(), BlobError> {
    let router = &moe.router;
    size("num_experts", moe.num_experts)?;
    size("expert_size", moe.expert_size)?;
    require(
        moe.shared_size <= MAX_SIZE,
        "shared_size",
        moe.shared_size,
        "at most 2^24",
    )?;
    require(
        (1..=MAX_TOP_K).contains(&moe.top_k),
        "top_k",
        moe.top_k,
        "1 to 64",
    )?;
    require(
        router.num_groups > 0 && moe.num_experts.is_multiple_of(router.num_groups),
        "num_groups",
        router.num_groups,
        "a divisor of num_experts",
    )?;
    require(
        (1..=router.num_groups).contains(&router.top_groups),
        "top_groups",
        router.top_groups,
        "1 to num_groups",
    )?;
    let group_size = moe.num_experts / router.num_groups;
    require(
        moe.top_k <= group_size * router.top_groups,
        "top_k",
        moe.top_k,
        "no more than the experts of the chosen groups",
    )?;
    require(
        router.num_groups == 1 || router.scoring == Scoring::Softmax || group_size >= 2,
        "num_groups",
        router.num_groups,
        "at least two experts per group",
    )?;
    positive("routed_scaling_factor", router.scale)
}

fn require(
    holds: bool,
    field: &'static str,
    found: u32,
    expected: &'static str,
) -> Result<(), BlobError> {
    if holds {
        return Ok(());
    }
    Err(BlobError::Config {
        field,
        found: u64::from(found),
        expected,
    })
}

fn size(field: &'static str, found: u32) -> Result<(), BlobError> {
    require(
        (1..=MAX_SIZE).contains(&found),
        field,
        found,
        "1 to 16777216",
    )
}

fn product(field: &'static str, a: u32, b: u32) -> Result<(), BlobError> {
    let found = u64::from(a) * u64::from(b);
    if found <= u64::from(MAX_SIZE) {
        return Ok(());
    }
    Err(BlobError::Config {
        field,
        found,
        expected: "at most 2^24 in all",
    })
}

fn positive(field: &'static str, value: f32) -> Result<(), BlobError> {
    require(
        value.is_finite() && value > 0.0,
        field,
        value.to_bits(),
        "a positive, finite number (its bits are shown)",
    )
}
