//! `briquette inspect`: what a briquette is and what it costs.

use std::io::Write;
use std::path::PathBuf;

use briquette_engine::blob::{Attention, Blob, Part, Scoring, TensorRecord};
use briquette_engine::cpu::{Plan, PlanOptions};
use briquette_engine::kv::RowLayout;
use serde_json::{Value, json};

use super::CommandError;
use super::verify::update_json;
use crate::measure::{moe_layers, touched_weight_bytes};
use crate::run::BriqFile;
use crate::support::terminal::{self, bytes};

/// Shows architecture, sizes by part, bytes touched per token and memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  briquette inspect model.briq
  briquette inspect model.briq --context 512
  briquette inspect model.briq --json | jq .memory

Bytes in the JSON object:
  memory.scratch_bytes           working memory; grows with the batch
  memory.kv_bytes                the cache; grows with the context
  memory.arena_bytes             both: RAM for a model that is read in place
  memory.resident_bytes          tensors and tokenizer: flash, or mapped file
  not_mapped.loaded_bytes        all of the file but the experts: RAM besides the
                                 arena where storage is not mapped
  not_mapped.expert_slot_bytes   RAM for each expert kept in memory there
  bytes_touched_per_token        weights read for a token, and experts among them
  parts.*.bytes                  tensors without the padding between them")]
