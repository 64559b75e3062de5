//! The first half of a layer: attention over the compressed cache.

mod attend;
mod grouped;
mod heads;
mod latent;

use crate::cut;

use super::buffers::Buffers;
use super::decoder::Decoder;
use super::linear::{Projection, add_panel_rows, read_panel};
use super::means::Means;
use super::plan::panel_len;
use super::team::Team;

impl<T: Team> Decoder<'_, T> {
    /// `residual += output * input + bias`.
    pub(super) fn add_output(&mut self, output: &Projection<'_>, tokens: usize) {
        let (means, buffers) = (&self.means, &mut self.memory.buffers);
        means.project(output, &buffers.input.inputs(), buffers.panel);
        let hidden = self.model.hidden_size();
        let panel = cut::first(buffers.panel, panel_len(hidden, tokens));
        let residual = cut::first_mut(buffers.residual, tokens * hidden);
        add_panel_rows(&means.team, panel, tokens, None, residual, hidden);
        self.memory.traffic.weights += output.bytes();
    }
}

/// Where a projection's results go.
#[derive(Clone, Copy)]
enum Target {
    Query,
    KeyValue,
    /// First half of each row of `key_value`.
    Key,
    /// Second half of each row of `key_value`.
    Value,
}

impl Buffers<'_> {
    /// Copies a projection's results, `rows` numbers per token, from the panel to
    /// `target`.
    fn read_rows(&mut self, means: &Means<impl Team>, [rows, tokens]: [usize; 2], target: Target) {
        let (out, stride, start) = match target {
            Target::Query => (&mut *self.query, rows, 0),
            Target::KeyValue => (&mut *self.key_value, rows, 0),
            Target::Key => (&mut *self.key_value, 2 * rows, 0),
            Target::Value => (&mut *self.key_value, 2 * rows, rows),
        };
        let panel = &*self.panel;
        for_each_row(means, out, [stride, tokens], |token, row| {
            read_panel(panel, tokens, token, cut::part_mut(row, start, rows));
        });
    }

    /// `work(head, cos, sin)` for each head of each token's query, with the
    /// token's angles; heads have `head_dim` numbers, of which `rope_dim` are
    /// rotated.
    fn for_each_query(
        &mut self,
        means: &Means<impl Team>,
        [heads, head_dim, rope_dim]: [usize; 3],
        tokens: usize,
        work: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
    ) {
        let half = rope_dim / 2;
        let (cos, sin) = (&*self.cos, &*self.sin);
        for_each_row(
            means,
            self.query,
            [heads * head_dim, tokens],
            |token, query| {
                let cos = cut::part(cos, token * half, half);
                let sin = cut::part(sin, token * half, half);
                for head in query.chunks_mut(head_dim.max(1)) {
                    work(head, cos, sin);
                }
            },
        );
    }
}

/// `work(index, row)` for the first `count` rows of `stride` numbers.
fn for_each_row(
    means: &Means<impl Team>,
    values: &mut [f32],
    [stride, count]: [usize; 2],
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let values = cut::first_mut(values, count * stride);
    means.team.for_each_range(values, stride, |first, range| {
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
