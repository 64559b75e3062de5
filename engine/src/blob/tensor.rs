//! Which tensors a model has, in which order and shape.
//!
//! The order of [`Role`]'s variants is the order in the file: first the
//! model's own tensors, then each layer's. So the whole table follows from the
//! configuration, and the reader accepts exactly that table.

use serde::{Deserialize, Serialize};

use super::config::{Attention, LayerKind, ModelConfig};

/// What a tensor is for. The order is the order in the file.
///
/// Matrices are `[rows = outputs, cols = inputs]`: `y = W x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Role {
    /// Token embedding `[vocab_size, hidden_size]`.
    Embedding,
    /// RoPE's inverse frequencies `[rope_dim / 2]`, scaling applied.
    RopeInverseFrequency,
    /// Norm before the language-model head.
    FinalNorm,
    /// Language-model head; absent if tied to the embedding.
    LmHead,

    /// Norm before attention.
    AttentionNorm,
    /// Direct query projection. Rotated columns in half-split order.
    Query,
    /// Compressing query projection (`q_a_proj`).
    QueryA,
    /// Bias of [`Role::QueryA`].
    QueryABias,
    /// Norm of the compressed query.
    QueryANorm,
    /// Expanding query projection (`q_b_proj`).
    QueryB,
    /// Latent and rotated key (`kv_a_proj_with_mqa`).
    KvA,
    /// Bias of [`Role::KvA`].
    KvABias,
    /// Norm of the latent.
    KvANorm,
    /// One matrix per head, `W_UK` transposed: `[kv_lora_rank, qk_nope_head_dim]`.
    KeyUp,
    /// One matrix per head, `W_UV`: `[v_head_dim, kv_lora_rank]`.
    ValueUp,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// Bias of [`Role::Query`].
    QueryBias,
    /// Bias of [`Role::Key`].
    KeyBias,
    /// Bias of [`Role::Value`].
    ValueBias,
    /// Norm of one head's query `[head_dim]`.
    QueryNorm,
    /// Norm of one head's key `[head_dim]`.
    KeyNorm,
    /// Output projection.
    Output,
    /// Bias of [`Role::Output`].
    OutputBias,

    /// Norm before the MLP.
    MlpNorm,
    /// Dense MLP, gate.
    Gate,
    /// Dense MLP, up.
    Up,
    /// Dense MLP, down.
    Down,
    /// Bias of [`Role::Gate`].
    GateBias,
    /// Bias of [`Role::Up`].
    UpBias,
    /// Bias of [`Role::Down`].
    DownBias,
    /// Router `[num_experts, hidden_size]`.
    Router,
    /// Bias that corrects the router's choice (`e_score_correction_bias`).
    RouterBias,
    /// Shared expert, gate.
    SharedGate,
    /// Shared expert, up.
    SharedUp,
    /// Shared expert, down.
    SharedDown,
    /// Bias of [`Role::SharedGate`].
    SharedGateBias,
    /// Bias of [`Role::SharedUp`].
    SharedUpBias,
    /// Bias of [`Role::SharedDown`].
    SharedDownBias,
    /// Routed experts, gate: one matrix per expert.
    ExpertGate,
    /// Routed experts, up.
    ExpertUp,
    /// Routed experts, down.
    ExpertDown,

    /// Multi-token prediction: norm of the next token's embedding (`enorm`).
    MtpEmbeddingNorm,
    /// Multi-token prediction: norm of the model's hidden state (`hnorm`).
    MtpHiddenNorm,
    /// Multi-token prediction: projection of the two, side by side (`eh_proj`)
    /// `[hidden_size, 2 * hidden_size]`, the embedding's columns first.
    MtpProjection,
    /// Multi-token prediction: norm before the head (`shared_head.norm`).
    MtpNorm,
}

/// The parts of a model that share a choice of number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Kept as `f32`: norms, biases, RoPE frequencies, routers.
    Exact,
    /// Embedding and language-model head.
    Embedding,
    /// Attention projections.
    Attention,
    /// Dense and shared MLPs, the projection of multi-token prediction: touched
    /// by each token.
    Mlp,
    /// Routed experts: touched by the tokens that choose them.
    Experts,
}

/// The number of matrices (or vectors), and their shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of matrices: experts, heads, or 1.
    pub count: u32,
    /// Outputs. A vector has one row.
    pub rows: u32,
    /// Inputs.
    pub cols: u32,
}

