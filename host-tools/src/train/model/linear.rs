//! A matrix as Hugging Face stores it.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::initializer::Initializer;

/// `y = x weightᵀ`, without a bias.
#[derive(Module, Debug)]
pub(super) struct Linear<B: Backend> {
    /// [out, in].
    weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Linear<B> {
    pub(super) fn new(out: usize, width: usize, start: &mut Initializer<'_, B>) -> Self {
        Self {
            weight: start.matrix(out, width),
        }
    }

    /// `x` is [tokens, in]; the result is [tokens, out].
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        x.matmul(self.weight.val().transpose())
    }

    /// The rows that `ids` [tokens] choose: [tokens, in].
    pub(super) fn rows(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        self.weight.val().select(0, ids)
    }
}
