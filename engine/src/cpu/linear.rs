//! Matrix products over a batch, shared by the team.
//!
//! Results come as **panels**: for each 16 rows of the matrix, `[tokens, 16]`
//! numbers. So threads own contiguous memory, each weight is read once for the
//! whole batch, and with one token a panel is the vector itself.

use crate::cut;
use crate::kernels::{Inputs, Isa, activation, linear};
use crate::quant::{LANES, Matrix};

use super::means::Means;
use super::plan::panel_len;
use super::team::{Team, Units};

/// A matrix and its bias, which is empty where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projection<'a> {
    pub(super) matrix: Matrix<'a>,
    pub(super) bias: &'a [f32],
}

impl<'a> Projection<'a> {
    /// Without a bias.
    pub(super) const fn new(matrix: Matrix<'a>) -> Self {
        Self { matrix, bias: &[] }
    }

    /// Bytes of both.
    pub(super) const fn bytes(&self) -> u64 {
        (self.matrix.bytes().len() + size_of_val(self.bias)) as u64
    }

    /// `out = matrix * inputs + bias`, for the rows from block row `first` on.
    pub(super) fn rows(&self, isa: Isa, first: usize, inputs: &Inputs<'_>, out: &mut [f32]) {
        linear(isa, &self.matrix, first, inputs, out);
        self.add_bias(inputs.count, first, out);
    }

    fn add_bias(&self, tokens: usize, first: usize, out: &mut [f32]) {
        let bias = cut::after(self.bias, first * LANES).chunks(LANES);
        for (panel, bias) in out.chunks_mut((LANES * tokens).max(1)).zip(bias) {
            for row in panel.chunks_mut(LANES) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
    }
}

impl<T: Team> Means<T> {
    /// `panel = matrix * inputs + bias`.
    pub(super) fn project(
        &self,
        projection: &Projection<'_>,
        inputs: &Inputs<'_>,
        panel: &mut [f32],
    ) {
        let len = panel_len(projection.matrix.rows(), inputs.count);
        let panel = Units::new(cut::first_mut(panel, len), LANES * inputs.count);
        self.team.for_each_part(panel, |first, part| {
            linear(self.isa, &projection.matrix, first, inputs, part.data);
            projection.add_bias(inputs.count, first, part.data);
        });
    }

    /// `gate = silu(gate_matrix * inputs) * (up_matrix * inputs)`; `up` is scratch.
    pub(super) fn project_gated(
        &self,
        [gate_projection, up_projection]: [&Projection<'_>; 2],
        inputs: &Inputs<'_>,
        [gate, up]: [&mut [f32]; 2],
    ) {
        let unit = LANES * inputs.count;
        let len = panel_len(gate_projection.matrix.rows(), inputs.count);
        let (gate, up) = (cut::first_mut(gate, len), cut::first_mut(up, len));
        let team = &self.team;
        team.for_each_range_of_two(gate, up, unit, |first, gate, up| {
            gate_projection.rows(self.isa, first, inputs, gate);
            up_projection.rows(self.isa, first, inputs, up);
            activation::gated(self.isa, gate, up);
        });
    }
}

/// Copies one token's vector out of a panel; stops at the end of `out`.
pub(super) fn read_panel(panel: &[f32], tokens: usize, token: usize, out: &mut [f32]) {
    let rows = panel.chunks((LANES * tokens).max(1));
    for (rows, out) in rows.zip(out.chunks_mut(LANES)) {
        let row = cut::part(rows, token * LANES, out.len());
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
        let row = cut::part(rows, token * LANES, out.len());
        for (out, value) in out.iter_mut().zip(row) {
            *out += weight * value;
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use crate::cpu::Serial;
    use crate::quant::NumberFormat;

    #[test]
    #[should_panic(expected = "32 elements are needed, the plan has room for 31")]
    fn a_plan_with_too_short_a_panel_is_loud() {
        let zeros = [0; 2 * 544];
        let matrix = Matrix::new(NumberFormat::Q8, 32, 32, &zeros).unwrap();
        let inputs = Inputs {
            values: &[0.0; 32],
            codes: &[0; 32],
            scales: &[0.0; 1],
            sums: &[0; 1],
            stride: 32,
            offset: 0,
            picked: None,
            count: 1,
        };
        let means = Means {
            team: Serial,
            isa: Isa::detect(),
        };
        means.project(&Projection::new(matrix), &inputs, &mut [0.0; 31]);
    }
}
