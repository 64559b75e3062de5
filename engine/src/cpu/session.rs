//! The public face: load, prefill, next token.

use crate::EngineError;
use crate::blob::Blob;
use crate::cpu::cache::Cache;
use crate::cut;
use crate::execute::snapshot::{SnapshotError, SnapshotTokens};
use crate::execute::{Executor, Logits, PlanOptions, Traffic, admit};
use crate::kernels::Isa;
use crate::storage::BlockStorage;
use crate::text::Candidates;

use super::arena::Arena;
use super::buffers::{Memory, Step};
use super::decoder::Decoder;
use super::linear::read_panel;
use super::means::Means;
use super::model::Model;
use super::mtp::Mtp;
use super::plan::Plan;
use super::team::{Serial, Team};

/// One conversation with a model, in memory that the caller gave.
///
/// ```no_run
/// use briquette_engine::blob::Blob;
/// use briquette_engine::{Plan, PlanOptions, Session};
///
/// # fn run(file: &[u8], arena: &mut [u8]) -> Result<(), briquette_engine::EngineError> {
/// let blob = Blob::open(file)?;
/// let plan = Plan::new(blob.manifest(), PlanOptions::packed(blob.manifest()))?;
/// let mut session = Session::new(blob, &plan, arena)?;
/// let logits = session.prefill(&[1, 2, 3])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session<'a, T = Serial> {
    decoder: Decoder<'a, T>,
    /// What drafts tokens, if it was planned for.
    mtp: Option<Mtp<'a>>,
    options: PlanOptions,
    arena_used: u64,
    position: usize,
}

impl<'a> Session<'a> {
    /// A session on the calling thread, with the best kernels that detection
    /// finds.
    ///
    /// # Errors
    /// [`EngineError::NeedsMemory`] if `arena` is smaller than the plan,
    /// [`EngineError::MisalignedArena`] if its address is not a multiple of 64.
    pub fn new(blob: Blob<'a>, plan: &Plan, arena: &'a mut [u8]) -> Result<Self, EngineError> {
        Self::with_team(blob, plan, arena, Serial, Isa::detect())
    }
}

