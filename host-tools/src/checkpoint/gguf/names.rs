//! llama.cpp's tensor names.

use briquette_engine::blob::{Attention, LayerKind, Mla, ModelConfig, Role, Shape};

use super::store::Gguf;
use crate::checkpoint::{LeftOut, Location, Mapping, Model, TensorId, Transform};

/// Where the canonical tensors lie in a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufMapping {
    config: ModelConfig,
    /// RoPE pairs stand side by side (`llama`, `deepseek2`).
    adjacent_pairs: bool,
    /// `attn_kv_b` instead of `attn_k_b` and `attn_v_b`.
    unsplit_kv_b: bool,
    /// One tensor per expert (`ffn_gate.3.weight`) instead of one per layer.
    separate_experts: bool,
    /// A block for multi-token prediction follows the model's own.
    has_mtp: bool,
}

impl GgufMapping {
    /// Looks at `file` for the forms of tensors that converters have changed over
    /// time.
    pub fn new(file: &Gguf, model: &Model) -> Self {
        let layers = 0..model.config.num_hidden_layers;
        let any = |name: &str| layers.clone().any(|l| file.has(&format!("blk.{l}.{name}")));
        Self {
            config: model.config,
            adjacent_pairs: matches!(model.architecture.as_str(), "llama" | "deepseek2"),
            unsplit_kv_b: any("attn_kv_b.weight"),
            separate_experts: any("ffn_gate.0.weight"),
            has_mtp: model.mtp.is_some(),
        }
    }

    fn transform(&self, role: Role) -> Transform {
        if !self.adjacent_pairs {
            return Transform::Direct;
        }
        let (head_rows, rope_rows) = match (role, self.config.attention) {
            (Role::KvA | Role::KvABias, Attention::Mla(mla)) => (
                mla.kv_lora_rank + mla.qk_rope_head_dim,
                mla.qk_rope_head_dim,
            ),
            (Role::Query | Role::QueryB, Attention::Mla(mla)) => {
                (self.config.head_dim(), mla.qk_rope_head_dim)
            }
            (Role::Query | Role::Key | Role::QueryBias | Role::KeyBias, Attention::Gqa(gqa)) => {
                (gqa.head_dim, gqa.head_dim)
            }
            _ => return Transform::Direct,
        };
        Transform::SplitRopePairs {
            head_rows,
            rope_rows,
        }
    }

    /// Keys and values of one head out of `attn_kv_b`.
    fn kv_b(&self, mla: &Mla, prefix: &str, role: Role, head: u32) -> Location {
        let (nope, value) = (mla.qk_nope_head_dim, mla.v_head_dim);
        let rows = u64::from(nope) + u64::from(value);
        let heads = u64::from(self.config.num_attention_heads);
        let first_row = u64::from(head) * rows;
        let is_key = role == Role::KeyUp;
        Location {
            tensor: format!("{prefix}attn_kv_b.weight"),
            shape: vec![heads * rows, mla.kv_lora_rank.into()],
            first_row: if is_key {
                first_row
            } else {
                first_row + u64::from(nope)
            },
            transform: if is_key {
                Transform::Transposed
            } else {
                Transform::Direct
            },
        }
    }
}

impl Mapping for GgufMapping {
    fn location(&self, id: TensorId, index: u32) -> Location {
        let kind = kind_of(id.role);
        let shape = self.config.shape(id.role, kind).unwrap_or(Shape {
            count: 1,
            rows: 1,
            cols: 1,
        });
        let (count, rows) = (u64::from(shape.count), u64::from(shape.rows));
        let cols = u64::from(shape.cols);
        let prefix = format!("blk.{}.", id.layer);
        if let Attention::Mla(mla) = &self.config.attention
            && self.unsplit_kv_b
            && matches!(id.role, Role::KeyUp | Role::ValueUp)
        {
            return self.kv_b(mla, &prefix, id.role, index);
        }
        if self.separate_experts && id.role.is_expert() {
            let part = name(id.role).trim_end_matches("_exps.weight");
            return Location {
                tensor: format!("{prefix}{part}.{index}.weight"),
                shape: vec![rows, cols],
                first_row: 0,
                transform: Transform::Direct,
            };
        }
        let of_model = Role::MODEL.contains(&id.role);
        Location {
            tensor: if of_model {
                name(id.role).to_owned()
            } else {
                prefix + name(id.role)
            },
            shape: if id.role.is_vector() {
                vec![cols]
            } else if matches!(id.role, Role::KeyUp | Role::ValueUp) || id.role.is_expert() {
                vec![count, rows, cols]
            } else {
                vec![rows, cols]
            },
            first_row: u64::from(index) * rows,
            transform: self.transform(id.role),
        }
    }

