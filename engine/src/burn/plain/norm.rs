//! Root-mean-square norm (Zhang and Sennrich 2019).

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::sum_in_lanes;

/// `weight * (x / sqrt(mean(x^2) + eps))` over the last dimension.
pub fn rms_norm<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    weight: &Tensor<B, 1>,
    eps: f32,
) -> Tensor<B, D> {
    let width = x.dims()[D - 1] as f32;
    let mean = sum_in_lanes(x.clone() * x.clone()).div_scalar(width);
    let root = mean.add_scalar(eps).sqrt();
    let factor = root.ones_like() / root;
    (x * factor) * weight.clone().unsqueeze::<D>()
}
