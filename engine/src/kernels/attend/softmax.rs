//! A chunk's scores to weights.

use super::query::{NARROW, WIDE};
use super::total::{CHUNK, Total};
use crate::kernels::Isa;
use crate::kernels::dispatch::for_each_isa;
use crate::math::exp;

/// Running sums per lane: position `i` goes to sum `i mod 4`.
const SUMS: usize = 4;

/// Replaces the first `count` rows of scores by `e^(scale * score - max)`, or 0
/// where a lane does not see the position; `seen` has each lane's first
/// position and the one after its last. Returns each lane's maximum and sum.
pub(super) fn weigh<const W: usize>(
    isa: Isa,
    scores: &mut [[f32; W]],
    count: usize,
    scale: f32,
    seen: &[(usize, usize); W],
) -> [Total; W] {
    let (seen_by_all, rest) = scores.split_at_mut(count.min(scores.len()));
    rest.fill([0.0; W]);
    mask(seen_by_all, seen);
    let mut max = [f32::MIN; W];
    let mut sum = [0.0; W];
    let scores = scores.as_flattened_mut();
    match W {
        WIDE => weigh_wide(isa, scores, count, scale, &mut max, &mut sum),
        _ => weigh_narrow(isa, scores, count, scale, &mut max, &mut sum),
    }
    core::array::from_fn(|lane| Total {
        max: max[lane],
        sum: sum[lane],
    })
}

/// Minus infinity, which becomes weight 0, where a lane sees nothing.
fn mask<const W: usize>(scores: &mut [[f32; W]], seen: &[(usize, usize); W]) {
    let count = scores.len();
    for (lane, (first, end)) in seen.iter().enumerate() {
        let (first, end) = ((*first).min(count), (*end).min(count));
        for row in &mut scores[..first] {
            row[lane] = f32::NEG_INFINITY;
        }
        for row in &mut scores[end..] {
            row[lane] = f32::NEG_INFINITY;
        }
    }
}

for_each_isa! {
    /// [`weigh`] for 16 lanes.
    pub fn weigh_wide(scores: &mut [f32], count: usize, scale: f32, max: &mut [f32], sum: &mut [f32]) {
        weigh_lanes::<WIDE>(scores, count, scale, max, sum);
    }
}

for_each_isa! {
    /// [`weigh`] for 4 lanes.
    pub fn weigh_narrow(scores: &mut [f32], count: usize, scale: f32, max: &mut [f32], sum: &mut [f32]) {
        weigh_lanes::<NARROW>(scores, count, scale, max, sum);
    }
}

#[inline(always)]
fn weigh_lanes<const W: usize>(
    scores: &mut [f32],
    count: usize,
    scale: f32,
    max: &mut [f32],
    sum: &mut [f32],
) {
    // Four positions at a time; a maximum does not depend on the order.
    let fours = scores.as_chunks_mut::<W>().0.as_chunks_mut::<SUMS>().0;
    let mut largest = [[f32::MIN; W]; SUMS];
    let mut left = count;
    for rows in fours.iter_mut() {
        for (i, (row, largest)) in rows.iter_mut().zip(&mut largest).enumerate() {
            let inside = i < left;
            for (score, largest) in row.iter_mut().zip(largest) {
                *score = if inside {
                    *score * scale
                } else {
                    f32::NEG_INFINITY
                };
                *largest = if *score > *largest { *score } else { *largest };
            }
        }
        left = left.saturating_sub(SUMS);
    }
    for largest in &largest {
        for (max, largest) in max.iter_mut().zip(largest) {
            *max = if *largest > *max { *largest } else { *max };
        }
    }
    let shared: [[f32; W]; SUMS] = [core::array::from_fn(|lane| max[lane]); SUMS];
    let mut sums = [[0.0; W]; SUMS];
    for rows in fours {
        let rows = rows.as_flattened_mut().iter_mut();
        let lanes = shared.as_flattened().iter().zip(sums.as_flattened_mut());
        for (score, (max, sum)) in rows.zip(lanes) {
            *score = exp(*score - max);
            *sum += *score;
        }
    }
    for (lane, sum) in sum.iter_mut().enumerate() {
        *sum = (sums[0][lane] + sums[2][lane]) + (sums[1][lane] + sums[3][lane]);
    }
}

const _: () = assert!(CHUNK.is_multiple_of(SUMS));
