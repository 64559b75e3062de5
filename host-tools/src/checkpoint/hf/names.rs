//! The tensors' published names and shapes.

use briquette_engine::blob::{Attention, LayerKind, Mla, ModelConfig, Role};

use super::leftovers::{self, Whole};
use crate::checkpoint::{LeftOut, Location, Mapping, TensorId, Transform};

/// Where each canonical tensor lies in a Hugging Face checkpoint.
#[derive(Debug)]
pub struct Names {
    config: ModelConfig,
    /// RoPE pairs stand side by side in the checkpoint.
    adjacent_rope_pairs: bool,
    /// The tensor that the embedding is stored as.
    embedding: &'static str,
    /// A layer for multi-token prediction follows the model's own.
    has_mtp: bool,
    /// One entry per layer; ignored where the layer is dense.
    experts: Vec<ExpertNames>,
}

/// How one layer's routed experts and router are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExpertNames {
    /// The module of the router.
    router: &'static str,
    /// The module of the experts.
    module: &'static str,
    style: ExpertStyle,
}

/// Whether a layer's experts are tensors of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpertStyle {
    /// `experts.E.gate_proj.weight`, `up_proj`, `down_proj`.
    Projections,
    /// `experts.E.w1.weight` (gate), `w3` (up), `w2` (down).
    Numbered,
    /// `experts.gate_up_proj` `[experts, 2 * width, hidden]`, gate before up,
    /// and `experts.down_proj` `[experts, hidden, width]`.
    Fused,
}

/// The embedding's published name.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The head's.
pub(super) const HEAD: &str = "lm_head.weight";

const MLP: &str = "mlp";
const BLOCK_SPARSE: &str = "block_sparse_moe";

impl Names {
    /// The names for a model, its embedding stored as `embedding`, the experts' chosen layer by layer by looking
    /// which of them `exists`.
    pub(super) fn new(
        config: ModelConfig,
        adjacent_rope_pairs: bool,
        embedding: &'static str,
        is_mixtral: bool,
        exists: impl Fn(&str) -> bool,
    ) -> Self {
        let detect = |layer| ExpertNames::detect(layer, is_mixtral, &exists);
        Self {
            config,
            adjacent_rope_pairs,
            embedding,
            has_mtp: exists(&joins(config.num_hidden_layers)),
            // One more: the layer for multi-token prediction.
            experts: (0..=config.num_hidden_layers).map(detect).collect(),
        }
    }

    fn plain(&self, id: TensorId) -> Location {
        Location {
            tensor: self.name(id),
            shape: self.shape(id.role),
            first_row: 0,
            transform: self.transform(id.role),
        }
    }

    fn name(&self, id: TensorId) -> String {
        match id.role {
            Role::Embedding => self.embedding.to_owned(),
            Role::FinalNorm => "model.norm.weight".to_owned(),
            Role::LmHead => HEAD.to_owned(),
            Role::Router => {
                let module = self.expert_names(id.layer).router;
                format!("model.layers.{}.{module}.gate.weight", id.layer)
            }
            role => format!("model.layers.{}.{}", id.layer, suffix(role)),
        }
    }

    /// The stored shape of a tensor that is stored by itself.
    fn shape(&self, role: Role) -> Vec<u64> {
        let Some(shape) = self.config.shape(role, kind_with(role)) else {
            return Vec::new();
        };
        let (rows, cols) = (u64::from(shape.rows), u64::from(shape.cols));
        if role.is_vector() {
            vec![cols]
        } else {
            vec![rows, cols]
        }
    }

    fn transform(&self, role: Role) -> Transform {
        let Attention::Mla(mla) = self.config.attention else {
            return Transform::Direct;
        };
        let unrotated = match role {
            Role::Query | Role::QueryB => mla.qk_nope_head_dim,
            Role::KvA | Role::KvABias => mla.kv_lora_rank,
            _ => return Transform::Direct,
        };
        if !self.adjacent_rope_pairs {
            return Transform::Direct;
        }
        Transform::SplitRopePairs {
            head_rows: unrotated + mla.qk_rope_head_dim,
            rope_rows: mla.qk_rope_head_dim,
        }
    }

