//! The bytes of one cached row.
//!
//! - Latent attention caches `[latent | rotated key]`: `kv_lora_rank +
//!   qk_rope_head_dim` numbers, whatever the number of heads. In `q8` and `q4`
//!   the rotated key is kept as `f16`: it is short and scores depend on it most.
//! - Grouped-query attention caches `[key | value]` for each key/value head. In
//!   `q4` the keys are kept as `q8`: on SmolLM2, four-bit keys cost four times
//!   the divergence of four-bit values.
//!
//! A `q8` segment is all codes (padded to whole groups of 32), then one `f16`
//! scale per group: `scale * code`. A `q4` segment is all codes, 16 bytes per
//! group (columns 0..16 in the low nibbles, 16..32 in the high ones), then an
//! `f16` scale and an `f16` minimum per group: `scale * code + min`. Rows
//! follow each other without padding.

use crate::blob::{Attention, ModelConfig};
use crate::quant::{GROUP, KvFormat, SegmentFormat};

/// A run of numbers inside a cached row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// How they are stored.
    pub format: SegmentFormat,
    /// First byte inside the row.
    pub offset: usize,
    /// How many numbers.
    pub len: usize,
}

impl Segment {
    /// A segment of the same kind without any numbers.
    pub const fn empty(self) -> Self {
        Self { len: 0, ..self }
    }

    /// Bytes of the segment.
    pub const fn bytes(&self) -> usize {
        match self.format {
            SegmentFormat::F32 => self.len * 4,
            SegmentFormat::F16 => self.len * 2,
            SegmentFormat::Q8 => self.code_bytes() + 2 * self.len.div_ceil(GROUP),
            SegmentFormat::Q4 => self.code_bytes() + 4 * self.len.div_ceil(GROUP),
        }
    }

    /// Bytes of the codes alone.
    pub(crate) const fn code_bytes(&self) -> usize {
        let padded = self.len.next_multiple_of(GROUP);
        match self.format {
            SegmentFormat::F32 | SegmentFormat::F16 => 0,
            SegmentFormat::Q8 => padded,
            SegmentFormat::Q4 => padded / 2,
        }
    }

    /// The byte after the segment.
    const fn end(&self) -> usize {
        self.offset + self.bytes()
    }

    /// Bytes of a group's codes, or numbers.
    pub(crate) const fn group_bytes(&self) -> usize {
        match self.format {
            SegmentFormat::F32 => GROUP * 4,
            SegmentFormat::F16 => GROUP * 2,
            SegmentFormat::Q8 => GROUP,
            SegmentFormat::Q4 => GROUP / 2,
        }
    }
}

/// Where the segments of a row lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// Bytes of a row.
    pub row_bytes: usize,
    /// The latent (MLA) or the first head's key (GQA).
    first: Segment,
    /// The rotated key (MLA) or the first head's value (GQA).
    second: Segment,
    /// Bytes from one key/value head to the next; 0 for MLA.
    head_stride: usize,
}

impl RowLayout {
    /// The layout of a model's cached rows in `format`.
    pub const fn new(config: &ModelConfig, format: KvFormat) -> Self {
        match config.attention {
            Attention::Mla(mla) => {
                let first = Segment {
                    format: format.segment(),
                    offset: 0,
                    len: mla.kv_lora_rank as usize,
                };
                let second = Segment {
                    format: format.rotated_segment(),
                    offset: first.end(),
                    len: mla.qk_rope_head_dim as usize,
                };
                Self {
                    row_bytes: second.end(),
                    first,
                    second,
                    head_stride: 0,
                }
            }
            Attention::Gqa(gqa) => {
                let first = Segment {
                    format: format.key_segment(),
                    offset: 0,
                    len: gqa.head_dim as usize,
                };
                let second = Segment {
                    format: format.segment(),
                    offset: first.end(),
                    ..first
                };
                let head_stride = second.end();
                Self {
                    row_bytes: head_stride * gqa.num_key_value_heads as usize,
                    first,
                    second,
                    head_stride,
                }
            }
        }
    }

    /// The latent and the rotated key (MLA).
    pub const fn latent(&self) -> (Segment, Segment) {
        (self.first, self.second)
    }

    /// Key and value of key/value head `head` (GQA).
    pub const fn key_value(&self, head: usize) -> (Segment, Segment) {
        let shift = head * self.head_stride;
        let (key, value) = (self.first, self.second);
        (
            Segment {
                offset: key.offset + shift,
                ..key
            },
            Segment {
                offset: value.offset + shift,
                ..value
            },
        )
    }
}
