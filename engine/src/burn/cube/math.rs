//! Elementary functions with the numbers of [`crate::math`].
//!
//! Whole numbers come from rounding instructions, not from adding and
//! subtracting a large constant, which a compiler may take away.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use crate::math::MAX_F16;

/// Below every score, and finite: not every device has infinities.
pub(super) const LOWEST: f32 = f32::MIN;

/// `e^x`, as [`crate::math::exp`].
#[cube]
pub(super) fn exp(x: f32) -> f32 {
    let clamped = clamp(x, -87.0f32, 88.0f32);
    let n = (clamped * comptime!(core::f32::consts::LOG2_E)).round();
    let r = clamped - n * 0.693_359_4f32;
    let r = r - n * -2.121_944_4e-4f32;
    let p = 1.987_569_1e-4f32 * r + 1.398_199_9e-3f32;
    let p = p * r + 8.333_452e-3f32;
    let p = p * r + 4.166_579_6e-2f32;
    let p = p * r + 1.666_666_5e-1f32;
    let p = p * r + 5.000_000_3e-1f32;
    // Never below -1. The bound changes no number, but without it compilers add
    // the one to `r` first, and round differently.
    let p = max(p * (r * r) + r, -1.0f32) + 1.0f32;
    let power = f32::reinterpret(u32::cast_from(n + 127.0f32) << 23u32);
    select(x < -87.0f32, 0.0f32, p * power)
}

/// `x / (1 + e^-x)` (Elfwing et al. 2017).
#[cube]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0f32 + exp(-x))
}

/// The half-precision number in the low 16 bits, exactly.
#[cube]
pub(super) fn widen_f16(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu32;
    let normal = f32::reinterpret((magnitude << 13u32) + 0x3800_0000u32);
    // Not as bits: devices may take the smallest numbers for zero.
    let subnormal = f32::cast_from(magnitude) * 5.960_464_5e-8f32;
    let value = select(magnitude < 0x400u32, subnormal, normal);
    select((bits & 0x8000u32) != 0u32, -value, value)
}

/// The bits of the nearest finite half-precision number, ties to even.
#[cube]
pub(super) fn narrow_f16(x: f32) -> u32 {
    let limited = clamp(x, -MAX_F16, MAX_F16);
    let bits = u32::reinterpret(limited);
    let magnitude = bits & 0x7fff_ffffu32;
    let odd = (magnitude >> 13u32) & 1u32;
    let normal = ((magnitude + 0xfffu32 + odd) >> 13u32) - 0x1_c000u32;
    let subnormal = u32::cast_from((f32::reinterpret(magnitude) * 16_777_216.0f32).round());
    let half = select(magnitude < 0x3880_0000u32, subnormal, normal);
    half | ((bits >> 16u32) & 0x8000u32)
}

/// The sum of 16 lanes that a cube shares, as [`tree`] takes it.
#[cube]
pub(super) fn sum_of_lanes(lanes: &SharedMemory<f32>) -> f32 {
    let mut sums = Array::<f32>::new(16usize);
    #[unroll]
    for i in 0..16usize {
        sums[i] = lanes[i];
    }
    tree(&mut sums)
}

/// The sum of 16 lanes: those 8 apart are added, then 4, 2 and 1 apart. Leaves
/// parts of it in the lanes.
#[cube]
pub(super) fn tree(sums: &mut Array<f32>) -> f32 {
    #[unroll]
    for level in 0..4usize {
        let half = comptime!(8usize >> level);
        #[unroll]
        for i in 0..half {
            let high = sums[comptime!(i + half)];
            sums[i] += high;
        }
    }
    sums[0]
}