impl<'a, T: Team> Session<'a, T> {
    /// As [`Session::new`], with chosen threads and kernels. Neither changes a
    /// single bit of the results.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_team(
        blob: Blob<'a>,
        plan: &Plan,
        arena: &'a mut [u8],
        team: T,
        isa: Isa,
    ) -> Result<Self, EngineError> {
        Self::open(blob, None, plan, arena, Means { team, isa })
    }

    /// As [`Session::with_team`], with experts that are read from `storage`
    /// into the slots of the plan when tokens choose them. `blob` may be whole,
    /// or come from [`storage::load`](crate::storage::load). How many slots
    /// there are does not change a single bit of the results either.
    ///
    /// # Errors
    /// As [`Session::new`]; [`EngineError::EmptyPlan`] without slots;
    /// [`EngineError::Storage`] if the storage fails;
    /// [`EngineError::OtherBriquette`] if it does not hold the file of `blob`.
    pub fn with_storage(
        blob: Blob<'a>,
        storage: &'a mut dyn BlockStorage,
        plan: &Plan,
        arena: &'a mut [u8],
        team: T,
        isa: Isa,
    ) -> Result<Self, EngineError> {
        Self::open(blob, Some(storage), plan, arena, Means { team, isa })
    }

    fn open(
        blob: Blob<'a>,
        storage: Option<&'a mut dyn BlockStorage>,
        plan: &Plan,
        arena: &'a mut [u8],
        means: Means<T>,
    ) -> Result<Self, EngineError> {
        let got = arena.len() as u64;
        let needed = plan.arena_bytes();
        if got < needed {
            return Err(EngineError::NeedsMemory { needed, got });
        }
        if Plan::new(blob.manifest(), plan.options) != Ok(*plan) {
            return Err(EngineError::OtherPlan);
        }
        let mut arena = Arena::new(arena)?;
        let model = Model::new(blob)?;
        let memory = Memory::carve(&model, storage, plan, &mut arena)?;
        let mtp = Mtp::carve(&model, &plan.sizes, &mut arena)?;
        Ok(Self {
            decoder: Decoder {
                model,
                memory,
                means,
            },
            mtp,
            options: plan.options,
            arena_used: arena.used(),
            position: 0,
        })
    }

    /// Takes `tokens` in, a batch at a time; returns the logits that follow
    /// the last one.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`] before anything is computed if the tokens
    /// do not all fit; [`EngineError::UnknownToken`]; [`EngineError::NoTokens`];
    /// [`EngineError::Storage`] if an expert could not be read. The session is
    /// then as it was before.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], EngineError> {
        self.admit(tokens)?;
        if tokens.is_empty() {
            return Err(EngineError::NoTokens);
        }
        let start = self.position;
        let batch = self.options.batch.max(1) as usize;
        let last = (tokens.len() - 1) / batch;
        for (i, tokens) in tokens.chunks(batch).enumerate() {
            let logits = if i == last {
                Logits::Last
            } else {
                Logits::None
            };
            if let Err(error) = self.forward(tokens, logits) {
                self.truncate(start);
                return Err(error);
            }
        }
        Ok(self.decoder.logits_mut())
    }

    /// Runs `tokens`, at most a batch, through the whole model.
    fn forward(&mut self, tokens: &[u32], logits: Logits) -> Result<(), EngineError> {
        let decoder = &mut self.decoder;
        let step = Step {
            tokens: tokens.len(),
            position: self.position,
        };
        if let (Some(mtp), Some(first)) = (&mut self.mtp, tokens.first()) {
            mtp.catch_up(decoder, step.position, *first)?;
        }
        decoder.memory.routing = 0;
        decoder.embed(tokens);
        decoder.compute_angles(step);
        for layer in 0..decoder.model.layers() {
            decoder.layer(layer, step)?;
        }
        if let Some(mtp) = &mut self.mtp {
            mtp.keep_hidden(decoder, tokens, step.position);
        }
        let norm = decoder.model.final_norm;
        match logits {
            Logits::None => {}
            Logits::Last => decoder.head(step.tokens - 1, 1, norm),
            Logits::All => decoder.head(0, step.tokens, norm),
        }
        self.position += step.tokens;
        Ok(())
    }

    fn admit(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocab_size = self.decoder.model.config.vocab_size;
        admit(tokens, self.position, self.context(), vocab_size)
    }

    /// Takes one token in; returns the logits that follow it.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn decode(&mut self, token: u32) -> Result<&mut [f32], EngineError> {
        self.prefill(&[token])
    }

    /// Takes `tokens` in and hands every token's logits to `each`, with its
    /// index. `row` is room for one row: `vocab_size` numbers, which `each` may
    /// change. A plan with room for more than one row of logits makes this
    /// faster.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        mut each: impl FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.admit(tokens)?;
        let rows = self.options.logits.min(self.options.batch).max(1) as usize;
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            self.forward(chunk, Logits::All)?;
            for token in 0..chunk.len() {
                read_panel(self.decoder.memory.buffers.logits, chunk.len(), token, row);
                each(i * rows + token, row);
            }
        }
        Ok(())
    }

    /// Tokens in the cache.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Tokens that fit the cache.
    pub const fn context(&self) -> usize {
        self.options.context as usize
    }

    /// Forgets all tokens after the first `position`.
    pub fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
        if let Some(mtp) = &mut self.mtp {
            mtp.truncate(self.position);
        }
    }

    /// Drafts what follows `token`, which is yet to be taken in, with the layer
    /// for multi-token prediction. Fills the front of `drafts`; returns how many
    /// tokens it drafted: as many as there is room for in the cache, none without
    /// [`PlanOptions::mtp`] or before the first token.
    ///
    /// What [`Self::prefill`] and [`Self::score`] compute afterwards is the same to
    /// the bit, whatever was drafted.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`], [`EngineError::UnknownToken`] or
    /// [`EngineError::Storage`].
    pub fn draft(&mut self, token: u32, drafts: &mut [u32]) -> Result<usize, EngineError> {
        self.admit(&[token])?;
        let position = self.position;
        let room = self.context().saturating_sub(position + 1);
        let (drafts, _) = cut::split_at_most_mut(drafts, room);
        let Some(mtp) = self.mtp.as_mut().filter(|_| position > 0) else {
            return Ok(0);
        };
        let decoder = &mut self.decoder;
        let routing = decoder.memory.routing;
        let drafted = mtp.draft(decoder, position, token, drafts);
        decoder.memory.routing = routing;
        drafted.map(|()| drafts.len())
    }

    /// The logits of the last token of [`Self::draft`].
    pub fn draft_logits(&self) -> &[f32] {
        self.decoder.logits()
    }

    /// The model's file.
    pub const fn blob(&self) -> &Blob<'a> {
        &self.decoder.model.blob
    }

    /// Bytes of the arena in use: the high-water mark.
    pub const fn arena_used(&self) -> u64 {
        self.arena_used
    }

    /// A digest of the experts that the last batch chose, in all layers: equal
    /// digests, equal choices (but for a chance of 2^-64).
    pub const fn routing_digest(&self) -> u64 {
        self.decoder.memory.routing
    }

    /// What all calls so far have read.
    pub const fn traffic(&self) -> Traffic {
        let memory = &self.decoder.memory;
        Traffic {
            storage: memory.experts.traffic(),
            ..memory.traffic
        }
    }

    /// What the session was planned for.
    pub(super) const fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// The cached rows.
    pub(super) const fn cache(&self) -> &Cache<'a> {
        &self.decoder.memory.cache
    }

    /// Layers that have rows in the cache.
    pub(super) const fn cached_layers(&self) -> usize {
        self.decoder.model.layers() + self.mtp.is_some() as usize
    }

    /// Has `fill` put `count` tokens into the cache.
    pub(super) fn refill(&mut self, count: usize, fill: impl FnOnce(&mut Cache<'a>)) {
        fill(&mut self.decoder.memory.cache);
        if let Some(mtp) = &mut self.mtp {
            mtp.restore(count);
        }
        self.position = count;
    }
}

