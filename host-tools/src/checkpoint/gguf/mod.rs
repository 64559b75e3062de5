//! GGUF files, versions 2 and 3, as llama.cpp writes them.

mod blocks;
mod kind;
mod metadata;
mod model;
mod names;
mod reader;
mod rope;
mod store;
mod tokenizer;

pub use names::GgufMapping;
pub use store::Gguf;
pub use tokenizer::{GgufTokenizer, check_pre, tokenizer_spec};

#[cfg(test)]
mod tests;
