//! Softmax attention over the cached rows.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{PlainRows, exp, sum_in_order};
use crate::burn::backend::{Activation, Attend};
use crate::kernels::attend::CHUNK;

/// A chunk's weights are added up in as many sums: position `i` goes to sum
/// `i mod 4`.
const SUMS: usize = 4;

/// Each token's heads attend to the rows up to the token's own:
/// `[tokens, heads, width]`.
pub fn attend<B: Backend>(rows: &PlainRows<B>, task: &Attend<B>) -> Tensor<B, 3> {
    let [tokens, heads, _] = task.query.values.dims();
    let mut outputs = Vec::with_capacity(tokens);
    for token in 0..tokens {
        let last = task.position + token;
        let first = (last + 1).saturating_sub(task.window);
        let query = Query {
            first: task.query.vectors(token * heads, heads),
            rotated: task.rotated.clone().map(|rotated| {
                let width = rotated.dims()[2];
                let values = rotated.narrow(0, token, 1).reshape([heads, width]);
                Activation {
                    values,
                    codes: None,
                }
            }),
            scale: task.scale,
        };
        outputs.push(query.attend(rows, first, last).unsqueeze_dim(0));
    }
    Tensor::cat(outputs, 0)
}

/// One token's queries.
struct Query<B: Backend> {
    /// `[heads, width]`.
    first: Activation<B>,
    /// `[heads, qk_rope_head_dim]`.
    rotated: Option<Activation<B>>,
    scale: f32,
}

impl<B: Backend> Query<B> {
    /// Chunks of 128 positions, each with a maximum and sums of its own, folded
    /// in ascending order (Milakov and Gimelshein 2018), as
    /// [`crate::kernels::attend`] does: `[heads, width]`.
    fn attend(&self, rows: &PlainRows<B>, first: usize, last: usize) -> Tensor<B, 2> {
        let mut total = self.chunk(rows, first, last.min(first / CHUNK * CHUNK + CHUNK - 1));
        for chunk in first / CHUNK + 1..=last / CHUNK {
            let start = chunk * CHUNK;
            total = total.fold(self.chunk(rows, start, last.min(start + CHUNK - 1)));
        }
        let inverse = total.sum.ones_like() / total.sum;
        let mixed = total.mixed * inverse;
        let [heads, shared, width] = mixed.dims();
        mixed.reshape([heads * shared, width])
    }

    /// What positions `first..=last` of one chunk add up to.
    fn chunk(&self, rows: &PlainRows<B>, first: usize, last: usize) -> Sums<B> {
        let len = last + 1 - first;
        let (terms, values) = match &self.rotated {
            Some(rotated) => {
                let latent = rows.parts[0].terms(&self.first, first, len);
                let terms = vec![latent, rows.parts[1].terms(rotated, first, len)];
                (Tensor::cat(terms, 1), &rows.parts[0])
            }
            None => (rows.parts[0].terms(&self.first, first, len), &rows.parts[1]),
        };
        let [heads, _, shared, _] = terms.dims();
        let scores = sum_in_order(terms, 1).reshape([heads, shared, len]);
        let scores = scores.mul_scalar(self.scale);
        let max = scores.clone().max_dim(2);
        let weights = exp(scores - max.clone());
        let each =
            weights.clone().unsqueeze_dim::<4>(3) * values.values(first, len).unsqueeze_dim::<4>(1);
        let width = each.dims()[3];
        Sums {
            max,
            sum: sum_of_weights(weights, first),
            mixed: sum_in_order(each, 2).reshape([heads, shared, width]),
        }
    }
}

/// What some positions add up to, relative to `e^max`.
struct Sums<B: Backend> {
    /// Largest score, `[cached heads, shared, 1]`.
    max: Tensor<B, 3>,
    /// Sum of weights, `[cached heads, shared, 1]`.
    sum: Tensor<B, 3>,
    /// Sum of weighted values, `[cached heads, shared, width]`.
    mixed: Tensor<B, 3>,
}

impl<B: Backend> Sums<B> {
    fn fold(self, later: Self) -> Self {
        let max = self.max.clone().max_pair(later.max.clone());
        let (here, there) = (exp(self.max - max.clone()), exp(later.max - max.clone()));
        Self {
            max,
            sum: self.sum * here.clone() + later.sum * there.clone(),
            mixed: self.mixed * here + later.mixed * there,
        }
    }
}

/// The sum of the weights of positions from `first` on.
fn sum_of_weights<B: Backend>(weights: Tensor<B, 3>, first: usize) -> Tensor<B, 3> {
    let [heads, shared, len] = weights.dims();
    let before = first % SUMS;
    let after = (before + len).next_multiple_of(SUMS) - (before + len);
    let zeros = |len| Tensor::zeros([heads, shared, len], &weights.device());
    let (before, after) = (zeros(before), zeros(after));
    let padded = Tensor::cat(vec![before, weights, after], 2);
    let fours = padded.dims()[2] / SUMS;
    let sums = sum_in_order(padded.reshape([heads, shared, fours, SUMS]), 2);
    let sum = |i| sums.clone().narrow(3, i, 1).reshape([heads, shared, 1]);
    (sum(0) + sum(2)) + (sum(1) + sum(3))
}
