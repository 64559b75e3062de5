//! The report on a briquette as people read it.

use std::fmt;

use briquette_engine::blob::Attention;

use super::report::{Report, part_sizes, scoring_name};
use super::{moe_layers, touched_weight_bytes};
use crate::support::terminal::bytes;

/// A name, its bytes, and a note.
struct Row(&'static str, u64, String);

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, count, note) = self;
        let row = format!("  {name:<11} {:>11}  {note}", bytes(*count));
        writeln!(f, "{}", row.trim_end())
    }
}

impl fmt::Display for Report<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_model(f)?;
        let options = self.plan.options;
        let file = bytes(self.blob.bytes().len() as u64);
        for (title, rows) in [
            (format!("File          {file}"), self.file_rows()),
            ("A token touches".to_owned(), self.token_rows()),
            (
                format!(
                    "Memory for {} tokens of context, batches of {}",
                    options.context, options.batch
                ),
                self.memory_rows(),
            ),
            (
                "Where storage is not mapped, in RAM besides the arena".to_owned(),
                self.storage_rows(),
            ),
        ] {
            if !rows.is_empty() {
                writeln!(f, "\n{title}")?;
                rows.iter().try_for_each(|row| write!(f, "{row}"))?;
            }
        }
        Ok(())
    }
}

impl Report<'_, '_> {
    /// Name and architecture.
    fn fmt_model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.blob.manifest();
        let (config, provenance) = (&manifest.config, &manifest.provenance);
        writeln!(f, "{}", provenance.name)?;
        writeln!(
            f,
            "  {}, {} layers, hidden {}, {} heads, vocabulary {}",
            provenance.architecture,
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
                "  experts     {} of {} per token, in {} layers; {}",
                moe.top_k,
                moe.num_experts,
                moe_layers(self.blob),
                scoring_name(moe.router.scoring)
            )?;
        }
        let (tool, options) = (provenance.tool, provenance.options);
        writeln!(f, "  packed by   {tool} ({options})")
    }

    /// The parts of the file.
    fn file_rows(&self) -> Vec<Row> {
        let parts = part_sizes(self.blob).into_iter();
        let parts = parts.map(|part| Row(part.name, part.bytes, part.formats.join(", ")));
        let note = "multi-token prediction, for `run --draft mtp`";
        let mtp = self.mtp_bytes();
        let mtp = mtp.map(|size| Row("mtp layer", size, note.into()));
        parts.chain(mtp).collect()
    }

    /// What one token reads and writes.
    fn token_rows(&self) -> Vec<Row> {
        let touched = touched_weight_bytes(self.blob);
        let layers = self.blob.manifest().config.num_hidden_layers;
        let format = self.plan.options.kv.name();
        let mut rows = vec![Row("weights", touched.weights, String::new())];
        if touched.experts > 0 {
            rows.push(Row("of experts", touched.experts, String::new()));
        }
        let row = self.row_bytes() * u64::from(layers);
        rows.push(Row("adds to KV", row, format.into()));
        rows
    }

    /// What a session takes.
    fn memory_rows(&self) -> Vec<Row> {
        let plan = &self.plan;
        let arena = plan.arena_bytes();
        let payload = self.blob.manifest().memory.resident_bytes;
        let mut rows = vec![
            Row("scratch", plan.scratch_bytes(), String::new()),
            Row("KV cache", plan.kv_bytes(), String::new()),
            Row("arena", arena, format!("({arena} bytes of RAM)")),
        ];
        let mtp = self.mtp_arena_bytes();
        rows.extend(mtp.map(|more| Row("with mtp", more, "more".into())));
        rows.push(Row("read-only", payload, "(flash or mapped file)".into()));
        rows
    }

    /// What experts in slots take; nothing without experts.
    fn storage_rows(&self) -> Vec<Row> {
        let experts = self.blob.manifest().expert_sizes();
        if experts.count == 0 {
            return Vec::new();
        }
        let slots = "in all; those in memory are as many as there is room for";
        vec![
            Row(
                "loaded",
                self.blob.loaded_bytes(),
                "all but the experts".into(),
            ),
            Row(
                "an expert",
                experts.largest,
                format!("{} {slots}", experts.count),
            ),
        ]
    }
}
