//! AVX2: codes widened to 16 bits, whose products in pairs fit 32 bits exactly.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_add_ps, _mm_cvtepi32_ps, _mm_loadu_ps, _mm_loadu_si128,
    _mm_mul_ps, _mm_mullo_epi32, _mm_set1_epi32, _mm_set1_ps, _mm_storeu_ps, _mm256_add_epi32,
    _mm256_add_ps, _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_hadd_epi32, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_mullo_epi32, _mm256_permute4x64_epi64,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setzero_si256, _mm256_storeu_ps,
    _mm256_storeu_si256,
};

use super::rows::CodeRows;
use super::scores::CodeQuery;
use crate::quant::GROUP;

/// As [`super::scores::add_codes_portable`], for 16 queries.
#[target_feature(enable = "avx2")]
pub(super) fn add_codes_wide(
    query: &CodeQuery<16>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 16]],
) {
    let quads = query.codes.each_ref().map(|quads| {
        let quads: &[[u8; 16]; 4] = bytemuck::cast_ref(quads);
        quads
            .each_ref()
            .map(|bytes| _mm256_cvtepi8_epi16(load_half(bytes)))
    });
    let sums: &[[u8; 32]; 2] = bytemuck::cast_ref(&query.sums);
    let start = sums
        .each_ref()
        .map(|sums| _mm256_mullo_epi32(load(sums), _mm256_set1_epi32(-offset)));
    let scales: &[[f32; 8]; 2] = bytemuck::cast_ref(&query.scales);
    for ((codes, scale), scores) in rows.codes.iter().zip(&rows.scales).zip(scores) {
        let words = widen(codes);
        let mut dots = [_mm256_setzero_si256(); 4];
        for (quads, word) in quads.iter().zip(words) {
            let word = _mm256_set1_epi64x(word);
            for (dot, quad) in dots.iter_mut().zip(quads) {
                *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(*quad, word));
            }
        }
        let scores: &mut [[f32; 8]; 2] = bytemuck::cast_mut(scores);
        for (half, scores) in scores.iter_mut().enumerate() {
            let dot = _mm256_add_epi32(start[half], join(dots[2 * half], dots[2 * half + 1]));
            // SAFETY: both are 32 bytes; neither access needs alignment.
            unsafe {
                let queries = _mm256_loadu_ps(scales[half].as_ptr());
                let scale = _mm256_mul_ps(_mm256_set1_ps(*scale), queries);
                let product = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dot));
                let sum = _mm256_add_ps(_mm256_loadu_ps(scores.as_ptr()), product);
                _mm256_storeu_ps(scores.as_mut_ptr(), sum);
            }
        }
    }
}

/// As [`super::scores::add_codes_portable`], for 4 queries.
#[target_feature(enable = "avx2")]
pub(super) fn add_codes_narrow(
    query: &CodeQuery<4>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 4]],
) {
    let quads = query
        .codes
        .each_ref()
        .map(|quads| _mm256_cvtepi8_epi16(load_half(bytemuck::cast_ref(quads))));
    let sums = load_half(bytemuck::cast_ref(&query.sums));
    let start = _mm_mullo_epi32(sums, _mm_set1_epi32(-offset));
    for ((codes, scale), scores) in rows.codes.iter().zip(&rows.scales).zip(scores) {
        let mut dots = [_mm256_setzero_si256(); 2];
        for (i, (quad, word)) in quads.iter().zip(widen(codes)).enumerate() {
            let product = _mm256_madd_epi16(*quad, _mm256_set1_epi64x(word));
            dots[i % 2] = _mm256_add_epi32(dots[i % 2], product);
        }
        let dot = _mm256_add_epi32(dots[0], dots[1]);
        let dot = _mm_add_epi32(start, _mm256_castsi256_si128(join(dot, dot)));
        // SAFETY: both are 16 bytes; neither access needs alignment.
        unsafe {
            let queries = _mm_loadu_ps(query.scales.as_ptr());
            let scale = _mm_mul_ps(_mm_set1_ps(*scale), queries);
            let product = _mm_mul_ps(scale, _mm_cvtepi32_ps(dot));
            let sum = _mm_add_ps(_mm_loadu_ps(scores.as_ptr()), product);
            _mm_storeu_ps(scores.as_mut_ptr(), sum);
        }
    }
}

/// Four codes to a word of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(codes: &[u8; GROUP]) -> [i64; GROUP / 4] {
    let mut words = [0; GROUP / 4];
    let halves = codes.as_chunks::<16>().0.iter();
    for (codes, words) in halves.zip(words.as_chunks_mut::<4>().0) {
        let wide = _mm256_cvtepu8_epi16(load_half(codes));
        // SAFETY: `words` is 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), wide) };
    }
    words
}

/// Adds neighbours: two sums a query become one. `low` has queries 0 to 3,
/// `high` queries 4 to 7.
#[inline]
#[target_feature(enable = "avx2")]
fn join(low: __m256i, high: __m256i) -> __m256i {
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: `bytes` is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: `bytes` is 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
