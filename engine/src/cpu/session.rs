//! The public face: load, prefill, next token.

use crate::EngineError;
use crate::blob::Blob;
use crate::execute::snapshot::{SnapshotError, SnapshotTokens};
use crate::execute::{Executor, Logits, Traffic};
use crate::kernels::Isa;
use crate::storage::BlockStorage;

use super::decoder::Decoder;
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
        Ok(Self {
            decoder: Decoder::new(blob, None, plan, arena, team, isa)?,
            position: 0,
        })
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
        Ok(Self {
            decoder: Decoder::new(blob, Some(storage), plan, arena, team, isa)?,
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
        self.require_room(tokens.len())?;
        if tokens.is_empty() {
            return Err(EngineError::NoTokens);
        }
        let start = self.position;
        if let Err(error) = self.take_in(tokens) {
            self.truncate(start);
            return Err(error);
        }
        Ok(self.decoder.logits_mut())
    }

    fn take_in(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
        let batch = self.decoder.batch().max(1);
        let last = (tokens.len() - 1) / batch;
        for (i, chunk) in tokens.chunks(batch).enumerate() {
            let logits = if i == last {
                Logits::Last
            } else {
                Logits::None
            };
            self.forward(chunk, logits)?;
        }
        Ok(())
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
        self.require_room(tokens.len())?;
        let rows = self.decoder.logits_rows().min(self.decoder.batch()).max(1);
        for (i, chunk) in tokens.chunks(rows).enumerate() {
            self.forward(chunk, Logits::All)?;
            for token in 0..chunk.len() {
                self.decoder.read_logits(chunk.len(), token, row);
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
        self.decoder.context()
    }

    /// Forgets all tokens after the first `position`.
    pub fn truncate(&mut self, position: usize) {
        self.position = self.position.min(position);
        self.decoder.truncate(self.position);
    }

    /// Guesses what follows `token`, which is yet to be taken in, with the layer
    /// for multi-token prediction. Fills the front of `guesses`; returns how many
    /// tokens it guessed: as many as there is room for in the cache, none without
    /// [`PlanOptions::mtp`](crate::PlanOptions::mtp) or before the first
    /// token.
    ///
    /// What [`Self::prefill`] and [`Self::score`] compute afterwards is the same to
    /// the bit, whatever was guessed.
    ///
    /// # Errors
    /// [`EngineError::ContextFull`], [`EngineError::UnknownToken`] or
    /// [`EngineError::Storage`].
    pub fn draft(&mut self, token: u32, guesses: &mut [u32]) -> Result<usize, EngineError> {
        self.decoder.draft(self.position, token, guesses)
    }

    /// The logits of the last guess of [`Self::draft`].
    pub fn draft_logits(&self) -> &[f32] {
        self.decoder.logits()
    }

    /// The model's file.
    pub const fn blob(&self) -> &Blob<'a> {
        self.decoder.blob()
    }

    /// Bytes of the arena in use: the high-water mark.
    pub const fn arena_used(&self) -> u64 {
        self.decoder.arena_used()
    }

    /// A digest of the experts that the last batch chose.
    pub const fn routing_digest(&self) -> u64 {
        self.decoder.routing_digest()
    }

    /// What all calls so far have read.
    pub const fn traffic(&self) -> Traffic {
        self.decoder.traffic()
    }

    /// The decoder, for what is not computed but copied.
    pub(crate) const fn decoder(&self) -> &Decoder<'a, T> {
        &self.decoder
    }

    /// Lets `fill` put `count` tokens into the cache.
    pub(crate) fn refill(&mut self, count: usize, fill: impl FnOnce(&mut Decoder<'a, T>)) {
        fill(&mut self.decoder);
        self.decoder.restored(count);
        self.position = count;
    }

    fn forward(&mut self, tokens: &[u32], logits: Logits) -> Result<(), EngineError> {
        self.decoder.forward(tokens, self.position, logits)?;
        self.position += tokens.len();
        Ok(())
    }

    fn require_room(&self, tokens: usize) -> Result<(), EngineError> {
        let needed = self.position as u64 + tokens as u64;
        if needed > self.context() as u64 {
            return Err(EngineError::ContextFull {
                context: self.context() as u32,
                needed,
            });
        }
        Ok(())
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

    fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        each: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError> {
        self.score(tokens, row, each)
    }

    fn draft(&mut self, token: u32, guesses: &mut [u32]) -> Result<usize, EngineError> {
        self.draft(token, guesses)
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
