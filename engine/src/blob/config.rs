//! What a model is: the dimensions and choices that its equations need.
//!
//! Names are those of the published `config.json` files. Everything here is
//! plain data that postcard stores in the manifest; nothing borrows, nothing
//! allocates.

use serde::{Deserialize, Serialize};

/// The whole description of a decoder, without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Rows of the embedding and of the language-model head.
    pub vocab_size: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Number of decoder layers.
    pub num_hidden_layers: u32,
    /// Number of query heads.
    pub num_attention_heads: u32,
    /// Width of the dense MLP (0 if no layer is dense).
    pub intermediate_size: u32,
    /// The longest context that the model was trained for, in tokens.
    pub max_position_embeddings: u32,
    /// Epsilon of the layer norms and the final norm.
    pub rms_norm_eps: f32,
    /// The language-model head is the embedding.
    pub tie_word_embeddings: bool,
    /// Dense and shared MLPs carry biases.
    pub mlp_bias: bool,
    /// Which attention, and its dimensions.
    pub attention: Attention,
    /// Factor on the scores before softmax, YaRN's `mscale` included.
    pub softmax_scale: f32,
    /// Factor on cosines and sines (YaRN's attention factor; otherwise 1).
    pub rope_attention_factor: f32,
    /// Token `t` sees `s > t - window`, in layers marked
    /// [`LayerKind::SLIDING`].
    pub sliding_window: Option<u32>,
    /// Mixture of experts, if any layer has one.
    pub moe: Option<Moe>,
}

/// The two kinds of attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Attention {
    /// Multi-head latent attention (DeepSeek-V2, section 2.1).
    Mla(Mla),
    /// Grouped-query attention (Ainslie et al. 2023), multi-head included.
    Gqa(Gqa),
}

/// Dimensions of multi-head latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mla {
    /// Rank of the compressed query; `None`: queries are projected directly.
    pub q_lora_rank: Option<u32>,
    /// Rank of the compressed keys and values: the latent that is cached.
    pub kv_lora_rank: u32,
    /// Width of a head's query and key that carries no position.
    pub qk_nope_head_dim: u32,
    /// Width of a head's query and key that is rotated.
    pub qk_rope_head_dim: u32,
    /// Width of a head's value.
    pub v_head_dim: u32,
    /// Epsilon of the norms on the compressed query and the latent.
    pub latent_norm_eps: f32,
    /// Biases on the compressing projections and the output.
    pub bias: bool,
}

/// Dimensions of grouped-query attention.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gqa {
    /// Number of key/value heads; divides the number of query heads.
    pub num_key_value_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// RMS norms on each head's query and key before RoPE (Qwen3).
    pub query_key_norm: bool,
    /// Biases on query, key and value.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub output_bias: bool,
}

/// Dimensions of a mixture-of-experts layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moe {
    /// Routed experts per layer.
    pub num_experts: u32,
    /// Routed experts per token (`num_experts_per_tok`).
    pub top_k: u32,
    /// Width of one routed expert (`moe_intermediate_size`).
    pub expert_size: u32,
    /// Width of the shared expert: `n_shared_experts * moe_intermediate_size`,
    /// 0 without one.
    pub shared_size: u32,
    /// How the experts are chosen and weighted.
    pub router: Router,
}

/// How a token's experts are chosen and weighted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// What turns logits into scores.
    pub scoring: Scoring,
    /// Number of equal, contiguous groups of experts (`n_group`), 1 if ungrouped.
    pub num_groups: u32,
    /// Groups that a token may choose from (`topk_group`).
    pub top_groups: u32,
    /// Divide the chosen experts' weights by their sum.
    pub normalize: bool,
    /// Factor on the weights (`routed_scaling_factor`).
    pub scale: f32,
}

/// What turns a router's logits into scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scoring {
    /// Softmax over all experts; a group's score is its best expert's
    /// (DeepSeek-V2, Qwen3-MoE, Mixtral).
    Softmax,
    /// Sigmoid of each; a bias corrects the choice but not the weight; a
    /// group's score is the sum of its two best (DeepSeek-V3, section 2.1.2).
    SigmoidWithBias,
}

/// What one layer is made of: one byte per layer in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerKind(pub u8);

impl LayerKind {
    /// The layer's MLP is a mixture of experts.
    pub const MOE: u8 = 1;
    /// The layer's attention is limited to the sliding window.
    pub const SLIDING: u8 = 2;
    /// The layer comes after the model's own and predicts one token further
    /// (multi-token prediction; DeepSeek-V3, section 2.2).
    pub const MTP: u8 = 4;

    /// Whether the layer's MLP is a mixture of experts.
    pub const fn is_moe(self) -> bool {
        self.0 & Self::MOE != 0
    }

    /// Whether the layer's attention is limited to the sliding window.
    pub const fn is_sliding(self) -> bool {
        self.0 & Self::SLIDING != 0
    }

    /// Whether the layer predicts one token further.
    pub const fn is_mtp(self) -> bool {
        self.0 & Self::MTP != 0
    }
}

impl ModelConfig {
    /// Width of a head's rotated part: what RoPE turns.
    pub const fn rope_dim(&self) -> u32 {
        match self.attention {
            Attention::Mla(mla) => mla.qk_rope_head_dim,
            Attention::Gqa(gqa) => gqa.head_dim,
        }
    }

    /// Width of all heads' queries side by side.
    pub(crate) const fn query_size(&self) -> u32 {
        self.num_attention_heads * self.head_dim()
    }

    /// Width of one head's query, from which the softmax scale is computed.
    pub const fn head_dim(&self) -> u32 {
        match self.attention {
            Attention::Mla(mla) => mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            Attention::Gqa(gqa) => gqa.head_dim,
        }
    }

    /// Width of all heads' attention results side by side, the input of the
    /// output projection.
    pub(crate) const fn attention_output_size(&self) -> u32 {
        match self.attention {
            Attention::Mla(mla) => self.num_attention_heads * mla.v_head_dim,
            Attention::Gqa(gqa) => self.num_attention_heads * gqa.head_dim,
        }
    }
}
