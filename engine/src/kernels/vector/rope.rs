//! Rotary position embedding (Su et al. 2021), half-split: element `i` is
//! paired with element `i + dim / 2`.

use crate::kernels::dispatch::for_each_isa;

/// Cosines and sines of one position, times `factor`. The angle is
/// `position * inverse_frequency`, computed in `f32` as the references do.
pub fn angles(
    position: u32,
    inverse_frequencies: &[f32],
    factor: f32,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    for ((frequency, cos), sin) in inverse_frequencies.iter().zip(cos).zip(sin) {
        let angle = position as f32 * frequency;
        *cos = libm::cosf(angle) * factor;
        *sin = libm::sinf(angle) * factor;
    }
}

for_each_isa! {
    /// Rotates `x` in place by the given angles.
    pub fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32]) {
        let (low, high) = x.split_at_mut(x.len() / 2);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (x, y) = (*a, *b);
            *a = x * cos - y * sin;
            *b = y * cos + x * sin;
        }
    }
}
