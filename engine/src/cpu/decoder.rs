//! A whole layer, and what comes before the first and after the last.

use crate::EngineError;
use crate::cut;
use crate::kernels::{norm, rope};

use super::buffers::{Memory, Step};
use super::layer::AttentionTensors;
use super::linear::Projection;
use super::means::Means;
use super::model::Model;
use super::team::Team;

/// What is computed, in which memory, and by what means.
#[derive(Debug)]
pub(super) struct Decoder<'a, T> {
    pub(super) model: Model<'a>,
    pub(super) memory: Memory<'a>,
    pub(super) means: Means<T>,
}

impl<T: Team> Decoder<'_, T> {
    /// Layer `index`, on the residual stream `x` of the step's tokens:
    ///
    /// ```text
    /// x += W_O attention(rms_norm(x))
    /// x += MLP(rms_norm(x)), or a mixture of such MLPs
    /// ```
    pub(super) fn layer(&mut self, index: usize, step: Step) -> Result<(), EngineError> {
        let layer = self.model.layer(index)?;
        self.normalize(layer.attention_norm, step.tokens);
        match &layer.attention {
            AttentionTensors::Mla(mla) => self.latent_attention(index, mla, step),
            AttentionTensors::Gqa(gqa) => self.grouped_attention(index, gqa, step),
        }
        self.add_output(&layer.output, step.tokens);
        self.normalize(layer.mlp_norm, step.tokens);
        self.mlp(&layer.mlp, step.tokens)
    }

    /// `residual` = the tokens' rows of the embedding.
    pub(super) fn embed(&mut self, tokens: &[u32]) {
        let (embedding, memory) = (&self.model.embedding, &mut self.memory);
        let width = self.model.hidden_size().max(1);
        let rows = memory.buffers.residual.chunks_mut(width);
        for (token, row) in tokens.iter().zip(rows) {
            embedding.decode_row(*token as usize, row);
        }
        memory.traffic.weights += (embedding.row_bytes() * tokens.len()) as u64;
    }

    /// RoPE's angles of the step's positions.
    pub(super) fn compute_angles(&mut self, step: Step) {
        let half = self.model.config.rope_dim() as usize / 2;
        let buffers = &mut self.memory.buffers;
        for token in 0..step.tokens {
            rope::angles(
                (step.position + token) as u32,
                self.model.inverse_frequencies,
                self.model.config.rope_attention_factor,
                cut::part_mut(buffers.cos, token * half, half),
                cut::part_mut(buffers.sin, token * half, half),
            );
        }
    }

    /// `input = rms_norm(residual)`, quantised.
    pub(super) fn normalize(&mut self, weight: &[f32], tokens: usize) {
        let hidden = self.model.hidden_size();
        let eps = self.model.config.rms_norm_eps;
        let isa = self.means.isa;
        let buffers = &mut self.memory.buffers;
        let (residual, input) = (&*buffers.residual, &mut buffers.input);
        input.fill(&self.means, [tokens, hidden], |token, out| {
            let row = cut::part(residual, token * hidden, hidden);
            norm::rms_norm(isa, row, weight, eps, out);
        });
        self.memory.traffic.weights += size_of_val(weight) as u64;
    }

    /// Logits of `count` tokens from token `first` on, after the norm `norm`.
    pub(super) fn head(&mut self, first: usize, count: usize, norm: &[f32]) {
        let hidden = self.model.hidden_size();
        if first > 0 {
            // Downwards, so that nothing is overwritten before it is read.
            let residual = &mut *self.memory.buffers.residual;
            for (to, from) in (first * hidden..).take(count * hidden).enumerate() {
                if let Some(value) = residual.get(from).copied()
                    && let Some(place) = residual.get_mut(to)
                {
                    *place = value;
                }
            }
        }
        self.normalize(norm, count);
        let head = Projection::new(self.model.head);
        let buffers = &mut self.memory.buffers;
        let inputs = buffers.input.inputs();
        self.means.project(&head, &inputs, buffers.logits);
        self.memory.traffic.weights += head.bytes();
    }

    /// The last token's logits.
    pub(super) fn logits(&self) -> &[f32] {
        let vocab_size = self.model.config.vocab_size as usize;
        cut::first(self.memory.buffers.logits, vocab_size)
    }

    /// Mutable [`Self::logits`], for a sampler.
    pub(super) fn logits_mut(&mut self) -> &mut [f32] {
        let vocab_size = self.model.config.vocab_size as usize;
        cut::first_mut(self.memory.buffers.logits, vocab_size)
    }
}
