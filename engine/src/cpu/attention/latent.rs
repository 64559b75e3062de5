//! Multi-head latent attention in its absorbed form (DeepSeek-V2, section
//! 2.1.2): queries go down to the latent, scores and sums run on the cached
//! latents, and the sum comes up through `W_UV`.

use crate::blob::{Mla, Tensor};
use crate::cut;
use crate::kernels::{linear, norm, rope};
use crate::quant::GROUP;

use super::heads::{join_heads, split_heads, unpack_heads};
use super::{Target, rows_mut};
use crate::cpu::buffers::Step;
use crate::cpu::decoder::Decoder;
use crate::cpu::layer::{MlaTensors, QueryTensors};
use crate::cpu::linear::{Projection, read_panel};
use crate::cpu::plan::panel_len;
use crate::cpu::team::Team;

impl<T: Team> Decoder<'_, T> {
    /// Leaves the heads' results in `input`.
    pub(in crate::cpu) fn latent_attention(
        &mut self,
        layer: usize,
        tensors: &MlaTensors<'_>,
        step: Step,
    ) {
        let latent = tensors.dims.kv_lora_rank as usize;
        let value = tensors.dims.v_head_dim as usize;
        let stride = latent.next_multiple_of(GROUP);
        self.cache_latents(layer, tensors, step);
        self.latent_queries(tensors, step);
        // middle = q_nope of each head; input = W_UK^T q_nope of each head.
        self.split_queries(&tensors.dims, step.tokens);
        self.project_heads(&tensors.key_up, step.tokens);
        self.read_heads([latent, stride], step.tokens);
        self.attend_heads(layer, step);
        // middle = the heads' sums of latents; input = W_UV of each head's.
        self.join_latents([latent, stride], step.tokens);
        self.project_heads(&tensors.value_up, step.tokens);
        self.read_heads([value, value], step.tokens);
    }

    /// Computes, norms, rotates and stores the tokens' latents and keys.
    fn cache_latents(&mut self, layer: usize, tensors: &MlaTensors<'_>, step: Step) {
        let Mla {
            kv_lora_rank,
            qk_rope_head_dim,
            latent_norm_eps,
            ..
        } = tensors.dims;
        let (latent, rotated) = (kv_lora_rank as usize, qk_rope_head_dim as usize);
        let half = rotated / 2;
        let (means, memory) = (&self.means, &mut self.memory);
        let (isa, buffers) = (means.isa, &mut memory.buffers);
        means.project(&tensors.kv_a, &buffers.input.inputs(), buffers.panel);
        buffers.read_rows(means, [latent + rotated, step.tokens], Target::KeyValue);
        let (latent_segment, rotated_segment) = memory.cache.layout().latent();
        for (token, row) in rows_mut(buffers.key_value, latent + rotated, step.tokens) {
            let (latent, key) = cut::split_mut(row, latent);
            norm::rms_norm_in_place(isa, latent, tensors.kv_a_norm, latent_norm_eps);
            let cos = cut::part(buffers.cos, token * half, half);
            let sin = cut::part(buffers.sin, token * half, half);
            rope::rotate(isa, key, cos, sin);
            let cached = memory.cache.row_mut(layer, step.position + token);
            latent_segment.store(isa, latent, cached);
            rotated_segment.store(isa, key, cached);
        }
        memory.traffic.weights += tensors.kv_a.bytes() + size_of_val(tensors.kv_a_norm) as u64;
    }

    /// Computes the queries and rotates their last part.
    fn latent_queries(&mut self, tensors: &MlaTensors<'_>, step: Step) {
        match &tensors.query {
            QueryTensors::Direct(query) => self.direct_queries(query, step.tokens),
            QueryTensors::Compressed { down, norm, up } => {
                let eps = tensors.dims.latent_norm_eps;
                self.compressed_queries([down, up], norm, eps, step.tokens);
            }
        }
        let isa = self.means.isa;
        let nope = tensors.dims.qk_nope_head_dim as usize;
        let rope_dim = tensors.dims.qk_rope_head_dim as usize;
        let dims = [self.model.heads(), nope + rope_dim, rope_dim];
        let buffers = &mut self.memory.buffers;
        buffers.for_each_query(&self.means, dims, step.tokens, |head, cos, sin| {
            let (_, rotated) = cut::split_mut(head, nope);
            rope::rotate(isa, rotated, cos, sin);
        });
    }

    /// `query = matrix * input + bias`.
    pub(super) fn direct_queries(&mut self, query: &Projection<'_>, tokens: usize) {
        let (means, buffers) = (&self.means, &mut self.memory.buffers);
        means.project(query, &buffers.input.inputs(), buffers.panel);
        buffers.read_rows(means, [query.matrix.rows(), tokens], Target::Query);
        self.memory.traffic.weights += query.bytes();
    }

    /// `query = up * rms_norm(down * input + bias)`.
    fn compressed_queries(
        &mut self,
        [down, up]: [&Projection<'_>; 2],
        weight: &[f32],
        eps: f32,
        tokens: usize,
    ) {
        let (means, buffers) = (&self.means, &mut self.memory.buffers);
        means.project(down, &buffers.input.inputs(), buffers.panel);
        let rank = down.matrix.rows();
        buffers.middle.reshape(tokens, rank);
        for token in 0..tokens {
            let (row, padding) = cut::split_mut(buffers.middle.row_mut(token), rank);
            read_panel(buffers.panel, tokens, token, row);
            norm::rms_norm_in_place(means.isa, row, weight, eps);
            padding.fill(0.0);
        }
        buffers.middle.quantize(means.isa);
        means.project(up, &buffers.middle.inputs(), buffers.panel);
        for (token, query) in rows_mut(buffers.query, up.matrix.rows(), tokens) {
            read_panel(buffers.panel, tokens, token, query);
        }
        self.memory.traffic.weights += down.bytes() + up.bytes() + size_of_val(weight) as u64;
    }

    /// `middle` = the part of each head's query that is not rotated.
    fn split_queries(&mut self, dims: &Mla, tokens: usize) {
        let (heads, nope) = (self.model.heads(), dims.qk_nope_head_dim as usize);
        let head_dim = nope + dims.qk_rope_head_dim as usize;
        let columns = heads * nope.next_multiple_of(GROUP);
        let buffers = &mut self.memory.buffers;
        let (query, middle) = (&*buffers.query, &mut buffers.middle);
        middle.fill(&self.means, [tokens, columns], |token, out| {
            let query = cut::part(query, token * heads * head_dim, heads * head_dim);
            split_heads(query, head_dim, nope, out);
        });
    }

    /// `middle` = the heads' sums that attention left in the panel, `width` numbers
    /// each, one head every `stride` columns.
    fn join_latents(&mut self, [width, stride]: [usize; 2], tokens: usize) {
        let heads = self.model.heads();
        let buffers = &mut self.memory.buffers;
        let (panel, middle) = (&*buffers.panel, &mut buffers.middle);
        middle.fill(&self.means, [tokens, heads * stride], |token, out| {
            join_heads(panel, [1, heads], [width, stride], [token, tokens], out);
        });
    }

    /// One small product per head: `panel[head] = matrix(head) * middle[head]`.
    fn project_heads(&mut self, tensor: &Tensor<'_>, tokens: usize) {
        let heads = self.model.heads();
        let record = tensor.record();
        let columns = (record.cols as usize).next_multiple_of(GROUP);
        let unit = panel_len(record.rows as usize, tokens);
        let (means, buffers) = (&self.means, &mut self.memory.buffers);
        let middle = &buffers.middle;
        let panel = cut::first_mut(buffers.panel, heads * unit);
        means.team.for_each_range(panel, unit, |first, range| {
            for (i, panel) in range.chunks_mut(unit.max(1)).enumerate() {
                let head = first + i;
                if let Some(matrix) = tensor.matrix(head) {
                    let inputs = middle.inputs_from(head * columns);
                    linear(means.isa, &matrix, 0, &inputs, panel);
                }
            }
        });
        let matrix = tensor.matrix(0).map_or(0, |matrix| matrix.bytes().len());
        self.memory.traffic.weights += (matrix * heads) as u64;
    }

    /// `input` = the heads' results that [`Self::project_heads`] left, `rows`
    /// numbers each, one head every `stride` columns.
    fn read_heads(&mut self, [rows, stride]: [usize; 2], tokens: usize) {
        let columns = self.model.heads() * stride;
        let buffers = &mut self.memory.buffers;
        let (panel, input) = (&*buffers.panel, &mut buffers.input);
        input.fill(&self.means, [tokens, columns], |token, out| {
            unpack_heads(panel, rows, stride, [token, tokens], out);
        });
    }
}
