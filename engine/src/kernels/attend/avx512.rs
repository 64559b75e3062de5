//! AVX-512 with VNNI: 16 queries, or 4 queries and 4 rows, in a register.
//!
//! `vpdpbusd` multiplies four unsigned by four signed bytes per lane and adds
//! the products to the lane, exactly.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::x86_64::{
    __m128, __m512, __m512i, _mm_loadu_ps, _mm_loadu_si128, _mm512_add_epi32, _mm512_add_ps,
    _mm512_and_si512, _mm512_broadcast_f32x4, _mm512_broadcast_i32x4, _mm512_castps_si512,
    _mm512_castps128_ps512, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_or_si512,
    _mm512_permutexvar_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps,
    _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::query::{CodeQuery, Columns, Lines, Scores};
use super::rows::CodeRows;
use crate::math::{F16_MAGNITUDE, F16_REBIAS};
use crate::quant::GROUP;

/// As `add_halves` in `columns.rs`: 16 rows in lanes. Lane `4 q + i` has row
/// `4 i + q`, because that is how [`turn`] leaves the scores.
#[target_feature(enable = "avx512f")]
pub(super) fn add_halves(query: &Columns, lines: &Lines<'_>, scores: &mut Scores) {
    let scores: &mut [[u8; 64]; 4] = bytemuck::cast_mut(scores);
    let mut sums = [_mm512_setzero_ps(); 4];
    let [a, b, c, d] = scores;
    let turned = turn(load_bytes(a), load_bytes(b), load_bytes(c), load_bytes(d));
    for (sum, turned) in sums.iter_mut().zip(turned) {
        *sum = _mm512_castsi512_ps(turned);
    }
    let mut words = [_mm512_set1_epi32(0); 16];
    transpose(lines, &mut words);
    for (query, word) in query.as_chunks::<2>().0.iter().zip(words) {
        add_column(&mut sums, &query[0], _mm512_slli_epi32::<16>(word));
        add_column(&mut sums, &query[1], word);
    }
    let [a, b, c, d] = sums;
    let cast = _mm512_castps_si512;
    let turned = turn(cast(a), cast(b), cast(c), cast(d));
    for (scores, turned) in scores.iter_mut().zip(turned) {
        // SAFETY: `scores` is 64 writable bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(scores.as_mut_ptr().cast(), turned) };
    }
}

/// `sums[i] += query[i] * column`; a column is in the high halves of the words,
/// widened as [`crate::math::widen_f16`] does.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_column(sums: &mut [__m512; 4], query: &[f32; 4], column: __m512i) {
    let magnitude = _mm512_and_si512(
        _mm512_srli_epi32::<3>(column),
        _mm512_set1_epi32(F16_MAGNITUDE),
    );
    let magnitude = _mm512_mul_ps(_mm512_castsi512_ps(magnitude), _mm512_set1_ps(F16_REBIAS));
    let sign = _mm512_and_si512(column, _mm512_set1_epi32(i32::MIN));
    let column = _mm512_or_si512(_mm512_castps_si512(magnitude), sign);
    let column = _mm512_castsi512_ps(column);
    for (sum, query) in sums.iter_mut().zip(query) {
        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_set1_ps(*query), column));
    }
}

/// `words[i]` gets word `i` of each row: quarters of registers are turned, then
/// brought together.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(lines: &Lines<'_>, words: &mut [__m512i; 16]) {
    let mut turned = [[_mm512_set1_epi32(0); 4]; 4];
    for (q, turned) in turned.iter_mut().enumerate() {
        let [a, b, c, d] = [lines[q], lines[q + 4], lines[q + 8], lines[q + 12]];
        *turned = turn(load_bytes(a), load_bytes(b), load_bytes(c), load_bytes(d));
    }
    let [first, second, third, fourth] = turned;
    for i in 0..4 {
        let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(first[i], second[i]);
        let other = _mm512_shuffle_i32x4::<0b10_00_10_00>(third[i], fourth[i]);
        words[i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even, other);
        words[i + 8] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even, other);
        let odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(first[i], second[i]);
        let other = _mm512_shuffle_i32x4::<0b11_01_11_01>(third[i], fourth[i]);
        words[i + 4] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd, other);
        words[i + 12] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd, other);
    }
}

/// In each quarter of four registers, rows of four words become columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    let (low, other) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (high, last) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low, other),
        _mm512_unpackhi_epi64(low, other),
        _mm512_unpacklo_epi64(high, last),
        _mm512_unpackhi_epi64(high, last),
    ]
}

