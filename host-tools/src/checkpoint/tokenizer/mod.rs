//! Tokenizers of checkpoints, on their way into a briquette.

mod alphabet;
mod error;
mod from_json;
mod normalization;
pub(super) mod patterns;
mod section;
mod spec;

pub use error::TokenizerImportError;
pub use from_json::from_json;
pub use section::to_section;
pub use spec::{AddedToken, Merge, SplitStep, TokenizerSpec};
