//! Multi-token prediction: guessing the tokens after the next one.
//!
//! DeepSeek-V3 (section 2.2) is trained with one more layer. It takes what the
//! model has made of position `i`, and the token at `i + 1`, and says what
//! follows that:
//!
//! ```text
//! x_i    = projection [norm(embedding(token_i+1)); norm(h_i)]
//! logits = head(norm(layer(x_0 ..= x_i)))
//! ```
//!
//! `h_i` is the hidden state after the final norm, which is what the published
//! implementations feed the layer; embedding and head are the model's own. The
//! layer has rows in the cache like any other, row `i` for `x_i`. They are
//! computed one call late, when the next token is known. A row whose hidden
//! state was forgotten ([`Decoder::truncate`]) is made from the embedding
//! alone: guesses may get worse, results never change.

use crate::EngineError;
use crate::blob::{Blob, ModelConfig, Role};
use crate::kernels::norm;
use crate::quant::Matrix;
use crate::text::sampler::most_likely;

use super::arena::Arena;
use super::decoder::{Decoder, Step};
use super::linear::{project, read_panel};
use super::plan::Sizes;
use super::team::Team;

/// The layer's own tensors, and what is known of the last tokens.
#[derive(Debug)]
pub(super) struct Mtp<'a> {
    /// Its number.
    layer: usize,
    embedding_norm: &'a [f32],
    hidden_norm: &'a [f32],
    projection: Matrix<'a>,
    norm: &'a [f32],
    hidden_size: usize,
    /// The last call's tokens.
    tokens: &'a mut [u32],
    /// Their hidden states.
    hidden: &'a mut [f32],
    /// The layer's own state, where it goes on from a guess.
    guessed: &'a mut [f32],
    /// Position of the first of `tokens`.
    first: usize,
    /// How many there are.
    count: usize,
    /// Rows of the cache that are computed.
    rows: usize,
    /// The token that the last of them was computed with.
    last: u32,
}

impl<'a> Mtp<'a> {
    /// `None` if the plan has no room for it.
    pub(super) fn carve(
        blob: &Blob<'a>,
        config: &ModelConfig,
        sizes: &Sizes,
        arena: &mut Arena<'a>,
    ) -> Result<Option<Self>, EngineError> {
        if sizes.hidden == 0 {
            return Ok(None);
        }
        let layer = blob.manifest().mtp_layer().ok_or(EngineError::NoMtpLayer)?;
        let tensors = &mut blob.layer_tensors(layer);
        let mut take = |role| tensors.take(role).ok_or(EngineError::MissingTensor);
        let embedding_norm = take(Role::MtpEmbeddingNorm)?.vector();
        let hidden_norm = take(Role::MtpHiddenNorm)?.vector();
        let projection = take(Role::MtpProjection)?.matrix(0);
        let norm = take(Role::MtpNorm)?.vector();
        Ok(Some(Self {
            layer,
            embedding_norm,
            hidden_norm,
            projection: projection.ok_or(EngineError::MissingTensor)?,
            norm,
            hidden_size: config.hidden_size as usize,
            tokens: arena.take(sizes.tokens)?,
            hidden: arena.take(sizes.hidden)?,
            guessed: arena.take(sizes.guessed)?,
            first: 0,
            count: 0,
            rows: 0,
            last: 0,
        }))
    }

    /// Forgets all tokens after the first `position`.
    pub(super) fn truncate(&mut self, position: usize) {
        self.count = self.count.min(position.saturating_sub(self.first));
        if position < self.rows {
            // The last row that stays would need the token at `position`.
            self.rows = position.saturating_sub(1);
        }
    }

    /// Takes over `count` tokens whose rows, all but the last, are in the cache.
    pub(super) fn restore(&mut self, count: usize) {
        self.first = count;
        self.count = 0;
        self.rows = count.saturating_sub(1);
    }

    /// What row `row` is made of, where `next` comes at `position`.
    fn pair(&self, row: usize, position: usize, next: u32) -> (u32, Option<&[f32]>) {
        let known = row.checked_sub(self.first).filter(|i| *i < self.count);
        let state = known.and_then(|i| self.hidden.chunks(self.hidden_size.max(1)).nth(i));
        let token = if row + 1 == position {
            Some(next)
        } else {
            let index = (row + 1).checked_sub(self.first);
            index.and_then(|index| self.tokens.get(index).copied())
        };
        (token.unwrap_or(0), state)
    }
}

impl<'a, T: Team> Decoder<'a, T> {
    /// Guesses what follows `token`, which comes at `position` and has not been
    /// taken in yet: at most as many tokens as there is room for in `guesses`
    /// and, after `token`, in the cache. Returns how many; none without a plan
    /// for it, or at position 0.
    ///
    /// Replaces the logits by those of the last guess.
    ///
    /// # Errors
    /// If the token does not exist or does not fit, or an expert cannot be read.
    pub fn draft(
        &mut self,
        position: usize,
        token: u32,
        guesses: &mut [u32],
    ) -> Result<usize, EngineError> {
        self.check(&[token], position)?;
        let room = self.context().saturating_sub(position + 1);
        let len = guesses.len().min(room);
        let guesses = guesses.get_mut(..len).unwrap_or_default();
        let routing = self.routing;
        let guessed = match self.mtp.take() {
            Some(mut mtp) if position > 0 => {
                let guessed = self.guess(&mut mtp, position, token, guesses);
                self.mtp = Some(mtp);
                guessed.map(|()| len)
            }
            none => {
                self.mtp = none;
                Ok(0)
            }
        };
        self.routing = routing;
        guessed
    }

