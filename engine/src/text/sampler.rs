//! Choosing the next token from logits.
//!
//! Everything is portable arithmetic and a fixed generator (xoshiro128++), so
//! the same seed gives the same text on every target.

use core::cmp::Ordering;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro128PlusPlus;

use crate::math::exp;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 always chooses the most likely token.
    pub temperature: f32,
    /// Keep only the `top_k` most likely tokens; 0: all.
    pub top_k: u32,
    /// Keep only the most likely tokens that together have this probability
    /// (Holtzman et al. 2020); 1: all.
    pub top_p: f32,
    /// Keep only tokens at least this likely relative to the most likely one;
    /// 0: all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this if positive, multiplied if
    /// negative (Keskar et al. 2019); 1: unchanged.
    pub repetition_penalty: f32,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for SamplerOptions {
    /// Greedy.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

/// Why no token could be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// There are no logits.
    #[error("there are no logits to choose from")]
    NoLogits,
    /// A logit is not a number: the model or its file is broken.
    #[error("the logit of token {token} is not a number")]
    NotANumber {
        /// The token.
        token: u32,
    },
    /// The scratch is shorter than the logits.
    #[error("the scratch has {got} entries, {needed} are needed")]
    ScratchTooSmall {
        /// Entries needed: one per token.
        needed: usize,
        /// Entries given.
        got: usize,
    },
}

/// Logits of tokens that may come next: of all, or of the most likely alone.
#[derive(Debug)]
pub struct Candidates<'c> {
    /// The tokens, in ascending order; `None` for all.
    pub tokens: Option<&'c [u32]>,
    /// Their logits, which [`Sampler::sample_from`] changes.
    pub logits: &'c mut [f32],
}

impl Candidates<'_> {
    /// Where `token` stands.
    fn place(&self, token: u32) -> Option<usize> {
        match self.tokens {
            None => Some(token as usize),
            Some(tokens) => tokens.binary_search(&token).ok(),
        }
    }

    /// The token at `place`.
    fn token(&self, place: u32) -> u32 {
        let tokens = self.tokens.and_then(|tokens| tokens.get(place as usize));
        tokens.copied().unwrap_or(place)
    }
}

/// Chooses tokens one after the other.
///
/// ```
/// use briquette_engine::text::{Sampler, SamplerOptions};
///
/// let mut sampler = Sampler::new(SamplerOptions::default());
/// let mut order = [0; 3];
/// assert_eq!(sampler.sample(&mut [0.1, 2.0, -1.0], &mut order, &[]), Ok(1));
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    options: SamplerOptions,
    generator: Xoshiro128PlusPlus,
}

impl Sampler {
    /// A sampler at the start of its generator.
    pub fn new(options: SamplerOptions) -> Self {
        Self {
            generator: Xoshiro128PlusPlus::seed_from_u64(options.seed),
            options,
        }
    }

    /// How many of the largest logits decide the next token, where repetition is
    /// measured by `recent` tokens; of equal logits those of the lowest tokens.
    /// `usize::MAX`: all.
    pub fn needs(&self, recent: usize) -> usize {
        let kept = match self.options.top_k as usize {
            _ if self.options.temperature <= 0.0 => 1,
            0 => return usize::MAX,
            top_k => top_k,
        };
        match self.options.repetition_penalty {
            _ if !self.penalizes() => kept,
            // Recent tokens lose places, so others gain as many.
            penalty if penalty > 1.0 => kept.saturating_add(recent),
            _ => usize::MAX,
        }
    }

    /// The next token. Changes `logits`; `order` is scratch with an entry for
    /// each, used only with a temperature; `recent` are the tokens that repetition
    /// is measured by.
    /// Of equally likely tokens the lower wins.
    ///
    /// # Errors
    /// If there are no logits, one is not a number, or the scratch is short.
    pub fn sample(
        &mut self,
        logits: &mut [f32],
        order: &mut [u32],
        recent: &[u32],
    ) -> Result<u32, SamplerError> {
        let tokens = None;
        self.sample_from(Candidates { tokens, logits }, order, recent)
    }

    /// As [`Self::sample`]; [`Self::needs`] says how many candidates give the
    /// token that all of them would. `order` has an entry for each.
    ///
    /// # Errors
    /// As [`Self::sample`].
    pub fn sample_from(
        &mut self,
        mut candidates: Candidates<'_>,
        order: &mut [u32],
        recent: &[u32],
    ) -> Result<u32, SamplerError> {
        if candidates.logits.is_empty() {
            return Err(SamplerError::NoLogits);
        }
        if let Some(place) = candidates.logits.iter().position(|logit| logit.is_nan()) {
            let token = candidates.token(place as u32);
            return Err(SamplerError::NotANumber { token });
        }
        self.penalize(&mut candidates, recent);
        if self.options.temperature <= 0.0 {
            return Ok(candidates.token(most_likely(candidates.logits)));
        }
        let needed = candidates.logits.len();
        let got = order.len();
        let order = order
            .get_mut(..needed)
            .ok_or(SamplerError::ScratchTooSmall { needed, got })?;
        let kept = self.keep_likely(candidates.logits, order);
        let kept = order.get(..kept).unwrap_or_default();
        let drawn = self.draw(candidates.logits, kept);
        Ok(candidates.token(drawn))
    }