    /// `kv_b_proj` holds, head after head, the rows that make the key and then
    /// the rows that make the value.
    fn latent_up(&self, mla: Mla, id: TensorId, head: u32) -> Location {
        let key_rows = u64::from(mla.qk_nope_head_dim);
        let head_rows = key_rows + u64::from(mla.v_head_dim);
        let heads = u64::from(self.config.num_attention_heads);
        let head_start = u64::from(head) * head_rows;
        let (first_row, transform) = match id.role {
            Role::KeyUp => (head_start, Transform::Transposed),
            _ => (head_start + key_rows, Transform::Direct),
        };
        Location {
            tensor: format!("model.layers.{}.self_attn.kv_b_proj.weight", id.layer),
            shape: vec![heads * head_rows, u64::from(mla.kv_lora_rank)],
            first_row,
            transform,
        }
    }

    fn expert(&self, id: TensorId, expert: u32) -> Location {
        let names = self.expert_names(id.layer);
        let prefix = format!("model.layers.{}.{}.experts", id.layer, names.module);
        if names.style == ExpertStyle::Fused {
            return self.fused_expert(&prefix, id.role, expert);
        }
        let (projection, number) = match id.role {
            Role::ExpertGate => ("gate_proj", "w1"),
            Role::ExpertUp => ("up_proj", "w3"),
            _ => ("down_proj", "w2"),
        };
        let module = match names.style {
            ExpertStyle::Numbered => number,
            _ => projection,
        };
        Location {
            tensor: format!("{prefix}.{expert}.{module}.weight"),
            shape: self.shape(id.role),
            first_row: 0,
            transform: Transform::Direct,
        }
    }

    fn fused_expert(&self, prefix: &str, role: Role, expert: u32) -> Location {
        let (experts, width) = self.config.moe.map_or((0, 0), |moe| {
            (moe.num_experts.into(), moe.expert_size.into())
        });
        let hidden = u64::from(self.config.hidden_size);
        let expert = u64::from(expert);
        let (module, shape, first_row) = match role {
            Role::ExpertGate => (
                "gate_up_proj",
                [experts, 2 * width, hidden],
                expert * 2 * width,
            ),
            Role::ExpertUp => {
                let first_row = expert * 2 * width + width;
                ("gate_up_proj", [experts, 2 * width, hidden], first_row)
            }
            _ => ("down_proj", [experts, hidden, width], expert * hidden),
        };
        Location {
            tensor: format!("{prefix}.{module}"),
            shape: shape.to_vec(),
            first_row,
            transform: Transform::Direct,
        }
    }

    fn expert_names(&self, layer: u32) -> ExpertNames {
        let names = self.experts.get(layer as usize).copied();
        names.unwrap_or(ExpertNames::PROJECTIONS)
    }
}

impl Mapping for Names {
    fn location(&self, id: TensorId, index: u32) -> Location {
        match (id.role, self.config.attention) {
            (Role::KeyUp | Role::ValueUp, Attention::Mla(mla)) => self.latent_up(mla, id, index),
            (role, _) if role.is_expert() => self.expert(id, index),
            _ => self.plain(id),
        }
    }

    fn mtp_copies(&self, layer: u32) -> Vec<(Role, String)> {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}.weight");
        vec![
            (Role::Embedding, name("embed_tokens")),
            (Role::LmHead, name("shared_head.head")),
        ]
    }

    fn left_out(&self, name: &str, layers: u32) -> Option<LeftOut> {
        let model = Whole {
            layers,
            is_tied: self.config.tie_word_embeddings,
            has_mtp: self.has_mtp,
        };
        leftovers::of(name, model).or_else(|| {
            let copies = self.mtp_copies(self.config.num_hidden_layers);
            let is_copy = copies.iter().any(|(_, copy)| copy == name);
            is_copy.then_some(LeftOut::Silently)
        })
    }
}

impl ExpertNames {
    const PROJECTIONS: Self = Self {
        router: MLP,
        module: MLP,
        style: ExpertStyle::Projections,
    };

