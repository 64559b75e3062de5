//! Rotary position embedding (Su et al. 2021), half-split.

use alloc::vec;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::burn::backend::Angles;

/// Rotates `x`, `[tokens, heads, rope_dim]`: element `i` is paired with element
/// `i + rope_dim / 2`.
pub fn rotate<B: Backend>(x: Tensor<B, 3>, angles: &Angles<B>) -> Tensor<B, 3> {
    let half = x.dims()[2] / 2;
    let (low, high) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
    let cos = angles.cos.clone().unsqueeze_dim::<3>(1);
    let sin = angles.sin.clone().unsqueeze_dim::<3>(1);
    let turned_low = low.clone() * cos.clone() - high.clone() * sin.clone();
    let turned_high = high * cos + low * sin;
    Tensor::cat(vec![turned_low, turned_high], 2)
}
