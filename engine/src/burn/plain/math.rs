//! Elementary functions with the bits of [`crate::math`].

use alloc::vec::Vec;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};

use super::sum_in_lanes;

/// `e^x`; the method is that of [`crate::math::exp`].
pub fn exp<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0;
    const COEFFICIENTS: [f32; 5] = [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        5.000_000_3e-1,
    ];
    let clamped = x.clone().clamp(-87.0, 88.0);
    let n = clamped
        .clone()
        .mul_scalar(core::f32::consts::LOG2_E)
        .add_scalar(ROUND)
        .sub_scalar(ROUND);
    let r = clamped - n.clone().mul_scalar(LN2_HIGH);
    let r = r - n.clone().mul_scalar(LN2_LOW);
    let mut p = r.full_like(1.987_569_1e-4);
    for coefficient in COEFFICIENTS {
        p = (p * r.clone()).add_scalar(coefficient);
    }
    let p = (p * (r.clone() * r.clone()) + r).add_scalar(1.0);
    let result = p * power_of_two(n);
    result.mask_fill(x.lower_elem(-87.0), 0.0)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let divisor = exp(x.neg()).add_scalar(1.0);
    divisor.ones_like() / divisor
}

/// `x / (1 + e^-x)` (Elfwing et al. 2017).
pub fn silu<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, D> {
    let divisor = exp(x.clone().neg()).add_scalar(1.0);
    x / divisor
}

/// Softmax over the last dimension.
pub fn softmax<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let largest = x.clone().max_dim(1);
    let powers = exp(x - largest);
    let sum = sum_in_lanes(powers.clone());
    powers / sum
}

/// `2^n` for whole numbers between -127 and 127, exactly: looked up.
fn power_of_two<B: Backend, const D: usize>(n: Tensor<B, D>) -> Tensor<B, D> {
    const BIAS: i32 = 127;
    let powers: Vec<f32> = (0..=2 * BIAS as u32)
        .map(|exponent| f32::from_bits(exponent << 23))
        .collect();
    let len = powers.len();
    let table = Tensor::<B, 1>::from_data(TensorData::new(powers, [len]), &n.device());
    let dims = n.dims();
    let count = dims.iter().product::<usize>();
    let index = n.reshape([count]).int().add_scalar(BIAS);
    table.select(0, index).reshape(dims)
}
