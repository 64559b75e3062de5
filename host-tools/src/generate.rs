//! From a prompt's tokens to an answer, token by token.

use std::time::{Duration, Instant};

use briquette_engine::cpu::Team;
use briquette_engine::text::{Sampler, SamplerError, Utf8Stream};
use briquette_engine::{EngineError, Session};

use crate::text::TextModel;

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model said so.
    EndOfText,
    /// As many tokens as were asked for.
    Length,
    /// The cache is full.
    ContextFull,
    /// The person said so.
    Interrupted,
}

impl Stop {
    /// The name in `--json` reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "end_of_text",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What was generated, and how long it took.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The tokens, without the one that ended it.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
    /// Tokens of the prompt that were computed (not found in the cache).
    pub prompt_tokens: usize,
    /// Time for these.
    pub prefill: Duration,
    /// Time for the tokens.
    pub decode: Duration,
}

/// Why generation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The sampler refused.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}

/// How far to go.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Tokens at most.
    pub tokens: usize,
    /// Recent tokens that repetition is measured by.
    pub repeat_last: usize,
    /// Whether the person wants to stop.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// A session together with the tokens that its cache holds.
#[derive(Debug)]
pub struct Conversation<'s, 'a, T> {
    session: &'s mut Session<'a, T>,
    cached: Vec<u32>,
    order: Vec<u32>,
}

impl<'s, 'a, T: Team + Clone + Send> Conversation<'s, 'a, T> {
    /// Starts with whatever `session` forgot.
    pub fn new(session: &'s mut Session<'a, T>) -> Self {
        session.truncate(0);
        let vocab = session.blob().manifest().config.vocab_size as usize;
        Self {
            session,
            cached: Vec::new(),
            order: vec![0; vocab],
        }
    }

    /// Answers `prompt`, the whole conversation so far: what the cache already
    /// holds of it is not computed again. Text goes to `emit` as soon as it is
    /// certain.
    ///
    /// # Errors
    /// If the prompt does not fit, or the logits are broken.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        text: &TextModel<'_>,
        sampler: &mut Sampler,
        limits: &Limits<'_>,
        mut emit: impl FnMut(&str),
    ) -> Result<Answer, GenerateError> {
        let start = Instant::now();
        let shared = self.keep_shared(prompt);
        let mut token = self.take_in(&prompt[shared..], sampler, limits)?;
        let prefill = start.elapsed();
        let start = Instant::now();
        let mut stream = Utf8Stream::new();
        let mut tokens = Vec::new();
        let stop = loop {
            if text.is_stop(token) {
                break Stop::EndOfText;
            }
            if tokens.len() == limits.tokens {
                break Stop::Length;
            }
            if (limits.interrupted)() {
                break Stop::Interrupted;
            }
            tokens.push(token);
            if !text.tokenizer().flags(token).special {
                stream.push(text.tokenizer().token_bytes(token), &mut emit);
            }
            if self.session.position() == self.session.context() {
                break Stop::ContextFull;
            }
            token = self.take_in(&[token], sampler, limits)?;
        };
        stream.finish(&mut emit);
        Ok(Answer {
            tokens,
            stop,
            prompt_tokens: prompt.len() - shared,
            prefill,
            decode: start.elapsed(),
        })
    }

    /// Forgets what differs from `prompt`; returns how many tokens stay. At
    /// least one token is left to compute, since its logits are needed.
    fn keep_shared(&mut self, prompt: &[u32]) -> usize {
        let pairs = self.cached.iter().zip(prompt);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        let shared = shared.min(prompt.len().saturating_sub(1));
        self.session.truncate(shared);
        self.cached.truncate(shared);
        shared
    }

    /// Computes `tokens` and samples the one that follows.
    fn take_in(
        &mut self,
        tokens: &[u32],
        sampler: &mut Sampler,
        limits: &Limits<'_>,
    ) -> Result<u32, GenerateError> {
        let logits = self.session.prefill(tokens)?;
        self.cached.extend_from_slice(tokens);
        let recent = self.cached.len().saturating_sub(limits.repeat_last);
        Ok(sampler.sample(logits, &mut self.order, &self.cached[recent..])?)
    }
}
