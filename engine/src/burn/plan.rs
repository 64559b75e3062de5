//! How many bytes of the device's memory a session needs.

use super::backend::DecoderBackend;
use super::decoder::cached_heads;
use super::slots::slots_of_layer;
use crate::EngineError;
use crate::blob::{Attention, Blob, ModelConfig, TensorRecord};
use crate::execute::PlanOptions;
use crate::kv::RowLayout;

/// Bytes in the device's memory, known before anything is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicePlan {
    /// Weights, exactly but for the alignment of each tensor.
    pub weight_bytes: u64,
    /// The cache, likewise.
    pub cache_bytes: u64,
    /// An upper estimate of what loading, and the operations of one batch, take
    /// besides: burn's backends allocate their results themselves.
    pub scratch_bytes: u64,
    /// The largest tensor of weights, or of one layer's cache.
    pub largest_bytes: u64,
}

impl DevicePlan {
    /// Plans a session of `blob`'s model on backend `B`.
    ///
    /// # Errors
    /// If context, batch or logits are 0.
    pub fn new<B: DecoderBackend>(
        blob: &Blob<'_>,
        options: &PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        options.check()?;
        let config = &blob.manifest().config;
        let layout = RowLayout::new(config, options.kv);
        let layer_cache = B::cache_bytes(&layout, cached_heads(config), options.context as usize);
        let weights = Weights::new::<B>(blob, options);
        let (results, largest) = results::<B>(config, options);
        Ok(Self {
            weight_bytes: weights.bytes,
            cache_bytes: layer_cache.saturating_mul(config.num_hidden_layers.into()),
            scratch_bytes: B::reserved_bytes(device, results, largest),
            largest_bytes: weights.largest.max(layer_cache),
        })
    }

    /// The plan for `options` if it fits `free` bytes; else the one with as many
    /// slots for experts as fit, and its options.
    ///
    /// # Errors
    /// As [`Self::new`]; [`EngineError::NeedsDeviceMemory`] if not even one expert
    /// per layer fits.
    pub fn fitting<B: DecoderBackend>(
        blob: &Blob<'_>,
        options: PlanOptions,
        free: u64,
        device: &B::Device,
    ) -> Result<(Self, PlanOptions), EngineError> {
        let plan_for = |expert_slots| {
            let options = PlanOptions {
                expert_slots,
                ..options
            };
            Self::new::<B>(blob, &options, device).map(|plan| (plan, options))
        };
        let (plan, options) = plan_for(options.expert_slots)?;
        let least = blob.moe_layers(usize::MAX) as u32;
        if plan.check(free).is_ok() || options.expert_slots > 0 || least == 0 {
            return plan.check(free).map(|()| (plan, options));
        }
        let mut best = plan_for(least)?;
        best.0.check(free)?;
        let all = blob.manifest().expert_sizes().count;
        let (mut fits, mut too_many) = (least, u32::try_from(all).unwrap_or(u32::MAX));
        while fits + 1 < too_many {
            let slots = fits + (too_many - fits) / 2;
            let plan = plan_for(slots)?;
            if plan.0.check(free).is_ok() {
                (best, fits) = (plan, slots);
            } else {
                too_many = slots;
            }
        }
        Ok(best)
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

    /// Compares the plan with the largest buffer of the device.
    ///
    /// # Errors
    /// [`EngineError::NeedsLargerBuffers`].
    pub const fn check_buffers(&self, largest: u64) -> Result<(), EngineError> {
        let needed = self.largest_bytes;
        if needed > largest {
            return Err(EngineError::NeedsLargerBuffers { needed, largest });
        }
        Ok(())
    }
}

/// Bytes of all weights on the device, and of the largest tensor.
#[derive(Default)]
struct Weights {
    bytes: u64,
    largest: u64,
}

impl Weights {
    fn new<B: DecoderBackend>(blob: &Blob<'_>, options: &PlanOptions) -> Self {
        let mut weights = Self::default();
        for tensor in blob.model_tensors() {
            weights.add::<B>(*tensor.record());
        }
        for layer in 0..blob.manifest().config.num_hidden_layers as usize {
            for tensor in blob.layer_tensors(layer) {
                let mut record = *tensor.record();
                if record.role.is_expert() && options.expert_slots > 0 {
                    let moe_layer = blob.moe_layers(layer);
                    record.count = slots_of_layer(blob, moe_layer, options.expert_slots) as u32;
                }
                weights.add::<B>(record);
            }
        }
        weights
    }

    fn add<B: DecoderBackend>(&mut self, record: TensorRecord) {
        let bytes = if record.role.is_vector() {
            record.matrix_bytes()
        } else {
            B::matrix_bytes(&record)
        };
        self.bytes = self.bytes.saturating_add(bytes);
        self.largest = self.largest.max(bytes);
    }
}

/// The most that results take at any time of a batch, in bytes: its attention
/// (queries, what attention takes, sums) or its MLP, next to the residual stream;
/// and the logits. Then the largest result of all.
fn results<B: DecoderBackend>(config: &ModelConfig, options: &PlanOptions) -> (u64, u64) {
    let [batch, context, logits] = [options.batch, options.context, options.logits].map(u64::from);
    let heads = u64::from(config.num_attention_heads);
    let (query, width) = match config.attention {
        Attention::Mla(mla) => (
            u64::from(mla.qk_nope_head_dim + mla.qk_rope_head_dim),
            u64::from(mla.kv_lora_rank),
        ),
        Attention::Gqa(gqa) => (gqa.head_dim.into(), gqa.head_dim.into()),
    };
    let parts = B::attention_bytes(batch, heads, width, context);
    // Projected, normalised, rotated, brought to the latent; codes of each.
    let attention = parts + 4 * batch * heads * (4 * query + 4 * width);
    let mlp = match config.moe {
        Some(moe) => u64::from(config.intermediate_size)
            .max(u64::from(moe.expert_size) * u64::from(moe.top_k))
            .max(moe.shared_size.into()),
        None => config.intermediate_size.into(),
    };
    let residual = 6 * u64::from(config.hidden_size);
    let vocab = 4 * u64::from(config.vocab_size) * logits.min(batch);
    let results = attention.max(4 * batch * 4 * mlp) + 4 * batch * residual + 2 * vocab;
    let largest = [
        parts,
        vocab,
        4 * batch * heads * query.max(width),
        4 * batch * mlp.max(config.hidden_size.into()),
    ];
    (results, largest.into_iter().max().unwrap_or(0))
}
