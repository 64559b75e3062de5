//! What one row of a block says, in registers.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::math::widen_f16;
use crate::quant::NumberFormat;

/// Rows of a block.
pub(super) const LANES: usize = 16;

/// Words of one block.
pub(super) const fn block_words(format: NumberFormat) -> usize {
    format.block_bytes() / 4
}

/// Half number `index` of the halves that start at word `at`.
#[cube]
pub(super) fn half_at(words: &Array<u32>, at: usize, index: usize) -> f32 {
    let word = words[at + index / 2];
    widen_f16((word >> (16u32 * (index % 2) as u32)) & 0xffffu32)
}

/// The number in row `lane` and column `column` of the block at word `block`.
#[cube]
pub(super) fn number(
    words: &Array<u32>,
    block: usize,
    lane: usize,
    column: usize,
    #[comptime] format: NumberFormat,
) -> f32 {
    if comptime!(format == NumberFormat::F32) {
        f32::reinterpret(words[block + column * LANES + lane])
    } else if comptime!(format == NumberFormat::F16) {
        half_at(words, block, column * LANES + lane)
    } else if comptime!(format == NumberFormat::Q8) {
        let word = words[block + 8 + column / 4 * LANES + lane];
        half_at(words, block, lane) * code8(word, (column % 4) as u32)
    } else {
        let first = comptime!(if format == NumberFormat::Q4 { 8 } else { 16 });
        let word = words[block + first + column % 16 / 4 * LANES + lane];
        let code = code4(word, column as u32);
        let scale = half_at(words, block, lane);
        if comptime!(format == NumberFormat::Q4) {
            scale * (code - 8.0f32)
        } else {
            scale * code + half_at(words, block, LANES + lane)
        }
    }
}

/// Signed byte `index` of a word.
#[cube]
pub(super) fn code8(word: u32, index: u32) -> f32 {
    let code = (word >> (8u32 * index)) & 255u32;
    f32::cast_from(code ^ 128u32) - 128.0f32
}

/// The code of column `column` of 32, in its word: columns from 16 on are in the
/// high halves of bytes.
#[cube]
pub(super) fn code4(word: u32, column: u32) -> f32 {
    let shift = 8u32 * (column % 4) + 4u32 * (column / 16);
    f32::cast_from((word >> shift) & 15u32)
}

/// Adds to `dots[t]` the products of row `lane` of a block with 32 numbers of
/// vector `t`, which start at `vectors[t]`. Of integer weights these are the
/// codes: their sums are whole and below 2^24, so `f32` holds them exactly.
#[cube]
pub(super) fn dots(
    words: &Array<u32>,
    block: usize,
    lane: usize,
    input: &Array<f32>,
    vectors: &Array<u32>,
    dots: &mut Array<f32>,
    #[comptime] format: NumberFormat,
    #[comptime] tokens: usize,
) {
    if comptime!(format == NumberFormat::F32) {
        for column in 0..32usize {
            let weight = f32::reinterpret(words[block + column * LANES + lane]);
            meet(weight, column, input, vectors, dots, tokens);
        }
    } else if comptime!(format == NumberFormat::F16) {
        for column in 0..32usize {
            let weight = half_at(words, block, column * LANES + lane);
            meet(weight, column, input, vectors, dots, tokens);
        }
    } else if comptime!(format == NumberFormat::Q8) {
        dots8(words, block + 8 + lane, input, vectors, dots, LANES, tokens);
    } else if comptime!(format == NumberFormat::Q4) {
        let at = block + 8 + lane;
        dots4(words, at, input, vectors, dots, LANES, 8.0f32, tokens);
    } else {
        let at = block + 16 + lane;
        dots4(words, at, input, vectors, dots, LANES, 0.0f32, tokens);
    }
}

/// As [`dots`], of 32 signed bytes in the words `at`, `at + stride`, ….
#[cube]
pub(super) fn dots8(
    words: &Array<u32>,
    at: usize,
    input: &Array<f32>,
    vectors: &Array<u32>,
    dots: &mut Array<f32>,
    #[comptime] stride: usize,
    #[comptime] tokens: usize,
) {
    for line in 0..8usize {
        let word = words[at + line * stride];
        #[unroll]
        for i in 0..4usize {
            let code = code8(word, comptime!(i as u32));
            meet(code, line * 4 + i, input, vectors, dots, tokens);
        }
    }
}

/// As [`dots`], of 32 codes of four bits, counted from `zero`.
#[cube]
pub(super) fn dots4(
    words: &Array<u32>,
    at: usize,
    input: &Array<f32>,
    vectors: &Array<u32>,
    dots: &mut Array<f32>,
    #[comptime] stride: usize,
    #[comptime] zero: f32,
    #[comptime] tokens: usize,
) {
    for line in 0..4usize {
        let word = words[at + line * stride];
        #[unroll]
        for i in 0..4usize {
            let low = code4(word, comptime!(i as u32)) - zero;
            let high = code4(word, comptime!(i as u32 + 16)) - zero;
            meet(low, line * 4 + i, input, vectors, dots, tokens);
            meet(high, line * 4 + i + 16, input, vectors, dots, tokens);
        }
    }
}

/// The sum of the 32 codes from `start` on.
#[cube]
pub(super) fn code_sum(codes: &Array<f32>, start: usize) -> f32 {
    let mut sum = 0.0f32;
    for column in 0..32usize {
        sum += codes[start + column];
    }
    sum
}

/// One weight meets one number of each vector.
#[cube]
fn meet(
    weight: f32,
    column: usize,
    input: &Array<f32>,
    vectors: &Array<u32>,
    dots: &mut Array<f32>,
    #[comptime] tokens: usize,
) {
    #[unroll]
    for t in 0..tokens {
        dots[t] += weight * input[vectors[t] as usize + column];
    }
}
