//! Numbers to four-bit codes on a grid with a scale and a minimum.

use half::f16;

use super::reduce::{LANES, tree};
use crate::kernels::dispatch::for_each_isa;
use crate::math::{ROUND, to_f16, widen_f16};
use crate::quant::GROUP;

/// Fractions of the range to try cutting off, below and above.
const CUTS: [[f32; 2]; 4] = [[0.0, 0.0], [0.06, 0.0], [0.0, 0.06], [0.06, 0.06]];

/// Times that a grid is fitted to the codes that it gave, by least squares.
const REFITS: usize = 2;

for_each_isa! {
    /// Rounds a group to `scale * code + min`, codes 0 to 15; returns scale and
    /// minimum. Keeps the grid of smallest squared error among a few.
    pub fn quantize_affine(x: &[f32; GROUP], codes: &mut [u8; GROUP]) -> (f16, f16) {
        let (mut low, mut high) = (x[0], x[0]);
        for x in x {
            low = if *x < low { *x } else { low };
            high = if *x > high { *x } else { high };
        }
        let range = high - low;
        let mut best = Fit::EMPTY;
        for [below, above] in CUTS {
            let start = low + below * range;
            let step = (range - (below + above) * range) / 15.0;
            let mut fit = Fit::new(x, step, start);
            best.replace_by_better(&fit);
            for _ in 0..REFITS {
                let (step, start) = fit.refit(x);
                fit = Fit::new(x, step, start);
                best.replace_by_better(&fit);
            }
        }
        for (code, level) in codes.iter_mut().zip(best.levels) {
            *code = level as u8;
        }
        (best.scale, best.min)
    }
}

/// A grid, the levels that it gives, and their squared error.
#[derive(Clone, Copy)]
struct Fit {
    scale: f16,
    min: f16,
    levels: [f32; GROUP],
    error: f32,
}

impl Fit {
    const EMPTY: Self = Self {
        scale: f16::ZERO,
        min: f16::ZERO,
        levels: [0.0; GROUP],
        error: f32::INFINITY,
    };

    #[inline(always)]
    fn new(x: &[f32; GROUP], step: f32, start: f32) -> Self {
        let (scale, min) = (to_f16(step), to_f16(start));
        let (step, start) = (widen_f16(scale.to_bits()), widen_f16(min.to_bits()));
        let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
        let mut levels = [0.0; GROUP];
        let mut errors = [0.0; LANES];
        for i in 0..GROUP {
            let level = (x[i] - start) * inverse;
            let level = if level > 15.0 { 15.0 } else { level };
            let level = if level < 0.0 { 0.0 } else { level };
            let level = (level + ROUND) - ROUND;
            let difference = (step * level + start) - x[i];
            levels[i] = level;
            errors[i % LANES] += difference * difference;
        }
        Self {
            scale,
            min,
            levels,
            error: tree(errors),
        }
    }

    #[inline(always)]
    fn replace_by_better(&mut self, other: &Self) {
        if other.error < self.error {
            *self = *other;
        }
    }

    /// The line `x = step * level + start` of least squares.
    #[inline(always)]
    fn refit(&self, x: &[f32; GROUP]) -> (f32, f32) {
        let (mut l, mut v, mut ll, mut lv) =
            ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for i in 0..GROUP {
            let level = self.levels[i];
            l[i % LANES] += level;
            v[i % LANES] += x[i];
            ll[i % LANES] += level * level;
            lv[i % LANES] += level * x[i];
        }
        let (l, v, ll, lv) = (tree(l), tree(v), tree(ll), tree(lv));
        let n = GROUP as f32;
        let spread = n * ll - l * l;
        if spread > 0.0 {
            let step = (n * lv - l * v) / spread;
            (step, (v - step * l) / n)
        } else {
            (0.0, v / n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    fn restore(scale: f16, min: f16, codes: &[u8; GROUP]) -> [f32; GROUP] {
        codes.map(|code| scale.to_f32() * f32::from(code) + min.to_f32())
    }

    #[test]
    fn codes_restore_the_numbers_within_half_a_step() {
        let x: [f32; GROUP] = core::array::from_fn(|i| libm::sinf(i as f32 * 1.7) * 0.3 + 0.05);
        let mut first = None;
        for isa in Isa::available() {
            let mut codes = [0; GROUP];
            let (scale, min) = quantize_affine(isa, &x, &mut codes);
            for (x, restored) in x.iter().zip(restore(scale, min, &codes)) {
                assert!((x - restored).abs() < 0.7 * 0.6 / 15.0);
            }
            assert_eq!(
                (scale, min, codes),
                *first.get_or_insert((scale, min, codes))
            );
        }
    }

    #[test]
    fn numbers_on_a_grid_are_kept() {
        let x: [f32; GROUP] = core::array::from_fn(|i| (i as f32 % 16.0) * 0.25 - 1.0);
        let mut codes = [0; GROUP];
        let (scale, min) = quantize_affine(Isa::PORTABLE, &x, &mut codes);
        assert_eq!(restore(scale, min, &codes), x);
        for value in [0.0, 0.5, -3.0] {
            let (scale, min) = quantize_affine(Isa::PORTABLE, &[value; GROUP], &mut codes);
            assert_eq!(restore(scale, min, &codes), [value; GROUP]);
        }
    }

    #[test]
    fn odd_numbers_are_no_trouble() {
        for value in [f32::NAN, f32::INFINITY, f32::MAX, -f32::MAX, 1e-40] {
            let mut x: [f32; GROUP] = core::array::from_fn(|i| i as f32);
            x[7] = value;
            let mut codes = [0; GROUP];
            quantize_affine(Isa::detect(), &x, &mut codes);
            assert!(codes.iter().all(|code| *code < 16));
        }
    }
}
