//! The cache: one layer's rows, as narrow as their format.
//!
//! Groups of 32 numbers lie one after the other. Of `q8` they are a scale (`f32`)
//! and eight words of codes, of `q4` a word of a scale and a minimum (two halves)
//! and four words of codes; of `f16` there are two numbers a word.

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::affine::store_q4;
use super::math::{narrow_f16, widen_f16};
use super::quantize::{inverse_scale, largest_magnitude, scale_of};
use super::tensors::{cubes_for, keep};
use super::unpack::{code4, code8, half_at};
use crate::kv::{RowLayout, Segment};
use crate::quant::{GROUP, SegmentFormat};

/// One layer's cache.
#[derive(Debug)]
pub struct CubeRows<R: CubeRuntime> {
    /// Latents (MLA) or keys (GQA), then rotated keys or values.
    pub(super) parts: [Part<R>; 2],
    /// Heads of a row.
    pub(super) heads: usize,
}

/// One segment of all rows: `[heads, context, words]`.
#[derive(Debug)]
pub(super) struct Part<R: CubeRuntime> {
    pub(super) words: CubeTensor<R>,
    pub(super) kind: PartKind,
    pub(super) context: usize,
}

/// How a segment's words are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PartKind {
    pub(super) format: SegmentFormat,
    /// Numbers of a vector.
    pub(super) width: usize,
}

impl PartKind {
    const fn new(segment: Segment) -> Self {
        Self {
            format: segment.format,
            width: segment.len,
        }
    }

    /// Words of a vector.
    pub(super) const fn words(&self) -> usize {
        match self.format {
            SegmentFormat::F32 => self.width,
            SegmentFormat::F16 => self.width.div_ceil(2),
            SegmentFormat::Q8 | SegmentFormat::Q4 => self.groups() * self.group_words(),
        }
    }

    /// Groups of a vector.
    pub(super) const fn groups(&self) -> usize {
        self.width.div_ceil(GROUP)
    }

    /// Words of a group.
    pub(super) const fn group_words(&self) -> usize {
        match self.format {
            SegmentFormat::F32 => GROUP,
            SegmentFormat::F16 => GROUP / 2,
            SegmentFormat::Q8 => 1 + GROUP / 4,
            SegmentFormat::Q4 => 1 + GROUP / 8,
        }
    }

    /// What one unit stores of a vector: groups of codes, or words.
    const fn pieces(&self) -> usize {
        if self.format.is_integer() {
            self.groups()
        } else {
            self.words()
        }
    }
}

impl<R: CubeRuntime> CubeRows<R> {
    /// Bytes of a cache of `context` rows.
    pub fn bytes(layout: &RowLayout, heads: usize, context: usize) -> u64 {
        let (first, second) = layout.latent();
        let words = PartKind::new(first).words() + PartKind::new(second).words();
        (4 * words * heads) as u64 * context as u64
    }

    /// An empty cache.
    pub fn new(layout: &RowLayout, heads: usize, context: usize, device: &R::Device) -> Self {
        let (first, second) = layout.latent();
        Self {
            heads,
            parts: [first, second].map(|segment| {
                let kind = PartKind::new(segment);
                Part {
                    words: keep(heads * context * kind.words(), device),
                    kind,
                    context,
                }
            }),
        }
    }
}

impl<R: CubeRuntime> Part<R> {
    /// Stores vectors `[tokens, heads, width]` from `position` on.
    pub(super) fn store(&self, position: usize, x: CubeTensor<R>, heads: usize) {
        let vectors = x.meta.num_elements() / self.kind.width;
        let units = vectors * self.kind.pieces();
        let client = x.client.clone();
        let (cubes, dim) = cubes_for(units);
        store_kernel::launch::<R>(
            &client,
            cubes,
            dim,
            x.into_array_arg(),
            self.words.clone().into_array_arg(),
            position as u32,
            units as u32,
            heads,
            self.context,
            self.kind,
        );
    }
}

/// One unit has one word, or one group of codes.
#[cube(launch)]
fn store_kernel(
    x: &Array<f32>,
    words: &mut Array<u32>,
    position: u32,
    units: u32,
    #[comptime] heads: usize,
    #[comptime] context: usize,
    #[comptime] kind: PartKind,
) {
    if ABSOLUTE_POS >= units as usize {
        terminate!();
    }
    let each = comptime!(kind.pieces());
    let width = comptime!(kind.width);
    let vector = ABSOLUTE_POS / each;
    let index = ABSOLUTE_POS % each;
    let place = position as usize + vector / heads;
    let row = (vector % heads * context + place) * comptime!(kind.words());
    let from = vector * width;
    if comptime!(kind.format == SegmentFormat::F32) {
        words[row + index] = u32::reinterpret(x[from + index]);
    } else if comptime!(kind.format == SegmentFormat::F16) {
        let mut word = narrow_f16(x[from + 2 * index]);
        if 2 * index + 1 < width {
            word |= narrow_f16(x[from + 2 * index + 1]) << 16u32;
        }
        words[row + index] = word;
    } else {
        let mut values = Array::<f32>::new(32usize);
        for i in 0..32usize {
            values[i] = 0.0f32;
            if index * 32 + i < width {
                values[i] = x[from + index * 32 + i];
            }
        }
        let at = row + index * comptime!(kind.group_words());
        if comptime!(kind.format == SegmentFormat::Q8) {
            store_q8(&values, words, at);
        } else {
            store_q4(&values, words, at);
        }
    }
}

/// Quantises 32 numbers into the words from `at` on.
#[cube]
fn store_q8(values: &Array<f32>, words: &mut Array<u32>, at: usize) {
    let largest = largest_magnitude(values);
    let inverse = inverse_scale(largest);
    words[at] = u32::reinterpret(widen_f16(narrow_f16(scale_of(largest))));
    for word in 0..8usize {
        let mut packed = 0u32;
        #[unroll]
        for i in 0..4usize {
            let code = (values[word * 4 + i] * inverse).round();
            let code = u32::cast_from(code + 128.0f32) ^ 128u32;
            packed |= code << comptime!(8 * i as u32);
        }
        words[at + 1 + word] = packed;
    }
}

/// Number `column` of the vector at word `row`.
#[cube]
pub(super) fn cached_number(
    words: &Array<u32>,
    row: usize,
    column: usize,
    #[comptime] kind: PartKind,
) -> f32 {
    if comptime!(kind.format == SegmentFormat::F32) {
        f32::reinterpret(words[row + column])
    } else if comptime!(kind.format == SegmentFormat::F16) {
        half_at(words, row, column)
    } else {
        let group = row + column / 32 * comptime!(kind.group_words());
        let column = column % 32;
        if comptime!(kind.format == SegmentFormat::Q8) {
            let word = words[group + 1 + column / 4];
            f32::reinterpret(words[group]) * code8(word, (column % 4) as u32)
        } else {
            let word = words[group + 1 + column % 16 / 4];
            half_at(words, group, 0usize) * code4(word, column as u32)
                + half_at(words, group, 1usize)
        }
    }
}
