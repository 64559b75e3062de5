//! What can go wrong while running a model.

use core::fmt;

use crate::blob::{BlobError, Role, TensorRecord};

/// Why the engine refused or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The bytes are not a usable briquette.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The arena is too small.
    #[error("the arena has {got} bytes, the plan needs {needed}")]
    NeedsMemory {
        /// Bytes that the plan needs.
        needed: u64,
        /// Bytes handed in.
        got: u64,
    },
    /// The arena starts at an unsuitable address.
    #[error("the arena's address is not a multiple of {needed}")]
    MisalignedArena {
        /// The alignment that is needed.
        needed: usize,
    },
    /// A plan for nothing.
    #[error("`{field}` must be at least 1")]
    EmptyPlan {
        /// Context or batch.
        field: &'static str,
    },
    /// The plan does not fit the target's address space.
    #[error("the plan needs more bytes than this target can address")]
    PlanTooLarge,
    /// The cache has no room for more tokens.
    #[error("the context is full: {context} tokens fit, {needed} are needed")]
    ContextFull {
        /// Tokens that fit.
        context: u32,
        /// Tokens that would have to fit.
        needed: u64,
    },
    /// A token that the model does not know.
    #[error("token {token} does not exist: the vocabulary has {vocab_size}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens that exist.
        vocab_size: u32,
    },
    /// Nothing to work on.
    #[error("no tokens were given")]
    NoTokens,
    /// The storage that holds the experts failed.
    #[error("the storage failed to read {bytes} bytes of the briquette at {offset}")]
    Storage {
        /// First byte in the briquette.
        offset: u64,
        /// Bytes wanted.
        bytes: u64,
    },
    /// The storage holds something else than the file that was opened.
    #[error("the storage does not hold the briquette that was opened")]
    OtherBriquette,
    /// The experts are neither in memory nor in a storage.
    #[error("the experts are not in memory, and there is no storage to read them from")]
    NoExperts,
    /// The file has no layer for multi-token prediction.
    #[error("the briquette has no layer for multi-token prediction")]
    NoMtpLayer,
    /// The device has not enough memory.
    #[error("the device has {free} bytes of memory free, the model needs {needed}")]
    NeedsDeviceMemory {
        /// Bytes that the plan needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A tensor is larger than the device takes them.
    #[error(
        "the device takes buffers of {largest} bytes at most, a tensor of the model has {needed}"
    )]
    NeedsLargerBuffers {
        /// Bytes of the largest tensor.
        needed: u64,
        /// Bytes of the largest buffer.
        largest: u64,
    },
    /// The device stopped working.
    #[error("the device failed while it ran the model")]
    DeviceFailed,
    /// The plan was made for another model.
    #[error("the plan was made for another model")]
    OtherPlan,
    /// A tensor that the file's table promised cannot be read.
    #[error("tensor {role:?} of {} cannot be read", Owner(*layer))]
    MissingTensor {
        /// What the tensor is for.
        role: Role,
        /// Its layer, or [`TensorRecord::MODEL`].
        layer: u16,
    },
}

impl EngineError {
    /// The matrix or vector that `record` describes cannot be read.
    pub(crate) const fn missing(record: &TensorRecord) -> Self {
        Self::MissingTensor {
            role: record.role,
            layer: record.layer,
        }
    }
}

/// What a tensor belongs to: a layer, or the model as a whole.
struct Owner(u16);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TensorRecord::MODEL => f.write_str("the model"),
            layer => write!(f, "layer {layer}"),
        }
    }
}
