//! Activations to eight-bit codes: one scale for 32 numbers.

use crate::kernels::Isa;
use crate::kernels::dispatch::for_each_isa;
use crate::math::ROUND;
use crate::quant::GROUP;

/// A group whose magnitudes are at most this counts as zero: its inverse would
/// not be finite, and products with its scale would become subnormal numbers,
/// which not every vector unit has. So scales are 0 or at least 2^-74.
pub const NEGLIGIBLE: f32 = 1e-20;

/// Quantises whole groups of 32: `codes[i] = round(x[i] / scale)`, where
/// `scale` is a 127th of the group's largest magnitude; `sums` gets each
/// group's sum of codes.
///
/// `x` and `codes` have the same length, a multiple of 32; `scales` and
/// `sums` a 32nd of it. Anything beyond is left alone.
pub fn quantize(isa: Isa, x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    let groups = x.as_chunks::<GROUP>().0.iter();
    let codes = codes.as_chunks_mut::<GROUP>().0.iter_mut();
    for (((x, codes), scale), sum) in groups.zip(codes).zip(scales).zip(sums) {
        // One call per group: compilers would otherwise vectorise over groups,
        // by gathering.
        (*scale, *sum) = quantize_one(isa, x, codes);
    }
}

for_each_isa! {
    /// As [`quantize_group`].
    pub fn quantize_one(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, i32) {
        quantize_group(x, codes)
    }
}

/// Quantises one group; returns its scale and its sum of codes.
#[inline(always)]
pub fn quantize_group(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, i32) {
    let largest = largest_magnitude(x);
    let (scale, inverse) = if largest > NEGLIGIBLE {
        (largest / 127.0, 127.0 / largest)
    } else {
        (0.0, 0.0)
    };
    let round = |v: f32| (v * inverse + ROUND).to_bits() as i8;
    if cfg!(dsp) {
        // No vectors of `f32` here: each number stays in its register.
        let mut sum = 0;
        for (code, v) in codes.iter_mut().zip(x) {
            *code = round(*v);
            sum += i32::from(*code);
        }
        return (scale, sum);
    }
    // `map` would call a function that is compiled without our vectors.
    let mut rounded = [0; GROUP];
    for (code, v) in rounded.iter_mut().zip(x) {
        *code = round(*v);
    }
    let sum = rounded.iter().map(|code| i32::from(*code)).sum();
    *codes = rounded;
    (scale, sum)
}

/// The largest magnitude. NaNs do not count, and are the result only if there
/// is nothing else.
#[inline(always)]
fn largest_magnitude(x: &[f32; GROUP]) -> f32 {
    /// Magnitudes from here on are NaNs.
    const FIRST_NAN: u32 = f32::INFINITY.to_bits() + 1;
    // As integers, since compilers know that their maximum can be taken in any
    // order. Subtracting this wraps numbers around, above all NaNs.
    let keys = x
        .iter()
        .map(|v| (v.to_bits() & 0x7fff_ffff).wrapping_sub(FIRST_NAN));
    f32::from_bits(keys.fold(0, u32::max).wrapping_add(FIRST_NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_rounded_to_the_nearest() {
        let x: [f32; GROUP] = core::array::from_fn(|i| (i as f32 - 12.3) * 0.7);
        for isa in Isa::available() {
            let (mut codes, mut scale, mut sum) = ([0; GROUP], [0.0], [0]);
            quantize(isa, &x, &mut codes, &mut scale, &mut sum);
            assert_eq!(scale[0], x[31] / 127.0);
            for (code, v) in codes.iter().zip(x) {
                let expected = libm::rint(f64::from(v) / f64::from(scale[0]));
                assert_eq!(f64::from(*code), expected);
            }
            assert_eq!(sum[0], codes.iter().map(|c| i32::from(*c)).sum::<i32>());
        }
    }

    #[test]
    fn zeros_and_tiny_numbers_are_no_trouble() {
        for value in [0.0, 1e-40, -1e-45, f32::MIN_POSITIVE] {
            let mut codes = [1; GROUP];
            let (scale, _) = quantize_group(&[value; GROUP], &mut codes);
            assert!(scale.is_finite());
        }
    }

    #[test]
    fn what_is_not_a_number_does_not_count() {
        let negative = f32::from_bits(f32::NAN.to_bits() | 1 << 31);
        for isa in Isa::available() {
            let mut x = [0.5; GROUP];
            (x[3], x[17], x[30]) = (f32::NAN, -2.0, negative);
            assert_eq!(quantize_one(isa, &x, &mut [0; GROUP]).0, 2.0 / 127.0);
            let nothing = [negative; GROUP];
            assert_eq!(quantize_one(isa, &nothing, &mut [0; GROUP]).0, 0.0);
        }
    }
}
