//! The chunks of one token's context, folded.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::CHUNK;
use crate::burn::cube::math::exp;

/// A cube has one head and one token, and folds its chunks; a unit has every
/// 128th column.
#[cube(launch)]
pub(super) fn fold_kernel(
    mixed: &Array<f32>,
    totals: &Array<f32>,
    out: &mut Array<f32>,
    from: u32,
    chunks: u32,
    #[comptime] width: usize,
) {
    let vector = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let first = vector * chunks as usize;
    let to = (from as usize * CUBE_COUNT_X as usize + vector) * width;
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let mut largest = totals[first * 2];
        let mut sum = totals[first * 2 + 1];
        let mut value = mixed[first * width + column];
        for chunk in 1..chunks as usize {
            let place = first + chunk;
            let both = max(largest, totals[place * 2]);
            let here = exp(largest - both);
            let there = exp(totals[place * 2] - both);
            largest = both;
            sum = sum * here + totals[place * 2 + 1] * there;
            value = value * here + mixed[place * width + column] * there;
        }
        out[to + column] = value * (1.0f32 / sum);
        column += CHUNK;
    }
}
