//! The briquette: one file that holds a whole model.
//!
//! [`Blob::open`] checks everything once; afterwards every accessor is total.
//! `FORMAT.md` beside this crate's sources is the specification.

mod check;
mod config;
mod contents;
mod error;
mod header;
mod layout;
mod manifest;
mod reader;
mod record;
mod tensor;

pub use crate::text::{MAX_STOP_TOKENS, SingleTurn};
pub use config::{Attention, Gqa, LayerKind, Mla, ModelConfig, Moe, Router, Scoring};
pub(crate) use contents::Contents;
pub use error::BlobError;
pub use header::{
    ALIGNMENT, HEADER_LEN, Header, MAGIC, MAJOR_VERSION, MAJOR_VERSIONS, MINOR_VERSION,
    TRAILER_LEN, align, trailer,
};
pub use layout::{Due, Layout, Placer, expert_bytes};
pub use manifest::{Chat, ExpertSizes, LAYOUT_INTERLEAVED, Manifest, MemoryContract, Provenance};
pub use reader::{Blob, Tensor, Tensors};
pub use record::TensorRecord;
pub use tensor::{Part, Role, Shape};
