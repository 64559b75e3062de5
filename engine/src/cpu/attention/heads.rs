//! Moving heads between layouts: queries and results stand head by head, each
//! padded to whole groups of 32 so that it can be quantised on its own.

use crate::cut;
use crate::kernels::Isa;
use crate::kernels::attend::QueryPart;
use crate::kernels::hadamard;
use crate::quant::{GROUP, LANES};

use crate::cpu::activation::Activation;
use crate::cpu::linear::read_panel;

/// The query of one head, `len` numbers, as [`split_heads`] or [`unpack_heads`] laid it out.
pub(super) fn query_part<'a>(
    queries: &'a Activation<'_>,
    len: usize,
    token: usize,
    head: usize,
) -> QueryPart<'a> {
    let stride = len.next_multiple_of(GROUP);
    let offset = head * stride;
    let (codes, scales) = queries.codes(token, offset, stride);
    QueryPart {
        values: cut::part(queries.row(token), offset, len),
        codes,
        scales,
    }
}

/// Copies the first `used` of each head's `head_dim` numbers of one token, each
/// head padded to whole groups.
pub(super) fn split_heads(query: &[f32], head_dim: usize, used: usize, out: &mut [f32]) {
    let padded = out.chunks_mut(used.next_multiple_of(GROUP).max(1));
    for (head, padded) in query.chunks(head_dim.max(1)).zip(padded) {
        put_padded(padded, head.iter().take(used));
    }
}

/// Copies one token of the heads' panels `[head, rows / 16, tokens, 16]`, each
/// head taking `stride` columns.
pub(super) fn unpack_heads(
    panel: &[f32],
    rows: usize,
    stride: usize,
    [token, tokens]: [usize; 2],
    out: &mut [f32],
) {
    let unit = rows.next_multiple_of(LANES) * tokens;
    let panels = panel.chunks(unit.max(1));
    for (panel, head) in panels.zip(out.chunks_mut(stride.max(1))) {
        let (head, padding) = cut::split_mut(head, rows);
        read_panel(panel, tokens, token, head);
        padding.fill(0.0);
    }
}

/// Copies one token of the heads' results `[groups, token, heads of a group,
/// width]`, each head taking `stride` columns.
pub(super) fn join_heads(
    results: &[f32],
    [groups, heads]: [usize; 2],
    [width, stride]: [usize; 2],
    [token, tokens]: [usize; 2],
    out: &mut [f32],
) {
    let rows = out.chunks_mut((heads * stride).max(1)).take(groups);
    for (group, row) in rows.enumerate() {
        let len = heads * width;
        let results = cut::part(results, (group * tokens + token) * len, len);
        let results = results.chunks(width.max(1));
        for (head, out) in results.zip(row.chunks_mut(stride.max(1))) {
            put_padded(out, head.iter());
        }
    }
}

/// Rotates each `head_dim` numbers of one token: see [`hadamard`].
pub(super) fn rotate_heads(isa: Isa, head_dim: usize, heads: &mut [f32]) {
    for head in heads.chunks_mut(head_dim.max(1)) {
        hadamard::rotate(isa, head);
    }
}

/// Fills `out` with `values`, then zeros.
fn put_padded<'v>(out: &mut [f32], values: impl Iterator<Item = &'v f32>) {
    out.fill(0.0);
    for (out, value) in out.iter_mut().zip(values) {
        *out = *value;
    }
}
