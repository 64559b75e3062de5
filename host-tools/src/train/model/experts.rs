//! Feed-forward layers: dense, and a mixture of experts (DeepSeek-V3,
//! section 2.1.2) with its balance kept by biases instead of a loss.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu};
use burn::tensor::backend::Backend;

use super::ModelShape;
use super::initializer::Initializer;
use super::linear::Linear;

/// `down(silu(gate x) * up x)`.
#[derive(Module, Debug)]
pub(super) struct Mlp<B: Backend> {
    gate_proj: Linear<B>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    pub(super) fn new(hidden: usize, inner: usize, start: &mut Initializer<'_, B>) -> Self {
        let mut linear = |out, width| Linear::new(out, width, start);
        Self {
            gate_proj: linear(inner, hidden),
            up_proj: linear(inner, hidden),
            down_proj: linear(hidden, inner),
        }
    }

    fn inner(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        silu(self.gate_proj.forward(x.clone())) * self.up_proj.forward(x)
    }

    /// `x` is [tokens, hidden].
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        self.down_proj.forward(self.inner(x))
    }
}

/// The router. Its bias moves which experts are chosen, never their weights.
#[derive(Module, Debug)]
pub(super) struct Gate<B: Backend> {
    weight: Param<Tensor<B, 2>>,
    e_score_correction_bias: Param<Tensor<B, 1>>,
}

/// Router, experts and shared expert of one layer.
///
/// All experts are computed for all tokens and the ones that were not chosen
/// are weighted with zero: at the sizes trained here three large products are
/// faster than many small ones, and the result is the same.
#[derive(Module, Debug)]
pub(super) struct Experts<B: Backend> {
    gate: Gate<B>,
    /// All experts side by side: rows of gate and up, columns of down.
    experts: Mlp<B>,
    shared_experts: Mlp<B>,
}

impl<B: Backend> Experts<B> {
    pub(super) fn new(shape: &ModelShape, start: &mut Initializer<'_, B>) -> Self {
        let (hidden, experts) = (shape.hidden_size, shape.n_routed_experts);
        let width = shape.moe_intermediate_size;
        let bias = Tensor::zeros([experts], start.device);
        Self {
            gate: Gate {
                weight: start.matrix(experts, hidden),
                e_score_correction_bias: Param::from_tensor(bias).set_require_grad(false),
            },
            experts: Mlp::new(hidden, experts * width, start),
            shared_experts: Mlp::new(hidden, shape.n_shared_experts * width, start),
        }
    }

    /// `x` is [tokens, hidden]. Also returns the choice: [tokens, experts],
    /// one where an expert was chosen.
    pub(super) fn forward(
        &self,
        x: Tensor<B, 2>,
        shape: &ModelShape,
    ) -> (Tensor<B, 2>, Tensor<B, 2>) {
        let scores = sigmoid(x.clone().matmul(self.gate.weight.val().transpose()));
        let bias = self.gate.e_score_correction_bias.val().unsqueeze();
        let biased = scores.clone().detach() + bias;
        let chosen = largest(biased, shape.num_experts_per_tok);
        let weights = scores * chosen.clone();
        let sum = weights.clone().sum_dim(1).add_scalar(1e-20);
        let weights = weights / sum;

        let [tokens, experts] = weights.dims();
        let inner = self.experts.inner(x.clone());
        let width = shape.moe_intermediate_size;
        let inner = inner.reshape([tokens, experts, width]) * weights.unsqueeze_dim(2);
        let routed = self
            .experts
            .down_proj
            .forward(inner.reshape([tokens, experts * width]));
        (routed + self.shared_experts.forward(x), chosen)
    }

    /// Moves the bias of every expert by `step` towards an even load
    /// (DeepSeek-V3, section 2.1.2). `load` is the number of tokens that chose
    /// each expert.
    pub(super) fn balance(mut self, load: Tensor<B, 1>, step: f32) -> Self {
        let error = load.clone().mean().sub(load);
        let change = error.sign().mul_scalar(step);
        let bias = self.gate.e_score_correction_bias;
        self.gate.e_score_correction_bias = bias
            .map(|bias| (bias + change).detach())
            .set_require_grad(false);
        self
    }
}

/// One for the `count` largest numbers of each row, zero for the others.
fn largest<B: Backend>(scores: Tensor<B, 2>, count: usize) -> Tensor<B, 2> {
    let mut left = scores.clone();
    let mut threshold = left.clone().max_dim(1);
    for _ in 1..count {
        left = left
            .clone()
            .mask_fill(left.greater_equal(threshold), f32::MIN);
        threshold = left.clone().max_dim(1);
    }
    scores.greater_equal(threshold).float()
}
