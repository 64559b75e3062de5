//! Activations to eight-bit codes: one scale for 32 numbers.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::sum::in_groups;
use crate::burn::codes::Codes;
use crate::kernels::quantize::NEGLIGIBLE;
use crate::math::MAX_F16;

/// Codes of all vectors of the last dimension, as
/// [`crate::kernels::quantize`] makes them.
pub fn quantize<B: Backend, const D: usize>(x: Tensor<B, D>) -> Codes<B> {
    let x = in_groups(x);
    let largest = x.clone().abs().max_dim(2);
    let is_zero = largest.clone().lower_equal_elem(NEGLIGIBLE);
    let inverse = largest.full_like(127.0) / largest.clone();
    let inverse = inverse.mask_fill(is_zero.clone(), 0.0);
    Codes {
        codes: (x * inverse).round(),
        scales: largest.div_scalar(127.0).mask_fill(is_zero, 0.0),
    }
}

/// The nearest finite half-precision numbers, by arithmetic: not every backend
/// has that type.
pub fn round_to_f16<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    /// The smallest normal half.
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
    /// Halves have 11 significant bits, 13 fewer than `f32` (Dekker 1971).
    const SPLIT: f32 = 8193.0;
    /// The last place of numbers around this is the step of subnormal halves.
    const SUBNORMAL: f32 = 0.75;
    let x = x.clamp(-MAX_F16, MAX_F16);
    let large = x.clone().mul_scalar(SPLIT);
    let normal = large.clone() - (large - x.clone());
    let subnormal = x.clone().add_scalar(SUBNORMAL).sub_scalar(SUBNORMAL);
    let is_subnormal = x.abs().lower_elem(SMALLEST_NORMAL);
    normal.mask_where(is_subnormal, subnormal)
}
