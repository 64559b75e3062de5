//! Why a command failed.

use std::io;
use std::path::PathBuf;

use briquette_engine::EngineError;
use briquette_engine::blob::BlobError;

use crate::chat::{GenerateError, TextError};
use crate::checkpoint::CheckpointError;
use crate::device::DeviceError;
use crate::device::firmware::{FirmwareError, Uf2Error};
use crate::device::signed::UpdateError;
use crate::pack::{DoesNotFit, PackError, TargetError};
use crate::run::{ExecutorError, LoadError};
use crate::support::files::OutputError;
use crate::train::TrainError;

/// Any failure of a command, with where it happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CommandError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    #[error(transparent)]
    Uf2(#[from] Uf2Error),
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error("{}: {source}", path.display())]
    Damaged { path: PathBuf, source: BlobError },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {what}", path.display())]
    Content { path: PathBuf, what: String },
    #[error(transparent)]
    Destination(#[from] OutputError),
    #[error("writing the output: {0}")]
    Output(#[from] io::Error),
    #[error("the prompt is empty; say something with -p TEXT")]
    EmptyPrompt,
    #[error("{0}")]
    Refused(String),
    #[error("interrupted")]
    Interrupted,
}

impl CommandError {
    /// Whether the reader of our output has gone (`briquette … | head`).
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
