//! Training small models: by imitation, then by reward.
//!
//! A [`Recipe`] decides everything. [`Training`] follows it, stage by stage;
//! each leaves a Hugging Face folder that the rest of the tool treats like any
//! other checkpoint, and the completions that are rewarded come from our own
//! engine running that folder.

mod curves;
mod error;
mod evaluate;
mod folder;
mod grpo;
mod learner;
pub mod model;
mod recipe;
pub mod rollout;
pub mod sentry;
mod sequence;
mod sft;
mod spread;
mod stage;
mod task;
mod tensors;
mod text;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use burn::tensor::backend::AutodiffBackend;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

pub use error::TrainError;
pub use evaluate::{Evaluation, EvaluationOptions, Score};
pub use recipe::{Fall, GrpoRecipe, Rate, Recipe, RecipeError, SftRecipe, TaskRecipe};

use curves::Curves;
use learner::Learner;
use model::Model;
use stage::Stage;
use task::Task;

/// The backend that training runs on: the fastest of burn's for processors, as
/// measured on the shipped recipe (see models/README.md).
pub type TrainingBackend = burn::backend::Autodiff<burn::backend::Flex>;

/// The same on an NVIDIA GPU.
#[cfg(feature = "cuda")]
pub type CudaTrainingBackend = burn::backend::Autodiff<burn::backend::Cuda>;

/// A stage of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageName {
    /// Imitation.
    Base,
    /// More imitation, at the cost of reinforcement.
    Control,
    /// Reinforcement.
    Grpo,
}

impl StageName {
    /// The name of the stage's folder.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Control => "control",
            Self::Grpo => "grpo",
        }
    }
}

/// A recipe being followed.
#[derive(Debug)]
pub struct Training {
    recipe: Recipe,
    task: Task,
    out: PathBuf,
    threads: NonZeroUsize,
}

impl Training {
    /// Gets ready to follow `recipe` with results in the folder `out`.
    ///
    /// # Errors
    /// If the task's texts cannot be read.
    pub fn new(mut recipe: Recipe, out: &Path, threads: NonZeroUsize) -> Result<Self, TrainError> {
        let task = Task::open(&recipe.task)?;
        recipe.model.vocab_size = task.vocab_size();
        Ok(Self {
            recipe,
            task,
            out: out.to_owned(),
            threads,
        })
    }

    /// What is followed.
    pub const fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The folder of a stage's result.
    pub fn folder(&self, stage: StageName) -> PathBuf {
        self.out.join(stage.folder())
    }

    /// Makes the folder for results, if none is there already.
    fn prepare(&self, stage: StageName, resume: bool) -> Result<PathBuf, TrainError> {
        if self.out.is_file() {
            return Err(TrainError::OutIsFile {
                path: self.out.clone(),
            });
        }
        let path = self.folder(stage);
        if stage::is_finished(&path) {
            return Err(TrainError::Finished { path });
        }
        if stage::is_begun(&path) && !resume {
            return Err(TrainError::Begun { path });
        }
        std::fs::create_dir_all(&self.out).map_err(|source| TrainError::Io {
            path: self.out.clone(),
            source,
        })?;
        Ok(path)
    }

    /// A learner with fresh weights.
    fn fresh<B: AutodiffBackend>(&self) -> Learner<B> {
        let device = B::Device::default();
        let shape = self.recipe.model.clone();
        let model = Model::new(&shape, self.recipe.seed, &device);
        Learner::new(model, shape, device)
    }

    /// A learner with the weights of an earlier stage.
    fn continued<B: AutodiffBackend>(&self, from: StageName) -> Result<Learner<B>, TrainError> {
        let path = self.folder(from);
        if !stage::is_finished(&path) {
            let verb = "sft";
            return Err(TrainError::Missing { path, verb });
        }
        let tensors = folder::read(&path)?;
        let mut learner = self.fresh();
        learner.model = tensors::import(learner.model, &tensors, &self.recipe.model)
            .map_err(|source| TrainError::Tensor { path, source })?;
        Ok(learner)
    }

    /// Random numbers of one step of one stage: a resumed run draws the same.
    fn rng(&self, stage: StageName, step: usize) -> Xoshiro256PlusPlus {
        let stage = stage as u64 + 1;
        let mixed = self.recipe.seed ^ (stage << 56) ^ ((step as u64) << 20);
        Xoshiro256PlusPlus::seed_from_u64(mixed)
    }

    /// A stage at its beginning; makes sure that nothing is lost by starting
    /// or resuming.
    fn stage(
        &self,
        name: StageName,
        steps: usize,
        columns: &'static [&'static str],
        resume: bool,
    ) -> Result<Stage, TrainError> {
        Ok(Stage {
            folder: self.prepare(name, resume)?,
            steps,
            settings: format!("{name:?} {:?}", self.recipe),
            curves: Curves {
                title: format!("{} {}", self.recipe.name, name.folder()),
                columns,
                rows: Vec::new(),
            },
        })
    }
}
