//! NEON with dot products: four queries in a register.

#![expect(unsafe_code, reason = "loads and stores of registers through pointers")]

use core::arch::aarch64::{
    float32x4_t, int8x16_t, vaddq_f32, vcvtq_f32_s32, vdupq_n_s8, vdupq_n_s32, veorq_s8, vld1q_f32,
    vld1q_s8, vmulq_f32, vmulq_n_f32, vst1q_f32,
};

use super::query::CodeQuery;
use super::rows::CodeRows;
use crate::kernels::aarch64::neon::{dot, load_codes};

/// As [`super::portable::add_codes`]. With the offset taken off, codes
/// are signed bytes.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn add_codes<const W: usize>(
    query: &CodeQuery<W>,
    rows: &CodeRows,
    offset: i32,
    scores: &mut [[f32; W]],
) {
    // Taking off 128 flips the sign; `q4` has no offset.
    let flip = vdupq_n_s8(offset as i8);
    for (quarter, scales) in query.scales.as_chunks().0.iter().enumerate() {
        let quads = query
            .codes
            .each_ref()
            .map(|quads| load_quad(&quads.as_chunks().0[quarter]));
        let scales = load(scales);
        for ((codes, scale), scores) in rows.codes.iter().zip(rows.scales).zip(&mut *scores) {
            let sums = &mut scores.as_chunks_mut::<4>().0[quarter];
            let halves = load_codes(bytemuck::cast_ref(codes)).map(|half| veorq_s8(half, flip));
            let dot = dot(&quads, halves, vdupq_n_s32(0));
            let product = vmulq_f32(vmulq_n_f32(scales, scale), vcvtq_f32_s32(dot));
            let sum = vaddq_f32(load(sums), product);
            // SAFETY: `sums` is 16 writable bytes.
            unsafe { vst1q_f32(sums.as_mut_ptr(), sum) };
        }
    }
}

/// Four codes of each of four queries.
#[inline]
#[target_feature(enable = "neon")]
fn load_quad(quad: &[[i8; 4]; 4]) -> int8x16_t {
    // SAFETY: `quad` is 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_s8(quad.as_flattened().as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(values: &[f32; 4]) -> float32x4_t {
    // SAFETY: `values` is 16 readable bytes.
    unsafe { vld1q_f32(values.as_ptr()) }
}