impl<'a, T: Team> Executor<'a> for Session<'a, T> {
    fn blob(&self) -> &Blob<'a> {
        self.blob()
    }

    fn position(&self) -> usize {
        self.position()
    }

    fn context(&self) -> usize {
        self.context()
    }

    fn traffic(&self) -> Traffic {
        self.traffic()
    }

    fn truncate(&mut self, position: usize) {
        self.truncate(position);
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], EngineError> {
        self.prefill(tokens)
    }

    fn likeliest(&mut self, tokens: &[u32], _count: usize) -> Result<Candidates<'_>, EngineError> {
        let logits = self.prefill(tokens)?;
        let tokens = None;
        Ok(Candidates { tokens, logits })
    }

    fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        each: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.score(tokens, row, each)
    }

    fn draft(&mut self, token: u32, drafts: &mut [u32]) -> Result<usize, EngineError> {
        self.draft(token, drafts)
    }

    fn snapshot_len(&self, tokens: usize) -> u64 {
        self.snapshot_len(tokens)
    }

    fn save(&self, tokens: &[u32], write: &mut dyn FnMut(&[u8])) -> Result<(), SnapshotError> {
        self.save(tokens, |piece| {
            write(piece);
            Ok(())
        })
    }

    fn restore<'s>(&mut self, snapshot: &'s [u8]) -> Result<SnapshotTokens<'s>, SnapshotError> {
        self.restore(snapshot)
    }
}
