//! Number formats of weights and cache; of weights, how 16 rows by 32 columns
//! become one block.
//!
//! A matrix is cut into **blocks** of [`LANES`] rows by [`GROUP`] columns;
//! rows and columns that the matrix does not have are stored as zeros. Blocks
//! of the same 16 rows follow each other, so one "block row" is one sequential
//! read. Inside a block the 16 rows are interleaved: one vector lane serves one
//! row on every target. Each row of a block is a **group** with its own scale.
//!
//! | format | bytes per block | bits per weight | a weight is |
//! |---|---|---|---|
//! | `f32` | 2048 | 32 | itself |
//! | `f16` | 1024 | 16 | itself |
//! | `q8` | 544 | 8.5 | `scale * code`, code in −128..=127 |
//! | `q4` | 288 | 4.5 | `scale * (code − 8)`, code in 0..=15 |
//! | `q4a` | 320 | 5 | `scale * code + min`, code in 0..=15 |

mod block;
mod fit;
mod kv;
mod matrix;

pub use block::{Block, BlockGroup};
pub use fit::{fit_q4, fit_q4a, fit_q8};
pub use kv::{KvFormat, SegmentFormat};
pub use matrix::Matrix;

use serde::{Deserialize, Serialize};

/// Rows of a block: one vector lane each.
pub const LANES: usize = 16;

/// Columns of a block: the numbers that share a scale.
pub const GROUP: usize = 32;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum NumberFormat {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit codes with an `f16` scale per group.
    Q8,
    /// 4-bit codes around 8 with an `f16` scale per group.
    Q4,
    /// 4-bit codes with an `f16` scale and an `f16` minimum per group.
    Q4Affine,
}

impl NumberFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Q8, Self::Q4, Self::Q4Affine];

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => LANES * GROUP * 4,
            Self::F16 => LANES * GROUP * 2,
            Self::Q8 => LANES * (2 + GROUP),
            Self::Q4 => LANES * (2 + GROUP / 2),
            Self::Q4Affine => LANES * (4 + GROUP / 2),
        }
    }

    /// Whether products with these weights are made of integers, so that
    /// activations must be quantised first.
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4 | Self::Q4Affine)
    }

    /// Bytes of a matrix of `rows` by `cols`, padding included.
    pub const fn matrix_bytes(self, rows: u32, cols: u32) -> u64 {
        let blocks = rows.div_ceil(LANES as u32) as u64 * cols.div_ceil(GROUP as u32) as u64;
        // At most 2^28 * 2^27 blocks of 2^11 bytes each would overflow; the
        // configuration's limits keep rows and columns below 2^24.
        blocks.saturating_mul(self.block_bytes() as u64)
    }

    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
            Self::Q4Affine => "q4a",
        }
    }
}
