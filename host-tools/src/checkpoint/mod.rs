//! From a published checkpoint to one canonical description.
//!
//! Each importer (a Hugging Face folder, a GGUF file) answers three questions:
//! what the model is ([`Model`]), how its tensors are read ([`TensorStore`]),
//! and where each canonical tensor lies among them ([`Mapping`]). Everything
//! after that (transposing, de-interleaving, quantising, writing) is shared.

mod encoding;
mod error;
pub mod gguf;
pub mod hf;
mod locate;
mod mapping;
mod open;
mod prompt_start;
mod rope;
mod rows;
mod stranger;
pub mod tokenizer;
mod weights;

pub use encoding::Encoding;
pub use error::ImportError;
pub use locate::{CheckpointPath, locate};
pub use mapping::{LeftOut, Location, Mapping, TensorId, Transform};
pub use open::{CheckpointError, OpenOptions, Source, open, open_as};
pub use rows::{Grid, Rows};
pub use weights::Weights;

use std::ops::Range;

use briquette_engine::blob::{LayerKind, ModelConfig};

/// What the model is, independent of how its file spells it.
#[derive(Debug, Clone)]
pub struct Model {
    /// The architecture as the checkpoint names it.
    pub architecture: String,
    /// A name to show people, if the checkpoint has one.
    pub name: Option<String>,
    /// Dimensions and choices.
    pub config: ModelConfig,
    /// One entry per layer.
    pub layers: Vec<LayerKind>,
    /// The layer for multi-token prediction that the checkpoint has after these;
    /// [`Weights::add_mtp_layer`] makes it one of them.
    pub mtp: Option<LayerKind>,
    /// RoPE's inverse frequencies, scaling applied: `rope_dim / 2` numbers.
    pub rope_inverse_frequencies: Vec<f32>,
}

/// One tensor as the checkpoint stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Outermost dimension first, as in `[out, in]`.
    pub shape: Vec<u64>,
    /// How its numbers are stored; `None` if they cannot be read.
    pub encoding: Option<Encoding>,
}

impl StoredTensor {
    /// The innermost dimension: numbers in a row.
    pub fn cols(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// A file, or a set of files, of named tensors that is read by rows.
///
/// Rows are counted over all outer dimensions: a `[experts, out, in]` tensor
/// has `experts * out` rows. Only the rows asked for are read, so memory stays
/// bounded however large the checkpoint is.
pub trait TensorStore {
    /// The tensor called `name`, if there is one.
    fn find(&self, name: &str) -> Option<StoredTensor>;

    /// The names of all tensors, in no order, without those that the store
    /// itself reads to widen others.
    fn names(&self) -> Vec<String>;

    /// Replaces `out` by the given rows, widened exactly to `f32`.
    ///
    /// # Errors
    /// If the tensor is absent, the rows lie outside it, or reading fails.
    fn read_rows(
        &mut self,
        name: &str,
        rows: Range<u64>,
        out: &mut Rows,
    ) -> Result<(), ImportError>;
}
