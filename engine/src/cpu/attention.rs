//! The first half of a layer: attention over the compressed cache.

use crate::EngineError;
use crate::blob::{Attention, Gqa, Mla};
use crate::cut;
use crate::kernels::{hadamard, linear, norm, rope};
use crate::quant::{GROUP, Matrix};

use super::decoder::{Decoder, Step};
use super::heads::{join_heads, rotate_heads, split_heads, unpack_heads};
use super::layer::{GqaTensors, MlaTensors, QueryTensors};
use super::linear::{add_bias, add_panel_rows, panel_len, project, read_panel};
use super::team::Team;

impl<T: Team> Decoder<'_, T> {
    /// Multi-head latent attention in its absorbed form (DeepSeek-V2, section
    /// 2.1.2): queries go down to the latent, scores and sums run on the cached
    /// latents, and the sum comes up through `W_UV`. Leaves the heads' results
    /// in `input`.
    pub(super) fn latent_attention(
        &mut self,
        layer: usize,
        tensors: &MlaTensors<'_>,
        step: &Step,
    ) -> Result<(), EngineError> {
        let Attention::Mla(mla) = self.config.attention else {
            return Err(EngineError::MissingTensor);
        };
        self.cache_latents(layer, tensors, &mla, step);
        self.latent_queries(tensors, &mla, step);
        let nope = mla.qk_nope_head_dim as usize;
        let latent = mla.kv_lora_rank as usize;
        let value = mla.v_head_dim as usize;
        let heads = self.config.num_attention_heads as usize;

        // middle = q_nope of each head; input = W_UK^T q_nope of each head.
        let head_dim = nope + mla.qk_rope_head_dim as usize;
        let (team, isa, tokens) = (&self.team, self.isa, step.tokens);
        let buffers = &mut self.buffers;
        let query = &*buffers.query;
        let columns = heads * nope.next_multiple_of(GROUP);
        let middle = &mut buffers.middle;
        middle.fill(team, isa, [tokens, columns], |token, out| {
            let query = cut::part(query, token * heads * head_dim, heads * head_dim);
            split_heads(query, head_dim, nope, out);
        });
        self.project_heads(step.tokens, heads, nope, latent, |head| {
            tensors.key_up.matrix(head)
        });
        self.read_heads(tokens, heads, latent, latent.next_multiple_of(GROUP));

        self.attend_heads(layer, step);
        let (team, isa) = (&self.team, self.isa);
        let buffers = &mut self.buffers;
        let panel = &*buffers.panel;
        let stride = latent.next_multiple_of(GROUP);
        let middle = &mut buffers.middle;
        middle.fill(team, isa, [tokens, heads * stride], |token, out| {
            join_heads(panel, [1, heads], [latent, stride], [token, tokens], out);
        });
        self.project_heads(step.tokens, heads, latent, value, |head| {
            tensors.value_up.matrix(head)
        });
        self.read_heads(tokens, heads, value, value);
        let used = [&tensors.key_up, &tensors.value_up];
        for tensor in used {
            let matrix = tensor.matrix(0).map_or(0, |matrix| matrix.bytes().len());
            self.traffic.weights += (matrix * heads) as u64;
        }
        Ok(())
    }

    /// Grouped-query attention. Leaves the heads' results in `input`.
    pub(super) fn grouped_attention(
        &mut self,
        layer: usize,
        tensors: &GqaTensors<'_>,
        step: &Step,
    ) -> Result<(), EngineError> {
        let Attention::Gqa(gqa) = self.config.attention else {
            return Err(EngineError::MissingTensor);
        };
        let head_dim = gqa.head_dim as usize;
        let heads = self.config.num_attention_heads as usize;
        self.cache_keys_and_values(layer, tensors, &gqa, step);
        self.project_rows(
            &tensors.query,
            tensors.query_bias,
            step.tokens,
            Target::Query,
        );
        let (team, isa, tokens) = (&self.team, self.isa, step.tokens);
        let buffers = &mut self.buffers;
        let half = head_dim / 2;
        let (cos, sin, eps) = (&*buffers.cos, &*buffers.sin, self.config.rms_norm_eps);
        let columns = heads * head_dim;
        for_each_row(team, buffers.query, columns, tokens, |token, query| {
            let cos = cut::part(cos, token * half, half);
            let sin = cut::part(sin, token * half, half);
            for head in query.chunks_mut(head_dim.max(1)) {
                if !tensors.query_norm.is_empty() {
                    norm::rms_norm_in_place(isa, head, tensors.query_norm, eps);
                }
                rope::rotate(isa, head, cos, sin);
            }
        });
        let query = &*buffers.query;
        let stride = head_dim.next_multiple_of(GROUP);
        let middle = &mut buffers.middle;
        middle.fill(team, isa, [tokens, heads * stride], |token, out| {
            let query = cut::part(query, token * columns, columns);
            split_heads(query, head_dim, head_dim, out);
        });
        self.attend_heads(layer, step);
        let (team, isa) = (&self.team, self.isa);
        let buffers = &mut self.buffers;
        let groups = gqa.num_key_value_heads as usize;
        let of_group = heads / groups.max(1);
        let rotated = buffers.cache.layout().key_value(0).1.format.is_rotated();
        let panel = &*buffers.panel;
        let input = &mut buffers.input;
        input.fill(team, isa, [tokens, columns], |token, out| {
            let place = [token, tokens];
            join_heads(panel, [groups, of_group], [head_dim, head_dim], place, out);
            if rotated {
                rotate_heads(isa, head_dim, out);
            }
        });
        self.traffic.weights += size_of_val(tensors.query_norm) as u64;
        Ok(())
    }

    /// `residual += output * input + bias`.
    pub(super) fn add_output(&mut self, output: &Matrix<'_>, bias: &[f32], tokens: usize) {
        let buffers = &mut self.buffers;
        let inputs = buffers.input.inputs();
        project(&self.team, self.isa, output, &inputs, buffers.panel);
        let hidden = self.config.hidden_size as usize;
        let panel = cut::first_mut(buffers.panel, panel_len(hidden, tokens));
        add_bias(bias, tokens, panel);
        let residual = cut::first_mut(buffers.residual, tokens * hidden);
        add_panel_rows(&self.team, panel, tokens, None, residual, hidden);
        self.traffic.weights += (output.bytes().len() + size_of_val(bias)) as u64;
    }

    /// Computes, norms, rotates and stores the tokens' latents and keys.
    fn cache_latents(&mut self, layer: usize, tensors: &MlaTensors<'_>, mla: &Mla, step: &Step) {
        self.project_rows(
            &tensors.kv_a,
            tensors.kv_a_bias,
            step.tokens,
            Target::KeyValue,
        );
        let latent = mla.kv_lora_rank as usize;
        let rotated = mla.qk_rope_head_dim as usize;
        let half = rotated / 2;
        let buffers = &mut self.buffers;
        let (latent_segment, rotated_segment) = buffers.cache.layout().latent();
        for (token, row) in rows_mut(buffers.key_value, latent + rotated, step.tokens) {
            let (latent, key) = cut::split_mut(row, latent);
            norm::rms_norm_in_place(self.isa, latent, tensors.kv_a_norm, mla.latent_norm_eps);
            let cos = cut::part(buffers.cos, token * half, half);
            let sin = cut::part(buffers.sin, token * half, half);
            rope::rotate(self.isa, key, cos, sin);
            let cached = buffers.cache.row_mut(layer, step.position + token);
            latent_segment.store(self.isa, latent, cached);
            rotated_segment.store(self.isa, key, cached);
        }
        self.traffic.weights += size_of_val(tensors.kv_a_norm) as u64;
    }

    /// Computes the queries and rotates their last part.
    fn latent_queries(&mut self, tensors: &MlaTensors<'_>, mla: &Mla, step: &Step) {
        match &tensors.query {
            QueryTensors::Direct(query) => {
                self.project_rows(query, &[], step.tokens, Target::Query);
            }
            QueryTensors::Compressed {
                down,
                down_bias,
                norm,
                up,
            } => self.compressed_queries([down, up], down_bias, norm, mla, step),
        }
        let head_dim = self.config.head_dim() as usize;
        let heads = self.config.num_attention_heads as usize;
        let half = mla.qk_rope_head_dim as usize / 2;
        let nope = mla.qk_nope_head_dim as usize;
        let (team, isa) = (&self.team, self.isa);
        let buffers = &mut self.buffers;
        let (cos, sin) = (&*buffers.cos, &*buffers.sin);
        let columns = heads * head_dim;
        for_each_row(team, buffers.query, columns, step.tokens, |token, query| {
            let cos = cut::part(cos, token * half, half);
            let sin = cut::part(sin, token * half, half);
            for head in query.chunks_mut(head_dim.max(1)) {
                let (_, rotated) = cut::split_mut(head, nope);
                rope::rotate(isa, rotated, cos, sin);
            }
        });
    }

    /// `query = up * rms_norm(down * input + bias)`.
    fn compressed_queries(
        &mut self,
        [down, up]: [&Matrix<'_>; 2],
        bias: &[f32],
        weight: &[f32],
        mla: &Mla,
        step: &Step,
    ) {
        let buffers = &mut self.buffers;
        let inputs = buffers.input.inputs();
        project(&self.team, self.isa, down, &inputs, buffers.panel);
        let rank = down.rows();
        add_bias(
            bias,
            step.tokens,
            cut::first_mut(buffers.panel, panel_len(rank, step.tokens)),
        );
        buffers.middle.reshape(step.tokens, rank);
        for token in 0..step.tokens {
            let (row, padding) = cut::split_mut(buffers.middle.row_mut(token), rank);
            read_panel(buffers.panel, step.tokens, token, row);
            norm::rms_norm_in_place(self.isa, row, weight, mla.latent_norm_eps);
            padding.fill(0.0);
        }
        buffers.middle.quantize(self.isa);
        let inputs = buffers.middle.inputs();
        project(&self.team, self.isa, up, &inputs, buffers.panel);
        for (token, query) in rows_mut(buffers.query, up.rows(), step.tokens) {
            read_panel(buffers.panel, step.tokens, token, query);
        }
        let vectors = size_of_val(bias) + size_of_val(weight);
        self.traffic.weights += (down.bytes().len() + up.bytes().len() + vectors) as u64;
    }

    /// Computes, norms, rotates and stores the tokens' keys and values.
    fn cache_keys_and_values(
        &mut self,
        layer: usize,
        tensors: &GqaTensors<'_>,
        gqa: &Gqa,
        step: &Step,
    ) {
        let head_dim = gqa.head_dim as usize;
        let size = gqa.num_key_value_heads as usize * head_dim;
        self.project_rows(&tensors.key, tensors.key_bias, step.tokens, Target::Key);
        self.project_rows(
            &tensors.value,
            tensors.value_bias,
            step.tokens,
            Target::Value,
        );
        let buffers = &mut self.buffers;
        let half = head_dim / 2;
        for (token, row) in rows_mut(buffers.key_value, 2 * size, step.tokens) {
            let (keys, values) = cut::split_mut(row, size);
            let cos = cut::part(buffers.cos, token * half, half);
            let sin = cut::part(buffers.sin, token * half, half);
            let cached = step.position + token;
            let heads = keys
                .chunks_mut(head_dim.max(1))
                .zip(values.chunks_mut(head_dim.max(1)));
            for (head, (key, value)) in heads.enumerate() {
                if !tensors.key_norm.is_empty() {
                    let eps = self.config.rms_norm_eps;
                    norm::rms_norm_in_place(self.isa, key, tensors.key_norm, eps);
                }
                rope::rotate(self.isa, key, cos, sin);
                let (key_segment, value_segment) = buffers.cache.layout().key_value(head);
                if value_segment.format.is_rotated() {
                    hadamard::rotate(self.isa, value);
                }
                let row = buffers.cache.row_mut(layer, cached);
                key_segment.store(self.isa, key, row);
                value_segment.store(self.isa, value, row);
            }
        }
        self.traffic.weights += size_of_val(tensors.key_norm) as u64;
    }

    /// One projection of `input`, token by token into `target`.
    fn project_rows(&mut self, matrix: &Matrix<'_>, bias: &[f32], tokens: usize, target: Target) {
        let buffers = &mut self.buffers;
        let inputs = buffers.input.inputs();
        project(&self.team, self.isa, matrix, &inputs, buffers.panel);
        let rows = matrix.rows();
        let panel = cut::first_mut(buffers.panel, panel_len(rows, tokens));
        add_bias(bias, tokens, panel);
        let (out, stride, start) = match target {
            Target::Query => (&mut *buffers.query, rows, 0),
            Target::KeyValue => (&mut *buffers.key_value, rows, 0),
            Target::Key => (&mut *buffers.key_value, 2 * rows, 0),
            Target::Value => (&mut *buffers.key_value, 2 * rows, rows),
        };
        let panel = &*panel;
        for_each_row(&self.team, out, stride, tokens, |token, row| {
            read_panel(panel, tokens, token, cut::part_mut(row, start, rows));
        });
        self.traffic.weights += (matrix.bytes().len() + size_of_val(bias)) as u64;
    }

    /// `input` = the heads' results that [`Self::project_heads`] left, `rows`
    /// numbers each, one head every `stride` columns.
    fn read_heads(&mut self, tokens: usize, heads: usize, rows: usize, stride: usize) {
        let (team, isa) = (&self.team, self.isa);
        let buffers = &mut self.buffers;
        let panel = &*buffers.panel;
        let input = &mut buffers.input;
        input.fill(team, isa, [tokens, heads * stride], |token, out| {
            unpack_heads(panel, rows, stride, [token, tokens], out);
        });
    }

    /// One small product a head: `panel[head] = matrix(head) * middle[head]`.
    fn project_heads<'m>(
        &mut self,
        tokens: usize,
        heads: usize,
        cols: usize,
        rows: usize,
        matrix: impl Fn(usize) -> Option<Matrix<'m>> + Sync,
    ) {
        let unit = panel_len(rows, tokens);
        let buffers = &mut self.buffers;
        let middle = &buffers.middle;
        let isa = self.isa;
        let panel = cut::first_mut(buffers.panel, heads * unit);
        self.team.for_each_range(panel, unit, |first, range| {
            for (i, panel) in range.chunks_mut(unit.max(1)).enumerate() {
                let head = first + i;
                if let Some(matrix) = matrix(head) {
                    let inputs = middle.inputs_from(head * cols.next_multiple_of(GROUP));
                    linear(isa, &matrix, 0, &inputs, panel);
                }
            }
        });
    }
}

/// Where a projection's rows go.
#[derive(Clone, Copy)]
enum Target {
    Query,
    KeyValue,
    /// First half of each row of `key_value`.
    Key,
    /// Second half of each row of `key_value`.
    Value,
}

/// `work(index, row)` for the first `count` rows of `stride` numbers.
fn for_each_row(
    team: &impl Team,
    values: &mut [f32],
    stride: usize,
    count: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let values = cut::first_mut(values, count * stride);
    team.for_each_range(values, stride, |first, range| {
        for (i, row) in range.chunks_mut(stride.max(1)).enumerate() {
            work(first + i, row);
        }
    });
}

/// The first `len` rows of `stride` numbers, with their indices.
fn rows_mut(
    values: &mut [f32],
    stride: usize,
    len: usize,
) -> impl Iterator<Item = (usize, &mut [f32])> {
    values.chunks_mut(stride.max(1)).take(len).enumerate()
}
