//! What can go wrong while packing.

use std::io;
use std::path::PathBuf;

use briquette_engine::EngineError;
use briquette_engine::blob::BlobError;

use super::range::Direction;
use crate::checkpoint::ImportError;
use crate::pack::DoesNotFit;

/// Why a checkpoint could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The checkpoint was refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The output could not be written. Nothing was left behind.
    #[error("writing {}: {source}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The model is not one that the format can hold.
    #[error("the model cannot be packed: {0}")]
    Model(#[from] BlobError),
    /// Two formats for one tensor.
    #[error(
        "this model's head is its embedding (tie_word_embeddings), so the two have one format; \
         leave out --head or --embedding"
    )]
    Tied,
    /// The memory plan cannot be made.
    #[error("the model cannot be planned: {0}")]
    Plan(#[from] EngineError),
    /// The model needs more than the target has.
    #[error(transparent)]
    Target(#[from] DoesNotFit),
    /// The manifest cannot be encoded.
    #[error("the manifest cannot be encoded: {0}")]
    Manifest(#[from] postcard::Error),
    /// A weight that the format of its tensor cannot hold.
    #[error(
        "tensor `{tensor}`, row {row}: the weight {value:e} is too {direction} for {format}, \
         whose {holds}: pack this part with --{option} f32",
        holds = holds(format)
    )]
    OutOfRange {
        /// The tensor as the checkpoint names it.
        tensor: String,
        /// The row of the packed matrix.
        row: u64,
        /// The weight.
        value: f32,
        /// On which side it is out of range.
        direction: Direction,
        /// The format.
        format: &'static str,
        /// The option that chooses another one.
        option: &'static str,
    },
    /// More stop tokens than the format holds.
    #[error(
        "{found} tokens end an answer, and a briquette holds {most}: shorten the list at \
         eos_token_id"
    )]
    StopTokens {
        /// How many there are.
        found: usize,
        /// How many fit.
        most: usize,
    },
    /// The sizes overflow 64 bits.
    #[error("the model is too large for the format")]
    TooLarge,
    /// The user stopped it. Nothing was left behind.
    #[error("interrupted: no file was written")]
    Interrupted,
}

/// What bounds a format's numbers, for messages.
fn holds(format: &str) -> &'static str {
    match format {
        "f16" => "numbers lie between 6e-5 and 65504",
        _ => "steps are f16 numbers, between 6e-8 and 65504",
    }
}
