//! What can run a model: the few calls that every executor answers.

use super::Traffic;
use super::snapshot::{SnapshotError, SnapshotTokens};
use crate::EngineError;
use crate::blob::Blob;
use crate::text::Candidates;

/// One conversation with a model, whatever runs it. [`Session`](crate::Session) is the
/// executor on the processor.
pub trait Executor<'a> {
    /// The model's file.
    fn blob(&self) -> &Blob<'a>;

    /// Tokens in the cache.
    fn position(&self) -> usize;

    /// Tokens that fit the cache.
    fn context(&self) -> usize;

    /// What all calls so far have read.
    fn traffic(&self) -> Traffic;

    /// Forgets all tokens after the first `position`.
    fn truncate(&mut self, position: usize);

    /// Takes `tokens` in; returns the logits that follow the last one.
    ///
    /// # Errors
    /// As [`Session::prefill`](crate::Session::prefill); and if the device fails.
    fn prefill(&mut self, tokens: &[u32]) -> Result<&mut [f32], EngineError>;

    /// Takes `tokens` in; returns what may follow the last one: at least the
    /// `count` most likely tokens, those of the largest logits, of equals the
    /// lowest. A device leaves the others' logits in its memory, if it can.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    fn likeliest(&mut self, tokens: &[u32], _count: usize) -> Result<Candidates<'_>, EngineError> {
        let logits = self.prefill(tokens)?;
        Ok(Candidates {
            tokens: None,
            logits,
        })
    }

    /// Takes one token in; returns the logits that follow it.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    fn decode(&mut self, token: u32) -> Result<&mut [f32], EngineError> {
        self.prefill(&[token])
    }

    /// Takes `tokens` in and hands every token's logits to `each`, with its
    /// index. `row` is room for one row: `vocab_size` numbers, which `each` may
    /// change.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    fn score(
        &mut self,
        tokens: &[u32],
        row: &mut [f32],
        each: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<(), EngineError>;

    /// As [`Self::score`], of at least the `count` most likely tokens: see
    /// [`Self::likeliest`].
    ///
    /// # Errors
    /// As [`Self::prefill`].
    fn score_likeliest(
        &mut self,
        tokens: &[u32],
        _count: usize,
        row: &mut [f32],
        each: &mut dyn FnMut(usize, Candidates<'_>),
    ) -> Result<(), EngineError> {
        self.score(tokens, row, &mut |token, logits| {
            let tokens = None;
            each(token, Candidates { tokens, logits });
        })
    }

    /// Drafts what follows `token`, which is yet to be taken in; returns how many
    /// of `drafts` it filled, none if the executor cannot draft.
    ///
    /// # Errors
    /// As [`Session::draft`](crate::Session::draft).
    fn draft(&mut self, _token: u32, _drafts: &mut [u32]) -> Result<usize, EngineError> {
        Ok(0)
    }

    /// Bytes of a snapshot of `tokens` tokens; 0 if there are no snapshots.
    fn snapshot_len(&self, _tokens: usize) -> u64 {
        0
    }

    /// Hands a snapshot of `tokens` to `write`, piece by piece.
    ///
    /// # Errors
    /// As [`Session::save`](crate::Session::save); [`SnapshotError::Unsupported`].
    fn save(&self, _tokens: &[u32], _write: &mut dyn FnMut(&[u8])) -> Result<(), SnapshotError> {
        Err(SnapshotError::Unsupported)
    }

    /// Takes a snapshot's tokens in without computing them.
    ///
    /// # Errors
    /// As [`Session::restore`](crate::Session::restore); [`SnapshotError::Unsupported`].
    fn restore<'s>(&mut self, _snapshot: &'s [u8]) -> Result<SnapshotTokens<'s>, SnapshotError> {
        Err(SnapshotError::Unsupported)
    }
}
