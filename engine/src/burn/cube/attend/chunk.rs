//! Scores, weights and weighted sums of one chunk of positions.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{CHUNK, Plan};
use crate::burn::cube::math::{LOWEST, exp};
use crate::burn::cube::rows::{PartKind, cached_number};
use crate::burn::cube::unpack::{code_sum, dots4, dots8, half_at};
use crate::quant::SegmentFormat;

/// A cube has one chunk, a block of heads and one token; a unit has one
/// position, then some columns.
#[cube(launch)]
pub(super) fn chunk_kernel(
    first: &Array<u32>,
    second: &Array<u32>,
    query: &Array<f32>,
    query_scales: &Array<f32>,
    rotated: &Array<f32>,
    mixed: &mut Array<f32>,
    totals: &mut Array<f32>,
    scale: f32,
    position: u32,
    window: u32,
    from: u32,
    start: u32,
    #[comptime] plan: Plan,
) {
    let unit = UNIT_POS_X as usize;
    let block = comptime!(plan.block);
    let head = CUBE_POS_Y as usize * block;
    let token = CUBE_POS_Z as usize;
    let own = position + from + CUBE_POS_Z;
    let place = (start + CUBE_POS_X) as usize * CHUNK;
    // Positions of the chunk that the token sees.
    let oldest = select(own < window, 0u32, own - min(own, window - 1u32)) as usize;
    let lowest = select(oldest > place, oldest - min(oldest, place), 0usize);
    let above = select(
        own as usize >= place,
        own as usize + 1 - min(own as usize, place),
        0usize,
    );
    let above = min(above, CHUNK);
    let cached = head / comptime!(plan.shared) * comptime!(plan.context);
    let vector = (from as usize + token) * comptime!(plan.heads) + head;

    let query_sums = sums_of_codes(query, query_scales, vector, plan.first, block);
    let mut weights = SharedMemory::<f32>::new(comptime!(plan.block * CHUNK));
    if unit >= lowest && unit < above {
        let mut scores = Array::<f32>::new(block);
        #[unroll]
        for h in 0..block {
            scores[h] = 0.0f32;
        }
        let row = cached + place + unit;
        let at = row * comptime!(plan.first.words());
        score(
            first,
            at,
            query,
            query_scales,
            &query_sums,
            vector,
            &mut scores,
            plan.first,
            block,
        );
        if comptime!(plan.is_latent) {
            let at = row * comptime!(plan.second.words());
            let kind = comptime!(plan.second);
            score(
                second,
                at,
                rotated,
                query_scales,
                &query_sums,
                vector,
                &mut scores,
                kind,
                block,
            );
        }
        #[unroll]
        for h in 0..block {
            weights[h * CHUNK + unit] = scores[h] * scale;
        }
    }
    sync_cube();
    let totals_at = (token * comptime!(plan.heads) + head) * CUBE_COUNT_X as usize;
    weigh(&mut weights, totals, totals_at, lowest, above, block);
    let value = comptime!(plan.value());
    let at = (cached + place) * comptime!(plan.value().words());
    if comptime!(plan.is_latent) {
        mix(
            first, at, &weights, mixed, totals_at, lowest, above, value, block,
        );
    } else {
        mix(
            second, at, &weights, mixed, totals_at, lowest, above, value, block,
        );
    }
}

/// Sums of each head's codes, group by group, times their scale: what minima of
/// cached vectors meet. Only `q4` has these.
#[cube]
fn sums_of_codes(
    query: &Array<f32>,
    query_scales: &Array<f32>,
    vector: usize,
    #[comptime] kind: PartKind,
    #[comptime] block: usize,
) -> SharedMemory<f32> {
    let groups = comptime!(kind.groups());
    let has_minima = comptime!(kind.format == SegmentFormat::Q4);
    let count = comptime!(if has_minima { block * groups } else { 1 });
    let mut sums = SharedMemory::<f32>::new(count);
    if has_minima {
        let mut i = UNIT_POS_X as usize;
        while i < count {
            let at = vector * groups + i;
            sums[i] = query_scales[at] * code_sum(query, at * 32);
            i += CHUNK;
        }
        sync_cube();
    }
    sums
}

