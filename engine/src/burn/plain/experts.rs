//! A mixture of experts that touches only the chosen ones.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::{PlainMatrices, quantize, silu, sum_in_order};
use crate::burn::backend::{Activation, Routing};

/// `residual + sum over the chosen experts of weight * down(silu(gate x) * up
/// x)`, token by token: so the choice need not be known here, and memory holds
/// one token's experts.
pub fn experts<B: Backend>(
    [gate, up, down]: [&PlainMatrices<B>; 3],
    input: &Activation<B>,
    routing: &Routing<B>,
    residual: Tensor<B, 2>,
) -> Tensor<B, 2> {
    let tokens = residual.dims()[0];
    let top_k = routing.experts.dims()[1];
    let mut outputs = Vec::with_capacity(tokens);
    for token in 0..tokens {
        let input = input.token(token);
        let chosen = routing.experts.clone().narrow(0, token, 1);
        let chosen: Tensor<B, 1, Int> = chosen.reshape([top_k]);
        // What is none of them counts nothing.
        let is_none = chosen.clone().lower_elem(0);
        let chosen = chosen.mask_fill(is_none.clone(), 0);
        let gate = gate.project_chosen(chosen.clone(), &input);
        let values = silu(gate) * up.project_chosen(chosen.clone(), &input);
        let middle = Activation {
            codes: input.codes.map(|_| quantize(values.clone())),
            values,
        };
        let output = down.project_chosen(chosen, &middle);
        let weights = routing.weights.clone().narrow(0, token, 1).transpose();
        let weights = weights.mask_fill(is_none.unsqueeze_dim(1), 0.0);
        let terms = vec![residual.clone().narrow(0, token, 1), output * weights];
        outputs.push(sum_in_order(Tensor::cat(terms, 0), 0));
    }
    Tensor::cat(outputs, 0)
}
