//! How many bytes of the device's memory a session needs.

use super::backend::DecoderBackend;
use super::decoder::cached_heads;
use crate::EngineError;
use crate::blob::{Attention, Blob, ModelConfig};
use crate::cpu::PlanOptions;
use crate::kv::RowLayout;

/// Bytes in the device's memory, known before anything is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePlan {
    /// Weights, exactly.
    pub weight_bytes: u64,
    /// The cache, exactly.
    pub cache_bytes: u64,
    /// An upper estimate of what the operations of one batch hold at a time:
    /// burn's backends allocate their results themselves.
    pub scratch_bytes: u64,
}

impl DevicePlan {
    /// Plans a session of `blob`'s model on backend `B`.
    ///
    /// # Errors
    /// If context, batch or logits are 0.
    pub fn new<B: DecoderBackend>(
        blob: &Blob<'_>,
        options: &PlanOptions,
    ) -> Result<Self, EngineError> {
        for (field, value) in [
            ("context", options.context),
            ("batch", options.batch),
            ("logits", options.logits),
        ] {
            if value == 0 {
                return Err(EngineError::EmptyPlan { field });
            }
        }
        let config = &blob.manifest().config;
        let layers = 0..config.num_hidden_layers as usize;
        let tensors = layers
            .flat_map(|layer| blob.layer_tensors(layer))
            .chain(blob.model_tensors());
        let weights = tensors.map(|tensor| {
            let record = tensor.record();
            if record.role.is_vector() {
                u64::from(record.cols) * 4
            } else {
                B::matrix_bytes(record)
            }
        });
        let layout = RowLayout::new(config, options.kv);
        let layer_cache = B::cache_bytes(&layout, cached_heads(config), options.context as usize);
        Ok(Self {
            weight_bytes: weights.fold(0, u64::saturating_add),
            cache_bytes: layer_cache.saturating_mul(config.num_hidden_layers.into()),
            scratch_bytes: scratch_bytes(config, options),
        })
    }

    /// All bytes.
    pub const fn total_bytes(&self) -> u64 {
        self.weight_bytes
            .saturating_add(self.cache_bytes)
            .saturating_add(self.scratch_bytes)
    }

    /// Compares the plan with the memory that the device has free.
    ///
    /// # Errors
    /// [`EngineError::NeedsDeviceMemory`].
    pub const fn check(&self, free: u64) -> Result<(), EngineError> {
        let needed = self.total_bytes();
        if needed > free {
            return Err(EngineError::NeedsDeviceMemory { needed, free });
        }
        Ok(())
    }
}

/// The widest moment of a layer: its attention (queries, scores, sums) or its
/// MLP, next to the residual stream; and the logits.
fn scratch_bytes(config: &ModelConfig, options: &PlanOptions) -> u64 {
    let heads = u64::from(config.num_attention_heads);
    let width = match config.attention {
        Attention::Mla(mla) => mla.kv_lora_rank + mla.qk_rope_head_dim,
        Attention::Gqa(gqa) => gqa.head_dim,
    };
    let seen = u64::from(options.context);
    let attention = heads * (3 * seen + 4 * u64::from(width));
    let mlp = match config.moe {
        Some(moe) => u64::from(config.intermediate_size)
            .max(u64::from(moe.expert_size) * u64::from(moe.top_k))
            .max(moe.shared_size.into()),
        None => config.intermediate_size.into(),
    };
    let residual = 4 * u64::from(config.hidden_size);
    let token = residual + attention.max(4 * mlp);
    let logits = u64::from(config.vocab_size) * u64::from(options.logits);
    4 * (token * u64::from(options.batch) + logits)
}
