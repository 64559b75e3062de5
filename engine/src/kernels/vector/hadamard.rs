//! Rotation of vectors before they are rounded to four bits.
//!
//! A Hadamard matrix spreads an outlier over all columns, so that groups of 32
//! have numbers of like size (QuaRot, Ashkboos et al. 2024). It is orthogonal
//! and its own inverse: a rotated query and a rotated key have the product that
//! they had before, and rotating a sum of rotated values gives the sum.
//!
//! Lengths that are no power of two are cut into blocks that are, the largest
//! first: 136 = 128 + 8.

use crate::kernels::dispatch::for_each_isa;

for_each_isa! {
    /// Rotates `x` in place. Rotating twice gives `x` back.
    pub fn rotate(x: &mut [f32]) {
        let mut rest = x;
        while !rest.is_empty() {
            let len = 1 << rest.len().ilog2();
            let Some((block, tail)) = rest.split_at_mut_checked(len) else {
                return;
            };
            rotate_block(block);
            rest = tail;
        }
    }
}

/// Lanes inside which neighbours are added by shuffling.
const LANES: usize = 16;

/// One block of a power of two: sums and differences of elements half a block
/// apart, a quarter, … 1 apart, then the factor that keeps the length.
#[inline(always)]
fn rotate_block(x: &mut [f32]) {
    let factor = 1.0 / libm::sqrtf(x.len() as f32);
    let mut half = x.len() / 2;
    while half >= LANES || (half > 0 && x.len() < LANES) {
        add_and_subtract(x, half);
        half /= 2;
    }
    for lanes in x.as_chunks_mut::<LANES>().0 {
        *lanes = butterfly::<1>(butterfly::<2>(butterfly::<4>(butterfly::<8>(*lanes))));
    }
    for x in x.iter_mut() {
        *x *= factor;
    }
}

/// Sums and differences of elements `half` apart.
#[inline(always)]
fn add_and_subtract(x: &mut [f32], half: usize) {
    let mut rest = x;
    while let Some((low, tail)) = rest.split_at_mut_checked(half)
        && let Some((high, tail)) = tail.split_at_mut_checked(half)
        && half > 0
    {
        for (low, high) in low.iter_mut().zip(high) {
            (*low, *high) = (*low + *high, *low - *high);
        }
        rest = tail;
    }
}

/// As [`add_and_subtract`], of elements `HALF` apart.
#[inline(always)]
fn butterfly<const HALF: usize>(x: [f32; LANES]) -> [f32; LANES] {
    core::array::from_fn(
        #[inline(always)]
        |i| {
            let other = x[(i ^ HALF) % LANES];
            if i & HALF == 0 {
                x[i] + other
            } else {
                other - x[i]
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    fn wave<const N: usize>() -> [f32; N] {
        core::array::from_fn(|i| libm::sinf(i as f32 * 0.73) + 0.1)
    }

    /// Element `(row, column)` of Sylvester's matrix: minus one to the number
    /// of ones that both have.
    fn check<const N: usize>(blocks: &[usize]) {
        let x = wave::<N>();
        let mut expected = [0.0_f64; N];
        let mut start = 0;
        for len in blocks {
            for row in 0..*len {
                for column in 0..*len {
                    let sign = if (row & column).count_ones() % 2 == 0 {
                        1.0
                    } else {
                        -1.0
                    };
                    expected[start + row] +=
                        sign * f64::from(x[start + column]) / libm::sqrt(*len as f64);
                }
            }
            start += len;
        }
        assert_eq!(start, N);
        let mut bits = None;
        for isa in Isa::available() {
            let mut rotated = x;
            rotate(isa, &mut rotated);
            for (found, expected) in rotated.iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5);
            }
            let found = rotated.map(f32::to_bits);
            assert_eq!(found, *bits.get_or_insert(found), "{}", isa.name());
            rotate(isa, &mut rotated);
            for (back, x) in rotated.iter().zip(&x) {
                assert!((back - x).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn rotation_is_sylvesters_matrix_block_by_block() {
        check::<64>(&[64]);
        check::<16>(&[16]);
        check::<8>(&[8]);
        check::<18>(&[16, 2]);
        check::<136>(&[128, 8]);
        check::<7>(&[4, 2, 1]);
    }
}
