//! Tokenizers of checkpoints, on their way into a briquette.

mod alphabet;
mod ends;
mod error;
mod from_gguf;
mod from_json;
mod normalization;
mod patterns;
mod section;
mod spec;

pub use error::TokenizerImportError;
pub use from_gguf::{check_pre, from_gguf};
pub use from_json::from_json;
pub use section::to_section;
pub use spec::{AddedToken, Merge, SplitStep, TokenizerSpec};

#[cfg(test)]
mod tests;
