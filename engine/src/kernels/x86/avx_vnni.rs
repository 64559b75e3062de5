//! AVX-VNNI: the dot products of AVX-512 in registers of AVX2's width, for
//! processors that have no AVX-512.
//!
//! `vpdpbusd` adds to 32 bits exactly, so neither signs nor saturation need
//! care as they do with AVX2.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_dpbusd_avx_epi32, _mm256_set1_epi8,
    _mm256_set1_epi32, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srli_epi16,
    _mm256_xor_si256,
};
use core::hint::black_box;

use super::avx2::{add_q4_group, add_scaled, f16_row, load, quad, split_halves, split_q4, store};
use crate::kernels::dispatch::rows_with;
use crate::kernels::tile::{SUMS, Tile};
use crate::quant::{LANES, NumberFormat};

rows_with!("avx2,f16c,avxvnni");

#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    // Signed weights become unsigned by adding 128, which the instruction
    // needs; 128 times the sum of the codes is taken off again.
    let flip = _mm256_set1_epi8(-128);
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let mut dot = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(8) {
            let halves = [load(line, 0), load(line, 1)];
            let weights = halves.map(|half| _mm256_xor_si256(half, flip));
            for t in 0..T {
                let codes = quad(&x[t].codes[g], i);
                dot[t] = add_products(dot[t], weights, codes);
            }
        }
        for t in 0..T {
            let excess = _mm256_set1_epi32(-128 * x[t].sums[g]);
            for half in 0..2 {
                let dot = _mm256_add_epi32(dot[t][half], excess);
                acc[t][half] = add_scaled(acc[t][half], scales[half], x[t].scales[g], dot);
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "avx2,f16c,avxvnni")]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let mask = _mm256_set1_epi8(15);
    let blocks = row.as_chunks::<BLOCK>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        let (scales, mins, lines) = split_q4::<AFFINE>(block);
        let mut dot = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(4) {
            let halves = [load(line, 0), load(line, 1)];
            let low = halves.map(|half| _mm256_and_si256(half, mask));
            let high = halves.map(|half| _mm256_and_si256(_mm256_srli_epi16::<4>(half), mask));
            for t in 0..T {
                dot[t] = add_products(dot[t], low, quad(&x[t].codes[g], i));
                dot[t] = add_products(dot[t], high, quad(&x[t].codes[g], i + 4));
            }
        }
        for t in 0..T {
            add_q4_group::<AFFINE>(
                &mut acc[t],
                scales,
                mins,
                dot[t],
                x[t].scales[g],
                x[t].sums[g],
            );
        }
    }
    store(acc, out);
}

/// Adds the products of four columns to both halves of the rows.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn add_products(dot: [__m256i; 2], weights: [__m256i; 2], codes: __m256i) -> [__m256i; 2] {
    [
        _mm256_dpbusd_avx_epi32(dot[0], weights[0], codes),
        _mm256_dpbusd_avx_epi32(dot[1], weights[1], codes),
    ]
}

/// See [`crate::kernels::peak()`].
#[target_feature(enable = "avx2,avxvnni")]
pub(in crate::kernels) fn peak(rounds: u32) -> u64 {
    let operands = black_box([_mm256_set1_epi8(3); 2]);
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, operands[0], operands[1]);
        }
    }
    black_box(sums);
    (SUMS * size_of::<__m256i>()) as u64
}
