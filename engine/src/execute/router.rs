//! Which experts a token goes through, and with what weight.
//!
//! One procedure serves all models: score each expert; keep the best groups;
//! choose the best `top_k` experts of those; weigh them by their scores.
//! Greedy choice (DeepSeek-V2-Lite, Qwen3-MoE, Mixtral) has one group;
//! group-limited choice is DeepSeek-V2, section 2.2; choice by bias-corrected
//! sigmoid is DeepSeek-V3, section 2.1.2.

use bytemuck::{Pod, Zeroable};

use crate::blob::{Moe, Scoring};
use crate::cut;
use crate::kernels::activation::softmax;
use crate::math;

/// One chosen expert.
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
#[repr(C)]
pub struct Choice {
    /// The expert.
    pub expert: u32,
    /// The factor on its output.
    pub weight: f32,
}

/// Numbers that [`route`] needs to work with.
pub const fn scratch_len(moe: &Moe) -> usize {
    (moe.num_experts + moe.router.num_groups) as usize
}

/// Chooses `top_k` experts, in ascending order of their number.
///
/// `logits` are the router's outputs, one per expert; they are overwritten.
/// `bias` corrects the choice (empty: no bias). `scratch` has
/// [`scratch_len`] numbers, `chosen` has `top_k` entries. Equal scores: the
/// lower number wins.
pub fn route(
    moe: &Moe,
    logits: &mut [f32],
    bias: &[f32],
    scratch: &mut [f32],
    chosen: &mut [Choice],
) {
    let router = &moe.router;
    let experts = logits.len();
    let (ranks, group_scores) = cut::split_mut(scratch, experts);
    match router.scoring {
        Scoring::Softmax => softmax(logits),
        Scoring::SigmoidWithBias => logits.iter_mut().for_each(|z| *z = math::sigmoid(*z)),
    }
    for (rank, logit) in ranks.iter_mut().zip(&*logits) {
        *rank = *logit;
    }
    for (rank, bias) in ranks.iter_mut().zip(bias) {
        *rank += bias;
    }
    if router.num_groups > 1 {
        let group_size = experts / router.num_groups as usize;
        keep_best_groups(moe, ranks, group_size, group_scores);
    }
    for i in 0..chosen.len() {
        let Some((before, [choice, ..])) = chosen.split_at_mut_checked(i) else {
            break;
        };
        if let Some(expert) = best(ranks, |e| before.iter().any(|c| c.expert as usize == e)) {
            *choice = Choice {
                expert: expert as u32,
                weight: logits.get(expert).copied().unwrap_or_default(),
            };
        }
    }
    weigh(moe, chosen);
    sort_by_expert(chosen);
}

/// Insertion sort: there are few, and unlike the standard library's it has no
/// panic for an order that contradicts itself.
fn sort_by_expert(chosen: &mut [Choice]) {
    for end in 1..chosen.len() {
        let mut at = end;
        while let Some([before, here]) = at.checked_sub(1).and_then(|low| chosen.get_mut(low..=at))
            && before.expert > here.expert
        {
            core::mem::swap(before, here);
            at -= 1;
        }
    }
}

