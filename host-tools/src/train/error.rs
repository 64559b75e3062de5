//! Why training failed.

use std::path::PathBuf;

use burn::record::RecorderError;

use super::folder::FolderError;
use super::learner::Diverged;
use super::recipe::RecipeError;
use super::rollout::RolloutError;
use super::tensors::TensorError;
use super::text::TextCorpusError;

/// Any failure of training, with where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is refused.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The text cannot be used.
    #[error(transparent)]
    Text(#[from] TextCorpusError),
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A checkpoint does not fit the recipe.
    #[error("{}: {source}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        source: TensorError,
    },
    /// The rollouts failed.
    #[error("rollouts: {0}")]
    Rollout(#[from] RolloutError),
    /// Training diverged.
    #[error("step {step}: {source}")]
    Diverged {
        /// The step.
        step: usize,
        /// What was seen.
        source: Diverged,
    },
    /// Engine and trainer disagree about what was sampled.
    #[error(
        "step {step}: the trainer's probabilities differ from the engine's by {error} on average \
         (at most {most}): they do not run the same model"
    )]
    Disagreement {
        /// The step.
        step: usize,
        /// Mean of |ratio − 1|.
        error: f32,
        /// What is allowed.
        most: f32,
    },
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A saved state cannot be resumed.
    #[error("{}: {what}; remove it to start over", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The state could not be turned into bytes.
    #[error("saving the state: {0}")]
    Record(#[from] RecorderError),
    /// The curves' table could not be made.
    #[error("writing the table of curves: {0}")]
    Table(csv::Error),
    /// The curves' picture could not be drawn.
    #[error("drawing the curves: {0}")]
    Picture(String),
    /// The user interrupted it.
    #[error("interrupted after step {done}; continue with --resume")]
    Interrupted {
        /// Steps done.
        done: usize,
    },
    /// There is an unfinished result already.
    #[error("{} was begun before; continue with --resume, or choose another --out", path.display())]
    Begun {
        /// The stage's folder.
        path: PathBuf,
    },
    /// The folder for results has the name of a file.
    #[error("{} is a file; --out takes a folder for the results: choose another name", path.display())]
    OutIsFile {
        /// The file.
        path: PathBuf,
    },
    /// There is a result already.
    #[error("{} is complete; choose another --out to train again", path.display())]
    Finished {
        /// The stage's folder.
        path: PathBuf,
    },
    /// An earlier stage has not been trained.
    #[error("{} is missing; first run: briquette train {verb}", path.display())]
    Missing {
        /// The stage's folder.
        path: PathBuf,
        /// What makes it.
        verb: &'static str,
    },
    /// The recipe says nothing about this stage, or its task cannot do it.
    #[error("the recipe cannot do this: {what}")]
    Unsuitable {
        /// Why not.
        what: &'static str,
    },
}