    fn mtp_copies(&self, layer: u32) -> Vec<(Role, String)> {
        vec![
            (
                Role::Embedding,
                format!("blk.{layer}.nextn.embed_tokens.weight"),
            ),
            (
                Role::LmHead,
                format!("blk.{layer}.nextn.shared_head_head.weight"),
            ),
        ]
    }

    fn left_out(&self, name: &str, layers: u32) -> Option<LeftOut> {
        // Read together with the metadata.
        if name == self::name(Role::RopeInverseFrequency) {
            return Some(LeftOut::Silently);
        }
        let Some((block, rest)) = block(name) else {
            let other_input = ["v.", "mm.", "a."]
                .iter()
                .any(|start| name.starts_with(start));
            return other_input.then_some(LeftOut::Saying("other inputs than text"));
        };
        // Some files have the keys' and values' matrices in both forms.
        let repeats = self.unsplit_kv_b && ["attn_k_b.weight", "attn_v_b.weight"].contains(&rest);
        let mtp = self.mtp_copies(self.config.num_hidden_layers);
        let is_copy = mtp.iter().any(|(_, copy)| copy == name);
        match block >= layers {
            true if self.has_mtp => Some(LeftOut::Silently),
            true => Some(LeftOut::Saying("blocks beyond the file's `block_count`")),
            false => (repeats || is_copy).then_some(LeftOut::Silently),
        }
    }
}

/// The block that a tensor belongs to, and its name in there.
fn block(name: &str) -> Option<(u32, &str)> {
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// A layer kind that has the tensor: shapes depend on nothing else.
fn kind_of(role: Role) -> LayerKind {
    if Role::MTP.contains(&role) {
        LayerKind(LayerKind::MTP)
    } else if role >= Role::Router {
        LayerKind(LayerKind::MOE)
    } else {
        LayerKind::default()
    }
}

const fn name(role: Role) -> &'static str {
    match role {
        Role::Embedding => "token_embd.weight",
        Role::RopeInverseFrequency => "rope_freqs.weight",
        Role::FinalNorm => "output_norm.weight",
        Role::LmHead => "output.weight",
        Role::AttentionNorm => "attn_norm.weight",
        Role::Query => "attn_q.weight",
        Role::QueryA => "attn_q_a.weight",
        Role::QueryABias => "attn_q_a.bias",
        Role::QueryANorm => "attn_q_a_norm.weight",
        Role::QueryB => "attn_q_b.weight",
        Role::KvA => "attn_kv_a_mqa.weight",
        Role::KvABias => "attn_kv_a_mqa.bias",
        Role::KvANorm => "attn_kv_a_norm.weight",
        Role::KeyUp => "attn_k_b.weight",
        Role::ValueUp => "attn_v_b.weight",
        Role::Key => "attn_k.weight",
        Role::Value => "attn_v.weight",
        Role::QueryBias => "attn_q.bias",
        Role::KeyBias => "attn_k.bias",
        Role::ValueBias => "attn_v.bias",
        Role::QueryNorm => "attn_q_norm.weight",
        Role::KeyNorm => "attn_k_norm.weight",
        Role::Output => "attn_output.weight",
        Role::OutputBias => "attn_output.bias",
        Role::MlpNorm => "ffn_norm.weight",
        Role::Gate => "ffn_gate.weight",
        Role::Up => "ffn_up.weight",
        Role::Down => "ffn_down.weight",
        Role::GateBias => "ffn_gate.bias",
        Role::UpBias => "ffn_up.bias",
        Role::DownBias => "ffn_down.bias",
        Role::Router => "ffn_gate_inp.weight",
        Role::RouterBias => "exp_probs_b.bias",
        Role::SharedGate => "ffn_gate_shexp.weight",
        Role::SharedUp => "ffn_up_shexp.weight",
        Role::SharedDown => "ffn_down_shexp.weight",
        Role::SharedGateBias => "ffn_gate_shexp.bias",
        Role::SharedUpBias => "ffn_up_shexp.bias",
        Role::SharedDownBias => "ffn_down_shexp.bias",
        Role::ExpertGate => "ffn_gate_exps.weight",
        Role::ExpertUp => "ffn_up_exps.weight",
        Role::ExpertDown => "ffn_down_exps.weight",
        Role::MtpEmbeddingNorm => "nextn.enorm.weight",
        Role::MtpHiddenNorm => "nextn.hnorm.weight",
        Role::MtpProjection => "nextn.eh_proj.weight",
        Role::MtpNorm => "nextn.shared_head_norm.weight",
    }
}