    fn detect(layer: u32, is_mixtral: bool, exists: impl Fn(&str) -> bool) -> Self {
        let modules = if is_mixtral {
            [BLOCK_SPARSE, MLP]
        } else {
            [MLP, BLOCK_SPARSE]
        };
        let find = |rest: &str| {
            let is_there = |module: &&str| exists(&format!("model.layers.{layer}.{module}.{rest}"));
            modules.into_iter().find(is_there)
        };
        let fused = find("experts.gate_up_proj").or_else(|| find("experts.down_proj"));
        let (module, style) = if let Some(module) = fused {
            (module, ExpertStyle::Fused)
        } else if let Some(module) = find("experts.0.w1.weight") {
            (module, ExpertStyle::Numbered)
        } else if let Some(module) = find("experts.0.gate_proj.weight") {
            (module, ExpertStyle::Projections)
        } else if is_mixtral {
            (BLOCK_SPARSE, ExpertStyle::Numbered)
        } else {
            (MLP, ExpertStyle::Projections)
        };
        Self {
            router: find("gate.weight").unwrap_or(module),
            module,
            style,
        }
    }
}

/// The tensor by which layer number `layer` is known to be for multi-token
/// prediction.
pub(super) fn joins(layer: u32) -> String {
    format!("model.layers.{layer}.eh_proj.weight")
}

/// A kind of layer that has a tensor for `role`, if any has.
fn kind_with(role: Role) -> LayerKind {
    let dense = [
        Role::Gate,
        Role::Up,
        Role::Down,
        Role::GateBias,
        Role::UpBias,
        Role::DownBias,
    ];
    LayerKind(if dense.contains(&role) {
        0
    } else if Role::MTP.contains(&role) {
        LayerKind::MTP
    } else {
        LayerKind::MOE
    })
}

/// A tensor's name inside its layer.
fn suffix(role: Role) -> &'static str {
    match role {
        Role::AttentionNorm => "input_layernorm.weight",
        Role::Query => "self_attn.q_proj.weight",
        Role::QueryA => "self_attn.q_a_proj.weight",
        Role::QueryABias => "self_attn.q_a_proj.bias",
        Role::QueryANorm => "self_attn.q_a_layernorm.weight",
        Role::QueryB => "self_attn.q_b_proj.weight",
        Role::KvA => "self_attn.kv_a_proj_with_mqa.weight",
        Role::KvABias => "self_attn.kv_a_proj_with_mqa.bias",
        Role::KvANorm => "self_attn.kv_a_layernorm.weight",
        Role::KeyUp | Role::ValueUp => "self_attn.kv_b_proj.weight",
        Role::Key => "self_attn.k_proj.weight",
        Role::Value => "self_attn.v_proj.weight",
        Role::QueryBias => "self_attn.q_proj.bias",
        Role::KeyBias => "self_attn.k_proj.bias",
        Role::ValueBias => "self_attn.v_proj.bias",
        Role::QueryNorm => "self_attn.q_norm.weight",
        Role::KeyNorm => "self_attn.k_norm.weight",
        Role::Output => "self_attn.o_proj.weight",
        Role::OutputBias => "self_attn.o_proj.bias",
        Role::MlpNorm => "post_attention_layernorm.weight",
        Role::Gate => "mlp.gate_proj.weight",
        Role::Up => "mlp.up_proj.weight",
        Role::Down => "mlp.down_proj.weight",
        Role::GateBias => "mlp.gate_proj.bias",
        Role::UpBias => "mlp.up_proj.bias",
        Role::DownBias => "mlp.down_proj.bias",
        Role::RouterBias => "mlp.gate.e_score_correction_bias",
        Role::SharedGate => "mlp.shared_experts.gate_proj.weight",
        Role::SharedUp => "mlp.shared_experts.up_proj.weight",
        Role::SharedDown => "mlp.shared_experts.down_proj.weight",
        Role::SharedGateBias => "mlp.shared_experts.gate_proj.bias",
        Role::SharedUpBias => "mlp.shared_experts.up_proj.bias",
        Role::SharedDownBias => "mlp.shared_experts.down_proj.bias",
        Role::MtpEmbeddingNorm => "enorm.weight",
        Role::MtpHiddenNorm => "hnorm.weight",
        Role::MtpProjection => "eh_proj.weight",
        Role::MtpNorm => "shared_head.norm.weight",
        // Named elsewhere: by the model, by the router's module, by the expert.
        Role::Embedding
        | Role::RopeInverseFrequency
        | Role::FinalNorm
        | Role::LmHead
        | Role::Router
        | Role::ExpertGate
        | Role::ExpertUp
        | Role::ExpertDown => "",
    }
}
