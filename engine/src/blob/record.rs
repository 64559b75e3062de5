//! One entry of the tensor table, and the bytes of its tensor.

use super::Role;
use crate::quant::NumberFormat;

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

    /// Bytes of one of the tensor's matrices, or of the vector, without padding.
    pub const fn matrix_bytes(&self) -> u64 {
        matrix_bytes(self.role, self.format, self.rows, self.cols)
    }

    /// Bytes of all the tensor's matrices, without the padding between them.
    pub const fn bytes(&self) -> u64 {
        self.matrix_bytes().saturating_mul(self.count as u64)
    }

    /// Numbers in all the tensor's matrices.
    pub const fn numbers(&self) -> u64 {
        (self.rows as u64 * self.cols as u64).saturating_mul(self.count as u64)
    }

    /// The numbers that the model has learnt: [`Self::numbers`], but 0 for RoPE's
    /// frequencies.
    pub const fn parameters(&self) -> u64 {
        match self.role {
            Role::RopeInverseFrequency => 0,
            _ => self.numbers(),
        }
    }

    /// Bytes of all matrices and what is between them: for an expert's tensor,
    /// of all the layer's experts.
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

/// Bytes of one matrix `[rows, cols]` of blocks or, if `role` is a vector's, of
/// `cols` numbers as `f32`.
pub(super) const fn matrix_bytes(role: Role, format: NumberFormat, rows: u32, cols: u32) -> u64 {
    if role.is_vector() {
        cols as u64 * 4
    } else {
        format.matrix_bytes(rows, cols)
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

#[cfg(test)]
mod tests {
    use super::*;

    const EXPERTS: TensorRecord = TensorRecord {
        role: Role::ExpertUp,
        format: NumberFormat::Q8,
        layer: 3,
        count: 5,
        rows: 32,
        cols: 64,
        offset: 128,
        stride: 8192,
    };

    #[test]
    fn a_tensor_weighs_its_matrices_without_padding() {
        let matrix = NumberFormat::Q8.matrix_bytes(32, 64);
        assert_eq!(EXPERTS.matrix_bytes(), matrix);
        assert_eq!(EXPERTS.bytes(), 5 * matrix);
        assert_eq!(EXPERTS.numbers(), 5 * 32 * 64);
        assert_eq!(EXPERTS.parameters(), 5 * 32 * 64);
        assert_eq!(EXPERTS.experts_bytes(), 5 * 8192);
    }

    #[test]
    fn a_vector_is_plain_floats_and_frequencies_are_not_learnt() {
        let frequencies = TensorRecord {
            role: Role::RopeInverseFrequency,
            format: NumberFormat::F32,
            count: 1,
            rows: 1,
            cols: 10,
            ..EXPERTS
        };
        assert_eq!(frequencies.bytes(), 40);
        assert_eq!(frequencies.numbers(), 10);
        assert_eq!(frequencies.parameters(), 0);
    }
}