impl Role {
    /// Tensors of the model as a whole, in file order.
    pub const MODEL: [Self; 4] = [
        Self::Embedding,
        Self::RopeInverseFrequency,
        Self::FinalNorm,
        Self::LmHead,
    ];

    /// Tensors that only a layer for multi-token prediction has.
    pub const MTP: [Self; 4] = [
        Self::MtpEmbeddingNorm,
        Self::MtpHiddenNorm,
        Self::MtpProjection,
        Self::MtpNorm,
    ];

    /// Tensors that a layer may have, in file order: [`Self::MTP`] first.
    pub const LAYER: [Self; 42] = [
        Self::MtpEmbeddingNorm,
        Self::MtpHiddenNorm,
        Self::MtpProjection,
        Self::MtpNorm,
        Self::AttentionNorm,
        Self::Query,
        Self::QueryA,
        Self::QueryABias,
        Self::QueryANorm,
        Self::QueryB,
        Self::KvA,
        Self::KvABias,
        Self::KvANorm,
        Self::KeyUp,
        Self::ValueUp,
        Self::Key,
        Self::Value,
        Self::QueryBias,
        Self::KeyBias,
        Self::ValueBias,
        Self::QueryNorm,
        Self::KeyNorm,
        Self::Output,
        Self::OutputBias,
        Self::MlpNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::GateBias,
        Self::UpBias,
        Self::DownBias,
        Self::Router,
        Self::RouterBias,
        Self::SharedGate,
        Self::SharedUp,
        Self::SharedDown,
        Self::SharedGateBias,
        Self::SharedUpBias,
        Self::SharedDownBias,
        Self::ExpertGate,
        Self::ExpertUp,
        Self::ExpertDown,
    ];

    /// The role whose encoded byte is `index`.
    pub(crate) fn from_index(index: u8) -> Option<&'static Self> {
        let index = usize::from(index);
        // The roles that come first in their layer have the last numbers.
        let (mtp, others) = Self::LAYER.split_at(Self::MTP.len());
        Self::MODEL.get(index).or_else(|| {
            let index = index.checked_sub(Self::MODEL.len())?;
            let after = index.checked_sub(others.len());
            others.get(index).or_else(|| mtp.get(after?))
        })
    }

    /// The part of the model that the tensor belongs to.
    pub const fn part(self) -> Part {
        use Role::*;
        match self {
            Embedding | LmHead => Part::Embedding,
            Query | QueryA | QueryB | KvA | KeyUp | ValueUp | Key | Value | Output => {
                Part::Attention
            }
            Gate | Up | Down | SharedGate | SharedUp | SharedDown | MtpProjection => Part::Mlp,
            ExpertGate | ExpertUp | ExpertDown => Part::Experts,
            RopeInverseFrequency | FinalNorm | AttentionNorm | QueryABias | QueryANorm
            | KvABias | KvANorm | QueryBias | KeyBias | ValueBias | QueryNorm | KeyNorm
            | OutputBias | MlpNorm | GateBias | UpBias | DownBias | Router | RouterBias
            | SharedGateBias | SharedUpBias | SharedDownBias | MtpEmbeddingNorm | MtpHiddenNorm
            | MtpNorm => Part::Exact,
        }
    }

    /// Whether the tensor is one plain vector of `f32`, not a matrix of blocks.
    pub const fn is_vector(self) -> bool {
        matches!(self.part(), Part::Exact) && !matches!(self, Self::Router)
    }

    /// Whether the tensor is one of the routed experts' three.
    pub const fn is_expert(self) -> bool {
        matches!(self.part(), Part::Experts)
    }
}

impl ModelConfig {
    /// The shape of `role` in a layer of kind `kind` (ignored for the model's
    /// own tensors), or `None` where the model has no such tensor.
    pub fn shape(&self, role: Role, kind: LayerKind) -> Option<Shape> {
        let hidden = self.hidden_size;
        match role {
            Role::Embedding => matrix(self.vocab_size, hidden),
            Role::RopeInverseFrequency => vector(self.rope_dim() / 2),
            Role::FinalNorm | Role::AttentionNorm | Role::MlpNorm => vector(hidden),
            Role::LmHead if self.tie_word_embeddings => None,
            Role::LmHead => matrix(self.vocab_size, hidden),
            Role::MtpEmbeddingNorm | Role::MtpHiddenNorm | Role::MtpNorm => {
                vector(hidden).filter(|_| kind.is_mtp())
            }
            Role::MtpProjection => matrix(hidden, 2 * hidden).filter(|_| kind.is_mtp()),
            role if role < Role::MlpNorm => self.attention_shape(role),
            role => self.mlp_shape(role, kind),
        }
    }

