//! The next token of greedy decoding.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// The token of each row's largest logit, the first of equals; `-1 - t` if logit
/// `t` is the first that is not a number. `[rows, width]` to `[rows]`.
pub fn most_likely<B: Backend>(logits: Tensor<B, 2>) -> Tensor<B, 1, Int> {
    let [rows, width] = logits.dims();
    let none = width as i64;
    let tokens = Tensor::<B, 1, Int>::arange(0..none, &logits.device());
    let tokens: Tensor<B, 2, Int> = tokens.unsqueeze::<2>().expand([rows, width]);
    let broken = logits.clone().is_nan();
    let numbers = logits.mask_fill(broken.clone(), f32::MIN);
    let largest: Tensor<B, 2> = numbers.clone().max_dim(1).expand([rows, width]);
    let below = numbers.lower(largest);
    let best = tokens.clone().mask_fill(below, none).min_dim(1);
    let first_broken = tokens.mask_fill(broken.bool_not(), none).min_dim(1);
    let is_broken = first_broken.clone().lower_elem(none);
    best.mask_where(is_broken, -first_broken - 1)
        .reshape([rows])
}
