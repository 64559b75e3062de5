//! Grouped-query attention: several query heads share the cached key and value
//! of one head.

use crate::cut;
use crate::kernels::{hadamard, norm, rope};
use crate::quant::GROUP;

use super::heads::{join_heads, rotate_heads, split_heads};
use super::{Target, rows_mut};
use crate::cpu::buffers::Step;
use crate::cpu::decoder::Decoder;
use crate::cpu::layer::GqaTensors;
use crate::cpu::team::Team;

impl<T: Team> Decoder<'_, T> {
    /// Leaves the heads' results in `input`.
    pub(in crate::cpu) fn grouped_attention(
        &mut self,
        layer: usize,
        tensors: &GqaTensors<'_>,
        step: Step,
    ) {
        self.cache_keys_and_values(layer, tensors, step);
        self.direct_queries(&tensors.query, step.tokens);
        self.grouped_queries(tensors, step.tokens);
        self.attend_heads(layer, step);
        self.join_groups(tensors, step.tokens);
    }

    /// Computes, norms, rotates and stores the tokens' keys and values.
    fn cache_keys_and_values(&mut self, layer: usize, tensors: &GqaTensors<'_>, step: Step) {
        let head_dim = tensors.dims.head_dim as usize;
        let size = tensors.dims.num_key_value_heads as usize * head_dim;
        let half = head_dim / 2;
        let eps = self.model.config.rms_norm_eps;
        let (means, memory) = (&self.means, &mut self.memory);
        let (isa, buffers) = (means.isa, &mut memory.buffers);
        let layout = *memory.cache.layout();
        means.project(&tensors.key, &buffers.input.inputs(), buffers.panel);
        buffers.read_rows(means, [size, step.tokens], Target::Key);
        means.project(&tensors.value, &buffers.input.inputs(), buffers.panel);
        buffers.read_rows(means, [size, step.tokens], Target::Value);
        for (token, row) in rows_mut(buffers.key_value, 2 * size, step.tokens) {
            let (keys, values) = cut::split_mut(row, size);
            let cos = cut::part(buffers.cos, token * half, half);
            let sin = cut::part(buffers.sin, token * half, half);
            let cached = memory.cache.row_mut(layer, step.position + token);
            let heads = keys
                .chunks_mut(head_dim.max(1))
                .zip(values.chunks_mut(head_dim.max(1)));
            for (head, (key, value)) in heads.enumerate() {
                if !tensors.key_norm.is_empty() {
                    norm::rms_norm_in_place(isa, key, tensors.key_norm, eps);
                }
                rope::rotate(isa, key, cos, sin);
                let (key_segment, value_segment) = layout.key_value(head);
                if value_segment.format.is_rotated() {
                    hadamard::rotate(isa, value);
                }
                key_segment.store(isa, key, cached);
                value_segment.store(isa, value, cached);
            }
        }
        memory.traffic.weights +=
            tensors.key.bytes() + tensors.value.bytes() + size_of_val(tensors.key_norm) as u64;
    }

    /// Norms and rotates the queries; `middle` = each head's.
    fn grouped_queries(&mut self, tensors: &GqaTensors<'_>, tokens: usize) {
        let (heads, head_dim) = (self.model.heads(), tensors.dims.head_dim as usize);
        let (isa, eps) = (self.means.isa, self.model.config.rms_norm_eps);
        let buffers = &mut self.memory.buffers;
        let dims = [heads, head_dim, head_dim];
        buffers.for_each_query(&self.means, dims, tokens, |head, cos, sin| {
            if !tensors.query_norm.is_empty() {
                norm::rms_norm_in_place(isa, head, tensors.query_norm, eps);
            }
            rope::rotate(isa, head, cos, sin);
        });
        let columns = heads * head_dim;
        let padded = heads * head_dim.next_multiple_of(GROUP);
        let (query, middle) = (&*buffers.query, &mut buffers.middle);
        middle.fill(&self.means, [tokens, padded], |token, out| {
            let query = cut::part(query, token * columns, columns);
            split_heads(query, head_dim, head_dim, out);
        });
        self.memory.traffic.weights += size_of_val(tensors.query_norm) as u64;
    }

    /// `input` = the heads' sums that attention left in the panel.
    fn join_groups(&mut self, tensors: &GqaTensors<'_>, tokens: usize) {
        let head_dim = tensors.dims.head_dim as usize;
        let groups = tensors.dims.num_key_value_heads as usize;
        let heads = self.model.heads();
        let shape = [groups, heads / groups.max(1)];
        let isa = self.means.isa;
        let memory = &mut self.memory;
        let rotated = memory.cache.layout().key_value(0).1.format.is_rotated();
        let (panel, input) = (&*memory.buffers.panel, &mut memory.buffers.input);
        input.fill(&self.means, [tokens, heads * head_dim], |token, out| {
            join_heads(panel, shape, [head_dim, head_dim], [token, tokens], out);
            if rotated {
                rotate_heads(isa, head_dim, out);
            }
        });
    }
}
