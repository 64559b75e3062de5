//! Root-mean-square normalisation.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `weight * x / sqrt(mean(x²) + eps)` (Zhang and Sennrich 2019).
#[derive(Module, Debug)]
pub(super) struct RmsNorm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    eps: f32,
}

impl<B: Backend> RmsNorm<B> {
    /// Weights of one.
    pub(super) fn new(width: usize, eps: f32, device: &B::Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            eps,
        }
    }

    /// `x` is [tokens, width].
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        let mean = x.clone().square().mean_dim(1);
        let scale = mean.add_scalar(self.eps).sqrt().recip();
        x * scale * self.weight.val().unsqueeze()
    }
}
