//! What the model learns from: sequences of tokens, and batches of them.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

/// A prompt and what follows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sequence {
    /// All tokens; the prompt comes first.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt, at least 1: nothing is learnt from predicting them.
    pub prompt: usize,
    /// For reinforcement learning.
    pub policy: Option<Rollout>,
}

/// How a completion was sampled, and its advantage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rollout {
    /// How much better than its group the completion was.
    pub advantage: f32,
    /// The logarithm of the probability with which each token of the
    /// completion was sampled.
    pub log_probs: Vec<f32>,
}

impl Sequence {
    /// Tokens that are learnt from.
    pub fn targets(&self) -> usize {
        self.tokens.len().saturating_sub(self.prompt)
    }
}

/// Sequences side by side, filled up at the end to the length of the longest.
/// Row `r`, column `c` predicts token `c + 1` of sequence `r`.
#[derive(Debug)]
pub(super) struct Batch<B: Backend> {
    /// [rows, columns].
    pub(super) inputs: Tensor<B, 2, Int>,
    /// [rows * columns, 1].
    pub(super) targets: Tensor<B, 2, Int>,
    /// [rows * columns]: one where a target is learnt from.
    pub(super) learnt: Tensor<B, 1>,
    /// [rows * columns]: one where there is a token at all.
    pub(super) present: Tensor<B, 1>,
    /// [rows * columns].
    pub(super) advantages: Tensor<B, 1>,
    /// [rows * columns].
    pub(super) old_log_probs: Tensor<B, 1>,
}

impl<B: Backend> Batch<B> {
    pub(super) fn new(sequences: &[Sequence], device: &B::Device) -> Self {
        let rows = sequences.len();
        let longest = sequences.iter().map(|s| s.tokens.len()).max();
        let columns = longest.unwrap_or(0).saturating_sub(1);
        let cells = rows * columns;
        let mut inputs = vec![0_i32; cells];
        let mut targets = vec![0_i32; cells];
        let [mut learnt, mut present, mut advantages, mut old_log_probs] =
            [(); 4].map(|()| vec![0.0_f32; cells]);
        for (row, sequence) in sequences.iter().enumerate() {
            for (column, pair) in sequence.tokens.windows(2).enumerate() {
                let cell = row * columns + column;
                inputs[cell] = pair[0] as i32;
                targets[cell] = pair[1] as i32;
                present[cell] = 1.0;
                let Some(index) = (column + 1).checked_sub(sequence.prompt) else {
                    continue;
                };
                learnt[cell] = 1.0;
                if let Some(policy) = &sequence.policy {
                    advantages[cell] = policy.advantage;
                    old_log_probs[cell] = policy.log_probs[index];
                }
            }
        }
        let ids = |values: Vec<i32>, shape| {
            Tensor::<B, 2, Int>::from_data(TensorData::new(values, shape), device)
        };
        let numbers = |values| Tensor::from_data(TensorData::new(values, [cells]), device);
        Self {
            inputs: ids(inputs, [rows, columns]),
            targets: ids(targets, [cells, 1]),
            learnt: numbers(learnt),
            present: numbers(present),
            advantages: numbers(advantages),
            old_log_probs: numbers(old_log_probs),
        }
    }
}
