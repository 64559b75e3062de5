//! The messages.

use serde::{Deserialize, Serialize};

use super::FrameError;

/// Version of the protocol. A device answers [`Request::Hello`] in any version.
pub const VERSION: u16 = 1;
/// Bytes of a prompt at most.
pub const MAX_TEXT: usize = 256;
/// Token ids of a request at most.
pub const MAX_IDS: usize = 64;

/// What a host asks.
#[expect(
    clippy::large_enum_variant,
    reason = "without a heap there is no box to put it in"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Who are you?
    Hello,
    /// Answer a person.
    #[serde(borrow)]
    Prompt(Prompt<'a>),
    /// Forget everything, compute these tokens, and say after each a digest of
    /// the logits; then take so many of the most likely tokens.
    Score {
        /// Token ids.
        ids: heapless::Vec<u32, MAX_IDS>,
        /// Tokens to go on with.
        greedy: u32,
    },
    /// What has it cost so far?
    Statistics,
    /// Stop answering.
    Stop,
}

/// A person's prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prompt<'a> {
    /// The text.
    pub text: &'a str,
    /// Tokens of the answer at most.
    pub tokens: u32,
    /// Tokens of the thought at most.
    pub thinking: Option<u32>,
    /// Whether the answer must be one thought and one answer.
    pub guarantee: bool,
    /// Temperature; 0 takes the most likely token always.
    pub temperature: f32,
    /// Where the sampler starts.
    pub seed: u64,
}

/// Where in an answer a piece of text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Between `<think>` and `</think>`.
    Thinking,
    /// The answer.
    Answer,
}

/// What a device says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Response<'a> {
    /// Who it is.
    #[serde(borrow)]
    Hello(Hello<'a>),
    /// A piece of the answer, in bytes that may cut a character.
    Text {
        /// Where it stands.
        part: Part,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The digest of the logits after a token.
    Digest {
        /// The token's position.
        position: u32,
        /// CRC-32 (ISO-HDLC) of the logits as little-endian `f32`.
        crc: u32,
    },
    /// A token that was the most likely one.
    Token(u32),
    /// The answer is complete.
    Done(StopReason),
    /// What it has cost so far.
    Statistics(Statistics),
    /// The request cannot be served.
    Refused(Refusal),
}

/// Who a device is, and what its model needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`VERSION`].
    pub protocol: u16,
    /// The firmware's name and version.
    pub firmware: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// The first bytes of the model's SHA-256.
    pub digest: [u8; 8],
    /// Tokens that fit the cache.
    pub context: u32,
    /// Bytes of the arena.
    pub arena_bytes: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// The model said so.
    EndOfText,
    /// As many tokens as were asked for.
    Length,
    /// The cache is full.
    ContextFull,
    /// The host said so.
    Stopped,
}

/// What a device has spent since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Statistics {
    /// Bytes of weights read.
    pub weight_bytes: u64,
    /// Of these, bytes of chosen experts.
    pub expert_bytes: u64,
    /// Bytes of the cache read and written.
    pub kv_bytes: u64,
    /// Bytes of the arena in use.
    pub arena_used: u64,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No message could be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The prompt has no text or no tokens.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt is longer than [`MAX_TEXT`] or does not fit the cache.
    #[error("the prompt is too long")]
    TooLong,
    /// The model has no tokenizer.
    #[error("the model has no tokenizer")]
    NoTokenizer,
    /// A token does not exist.
    #[error("a token id is not in the vocabulary")]
    UnknownToken,
    /// The answer cannot be given its form.
    #[error("the answer cannot be given the form of reasoning")]
    Form,
    /// The model's numbers are broken.
    #[error("the model's numbers are broken")]
    Broken,
}
