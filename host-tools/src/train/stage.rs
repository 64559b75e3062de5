//! A stage of training: many steps that survive an interruption.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::Optimizer;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder, RecorderError};
use burn::tensor::backend::AutodiffBackend;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::TrainError;
use super::curves::Curves;
use super::folder::{self, Companions};
use super::learner::Learner;
use super::tensors;
use crate::support::files::write_whole;

/// Where a stage's results lie, and how it is resumed.
#[derive(Debug)]
pub(super) struct Stage {
    /// The finished model: a Hugging Face folder.
    pub(super) folder: PathBuf,
    pub(super) steps: usize,
    /// What decides the result; a state is only resumed under the same.
    pub(super) settings: String,
    pub(super) curves: Curves,
}

/// Steps between two saved states.
const SAVE_EVERY: usize = 50;

/// Everything that the next step depends on.
#[derive(Serialize, Deserialize)]
struct State {
    settings: [u8; 32],
    step: usize,
    rows: Vec<Vec<f32>>,
    model: Vec<u8>,
    optimizer: Vec<u8>,
}

impl Stage {
    /// Makes the remaining steps with `step`, which returns a row of the
    /// curves, and writes the model. `watch` is told each step done and its
    /// row, and stops the work by returning `false`; what was learnt is then
    /// saved.
    pub(super) fn run<B: AutodiffBackend>(
        &mut self,
        learner: &mut Learner<B>,
        companions: &Companions,
        mut step: impl FnMut(&mut Learner<B>, usize) -> Result<Vec<f32>, TrainError>,
        watch: &mut dyn FnMut(usize, &[f32]) -> bool,
    ) -> Result<(), TrainError> {
        let first = self.resume(learner)?;
        for index in first..self.steps {
            let row = step(learner, index)?;
            let go_on = watch(index + 1, &row);
            self.curves.rows.push(row);
            let done = index + 1;
            if !go_on && done < self.steps {
                self.save(learner, done)?;
                return Err(TrainError::Interrupted { done });
            }
            if done % SAVE_EVERY == 0 {
                self.save(learner, done)?;
            }
        }
        self.write_curves()?;
        let tensors = tensors::export(&learner.model, learner.shape());
        folder::write(&self.folder, &tensors, learner.shape(), companions)?;
        remove_if_there(&self.state_path())
    }

    fn state_path(&self) -> PathBuf {
        self.folder.with_extension("state")
    }

    fn write_curves(&self) -> Result<(), TrainError> {
        self.curves.write(
            &self.folder.with_extension("csv"),
            &self.folder.with_extension("svg"),
        )
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.settings.as_bytes()).into()
    }

    fn save<B: AutodiffBackend>(
        &self,
        learner: &Learner<B>,
        step: usize,
    ) -> Result<(), TrainError> {
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::new();
        let model = learner.model.clone().into_record();
        let state = State {
            settings: self.digest(),
            step,
            rows: self.curves.rows.clone(),
            model: Recorder::<B>::record(&recorder, model, ())?,
            optimizer: Recorder::<B>::record(&recorder, learner.optimizer.to_record(), ())?,
        };
        let path = self.state_path();
        let bytes = postcard::to_stdvec(&state).map_err(|source| TrainError::State {
            path: path.clone(),
            what: source.to_string(),
        })?;
        write_whole(&path, &bytes).map_err(|source| TrainError::Io { path, source })?;
        self.write_curves()
    }

    /// Restores a saved state, if there is one; returns the steps done.
    fn resume<B: AutodiffBackend>(
        &mut self,
        learner: &mut Learner<B>,
    ) -> Result<usize, TrainError> {
        let path = self.state_path();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(TrainError::Io { path, source }),
        };
        let broken = |what: String| TrainError::State {
            path: path.clone(),
            what,
        };
        let state: State =
            postcard::from_bytes(&bytes).map_err(|error| broken(error.to_string()))?;
        if state.settings != self.digest() {
            return Err(broken("it was made with another recipe".into()));
        }
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::new();
        let device = learner.device().clone();
        let broken_record = |error: RecorderError| broken(error.to_string());
        let model = Recorder::<B>::load(&recorder, state.model, &device).map_err(broken_record)?;
        let optimizer =
            Recorder::<B>::load(&recorder, state.optimizer, &device).map_err(broken_record)?;
        learner.model = learner.model.clone().load_record(model);
        learner.optimizer = learner.optimizer.clone().load_record(optimizer);
        self.curves.rows = state.rows;
        Ok(state.step)
    }
}

/// Whether the stage of this folder is complete.
pub(super) fn is_finished(folder: &Path) -> bool {
    folder.join("model.safetensors").is_file()
}

/// Whether the stage of this folder was begun and not finished.
pub(super) fn is_begun(folder: &Path) -> bool {
    folder.with_extension("state").is_file()
}

fn remove_if_there(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(TrainError::Io {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}
