//! AVX2: 16 rows in two registers.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs to 16 bits,
//! saturating. Operands are kept small enough that it never saturates.

use core::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_srli_epi16, _mm256_storeu_ps,
};

use super::linear::Input;
use crate::quant::LANES;

/// Rows in one register.
const HALF: usize = LANES / 2;

/// As [`super::portable::q8_rows`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn q8_rows<const T: usize>(blocks: &[u8], x: &[Input<'_>; T]) -> [[f32; LANES]; T] {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let ones = _mm256_set1_epi16(1);
    for (g, block) in blocks.as_chunks::<544>().0.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let mut dot = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(8) {
            let halves = [load(line, 0), load(line, 1)];
            // The sign moves from the weight to the activation. At most
            // 128 * 127 * 2 = 32512 in 16 bits.
            let magnitudes = halves.map(|weights| _mm256_abs_epi8(weights));
            for t in 0..T {
                let codes = _mm256_set1_epi32(x[t].quads(g)[i]);
                for half in 0..2 {
                    let signed = _mm256_sign_epi8(codes, halves[half]);
                    let pairs = _mm256_maddubs_epi16(magnitudes[half], signed);
                    let fours = _mm256_madd_epi16(pairs, ones);
                    dot[t][half] = _mm256_add_epi32(dot[t][half], fours);
                }
            }
        }
        for t in 0..T {
            let (scale, _) = x[t].group(g);
            for half in 0..2 {
                acc[t][half] = add_scaled(acc[t][half], scales[half], scale, dot[t][half]);
            }
        }
    }
    acc.map(|rows| store(rows))
}

/// As [`super::portable::q4_rows`].
#[target_feature(enable = "avx2,f16c")]
pub(super) fn q4_rows<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let ones = _mm256_set1_epi16(1);
    let mask = _mm256_set1_epi8(15);
    for (g, block) in blocks.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            ([_mm256_setzero_ps(); 2], rest)
        };
        // All eight products of a group fit 16 bits: 8 * 2 * 15 * 127 = 30480.
        let mut pairs = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(4) {
            let halves = [load(line, 0), load(line, 1)];
            for (half, bytes) in halves.into_iter().enumerate() {
                let low = _mm256_and_si256(bytes, mask);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
                for t in 0..T {
                    let codes = x[t].quads(g);
                    let low = _mm256_maddubs_epi16(low, _mm256_set1_epi32(codes[i]));
                    let high = _mm256_maddubs_epi16(high, _mm256_set1_epi32(codes[i + 4]));
                    let both = _mm256_add_epi16(low, high);
                    pairs[t][half] = _mm256_add_epi16(pairs[t][half], both);
                }
            }
        }
        for t in 0..T {
            let (scale, sum) = x[t].group(g);
            for half in 0..2 {
                let mut dot = _mm256_madd_epi16(pairs[t][half], ones);
                if !AFFINE {
                    dot = _mm256_add_epi32(dot, _mm256_set1_epi32(-8 * sum));
                }
                acc[t][half] = add_scaled(acc[t][half], scales[half], scale, dot);
                if AFFINE {
                    let offset = _mm256_set1_ps(scale * sum as f32);
                    let shift = _mm256_mul_ps(mins[half], offset);
                    acc[t][half] = _mm256_add_ps(acc[t][half], shift);
                }
            }
        }
    }
    acc.map(|rows| store(rows))
}

/// `acc + (scales * scale) * dot`.
#[inline]
#[target_feature(enable = "avx2")]
fn add_scaled(acc: __m256, scales: __m256, scale: f32, dot: __m256i) -> __m256 {
    let scales = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
    _mm256_add_ps(acc, _mm256_mul_ps(scales, _mm256_cvtepi32_ps(dot)))
}

/// Splits 16 `f16` off and widens them.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn split_halves(bytes: &[u8]) -> ([__m256; 2], &[u8]) {
    let Some((halves, rest)) = bytes.split_first_chunk::<{ 2 * LANES }>() else {
        return ([_mm256_setzero_ps(); 2], &[]);
    };
    let (halves, _) = halves.as_chunks::<{ 2 * HALF }>();
    let widen = |halves: &[u8; 2 * HALF]| {
        // SAFETY: `halves` is 16 readable bytes; the load needs no alignment.
        let halves: __m128i = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
        _mm256_cvtph_ps(halves)
    };
    ([widen(&halves[0]), widen(&halves[1])], rest)
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(line: &[u8; 64], half: usize) -> __m256i {
    let bytes = &line.as_chunks::<32>().0[half % 2];
    // SAFETY: `bytes` is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(halves: [__m256; 2]) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    let (parts, _) = out.as_chunks_mut::<HALF>();
    for (part, half) in parts.iter_mut().zip(halves) {
        // SAFETY: `part` is 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(part.as_mut_ptr(), half) };
    }
    out
}
