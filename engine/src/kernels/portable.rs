//! The reference kernels in plain Rust: 16 rows side by side.

use half::f16;

use super::dispatch::for_each_isa;
use super::linear::Input;
use super::math::widen_f16;
use crate::quant::{GROUP, LANES};

/// A block row of `f32` weights. Columns are added in ascending order.
pub(super) fn f32_rows<const T: usize>(
    isa: super::Isa,
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    let mut out = [[0.0; LANES]; T];
    let (columns, _) = blocks.as_chunks::<{ 4 * LANES }>();
    for (out, x) in out.iter_mut().zip(x) {
        add_f32_columns(isa, columns, x.values, out);
    }
    out
}

/// A block row of `f16` weights.
pub(super) fn f16_rows<const T: usize>(
    isa: super::Isa,
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    let mut out = [[0.0; LANES]; T];
    let (columns, _) = blocks.as_chunks::<{ 2 * LANES }>();
    for (out, x) in out.iter_mut().zip(x) {
        add_f16_columns(isa, columns, x.values, out);
    }
    out
}

for_each_isa! {
    /// `acc[row] += weight[column][row] * x[column]`, column after column.
    pub fn add_f32_columns(columns: &[[u8; 4 * LANES]], x: &[f32], acc: &mut [f32; LANES]) {
        let mut sum = *acc;
        for (column, x) in columns.iter().zip(x) {
            let weights = column.as_chunks::<4>().0;
            for (sum, weight) in sum.iter_mut().zip(weights) {
                *sum += f32::from_le_bytes(*weight) * x;
            }
        }
        *acc = sum;
    }
}

for_each_isa! {
    /// As [`add_f32_columns`], for `f16` weights.
    pub fn add_f16_columns(columns: &[[u8; 2 * LANES]], x: &[f32], acc: &mut [f32; LANES]) {
        let mut sum = *acc;
        for (column, x) in columns.iter().zip(x) {
            let weights = column.as_chunks::<2>().0;
            for (sum, weight) in sum.iter_mut().zip(weights) {
                *sum += widen_f16(u16::from_le_bytes(*weight)) * x;
            }
        }
        *acc = sum;
    }
}

/// A block row of `q8` weights: for each group
/// `acc = acc + (scale_w * scale_x) * dot`.
pub(super) fn q8_rows<const T: usize>(blocks: &[u8], x: &[Input<'_>; T]) -> [[f32; LANES]; T] {
    let mut out = [[0.0; LANES]; T];
    for (g, block) in blocks.as_chunks::<544>().0.iter().enumerate() {
        let (scales, lines) = split_q8(block);
        for (out, x) in out.iter_mut().zip(x) {
            let (Some(codes), Some(scale)) = (x.codes.get(g), x.scales.get(g)) else {
                continue;
            };
            let mut dot = [0_i32; LANES];
            for (line, codes) in lines.iter().zip(codes.as_chunks::<4>().0) {
                for (dot, weights) in dot.iter_mut().zip(line.as_chunks::<4>().0) {
                    for (weight, code) in weights.iter().zip(codes) {
                        *dot += i32::from(weight.cast_signed()) * i32::from(*code);
                    }
                }
            }
            for lane in 0..LANES {
                out[lane] += (scales[lane] * scale) * dot[lane] as f32;
            }
        }
    }
    out
}

/// A block row of `q4` weights (`BLOCK` = 288) or `q4a` weights (320): for
/// each group `acc = acc + (scale_w * scale_x) * dot`, for `q4a` then
/// `acc = acc + min_w * (scale_x * sum_x)`.
pub(super) fn q4_rows<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    let mut out = [[0.0; LANES]; T];
    for (g, block) in blocks.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            ([0.0; LANES], rest)
        };
        let lines = lines.as_chunks::<64>().0;
        for (out, x) in out.iter_mut().zip(x) {
            let (Some(codes), Some(scale), Some(sum)) =
                (x.codes.get(g), x.scales.get(g), x.sums.get(g))
            else {
                continue;
            };
            let mut dot = [if AFFINE { 0 } else { -8 * sum }; LANES];
            let (low, high) = codes.split_at(GROUP / 2);
            let (low, high) = (low.as_chunks::<4>().0, high.as_chunks::<4>().0);
            for ((line, low), high) in lines.iter().zip(low).zip(high) {
                for (dot, bytes) in dot.iter_mut().zip(line.as_chunks::<4>().0) {
                    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                        *dot += i32::from(byte & 15) * i32::from(*low)
                            + i32::from(byte >> 4) * i32::from(*high);
                    }
                }
            }
            let offset = scale * *sum as f32;
            for lane in 0..LANES {
                out[lane] += (scales[lane] * scale) * dot[lane] as f32;
                if AFFINE {
                    out[lane] += mins[lane] * offset;
                }
            }
        }
    }
    out
}

fn split_q8(block: &[u8; 544]) -> ([f32; LANES], &[[u8; 64]]) {
    let (scales, rest) = split_halves(block);
    (scales, rest.as_chunks::<64>().0)
}

/// Splits 16 `f16` off and widens them.
fn split_halves(bytes: &[u8]) -> ([f32; LANES], &[u8]) {
    let Some((halves, rest)) = bytes.split_first_chunk::<{ 2 * LANES }>() else {
        return ([0.0; LANES], &[]);
    };
    let halves = halves.as_chunks::<2>().0;
    let widened = core::array::from_fn(|lane| f16::from_le_bytes(halves[lane]).to_f32());
    (widened, rest)
}
