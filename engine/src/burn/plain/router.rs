//! The choice of experts, without leaving the device. The procedure is that of
//! [`crate::execute::router`].

use alloc::vec::Vec;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::{sigmoid, softmax, sum_in_order};
use crate::blob::{Moe, Scoring};
use crate::burn::backend::Routing;

/// Lower than any score, and finite: not every device has infinities.
const EXCLUDED: f32 = f32::MIN;

/// Chooses `top_k` experts for each row of `logits`, `[tokens, num_experts]`;
/// `bias` corrects the choice. They come in ascending order.
pub fn route<B: Backend>(
    moe: &Moe,
    logits: Tensor<B, 2>,
    bias: Option<&Tensor<B, 1>>,
) -> Routing<B> {
    let router = &moe.router;
    let scores = match router.scoring {
        Scoring::Softmax => softmax(logits),
        Scoring::SigmoidWithBias => sigmoid(logits),
    };
    let mut ranks = scores.clone();
    if let Some(bias) = bias {
        ranks = ranks + bias.clone().unsqueeze();
    }
    if router.num_groups > 1 {
        ranks = keep_best_groups(moe, ranks);
    }
    let experts = largest(ranks, moe.top_k as usize);
    let mut weights = scores.gather(1, experts.clone());
    if router.normalize {
        let sum = sum_in_order(weights.clone(), 1);
        weights = weights
            / match router.scoring {
                Scoring::Softmax => sum,
                // As the reference: sigmoids may all be zero.
                Scoring::SigmoidWithBias => sum.add_scalar(1e-20),
            };
    }
    let weights = weights.mul_scalar(router.scale);
    let ascending = experts.clone().argsort(1);
    Routing {
        experts: experts.gather(1, ascending.clone()),
        weights: weights.gather(1, ascending),
    }
}

/// Excludes all experts outside the best groups.
fn keep_best_groups<B: Backend>(moe: &Moe, ranks: Tensor<B, 2>) -> Tensor<B, 2> {
    let [tokens, experts] = ranks.dims();
    let groups = moe.router.num_groups as usize;
    let members = ranks.clone().reshape([tokens * groups, experts / groups]);
    let scores = match moe.router.scoring {
        Scoring::Softmax => members.max_dim(1),
        Scoring::SigmoidWithBias => {
            let best = largest(members.clone(), 2);
            sum_in_order(members.gather(1, best), 1)
        }
    };
    let scores = scores.reshape([tokens, groups]);
    let best = largest(scores.clone(), moe.router.top_groups as usize);
    let mut is_out = scores.zeros_like().equal_elem(0.0);
    for choice in best.split(1, 1) {
        is_out = is_out.bool_and(numbers(&scores).not_equal(choice.expand([tokens, groups])));
    }
    let is_out = is_out
        .unsqueeze_dim::<3>(2)
        .expand([tokens, groups, experts / groups])
        .reshape([tokens, experts]);
    ranks.mask_fill(is_out, EXCLUDED)
}

/// Where each row's `count` largest numbers are, the largest first; of equals
/// the first.
fn largest<B: Backend>(values: Tensor<B, 2>, count: usize) -> Tensor<B, 2, Int> {
    let dims = values.dims();
    let numbers = numbers(&values);
    let mut left = values;
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let best = left.clone().argmax(1);
        let is_best = numbers.clone().equal(best.clone().expand(dims));
        left = left.mask_fill(is_best, EXCLUDED);
        found.push(best);
    }
    Tensor::cat(found, 1)
}

/// Each element's column.
fn numbers<B: Backend>(values: &Tensor<B, 2>) -> Tensor<B, 2, Int> {
    let columns = values.dims()[1] as i64;
    let numbers = Tensor::<B, 1, Int>::arange(0..columns, &values.device());
    numbers.unsqueeze::<2>().expand(values.dims())
}
