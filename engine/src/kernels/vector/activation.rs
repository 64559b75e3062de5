//! What is not linear in a layer: the gate of an MLP, and softmax.

use crate::kernels::dispatch::for_each_isa;
use crate::math::{exp, silu};

for_each_isa! {
    /// `gate[i] = silu(gate[i]) * up[i]`: the gated MLP's middle (Shazeer 2020).
    pub fn gated(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = silu(*gate) * up;
        }
    }
}

/// Softmax in place, in `f32`. Where a number is NaN or infinity, or all are
/// minus infinity, all become NaN.
pub fn softmax(values: &mut [f32]) {
    let max = values.iter().fold(f32::NEG_INFINITY, |max, v| max.max(*v));
    for value in values.iter_mut() {
        *value = exp(*value - max);
    }
    let sum = super::reduce::sum(values);
    for value in values.iter_mut() {
        *value /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one() {
        let mut values = [1.0, 2.0, 3.0, -50.0];
        softmax(&mut values);
        let expected = [0.090_030_57, 0.244_728_48, 0.665_240_94, 0.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!(libm::fabsf(value - expected) < 1e-6);
        }
    }
}
