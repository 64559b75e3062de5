//! Matrix products over a batch, shared by the team.
//!
//! Results come as **panels**: for each 16 rows of the matrix, `[tokens, 16]`
//! numbers. So threads own contiguous memory, each weight is read once for the
//! whole batch, and with one token a panel is the vector itself.

use crate::cut;
use crate::kernels::{Inputs, Isa, linear, math};
use crate::quant::{LANES, Matrix};

use super::team::Team;

/// Numbers of a panel: rows padded to 16, for each token.
pub(super) const fn panel_len(rows: usize, tokens: usize) -> usize {
    rows.next_multiple_of(LANES) * tokens
}

/// `panel = matrix * inputs`.
pub(super) fn project(
    team: &impl Team,
    isa: Isa,
    matrix: &Matrix<'_>,
    inputs: &Inputs<'_>,
    panel: &mut [f32],
) {
    let unit = LANES * inputs.count;
    let panel = cut::first_mut(panel, panel_len(matrix.rows(), inputs.count));
    team.for_each_range(panel, unit, |first, range| {
        linear(isa, matrix, first, inputs, range);
    });
}

/// `gate = silu(gate_matrix * inputs) * (up_matrix * inputs)`; `up` is scratch.
pub(super) fn project_gated(
    team: &impl Team,
    isa: Isa,
    matrices: [&Matrix<'_>; 2],
    biases: [&[f32]; 2],
    inputs: &Inputs<'_>,
    [gate, up]: [&mut [f32]; 2],
) {
    let unit = LANES * inputs.count;
    let len = panel_len(matrices[0].rows(), inputs.count);
    let (gate, up) = (cut::first_mut(gate, len), cut::first_mut(up, len));
    team.for_each_range_of_two(gate, up, unit, |first, gate, up| {
        linear(isa, matrices[0], first, inputs, gate);
        linear(isa, matrices[1], first, inputs, up);
        add_bias_range(biases[0], inputs.count, first, gate);
        add_bias_range(biases[1], inputs.count, first, up);
        math::gated(isa, gate, up);
    });
}

/// Adds a bias (or nothing, if it is empty) to a panel.
pub(super) fn add_bias(bias: &[f32], tokens: usize, panel: &mut [f32]) {
    add_bias_range(bias, tokens, 0, panel);
}

fn add_bias_range(bias: &[f32], tokens: usize, first: usize, range: &mut [f32]) {
    let bias = bias.get(first * LANES..).unwrap_or_default();
    for (panel, bias) in range
        .chunks_mut((LANES * tokens).max(1))
        .zip(bias.chunks(LANES))
    {
        for row in panel.chunks_mut(LANES) {
            for (value, bias) in row.iter_mut().zip(bias) {
                *value += bias;
            }
        }
    }
}

/// Copies one token's vector out of a panel; stops at the end of `out`.
pub(super) fn read_panel(panel: &[f32], tokens: usize, token: usize, out: &mut [f32]) {
    let rows = panel.chunks((LANES * tokens).max(1));
    for (rows, out) in rows.zip(out.chunks_mut(LANES)) {
        let row = rows.get(token * LANES..).unwrap_or_default();
        for (out, value) in out.iter_mut().zip(row) {
            *out = *value;
        }
    }
}

/// Adds each token's vector of a panel to its row of `residual`, times its
/// weight. `picked` has the tokens of the panel in ascending order and their
/// weights; without it the panel has all tokens, with weight 1.
pub(super) fn add_panel_rows(
    team: &impl Team,
    panel: &[f32],
    tokens: usize,
    picked: Option<(&[u32], &[f32])>,
    residual: &mut [f32],
    columns: usize,
) {
    team.for_each_range(residual, columns, |first, rows| {
        for (i, row) in rows.chunks_mut(columns.max(1)).enumerate() {
            let token = first + i;
            let (index, weight) = match picked {
                None => (token, 1.0),
                Some((picked, weights)) => {
                    let index = picked.binary_search(&(token as u32)).ok();
                    match index.and_then(|index| Some((index, *weights.get(index)?))) {
                        Some(found) => found,
                        None => continue,
                    }
                }
            };
            add_panel(panel, tokens, index, weight, row);
        }
    });
}

/// `out += weight * panel`, for one token.
fn add_panel(panel: &[f32], tokens: usize, token: usize, weight: f32, out: &mut [f32]) {
    let rows = panel.chunks((LANES * tokens).max(1));
    for (rows, out) in rows.zip(out.chunks_mut(LANES)) {
        let row = rows.get(token * LANES..).unwrap_or_default();
        for (out, value) in out.iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}
