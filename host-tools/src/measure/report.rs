//! What a briquette is and what it costs.

use briquette_engine::blob::{Attention, Blob, Part, Scoring, TensorRecord};
use briquette_engine::kv::RowLayout;
use briquette_engine::{EngineError, Plan, PlanOptions};
use serde_json::{Value, json};

use super::{moe_layers, touched_weight_bytes};
use crate::support::terminal;

/// Architecture, sizes by part, bytes that a token touches, and memory; a page
/// for people when displayed.
#[derive(Debug)]
pub struct Report<'b, 'a> {
    pub(super) blob: &'b Blob<'a>,
    pub(super) plan: Plan,
}

impl<'b, 'a> Report<'b, 'a> {
    /// On `blob`, with a cache of `context` tokens, or of as many as it was
    /// packed for.
    ///
    /// # Errors
    /// If no memory can be planned for that context.
    pub fn new(blob: &'b Blob<'a>, context: Option<u32>) -> Result<Self, EngineError> {
        let packed = PlanOptions::packed(blob.manifest());
        let options = PlanOptions {
            context: context.unwrap_or(packed.context),
            ..packed
        };
        let plan = Plan::new(blob.manifest(), options)?;
        Ok(Self { blob, plan })
    }

    /// The report of `--json`.
    pub fn to_json(&self) -> Value {
        let (blob, plan) = (self.blob, &self.plan);
        let manifest = blob.manifest();
        let layers = u64::from(manifest.config.num_hidden_layers);
        let touched = touched_weight_bytes(blob);
        let row = self.row_bytes();
        let parts = part_sizes(blob);
        let total: u64 = parts.iter().map(|part| part.parameters).sum();
        json!({
            "name": manifest.provenance.name,
            "architecture": manifest.provenance.architecture,
            "tool": manifest.provenance.tool,
            "options": manifest.provenance.options,
            "source_sha256": terminal::hex(&manifest.provenance.source_sha256),
            "file_bytes": blob.bytes().len(),
            "parameters": total,
            "config": self.config_json(),
            "parts": parts_json(&parts),
            "mtp": self.mtp_bytes().map(|bytes| json!({
                "bytes": bytes, "arena_bytes": self.mtp_arena_bytes(),
            })),
            "bytes_touched_per_token": {
                "weights": touched.weights, "experts": touched.experts,
            },
            "kv": {
                "format": plan.options.kv.name(),
                "bytes_per_token": row * layers,
                "bytes_per_token_per_layer": row,
            },
            "memory": {
                "context": plan.options.context,
                "batch": plan.options.batch,
                "scratch_bytes": plan.scratch_bytes(),
                "kv_bytes": plan.kv_bytes(),
                "arena_bytes": plan.arena_bytes(),
                "resident_bytes": manifest.memory.resident_bytes,
            },
            "not_mapped": {
                "loaded_bytes": blob.loaded_bytes(),
                "expert_slot_bytes": manifest.expert_sizes().largest,
                "experts": manifest.expert_sizes().count,
            },
        })
    }

    fn config_json(&self) -> Value {
        let config = &self.blob.manifest().config;
        json!({
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "max_position_embeddings": config.max_position_embeddings,
            "attention": attention_json(config.attention),
            "moe": config.moe.map(|moe| json!({
                "num_experts": moe.num_experts,
                "top_k": moe.top_k,
                "moe_intermediate_size": moe.expert_size,
                "shared_size": moe.shared_size,
                "scoring": scoring_name(moe.router.scoring),
                "moe_layers": moe_layers(self.blob),
            })),
            "sliding_window": config.sliding_window,
        })
    }

    /// Bytes that a token adds to the cache of one layer.
    pub(super) fn row_bytes(&self) -> u64 {
        let config = &self.blob.manifest().config;
        RowLayout::new(config, self.plan.options.kv).row_bytes as u64
    }

    /// Bytes of the layer for multi-token prediction, if there is one.
    pub(super) fn mtp_bytes(&self) -> Option<u64> {
        let layer = self.blob.manifest().mtp_layer()?;
        let tensors = self.blob.layer_tensors(layer);
        Some(tensors.map(|tensor| tensor.record().bytes()).sum())
    }

    /// What drafts of that layer add to the arena.
    pub(super) fn mtp_arena_bytes(&self) -> Option<u64> {
        let options = PlanOptions {
            mtp: true,
            ..self.plan.options
        };
        let with = Plan::new(self.blob.manifest(), options).ok()?;
        Some(with.arena_bytes() - self.plan.arena_bytes())
    }
}

/// The parts of a model, in the order in which they are shown.
const PARTS: [(Part, &str); 5] = [
    (Part::Embedding, "embedding"),
    (Part::Attention, "attention"),
    (Part::Mlp, "mlp"),
    (Part::Experts, "experts"),
    (Part::Exact, "exact"),
];

/// Bytes and number formats of one part.
pub(super) struct PartSize {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    parameters: u64,
    pub(super) formats: Vec<&'static str>,
}

pub(super) fn part_sizes(blob: &Blob<'_>) -> Vec<PartSize> {
    let mut sizes: Vec<_> = PARTS
        .iter()
        .map(|(_, name)| PartSize {
            name,
            bytes: 0,
            parameters: 0,
            formats: Vec::new(),
        })
        .collect();
    for record in records(blob) {
        let index = PARTS
            .iter()
            .position(|(part, _)| *part == record.role.part());
        let Some(size) = index.and_then(|index| sizes.get_mut(index)) else {
            continue;
        };
        size.bytes += record.bytes();
        size.parameters += record.parameters();
        if !size.formats.contains(&record.format.name()) {
            size.formats.push(record.format.name());
        }
    }
    sizes.retain(|size| size.bytes > 0);
    sizes
}

fn records(blob: &Blob<'_>) -> Vec<TensorRecord> {
    let layers = blob.manifest().config.num_hidden_layers as usize;
    let of_layers = (0..layers).flat_map(|layer| blob.layer_tensors(layer));
    blob.model_tensors()
        .chain(of_layers)
        .map(|tensor| *tensor.record())
        .collect()
}

fn parts_json(parts: &[PartSize]) -> Value {
    let parts = parts.iter().map(|part| {
        let value = json!({
            "bytes": part.bytes, "parameters": part.parameters, "formats": part.formats,
        });
        (part.name.to_owned(), value)
    });
    Value::Object(parts.collect())
}

fn attention_json(attention: Attention) -> Value {
    match attention {
        Attention::Mla(mla) => json!({
            "kind": "mla",
            "q_lora_rank": mla.q_lora_rank,
            "kv_lora_rank": mla.kv_lora_rank,
            "qk_nope_head_dim": mla.qk_nope_head_dim,
            "qk_rope_head_dim": mla.qk_rope_head_dim,
            "v_head_dim": mla.v_head_dim,
        }),
        Attention::Gqa(gqa) => json!({
            "kind": "gqa",
            "num_key_value_heads": gqa.num_key_value_heads,
            "head_dim": gqa.head_dim,
        }),
    }
}

pub(super) const fn scoring_name(scoring: Scoring) -> &'static str {
    match scoring {
        Scoring::Softmax => "softmax",
        Scoring::SigmoidWithBias => "sigmoid with bias",
    }
}
