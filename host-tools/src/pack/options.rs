//! How a checkpoint is packed, and the defaults.

use briquette_engine::PlanOptions;
use briquette_engine::quant::KvFormat;

use super::{CacheFormat, FormatChoice, Target, WeightFormat};
use crate::checkpoint::Model;

/// How a checkpoint is packed.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Number formats of the weights.
    pub formats: FormatChoice,
    /// Number format of the cache.
    pub kv: KvFormat,
    /// Tokens that the cache holds.
    pub context: u32,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
    /// Whether to pack the layer for multi-token prediction too.
    pub mtp: bool,
    /// A device that the model must fit.
    pub target: Option<Target>,
    /// The options as a person would type them, for the manifest.
    pub summary: String,
}

impl PackOptions {
    /// Default number format of the weights.
    pub const WEIGHTS: WeightFormat = WeightFormat::Q4;
    /// Default number format of the cache.
    pub const KV: CacheFormat = CacheFormat::Q8;
    /// Default number of tokens that prefill takes at a time.
    pub const BATCH: u32 = 32;
    /// Longest context that is planned by default.
    pub const LONGEST_CONTEXT: u32 = 2048;

    /// The defaults for `model`.
    pub fn for_model(model: &Model) -> Self {
        let trained = model.config.max_position_embeddings;
        let options = Self {
            formats: FormatChoice::new(Self::WEIGHTS),
            kv: Self::KV.into(),
            context: trained.min(Self::LONGEST_CONTEXT),
            batch: Self::BATCH,
            mtp: false,
            target: None,
            summary: String::new(),
        };
        options.summarized(None)
    }

    /// With the options as a person would type them; `pre` is the pre-tokenizer
    /// that was named.
    #[must_use]
    pub fn summarized(self, pre: Option<&str>) -> Self {
        let formats = &self.formats;
        let mut summary = format!("--weights {}", formats.weights.name());
        for (option, format) in [
            ("embedding", formats.embedding),
            ("head", formats.head),
            ("attention", formats.attention),
            ("mlp", formats.mlp),
            ("experts", formats.experts),
        ] {
            if let Some(format) = format {
                summary += &format!(" --{option} {}", format.name());
            }
        }
        if let Some(pre) = pre {
            summary += &format!(" --pre {pre}");
        }
        let (kv, context, batch) = (self.kv.name(), self.context, self.batch);
        summary += &format!(" --kv {kv} --context {context} --batch {batch}");
        if self.mtp {
            summary += " --mtp";
        }
        Self { summary, ..self }
    }

    /// The plan whose memory the file promises.
    pub(super) const fn plan(&self) -> PlanOptions {
        PlanOptions {
            context: self.context,
            batch: self.batch,
            logits: 1,
            kv: self.kv,
            expert_slots: 0,
            mtp: false,
        }
    }
}
