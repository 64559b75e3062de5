//! Multi-token prediction: drafting the tokens after the next one.
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
//! state was forgotten ([`Mtp::truncate`]) is made from the embedding alone:
//! drafts may get worse, results never change.

use crate::EngineError;
use crate::blob::Role;
use crate::cut;
use crate::kernels::norm;
use crate::text::sampler::most_likely;

use super::arena::Arena;
use super::buffers::Step;
use super::decoder::Decoder;
use super::linear::{Projection, read_panel};
use super::lookup::Lookup;
use super::model::Model;
use super::plan::Sizes;
use super::team::Team;

/// The layer's own tensors, and what is known of the last tokens.
#[derive(Debug)]
pub(super) struct Mtp<'a> {
    /// Its number.
    layer: usize,
    embedding_norm: &'a [f32],
    hidden_norm: &'a [f32],
    projection: Projection<'a>,
    norm: &'a [f32],
    hidden_size: usize,
    /// The last call's tokens.
    tokens: &'a mut [u32],
    /// Their hidden states.
    hidden: &'a mut [f32],
    /// The layer's own state, where it continues from a drafted token.
    drafted: &'a mut [f32],
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
        model: &Model<'a>,
        sizes: &Sizes,
        arena: &mut Arena<'a>,
    ) -> Result<Option<Self>, EngineError> {
        if sizes.hidden == 0 {
            return Ok(None);
        }
        let layer = model.blob.manifest().mtp_layer();
        let layer = layer.ok_or(EngineError::NoMtpLayer)?;
        let tensors = &mut Lookup::layer(&model.blob, layer);
        Ok(Some(Self {
            layer,
            embedding_norm: tensors.tensor(Role::MtpEmbeddingNorm)?.vector(),
            hidden_norm: tensors.tensor(Role::MtpHiddenNorm)?.vector(),
            projection: tensors.projection(Role::MtpProjection)?,
            norm: tensors.tensor(Role::MtpNorm)?.vector(),
            hidden_size: model.hidden_size(),
            tokens: arena.take(sizes.tokens)?,
            hidden: arena.take(sizes.hidden)?,
            drafted: arena.take(sizes.drafted)?,
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

    /// Drafts what follows `token`, which comes at `position` and has not been
    /// taken in yet. Replaces the logits by those of the last drafted token.
    ///
    /// # Errors
    /// If an expert cannot be read.
    pub(super) fn draft<T: Team>(
        &mut self,
        decoder: &mut Decoder<'a, T>,
        position: usize,
        token: u32,
        drafts: &mut [u32],
    ) -> Result<(), EngineError> {
        // The last row again, if need be: its result is wanted.
        self.rows = self.rows.min(position.saturating_sub(1));
        let mut last = self.compute_rows(decoder, position, token)?;
        let mut before = None;
        for (i, draft) in drafts.iter_mut().enumerate() {
            if let Some(before) = before {
                let step = Step {
                    tokens: 1,
                    position: (position + i).saturating_sub(1),
                };
                self.join(decoder, step, |_| (before, Some(&*self.drafted)));
                self.predict(decoder, step)?;
                last = 0;
            }
            decoder.head(last, 1, self.norm);
            // What the head has seen is to the next draft what the model's
            // state was to this one.
            let state = decoder.memory.buffers.input.row(0).iter();
            for (to, from) in self.drafted.iter_mut().zip(state) {
                *to = *from;
            }
            *draft = most_likely(decoder.logits());
            before = Some(*draft);
        }
        Ok(())
    }

    /// Brings the rows up to date before `token` is taken in at `position`.
    pub(super) fn catch_up<T: Team>(
        &mut self,
        decoder: &mut Decoder<'a, T>,
        position: usize,
        token: u32,
    ) -> Result<(), EngineError> {
        if self.rows == position && self.last != token {
            // Drafted for another token.
            self.rows = position.saturating_sub(1);
        }
        self.compute_rows(decoder, position, token).map(|_| ())
    }

    /// Computes the missing rows, up to the one for `token`, the token at
    /// `position`. Returns which row of `residual` has the last one's result.
    fn compute_rows<T: Team>(
        &mut self,
        decoder: &mut Decoder<'a, T>,
        position: usize,
        token: u32,
    ) -> Result<usize, EngineError> {
        let mut last = 0;
        while self.rows < position {
            let step = Step {
                tokens: (position - self.rows).min(self.tokens.len().max(1)),
                position: self.rows,
            };
            self.join(decoder, step, |row| self.pair(row, position, token));
            self.predict(decoder, step)?;
            self.rows += step.tokens;
            self.last = token;
            last = step.tokens.saturating_sub(1);
        }
        Ok(last)
    }

    fn predict<T: Team>(
        &self,
        decoder: &mut Decoder<'a, T>,
        step: Step,
    ) -> Result<(), EngineError> {
        decoder.compute_angles(step);
        decoder.layer(self.layer, step)
    }

    /// `residual = projection [norm(embedding(token)); norm(state)]` for each
    /// row of `step`.
    fn join<'s, T: Team>(
        &self,
        decoder: &mut Decoder<'a, T>,
        step: Step,
        pair: impl Fn(usize) -> (u32, Option<&'s [f32]>) + Sync,
    ) {
        let (model, means) = (&decoder.model, &decoder.means);
        let memory = &mut decoder.memory;
        let (isa, eps, width) = (means.isa, model.config.rms_norm_eps, self.hidden_size);
        let embedding = &model.embedding;
        let input = &mut memory.buffers.input;
        input.fill(means, [step.tokens, 2 * width], |i, out| {
            let (token, state) = pair(step.position + i);
            let (first, second) = cut::split_mut(out, width);
            embedding.decode_row(token as usize, first);
            norm::rms_norm_in_place(isa, first, self.embedding_norm, eps);
            match state {
                Some(state) => norm::rms_norm(isa, state, self.hidden_norm, eps, second),
                None => second.fill(0.0),
            }
        });
        let panel = &mut *memory.buffers.panel;
        means.project(&self.projection, &input.inputs(), panel);
        let rows = memory.buffers.residual.chunks_mut(width.max(1));
        for (token, row) in rows.take(step.tokens).enumerate() {
            read_panel(panel, step.tokens, token, row);
        }
        let norms = size_of_val(self.embedding_norm) + size_of_val(self.hidden_norm);
        let rows = embedding.row_bytes() * step.tokens;
        memory.traffic.weights += self.projection.bytes() + (norms + rows) as u64;
    }

    /// Keeps what the layers have made of `tokens`, after the final norm.
    pub(super) fn keep_hidden<T: Team>(
        &mut self,
        decoder: &Decoder<'a, T>,
        tokens: &[u32],
        position: usize,
    ) {
        let (model, width) = (&decoder.model, self.hidden_size.max(1));
        let residual = decoder.memory.buffers.residual.chunks(width);
        let states = residual.zip(self.hidden.chunks_mut(width));
        for (residual, state) in states.take(tokens.len()) {
            let (weight, eps) = (model.final_norm, model.config.rms_norm_eps);
            norm::rms_norm(decoder.means.isa, residual, weight, eps, state);
        }
        for (to, from) in self.tokens.iter_mut().zip(tokens) {
            *to = *from;
        }
        (self.first, self.count) = (position, tokens.len());
    }
}
