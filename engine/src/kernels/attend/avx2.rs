//! AVX2: codes widened to 16 bits, whose products in pairs fit 32 bits exactly.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_add_epi32, _mm_add_ps, _mm_cvtepi32_ps, _mm_loadu_ps,
    _mm_loadu_si128, _mm_mul_ps, _mm_mullo_epi32, _mm_set1_epi32, _mm_set1_ps, _mm_storeu_ps,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16,
    _mm256_hadd_epi32, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps,
    _mm256_mullo_epi32, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_permute4x64_epi64,
    _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_storeu_si256,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::query::{CodeQuery, Columns, Lines, Scores};
use super::rows::CodeRows;
use crate::math::{F16_MAGNITUDE, F16_REBIAS};
use crate::quant::GROUP;

/// As `add_halves` in `columns.rs`: eight rows in lanes, twice. Lane `4 q + i`
/// has row `2 i + q`, because that is how [`turn`] leaves the scores.
#[target_feature(enable = "avx2")]
pub(super) fn add_halves(query: &Columns, lines: &Lines<'_>, scores: &mut Scores) {
    let scores: &mut [[[u8; 32]; 4]; 2] = bytemuck::cast_mut(scores);
    for (scores, lines) in scores.iter_mut().zip(lines.as_chunks::<8>().0) {
        let mut sums = [_mm256_setzero_ps(); 4];
        let [a, b, c, d] = &*scores;
        let turned = turn(load(a), load(b), load(c), load(d));
        for (sum, turned) in sums.iter_mut().zip(turned) {
            *sum = _mm256_castsi256_ps(turned);
        }
        for (half, query) in query.as_chunks::<16>().0.iter().enumerate() {
            let mut words = [_mm256_setzero_si256(); 8];
            transpose(lines, half, &mut words);
            for (query, word) in query.as_chunks::<2>().0.iter().zip(words) {
                add_column(&mut sums, &query[0], _mm256_slli_epi32::<16>(word));
                add_column(&mut sums, &query[1], word);
            }
        }
        let [a, b, c, d] = sums;
        let cast = _mm256_castps_si256;
        let turned = turn(cast(a), cast(b), cast(c), cast(d));
        for (scores, turned) in scores.iter_mut().zip(turned) {
            // SAFETY: `scores` is 32 writable bytes; the store needs no
            // alignment.
            unsafe { _mm256_storeu_si256(scores.as_mut_ptr().cast(), turned) };
        }
    }
}

/// `sums[i] += query[i] * column`; a column is in the high halves of the words,
/// widened as [`crate::math::widen_f16`] does.
#[inline]
#[target_feature(enable = "avx2")]
fn add_column(sums: &mut [__m256; 4], query: &[f32; 4], column: __m256i) {
    let magnitude = _mm256_and_si256(
        _mm256_srli_epi32::<3>(column),
        _mm256_set1_epi32(F16_MAGNITUDE),
    );
    let magnitude = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), _mm256_set1_ps(F16_REBIAS));
    let sign = _mm256_and_si256(column, _mm256_set1_epi32(i32::MIN));
    let column = _mm256_or_si256(_mm256_castps_si256(magnitude), sign);
    let column = _mm256_castsi256_ps(column);
    for (sum, query) in sums.iter_mut().zip(query) {
        *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_set1_ps(*query), column));
    }
}

/// `words[i]` gets word `i` of this half of each row.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(lines: &[&[u8; 64]; 8], half: usize, words: &mut [__m256i; 8]) {
    let mut turned = [[_mm256_setzero_si256(); 4]; 2];
    for (q, turned) in turned.iter_mut().enumerate() {
        let mut rows = [_mm256_setzero_si256(); 4];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = load(&lines[2 * i + q].as_chunks().0[half]);
        }
        let [a, b, c, d] = rows;
        *turned = turn(a, b, c, d);
    }
    let [first, second] = turned;
    for i in 0..4 {
        words[i] = _mm256_permute2x128_si256::<0x20>(first[i], second[i]);
        words[i + 4] = _mm256_permute2x128_si256::<0x31>(first[i], second[i]);
    }
}

/// In each half of four registers, rows of four words become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn turn(a: __m256i, b: __m256i, c: __m256i, d: __m256i) -> [__m256i; 4] {
    let (low, other) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
    let (high, last) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(low, other),
        _mm256_unpackhi_epi64(low, other),
        _mm256_unpacklo_epi64(high, last),
        _mm256_unpackhi_epi64(high, last),
    ]
}

/// As [`super::portable::add_codes`], for 16 queries.
#[target_feature(enable = "avx2")]
pub(super) fn add_codes_wide(
    query: &CodeQuery<16>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 16]],
) {
    // Loops: a closure for `map` would be called from code without our vectors.
    let mut quads = [[_mm256_setzero_si256(); 4]; GROUP / 4];
    for (quads, codes) in quads.iter_mut().zip(&query.codes) {
        let codes: &[[u8; 16]; 4] = bytemuck::cast_ref(codes);
        for (quad, codes) in quads.iter_mut().zip(codes) {
            *quad = _mm256_cvtepi8_epi16(load_half(codes));
        }
    }
    let mut start = [_mm256_setzero_si256(); 2];
    let sums: &[[u8; 32]; 2] = bytemuck::cast_ref(&query.sums);
    for (start, sums) in start.iter_mut().zip(sums) {
        *start = _mm256_mullo_epi32(load(sums), _mm256_set1_epi32(-offset));
    }
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

/// As [`super::portable::add_codes`], for 4 queries.
#[target_feature(enable = "avx2")]
pub(super) fn add_codes_narrow(
    query: &CodeQuery<4>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 4]],
) {
    let mut quads = [_mm256_setzero_si256(); GROUP / 4];
    for (quad, codes) in quads.iter_mut().zip(&query.codes) {
        *quad = _mm256_cvtepi8_epi16(load_half(bytemuck::cast_ref(codes)));
    }
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

/// Adds neighbours: two sums per query become one. `low` has queries 0 to 3,
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
