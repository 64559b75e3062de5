//! The second half of a layer: a dense MLP, or a mixture of experts.

use burn::tensor::Tensor;

use super::backend::{Activation, DecoderBackend};
use super::decoder::Decoder;
use super::layer::{Experts, Gated, MlpTensors};
use crate::blob::Moe;

impl<B: DecoderBackend> Decoder<B> {
    /// `residual + MLP(input)`.
    pub(super) fn mlp(
        &mut self,
        tensors: &MlpTensors<B>,
        input: &Activation<B>,
        residual: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        match (tensors, self.config.moe) {
            (MlpTensors::Experts(experts), Some(moe)) => {
                self.mixture(&moe, experts, input, residual)
            }
            (MlpTensors::Dense(dense), _) => residual + self.gated(dense, input),
            // A layer with experts has a configuration for them.
            (MlpTensors::Experts(_), None) => residual,
        }
    }

    /// Adds the shared expert, then the routed ones.
    fn mixture(
        &mut self,
        moe: &Moe,
        tensors: &Experts<B>,
        input: &Activation<B>,
        residual: Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let logits = tensors.router.apply(input);
        let routing = B::route(moe, logits, tensors.router_bias.as_ref());
        let residual = match &tensors.shared {
            Some(shared) => residual + self.gated(shared, input),
            None => residual,
        };
        // The choice stays on the device, so this counts every token's experts,
        // though some may be read for several tokens at once.
        let tokens = residual.dims()[0] as u64;
        let weights = [&tensors.gate, &tensors.up, &tensors.down];
        let expert: u64 = weights
            .iter()
            .map(|tensor| tensor.bytes / tensor.count)
            .sum();
        let read = expert * (tokens * u64::from(moe.top_k)).min(u64::from(moe.num_experts));
        self.traffic.experts += read;
        self.traffic.weights += read + tensors.router.bytes;
        let matrices = weights.map(|tensor| &tensor.matrices);
        B::experts(matrices, input, &routing, residual)
    }

    /// `down(silu(gate x) * up x)`.
    fn gated(&mut self, mlp: &Gated<B>, input: &Activation<B>) -> Tensor<B, 2> {
        self.traffic.weights += mlp.gate.bytes + mlp.up.bytes + mlp.down.bytes;
        let middle = B::gate(mlp.gate.apply(input), mlp.up.apply(input), self.quantizes);
        mlp.down.apply(&middle)
    }
}
