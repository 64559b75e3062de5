//! Learning by reward: group relative policy optimisation (DeepSeekMath,
//! section 4.1).

use std::path::Path;

use briquette_engine::quant::KvFormat;
use burn::tensor::backend::AutodiffBackend;
use rand::seq::IndexedRandom;

use super::learner::{Learner, Objective, StepOptions};
use super::recipe::GrpoRecipe;
use super::rollout::{Completion, PlayOptions, Player};
use super::sentry::{Grade, Problem, Split, Word, grade};
use super::sequence::{Rollout, Sequence};
use super::task::Task;
use super::{StageName, TrainError, Training, folder, tensors};
use crate::pack::WeightFormat;

const COLUMNS: [&str; 8] = [
    "reward",
    "right",
    "well_formed",
    "tokens",
    "groups",
    "loss",
    "ratio_error",
    "imbalance",
];

/// The mean of |ratio − 1| that rounding explains before the first update. A
/// token that stands between two experts may be routed differently.
const MOST_RATIO_ERROR: f32 = 0.02;

/// A batch of completions, graded.
struct Harvest {
    sequences: Vec<Sequence>,
    reward: f32,
    right: f32,
    well_formed: f32,
    tokens: f32,
    groups: usize,
}

impl Training {
    /// Improves the result of [`Self::sft`] with rewards.
    ///
    /// # Errors
    /// If there is a result already (or a begun one, and `resume` is not
    /// given), training diverges, the engine and the trainer disagree, or a
    /// file cannot be written.
    pub fn grpo<B: AutodiffBackend>(
        &self,
        resume: bool,
        watch: &mut dyn FnMut(usize, &[f32]) -> bool,
    ) -> Result<(), TrainError> {
        let unsuitable = |what| TrainError::Unsuitable { what };
        let recipe = self.recipe.grpo.as_ref();
        let recipe = recipe.ok_or(unsuitable("it has no [grpo]"))?;
        let Task::Sentry { .. } = &self.task else {
            return Err(unsuitable("there is no rule to reward a text by"));
        };
        let name = StageName::Grpo;
        let mut stage = self.stage(name, recipe.steps, &COLUMNS, resume)?;
        let mut learner = self.continued::<B>(StageName::Base)?;
        let scratch = tempfile::tempdir().map_err(|source| TrainError::Io {
            path: std::env::temp_dir(),
            source,
        })?;
        let step = |learner: &mut Learner<B>, step: usize| {
            let harvest = self.harvest(learner, recipe, step, scratch.path())?;
            self.learn(learner, recipe, step, &harvest)
        };
        stage.run(&mut learner, &self.task.companions(), step, watch)
    }

    /// Lets the current model answer a batch of prompts.
    fn harvest<B: AutodiffBackend>(
        &self,
        learner: &Learner<B>,
        recipe: &GrpoRecipe,
        step: usize,
        scratch: &Path,
    ) -> Result<Harvest, TrainError> {
        let checkpoint = scratch.join("checkpoint");
        let tensors = tensors::export(&learner.model, learner.shape());
        let companions = self.task.companions();
        folder::write(&checkpoint, &tensors, learner.shape(), &companions)?;
        let briq = scratch.join("policy.briq");
        let context = longest_prompt(&recipe.sensors) + recipe.max_tokens;
        let player = Player::pack(
            &checkpoint,
            &briq,
            WeightFormat::F32,
            KvFormat::F32,
            context,
        )?;

        let mut rng = self.rng(StageName::Grpo, step);
        let draw = |_| {
            let sensors = recipe.sensors.choose(&mut rng).copied().unwrap_or(1);
            Problem::draw(&mut rng, sensors, Split::Training)
        };
        let problems: Vec<Problem> = (0..recipe.prompts).map(draw).collect();
        let prompts: Vec<Vec<u32>> = problems.iter().map(Problem::prompt).collect();
        let options = PlayOptions {
            group: recipe.group,
            temperature: 1.0,
            seed: self.recipe.seed.wrapping_add(step as u64),
            max_tokens: recipe.max_tokens,
            end: Word::End.id(),
            guarantee: false,
            threads: self.threads,
        };
        let groups = player.play(&prompts, &options)?;
        let mut harvest = Harvest {
            sequences: Vec::new(),
            reward: 0.0,
            right: 0.0,
            well_formed: 0.0,
            tokens: 0.0,
            groups: 0,
        };
        for ((problem, prompt), group) in problems.iter().zip(prompts).zip(groups) {
            harvest.take(problem, &prompt, group);
        }
        let completions = (recipe.prompts * recipe.group) as f32;
        harvest.reward /= completions;
        harvest.right /= completions;
        harvest.well_formed /= completions;
        harvest.tokens /= completions;
        Ok(harvest)
    }

