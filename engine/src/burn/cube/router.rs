//! The choice of experts. The procedure is that of [`crate::execute::router`].

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::math::{LOWEST, exp, sum_of_lanes};
use super::tensors::room;
use crate::blob::{Moe, Scoring};

/// Units of a cube.
const UNITS: usize = 64;

/// What the kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Choice {
    experts: usize,
    top_k: usize,
    groups: usize,
    top_groups: usize,
    is_sigmoid: bool,
    has_bias: bool,
    normalizes: bool,
}

/// The experts of each token in ascending order, `[tokens, top_k]`, and their
/// weights, from the router's outputs `[tokens, num_experts]`.
pub(super) fn route<R: CubeRuntime>(
    moe: &Moe,
    logits: CubeTensor<R>,
    bias: Option<CubeTensor<R>>,
) -> [CubeTensor<R>; 2] {
    let choice = Choice {
        experts: moe.num_experts as usize,
        top_k: moe.top_k as usize,
        groups: moe.router.num_groups as usize,
        top_groups: moe.router.top_groups as usize,
        is_sigmoid: moe.router.scoring == Scoring::SigmoidWithBias,
        has_bias: bias.is_some(),
        normalizes: moe.router.normalize,
    };
    let tokens = logits.meta.num_elements() / choice.experts;
    let experts = room(&logits, [tokens, choice.top_k], DType::I32);
    let weights = room(&logits, [tokens, choice.top_k], DType::F32);
    let client = logits.client.clone();
    // A kernel's buffers must be there even if it leaves them alone.
    let bias = bias.unwrap_or_else(|| room(&logits, [1], DType::F32));
    route_kernel::launch::<R>(
        &client,
        CubeCount::Static(tokens as u32, 1, 1),
        CubeDim::new_1d(UNITS as u32),
        logits.into_array_arg(),
        bias.into_array_arg(),
        experts.clone().into_array_arg(),
        weights.clone().into_array_arg(),
        moe.router.scale,
        choice,
    );
    [experts, weights]
}

/// A cube has one token; its units share all work out.
#[cube(launch)]
fn route_kernel(
    logits: &Array<f32>,
    bias: &Array<f32>,
    experts: &mut Array<i32>,
    weights: &mut Array<f32>,
    scale: f32,
    #[comptime] choice: Choice,
) {
    let count = comptime!(choice.experts);
    let at = CUBE_POS_X as usize * count;
    let mut scores = SharedMemory::<f32>::new(comptime!(choice.experts));
    let mut ranks = SharedMemory::<f32>::new(comptime!(choice.experts));
    score(logits, at, &mut scores, choice);
    let mut i = UNIT_POS_X as usize;
    while i < count {
        ranks[i] = scores[i];
        if comptime!(choice.has_bias) {
            ranks[i] = scores[i] + bias[i];
        }
        i += UNITS;
    }
    sync_cube();
    if comptime!(choice.groups > 1) {
        keep_best_groups(&mut ranks, choice);
    }
    let mut chosen = SharedMemory::<u32>::new(comptime!(choice.top_k));
    choose(&mut ranks, &mut chosen, choice);
    let first = CUBE_POS_X as usize * comptime!(choice.top_k);
    write(&scores, &chosen, first, experts, weights, scale, choice);
}

/// Softmax of all outputs, or the sigmoid of each.
#[cube]
fn score(
    logits: &Array<f32>,
    at: usize,
    scores: &mut SharedMemory<f32>,
    #[comptime] choice: Choice,
) {
    let count = comptime!(choice.experts);
    let unit = UNIT_POS_X as usize;
    let mut lanes = SharedMemory::<f32>::new(16usize);
    let mut largest = 0.0f32;
    if comptime!(!choice.is_sigmoid) {
        largest = logits[at];
        for i in 1..count {
            largest = max(largest, logits[at + i]);
        }
    }
    let mut i = unit;
    while i < count {
        if comptime!(choice.is_sigmoid) {
            scores[i] = 1.0f32 / (1.0f32 + exp(-logits[at + i]));
        } else {
            scores[i] = exp(logits[at + i] - largest);
        }
        i += UNITS;
    }
    sync_cube();
    if comptime!(!choice.is_sigmoid) {
        if unit < 16 {
            let mut sum = 0.0f32;
            let mut i = unit;
            while i < count {
                sum += scores[i];
                i += 16;
            }
            lanes[unit] = sum;
        }
        sync_cube();
        let sum = sum_of_lanes(&lanes);
        let mut i = unit;
        while i < count {
            scores[i] = scores[i] / sum;
            i += UNITS;
        }
        sync_cube();
    }
}

