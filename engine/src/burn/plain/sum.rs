//! Sums in a stated order, so that they have the same bits everywhere.

use alloc::vec;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels::reduce::LANES;
use crate::quant::GROUP;

/// The sum over dimension `dim`, first to last; its length becomes 1.
pub fn sum_in_order<B: Backend, const D: usize>(x: Tensor<B, D>, dim: usize) -> Tensor<B, D> {
    let last = x.dims()[dim] - 1;
    x.cumsum(dim).narrow(dim, last, 1)
}

/// The sum over the last dimension as [`crate::kernels::reduce`] takes it:
/// element `i` goes to lane `i mod 16`; then lanes 8 apart are added, then 4, 2
/// and 1 apart.
pub fn sum_in_lanes<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let mut dims = x.dims();
    let len = dims[D - 1];
    dims[D - 1] = 1;
    let rows: usize = dims.iter().product();
    let padded = pad(x.reshape([rows, len]), LANES);
    let chunks = padded.dims()[1] / LANES;
    let mut lanes = sum_in_order(padded.reshape([rows, chunks, LANES]), 1);
    for half in [8, 4, 2, 1] {
        lanes = lanes.clone().narrow(2, 0, half) + lanes.narrow(2, half, half);
    }
    lanes.reshape(dims)
}

/// A group's two terms next to each other, `[count, groups, ..]` each: `[count, 2 *
/// groups, ..]`.
pub(super) fn interleave<B: Backend>(first: Tensor<B, 4>, second: Tensor<B, 4>) -> Tensor<B, 4> {
    let [count, groups, rows, columns] = first.dims();
    let both: Tensor<B, 5> = Tensor::stack(vec![first, second], 2);
    both.reshape([count, 2 * groups, rows, columns])
}

/// All vectors of the last dimension in groups of 32, the last one padded with
/// zeros: `[vectors, groups, 32]`.
pub(super) fn in_groups<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 3> {
    let dims = x.dims();
    let width = dims[D - 1];
    let vectors = dims.iter().product::<usize>() / width;
    let padded = pad(x.reshape([vectors, width]), GROUP);
    let groups = padded.dims()[1] / GROUP;
    padded.reshape([vectors, groups, GROUP])
}

/// Zeros after each row, up to a multiple of `unit`.
pub(in crate::burn) fn pad<B: Backend>(rows: Tensor<B, 2>, unit: usize) -> Tensor<B, 2> {
    let [count, len] = rows.dims();
    let padding = len.next_multiple_of(unit) - len;
    if padding == 0 {
        return rows;
    }
    let zeros = Tensor::zeros([count, padding], &rows.device());
    Tensor::cat(vec![rows, zeros], 1)
}
