//! What a briquette says about itself, encoded with postcard.

use serde::{Deserialize, Serialize};

use super::{LayerKind, ModelConfig, Role};
use crate::quant::{KvFormat, NumberFormat};

/// Everything but the weights. Strings and tables borrow from the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest<'a> {
    /// How blocks are laid out inside tensors; see [`LAYOUT_INTERLEAVED`].
    pub layout: u8,
    /// Dimensions and choices of the model.
    pub config: ModelConfig,
    /// One [`super::LayerKind`] byte a layer; a layer for multi-token prediction
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
    /// Tokens that end a generation.
    pub stop_tokens: heapless::Vec<u32, MAX_STOP_TOKENS>,
    /// How a conversation becomes text.
    #[serde(borrow)]
    pub chat: Chat<'a>,
    /// Where the file comes from.
    #[serde(borrow)]
    pub provenance: Provenance<'a>,
}

impl Manifest<'_> {
    /// The oldest major version of the format that has words for this: 3 for a
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

/// Stop tokens that a manifest can hold.
pub const MAX_STOP_TOKENS: usize = 16;

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
    pub fn model_expert_sizes(&self) -> ExpertSizes {
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

/// The entry of each layer's first expert tensor, of those in `tensors`: its
/// offset, stride and count are those of the layer's experts.
pub(crate) fn expert_gates(tensors: &[u8]) -> impl Iterator<Item = TensorRecord> {
    let entries = tensors.as_chunks().0.iter();
    entries
        .filter_map(TensorRecord::decode)
        .filter(|record| record.role == Role::ExpertGate)
}

/// How a conversation becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chat<'a> {
    /// The checkpoint's Jinja template, for hosts; empty without one.
    pub template: &'a str,
    /// The same for one user message, for devices: the text around it.
    #[serde(borrow)]
    pub single_turn: Option<SingleTurn<'a>>,
}

/// Text before and after one user message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SingleTurn<'a> {
    /// Before the message.
    pub prefix: &'a str,
    /// After it: the answer follows.
    pub suffix: &'a str,
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

/// One entry of the tensor table: fixed-size little-endian fields in this
/// order, so that entry `i` is found without reading those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorRecord {
    /// What the tensor is for (one byte).
    pub role: Role,
    /// Number format (one byte).
    pub format: NumberFormat,
    /// Layer, or [`TensorRecord::MODEL`] (two bytes).
    pub layer: u16,
    /// Number of matrices (four bytes).
    pub count: u32,
    /// Outputs of each (four bytes).
    pub rows: u32,
    /// Inputs of each (four bytes).
    pub cols: u32,
    /// First byte inside the payload (eight bytes).
    pub offset: u64,
    /// Bytes from one matrix to the next (eight bytes).
    pub stride: u64,
}

impl TensorRecord {
    /// Bytes of an encoded record.
    pub const BYTES: usize = 32;

    /// The layer number of the model's own tensors.
    pub const MODEL: u16 = u16::MAX;

    /// Bytes of all matrices and what lies between them: for an expert's
    /// tensor, of the layer's experts.
    pub(crate) const fn experts_bytes(&self) -> u64 {
        self.stride.saturating_mul(self.count as u64)
    }

    /// The record's bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.role as u8;
        bytes[1] = self.format as u8;
        bytes[2..4].copy_from_slice(&self.layer.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.rows.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.cols.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.stride.to_le_bytes());
        bytes
    }

    /// The record in `bytes`, or `None` if its role or format is unknown.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        Some(Self {
            role: *Role::from_index(bytes[0])?,
            format: *NumberFormat::ALL.get(usize::from(bytes[1]))?,
            layer: u16::from_le_bytes([bytes[2], bytes[3]]),
            count: u32_at(4),
            rows: u32_at(8),
            cols: u32_at(12),
            offset: u64_at(16),
            stride: u64_at(24),
        })
    }
}
