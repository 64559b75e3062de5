//! How many bytes a session needs, exactly.

use crate::EngineError;
use crate::blob::{Attention, ExpertSizes, Manifest, MemoryContract, ModelConfig};
use crate::execute::slots::Slot;
use crate::execute::{PlanOptions, router};
use crate::kernels::attend::{CHUNK, Total};
use crate::kv::RowLayout;
use crate::quant::{GROUP, LANES};

use super::arena::padded_bytes;

/// The exact size of each buffer of a session.
///
/// ```text
/// arena = scratch (grows with batch) + cache (grows with context)
///       + slots (if experts are read from storage)
/// ```
///
/// A file that is not read in place takes
/// [`loaded_bytes`](crate::blob::Blob::loaded_bytes) besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the plan is for.
    pub options: PlanOptions,
    pub(super) sizes: Sizes,
    scratch_bytes: u64,
    kv_bytes: u64,
    slot_bytes: u64,
}

/// Elements of each buffer, in the order in which they are carved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Residual stream `[batch, hidden_size]`.
    pub(super) residual: usize,
    /// Columns of the normed input, of the attention's result.
    pub(super) input: usize,
    /// Columns of per-head queries, of the MLP's middle.
    pub(super) middle: usize,
    /// Queries `[batch, query_size]`.
    pub(super) query: usize,
    /// New rows for the cache, before quantisation.
    pub(super) key_value: usize,
    /// Cosines (and as many sines) `[batch, rope_dim / 2]`.
    pub(super) angles: usize,
    /// Results of a projection.
    pub(super) panel: usize,
    /// Results of the second projection of a gated MLP.
    pub(super) second_panel: usize,
    /// Sums of a few chunks of positions, for threads that share one token.
    pub(super) partials: usize,
    /// Router logits of one token, and scratch.
    pub(super) router: usize,
    /// Chosen experts `[batch, top_k]`.
    pub(super) choices: usize,
    /// Tokens that chose the current expert.
    pub(super) picked: usize,
    /// Logits `[logits, vocab_size]`.
    pub(super) logits: usize,
    /// Layers that have rows in the cache.
    pub(super) layers: usize,
    /// Last tokens, for drafting.
    pub(super) tokens: usize,
    /// Their hidden states `[batch, hidden_size]`.
    pub(super) hidden: usize,
    /// One more hidden state.
    pub(super) drafted: usize,
    /// Experts in memory.
    pub(super) slots: usize,
    /// Bytes of one of them.
    pub(super) slot: usize,
}

impl Plan {
    /// Plans a session of the model that `manifest` describes.
    ///
    /// # Errors
    /// If context or batch is 0, the sizes exceed the address space, or there is
    /// no layer for multi-token prediction where one is asked for.
    pub fn new(manifest: &Manifest<'_>, options: PlanOptions) -> Result<Self, EngineError> {
        if options.mtp && manifest.mtp_layer().is_none() {
            return Err(EngineError::NoMtpLayer);
        }
        let experts = if options.mtp {
            manifest.expert_sizes()
        } else {
            manifest.model_expert_sizes()
        };
        Self::for_config(&manifest.config, experts, options)
    }

