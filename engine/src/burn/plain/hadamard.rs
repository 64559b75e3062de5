//! Rotation of vectors before they are rounded to four bits, as
//! [`crate::kernels::hadamard`] (QuaRot, Ashkboos et al. 2024).

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Rotates vectors of the last dimension, cut into blocks of powers of two, the
/// largest first. Rotating twice gives `x` back.
pub fn hadamard<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let width = x.dims()[2];
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < width {
        let len = 1 << (width - start).ilog2();
        blocks.push(rotate_block(x.clone().narrow(2, start, len)));
        start += len;
    }
    Tensor::cat(blocks, 2)
}

/// Sums and differences of elements half a block apart, a quarter, … 1 apart,
/// then the factor that keeps the length.
fn rotate_block<B: Backend>(mut x: Tensor<B, 3>) -> Tensor<B, 3> {
    let dims @ [outer, inner, len] = x.dims();
    let mut half = len / 2;
    while half > 0 {
        let pairs = x.reshape([outer * inner * len / (2 * half), 2, half]);
        let (low, high) = (pairs.clone().narrow(1, 0, 1), pairs.narrow(1, 1, 1));
        let both = vec![low.clone() + high.clone(), low - high];
        x = Tensor::cat(both, 1);
        half /= 2;
    }
    x.reshape(dims).mul_scalar(1.0 / libm::sqrtf(len as f32))
}
