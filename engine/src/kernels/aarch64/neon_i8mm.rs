//! NEON with matrix products (Armv8.6): two rows meet two tokens in a register.
//!
//! `smmla` multiplies eight signed bytes of each of two rows by eight of each of
//! two tokens and adds the four sums to its lanes, exactly: twice the products of
//! `sdot`. In the file four columns of four rows lie together, so that two lines
//! are zipped into eight columns of two rows. The sums of `f32` keep the order of
//! `smmla`'s lanes up to the row's end. It is written as assembly because Rust's
//! intrinsic for it is not stable.

#![expect(unsafe_code, reason = "an instruction without a stable intrinsic")]

use core::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, vaddq_f32, vandq_u8, vcombine_s8, vcvtq_f32_s32,
    vdupq_n_f32, vdupq_n_u8, vdupq_n_u64, vget_high_s8, vget_low_s8, vmulq_f32,
    vreinterpretq_f32_u64, vreinterpretq_s8_u8, vreinterpretq_s32_u64, vreinterpretq_u8_u32,
    vreinterpretq_u32_u8, vshrq_n_u8, vuzp1q_f32, vuzp2q_f32, vzip1q_f32, vzip1q_u32, vzip2q_f32,
    vzip2q_u32,
};
use core::arch::asm;
use core::hint::black_box;

use super::neon::{self, QUARTERS, load, load_codes, split_halves, store};
use crate::kernels::tile::{Panels, SUMS, Tile};
use crate::quant::{LANES, NumberFormat};

/// As [`crate::kernels::portable::rows`]. One token alone would leave half of
/// each product unused.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(in crate::kernels) fn rows<const T: usize>(
    format: NumberFormat,
    blocks: &[u8],
    len: usize,
    x: &Tile<'_, T>,
    out: Panels<'_>,
) {
    if T == 1 || !format.is_integer() {
        return neon::rows(format, blocks, len, x, out);
    }
    for (row, out) in out.rows(blocks, len) {
        match format {
            NumberFormat::Q4 => q4_row::<T, { NumberFormat::Q4.block_bytes() }, false>(row, x, out),
            NumberFormat::Q4Affine => {
                q4_row::<T, { NumberFormat::Q4Affine.block_bytes() }, true>(row, x, out)
            }
            _ => q8_row(row, x, out),
        }
    }
}

#[inline]
#[target_feature(enable = "neon,i8mm")]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; T];
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let lines = lines.as_chunks::<16>().0;
        let group = Group::new(x, g, 0);
        for (quarter, scales) in scales.into_iter().enumerate() {
            let mut weights = [[vreinterpretq_s8_u8(vdupq_n_u8(0)); 4]; 2];
            for (i, lines) in lines.as_chunks::<{ 2 * QUARTERS }>().0.iter().enumerate() {
                let zipped = zip(&lines[quarter], &lines[QUARTERS + quarter]);
                for (weights, zipped) in weights.iter_mut().zip(zipped) {
                    weights[i % 4] = vreinterpretq_s8_u8(zipped);
                }
            }
            group.add_quarter(quarter, weights, scales, &mut acc);
        }
    }
    store(by_token(acc), out);
}

#[inline]
#[target_feature(enable = "neon,i8mm")]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; T];
    let mask = vdupq_n_u8(15);
    for (g, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            ([vdupq_n_f32(0.0); QUARTERS], rest)
        };
        let lines = lines.as_chunks::<16>().0;
        let group = Group::new(x, g, if AFFINE { 0 } else { -8 });
        for quarter in 0..QUARTERS {
            let mut weights = [[vreinterpretq_s8_u8(mask); 4]; 2];
            for (i, lines) in lines.as_chunks::<{ 2 * QUARTERS }>().0.iter().enumerate() {
                let zipped = zip(&lines[quarter], &lines[QUARTERS + quarter]);
                for (weights, zipped) in weights.iter_mut().zip(zipped) {
                    weights[i % 2] = vreinterpretq_s8_u8(vandq_u8(zipped, mask));
                    weights[i % 2 + 2] = vreinterpretq_s8_u8(vshrq_n_u8::<4>(zipped));
                }
            }
            group.add_quarter(quarter, weights, scales[quarter], &mut acc);
            if AFFINE {
                group.add_minima(quarter, mins[quarter], &mut acc);
            }
        }
    }
    store(by_token(acc), out);
}

/// A group of the tile's tokens, in pairs.
struct Group<const T: usize> {
    /// Eight columns of both tokens of a pair per register: columns 0 to 15 in
    /// the first token's place, 16 to 31 in the second's.
    codes: [[int8x16_t; 2]; T],
    scales: [f32; T],
    /// Where sums of products begin.
    starts: [i32; T],
    /// Each token's scale times its sum of codes.
    offsets: [f32; T],
}