    fn penalizes(&self) -> bool {
        let penalty = self.options.repetition_penalty;
        penalty != 1.0 && penalty > 0.0
    }

    /// Each token once, however often it occurred.
    fn penalize(&self, candidates: &mut Candidates<'_>, recent: &[u32]) {
        let penalty = self.options.repetition_penalty;
        if !self.penalizes() {
            return;
        }
        for (i, token) in recent.iter().enumerate() {
            if recent.iter().take(i).any(|before| before == token) {
                continue;
            }
            let place = candidates.place(*token);
            if let Some(logit) = place.and_then(|place| candidates.logits.get_mut(place)) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Sorts the best tokens to the front of `order`, turns `logits` into weights
    /// relative to the best one's, and returns how many tokens stay.
    fn keep_likely(&self, logits: &mut [f32], order: &mut [u32]) -> usize {
        for (token, slot) in (0..).zip(order.iter_mut()) {
            *slot = token;
        }
        let top_k = match self.options.top_k as usize {
            0 => order.len(),
            top_k => top_k.min(order.len()),
        };
        let logit = |token: &u32| logits.get(*token as usize).copied().unwrap_or(0.0);
        sort_best(order, top_k, |a, b| {
            let by_logit = logit(b).partial_cmp(&logit(a));
            by_logit.unwrap_or(Ordering::Equal).then_with(|| a.cmp(b))
        });
        let best = order.first().map(logit).unwrap_or_default();
        for logit in logits.iter_mut() {
            *logit = exp((*logit - best) / self.options.temperature);
        }
        let weight = |token: &u32| logits.get(*token as usize).copied().unwrap_or(0.0);
        let likely = order
            .iter()
            .take(top_k)
            .take_while(|t| weight(t) >= self.options.min_p);
        let kept = likely.count().max(1);
        if self.options.top_p >= 1.0 {
            return kept;
        }
        let total: f32 = order.iter().take(kept).map(weight).sum();
        let mut sum = 0.0;
        let enough = order.iter().take(kept).position(|token| {
            sum += weight(token);
            sum >= self.options.top_p * total
        });
        enough.map_or(kept, |last| last + 1)
    }

    /// Draws one of `candidates` by weight.
    fn draw(&mut self, weights: &[f32], candidates: &[u32]) -> u32 {
        let weight = |token: &u32| weights.get(*token as usize).copied().unwrap_or(0.0);
        let total: f32 = candidates.iter().map(weight).sum();
        // 24 random bits: every value is exact in f32 and below 1.
        let uniform = (self.generator.next_u32() >> 8) as f32 / (1 << 24) as f32;
        let mut left = uniform * total;
        for token in candidates {
            left -= weight(token);
            if left < 0.0 {
                return *token;
            }
        }
        candidates.first().copied().unwrap_or(0)
    }
}

/// The token of the largest logit, the first of equals.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut tokens = (0..).zip(logits);
    let Some((mut best, mut largest)) = tokens.next() else {
        return 0;
    };
    for (token, logit) in tokens {
        if logit > largest {
            (best, largest) = (token, logit);
        }
    }
    best
}

/// Sorts the `count` best of `order` by `better` to its front: a heap sort that
/// stops early. The standard library's sorts may panic if an order contradicts
/// itself, which a device must not do.
fn sort_best(order: &mut [u32], count: usize, better: impl Fn(&u32, &u32) -> Ordering) {
    for root in (0..order.len() / 2).rev() {
        sift_down(order, root, &better);
    }
    // The best go to the end, one after the other.
    for end in (0..order.len()).rev().take(count) {
        if let Ok([root, last]) = order.get_disjoint_mut([0, end]) {
            core::mem::swap(root, last);
        }
        sift_down(order.get_mut(..end).unwrap_or_default(), 0, &better);
    }
    order.reverse();
}

/// Moves `root` down a heap whose best entry is its first.
fn sift_down(heap: &mut [u32], mut root: usize, better: impl Fn(&u32, &u32) -> Ordering) {
    loop {
        let left = 2 * root + 1;
        let child = match (heap.get(left), heap.get(left + 1)) {
            (Some(first), Some(second)) if better(second, first).is_lt() => left + 1,
            (Some(_), _) => left,
            (None, _) => return,
        };
        match heap.get_disjoint_mut([root, child]) {
            Ok([parent, child]) if better(child, parent).is_lt() => {
                core::mem::swap(parent, child);
            }
            _ => return,
        }
        root = child;
    }
}

#[cfg(test)]
mod tests;
