//! NEON with dot products (Armv8.2): 16 rows in four registers.
//!
//! `sdot` multiplies four signed bytes per lane by the same four codes and adds
//! the products to the lane, exactly. It is written as assembly because Rust's
//! intrinsic for it is not stable.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, uint16x8_t, vaddq_f32, vaddq_s32, vandq_u8,
    vcvt_f32_f16, vcvt_high_f32_f16, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8,
    vget_low_f16, vld1q_s8, vld1q_u8, vld1q_u16, vmulq_f32, vreinterpretq_f16_u16,
    vreinterpretq_s8_u8, vshrq_n_u8, vst1q_f32,
};
use core::arch::asm;
use core::hint::black_box;

use crate::kernels::dispatch::rows_with;
use crate::kernels::tile::{SUMS, Tile};
use crate::quant::{GROUP, LANES, NumberFormat};

/// Registers of four rows each.
pub(super) const QUARTERS: usize = LANES / 4;

rows_with!("neon,dotprod");

#[inline]
#[target_feature(enable = "neon")]
fn f16_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; T];
    let blocks = row.as_chunks::<{ NumberFormat::F16.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let values: [&[f32; GROUP]; T] =
            core::array::from_fn(|t| x.values(t, g).unwrap_or(&[0.0; GROUP]));
        for (column, bytes) in block.as_chunks::<{ 2 * LANES }>().0.iter().enumerate() {
            let weights = widen(bytes);
            for (acc, values) in acc.iter_mut().zip(values) {
                let value = vdupq_n_f32(values[column]);
                for (acc, weights) in acc.iter_mut().zip(weights) {
                    *acc = vaddq_f32(*acc, vmulq_f32(weights, value));
                }
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q8_row<const T: usize>(row: &[u8], x: &Tile<'_, T>, out: &mut [[f32; LANES]; T]) {
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; T];
    let blocks = row.as_chunks::<{ NumberFormat::Q8.block_bytes() }>().0;
    for (g, block) in blocks.iter().enumerate() {
        let (scales, lines) = split_halves(block);
        let lines = lines.as_chunks::<16>().0;
        for (quarter, scales) in scales.into_iter().enumerate() {
            let mut weights = [vreinterpretq_s8_u8(vdupq_n_u8(0)); 8];
            for (weights, line) in weights.iter_mut().zip(lines.chunks(QUARTERS)) {
                *weights = vreinterpretq_s8_u8(load(&line[quarter]));
            }
            for (t, acc) in acc.iter_mut().enumerate() {
                if let Some((codes, scale, _)) = x.group(t, g) {
                    let dot = dot(&weights, load_codes(codes), vdupq_n_s32(0));
                    acc[quarter] = add_scaled(acc[quarter], scales, scale, dot);
                }
            }
        }
    }
    store(acc, out);
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn q4_row<const T: usize, const BLOCK: usize, const AFFINE: bool>(
    row: &[u8],
    x: &Tile<'_, T>,
    out: &mut [[f32; LANES]; T],
) {
    let mut acc = [[vdupq_n_f32(0.0); QUARTERS]; T];
    let mask = vdupq_n_u8(15);
    for (g, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scales, rest) = split_halves(block);
        let (mins, lines) = if AFFINE {
            split_halves(rest)
        } else {
            ([vdupq_n_f32(0.0); QUARTERS], rest)
        };
        let lines = lines.as_chunks::<16>().0;
        for quarter in 0..QUARTERS {
            let mut weights = [vreinterpretq_s8_u8(mask); 8];
            let (low, high) = weights.split_at_mut(4);
            let halves = low.iter_mut().zip(high);
            for ((low, high), line) in halves.zip(lines.chunks(QUARTERS)) {
                let bytes = load(&line[quarter]);
                *low = vreinterpretq_s8_u8(vandq_u8(bytes, mask));
                *high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes));
            }
            for (t, acc) in acc.iter_mut().enumerate() {
                let Some((codes, scale, sum)) = x.group(t, g) else {
                    continue;
                };
                let start = vdupq_n_s32(if AFFINE { 0 } else { -8 * sum });
                let dot = dot(&weights, load_codes(codes), start);
                acc[quarter] = add_scaled(acc[quarter], scales[quarter], scale, dot);
                if AFFINE {
                    let offset = vdupq_n_f32(scale * sum as f32);
                    acc[quarter] = vaddq_f32(acc[quarter], vmulq_f32(mins[quarter], offset));
                }
            }
        }
    }
    store(acc, out);
}