/// As [`super::portable::add_codes`], for 16 queries.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn add_codes_wide(
    query: &CodeQuery<16>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 16]],
) {
    let quads = query
        .codes
        .each_ref()
        .map(|quads| load_bytes(bytemuck::cast_ref(quads)));
    let scales = load(&query.scales);
    let sums = load_bytes(bytemuck::cast_ref(&query.sums));
    let start = _mm512_mullo_epi32(sums, _mm512_set1_epi32(-offset));
    for ((codes, scale), scores) in rows.codes.iter().zip(rows.scales).zip(scores) {
        let words: [i32; GROUP / 4] = bytemuck::cast(*codes);
        let mut dot = start;
        for (quad, word) in quads.iter().zip(words) {
            dot = _mm512_dpbusd_epi32(dot, _mm512_set1_epi32(word), *quad);
        }
        add_scaled(scores, _mm512_set1_ps(scale), scales, dot);
    }
}

/// As [`super::portable::add_codes`], for 4 queries: four rows at a
/// time, one in each quarter of a register.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn add_codes_narrow(
    query: &CodeQuery<4>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; 4]],
) {
    let quads = query
        .codes
        .each_ref()
        .map(|quads| load_quarter(bytemuck::cast_ref(quads)));
    let scales = _mm512_broadcast_f32x4(load_four(&query.scales));
    let sums = load_quarter(bytemuck::cast_ref(&query.sums));
    let start = _mm512_mullo_epi32(sums, _mm512_set1_epi32(-offset));
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    let rows = rows
        .codes
        .as_chunks::<4>()
        .0
        .iter()
        .zip(rows.scales.as_chunks::<4>().0);
    for ((codes, row_scales), scores) in rows.zip(scores.as_chunks_mut::<4>().0) {
        let codes: &[[u8; 64]; 2] = bytemuck::cast_ref(codes);
        let (first, second) = (load_bytes(&codes[0]), load_bytes(&codes[1]));
        // Columns 0..16 of the four rows, then columns 16..32.
        let low = _mm512_shuffle_i32x4::<0b10_00_10_00>(first, second);
        let high = _mm512_shuffle_i32x4::<0b11_01_11_01>(first, second);
        let mut dot = start;
        let mut other = _mm512_set1_epi32(0);
        dot = _mm512_dpbusd_epi32(dot, _mm512_shuffle_epi32::<0x00>(low), quads[0]);
        other = _mm512_dpbusd_epi32(other, _mm512_shuffle_epi32::<0x55>(low), quads[1]);
        dot = _mm512_dpbusd_epi32(dot, _mm512_shuffle_epi32::<0xaa>(low), quads[2]);
        other = _mm512_dpbusd_epi32(other, _mm512_shuffle_epi32::<0xff>(low), quads[3]);
        dot = _mm512_dpbusd_epi32(dot, _mm512_shuffle_epi32::<0x00>(high), quads[4]);
        other = _mm512_dpbusd_epi32(other, _mm512_shuffle_epi32::<0x55>(high), quads[5]);
        dot = _mm512_dpbusd_epi32(dot, _mm512_shuffle_epi32::<0xaa>(high), quads[6]);
        other = _mm512_dpbusd_epi32(other, _mm512_shuffle_epi32::<0xff>(high), quads[7]);
        let dot = _mm512_add_epi32(dot, other);
        let row_scales = _mm512_castps128_ps512(load_four(row_scales));
        let row_scales = _mm512_permutexvar_ps(spread, row_scales);
        add_scaled(bytemuck::cast_mut(scores), row_scales, scales, dot);
    }
}

/// `scores + (rows * queries) * dot`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_scaled(scores: &mut [f32; 16], rows: __m512, queries: __m512, dot: __m512i) {
    let scale = _mm512_mul_ps(rows, queries);
    let product = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dot));
    let sum = _mm512_add_ps(load(scores), product);
    // SAFETY: `scores` is 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_ps(scores.as_mut_ptr(), sum) };
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; 16]) -> __m512 {
    // SAFETY: `values` is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_bytes(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: `bytes` is 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_four(values: &[f32; 4]) -> __m128 {
    // SAFETY: `values` is 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_ps(values.as_ptr()) }
}

/// 16 bytes in each quarter.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_quarter(bytes: &[u8; 16]) -> __m512i {
    // SAFETY: `bytes` is 16 readable bytes; the load needs no alignment.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}