    /// As [`Self::new`], before there is a manifest. The configuration must
    /// have passed [`ModelConfig::check`]; `experts` only matter for slots.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_config(
        config: &ModelConfig,
        experts: ExpertSizes,
        options: PlanOptions,
    ) -> Result<Self, EngineError> {
        options.check()?;
        let layout = RowLayout::new(config, options.kv);
        let sizes = Sizes::new(config, experts, &options)?;
        let kv_bytes = (layout.row_bytes as u64)
            .checked_mul(u64::from(options.context))
            .and_then(|bytes| bytes.checked_mul(sizes.layers as u64))
            .ok_or(EngineError::PlanTooLarge)?;
        let kv_bytes = padded_bytes::<u8>(to_usize(kv_bytes)?);
        let scratch_bytes = sizes.scratch_bytes();
        let slot_bytes = sizes.slot_bytes();
        let total = scratch_bytes
            .saturating_add(kv_bytes)
            .saturating_add(slot_bytes);
        if total > isize::MAX as u64 {
            return Err(EngineError::PlanTooLarge);
        }
        Ok(Self {
            options,
            sizes,
            scratch_bytes,
            kv_bytes,
            slot_bytes,
        })
    }

    /// Bytes of the arena: scratch, cache and slots.
    pub const fn arena_bytes(&self) -> u64 {
        self.scratch_bytes + self.kv_bytes + self.slot_bytes
    }

    /// Bytes of all slots for experts.
    pub const fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// Slots for experts: as many as asked for, at most one for each expert.
    pub const fn expert_slots(&self) -> usize {
        self.sizes.slots
    }

    /// Bytes of working memory.
    pub const fn scratch_bytes(&self) -> u64 {
        self.scratch_bytes
    }

    /// Bytes of the cache.
    pub const fn kv_bytes(&self) -> u64 {
        self.kv_bytes
    }

    /// The plan as a manifest records it.
    pub const fn contract(&self, resident_bytes: u64) -> MemoryContract {
        MemoryContract {
            context: self.options.context,
            batch: self.options.batch,
            scratch_bytes: self.scratch_bytes,
            kv_bytes: self.kv_bytes,
            resident_bytes,
        }
    }
}

impl Sizes {
    fn new(
        config: &ModelConfig,
        experts: ExpertSizes,
        options: &PlanOptions,
    ) -> Result<Self, EngineError> {
        let widths = Widths::new(config, options.mtp);
        let batch = u64::from(options.batch);
        let of_batch = |columns: u64| to_usize(columns.saturating_mul(batch));
        let moe = config.moe.as_ref();
        let of_mtp = |columns: u64| to_usize(if options.mtp { columns } else { 0 });
        let hidden_size = u64::from(config.hidden_size);
        Ok(Self {
            residual: of_batch(config.hidden_size.into())?,
            input: of_batch(widths.input)?,
            middle: of_batch(widths.middle)?,
            query: of_batch(config.query_size().into())?,
            key_value: of_batch(widths.key_value)?,
            angles: of_batch(u64::from(config.rope_dim() / 2))?,
            panel: of_batch(widths.panel)?,
            second_panel: of_batch(widths.mlp)?,
            partials: partials_len(config, options.context as usize),
            router: moe.map_or(0, |moe| moe.num_experts as usize + router::scratch_len(moe)),
            choices: of_batch(moe.map_or(0, |moe| u64::from(moe.top_k)))?,
            picked: if moe.is_some() { of_batch(1)? } else { 0 },
            logits: panel_len(config.vocab_size as usize, 1)
                .checked_mul(options.logits as usize)
                .ok_or(EngineError::PlanTooLarge)?,
            layers: to_usize(u64::from(config.num_hidden_layers) + u64::from(options.mtp))?,
            tokens: of_mtp(batch)?,
            hidden: of_mtp(hidden_size.saturating_mul(batch))?,
            drafted: of_mtp(hidden_size)?,
            slots: to_usize(experts.count.min(options.expert_slots.into()))?,
            slot: to_usize(experts.largest)?,
        })
    }

    fn slot_bytes(&self) -> u64 {
        let memory = (self.slots as u64).saturating_mul(self.slot as u64);
        padded_bytes::<Slot>(self.slots).saturating_add(memory)
    }

