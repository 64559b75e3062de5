//! Chunks of positions: what each adds up to, and how they are folded together.

use crate::math::exp;

/// Positions of a chunk.
pub const CHUNK: usize = 128;

/// The largest score of some positions, and the sum of `e^(score - max)`.
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Total {
    /// The largest score.
    pub max: f32,
    /// The weights' sum.
    pub sum: f32,
}

impl Total {
    /// Of no positions. Finite, so that differences are never NaN.
    pub const NONE: Self = Self {
        max: f32::MIN,
        sum: 0.0,
    };

    /// Adds `other`; returns the factors on these sums and on the others.
    pub(super) fn fold(&mut self, other: Self) -> (f32, f32) {
        let max = if other.max > self.max {
            other.max
        } else {
            self.max
        };
        let (here, there) = (exp(self.max - max), exp(other.max - max));
        self.sum = self.sum * here + other.sum * there;
        self.max = max;
        (here, there)
    }
}

/// Folds the sums of later positions, `part`, into those of earlier ones.
pub fn fold(out: &mut [f32], total: &mut Total, part: &[f32], part_total: Total) {
    let (here, there) = total.fold(part_total);
    for (out, part) in out.iter_mut().zip(part) {
        *out = *out * here + *part * there;
    }
}

/// Divides the sums by the weights' sum.
pub fn finish(out: &mut [f32], total: Total) {
    let inverse = 1.0 / total.sum;
    for out in out.iter_mut() {
        *out *= inverse;
    }
}
