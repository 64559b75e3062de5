//! From a prompt's tokens to an answer, token by token.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use briquette_engine::StorageTraffic;
use briquette_engine::snapshot::SnapshotError;
use briquette_engine::text::{
    Candidates, Guide, GuideError, GuideOptions, Part, Sampler, SamplerError, TagRules, answer_room,
};
use briquette_engine::{EngineError, Executor};

use super::{Draft, PartStream, TextModel, draft};

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model sampled a stop token.
    EndOfText,
    /// As many tokens as were asked for.
    Length,
    /// The cache is full.
    ContextFull,
    /// The user interrupted it.
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
    /// Times that the weights were read for them: fewer than tokens where
    /// drafts were accepted.
    pub passes: usize,
    /// Tokens that were drafted.
    pub drafted: usize,
    /// Of these, tokens that were accepted.
    pub accepted: usize,
    /// Experts fetched from storage; nothing if they are mapped.
    pub storage: StorageTraffic,
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
    /// Most tokens to generate.
    pub tokens: usize,
    /// Recent tokens that repetition is measured by.
    pub repeat_last: usize,
    /// Tokens that the model may think; `None` for no limit.
    pub thinking: Option<u32>,
    /// Whether the answer must be one thought and one answer, in their tags.
    pub guarantee: bool,
    /// How tags are told from text that spells them.
    pub tags: TagRules,
    /// How tokens are drafted; any way gives the same answer.
    pub draft: Draft,
    /// Whether the user wants to stop.
    pub interrupted: &'a dyn Fn() -> bool,
}

impl Default for Limits<'_> {
    /// What `briquette run` does by default.
    fn default() -> Self {
        Self {
            tokens: 512,
            repeat_last: 64,
            thinking: None,
            guarantee: false,
            tags: TagRules::NONE,
            draft: Draft::default(),
            interrupted: &|| false,
        }
    }
}

/// A session together with the tokens that its cache holds.
pub struct Conversation<'s, 'a> {
    session: &'s mut dyn Executor<'a>,
    cached: Vec<u32>,
    order: Vec<u32>,
    /// The logits of one token.
    row: Vec<f32>,
}

impl<'s, 'a> Conversation<'s, 'a> {
    /// Starts with an empty cache.
    pub fn new(session: &'s mut dyn Executor<'a>) -> Self {
        session.truncate(0);
        let vocab = session.blob().manifest().config.vocab_size as usize;
        Self {
            session,
            cached: Vec::new(),
            order: vec![0; vocab],
            row: vec![0.0; vocab],
        }
    }

