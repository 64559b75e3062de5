//! Text in, tokens through, text out: tokenizer, sampler, UTF-8 from the bytes of
//! tokens, the tags of reasoning, and the rules of an answer.
//!
//! Nothing here knows the model or its file. From a question to its answer:
//! [`Tokenizer::encode_message`] makes the prompt, a [`Sampler`] chooses tokens until
//! one of the [`Stops`], [`Tokenizer::shown_bytes`] gives the bytes of each, a
//! [`TagStream`] tells thought from answer, and [`Utf8Stream`] makes text of them.

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
