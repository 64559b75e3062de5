//! What is trained, and how: a TOML file.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::model::{ModelShape, ShapeError};

/// Everything that decides a training run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model's name.
    pub name: String,
    /// Decides all random numbers.
    pub seed: u64,
    /// What is learnt.
    pub task: TaskRecipe,
    /// The model's dimensions.
    pub model: ModelShape,
    /// Learning by imitation.
    pub sft: SftRecipe,
    /// More of the same, from the result of `sft`: what reinforcement must
    /// beat at the same cost.
    pub control: Option<SftRecipe>,
    /// Learning by reward.
    pub grpo: Option<GrpoRecipe>,
}

/// What is learnt.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskRecipe {
    /// Which sensors are out of bounds?
    Sentry {
        /// Numbers of sensors in supervised examples.
        sensors: Vec<usize>,
    },
    /// Continue a text.
    Text {
        /// Plain text, UTF-8; relative to the recipe.
        files: Vec<PathBuf>,
        /// Tokens of the tokenizer, which is trained on the text.
        vocab_size: usize,
        /// Tokens of a training sequence.
        window: usize,
    },
}

/// Learning by imitation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftRecipe {
    /// Steps of the optimiser.
    pub steps: usize,
    /// Sequences per step.
    pub batch: usize,
    /// Sequences that are computed at a time.
    pub microbatch: usize,
    /// How fast it learns.
    pub rate: Rate,
    /// Step of the routers' biases.
    #[serde(default = "default_balance")]
    pub balance: f32,
}

/// Learning by reward.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpoRecipe {
    /// Batches of prompts.
    pub steps: usize,
    /// Prompts per batch.
    pub prompts: usize,
    /// Completions of each prompt.
    pub group: usize,
    /// Steps of the optimiser on each batch.
    pub updates: usize,
    /// Sequences that are computed at a time.
    pub microbatch: usize,
    /// How far a token's probability may move, as a fraction.
    pub clip: f32,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// Numbers of sensors in prompts.
    pub sensors: Vec<usize>,
    /// How fast it learns.
    pub rate: Rate,
    /// Step of the routers' biases.
    #[serde(default = "default_balance")]
    pub balance: f32,
}

/// A learning rate that rises linearly for `warmup` steps and falls to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// At its highest.
    pub first: f64,
    /// At the end.
    pub last: f64,
    /// Steps until the highest.
    #[serde(default)]
    pub warmup: usize,
    /// How it falls.
    #[serde(default)]
    pub fall: Fall,
}

/// How a learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fall {
    /// By the same amount each step.
    #[default]
    Linear,
    /// As half a cosine.
    Cosine,
}

/// DeepSeek-V3's update speed of the routers' biases.
const fn default_balance() -> f32 {
    1e-3
}

impl Rate {
    /// The rate at step `step` of `steps`.
    pub fn at(&self, step: usize, steps: usize) -> f64 {
        if step < self.warmup {
            return self.first * (step + 1) as f64 / self.warmup as f64;
        }
        let falling = steps.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup) as f64 / falling as f64;
        let left = match self.fall {
            Fall::Linear => 1.0 - done,
            Fall::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * done).cos()),
        };
        self.last + (self.first - self.last) * left
    }
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: toml::de::Error,
    },
    /// The model's dimensions are impossible.
    #[error("{}: {source}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Which one.
        source: ShapeError,
    },
    /// A number is out of its range.
    #[error("{}: {field} is {found}, it must be {must}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The setting.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        must: &'static str,
    },
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// If the file cannot be read or a setting is unknown, missing or
    /// impossible.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecipeError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut recipe: Self = toml::from_str(&text).map_err(|source| RecipeError::Toml {
            path: path.to_owned(),
            source,
        })?;
        // The vocabulary is the task's; any will do for checking the rest.
        recipe.model.vocab_size = 1;
        recipe.model.check().map_err(|source| RecipeError::Shape {
            path: path.to_owned(),
            source,
        })?;
        recipe.check().map_err(|(field, found, must)| {
            let path = path.to_owned();
            RecipeError::Range {
                path,
                field,
                found,
                must,
            }
        })?;
        if let TaskRecipe::Text { files, .. } = &mut recipe.task {
            let folder = crate::support::files::folder_of(path);
            for file in files {
                *file = folder.join(&*file);
            }
        }
        Ok(recipe)
    }

    fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        let positive = |field, value: usize| {
            let fail = (field, value.to_string(), "at least 1");
            if value > 0 { Ok(()) } else { Err(fail) }
        };
        let rate = |field, rate: Rate| {
            let found = format!("{} to {}", rate.first, rate.last);
            let fine = rate.first.is_finite() && rate.first > 0.0 && rate.last >= 0.0;
            let must = "more than 0, and at the end at least 0";
            if fine {
                Ok(())
            } else {
                Err((field, found, must))
            }
        };
        let sensors = |field, sensors: &[usize]| {
            let fine = |count: &usize| (1..=super::sentry::NAMES.len()).contains(count);
            let must = "a list of numbers from 1 to 8";
            if !sensors.is_empty() && sensors.iter().all(fine) {
                Ok(())
            } else {
                Err((field, format!("{sensors:?}"), must))
            }
        };
        for sft in std::iter::once(&self.sft).chain(&self.control) {
            positive("[sft] batch", sft.batch)?;
            positive("[sft] microbatch", sft.microbatch)?;
            rate("[sft] rate", sft.rate)?;
        }
        if let Some(grpo) = &self.grpo {
            positive("[grpo] prompts", grpo.prompts)?;
            positive("[grpo] updates", grpo.updates)?;
            positive("[grpo] microbatch", grpo.microbatch)?;
            positive("[grpo] max_tokens", grpo.max_tokens)?;
            if grpo.group < 2 {
                let must = "at least 2: a completion is compared with its group";
                return Err(("[grpo] group", grpo.group.to_string(), must));
            }
            rate("[grpo] rate", grpo.rate)?;
            sensors("[grpo] sensors", &grpo.sensors)?;
        }
        match &self.task {
            TaskRecipe::Sentry { sensors: counts } => sensors("[task] sensors", counts),
            TaskRecipe::Text {
                files,
                vocab_size,
                window,
            } => {
                positive("[task] files", files.len())?;
                positive("[task] window", *window)?;
                let must = "at least 260: 256 bytes and the tokens around a text";
                if *vocab_size < 260 {
                    return Err(("[task] vocab_size", vocab_size.to_string(), must));
                }
                Ok(())
            }
        }
    }
}
