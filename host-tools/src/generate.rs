//! From a prompt's tokens to an answer, token by token.

use std::time::{Duration, Instant};

use briquette_engine::cpu::Team;
use briquette_engine::text::{Guide, GuideError, GuideOptions, Part, Sampler, SamplerError};
use briquette_engine::{EngineError, Session};

use crate::reasoning::{PartStream, part_after};
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
    /// The answer cannot be given the form of reasoning.
    #[error(transparent)]
    Guide(#[from] GuideError),
}

/// How far to go.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// Tokens at most.
    pub tokens: usize,
    /// Recent tokens that repetition is measured by.
    pub repeat_last: usize,
    /// Tokens that the model may think; no limit if nothing.
    pub thinking: Option<u32>,
    /// Whether the answer must be one thought and one answer, in their tags.
    pub guarantee: bool,
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
    /// certain, with the part of the answer that it belongs to.
    ///
    /// # Errors
    /// If the prompt does not fit, the logits are broken, or the answer cannot
    /// have the form that `limits` ask for.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        text: &TextModel<'_>,
        sampler: &mut Sampler,
        limits: &Limits<'_>,
        mut emit: impl FnMut(Part, &str),
    ) -> Result<Answer, GenerateError> {
        let start = Instant::now();
        let part = part_after(text.tokenizer(), prompt);
        let mut guide = self.guide(prompt, text, part, limits)?;
        let shared = self.keep_shared(prompt);
        let mut token = self.take_in(&prompt[shared..], sampler, limits, guide.as_mut())?;
        let prefill = start.elapsed();
        let start = Instant::now();
        let mut stream = PartStream::new(*text.tokenizer(), part);
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
            stream.push(token, &mut emit);
            if guide.as_ref().is_some_and(Guide::is_done) {
                break Stop::EndOfText;
            }
            if self.session.position() == self.session.context() {
                break Stop::ContextFull;
            }
            token = self.take_in(&[token], sampler, limits, guide.as_mut())?;
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

    /// Watches over the answer's form if `limits` ask for it.
    fn guide<'t>(
        &self,
        prompt: &[u32],
        text: &TextModel<'t>,
        start: Part,
        limits: &Limits<'_>,
    ) -> Result<Option<Guide<'t>>, GuideError> {
        if limits.thinking.is_none() && !limits.guarantee {
            return Ok(None);
        }
        // The last token of an answer need not be computed.
        let room = self.session.context().saturating_sub(prompt.len()) + 1;
        let options = GuideOptions {
            guarantee: limits.guarantee,
            thinking: limits.thinking.unwrap_or(u32::MAX),
            total: limits.tokens.min(room) as u32,
            start,
        };
        Guide::new(*text.tokenizer(), options).map(Some)
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
        guide: Option<&mut Guide<'_>>,
    ) -> Result<u32, GenerateError> {
        let logits = self.session.prefill(tokens)?;
        self.cached.extend_from_slice(tokens);
        if let Some(guide) = &guide {
            guide.constrain(logits);
        }
        let recent = self.cached.len().saturating_sub(limits.repeat_last);
        let token = sampler.sample(logits, &mut self.order, &self.cached[recent..])?;
        if let Some(guide) = guide {
            guide.take(token);
        }
        Ok(token)
    }
}
