//! Text in, tokens through, text out: the tokenizer, the sampler and the
//! assembly of a UTF-8 stream from token bytes. Stands alone: nothing here
//! knows the model.

mod added;
mod encode;
mod error;
mod merge;
mod normalize;
pub mod sampler;
pub mod section;
mod split;
mod tokenizer;
mod utf8_stream;

pub use encode::{BuffersNeeded, EncodeOptions, Scratch};
pub use error::TokenizerError;
pub use sampler::{Sampler, SamplerError, SamplerOptions};
pub use split::Splitter;
pub use tokenizer::{TokenFlags, Tokenizer};
pub use utf8_stream::Utf8Stream;
