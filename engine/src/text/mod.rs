//! Text in, tokens through, text out: the tokenizer, the sampler, the
//! assembly of a UTF-8 stream from token bytes, and the tags of reasoning. Stands alone: nothing here
//! knows the model.

mod added;
mod answer;
mod encode;
mod error;
mod guide;
mod merge;
mod normalize;
pub mod sampler;
pub mod section;
mod single_turn;
mod split;
mod tag_rules;
mod tags;
mod tokenizer;
mod utf8_stream;

pub use answer::{MAX_STOP_TOKENS, Stops, answer_room};
pub use encode::{BuffersNeeded, EncodeOptions, Scratch};
pub use error::TokenizerError;
pub use guide::{Guide, GuideError, GuideOptions};
pub use sampler::{Candidates, Sampler, SamplerError, SamplerOptions};
pub use single_turn::SingleTurn;
pub use split::Splitter;
pub use tag_rules::TagRules;
pub use tags::{Part, Tag, TagStream};
pub use tokenizer::{TokenFlags, Tokenizer};
pub use utf8_stream::Utf8Stream;