    fn scratch_bytes(&self) -> u64 {
        let activation = |len: usize| {
            padded_bytes::<f32>(len)
                .saturating_add(padded_bytes::<i8>(len))
                .saturating_add(2 * padded_bytes::<f32>(len / GROUP))
        };
        [
            padded_bytes::<f32>(self.residual),
            activation(self.input),
            activation(self.middle),
            padded_bytes::<f32>(self.query),
            padded_bytes::<f32>(self.key_value),
            2 * padded_bytes::<f32>(self.angles),
            padded_bytes::<f32>(self.panel),
            padded_bytes::<f32>(self.second_panel),
            padded_bytes::<f32>(self.partials),
            padded_bytes::<f32>(self.router),
            padded_bytes::<router::Choice>(self.choices),
            padded_bytes::<u32>(self.picked),
            padded_bytes::<f32>(self.picked),
            padded_bytes::<f32>(self.logits),
            padded_bytes::<u32>(self.tokens),
            padded_bytes::<f32>(self.hidden),
            padded_bytes::<f32>(self.drafted),
        ]
        .iter()
        .fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

/// Columns per token of the buffers that several tensors share.
struct Widths {
    input: u64,
    middle: u64,
    key_value: u64,
    panel: u64,
    mlp: u64,
}

impl Widths {
    fn new(config: &ModelConfig, mtp: bool) -> Self {
        let heads = u64::from(config.num_attention_heads);
        let rows = |n: u32| u64::from(n.next_multiple_of(LANES as u32));
        let cols = |n: u32| u64::from(n.next_multiple_of(GROUP as u32));
        let moe_width = config
            .moe
            .map_or(0, |moe| moe.expert_size.max(moe.shared_size));
        let mlp = config.intermediate_size.max(moe_width);
        let experts = config.moe.map_or(0, |moe| moe.num_experts);

        let mut input = cols(config.hidden_size).max(cols(config.attention_output_size()));
        if mtp {
            input = input.max(cols(2 * config.hidden_size));
        }
        let mut middle = cols(mlp);
        let mut panel = rows(config.hidden_size)
            .max(rows(config.query_size()))
            .max(rows(mlp))
            .max(rows(experts));
        let key_value;
        match config.attention {
            Attention::Mla(mla) => {
                input = input.max(heads * cols(mla.kv_lora_rank));
                middle = middle
                    .max(cols(mla.q_lora_rank.unwrap_or(0)))
                    .max(heads * cols(mla.qk_nope_head_dim))
                    .max(heads * cols(mla.kv_lora_rank));
                panel = panel
                    .max(rows(mla.q_lora_rank.unwrap_or(0)))
                    .max(rows(mla.kv_lora_rank + mla.qk_rope_head_dim))
                    .max(heads * rows(mla.kv_lora_rank))
                    .max(heads * rows(mla.v_head_dim));
                key_value = u64::from(mla.kv_lora_rank + mla.qk_rope_head_dim);
            }
            Attention::Gqa(gqa) => {
                middle = middle.max(heads * cols(gqa.head_dim));
                key_value = 2 * u64::from(gqa.num_key_value_heads * gqa.head_dim);
                panel = panel.max(rows(gqa.num_key_value_heads * gqa.head_dim));
            }
        }
        Self {
            input,
            middle,
            key_value,
            panel,
            mlp: rows(mlp),
        }
    }
}

/// Numbers of a panel: rows padded to 16, for each token.
pub(super) const fn panel_len(rows: usize, tokens: usize) -> usize {
    rows.next_multiple_of(LANES) * tokens
}

/// Chunks of positions that are summed at a time, each into memory of its own.
const PARTIALS: usize = 8;

/// Numbers that [`PARTIALS`] sums take at a context of `context` tokens: for
/// each, and for the whole, the heads' totals; for each, the heads' sums.
fn partials_len(config: &ModelConfig, context: usize) -> usize {
    let chunks = context.div_ceil(CHUNK);
    if chunks < 2 {
        return 0;
    }
    let heads = config.num_attention_heads as usize;
    let unit = heads.saturating_mul(value_width(config) + TOTAL);
    unit.saturating_mul(chunks.min(PARTIALS))
        .saturating_add(heads * TOTAL)
}

/// Numbers of one head's sum.
pub(super) const fn value_width(config: &ModelConfig) -> usize {
    match config.attention {
        Attention::Mla(mla) => mla.kv_lora_rank as usize,
        Attention::Gqa(gqa) => gqa.head_dim as usize,
    }
}

/// Numbers of a [`Total`].
pub(super) const TOTAL: usize = size_of::<Total>() / size_of::<f32>();

fn to_usize(value: u64) -> Result<usize, EngineError> {
    usize::try_from(value).map_err(|_| EngineError::PlanTooLarge)
}
