//! Numbers to four-bit codes on a grid with a scale and a minimum, as
//! [`crate::kernels::affine`] makes them.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::sum::in_groups;
use super::{round_to_f16, sum_in_lanes};
use crate::quant::GROUP;

/// Fractions of the range that are cut off below and above, to be tried.
const CUTS: [[f32; 2]; 4] = [[0.0, 0.0], [0.06, 0.0], [0.0, 0.06], [0.06, 0.06]];

/// A grid for each group, and the codes that it gives: a number is `scale * code
/// + minimum`.
#[derive(Debug, Clone)]
pub struct Affine<B: Backend> {
    /// Whole numbers from 0 to 15, `[vectors, groups, 32]`.
    pub codes: Tensor<B, 3>,
    /// Halves, `[vectors, groups, 1]`.
    pub scales: Tensor<B, 3>,
    /// Halves, `[vectors, groups, 1]`.
    pub minima: Tensor<B, 3>,
}

/// Codes of all vectors of the last dimension, on the grid of smallest squared
/// error among a few.
pub fn quantize_affine<B: Backend, const D: usize>(x: Tensor<B, D>) -> Affine<B> {
    let x = in_groups(x);
    let low = x.clone().min_dim(2);
    let range = x.clone().max_dim(2) - low.clone();
    let fits = CUTS.map(|[below, above]| {
        let start = low.clone() + range.clone().mul_scalar(below);
        let left = range.clone() - range.clone().mul_scalar(below + above);
        let first = Fit::new(&x, left.div_scalar(15.0), start);
        let second = first.refit(&x);
        let third = second.refit(&x);
        [first, second, third]
    });
    let best = fits.into_iter().flatten();
    best.fold(Fit::none(&x), Fit::or_better).grid
}

/// A grid and its squared error, `[vectors, groups, 1]`.
struct Fit<B: Backend> {
    grid: Affine<B>,
    error: Tensor<B, 3>,
}

impl<B: Backend> Fit<B> {
    /// Worse than any.
    fn none(x: &Tensor<B, 3>) -> Self {
        let zeros = x.clone().narrow(2, 0, 1).zeros_like();
        Self {
            error: zeros.full_like(f32::INFINITY),
            grid: Affine {
                codes: x.zeros_like(),
                scales: zeros.clone(),
                minima: zeros,
            },
        }
    }

    /// The grid `step * code + start`, in halves.
    fn new(x: &Tensor<B, 3>, step: Tensor<B, 3>, start: Tensor<B, 3>) -> Self {
        let (scales, minima) = (round_to_f16(step), round_to_f16(start));
        let inverse = scales.ones_like() / scales.clone();
        let inverse = inverse.mask_fill(scales.clone().lower_equal_elem(0.0), 0.0);
        let codes = (x.clone() - minima.clone()) * inverse;
        let codes = codes.clamp(0.0, 15.0).round();
        let difference = (scales.clone() * codes.clone() + minima.clone()) - x.clone();
        Self {
            error: sum_in_lanes(difference.clone() * difference),
            grid: Affine {
                codes,
                scales,
                minima,
            },
        }
    }

    /// The grid that fits these codes best, by least squares.
    fn refit(&self, x: &Tensor<B, 3>) -> Self {
        let n = GROUP as f32;
        let codes = self.grid.codes.clone();
        let sum = sum_in_lanes(codes.clone());
        let total = sum_in_lanes(x.clone());
        let squares = sum_in_lanes(codes.clone() * codes.clone());
        let products = sum_in_lanes(codes * x.clone());
        let spread = squares.mul_scalar(n) - sum.clone() * sum.clone();
        let is_flat = spread.clone().lower_equal_elem(0.0);
        let step = (products.mul_scalar(n) - sum.clone() * total.clone()) / spread;
        let step = step.mask_fill(is_flat, 0.0);
        let start = (total - step.clone() * sum).div_scalar(n);
        Self::new(x, step, start)
    }

    fn or_better(self, other: Self) -> Self {
        let is_better = other.error.clone().lower(self.error.clone());
        let pick = |here: Tensor<B, 3>, there| here.mask_where(is_better.clone(), there);
        let columns = self.grid.codes.dims();
        Self {
            grid: Affine {
                codes: self
                    .grid
                    .codes
                    .mask_where(is_better.clone().expand(columns), other.grid.codes),
                scales: pick(self.grid.scales, other.grid.scales),
                minima: pick(self.grid.minima, other.grid.minima),
            },
            error: pick(self.error, other.error),
        }
    }
}
