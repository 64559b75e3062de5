//! Learning by imitation.

use burn::tensor::backend::AutodiffBackend;

use super::learner::{Learner, Objective, StepOptions};
use super::recipe::SftRecipe;
use super::{StageName, TrainError, Training};

const COLUMNS: [&str; 3] = ["loss", "imbalance", "rate"];

impl Training {
    /// Trains on the task's examples, from nothing.
    ///
    /// # Errors
    /// If there is a result already (or a begun one, and `resume` is not
    /// given), training diverges, or a file cannot be written.
    pub fn sft<B: AutodiffBackend>(
        &self,
        resume: bool,
        watch: &mut dyn FnMut(usize, &[f32]) -> bool,
    ) -> Result<(), TrainError> {
        self.imitate::<B>(StageName::Base, &self.recipe.sft, resume, watch)
    }

    /// Continues with the task's examples from the result of [`Self::sft`].
    ///
    /// # Errors
    /// As [`Self::sft`]; or if there is no such result.
    pub fn control<B: AutodiffBackend>(
        &self,
        resume: bool,
        watch: &mut dyn FnMut(usize, &[f32]) -> bool,
    ) -> Result<(), TrainError> {
        let what = "it has no [control]";
        let recipe = self.recipe.control.as_ref();
        let recipe = recipe.ok_or(TrainError::Unsuitable { what })?;
        self.imitate::<B>(StageName::Control, recipe, resume, watch)
    }

    fn imitate<B: AutodiffBackend>(
        &self,
        name: StageName,
        recipe: &SftRecipe,
        resume: bool,
        watch: &mut dyn FnMut(usize, &[f32]) -> bool,
    ) -> Result<(), TrainError> {
        let mut stage = self.stage(name, recipe.steps, &COLUMNS, resume)?;
        let mut learner = match name {
            StageName::Base => self.fresh::<B>(),
            _ => self.continued::<B>(StageName::Base)?,
        };
        let step = |learner: &mut Learner<B>, step: usize| {
            let examples = self.task.examples(&mut self.rng(name, step), recipe.batch);
            let options = StepOptions {
                objective: Objective::Imitate,
                rate: recipe.rate.at(step, recipe.steps),
                balance: recipe.balance,
                microbatch: recipe.microbatch,
                threads: self.threads,
            };
            let report = learner.step(&examples, &options);
            let report = report.map_err(|source| TrainError::Diverged { step, source })?;
            Ok(vec![report.loss, report.imbalance, options.rate as f32])
        };
        stage.run(&mut learner, &self.task.companions(), step, watch)
    }
}