/// Adds a chosen expert to a digest of choices (FNV-1a's step).
pub const fn digest(digest: u64, expert: u32) -> u64 {
    (digest ^ (expert as u64 + 1)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Sets the ranks of all experts outside the best groups to minus infinity.
fn keep_best_groups(moe: &Moe, ranks: &mut [f32], group_size: usize, scores: &mut [f32]) {
    for (score, group) in scores.iter_mut().zip(ranks.chunks(group_size.max(1))) {
        *score = group_score(moe.router.scoring, group);
    }
    // Taking a group marks its score, so the next best is found.
    for _ in 0..moe.router.top_groups {
        let is_taken = |g: usize| scores.get(g).is_none_or(|score| score.is_nan());
        let taken = best(scores, is_taken);
        if let Some(score) = taken.and_then(|taken| scores.get_mut(taken)) {
            *score = f32::NAN;
        }
    }
    for (score, group) in scores.iter().zip(ranks.chunks_mut(group_size.max(1))) {
        if !score.is_nan() {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Best expert (softmax), or sum of the two best (sigmoid).
fn group_score(scoring: Scoring, group: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for score in group {
        if *score > first {
            (first, second) = (*score, first);
        } else if *score > second {
            second = *score;
        }
    }
    match scoring {
        Scoring::Softmax => first,
        Scoring::SigmoidWithBias => first + second,
    }
}

/// Index of the largest value that is not excluded; the first of equals.
fn best(values: &[f32], excluded: impl Fn(usize) -> bool) -> Option<usize> {
    let mut found: Option<(usize, f32)> = None;
    for (i, value) in values.iter().enumerate() {
        if !excluded(i) && found.is_none_or(|(_, best)| *value > best) {
            found = Some((i, *value));
        }
    }
    found.map(|(i, _)| i)
}

fn weigh(moe: &Moe, chosen: &mut [Choice]) {
    let router = &moe.router;
    let divisor = if router.normalize {
        let sum: f32 = chosen.iter().map(|choice| choice.weight).sum();
        match router.scoring {
            Scoring::Softmax => sum,
            // As the reference: sigmoids may all be zero.
            Scoring::SigmoidWithBias => sum + 1e-20,
        }
    } else {
        1.0
    };
    for choice in chosen {
        choice.weight = choice.weight / divisor * router.scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Router;

    fn moe(scoring: Scoring, num_groups: u32, top_groups: u32, normalize: bool) -> Moe {
        Moe {
            num_experts: 6,
            top_k: 2,
            expert_size: 8,
            shared_size: 0,
            router: Router {
                scoring,
                num_groups,
                top_groups,
                normalize,
                scale: 2.0,
            },
        }
    }

    fn choose(moe: &Moe, logits: [f32; 6], bias: &[f32]) -> [Choice; 2] {
        let (mut logits, mut scratch) = (logits, [0.0; 9]);
        let mut chosen = [Choice::default(); 2];
        let scratch = &mut scratch[..scratch_len(moe)];
        route(moe, &mut logits, bias, scratch, &mut chosen);
        chosen
    }

    #[test]
    fn softmax_takes_the_largest() {
        let chosen = choose(
            &moe(Scoring::Softmax, 1, 1, true),
            [0.0, 3.0, 1.0, 2.0, -1.0, 0.5],
            &[],
        );
        assert_eq!(chosen.map(|c| c.expert), [1, 3]);
        // e^3 / (e^3 + e^2) and its complement, times two.
        assert!((chosen[0].weight - 2.0 * 0.731_058_6).abs() < 1e-6);
        assert!((chosen[1].weight - 2.0 * 0.268_941_4).abs() < 1e-6);
    }

    #[test]
    fn groups_limit_the_choice() {
        // Group 0 has the best expert, so group 1's two good ones are out.
        let moe = moe(Scoring::Softmax, 2, 1, false);
        let chosen = choose(&moe, [3.0, 0.0, 1.0, 2.9, 2.8, 2.7], &[]);
        assert_eq!(chosen.map(|c| c.expert), [0, 2]);
    }

    #[test]
    fn the_bias_changes_the_choice_but_not_the_weight() {
        let moe = moe(Scoring::SigmoidWithBias, 1, 1, false);
        let bias = [0.0, 0.0, 0.0, 0.0, 5.0, 0.0];
        let chosen = choose(&moe, [0.0, 1.0, 0.0, 0.0, -1.0, 0.0], &bias);
        assert_eq!(chosen.map(|c| c.expert), [1, 4]);
        assert!((chosen[1].weight - 2.0 * 0.268_941_4).abs() < 1e-6);
    }

    #[test]
    fn a_sigmoid_group_counts_its_two_best() {
        // Group 0: 0.9 + 0.1; group 1: 0.6 + 0.6 wins.
        let logit = |p: f32| libm::logf(p / (1.0 - p));
        let moe = moe(Scoring::SigmoidWithBias, 2, 1, false);
        let logits = [0.9, 0.1, 0.05, 0.6, 0.6, 0.1].map(logit);
        let chosen = choose(&moe, logits, &[0.0; 6]);
        assert_eq!(chosen.map(|c| c.expert), [3, 4]);
    }

    #[test]
    fn ties_and_nan_still_give_distinct_experts() {
        let moe = moe(Scoring::Softmax, 1, 1, true);
        assert_eq!(choose(&moe, [0.0; 6], &[]).map(|c| c.expert), [0, 1]);
        let chosen = choose(&moe, [f32::NAN; 6], &[]);
        assert_ne!(chosen[0].expert, chosen[1].expert);
    }
}
