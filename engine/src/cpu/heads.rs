//! Moving heads between layouts: queries and results stand head by head, each
//! padded to whole groups of 32 so that it can be quantised on its own.

use crate::kernels::Isa;
use crate::kernels::attend::QueryPart;
use crate::kernels::hadamard;
use crate::quant::{GROUP, LANES};

use super::activation::Activation;
use super::linear::read_panel;

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
    let row = queries.row(token);
    QueryPart {
        values: row.get(offset..offset + len).unwrap_or_default(),
        codes,
        scales,
    }
}

/// Copies the first `used` of each head's `head_dim` numbers to `out`, each
/// head padded to whole groups.
pub(super) fn split_heads(
    query: &[f32],
    head_dim: usize,
    used: usize,
    heads: usize,
    tokens: usize,
    out: &mut Activation<'_>,
) {
    let stride = used.next_multiple_of(GROUP);
    out.reshape(tokens, heads * stride);
    let rows = query.chunks((heads * head_dim).max(1)).take(tokens);
    for (token, row) in rows.enumerate() {
        let padded = out.row_mut(token).chunks_mut(stride.max(1));
        for (head, padded) in row.chunks(head_dim.max(1)).zip(padded) {
            put_padded(padded, head.iter().take(used));
        }
    }
}

/// Copies heads' panels `[head, rows / 16, tokens, 16]` to `out`, each head
/// taking `stride` columns.
pub(super) fn unpack_heads(
    panel: &[f32],
    heads: usize,
    rows: usize,
    stride: usize,
    tokens: usize,
    out: &mut Activation<'_>,
) {
    out.reshape(tokens, heads * stride);
    let unit = rows.next_multiple_of(LANES) * tokens;
    for token in 0..tokens {
        let row = out.row_mut(token);
        row.fill(0.0);
        let panels = panel.chunks(unit.max(1)).take(heads);
        for (panel, head) in panels.zip(row.chunks_mut(stride.max(1))) {
            read_panel(
                panel,
                tokens,
                token,
                head.get_mut(..rows).unwrap_or_default(),
            );
        }
    }
}

/// Copies heads' results `[groups, token, heads of a group, width]` to `out`,
/// each head taking `stride` columns.
pub(super) fn join_heads(
    results: &[f32],
    [groups, heads]: [usize; 2],
    width: usize,
    stride: usize,
    tokens: usize,
    out: &mut Activation<'_>,
) {
    out.reshape(tokens, groups * heads * stride);
    for token in 0..tokens {
        let row = out.row_mut(token);
        row.fill(0.0);
        let row = row.chunks_mut((heads * stride).max(1)).take(groups);
        for (group, row) in row.enumerate() {
            let mut results = results.chunks((heads * width).max(1));
            let results = results.nth(group * tokens + token);
            let results = results.unwrap_or_default().chunks(width.max(1));
            for (head, out) in results.zip(row.chunks_mut(stride.max(1))) {
                put_padded(out, head.iter());
            }
        }
    }
}

/// Rotates the first `width` numbers of each `stride`: see [`hadamard`].
pub(super) fn rotate_heads(
    isa: Isa,
    width: usize,
    stride: usize,
    tokens: usize,
    heads: &mut Activation<'_>,
) {
    for token in 0..tokens {
        for head in heads.row_mut(token).chunks_mut(stride.max(1)) {
            if let Some(head) = head.get_mut(..width) {
                hadamard::rotate(isa, head);
            }
        }
    }
}

/// Fills `out` with `values`, then zeros.
fn put_padded<'v>(out: &mut [f32], values: impl Iterator<Item = &'v f32>) {
    out.fill(0.0);
    for (out, value) in out.iter_mut().zip(values) {
        *out = *value;
    }
}
