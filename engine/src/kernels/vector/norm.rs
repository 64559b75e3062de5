//! Root-mean-square norm (Zhang and Sennrich 2019).

use super::reduce;
use crate::kernels::Isa;
use crate::kernels::dispatch::for_each_isa;

/// `out[i] = weight[i] * (x[i] / sqrt(mean(x^2) + eps))`.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let factor = inverse_rms(isa, x, eps);
    scale(isa, x, weight, factor, out);
}

/// [`rms_norm`] in place.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    let factor = inverse_rms(isa, x, eps);
    for (x, weight) in x.iter_mut().zip(weight) {
        *x = weight * (*x * factor);
    }
}

fn inverse_rms(isa: Isa, x: &[f32], eps: f32) -> f32 {
    let mean = reduce::sum_of_squares(isa, x) / x.len().max(1) as f32;
    1.0 / libm::sqrtf(mean + eps)
}

for_each_isa! {
    /// `out[i] = weight[i] * (x[i] * factor)`.
    pub fn scale(x: &[f32], weight: &[f32], factor: f32, out: &mut [f32]) {
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = weight * (x * factor);
        }
    }
}
