//! What a briquette says about itself, encoded with postcard.

use serde::{Deserialize, Serialize};

use super::record::{TensorRecord, expert_gates};
use super::{LayerKind, ModelConfig};
use crate::quant::KvFormat;
use crate::text::{MAX_STOP_TOKENS, SingleTurn};

/// Everything but the weights. Strings and tables borrow from the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest<'a> {
    /// How blocks are laid out inside tensors; see [`LAYOUT_INTERLEAVED`].
    pub layout: u8,
    /// Dimensions and choices of the model.
    pub config: ModelConfig,
    /// One [`super::LayerKind`] byte per layer; a layer for multi-token prediction
    /// comes after all others.
    pub layers: &'a [u8],
    /// Number format of the cache.
    pub kv: KvFormat,
    /// What the model needs at its packed context length.
    pub memory: MemoryContract,
    /// [`TensorRecord`]s in file order, [`TensorRecord::BYTES`] each.
    pub tensors: &'a [u8],
    /// Bytes of the tokenizer's section, which ends the payload; 0 without one.
    pub tokenizer_len: u64,
    /// Stop tokens; not all of them, see [`Blob::stops`](super::Blob::stops).
    pub stop_tokens: heapless::Vec<u32, MAX_STOP_TOKENS>,
    /// How a conversation becomes text.
    #[serde(borrow)]
    pub chat: Chat<'a>,
    /// Where the file comes from.
    #[serde(borrow)]
    pub provenance: Provenance<'a>,
}

impl Manifest<'_> {
    /// The oldest major version of the format that can express this: 3 for a
    /// layer for multi-token prediction, 2 for a four-bit cache, else 1.
    pub fn major_version(&self) -> u16 {
        match self.kv {
            _ if self.mtp_layer().is_some() => 3,
            KvFormat::F32 | KvFormat::F16 | KvFormat::Q8 => 1,
            KvFormat::Q4 => 2,
        }
    }

    /// The number of the layer for multi-token prediction, if there is one.
    pub fn mtp_layer(&self) -> Option<usize> {
        let last = self.layers.len().checked_sub(1)?;
        let kind = LayerKind(*self.layers.get(last)?);
        kind.is_mtp().then_some(last)
    }
}

/// The only block layout so far: 16 rows interleaved ([`crate::quant`]).
pub const LAYOUT_INTERLEAVED: u8 = 1;

/// The exact bytes that a session needs, at the packed context and batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryContract {
    /// Tokens that the cache holds.
    pub context: u32,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
    /// Bytes of working memory.
    pub scratch_bytes: u64,
    /// Bytes of the cache.
    pub kv_bytes: u64,
    /// Bytes of the whole payload, experts included, which have to stay
    /// readable: in flash, a mapped file or storage. What is loaded into memory
    /// where nothing is mapped is [`Blob::loaded_bytes`](super::Blob::loaded_bytes).
    pub resident_bytes: u64,
}

/// Sizes of a model's routed experts, the matrices' padding included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExpertSizes {
    /// Experts of all layers together.
    pub count: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Bytes of the largest.
    pub largest: u64,
}

impl Manifest<'_> {
    /// The experts' sizes; nothing for a model without any.
    pub fn expert_sizes(&self) -> ExpertSizes {
        Self::sum_experts(expert_gates(self.tensors))
    }

    /// The same without those of the layer for multi-token prediction.
    pub(crate) fn model_expert_sizes(&self) -> ExpertSizes {
        let layers = self.config.num_hidden_layers;
        let own = |gate: &TensorRecord| u32::from(gate.layer) < layers;
        Self::sum_experts(expert_gates(self.tensors).filter(own))
    }

    fn sum_experts(gates: impl Iterator<Item = TensorRecord>) -> ExpertSizes {
        gates.fold(ExpertSizes::default(), |sizes, gate| ExpertSizes {
            count: sizes.count.saturating_add(gate.count.into()),
            bytes: sizes.bytes.saturating_add(gate.experts_bytes()),
            largest: sizes.largest.max(gate.stride),
        })
    }
}

/// How a conversation becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chat<'a> {
    /// The checkpoint's Jinja template, for hosts; empty without one.
    pub template: &'a str,
    /// What the template puts around a single user message, for devices.
    #[serde(borrow)]
    pub single_turn: Option<SingleTurn<'a>>,
}

/// Where a briquette comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance<'a> {
    /// The model's name.
    pub name: &'a str,
    /// The architecture as the checkpoint names it.
    pub architecture: &'a str,
    /// The packing tool's name and version.
    pub tool: &'a str,
    /// The options that it was given.
    pub options: &'a str,
    /// SHA-256 over the checkpoint's bytes as they were read.
    pub source_sha256: [u8; 32],
}
