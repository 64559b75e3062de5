//! Elementary functions with the same bits everywhere.
//!
//! Sine, cosine and square root come from `libm`. The exponential is our own,
//! without branches, so that compilers can vectorise it.

use half::f16;

/// 1.5 * 2^23. Adding it to a number of magnitude below 2^22 leaves the nearest
/// integer (ties to even) in the sum's low bits; subtracting it again gives
/// that integer as a number.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// `e^x`, within 2 units in the last place for `-87 < x < 88`.
///
/// Below that range the result is 0, above it `e^88`: never infinite, never NaN
/// unless `x` is.
///
/// Cody and Waite's reduction `x = n ln 2 + r`, then a polynomial of degree 6
/// in `r` (Cephes `expf`), then `n` goes into the exponent's bits.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = core::f32::consts::LOG2_E;
    /// ln 2 in two parts; products of the first with `n` are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    let clamped = if x > 88.0 { 88.0 } else { x };
    let clamped = if clamped < -87.0 { -87.0 } else { clamped };
    let rounded = clamped * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * LN2_HIGH;
    let r = r - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_3e-1;
    p = p * (r * r) + r + 1.0;
    // The low bits of `rounded` are n.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits() - 127);
    let power = f32::from_bits(exponent << 23);
    let result = p * power;
    if x < -87.0 { 0.0 } else { result }
}

/// `x / (1 + e^-x)` (Elfwing et al. 2017).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The largest finite `f16`.
pub const MAX_F16: f32 = f16::MAX.to_f32_const();

/// The nearest finite `f16`.
#[inline(always)]
pub fn to_f16(value: f32) -> f16 {
    f16::from_f32(value.clamp(-MAX_F16, MAX_F16))
}

/// 2^112: the difference of the exponents' biases of `f32` and `f16`.
pub(crate) const F16_REBIAS: f32 = f32::from_bits((127 + 112) << 23);

/// Where an `f16` without its sign stands in an `f32`, before it is multiplied
/// by [`F16_REBIAS`].
#[cfg(target_arch = "x86_64")]
pub(crate) const F16_MAGNITUDE: i32 = 0x7fff << 13;

/// A finite `f16` widened exactly, without branches.
#[inline(always)]
pub fn widen_f16(bits: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * F16_REBIAS;
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_libm() {
        let mut x = -87.0_f32;
        while x < 88.0 {
            let expected = libm::exp(f64::from(x));
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "exp({x}): relative error {error}");
            x += 0.003_7;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert!(exp(1000.0).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn halves_widen_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(widen_f16(bits).to_bits(), half.to_f32().to_bits());
            }
        }
    }
}
