//! Plain numbers, widened to `f32`. Every widening is exact.

use half::{bf16, f16};

/// Appends the little-endian numbers in `bytes`.
pub(super) fn widen_f32(bytes: &[u8], values: &mut Vec<f32>) {
    values.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)));
}

/// As [`widen_f32`], of `f16`.
pub(super) fn widen_f16(bytes: &[u8], values: &mut Vec<f32>) {
    let chunks = bytes.as_chunks().0.iter();
    values.extend(chunks.map(|&b| f16::from_le_bytes(b).to_f32()));
}

/// As [`widen_f32`], of `bf16`.
pub(super) fn widen_bf16(bytes: &[u8], values: &mut Vec<f32>) {
    let chunks = bytes.as_chunks().0.iter();
    values.extend(chunks.map(|&b| bf16::from_le_bytes(b).to_f32()));
}

/// As [`widen_f32`], of FP8 numbers.
pub(super) fn widen_e4m3(bytes: &[u8], values: &mut Vec<f32>) {
    values.extend(bytes.iter().map(|&code| e4m3(code)));
}

/// The number that an E4M3 code stands for (Micikevicius et al. 2022, "FP8
/// formats for deep learning", table 1): bias 7, no infinities, NaN is all
/// ones.
fn e4m3(code: u8) -> f32 {
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let exponent = u32::from(code >> 3) & 0xf;
    let mantissa = u32::from(code) & 0x7;
    let magnitude = match (exponent, mantissa) {
        (0xf, 0x7) => f32::NAN,
        // Subnormal: mantissa / 8 * 2^-6.
        (0, _) => mantissa as f32 / 512.0,
        _ => f32::from_bits(((exponent + 127 - 7) << 23) | (mantissa << 20)),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use super::super::Encoding;
    use super::*;

    #[test]
    fn all_e4m3_codes_follow_the_definition() {
        for code in 0..=255_u8 {
            let (sign, exponent, mantissa) = (code >> 7, (code >> 3) & 15, code & 7);
            let value = e4m3(code);
            if exponent == 15 && mantissa == 7 {
                assert!(value.is_nan(), "code {code:#04x}");
                continue;
            }
            let fraction = f64::from(mantissa) / 8.0;
            let magnitude = if exponent == 0 {
                fraction * 2f64.powi(-6)
            } else {
                (1.0 + fraction) * 2f64.powi(i32::from(exponent) - 7)
            };
            let expected = if sign == 1 { -magnitude } else { magnitude };
            assert_eq!(f64::from(value), expected, "code {code:#04x}");
            assert_eq!(value.is_sign_negative(), sign == 1, "code {code:#04x}");
        }
        assert_eq!(e4m3(0x7e), 448.0, "the largest number");
        assert_eq!(e4m3(0x01), 0.001_953_125, "the smallest number");
    }

    #[test]
    fn known_bytes_widen_to_known_numbers() {
        let widened = |encoding: Encoding, bytes: &[u8]| {
            let mut values = Vec::new();
            encoding.decode(bytes, &mut values, &mut Vec::new());
            values
        };
        assert_eq!(widened(Encoding::F32, &[0, 0, 0xc0, 0x3f]), [1.5]);
        assert_eq!(
            widened(Encoding::BF16, &[0xc0, 0x3f, 0x80, 0xbf]),
            [1.5, -1.0]
        );
        assert_eq!(
            widened(Encoding::F16, &[0x00, 0x3e, 0x01, 0x00]),
            [1.5, 2f32.powi(-24)]
        );
        assert_eq!(widened(Encoding::F8_E4M3, &[0x3c, 0xb8]), [1.5, -1.0]);
    }
}
