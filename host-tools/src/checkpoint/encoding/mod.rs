//! The number formats that checkpoints store weights in.

mod blocks;
mod plain;

use super::Grid;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "ggml's and safetensors' names")]
pub enum Encoding {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// The upper half of 32-bit floating point.
    BF16,
    /// FP8 with 4 exponent and 3 mantissa bits: to be multiplied by the scale
    /// of its block.
    F8_E4M3,
    /// Four bits, a scale for 32.
    Q4_0,
    /// Four bits, a scale and a minimum for 32.
    Q4_1,
    /// Five bits, a scale for 32.
    Q5_0,
    /// Five bits, a scale and a minimum for 32.
    Q5_1,
    /// Eight bits, a scale for 32.
    Q8_0,
    /// Four bits, six-bit scales and minima for 32 of 256.
    Q4_K,
    /// Five bits, six-bit scales and minima for 32 of 256.
    Q5_K,
    /// Six bits, eight-bit scales for 16 of 256.
    Q6_K,
}

/// Numbers that share one of ggml's "K" blocks.
const SUPER: usize = 256;

impl Encoding {
    /// The name that files give it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Whether it has fewer bits than a 16-bit number.
    pub const fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Numbers in a block.
    pub(super) const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::F8_E4M3 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER,
        }
    }

    /// Bytes of a block.
    pub(super) const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::F8_E4M3 => 1,
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q5_1 => 4 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4_K => 4 + 12 + 128,
            Self::Q5_K => 4 + 12 + 32 + 128,
            Self::Q6_K => 128 + 64 + 16 + 2,
        }
    }

    /// Widens whole blocks; appends to `values`, and to `grids` what the packer
    /// may keep.
    pub(super) fn decode(self, bytes: &[u8], values: &mut Vec<f32>, grids: &mut Vec<Grid>) {
        let blocks = bytes.chunks_exact(self.block_bytes());
        match self {
            Self::F32 => plain::widen_f32(bytes, values),
            Self::F16 => plain::widen_f16(bytes, values),
            Self::BF16 => plain::widen_bf16(bytes, values),
            Self::F8_E4M3 => plain::widen_e4m3(bytes, values),
            Self::Q4_0 => blocks.for_each(|block| blocks::decode_q4_0(block, values, grids)),
            Self::Q4_1 => blocks.for_each(|block| blocks::decode_q4_1(block, values, grids)),
            Self::Q5_0 => blocks.for_each(|block| blocks::decode_q5(block, 2, values)),
            Self::Q5_1 => blocks.for_each(|block| blocks::decode_q5(block, 4, values)),
            Self::Q8_0 => blocks.for_each(|block| blocks::decode_q8_0(block, values, grids)),
            Self::Q4_K => blocks.for_each(|block| blocks::decode_q4_k(block, values, grids)),
            Self::Q5_K => blocks.for_each(|block| blocks::decode_q5_k(block, values)),
            Self::Q6_K => blocks.for_each(|block| blocks::decode_q6_k(block, values)),
        }
    }
}
