//! Weighted sums of values: a small matrix product, lanes × positions times
//! positions × columns.
//!
//! One lane's column is summed over a chunk's positions in ascending order,
//! multiplication and addition apart, from zero; then folded into the lane's
//! running sum.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls kernels of an instruction set, which an `Isa` proves to be there"
    )
)]

use super::rows::{NumberRows, Rows, STEP, stage_numbers};
use crate::cut;
use crate::kernels::Isa;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::kernels::isa::Kind;
use crate::kv::Segment;
use crate::quant::GROUP;

/// `out[lane] = out[lane] * factors[lane].0 + sum * factors[lane].1`, where
/// `sum = weights[row][lane] * value[row]` over all rows. `out` is
/// `[lanes, columns of a value]`.
pub(super) fn mix<const W: usize>(
    isa: Isa,
    rows: &Rows<'_>,
    value: &Segment,
    weights: &[[f32; W]],
    factors: &[(f32, f32)],
    out: &mut [f32],
) {
    let mut staged: NumberRows = [[0.0; GROUP]; STEP];
    for group in 0..value.len.div_ceil(GROUP) {
        let mut sums = [[0.0; GROUP]; W];
        for (i, weights) in weights.chunks(STEP).enumerate() {
            rows.prefetch_ahead(value, group, i * STEP, value);
            stage_numbers(isa, rows, value, group, i * STEP, &mut staged);
            let count = weights.len().min(rows.count - i * STEP);
            add(isa, &weights[..count], &staged, &mut sums);
        }
        let lanes = out.chunks_mut(value.len.max(1)).zip(factors).zip(&sums);
        for ((out, (here, there)), sums) in lanes {
            let (_, out) = cut::split_mut(out, group * GROUP);
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = *out * here + *sum * there;
            }
        }
    }
}

/// `sums[lane][column] += weights[row][lane] * rows[row][column]`, row by row.
fn add<const W: usize>(
    isa: Isa,
    weights: &[[f32; W]],
    rows: &NumberRows,
    sums: &mut [[f32; GROUP]; W],
) {
    match isa.0 {
        // SAFETY: an `Isa` of this kind exists only if detection found the
        // features that the function is compiled for.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 | Kind::AvxVnni => unsafe { add_avx2(weights, rows, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512Vnni => unsafe { add_avx512(weights, rows, sums) },
        #[cfg(target_arch = "aarch64")]
        Kind::NeonDot | Kind::NeonI8mm => add_tiles::<W, 4, 16>(weights, rows, sums),
        _ => add_tiles::<W, 4, 4>(weights, rows, sums),
    }
}

/// Eight registers of eight columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_avx2<const W: usize>(weights: &[[f32; W]], rows: &NumberRows, sums: &mut [[f32; GROUP]; W]) {
    add_tiles::<W, 4, 16>(weights, rows, sums);
}

/// Eight registers of 16 columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw")]
fn add_avx512<const W: usize>(
    weights: &[[f32; W]],
    rows: &NumberRows,
    sums: &mut [[f32; GROUP]; W],
) {
    add_tiles::<W, 4, 32>(weights, rows, sums);
}

/// Tiles of `L` lanes and `C` columns, whose sums stay in registers.
#[inline(always)]
fn add_tiles<const W: usize, const L: usize, const C: usize>(
    weights: &[[f32; W]],
    rows: &NumberRows,
    sums: &mut [[f32; GROUP]; W],
) {
    for (i, lanes) in sums.as_chunks_mut::<L>().0.iter_mut().enumerate() {
        for column in (0..GROUP).step_by(C) {
            let mut tile = [[0.0; C]; L];
            for (tile, sums) in tile.iter_mut().zip(lanes.iter()) {
                tile.copy_from_slice(&sums[column..column + C]);
            }
            for (weights, row) in weights.iter().zip(rows) {
                let weights: &[f32; L] = &weights.as_chunks().0[i];
                let row: &[f32; C] = &row.as_chunks().0[column / C];
                for (tile, weight) in tile.iter_mut().zip(weights) {
                    for (sum, value) in tile.iter_mut().zip(row) {
                        *sum += weight * value;
                    }
                }
            }
            for (tile, sums) in tile.iter().zip(lanes.iter_mut()) {
                sums[column..column + C].copy_from_slice(tile);
            }
        }
    }
}
