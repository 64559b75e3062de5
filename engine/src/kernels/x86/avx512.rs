//! AVX-512 with VNNI: 16 rows in one register.
//!
//! `vpdpbusd` multiplies four unsigned by four signed bytes per lane and adds
//! the products to the lane, exactly. A line of weights is unpacked once and
//! meets every token of the tile.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps,
    _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_sub_epi32,
    _mm512_xor_si512,
};
use core::hint::black_box;

use crate::kernels::dispatch::rows_with;
use crate::kernels::tile::{SUMS, Tile};
use crate::quant::{GROUP, LANES, NumberFormat};

rows_with!("avx512f,avx512bw,avx512vnni");

#[inline]
#[target_feature(enable = "avx512f")]
fn f16_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [_mm512_setzero_ps(); T];
    let blocks = row.as_chunks::<{ NumberFormat::F16.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let values: [&[f32; GROUP]; T] =
            core::array::from_fn(|t| x.values(t, g).unwrap_or(&[0.0; GROUP]));
        for (column, bytes) in block.as_chunks::<{ 2 * LANES }>().0.iter().enumerate() {
            let weights = widen(bytes);
            for t in 0..T {
                let product = _mm512_mul_ps(weights, _mm512_set1_ps(values[t][column]));
                acc[t] = _mm512_add_ps(acc[t], product);
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [_mm512_setzero_ps(); T];
    // Signed weights become unsigned by adding 128, which the instruction
    // needs; 128 times the sum of the codes is taken off again.
    let flip = _mm512_set1_epi8(-128);
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        if T == 1 {
            prefetch(block);
        }
        let (scales, lines) = split_halves(block);
        let mut dot = [_mm512_setzero_si512(); T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(8) {
            let weights = _mm512_xor_si512(load(line), flip);
            for t in 0..T {
                dot[t] = _mm512_dpbusd_epi32(dot[t], weights, quad(&x[t].codes[g], i));
            }
        }
        for t in 0..T {
            let excess = _mm512_slli_epi32::<7>(_mm512_set1_epi32(x[t].sums[g]));
            acc[t] = add_scaled(
                acc[t],
                scales,
                x[t].scales[g],
                _mm512_sub_epi32(dot[t], excess),
            );
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    let mut acc = [_mm512_setzero_ps(); T];
    let mask = _mm512_set1_epi8(15);
    let blocks = row.as_chunks::<BLOCK>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        if T == 1 {
            prefetch(block);
        }
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            (_mm512_setzero_ps(), rest)
        };
        let mut dot = [_mm512_setzero_si512(); T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(4) {
            let bytes = load(line);
            let low = _mm512_and_si512(bytes, mask);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            for t in 0..T {
                dot[t] = _mm512_dpbusd_epi32(dot[t], low, quad(&x[t].codes[g], i));
                dot[t] = _mm512_dpbusd_epi32(dot[t], high, quad(&x[t].codes[g], i + 4));
            }
        }
        for t in 0..T {
            let (scale, sum) = (x[t].scales[g], x[t].sums[g]);
            if AFFINE {
                acc[t] = add_scaled(acc[t], scales, scale, dot[t]);
                let offset = _mm512_set1_ps(scale * sum as f32);
                acc[t] = _mm512_add_ps(acc[t], _mm512_mul_ps(mins, offset));
            } else {
                let excess = _mm512_slli_epi32::<3>(_mm512_set1_epi32(sum));
                acc[t] = add_scaled(acc[t], scales, scale, _mm512_sub_epi32(dot[t], excess));
            }
        }
    }
    store(acc, out);
}

/// Bytes between prefetching a weight and its use.
const AHEAD: usize = 4096;

#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(block: &[u8]) {
    for line in block.chunks(64) {
        // Any address will do: nothing is read.
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD).cast());
    }
}

/// Four codes, in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn quad(codes: &[i8; GROUP], index: usize) -> __m512i {
    let codes = &codes.as_chunks::<4>().0[index % 8];
    _mm512_set1_epi32(bytemuck::cast(*codes))
}

/// `acc + (scales * scale) * dot`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_scaled(acc: __m512, scales: __m512, scale: f32, dot: __m512i) -> __m512 {
    let scales = _mm512_mul_ps(scales, _mm512_set1_ps(scale));
    _mm512_add_ps(acc, _mm512_mul_ps(scales, _mm512_cvtepi32_ps(dot)))
}

/// Splits 16 `f16` off and widens them.
#[inline]
#[target_feature(enable = "avx512f")]
fn split_halves(bytes: &[u8]) -> (__m512, &[u8]) {
    match bytes.split_first_chunk() {
        Some((halves, rest)) => (widen(halves), rest),
        None => (_mm512_setzero_ps(), &[]),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widen(halves: &[u8; 2 * LANES]) -> __m512 {
    // SAFETY: `halves` is 32 readable bytes; the load needs no alignment.
    let halves: __m256i = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
    _mm512_cvtph_ps(halves)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &[u8; 64]) -> __m512i {
    // SAFETY: `line` is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const T: usize>(acc: [__m512; T], out: &mut [[f32; LANES]; T]) {
    for (acc, out) in acc.into_iter().zip(out) {
        // SAFETY: `out` is 64 writable bytes; the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), acc) };
    }
}

/// See [`crate::kernels::peak()`].
#[target_feature(enable = "avx512f,avx512vnni")]
pub(in crate::kernels) fn peak(rounds: u32) -> u64 {
    let operands = black_box([_mm512_set1_epi8(3); 2]);
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, operands[0], operands[1]);
        }
    }
    black_box(sums);
    (SUMS * size_of::<__m512i>()) as u64
}