    fn attention_shape(&self, role: Role) -> Option<Shape> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        let input = self.attention_output_size();
        match (role, self.attention) {
            (Role::Output, _) => matrix(hidden, input),
            (Role::OutputBias, Attention::Mla(mla)) => vector(hidden).filter(|_| mla.bias),
            (Role::OutputBias, Attention::Gqa(gqa)) => vector(hidden).filter(|_| gqa.output_bias),
            (role, Attention::Mla(mla)) => {
                let latent = mla.kv_lora_rank;
                match (role, mla.q_lora_rank) {
                    (Role::Query, None) => matrix(self.query_size(), hidden),
                    (Role::QueryA, Some(rank)) => matrix(rank, hidden),
                    (Role::QueryABias, Some(rank)) => vector(rank).filter(|_| mla.bias),
                    (Role::QueryANorm, Some(rank)) => vector(rank),
                    (Role::QueryB, Some(rank)) => matrix(self.query_size(), rank),
                    (Role::KvA, _) => matrix(latent + mla.qk_rope_head_dim, hidden),
                    (Role::KvABias, _) => {
                        vector(latent + mla.qk_rope_head_dim).filter(|_| mla.bias)
                    }
                    (Role::KvANorm, _) => vector(latent),
                    (Role::KeyUp, _) => matrices(heads, latent, mla.qk_nope_head_dim),
                    (Role::ValueUp, _) => matrices(heads, mla.v_head_dim, latent),
                    _ => None,
                }
            }
            (role, Attention::Gqa(gqa)) => {
                let kv_size = gqa.num_key_value_heads * gqa.head_dim;
                match role {
                    Role::Query => matrix(self.query_size(), hidden),
                    Role::Key | Role::Value => matrix(kv_size, hidden),
                    Role::QueryBias => vector(self.query_size()).filter(|_| gqa.qkv_bias),
                    Role::KeyBias | Role::ValueBias => vector(kv_size).filter(|_| gqa.qkv_bias),
                    Role::QueryNorm | Role::KeyNorm => {
                        vector(gqa.head_dim).filter(|_| gqa.query_key_norm)
                    }
                    _ => None,
                }
            }
        }
    }

    fn mlp_shape(&self, role: Role, kind: LayerKind) -> Option<Shape> {
        let hidden = self.hidden_size;
        if !kind.is_moe() {
            let width = self.intermediate_size;
            return match role {
                Role::Gate | Role::Up => matrix(width, hidden),
                Role::Down => matrix(hidden, width),
                Role::GateBias | Role::UpBias => vector(width).filter(|_| self.mlp_bias),
                Role::DownBias => vector(hidden).filter(|_| self.mlp_bias),
                _ => None,
            };
        }
        let moe = self.moe?;
        let (experts, width) = (moe.num_experts, moe.expert_size);
        match role {
            Role::Router => matrix(experts, hidden),
            Role::RouterBias => {
                vector(experts).filter(|_| moe.router.scoring == super::Scoring::SigmoidWithBias)
            }
            Role::ExpertGate | Role::ExpertUp => matrices(experts, width, hidden),
            Role::ExpertDown => matrices(experts, hidden, width),
            _ if moe.shared_size == 0 => None,
            Role::SharedGate | Role::SharedUp => matrix(moe.shared_size, hidden),
            Role::SharedDown => matrix(hidden, moe.shared_size),
            Role::SharedGateBias | Role::SharedUpBias => {
                vector(moe.shared_size).filter(|_| self.mlp_bias)
            }
            Role::SharedDownBias => vector(hidden).filter(|_| self.mlp_bias),
            _ => None,
        }
    }
}

const fn matrix(rows: u32, cols: u32) -> Option<Shape> {
    matrices(1, rows, cols)
}

const fn matrices(count: u32, rows: u32, cols: u32) -> Option<Shape> {
    Some(Shape { count, rows, cols })
}

const fn vector(len: u32) -> Option<Shape> {
    Some(Shape {
        count: 1,
        rows: 1,
        cols: len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_own_number() {
        let roles = Role::MODEL.iter().chain(&Role::LAYER);
        for role in roles.clone() {
            assert_eq!(Role::from_index(*role as u8), Some(role));
        }
        assert_eq!(Role::from_index(roles.count() as u8), None);
    }
}
