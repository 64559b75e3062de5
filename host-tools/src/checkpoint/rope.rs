//! RoPE's inverse frequencies, for every scaling that checkpoints use.

use std::f64::consts::PI;

/// How a checkpoint stretches RoPE beyond the context of its first training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by `factor` (Chen et al. 2023).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, a smooth passage
    /// between them (Llama 3.1).
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context of the first training.
        original_max_position_embeddings: f64,
    },
    /// YaRN: "NTK-by-parts" (Peng et al. 2023, section 3.2).
    Yarn {
        /// The divisor.
        factor: f64,
        /// The context of the first training.
        original_max_position_embeddings: f64,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// Round the bounds of the ramp to whole dimensions.
        truncate: bool,
    },
}

/// The `dim / 2` inverse frequencies `theta^(-2i / dim)`, scaled.
pub fn inverse_frequencies(dim: u32, theta: f64, scaling: &RopeScaling) -> Vec<f32> {
    (0..dim / 2)
        .map(|i| {
            let plain = theta.powf(-2.0 * f64::from(i) / f64::from(dim));
            scaling.apply(plain, i, dim, theta) as f32
        })
        .collect()
}

/// YaRN's temperature `0.1 mscale ln(factor) + 1`; 1 without stretching.
pub fn yarn_mscale(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * mscale * factor.ln() + 1.0
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64, i: u32, dim: u32, theta: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: original,
            } => {
                let wavelength = 2.0 * PI / frequency;
                if wavelength < original / high_freq_factor {
                    return frequency;
                }
                if wavelength > original / low_freq_factor {
                    return frequency / factor;
                }
                let smooth = (original / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
            Self::Yarn {
                factor,
                original_max_position_embeddings: original,
                beta_fast,
                beta_slow,
                truncate,
            } => {
                let (low, high) =
                    yarn_bounds(dim, theta, original, [beta_fast, beta_slow], truncate);
                let ramp = ((f64::from(i) - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - ramp) * frequency + ramp * frequency / factor
            }
        }
    }
}

/// The dimensions between which YaRN passes from kept to divided frequencies.
fn yarn_bounds(
    dim: u32,
    theta: f64,
    original: f64,
    [beta_fast, beta_slow]: [f64; 2],
    truncate: bool,
) -> (f64, f64) {
    let dim = f64::from(dim);
    let dimension_of =
        |rotations: f64| dim * (original / (2.0 * PI * rotations)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (dimension_of(beta_fast), dimension_of(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
    if low == high {
        high += 0.001;
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_are_powers_of_theta() {
        let frequencies = inverse_frequencies(8, 10000.0, &RopeScaling::None);
        for (found, expected) in frequencies.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((found - expected).abs() < 1e-8);
        }
        let halved = inverse_frequencies(8, 10000.0, &RopeScaling::Linear { factor: 2.0 });
        assert!((halved[1] - 0.05).abs() < 1e-8);
    }

    #[test]
    fn yarn_keeps_fast_frequencies_and_divides_slow_ones() {
        let yarn = RopeScaling::Yarn {
            factor: 40.0,
            original_max_position_embeddings: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
        };
        let plain = inverse_frequencies(64, 10000.0, &RopeScaling::None);
        let scaled = inverse_frequencies(64, 10000.0, &yarn);
        // By hand: 64 ln(4096 / 64 pi) / 2 ln 10000 = 10.47 and
        // 64 ln(4096 / 2 pi) / 2 ln 10000 = 22.51, so the ramp is 10 to 23.
        assert_eq!(scaled[10], plain[10]);
        assert!(scaled[11] < plain[11]);
        assert!((scaled[23] / plain[23] - 1.0 / 40.0).abs() < 1e-6);
        assert!((yarn_mscale(40.0, 1.0) - 1.368_887_945_411_393_7).abs() < 1e-12);
    }

    #[test]
    fn llama3_divides_long_wavelengths_only() {
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let plain = inverse_frequencies(128, 500_000.0, &RopeScaling::None);
        let scaled = inverse_frequencies(128, 500_000.0, &llama3);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] / plain[63] - 0.125).abs() < 1e-6);
    }
}
