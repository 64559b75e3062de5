//! Numbers to four-bit codes on a grid with a scale and a minimum, as
//! [`crate::kernels::affine`] makes them.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::math::{narrow_f16, tree, widen_f16};

/// The fraction of the range that is cut off below, above, both or neither.
const CUT: f32 = 0.06;

/// Grids from each of these: the first, and those fitted to the codes that the
/// one before gave.
const FITS: usize = 3;

/// The line `step * code + start`.
#[derive(CubeType, Clone, Copy)]
struct Grid {
    step: f32,
    start: f32,
}

/// Quantises 32 numbers into the five words from `at` on: scale and minimum, then
/// codes, on the grid of smallest squared error among a few.
#[cube]
pub(super) fn store_q4(x: &Array<f32>, words: &mut Array<u32>, at: usize) {
    let mut low = x[0];
    let mut high = x[0];
    for i in 1..32usize {
        low = min(low, x[i]);
        high = max(high, x[i]);
    }
    let range = high - low;
    let mut best_step = 0.0f32;
    let mut best_start = 0.0f32;
    let mut best_error = f32::MAX.runtime();
    for cut in 0..4u32 {
        let below = select((cut & 1u32) != 0u32, CUT, 0.0f32);
        let above = select((cut & 2u32) != 0u32, CUT, 0.0f32);
        let mut step = in_half((range - (below + above) * range) / 15.0f32);
        let mut start = in_half(low + below * range);
        for _ in 0..FITS {
            let error = squared_error(x, step, start);
            if error < best_error {
                best_step = step;
                best_start = start;
                best_error = error;
            }
            let fitted = refit(x, step, start);
            step = fitted.step;
            start = fitted.start;
        }
    }
    words[at] = narrow_f16(best_step) | (narrow_f16(best_start) << 16u32);
    for word in 0..4usize {
        let mut packed = 0u32;
        #[unroll]
        for i in 0..4usize {
            let low = code_of(x[word * 4 + i], best_step, best_start);
            let high = code_of(x[word * 4 + i + 16], best_step, best_start);
            let both = u32::cast_from(low) | (u32::cast_from(high) << 4u32);
            packed |= both << comptime!(8 * i as u32);
        }
        words[at + 1 + word] = packed;
    }
}

/// The code of a number, 0 to 15.
#[cube]
fn code_of(x: f32, step: f32, start: f32) -> f32 {
    let inverse = select(step > 0.0f32, 1.0f32 / step, 0.0f32);
    clamp((x - start) * inverse, 0.0f32, 15.0f32).round()
}

#[cube]
fn squared_error(x: &Array<f32>, step: f32, start: f32) -> f32 {
    let mut lanes = Array::<f32>::new(16usize);
    for lane in 0..16usize {
        lanes[lane] = 0.0f32;
        for half in 0..2usize {
            let x = x[half * 16 + lane];
            let difference = (step * code_of(x, step, start) + start) - x;
            lanes[lane] += difference * difference;
        }
    }
    tree(&mut lanes)
}

/// The grid that fits the codes of another best, by least squares.
#[cube]
fn refit(x: &Array<f32>, step: f32, start: f32) -> Grid {
    let mut codes = Array::<f32>::new(16usize);
    let mut numbers = Array::<f32>::new(16usize);
    let mut squares = Array::<f32>::new(16usize);
    let mut products = Array::<f32>::new(16usize);
    for lane in 0..16usize {
        let low = code_of(x[lane], step, start);
        let high = code_of(x[lane + 16], step, start);
        codes[lane] = low + high;
        numbers[lane] = x[lane] + x[lane + 16];
        squares[lane] = low * low + high * high;
        products[lane] = low * x[lane] + high * x[lane + 16];
    }
    let sum = tree(&mut codes);
    let total = tree(&mut numbers);
    let spread = 32.0f32 * tree(&mut squares) - sum * sum;
    let is_flat = spread <= 0.0f32;
    let slope = (32.0f32 * tree(&mut products) - sum * total) / select(is_flat, 1.0f32, spread);
    let slope = select(is_flat, 0.0f32, slope);
    Grid {
        step: in_half(slope),
        start: in_half((total - slope * sum) / 32.0f32),
    }
}

/// The nearest half-precision number.
#[cube]
fn in_half(x: f32) -> f32 {
    widen_f16(narrow_f16(x))
}
