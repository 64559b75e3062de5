//! Number formats of the cache.

use serde::{Deserialize, Serialize};

/// Number format of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum KvFormat {
    /// 32-bit floating point: for comparing with a reference.
    F32,
    /// 16-bit floating point.
    F16,
    /// 8-bit codes, one `f16` scale for 32 numbers.
    Q8,
    /// 4-bit codes, a scale and a minimum for 32 numbers, of rotated latents and
    /// values: see [`crate::kernels::hadamard`]. Keys are wider.
    Q4,
}

impl KvFormat {
    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    pub(crate) const fn segment(self) -> SegmentFormat {
        match self {
            Self::F32 => SegmentFormat::F32,
            Self::F16 => SegmentFormat::F16,
            Self::Q8 => SegmentFormat::Q8,
            Self::Q4 => SegmentFormat::Q4,
        }
    }

    /// Keys of grouped-query attention.
    pub(crate) const fn key_segment(self) -> SegmentFormat {
        match self {
            Self::F32 => SegmentFormat::F32,
            Self::F16 => SegmentFormat::F16,
            Self::Q8 | Self::Q4 => SegmentFormat::Q8,
        }
    }

    pub(crate) const fn rotated_segment(self) -> SegmentFormat {
        match self {
            Self::F32 => SegmentFormat::F32,
            Self::F16 | Self::Q8 | Self::Q4 => SegmentFormat::F16,
        }
    }
}

/// How the numbers of one segment are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentFormat {
    /// Plain `f32`.
    F32,
    /// Plain `f16`.
    F16,
    /// Codes of 8 bits, then scales.
    Q8,
    /// Codes of 4 bits, then scales and minima.
    Q4,
}

impl SegmentFormat {
    /// Whether numbers are codes, which meet the codes of quantised queries.
    pub const fn is_integer(self) -> bool {
        matches!(self, Self::Q8 | Self::Q4)
    }

    /// Whether values are rotated before they are stored: see
    /// [`crate::kernels::hadamard`].
    pub const fn is_rotated(self) -> bool {
        matches!(self, Self::Q4)
    }
}
