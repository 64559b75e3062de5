//! Which tensors a file holds, in which formats, and where they lie.

use briquette_engine::blob::{Layout, Placer, Role, TensorRecord, expert_bytes};
use briquette_engine::quant::NumberFormat;

use super::{FormatChoice, PackError};
use crate::checkpoint::{TensorId, Weights};

/// The tensor table of a file.
pub(super) struct Table {
    /// In file order.
    pub(super) records: Vec<TensorRecord>,
    /// Where the last tensor ends, in bytes of the payload.
    pub(super) end: u64,
}

impl Table {
    /// Places every tensor that `layers` have.
    ///
    /// # Errors
    /// If the embedding is the head too, and other formats are asked for it; if
    /// the file would be too large.
    pub(super) fn new(
        weights: &Weights,
        layers: &[u8],
        formats: FormatChoice,
    ) -> Result<Self, PackError> {
        let config = &weights.model().config;
        let formats = if config.tie_word_embeddings {
            formats.tied().ok_or(PackError::Tied)?
        } else {
            formats
        };
        let format = |role: Role, layer: u16| {
            if role.is_vector() {
                return NumberFormat::F32;
            }
            let encoding = weights.encoding(tensor_id(role, layer));
            formats.format(role, encoding)
        };
        let mut placer = Placer::default();
        let mut expert = 0;
        let mut records = Vec::new();
        for due in Layout::new(config, layers) {
            if due.role == Role::ExpertGate {
                let roles = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
                let formats = roles.map(|role| format(role, due.layer));
                expert = expert_bytes(config, formats).ok_or(PackError::TooLarge)?;
            }
            let record = placer.place(&due, format(due.role, due.layer), expert);
            records.push(record.ok_or(PackError::TooLarge)?);
        }
        Ok(Self {
            records,
            end: placer.end(),
        })
    }

    /// The table as a manifest has it.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.records.iter().flat_map(TensorRecord::encode).collect()
    }

    /// Numbers in all matrices and vectors.
    pub(super) fn numbers(&self) -> u64 {
        self.records.iter().map(TensorRecord::numbers).sum()
    }
}

/// The tensor of a record.
pub(super) const fn tensor_id(role: Role, layer: u16) -> TensorId {
    TensorId {
        role,
        layer: if layer == TensorRecord::MODEL {
            0
        } else {
            layer as u32
        },
    }
}