/// Columns 0 to 15 and 16 to 31.
#[inline]
#[target_feature(enable = "neon")]
pub(in crate::kernels) fn load_codes(codes: &[i8; GROUP]) -> [int8x16_t; 2] {
    let halves: &[[i8; GROUP / 2]; 2] = bytemuck::cast_ref(codes);
    // SAFETY: each half is 16 readable bytes; the load needs no alignment.
    halves
        .each_ref()
        .map(|half| unsafe { vld1q_s8(half.as_ptr()) })
}

/// `start` and the exact products of a group, in two sums, so that the processor
/// need not wait for one.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(in crate::kernels) fn dot(
    weights: &[int8x16_t; 8],
    [first, second]: [int8x16_t; 2],
    start: int32x4_t,
) -> int32x4_t {
    let [a, b, c, d, e, f, g, h] = *weights;
    let mut sums = [start, vdupq_n_s32(0)];
    sums[0] = sdot::<0>(sums[0], a, first);
    sums[1] = sdot::<0>(sums[1], e, second);
    sums[0] = sdot::<1>(sums[0], b, first);
    sums[1] = sdot::<1>(sums[1], f, second);
    sums[0] = sdot::<2>(sums[0], c, first);
    sums[1] = sdot::<2>(sums[1], g, second);
    sums[0] = sdot::<3>(sums[0], d, first);
    sums[1] = sdot::<3>(sums[1], h, second);
    vaddq_s32(sums[0], sums[1])
}

/// Adds to each lane its four weights times the four codes of lane `LANE`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: i32>(sum: int32x4_t, weights: int8x16_t, codes: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: works on registers alone, with an instruction that the function's
    // target features include.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {codes:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            codes = in(vreg) codes,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// `acc + (scales * scale) * dot`.
#[inline]
#[target_feature(enable = "neon")]
fn add_scaled(acc: float32x4_t, scales: float32x4_t, scale: f32, dot: int32x4_t) -> float32x4_t {
    let scales = vmulq_f32(scales, vdupq_n_f32(scale));
    vaddq_f32(acc, vmulq_f32(scales, vcvtq_f32_s32(dot)))
}

/// Splits 16 `f16` off and widens them.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split_halves(bytes: &[u8]) -> ([float32x4_t; QUARTERS], &[u8]) {
    match bytes.split_first_chunk() {
        Some((halves, rest)) => (widen(halves), rest),
        None => ([vdupq_n_f32(0.0); QUARTERS], &[]),
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn widen(halves: &[u8; 2 * LANES]) -> [float32x4_t; QUARTERS] {
    let halves: &[u16; LANES] = &bytemuck::cast(*halves);
    // SAFETY: each half of `halves` is 16 readable bytes.
    let registers: [uint16x8_t; 2] =
        unsafe { [vld1q_u16(halves.as_ptr()), vld1q_u16(halves[8..].as_ptr())] };
    let [low, high] = registers.map(|register| vreinterpretq_f16_u16(register));
    [
        vcvt_f32_f16(vget_low_f16(low)),
        vcvt_high_f32_f16(low),
        vcvt_f32_f16(vget_low_f16(high)),
        vcvt_high_f32_f16(high),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: `bytes` is 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store<const T: usize>(
    acc: [[float32x4_t; QUARTERS]; T],
    out: &mut [[f32; LANES]; T],
) {
    for (acc, out) in acc.into_iter().zip(out) {
        for (acc, out) in acc.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: `out` is 16 writable bytes.
            unsafe { vst1q_f32(out.as_mut_ptr(), acc) };
        }
    }
}

/// See [`crate::kernels::peak()`].
#[target_feature(enable = "neon,dotprod")]
pub(in crate::kernels) fn peak(rounds: u32) -> u64 {
    let operand = vreinterpretq_s8_u8(vdupq_n_u8(3));
    let mut sums = [vdupq_n_s32(0); SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sdot::<0>(*sum, operand, operand);
        }
    }
    black_box(sums);
    (SUMS * size_of::<int8x16_t>()) as u64
}
