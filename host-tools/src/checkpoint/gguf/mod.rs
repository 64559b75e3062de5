//! GGUF files, versions 2 and 3, as llama.cpp writes them.

mod codes;
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

use super::{ImportError, Model};

/// What the model in `file` is.
///
/// # Errors
/// If the architecture or an option is unknown, or a number makes no sense.
pub fn model(file: &mut Gguf) -> Result<Model, ImportError> {
    kind::check(file.metadata())?;
    let model = model::model(file)?;
    kind::check_pairs(file.metadata(), &model)?;
    Ok(model)
}
