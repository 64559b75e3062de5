//! The second half of a layer: a dense MLP, or a mixture of experts.

use burn::tensor::Tensor;

use super::backend::{Activation, DecoderBackend};
use super::decoder::Decoder;
use super::layer::{Experts, Gated, MlpTensors};
use super::slots::Mixture;
use crate::EngineError;

impl<B: DecoderBackend> Decoder<'_, B> {
    /// `residual + MLP(input)`.
    pub(super) fn mlp(
        &mut self,
        tensors: &mut MlpTensors<B>,
        input: &Activation<B>,
        residual: Tensor<B, 2>,
    ) -> Result<Tensor<B, 2>, EngineError> {
        match tensors {
            MlpTensors::Dense(dense) => Ok(residual + self.gated(dense, input)),
            MlpTensors::Experts(experts) => self.mixture(experts, input, residual),
        }
    }

    /// Adds the shared expert, then the routed ones.
    fn mixture(
        &mut self,
        tensors: &mut Experts<B>,
        input: &Activation<B>,
        residual: Tensor<B, 2>,
    ) -> Result<Tensor<B, 2>, EngineError> {
        let logits = tensors.router.apply(input);
        let routing = B::route(&tensors.moe, logits, tensors.router_bias.as_ref());
        let residual = match &tensors.shared {
            Some(shared) => residual + self.gated(shared, input),
            None => residual,
        };
        self.count_experts(tensors, residual.dims()[0]);
        let Experts { gate, up, down, .. } = tensors;
        let Some(slots) = &mut self.slots else {
            let matrices = [&gate.matrices, &up.matrices, &down.matrices];
            return Ok(B::experts(matrices, input, &routing, residual));
        };
        let mixture = Mixture {
            matrices: [&mut gate.matrices, &mut up.matrices, &mut down.matrices],
            input,
            routing,
        };
        let output = slots.mixture(tensors.moe_layer, mixture, residual);
        self.traffic.storage = slots.traffic();
        output
    }

    /// Counts the bytes of the experts that `tokens` tokens read on the device.
    fn count_experts(&mut self, tensors: &Experts<B>, tokens: usize) {
        // The choice stays on the device, so this counts every token's experts,
        // though some may be read for several tokens at once.
        let tokens = tokens as u64;
        let weights = [&tensors.gate, &tensors.up, &tensors.down];
        let expert: u64 = weights
            .iter()
            .map(|tensor| tensor.bytes / tensor.count)
            .sum();
        let moe = &tensors.moe;
        let read = expert * (tokens * u64::from(moe.top_k)).min(u64::from(moe.num_experts));
        self.traffic.experts += read;
        self.traffic.weights += read + tensors.router.bytes;
    }

    /// `down(silu(gate x) * up x)`.
    fn gated(&mut self, mlp: &Gated<B>, input: &Activation<B>) -> Tensor<B, 2> {
        self.traffic.weights += mlp.gate.bytes + mlp.up.bytes + mlp.down.bytes;
        let middle = B::gate(mlp.gate.apply(input), mlp.up.apply(input), self.quantizes);
        mlp.down.apply(&middle)
    }
}
