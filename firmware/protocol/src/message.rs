//! The messages.

use serde::{Deserialize, Serialize};

use super::FrameError;
use super::update::{UpdateRefusal, UpdateRequest, UpdateResponse};

/// Version of the protocol. What never changes from version to version: the
/// frames, that [`Request::Hello`] begins with a zero byte, whatever follows,
/// and that a [`Response::Hello`] begins with a zero byte and the version as a
/// postcard `u16`. So two versions can always tell that they differ.
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
    /// the logits; then continue with the most likely tokens.
    Score {
        /// Token ids.
        ids: heapless::Vec<u32, MAX_IDS>,
        /// Tokens to go on with.
        greedy: u32,
    },
    /// What has it cost so far?
    Statistics,
    /// Stop answering. Nothing happens if nothing is being answered.
    Stop,
    /// Forget everything, take in `prompt` tokens of no meaning together, then
    /// `tokens` more one after the other, telling each: what it costs is found
    /// in [`Statistics`].
    Bench {
        /// Tokens taken in together.
        prompt: u32,
        /// Tokens taken in one after the other.
        tokens: u32,
    },
    /// Something about the device's model: see [`crate::update`].
    #[serde(borrow)]
    Update(UpdateRequest<'a>),
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
    /// A token that was chosen, or taken in.
    Token(u32),
    /// The answer is complete.
    Done(StopReason),
    /// What it has cost so far.
    Statistics(Statistics),
    /// The request cannot be served.
    Refused(Refusal),
    /// How an update goes.
    Update(UpdateResponse),
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
    /// The target profile that the firmware was built for.
    pub target: &'a str,
    /// What the model takes.
    pub memory: Memory,
}

/// The memory contract of a model on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Tokens that the cache holds.
    pub context: u32,
    /// Tokens that prefill takes at a time.
    pub batch: u32,
    /// Bytes of the arena: scratch, cache and slots for experts.
    pub arena_bytes: u64,
    /// Bytes of working memory.
    pub scratch_bytes: u64,
    /// Bytes of the cache.
    pub kv_bytes: u64,
    /// Bytes of the file in flash.
    pub flash_bytes: u64,
    /// Bytes of it that were loaded into RAM, besides the arena, because flash is
    /// not read in place; else 0.
    pub loaded_bytes: u64,
    /// Experts that the arena has slots for, if they are read when needed.
    pub expert_slots: u32,
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
    /// Taking prompts in.
    pub prefill: Work,
    /// Writing answers, the choice of each token included.
    pub decode: Work,
    /// Ticks of the device's clock per second; 0 if it has none.
    pub ticks_per_second: u32,
    /// Bytes of the arena in use: the high-water mark.
    pub arena_used: u64,
    /// Bytes of the stack used at most since the start.
    pub stack_peak: u32,
    /// Bytes reserved for the stack.
    pub stack_bytes: u32,
}

/// What some tokens have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Tokens computed.
    pub tokens: u64,
    /// Ticks of the device's clock.
    pub ticks: u64,
    /// Bytes of weights read.
    pub weight_bytes: u64,
    /// Of these, bytes of chosen experts.
    pub expert_bytes: u64,
    /// Bytes of the cache read and written.
    pub kv_bytes: u64,
    /// Times that a chosen expert was in memory, where experts are read from
    /// storage; 0 where all are read in place.
    pub expert_hits: u64,
    /// Times that it was not, and so was read.
    pub expert_misses: u64,
    /// Bytes read from storage for these.
    pub storage_bytes: u64,
}

impl core::ops::AddAssign for Work {
    fn add_assign(&mut self, more: Self) {
        self.tokens = self.tokens.wrapping_add(more.tokens);
        self.ticks = self.ticks.wrapping_add(more.ticks);
        self.weight_bytes = self.weight_bytes.wrapping_add(more.weight_bytes);
        self.expert_bytes = self.expert_bytes.wrapping_add(more.expert_bytes);
        self.kv_bytes = self.kv_bytes.wrapping_add(more.kv_bytes);
        self.expert_hits = self.expert_hits.wrapping_add(more.expert_hits);
        self.expert_misses = self.expert_misses.wrapping_add(more.expert_misses);
        self.storage_bytes = self.storage_bytes.wrapping_add(more.storage_bytes);
    }
}

impl core::ops::Sub for Work {
    type Output = Self;

    /// What has been spent since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            tokens: self.tokens.wrapping_sub(earlier.tokens),
            ticks: self.ticks.wrapping_sub(earlier.ticks),
            weight_bytes: self.weight_bytes.wrapping_sub(earlier.weight_bytes),
            expert_bytes: self.expert_bytes.wrapping_sub(earlier.expert_bytes),
            kv_bytes: self.kv_bytes.wrapping_sub(earlier.kv_bytes),
            expert_hits: self.expert_hits.wrapping_sub(earlier.expert_hits),
            expert_misses: self.expert_misses.wrapping_sub(earlier.expert_misses),
            storage_bytes: self.storage_bytes.wrapping_sub(earlier.storage_bytes),
        }
    }
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No message could be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The prompt has no text, or no token was asked for.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt is longer than [`MAX_TEXT`] or does not fit the cache.
    #[error("the prompt is too long: {MAX_TEXT} bytes at most, and its tokens must fit the cache")]
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
    /// The vocabulary is too large to be sampled from.
    #[error("the device cannot sample from so large a vocabulary; use temperature 0")]
    Sampling,
    /// Another request is being answered.
    #[error("the device is answering another request; send Stop first")]
    Busy,
    /// The model's numbers are broken.
    #[error("the model's numbers are broken")]
    Broken,
    /// The flash that holds the experts cannot be read.
    #[error("the flash that holds the experts cannot be read")]
    Storage,
    /// An update, or a piece of it, is not taken.
    #[error(transparent)]
    Update(#[from] UpdateRefusal),
}

/// What can be read from a frame.
pub trait Message<'f>: Sized {
    /// Reads a frame's message.
    ///
    /// # Errors
    /// [`FrameError::Unknown`] if it is none; [`FrameError::Version`] if the
    /// other side speaks another version of the protocol.
    fn read(bytes: &'f [u8]) -> Result<Self, FrameError>;
}

/// What both kinds of Hello begin with, in every version.
const HELLO: u8 = 0;

impl<'f> Message<'f> for Request<'f> {
    fn read(bytes: &'f [u8]) -> Result<Self, FrameError> {
        match bytes {
            // Later versions may say more.
            [HELLO, ..] => Ok(Self::Hello),
            _ => whole(bytes),
        }
    }
}

impl<'f> Message<'f> for Response<'f> {
    fn read(bytes: &'f [u8]) -> Result<Self, FrameError> {
        if let [HELLO, rest @ ..] = bytes {
            match postcard::take_from_bytes::<u16>(rest) {
                Ok((VERSION, _)) => {}
                Ok((version, _)) => return Err(FrameError::Version(version)),
                Err(_) => return Err(FrameError::Unknown),
            }
        }
        whole(bytes)
    }
}

/// The message that takes all of `bytes`.
fn whole<'f, M: Deserialize<'f>>(bytes: &'f [u8]) -> Result<M, FrameError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(FrameError::Unknown),
    }
}