    /// Restores a snapshot; returns the number of its tokens.
    ///
    /// # Errors
    /// If the snapshot is damaged or belongs elsewhere.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<usize, SnapshotError> {
        let tokens = self.session.restore(snapshot)?;
        self.cached = tokens.iter().collect();
        Ok(self.cached.len())
    }

    /// A snapshot of the first `tokens` tokens of the conversation.
    ///
    /// # Errors
    /// If it has fewer.
    pub fn snapshot(&self, tokens: usize) -> Result<Vec<u8>, SnapshotError> {
        let tokens = self.cached.get(..tokens).unwrap_or(&self.cached);
        let mut bytes = Vec::with_capacity(self.session.snapshot_len(tokens.len()) as usize);
        self.session
            .save(tokens, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
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
        let before = self.session.traffic().storage;
        let part = limits.tags.part_after(text.tokenizer(), prompt);
        let mut guide = self.guide(prompt, text, part, limits)?;
        let shared = self.keep_shared(prompt);
        let first = self.take_in(&prompt[shared..], sampler, limits, guide.as_mut())?;
        let prefill = start.elapsed();
        let start = Instant::now();
        let mut stream = PartStream::new(*text.tokenizer(), part, limits.tags);
        let mut tokens = Vec::new();
        let mut sampled = VecDeque::from([first]);
        let (mut passes, mut drafted, mut accepted) = (0, 0, 0);
        let stop = loop {
            let Some(token) = sampled.pop_front() else {
                break Stop::Length;
            };
            if text.stops().contains(token) {
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
            if !sampled.is_empty() {
                continue;
            }
            if guide.as_ref().is_some_and(Guide::is_done) {
                break Stop::EndOfText;
            }
            if self.session.position() == self.session.context() {
                break Stop::ContextFull;
            }
            let draft = self.draft(token, limits.draft, limits.tokens - tokens.len())?;
            passes += 1;
            if draft.is_empty() {
                sampled.push_back(self.take_in(&[token], sampler, limits, guide.as_mut())?);
            } else {
                let may_follow = |token| !text.stops().contains(token);
                self.try_draft(
                    &draft,
                    sampler,
                    limits,
                    guide.as_mut(),
                    may_follow,
                    &mut sampled,
                )?;
                drafted += draft.len() - 1;
                // The last one sampled was not drafted.
                accepted += sampled.len().saturating_sub(1);
            }
        };
        stream.finish(&mut emit);
        Ok(Answer {
            tokens,
            stop,
            prompt_tokens: prompt.len() - shared,
            prefill,
            decode: start.elapsed(),
            passes,
            drafted,
            accepted,
            storage: self.session.traffic().storage.since(&before),
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
        let room = answer_room(self.session.context(), prompt.len());
        let options = GuideOptions {
            guarantee: limits.guarantee,
            thinking: limits.thinking.unwrap_or(u32::MAX),
            total: limits.tokens.min(room) as u32,
            start,
            rules: limits.tags,
        };
        Guide::new(*text.tokenizer(), text.stops().clone(), options).map(Some)
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

    /// `token`, and what may follow it: at most `limit` drafted tokens that
    /// fit the cache. Empty if there is no draft.
    fn draft(&mut self, token: u32, draft: Draft, limit: usize) -> Result<Vec<u32>, GenerateError> {
        let room = self.session.context() - self.session.position();
        let limit = draft.limit().min(limit).min(room - 1);
        let mut tried = vec![token];
        match draft {
            Draft::Mtp(_) if limit > 0 => {
                tried.resize(1 + limit, 0);
                let drafted = self.session.draft(token, &mut tried[1..])?;
                tried.truncate(1 + drafted);
            }
            Draft::Mtp(_) => {}
            Draft::Ngram(_) => {
                self.cached.push(token);
                tried.extend(draft::look_up(&self.cached, limit));
                self.cached.pop();
            }
        }
        if tried.len() == 1 {
            tried.clear();
        }
        Ok(tried)
    }

    /// Computes `tried` in one batch and samples after each of its tokens, as
    /// long as the next one is what was sampled.
    fn try_draft(
        &mut self,
        tried: &[u32],
        sampler: &mut Sampler,
        limits: &Limits<'_>,
        mut guide: Option<&mut Guide<'_>>,
        may_follow: impl Fn(u32) -> bool,
        sampled: &mut VecDeque<u32>,
    ) -> Result<(), GenerateError> {
        let Self {
            session,
            cached,
            order,
            row,
        } = self;
        let needed = needed(sampler, limits, guide.as_deref());
        let mut broken = None;
        let mut holds = true;
        session.score_likeliest(tried, needed, row, &mut |i, candidates| {
            if !holds {
                return;
            }
            cached.push(tried[i]);
            let watched = guide.as_deref_mut();
            match sample(candidates, sampler, order, cached, limits, watched) {
                Ok(token) => {
                    sampled.push_back(token);
                    let done = guide.as_deref().is_some_and(Guide::is_done);
                    holds = tried.get(i + 1) == Some(&token) && may_follow(token) && !done;
                }
                Err(error) => {
                    holds = false;
                    broken = Some(error);
                }
            }
        })?;
        session.truncate(cached.len());
        broken.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Computes `tokens` and samples the one that follows.
    fn take_in(
        &mut self,
        tokens: &[u32],
        sampler: &mut Sampler,
        limits: &Limits<'_>,
        guide: Option<&mut Guide<'_>>,
    ) -> Result<u32, GenerateError> {
        let needed = needed(sampler, limits, guide.as_deref());
        let candidates = self.session.likeliest(tokens, needed)?;
        self.cached.extend_from_slice(tokens);
        let (order, cached) = (&mut self.order, &self.cached);
        Ok(sample(candidates, sampler, order, cached, limits, guide)?)
    }
}

/// How many of the most likely tokens decide which comes next.
fn needed(sampler: &Sampler, limits: &Limits<'_>, guide: Option<&Guide<'_>>) -> usize {
    match guide {
        None => sampler.needs(limits.repeat_last),
        // It may exclude any.
        Some(_) => usize::MAX,
    }
}

/// Samples the token that follows `cached`.
fn sample(
    candidates: Candidates<'_>,
    sampler: &mut Sampler,
    order: &mut [u32],
    cached: &[u32],
    limits: &Limits<'_>,
    guide: Option<&mut Guide<'_>>,
) -> Result<u32, SamplerError> {
    if let Some(guide) = &guide {
        guide.constrain(candidates.logits);
    }
    let recent = cached.len().saturating_sub(limits.repeat_last);
    let token = sampler.sample_from(candidates, order, &cached[recent..])?;
    if let Some(guide) = guide {
        guide.take(token);
    }
    Ok(token)
}
