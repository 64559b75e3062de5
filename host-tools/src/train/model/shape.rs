//! The shape of a model that is trained here.

use serde::{Deserialize, Serialize};

/// The dimensions of a `DeepseekV3ForCausalLM`, under the names that its
/// `config.json` uses. Queries are not compressed (`q_lora_rank` is null),
/// experts are not grouped, and embeddings are not tied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Tokens that the model knows: decided by the task.
    #[serde(skip)]
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of a head's query and key without position.
    pub qk_nope_head_dim: usize,
    /// Width of a head's rotated query, and of the one rotated key.
    pub qk_rope_head_dim: usize,
    /// Width of a head's value.
    pub v_head_dim: usize,
    /// Width of the latent row that the cache keeps.
    pub kv_lora_rank: usize,
    /// Width of a dense layer's MLP.
    pub intermediate_size: usize,
    /// Width of one expert.
    pub moe_intermediate_size: usize,
    /// Experts to choose from.
    pub n_routed_experts: usize,
    /// Experts that a token uses.
    pub num_experts_per_tok: usize,
    /// Experts that every token uses.
    pub n_shared_experts: usize,
    /// Layers before the first one with experts.
    pub first_k_dense_replace: usize,
    /// Base of the rotation's wavelengths.
    pub rope_theta: f32,
    /// Added to a mean of squares before its root.
    pub rms_norm_eps: f32,
    /// Tokens that the model was trained to look back on.
    pub max_position_embeddings: usize,
}

/// Why a shape cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// A dimension is zero.
    #[error("[model] {field} must be at least 1")]
    Zero {
        /// The dimension.
        field: &'static str,
    },
    /// Rotation turns pairs.
    #[error("[model] qk_rope_head_dim must be even, it is {found}")]
    OddRope {
        /// The width given.
        found: usize,
    },
    /// More experts are chosen than there are.
    #[error("[model] num_experts_per_tok is {chosen}, but n_routed_experts is {of}")]
    TooManyChosen {
        /// Experts that a token uses.
        chosen: usize,
        /// Experts that there are.
        of: usize,
    },
}

impl ModelShape {
    /// Whether a model can have this shape.
    ///
    /// # Errors
    /// Names the first dimension that is impossible.
    pub fn check(&self) -> Result<(), ShapeError> {
        let dimensions = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("qk_nope_head_dim", self.qk_nope_head_dim),
            ("qk_rope_head_dim", self.qk_rope_head_dim),
            ("v_head_dim", self.v_head_dim),
            ("kv_lora_rank", self.kv_lora_rank),
            ("intermediate_size", self.intermediate_size),
            ("moe_intermediate_size", self.moe_intermediate_size),
            ("n_routed_experts", self.n_routed_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("n_shared_experts", self.n_shared_experts),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((field, _)) = dimensions.iter().find(|(_, size)| *size == 0) {
            return Err(ShapeError::Zero { field });
        }
        if !self.qk_rope_head_dim.is_multiple_of(2) {
            let found = self.qk_rope_head_dim;
            return Err(ShapeError::OddRope { found });
        }
        if self.num_experts_per_tok > self.n_routed_experts {
            return Err(ShapeError::TooManyChosen {
                chosen: self.num_experts_per_tok,
                of: self.n_routed_experts,
            });
        }
        Ok(())
    }

    /// Width of a head's whole query.
    pub const fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim + self.qk_rope_head_dim
    }

    /// Whether layer `index` has experts.
    pub const fn has_experts(&self, index: usize) -> bool {
        index >= self.first_k_dense_replace
    }

    /// The `config.json` of a Hugging Face folder. `special` are the ids of
    /// the tokens that begin and end a text.
    pub fn to_config(&self, special: (u32, u32)) -> serde_json::Value {
        serde_json::json!({
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            "dtype": "float32",
            "bos_token_id": special.0,
            "eos_token_id": special.1,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads,
            "q_lora_rank": null,
            "kv_lora_rank": self.kv_lora_rank,
            "qk_nope_head_dim": self.qk_nope_head_dim,
            "qk_rope_head_dim": self.qk_rope_head_dim,
            "v_head_dim": self.v_head_dim,
            "intermediate_size": self.intermediate_size,
            "moe_intermediate_size": self.moe_intermediate_size,
            "n_routed_experts": self.n_routed_experts,
            "n_shared_experts": self.n_shared_experts,
            "num_experts_per_tok": self.num_experts_per_tok,
            "first_k_dense_replace": self.first_k_dense_replace,
            "moe_layer_freq": 1,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "norm_topk_prob": true,
            "routed_scaling_factor": 1.0,
            "hidden_act": "silu",
            "attention_bias": false,
            "attention_dropout": 0.0,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": null,
            "rope_interleave": true,
            "max_position_embeddings": self.max_position_embeddings,
            "tie_word_embeddings": false,
            "use_cache": true,
        })
    }
}
