//! AVX2: 16 rows in two registers.
//!
//! `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs to 16 bits,
//! saturating. Operands are kept small enough that it never saturates.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_add_ps, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8,
    _mm256_srli_epi16, _mm256_storeu_ps,
};
use core::hint::black_box;

use crate::kernels::dispatch::rows_with;
use crate::kernels::tile::{SUMS, Tile};
use crate::quant::{GROUP, LANES, NumberFormat};

/// Rows in one register.
const HALF: usize = LANES / 2;

rows_with!("avx2,f16c");

#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn f16_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let blocks = row.as_chunks::<{ NumberFormat::F16.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let values: [&[f32; GROUP]; T] =
            core::array::from_fn(|t| x.values(t, g).unwrap_or(&[0.0; GROUP]));
        for (column, bytes) in block.as_chunks::<{ 2 * LANES }>().0.iter().enumerate() {
            let (weights, _) = split_halves(bytes);
            for t in 0..T {
                let value = _mm256_set1_ps(values[t][column]);
                for half in 0..2 {
                    let product = _mm256_mul_ps(weights[half], value);
                    acc[t][half] = _mm256_add_ps(acc[t][half], product);
                }
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let ones = _mm256_set1_epi16(1);
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let mut dot = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(8) {
            let halves = [load(line, 0), load(line, 1)];
            // The sign moves from the weight to the activation. At most
            // 128 * 127 * 2 = 32512 in 16 bits.
            let magnitudes = halves.map(|weights| _mm256_abs_epi8(weights));
            for t in 0..T {
                let codes = quad(&x[t].codes[g], i);
                for half in 0..2 {
                    let signed = _mm256_sign_epi8(codes, halves[half]);
                    let pairs = _mm256_maddubs_epi16(magnitudes[half], signed);
                    let fours = _mm256_madd_epi16(pairs, ones);
                    dot[t][half] = _mm256_add_epi32(dot[t][half], fours);
                }
            }
        }
        for t in 0..T {
            for half in 0..2 {
                acc[t][half] = add_scaled(acc[t][half], scales[half], x[t].scales[g], dot[t][half]);
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let ones = _mm256_set1_epi16(1);
    let mask = _mm256_set1_epi8(15);
    let blocks = row.as_chunks::<BLOCK>().0;
    let Some(x) = x.groups(blocks.len()) else {
        return;
    };
    for (g, block) in blocks.iter().enumerate() {
        let (scales, mins, lines) = split_q4::<AFFINE>(block);
        // All eight products of a group fit 16 bits: 8 * 2 * 15 * 127 = 30480.
        let mut pairs = [[_mm256_setzero_si256(); 2]; T];
        for (i, line) in lines.as_chunks::<64>().0.iter().enumerate().take(4) {
            let halves = [load(line, 0), load(line, 1)];
            for (half, bytes) in halves.into_iter().enumerate() {
                let low = _mm256_and_si256(bytes, mask);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask);
                for t in 0..T {
                    let low = _mm256_maddubs_epi16(low, quad(&x[t].codes[g], i));
                    let high = _mm256_maddubs_epi16(high, quad(&x[t].codes[g], i + 4));
                    let both = _mm256_add_epi16(low, high);
                    pairs[t][half] = _mm256_add_epi16(pairs[t][half], both);
                }
            }
        }
        for t in 0..T {
            let dots = pairs[t].map(|pairs| _mm256_madd_epi16(pairs, ones));
            add_q4_group::<AFFINE>(
                &mut acc[t],
                scales,
                mins,
                dots,
                x[t].scales[g],
                x[t].sums[g],
            );
        }
    }
    store(acc, out);
}

/// Adds a group's products of `q4` or `q4a` weights.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_q4_group<const AFFINE: bool>(
    acc: &mut [__m256; 2],
    scales: [__m256; 2],
    mins: [__m256; 2],
    dots: [__m256i; 2],
    scale: f32,
    sum: i32,
) {
    for half in 0..2 {
        if AFFINE {
            acc[half] = add_scaled(acc[half], scales[half], scale, dots[half]);
            let offset = _mm256_set1_ps(scale * sum as f32);
            acc[half] = _mm256_add_ps(acc[half], _mm256_mul_ps(mins[half], offset));
        } else {
            let dot = _mm256_add_epi32(dots[half], _mm256_set1_epi32(-8 * sum));
            acc[half] = add_scaled(acc[half], scales[half], scale, dot);
        }
    }
}

/// Four codes, in every lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn quad(codes: &[i8; GROUP], index: usize) -> __m256i {
    let codes = &codes.as_chunks::<4>().0[index % 8];
    _mm256_set1_epi32(bytemuck::cast(*codes))
}

/// `acc + (scales * scale) * dot`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_scaled(acc: __m256, scales: __m256, scale: f32, dot: __m256i) -> __m256 {
    let scales = _mm256_mul_ps(scales, _mm256_set1_ps(scale));
    _mm256_add_ps(acc, _mm256_mul_ps(scales, _mm256_cvtepi32_ps(dot)))
}

/// Scales, minima (zeros without) and codes of a block.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn split_q4<const AFFINE: bool>(block: &[u8]) -> ([__m256; 2], [__m256; 2], &[u8]) {
    let (scales, rest) = split_halves(block);
    let (mins, lines) = if AFFINE {
        split_halves(rest)
    } else {
        ([_mm256_setzero_ps(); 2], rest)
    };
    (scales, mins, lines)
}

/// Splits 16 `f16` off and widens them.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn split_halves(bytes: &[u8]) -> ([__m256; 2], &[u8]) {
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
pub(super) fn load(line: &[u8; 64], half: usize) -> __m256i {
    let bytes = &line.as_chunks::<32>().0[half % 2];
    // SAFETY: `bytes` is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store<const T: usize>(acc: [[__m256; 2]; T], out: &mut [[f32; LANES]; T]) {
    for (halves, out) in acc.into_iter().zip(out) {
        for (half, part) in halves.into_iter().zip(out.as_chunks_mut::<HALF>().0) {
            // SAFETY: `part` is 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_ps(part.as_mut_ptr(), half) };
        }
    }
}

/// See [`crate::kernels::peak()`]: the instructions of `q4`.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn peak(rounds: u32) -> u64 {
    let mut operands = [_mm256_set1_epi8(3); 2];
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..rounds {
        operands = black_box(operands);
        for sum in &mut sums {
            let pairs = _mm256_maddubs_epi16(operands[0], operands[1]);
            *sum = _mm256_add_epi16(*sum, pairs);
        }
    }
    black_box(sums);
    (SUMS * size_of::<__m256i>()) as u64
}