/// Adds the products of one cached vector with the queries of a block of heads,
/// group by group or column by column.
#[cube]
fn score(
    words: &Array<u32>,
    row: usize,
    query: &Array<f32>,
    query_scales: &Array<f32>,
    query_sums: &SharedMemory<f32>,
    vector: usize,
    scores: &mut Array<f32>,
    #[comptime] kind: PartKind,
    #[comptime] block: usize,
) {
    if comptime!(kind.format.is_integer()) {
        let groups = comptime!(kind.groups());
        for group in 0..groups {
            let at = row + group * comptime!(kind.group_words());
            let mut dots = Array::<f32>::new(block);
            let mut starts = Array::<u32>::new(block);
            #[unroll]
            for h in 0..block {
                dots[h] = 0.0f32;
                starts[h] = (((vector + h) * groups + group) * 32) as u32;
            }
            if comptime!(kind.format == SegmentFormat::Q8) {
                dots8(words, at + 1, query, &starts, &mut dots, 1usize, block);
                let key_scale = f32::reinterpret(words[at]);
                #[unroll]
                for h in 0..block {
                    let query_scale = query_scales[(vector + h) * groups + group];
                    scores[h] += (key_scale * query_scale) * dots[h];
                }
            } else {
                dots4(
                    words,
                    at + 1,
                    query,
                    &starts,
                    &mut dots,
                    1usize,
                    0.0f32,
                    block,
                );
                let key_scale = half_at(words, at, 0usize);
                let minimum = half_at(words, at, 1usize);
                #[unroll]
                for h in 0..block {
                    let query_scale = query_scales[(vector + h) * groups + group];
                    scores[h] += (key_scale * query_scale) * dots[h];
                    scores[h] += minimum * query_sums[h * groups + group];
                }
            }
        }
    } else {
        let width = comptime!(kind.width);
        for column in 0..width {
            let key = cached_number(words, row, column, kind);
            #[unroll]
            for h in 0..block {
                scores[h] += query[(vector + h) * width + column] * key;
            }
        }
    }
}

/// Turns a chunk's scores into weights `e^(score - max)`, and keeps each head's
/// maximum and sum. Position `i` goes to sum `i mod 4`.
#[cube]
fn weigh(
    weights: &mut SharedMemory<f32>,
    totals: &mut Array<f32>,
    at: usize,
    lowest: usize,
    above: usize,
    #[comptime] block: usize,
) {
    let unit = UNIT_POS_X as usize;
    let mut largest = SharedMemory::<f32>::new(block);
    if unit < block {
        let mut best = LOWEST.runtime();
        for i in lowest..above {
            best = max(best, weights[unit * CHUNK + i]);
        }
        largest[unit] = best;
    }
    sync_cube();
    #[unroll]
    for h in 0..block {
        let mut weight = 0.0f32;
        if unit >= lowest && unit < above {
            weight = exp(weights[h * CHUNK + unit] - largest[h]);
        }
        weights[h * CHUNK + unit] = weight;
    }
    sync_cube();
    if unit < block {
        let mut sums = Array::<f32>::new(4usize);
        #[unroll]
        for lane in 0..4usize {
            let mut sum = 0.0f32;
            for i in 0..comptime!(CHUNK / 4) {
                sum += weights[unit * CHUNK + i * 4 + lane];
            }
            sums[lane] = sum;
        }
        let place = (at + unit * CUBE_COUNT_X as usize + CUBE_POS_X as usize) * 2;
        totals[place] = largest[unit];
        totals[place + 1] = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    }
}

/// The weighted sums of the chunk's values; a unit has every 128th column.
#[cube]
fn mix(
    words: &Array<u32>,
    rows: usize,
    weights: &SharedMemory<f32>,
    mixed: &mut Array<f32>,
    at: usize,
    lowest: usize,
    above: usize,
    #[comptime] kind: PartKind,
    #[comptime] block: usize,
) {
    let width = comptime!(kind.width);
    let mut column = UNIT_POS_X as usize;
    while column < width {
        let mut sums = Array::<f32>::new(block);
        #[unroll]
        for h in 0..block {
            sums[h] = 0.0f32;
        }
        for i in lowest..above {
            let value = cached_number(words, rows + i * comptime!(kind.words()), column, kind);
            #[unroll]
            for h in 0..block {
                sums[h] += weights[h * CHUNK + i] * value;
            }
        }
        #[unroll]
        for h in 0..block {
            let place = at + h * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
            mixed[place * width + column] = sums[h];
        }
        column += CHUNK;
    }
}