pub(crate) struct Args {
    /// The briquette, or a signed update with one in it
    file: PathBuf,
    /// Tokens that the cache holds [default: what the file was packed for]
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Shows `file` as if nothing else had been said.
    pub(crate) const fn with_defaults(file: PathBuf) -> Self {
        Self {
            file,
            context: None,
            json: false,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), CommandError> {
    let file = BriqFile::open(&args.file)?;
    let update = file.update();
    let blob = match &update {
        Some(update) => update.blob().map_err(|source| CommandError::Content {
            path: args.file.clone(),
            what: source.to_string(),
        })?,
        None => file.blob()?,
    };
    let packed = PlanOptions::packed(blob.manifest());
    let plan = Plan::new(
        blob.manifest(),
        PlanOptions {
            context: args.context.unwrap_or(packed.context),
            ..packed
        },
    )?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut report = report(&blob, &plan);
        if let Some(update) = &update {
            report["update"] = update_json(update);
        }
        writeln!(out, "{report}")?;
    } else {
        if let Some(update) = &update {
            writeln!(out, "A signed update, {update}; the briquette in it:\n")?;
        }
        write!(
            out,
            "{}",
            Page {
                blob: &blob,
                plan: &plan
            }
        )?;
    }
    Ok(())
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
struct PartSize {
    name: &'static str,
    bytes: u64,
    parameters: u64,
    formats: Vec<&'static str>,
}

fn part_sizes(blob: &Blob<'_>) -> Vec<PartSize> {
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

/// Bytes of the layer for multi-token prediction, if there is one.
fn mtp_bytes(blob: &Blob<'_>) -> Option<u64> {
    let layer = blob.manifest().mtp_layer()?;
    let tensors = blob.layer_tensors(layer);
    Some(tensors.map(|tensor| tensor.record().bytes()).sum())
}

/// What guessing ahead adds to the arena.
fn mtp_arena_bytes(blob: &Blob<'_>, plan: &Plan) -> Option<u64> {
    let options = PlanOptions {
        mtp: true,
        ..plan.options
    };
    let with = Plan::new(blob.manifest(), options).ok()?;
    Some(with.arena_bytes() - plan.arena_bytes())
}

fn report(blob: &Blob<'_>, plan: &Plan) -> Value {
    let manifest = blob.manifest();
    let config = &manifest.config;
    let touched = touched_weight_bytes(blob);
    let row = RowLayout::new(config, plan.options.kv).row_bytes as u64;
    let parts = part_sizes(blob);
    let total: u64 = parts.iter().map(|part| part.parameters).sum();
    let parts: serde_json::Map<_, _> = parts
        .iter()
        .map(|part| {
            let value = json!({
                "bytes": part.bytes, "parameters": part.parameters, "formats": part.formats,
            });
            (part.name.to_owned(), value)
        })
        .collect();
    json!({
        "name": manifest.provenance.name,
        "architecture": manifest.provenance.architecture,
        "tool": manifest.provenance.tool,
        "options": manifest.provenance.options,
        "source_sha256": terminal::hex(&manifest.provenance.source_sha256),
        "file_bytes": blob.bytes().len(),
        "parameters": total,
        "config": {
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
                "moe_layers": moe_layers(blob),
            })),
            "sliding_window": config.sliding_window,
        },
        "parts": parts,
        "mtp": mtp_bytes(blob).map(|bytes| json!({
            "bytes": bytes, "arena_bytes": mtp_arena_bytes(blob, plan),
        })),
        "bytes_touched_per_token": {
            "weights": touched.weights, "experts": touched.experts,
        },
        "kv": {
            "format": plan.options.kv.name(),
            "bytes_per_token": row * u64::from(config.num_hidden_layers),
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

const fn scoring_name(scoring: Scoring) -> &'static str {
    match scoring {
        Scoring::Softmax => "softmax",
        Scoring::SigmoidWithBias => "sigmoid with bias",
    }
}

/// The report for people.
struct Page<'a> {
    blob: &'a Blob<'a>,
    plan: &'a Plan,
}

impl std::fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let manifest = self.blob.manifest();
        let config = &manifest.config;
        let plan = self.plan;
        writeln!(f, "{}", manifest.provenance.name)?;
        writeln!(
            f,
            "  {}, {} layers, hidden {}, {} heads, vocabulary {}",
            manifest.provenance.architecture,
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            config.vocab_size
        )?;
        match config.attention {
            Attention::Mla(mla) => writeln!(
                f,
                "  attention   MLA: latent {} + rotated {} cached, for all heads",
                mla.kv_lora_rank, mla.qk_rope_head_dim
            )?,
            Attention::Gqa(gqa) => writeln!(
                f,
                "  attention   GQA: {} key/value heads of {}",
                gqa.num_key_value_heads, gqa.head_dim
            )?,
        }
        if let Some(moe) = config.moe {
            writeln!(
                f,
                "  experts     {} of {} a token, in {} layers; {}",
                moe.top_k,
                moe.num_experts,
                moe_layers(self.blob),
                scoring_name(moe.router.scoring)
            )?;
        }
        writeln!(
            f,
            "  packed by   {} ({})",
            manifest.provenance.tool, manifest.provenance.options
        )?;
        writeln!(
            f,
            "\nFile          {}",
            bytes(self.blob.bytes().len() as u64)
        )?;
        for part in part_sizes(self.blob) {
            writeln!(
                f,
                "  {:<11} {:>11}  {}",
                part.name,
                bytes(part.bytes),
                part.formats.join(", ")
            )?;
        }
        if let Some(size) = mtp_bytes(self.blob) {
            writeln!(
                f,
                "  {:<11} {:>11}  multi-token prediction, for `run --draft mtp`",
                "mtp layer",
                bytes(size)
            )?;
        }
        let touched = touched_weight_bytes(self.blob);
        let row = RowLayout::new(config, plan.options.kv).row_bytes as u64;
        let row = row * u64::from(config.num_hidden_layers);
        writeln!(f, "\nA token touches")?;
        writeln!(f, "  weights     {:>11}", bytes(touched.weights))?;
        if touched.experts > 0 {
            writeln!(f, "  of experts  {:>11}", bytes(touched.experts))?;
        }
        writeln!(
            f,
            "  adds to KV  {:>11}  {}",
            bytes(row),
            plan.options.kv.name()
        )?;
        writeln!(
            f,
            "\nMemory for {} tokens of context, batches of {}",
            plan.options.context, plan.options.batch
        )?;
        writeln!(f, "  scratch     {:>11}", bytes(plan.scratch_bytes()))?;
        writeln!(f, "  KV cache    {:>11}", bytes(plan.kv_bytes()))?;
        writeln!(
            f,
            "  arena       {:>11}  ({} bytes of RAM)",
            bytes(plan.arena_bytes()),
            plan.arena_bytes()
        )?;
        if let Some(more) = mtp_arena_bytes(self.blob, plan) {
            writeln!(f, "  with mtp    {:>11}  more", bytes(more))?;
        }
        writeln!(
            f,
            "  read-only   {:>11}  (flash or mapped file)",
            bytes(manifest.memory.resident_bytes)
        )?;
        let experts = manifest.expert_sizes();
        if experts.count == 0 {
            return Ok(());
        }
        writeln!(f, "\nWhere storage is not mapped, in RAM besides the arena")?;
        writeln!(
            f,
            "  resident    {:>11}  all but the experts",
            bytes(self.blob.loaded_bytes())
        )?;
        writeln!(
            f,
            "  an expert   {:>11}  {} in all; those in memory are as many as there is room for",
            bytes(experts.largest),
            experts.count
        )
    }
}
