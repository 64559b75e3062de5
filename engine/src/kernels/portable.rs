//! The reference kernels in plain Rust: 16 rows side by side.

use half::f16;

use super::tile::{Panels, Tile};
use crate::math::widen_f16;
use crate::quant::{GROUP, LANES, NumberFormat};

/// Block rows of `len` bytes times the tokens of a tile.
#[inline(always)]
pub(super) fn rows<const T: usize>(
    format: NumberFormat,
    blocks: &[u8],
    len: usize,
    x: &Tile<'_, T>,
    out: Panels<'_>,
) {
    for (row, out) in out.rows(blocks, len) {
        match format {
            NumberFormat::F32 => f32_row(row, x, out),
            NumberFormat::F16 => f16_row(row, x, out),
            NumberFormat::Q8 => q8_row(row, x, out),
            NumberFormat::Q4 => q4_row::<T, { NumberFormat::Q4.block_bytes() }, false>(row, x, out),
            NumberFormat::Q4Affine => {
                q4_row::<T, { NumberFormat::Q4Affine.block_bytes() }, true>(row, x, out)
            }
        }
    }
}

/// `f32` weights. Columns are added in ascending order.
#[inline(always)]
pub(super) fn f32_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[0.0; LANES]; T];
    let blocks = row.as_chunks::<{ NumberFormat::F32.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        for (t, acc) in acc.iter_mut().enumerate() {
            let Some(values) = x.values(t, g) else {
                continue;
            };
            for (column, x) in block.as_chunks::<{ 4 * LANES }>().0.iter().zip(values) {
                for (acc, weight) in acc.iter_mut().zip(column.as_chunks().0) {
                    *acc += f32::from_le_bytes(*weight) * x;
                }
            }
        }
    }
    *out = acc;
}

/// `f16` weights. Columns are added in ascending order.
#[inline(always)]
fn f16_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[0.0; LANES]; T];
    let blocks = row.as_chunks::<{ NumberFormat::F16.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        for (t, acc) in acc.iter_mut().enumerate() {
            let Some(values) = x.values(t, g) else {
                continue;
            };
            for (column, x) in block.as_chunks::<{ 2 * LANES }>().0.iter().zip(values) {
                for (acc, weight) in acc.iter_mut().zip(column.as_chunks().0) {
                    *acc += widen_f16(u16::from_le_bytes(*weight)) * x;
                }
            }
        }
    }
    *out = acc;
}

/// `q8` weights: for each group `acc = acc + (scale_w * scale_x) * dot`.
#[inline(always)]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    *out = [[0.0; LANES]; T];
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        for (t, out) in out.iter_mut().enumerate() {
            let Some((codes, scale, _)) = x.group(t, g) else {
                continue;
            };
            let mut dot = [0_i32; LANES];
            let lines = lines.as_chunks::<64>().0;
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
}

/// `q4` weights, or `q4a` weights with a minimum (`AFFINE`): for each group
/// `acc = acc + (scale_w * scale_x) * dot`, for `q4a` then
/// `acc = acc + min_w * (scale_x * sum_x)`.
#[inline(always)]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    *out = [[0.0; LANES]; T];
    for (g, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            ([0.0; LANES], rest)
        };
        let lines = lines.as_chunks::<64>().0;
        for (t, out) in out.iter_mut().enumerate() {
            let Some((codes, scale, sum)) = x.group(t, g) else {
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
            let offset = scale * sum as f32;
            for lane in 0..LANES {
                out[lane] += (scales[lane] * scale) * dot[lane] as f32;
                if AFFINE {
                    out[lane] += mins[lane] * offset;
                }
            }
        }
    }
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
