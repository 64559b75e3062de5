//! The number formats that weights are stored in, widened to `f32`.

use half::{bf16, f16};
use safetensors::Dtype;

/// A number format of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
    /// FP8 with 4 exponent and 3 mantissa bits: to be multiplied by the scale
    /// of its block.
    F8E4M3,
}

impl Element {
    /// The names of all formats, for messages.
    pub(super) const SUPPORTED: &'static str = "F32, F16, BF16, F8_E4M3 with block scales";

    /// The format that a safetensors header names, if it is one of weights.
    pub(super) fn from_dtype(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F8_E4M3 => Some(Self::F8E4M3),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4M3 => 1,
        }
    }

    /// Appends the little-endian numbers in `bytes`. Every widening is exact.
    pub(super) fn widen(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F32 => values.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            Self::F16 => {
                let chunks = bytes.as_chunks().0.iter();
                values.extend(chunks.map(|&b| f16::from_le_bytes(b).to_f32()));
            }
            Self::Bf16 => {
                let chunks = bytes.as_chunks().0.iter();
                values.extend(chunks.map(|&b| bf16::from_le_bytes(b).to_f32()));
            }
            Self::F8E4M3 => values.extend(bytes.iter().map(|&code| e4m3(code))),
        }
    }
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
        let widened = |element: Element, bytes: &[u8]| {
            let mut values = Vec::new();
            element.widen(bytes, &mut values);
            values
        };
        assert_eq!(widened(Element::F32, &[0, 0, 0xc0, 0x3f]), [1.5]);
        assert_eq!(
            widened(Element::Bf16, &[0xc0, 0x3f, 0x80, 0xbf]),
            [1.5, -1.0]
        );
        assert_eq!(
            widened(Element::F16, &[0x00, 0x3e, 0x01, 0x00]),
            [1.5, 2f32.powi(-24)]
        );
        assert_eq!(widened(Element::F8E4M3, &[0x3c, 0xb8]), [1.5, -1.0]);
    }
}
