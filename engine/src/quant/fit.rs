//! Choosing the grid that a group of weights is rounded to.
//!
//! The four-bit fits try several steps around the obvious one, refit the step
//! by least squares to the codes that it gives, and keep the grid with the
//! smallest squared error. Pure `f32` arithmetic: the same bytes on each host.

use half::f16;

use super::{BlockGroup, GROUP, LANES};

/// Steps tried on each side of the obvious one.
const TRIES: i32 = 5;

/// Rounds a group to signed eight-bit codes: the step is a 127th of the
/// largest magnitude.
pub fn fit_q8(values: &[f32; GROUP]) -> BlockGroup {
    let largest = values.iter().fold(0.0_f32, |max, v| max.max(magnitude(*v)));
    let scale = f16::from_f32(largest / 127.0);
    let step = scale.to_f32();
    let codes = values.map(|v| {
        if step > 0.0 {
            round((v / step).clamp(-127.0, 127.0)) as i8
        } else {
            0
        }
    });
    BlockGroup::Q8 { scale, codes }
}

/// Rounds a group to `scale * (code - 8)`.
///
/// The number of largest magnitude is given code 0, the end of the grid that
/// reaches further; the scale's sign follows from it.
pub fn fit_q4(values: &[f32; GROUP]) -> BlockGroup {
    let extreme = values.iter().fold(0.0_f32, |best, v| {
        if magnitude(*v) > magnitude(best) {
            *v
        } else {
            best
        }
    });
    let mut best = Candidate::symmetric(values, extreme / -8.0);
    for i in -TRIES..=TRIES {
        let step = extreme / (-8.0 + 0.16 * i as f32);
        let first = Candidate::symmetric(values, step);
        best = best.better(first);
        best = best.better(Candidate::symmetric(values, first.refit_symmetric(values)));
    }
    best.into_group()
}

/// Rounds a group to `scale * code + min`.
pub fn fit_q4a(values: &[f32; GROUP]) -> BlockGroup {
    let (low, high) = values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| {
            (low.min(*v), high.max(*v))
        });
    let mut best = Candidate::affine(values, (high - low) / 15.0, low);
    for i in 0..=TRIES {
        let shrink = 0.03 * i as f32 * (high - low);
        for (low, high) in [
            (low + shrink, high),
            (low, high - shrink),
            (low + shrink, high - shrink),
        ] {
            let first = Candidate::affine(values, (high - low) / 15.0, low);
            best = best.better(first);
            let (step, min) = first.refit_affine(values);
            best = best.better(Candidate::affine(values, step, min));
        }
    }
    best.into_group()
}

/// One grid, the codes that it gives, and its squared error.
#[derive(Clone, Copy)]
struct Candidate {
    scale: f16,
    min: f16,
    codes: [u8; GROUP],
    error: f32,
}

impl Candidate {
    fn symmetric(values: &[f32; GROUP], step: f32) -> Self {
        let scale = f16::from_f32(step);
        Self::on_grid(values, scale, f16::ZERO, scale.to_f32() * -8.0)
    }

    fn affine(values: &[f32; GROUP], step: f32, min: f32) -> Self {
        let min = f16::from_f32(min);
        Self::on_grid(values, f16::from_f32(step), min, min.to_f32())
    }

    fn on_grid(values: &[f32; GROUP], scale: f16, min: f16, start: f32) -> Self {
        let step = scale.to_f32();
        let inverse = if step == 0.0 { 0.0 } else { 1.0 / step };
        let mut levels = [0.0; GROUP];
        let mut errors = [0.0; LANES];
        for (levels, values) in levels
            .as_chunks_mut::<LANES>()
            .0
            .iter_mut()
            .zip(values.as_chunks::<LANES>().0)
        {
            for i in 0..LANES {
                let level = ((values[i] - start) * inverse).clamp(0.0, 15.0);
                levels[i] = round(level);
                let difference = step * levels[i] + start - values[i];
                errors[i] += difference * difference;
            }
        }
        Self {
            scale,
            min,
            codes: levels.map(|level| level as u8),
            error: errors.iter().sum(),
        }
    }

