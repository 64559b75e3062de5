//! How well a checkpoint answers problems that it has never seen.

use std::num::NonZeroUsize;
use std::path::Path;

use briquette_engine::quant::KvFormat;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;

use super::TrainError;
use super::grpo::longest_prompt;
use super::rollout::{PlayOptions, Player};
use super::sentry::{Problem, Split, Word, grade};
use crate::pack::WeightFormat;

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationOptions {
    /// Numbers of sensors.
    pub sensors: Vec<usize>,
    /// Problems for each number of sensors.
    pub problems: usize,
    /// Samples of each problem at temperature 1.
    pub samples: usize,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// Weights of the briquette that answers.
    pub weights: WeightFormat,
    /// Cache of the briquette that answers.
    pub kv: KvFormat,
    /// Whether completions are held to one thought and one answer.
    pub guarantee: bool,
    /// Decides problems and samples.
    pub seed: u64,
    /// Threads to work with.
    pub threads: NonZeroUsize,
}

/// Fractions of completions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Sensors in the problems.
    pub sensors: usize,
    /// Right when taking the most likely token always.
    pub greedy_right: f64,
    /// Well-formed when taking the most likely token always.
    pub greedy_well_formed: f64,
    /// Right at temperature 1.
    pub sampled_right: f64,
    /// Well-formed at temperature 1.
    pub sampled_well_formed: f64,
    /// At least one right among all samples of a problem.
    pub any_right: f64,
    /// Tokens of a completion at temperature 1, on average.
    pub tokens: f64,
}

/// The scores of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// One for each number of sensors.
    pub scores: Vec<Score>,
}

impl Evaluation {
    /// Packs the Hugging Face folder `source` and lets it answer held-out
    /// problems.
    ///
    /// # Errors
    /// If it cannot be packed or run.
    pub fn run(source: &Path, options: &EvaluationOptions) -> Result<Self, TrainError> {
        let scratch = tempfile::tempdir().map_err(|source| TrainError::Io {
            path: std::env::temp_dir(),
            source,
        })?;
        let briq = scratch.path().join("model.briq");
        let context = longest_prompt(&options.sensors) + options.max_tokens;
        let player = Player::pack(source, &briq, options.weights, options.kv, context)?;
        let score = |sensors: &usize| score(&player, *sensors, options);
        let scores = options.sensors.iter().map(score);
        Ok(Self {
            scores: scores.collect::<Result<_, _>>()?,
        })
    }
}

fn score(
    player: &Player,
    sensors: usize,
    options: &EvaluationOptions,
) -> Result<Score, TrainError> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(options.seed.wrapping_add(sensors as u64));
    let draw = |_| Problem::draw(&mut rng, sensors, Split::HeldOut);
    let problems: Vec<Problem> = (0..options.problems).map(draw).collect();
    let prompts: Vec<Vec<u32>> = problems.iter().map(Problem::prompt).collect();
    let play = |group, temperature| {
        let options = PlayOptions {
            group,
            temperature,
            seed: options.seed,
            max_tokens: options.max_tokens,
            end: Word::End.id(),
            guarantee: options.guarantee,
            threads: options.threads,
        };
        player.play(&prompts, &options)
    };
    let greedy = Tally::new(&problems, &play(1, 0.0)?);
    let sampled = Tally::new(&problems, &play(options.samples, 1.0)?);
    Ok(Score {
        sensors,
        greedy_right: greedy.right,
        greedy_well_formed: greedy.well_formed,
        sampled_right: sampled.right,
        sampled_well_formed: sampled.well_formed,
        any_right: sampled.any_right,
        tokens: sampled.tokens,
    })
}

/// Fractions over all completions, or over all problems.
struct Tally {
    right: f64,
    well_formed: f64,
    any_right: f64,
    tokens: f64,
}

impl Tally {
    fn new(problems: &[Problem], groups: &[Vec<super::rollout::Completion>]) -> Self {
        let mut counts = [0_usize; 4];
        let mut completions = 0;
        for (problem, group) in problems.iter().zip(groups) {
            let mut any = false;
            for completion in group {
                let grade = grade(problem, &completion.tokens);
                any |= grade.right;
                counts[0] += usize::from(grade.right);
                counts[1] += usize::from(grade.well_formed);
                counts[3] += completion.tokens.len();
            }
            counts[2] += usize::from(any);
            completions += group.len();
        }
        let of = |count: usize, all: usize| count as f64 / all.max(1) as f64;
        Self {
            right: of(counts[0], completions),
            well_formed: of(counts[1], completions),
            any_right: of(counts[2], problems.len()),
            tokens: of(counts[3], completions),
        }
    }
}