    fn guess(
        &mut self,
        mtp: &mut Mtp<'a>,
        position: usize,
        token: u32,
        guesses: &mut [u32],
    ) -> Result<(), EngineError> {
        // The last row again, if need be: its result is wanted.
        mtp.rows = mtp.rows.min(position.saturating_sub(1));
        let mut last = self.compute_rows(mtp, position, token)?;
        let mut before = None;
        for (i, guess) in guesses.iter_mut().enumerate() {
            if let Some(before) = before {
                let step = Step {
                    tokens: 1,
                    position: (position + i).saturating_sub(1),
                };
                self.join(mtp, &step, |_| (before, Some(&*mtp.guessed)));
                self.predict(mtp.layer, &step)?;
                last = 0;
            }
            self.head(last, 1, mtp.norm);
            // What the head has seen is to the next guess what the model's
            // state was to this one.
            let state = self.buffers.input.row(0).iter();
            for (to, from) in mtp.guessed.iter_mut().zip(state) {
                *to = *from;
            }
            *guess = most_likely(self.logits());
            before = Some(*guess);
        }
        Ok(())
    }

    /// Brings the rows up to date before `token` is taken in at `position`.
    pub(super) fn catch_up(&mut self, position: usize, token: u32) -> Result<(), EngineError> {
        let Some(mut mtp) = self.mtp.take() else {
            return Ok(());
        };
        if mtp.rows == position && mtp.last != token {
            // Drafted for another token.
            mtp.rows = position.saturating_sub(1);
        }
        let done = self.compute_rows(&mut mtp, position, token);
        self.mtp = Some(mtp);
        done.map(|_| ())
    }

    /// Computes the rows that lack up to the one with `token`, the token at
    /// `position`. Returns which row of `residual` has the last one's result.
    fn compute_rows(
        &mut self,
        mtp: &mut Mtp<'a>,
        position: usize,
        token: u32,
    ) -> Result<usize, EngineError> {
        let mut last = 0;
        while mtp.rows < position {
            let step = Step {
                tokens: (position - mtp.rows).min(self.batch().max(1)),
                position: mtp.rows,
            };
            self.join(mtp, &step, |row| mtp.pair(row, position, token));
            self.predict(mtp.layer, &step)?;
            mtp.rows += step.tokens;
            mtp.last = token;
            last = step.tokens.saturating_sub(1);
        }
        Ok(last)
    }

    fn predict(&mut self, layer: usize, step: &Step) -> Result<(), EngineError> {
        self.compute_angles(step);
        self.layer(layer, step)
    }

    /// `residual = projection [norm(embedding(token)); norm(state)]` for each
    /// row of `step`.
    fn join<'s>(
        &mut self,
        mtp: &Mtp<'_>,
        step: &Step,
        pair: impl Fn(usize) -> (u32, Option<&'s [f32]>) + Sync,
    ) {
        let (isa, eps, width) = (self.isa, self.config.rms_norm_eps, mtp.hidden_size);
        let embedding = self.model.embedding;
        let input = &mut self.buffers.input;
        input.fill(&self.team, isa, [step.tokens, 2 * width], |i, out| {
            let (token, state) = pair(step.position + i);
            let Some((first, second)) = out.split_at_mut_checked(width) else {
                return;
            };
            embedding.decode_row(token as usize, first);
            norm::rms_norm_in_place(isa, first, mtp.embedding_norm, eps);
            match state {
                Some(state) => norm::rms_norm(isa, state, mtp.hidden_norm, eps, second),
                None => second.fill(0.0),
            }
        });
        let panel = &mut *self.buffers.panel;
        project(&self.team, isa, &mtp.projection, &input.inputs(), panel);
        let rows = self.buffers.residual.chunks_mut(width.max(1));
        for (token, row) in rows.take(step.tokens).enumerate() {
            read_panel(panel, step.tokens, token, row);
        }
        let norms = size_of_val(mtp.embedding_norm) + size_of_val(mtp.hidden_norm);
        let rows = embedding.row_bytes() * step.tokens;
        self.traffic.weights += (mtp.projection.bytes().len() + norms + rows) as u64;
    }

    /// Keeps what the layers have made of `tokens`, after the final norm.
    pub(super) fn keep_hidden(&mut self, tokens: &[u32], position: usize) {
        let Some(mtp) = &mut self.mtp else {
            return;
        };
        let width = mtp.hidden_size.max(1);
        let residual = self.buffers.residual.chunks(width);
        let states = residual.zip(mtp.hidden.chunks_mut(width));
        for (residual, state) in states.take(tokens.len()) {
            let (weight, eps) = (self.model.final_norm, self.config.rms_norm_eps);
            norm::rms_norm(self.isa, residual, weight, eps, state);
        }
        for (to, from) in mtp.tokens.iter_mut().zip(tokens) {
            *to = *from;
        }
        (mtp.first, mtp.count) = (position, tokens.len());
    }
}