/// Excludes all experts outside the best groups.
#[cube]
fn keep_best_groups(ranks: &mut SharedMemory<f32>, #[comptime] choice: Choice) {
    let groups = comptime!(choice.groups);
    let members = comptime!(choice.experts / choice.groups);
    let unit = UNIT_POS_X as usize;
    let mut group_scores = SharedMemory::<f32>::new(groups);
    let mut is_out = SharedMemory::<u32>::new(groups);
    let mut group = unit;
    while group < groups {
        group_scores[group] = group_score(ranks, group * members, choice);
        is_out[group] = 1u32;
        group += UNITS;
    }
    sync_cube();
    if unit == 0 {
        for _ in 0..comptime!(choice.top_groups) {
            let mut best = 0usize;
            for group in 1..groups {
                if group_scores[group] > group_scores[best] {
                    best = group;
                }
            }
            is_out[best] = 0u32;
            group_scores[best] = LOWEST;
        }
    }
    sync_cube();
    let mut i = unit;
    while i < comptime!(choice.experts) {
        if is_out[i / members] == 1u32 {
            ranks[i] = LOWEST;
        }
        i += UNITS;
    }
    sync_cube();
}

/// The best rank of a group; with sigmoids the sum of its two best.
#[cube]
fn group_score(ranks: &SharedMemory<f32>, first: usize, #[comptime] choice: Choice) -> f32 {
    let mut best = LOWEST.runtime();
    let mut second = LOWEST.runtime();
    for i in 0..comptime!(choice.experts / choice.groups) {
        let rank = ranks[first + i];
        if rank > best {
            second = best;
            best = rank;
        } else if rank > second {
            second = rank;
        }
    }
    if comptime!(choice.is_sigmoid && choice.experts > choice.groups) {
        best + second
    } else {
        best
    }
}

/// Takes the best experts one after the other, the first of equals.
#[cube]
fn choose(
    ranks: &mut SharedMemory<f32>,
    chosen: &mut SharedMemory<u32>,
    #[comptime] choice: Choice,
) {
    let unit = UNIT_POS_X as usize;
    let mut best = SharedMemory::<u32>::new(UNITS);
    for k in 0..comptime!(choice.top_k) {
        let mut mine = min(unit, comptime!(choice.experts - 1));
        let mut i = mine;
        while i < comptime!(choice.experts) {
            if ranks[i] > ranks[mine] {
                mine = i;
            }
            i += UNITS;
        }
        best[unit] = mine as u32;
        sync_cube();
        #[unroll]
        for level in 0..comptime!(UNITS.ilog2() as usize) {
            let half = comptime!(UNITS >> (level + 1));
            if unit < half {
                let (one, other) = (best[unit], best[unit + half]);
                let (a, b) = (ranks[one as usize], ranks[other as usize]);
                if b > a || (b == a && other < one) {
                    best[unit] = other;
                }
            }
            sync_cube();
        }
        if unit == 0 {
            chosen[k] = best[0];
            ranks[best[0] as usize] = LOWEST;
        }
        sync_cube();
    }
}

/// Lists the chosen experts in ascending order with their weights.
#[cube]
fn write(
    scores: &SharedMemory<f32>,
    chosen: &SharedMemory<u32>,
    first: usize,
    experts: &mut Array<i32>,
    weights: &mut Array<f32>,
    scale: f32,
    #[comptime] choice: Choice,
) {
    let top_k = comptime!(choice.top_k);
    let mut sum = 0.0f32;
    for k in 0..top_k {
        sum += scores[chosen[k] as usize];
    }
    if comptime!(choice.is_sigmoid) {
        // As the reference: sigmoids may all be zero.
        sum += 1.0e-20f32;
    }
    let mut k = UNIT_POS_X as usize;
    while k < top_k {
        let mut place = 0usize;
        for other in 0..top_k {
            // What is not a number may be chosen twice.
            let is_before = chosen[other] < chosen[k] || (chosen[other] == chosen[k] && other < k);
            if is_before {
                place += 1usize;
            }
        }
        let mut weight = scores[chosen[k] as usize];
        if comptime!(choice.normalizes) {
            weight /= sum;
        }
        experts[first + place] = chosen[k] as i32;
        weights[first + place] = weight * scale;
        k += UNITS;
    }
}
