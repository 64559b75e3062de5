//! Sums over `f32` vectors: 16 virtual lanes, then one fixed tree.
//!
//! Element `i` goes to lane `i mod 16`, in ascending order; then lanes 8 apart
//! are added, then 4, 2 and 1 apart.

use crate::cut;
use crate::kernels::dispatch::for_each_isa;

/// Virtual lanes of a reduction.
pub const LANES: usize = 16;

/// The fixed tree over 16 lanes.
#[inline(always)]
pub fn tree(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    lanes[0]
}

/// Sum of all elements.
#[inline(always)]
pub fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for chunk in values.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    tree(lanes)
}

/// Sum of products of the elements that both have.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (cut::first(a, len), cut::first(b, len));
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    tree(lanes)
}

for_each_isa! {
    /// Sum of squares.
    pub fn sum_of_squares(values: &[f32]) -> f32 {
        dot(values, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    #[test]
    fn lanes_and_tree_are_as_documented() {
        let values: [f32; 37] = core::array::from_fn(|i| 1.0 + 1e-7 * (i * i) as f32);
        let mut lanes = [0.0_f32; 16];
        for (i, v) in values.iter().enumerate() {
            lanes[i % 16] += v * v;
        }
        let a: [f32; 8] = core::array::from_fn(|i| lanes[i] + lanes[i + 8]);
        let b: [f32; 4] = core::array::from_fn(|i| a[i] + a[i + 4]);
        let expected = (b[0] + b[2]) + (b[1] + b[3]);
        for isa in Isa::available() {
            assert_eq!(sum_of_squares(isa, &values).to_bits(), expected.to_bits());
        }
    }
}