    /// Makes the recipe's updates; returns a row of the curves.
    fn learn<B: AutodiffBackend>(
        &self,
        learner: &mut Learner<B>,
        recipe: &GrpoRecipe,
        step: usize,
        harvest: &Harvest,
    ) -> Result<Vec<f32>, TrainError> {
        let options = StepOptions {
            objective: Objective::Reinforce { clip: recipe.clip },
            rate: recipe.rate.at(step, recipe.steps),
            balance: recipe.balance,
            microbatch: recipe.microbatch,
            threads: self.threads,
        };
        let [mut loss, mut ratio_error, mut imbalance] = [0.0; 3];
        for update in 0..recipe.updates {
            if harvest.sequences.is_empty() {
                break;
            }
            let report = learner.step(&harvest.sequences, &options);
            let report = report.map_err(|source| TrainError::Diverged { step, source })?;
            if update == 0 {
                (loss, ratio_error) = (report.loss, report.ratio_error);
                imbalance = report.imbalance;
                if ratio_error > MOST_RATIO_ERROR {
                    return Err(TrainError::Disagreement {
                        step,
                        error: ratio_error,
                        most: MOST_RATIO_ERROR,
                    });
                }
            }
        }
        Ok(vec![
            harvest.reward,
            harvest.right,
            harvest.well_formed,
            harvest.tokens,
            harvest.groups as f32,
            loss,
            ratio_error,
            imbalance,
        ])
    }
}

impl Harvest {
    /// Grades a group, and keeps it if its members differ.
    fn take(&mut self, problem: &Problem, prompt: &[u32], group: Vec<Completion>) {
        let grades: Vec<Grade> = group
            .iter()
            .map(|completion| grade(problem, &completion.tokens))
            .collect();
        let rewards: Vec<f32> = grades.iter().map(|grade| grade.reward()).collect();
        self.reward += rewards.iter().sum::<f32>();
        self.right += grades.iter().filter(|grade| grade.right).count() as f32;
        self.well_formed += grades.iter().filter(|grade| grade.well_formed).count() as f32;
        self.tokens += group.iter().map(|c| c.tokens.len() as f32).sum::<f32>();
        let Some(advantages) = advantages(&rewards) else {
            return;
        };
        self.groups += 1;
        for (completion, advantage) in group.into_iter().zip(advantages) {
            let mut tokens = prompt.to_vec();
            tokens.extend(completion.tokens);
            self.sequences.push(Sequence {
                tokens,
                prompt: prompt.len(),
                policy: Some(Rollout {
                    advantage,
                    log_probs: completion.log_probs,
                }),
            });
        }
    }
}

/// Rewards relative to their group, in standard deviations; nothing if all are
/// the same.
fn advantages(rewards: &[f32]) -> Option<Vec<f32>> {
    let count = rewards.len() as f32;
    let mean = rewards.iter().sum::<f32>() / count;
    let squares = rewards.iter().map(|reward| (reward - mean).powi(2));
    let deviation = (squares.sum::<f32>() / count).sqrt();
    let normalize = |reward: &f32| (reward - mean) / deviation;
    (deviation > 1e-4).then(|| rewards.iter().map(normalize).collect())
}

/// Tokens of the longest prompt.
pub(super) fn longest_prompt(sensors: &[usize]) -> usize {
    // The token that begins a text, four for each reading, two for the question.
    3 + 4 * sensors.iter().max().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_have_no_mean_and_unit_deviation() {
        let found = advantages(&[1.2, 0.2, 0.0, 0.0]).unwrap();
        let mean: f32 = found.iter().sum::<f32>() / 4.0;
        let variance: f32 = found.iter().map(|a| a * a).sum::<f32>() / 4.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5);
        assert!(found[0] > found[1] && found[1] > found[2]);
    }

    #[test]
    fn a_group_of_equals_teaches_nothing() {
        assert_eq!(advantages(&[0.2; 16]), None);
    }
}