impl<const T: usize> Group<T> {
    /// Group `g`, zeros past the end; sums of products begin at `factor` times
    /// the sum of codes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(x: &Tile<'_, T>, g: usize, factor: i32) -> Self {
        let mut group = Self {
            codes: [[vreinterpretq_s8_u8(vdupq_n_u8(0)); 2]; T],
            scales: [0.0; T],
            starts: [0; T],
            offsets: [0.0; T],
        };
        for (t, loaded) in group.codes.iter_mut().enumerate() {
            if let Some((codes, scale, sum)) = x.group(t, g) {
                *loaded = load_codes(codes);
                group.scales[t] = scale;
                group.starts[t] = factor * sum;
                group.offsets[t] = scale * sum as f32;
            }
        }
        for [first, second] in group.codes.as_chunks_mut().0 {
            let pairs = [0, 1].map(|half| pair(first[half], second[half]));
            [*first, *second] = pairs;
        }
        group
    }

    /// `acc + (scales * scale) * dot` for the four rows of a quarter, whose
    /// `weights` are the columns from 0, 8, 16 and 24 on, of the first two rows
    /// and of the others.
    #[inline]
    #[target_feature(enable = "neon,i8mm")]
    fn add_quarter(
        &self,
        quarter: usize,
        weights: [[int8x16_t; 4]; 2],
        scales: float32x4_t,
        acc: &mut [[float32x4_t; QUARTERS]; T],
    ) {
        let scales = [vzip1q_f32(scales, scales), vzip2q_f32(scales, scales)];
        let pairs = acc.as_chunks_mut::<2>().0.iter_mut();
        let codes = self.codes.as_chunks::<2>().0.iter();
        let factors = self.scales.as_chunks::<2>().0.iter();
        let starts = self.starts.as_chunks::<2>().0.iter();
        for (((acc, codes), factor), start) in pairs.zip(codes).zip(factors).zip(starts) {
            let start = vreinterpretq_s32_u64(vdupq_n_u64(bytemuck::cast(*start)));
            let factor = twice(factor);
            for half in 0..2 {
                let mut dot = start;
                for (weights, codes) in weights[half].iter().zip(codes.as_flattened()) {
                    dot = smmla(dot, *weights, *codes);
                }
                let scales = vmulq_f32(scales[half], factor);
                let product = vmulq_f32(scales, vcvtq_f32_s32(dot));
                acc[half][quarter] = vaddq_f32(acc[half][quarter], product);
            }
        }
    }

    /// `acc + mins * (scale * sum)` for the four rows of a quarter.
    #[inline]
    #[target_feature(enable = "neon")]
    fn add_minima(
        &self,
        quarter: usize,
        mins: float32x4_t,
        acc: &mut [[float32x4_t; QUARTERS]; T],
    ) {
        let mins = [vzip1q_f32(mins, mins), vzip2q_f32(mins, mins)];
        let pairs = acc.as_chunks_mut::<2>().0.iter_mut();
        for (acc, offset) in pairs.zip(self.offsets.as_chunks::<2>().0) {
            let offset = twice(offset);
            for half in 0..2 {
                let product = vmulq_f32(mins[half], offset);
                acc[half][quarter] = vaddq_f32(acc[half][quarter], product);
            }
        }
    }
}

/// Rows 0 and 1, then rows 2 and 3 of a quarter: eight columns of each.
#[inline]
#[target_feature(enable = "neon")]
fn zip(line: &[u8; 16], next: &[u8; 16]) -> [uint8x16_t; 2] {
    let line = vreinterpretq_u32_u8(load(line));
    let next = vreinterpretq_u32_u8(load(next));
    [vzip1q_u32(line, next), vzip2q_u32(line, next)].map(|zipped| vreinterpretq_u8_u32(zipped))
}

/// Columns 0 to 7, then 8 to 15 of two tokens.
#[inline]
#[target_feature(enable = "neon")]
fn pair(first: int8x16_t, second: int8x16_t) -> [int8x16_t; 2] {
    [
        vcombine_s8(vget_low_s8(first), vget_low_s8(second)),
        vcombine_s8(vget_high_s8(first), vget_high_s8(second)),
    ]
}

/// A pair's numbers, once for each of two rows.
#[inline]
#[target_feature(enable = "neon")]
fn twice(pair: &[f32; 2]) -> float32x4_t {
    vreinterpretq_f32_u64(vdupq_n_u64(bytemuck::cast(*pair)))
}

/// Adds to lane `2 r + t` the eight products of row `r` and token `t`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(sum: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: works on registers alone, with an instruction that the function's
    // target features include.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {weights:v}.16b, {codes:v}.16b",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// From the order of `smmla`'s lanes to each token's rows in theirs.
#[inline]
#[target_feature(enable = "neon")]
fn by_token<const T: usize>(mut acc: [[float32x4_t; QUARTERS]; T]) -> [[float32x4_t; QUARTERS]; T] {
    for [first, second] in acc.as_chunks_mut().0 {
        for (first, second) in first.iter_mut().zip(second) {
            let (low, high) = (*first, *second);
            (*first, *second) = (vuzp1q_f32(low, high), vuzp2q_f32(low, high));
        }
    }
    acc
}

/// See [`crate::kernels::peak()`].
#[target_feature(enable = "neon,i8mm")]
pub(in crate::kernels) fn peak(rounds: u32) -> u64 {
    let operand = vreinterpretq_s8_u8(vdupq_n_u8(3));
    let mut sums = [vreinterpretq_s32_u64(vdupq_n_u64(0)); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = smmla(*sum, operand, operand);
        }
    }
    black_box(sums);
    (SUMS * 2 * size_of::<int8x16_t>()) as u64
}