    /// A NaN error (an overflowing step) never wins.
    fn better(self, other: Self) -> Self {
        if other.error < self.error || self.error.is_nan() {
            other
        } else {
            self
        }
    }

    /// The step that fits the codes best: `sum(v c) / sum(c c)`, c around 8.
    fn refit_symmetric(&self, values: &[f32; GROUP]) -> f32 {
        let (mut vc, mut cc) = (0.0, 0.0);
        for (code, value) in self.codes.iter().zip(values) {
            let c = f32::from(*code) - 8.0;
            vc += value * c;
            cc += c * c;
        }
        if cc > 0.0 { vc / cc } else { 0.0 }
    }

    /// The line `v = step * code + min` of least squares.
    fn refit_affine(&self, values: &[f32; GROUP]) -> (f32, f32) {
        let n = GROUP as f32;
        let (mut sc, mut sv, mut scc, mut scv) = (0.0, 0.0, 0.0, 0.0);
        for (code, value) in self.codes.iter().zip(values) {
            let c = f32::from(*code);
            sc += c;
            sv += value;
            scc += c * c;
            scv += c * value;
        }
        let spread = n * scc - sc * sc;
        if spread <= 0.0 {
            return (0.0, sv / n);
        }
        let step = (n * scv - sc * sv) / spread;
        (step, (sv - step * sc) / n)
    }

    fn into_group(self) -> BlockGroup {
        BlockGroup::Q4 {
            scale: self.scale,
            min: self.min,
            codes: self.codes,
        }
    }
}

/// The nearest integer (ties to even) of a small number, in two operations
/// that compilers can do on many numbers at a time.
fn round(value: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (value + ROUND) - ROUND
}

fn magnitude(value: f32) -> f32 {
    libm::fabsf(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave() -> [f32; GROUP] {
        core::array::from_fn(|i| libm::sinf(i as f32 * 1.7) * 0.3 + 0.05)
    }

    fn largest_error(values: &[f32; GROUP], restored: [f32; GROUP]) -> f32 {
        values
            .iter()
            .zip(restored)
            .fold(0.0, |max, (v, r)| max.max(libm::fabsf(v - r)))
    }

    #[test]
    fn rounding_stays_within_half_a_step() {
        let values = wave();
        let BlockGroup::Q8 { scale, codes } = fit_q8(&values) else {
            panic!("not a q8 group");
        };
        let restored = codes.map(|c| f32::from(c) * scale.to_f32());
        assert!(largest_error(&values, restored) < 0.51 * 0.35 / 127.0 * 1.01);

        let BlockGroup::Q4 { scale, min, codes } = fit_q4a(&values) else {
            panic!("not a q4a group");
        };
        let restored = codes.map(|c| f32::from(c) * scale.to_f32() + min.to_f32());
        assert!(largest_error(&values, restored) < 0.7 / 15.0);
    }

    #[test]
    fn numbers_on_a_grid_are_kept() {
        let values: [f32; GROUP] = core::array::from_fn(|i| (i as f32 % 16.0 - 8.0) * 0.25);
        let BlockGroup::Q4 { scale, codes, .. } = fit_q4(&values) else {
            panic!("not a q4 group");
        };
        let restored = codes.map(|c| (f32::from(c) - 8.0) * scale.to_f32());
        assert_eq!(restored, values);
    }

    #[test]
    fn equal_and_zero_numbers_are_kept() {
        for value in [0.0, 0.5, -3.0] {
            let BlockGroup::Q4 { scale, min, codes } = fit_q4a(&[value; GROUP]) else {
                panic!("not a q4a group");
            };
            let restored = codes.map(|c| f32::from(c) * scale.to_f32() + min.to_f32());
            assert_eq!(restored, [value; GROUP]);
        }
        assert_eq!(
            fit_q8(&[0.0; GROUP]),
            BlockGroup::Q8 {
                scale: f16::ZERO,
                codes: [0; GROUP]
            }
        );
    }
}
