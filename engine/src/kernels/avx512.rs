//! AVX-512 with VNNI: 16 rows in one register.
//!
//! `vpdpbusd` multiplies four unsigned by four signed bytes a lane and adds
//! the products to the lane, exactly.

use core::arch::x86_64::{
    __m256i, __m512, __m512i, _mm256_loadu_si256, _mm512_add_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_xor_si512,
};

use super::linear::Input;
use crate::quant::LANES;

/// As [`super::portable::q8_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn q8_rows<const T: usize>(blocks: &[u8], x: &[Input<'_>; T]) -> [[f32; LANES]; T] {
    let mut acc = [_mm512_setzero_ps(); T];
    // Signed weights become unsigned by adding 128, which the instruction
    // needs; 128 times the sum of the codes is taken off again.
    let flip = _mm512_set1_epi8(-128);
    for (g, block) in blocks.as_chunks::<544>().0.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let lines = lines.as_chunks::<64>().0;
        let mut even = [_mm512_setzero_si512(); T];
        let mut odd = even;
        for (i, pair) in lines.as_chunks::<2>().0.iter().enumerate() {
            let first = _mm512_xor_si512(load(&pair[0]), flip);
            let second = _mm512_xor_si512(load(&pair[1]), flip);
            for t in 0..T {
                let codes = x[t].quads(g);
                even[t] = _mm512_dpbusd_epi32(even[t], first, _mm512_set1_epi32(codes[2 * i]));
                odd[t] = _mm512_dpbusd_epi32(odd[t], second, _mm512_set1_epi32(codes[2 * i + 1]));
            }
        }
        for t in 0..T {
            let (scale, sum) = x[t].group(g);
            let dot = _mm512_add_epi32(
                _mm512_add_epi32(even[t], odd[t]),
                _mm512_set1_epi32(-128 * sum),
            );
            acc[t] = add_scaled(acc[t], scales, scale, dot);
        }
    }
    acc.map(|rows| store(rows))
}

/// As [`super::portable::q4_rows`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn q4_rows<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    blocks: &[u8],
    x: &[Input<'_>; T],
) -> [[f32; LANES]; T] {
    let mut acc = [_mm512_setzero_ps(); T];
    let mask = _mm512_set1_epi8(15);
    for (g, block) in blocks.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            (_mm512_setzero_ps(), rest)
        };
        let mut low = [_mm512_setzero_si512(); T];
        let mut high = low;
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(4) {
            let bytes = load(line);
            let first = _mm512_and_si512(bytes, mask);
            let second = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask);
            for t in 0..T {
                let codes = x[t].quads(g);
                low[t] = _mm512_dpbusd_epi32(low[t], first, _mm512_set1_epi32(codes[i]));
                high[t] = _mm512_dpbusd_epi32(high[t], second, _mm512_set1_epi32(codes[i + 4]));
            }
        }
        for t in 0..T {
            let (scale, sum) = x[t].group(g);
            let dot = _mm512_add_epi32(low[t], high[t]);
            if AFFINE {
                acc[t] = add_scaled(acc[t], scales, scale, dot);
                let offset = _mm512_set1_ps(scale * sum as f32);
                acc[t] = _mm512_add_ps(acc[t], _mm512_mul_ps(mins, offset));
            } else {
                let dot = _mm512_add_epi32(dot, _mm512_set1_epi32(-8 * sum));
                acc[t] = add_scaled(acc[t], scales, scale, dot);
            }
        }
    }
    acc.map(|rows| store(rows))
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
    let Some((halves, rest)) = bytes.split_first_chunk::<{ 2 * LANES }>() else {
        return (_mm512_setzero_ps(), &[]);
    };
    // SAFETY: `halves` is 32 readable bytes; the load needs no alignment.
    let halves: __m256i = unsafe { _mm256_loadu_si256(halves.as_ptr().cast()) };
    (_mm512_cvtph_ps(halves), rest)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &[u8; 64]) -> __m512i {
    // SAFETY: `line` is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(value: __m512) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    // SAFETY: `out` is 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), value) };
    out
}
