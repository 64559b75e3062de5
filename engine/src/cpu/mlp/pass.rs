//! One token's experts in one pass: two pieces of work for the team, whatever
//! their number.

use crate::EngineError;
use crate::cut;
use crate::execute::router::Choice;
use crate::kernels::{Inputs, Isa, activation};
use crate::quant::{GROUP, LANES};

use crate::cpu::activation::Activation;
use crate::cpu::layer::{ExpertTensors, Gated};

/// Block rows of a matrix that a thread multiplies at a time.
const ROWS: usize = 8;

/// The shared expert, then a token's chosen ones in ascending order. Their results are added in this order, so the bits are those of one
/// expert after the other.
pub(super) struct ExpertPass<'p> {
    shared: Option<&'p Gated<'p>>,
    experts: &'p ExpertTensors<'p>,
    chosen: &'p [Choice],
    /// Columns of the middle: of the shared expert, and of each chosen one.
    shared_columns: usize,
    expert_columns: usize,
}

impl<'p> ExpertPass<'p> {
    /// A pass through `shared` and the `chosen` of `experts`.
    pub(super) fn new(
        shared: Option<&'p Gated<'p>>,
        experts: &'p ExpertTensors<'p>,
        chosen: &'p [Choice],
    ) -> Result<Self, EngineError> {
        let columns = |mlp: &Gated<'_>| mlp.gate.matrix.rows().next_multiple_of(GROUP);
        let first = chosen.first().map_or(0, |choice| choice.expert);
        Ok(Self {
            shared_columns: shared.map_or(0, columns),
            expert_columns: columns(&Gated::mapped(experts, first)?),
            shared,
            experts,
            chosen,
        })
    }

    /// Columns of the middle of all experts, each padded to whole groups.
    pub(super) const fn columns(&self) -> usize {
        self.shared_columns + self.chosen.len() * self.expert_columns
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.map_or(0, Gated::bytes) + self.expert_bytes()
    }

    /// Bytes of the weights of chosen experts.
    pub(super) fn expert_bytes(&self) -> u64 {
        let experts = self.all().filter(|part| part.chosen);
        experts.map(|part| part.mlp.bytes()).sum()
    }

    /// Every expert, in order.
    fn all(&self) -> impl Iterator<Item = Part<'p>> {
        let (experts, start, columns) = (self.experts, self.shared_columns, self.expert_columns);
        let shared = self.shared.map(|mlp| Part {
            mlp: *mlp,
            weight: 1.0,
            chosen: false,
            columns: 0..start,
        });
        let chosen = self
            .chosen
            .iter()
            .enumerate()
            .filter_map(move |(i, choice)| {
                let start = start + i * columns;
                Some(Part {
                    mlp: Gated::mapped(experts, choice.expert).ok()?,
                    weight: choice.weight,
                    chosen: true,
                    columns: start..start + columns,
                })
            });
        shared.into_iter().chain(chosen)
    }

    /// `gate = silu(gate_matrix * x) * (up_matrix * x)` for the middle's columns
    /// from block `first` of 16 on.
    pub(super) fn gate_and_up(
        &self,
        isa: Isa,
        x: &Inputs<'_>,
        first: usize,
        [gate, up]: [&mut [f32]; 2],
    ) {
        let start = first * LANES;
        for part in self.all() {
            let from = part.columns.start.max(start);
            let to = part.columns.end.min(start + gate.len());
            if from >= to {
                continue;
            }
            let row = (from - part.columns.start) / LANES;
            let columns = from - start..to - start;
            let (Some(gate), Some(up)) = (gate.get_mut(columns.clone()), up.get_mut(columns))
            else {
                continue;
            };
            // Rows that only pad a group are not in the matrix.
            gate.fill(0.0);
            up.fill(0.0);
            part.mlp.gate.rows(isa, row, x, gate);
            part.mlp.up.rows(isa, row, x, up);
            activation::gated(isa, gate, up);
        }
    }

    /// `residual += weight * (down_matrix * middle)`, expert after expert, for
    /// the rows from block row `first` on.
    pub(super) fn add_down(
        &self,
        isa: Isa,
        middle: &Activation<'_>,
        first: usize,
        residual: &mut [f32],
    ) {
        for (i, residual) in residual.chunks_mut(ROWS * LANES).enumerate() {
            let row = first + i * ROWS;
            for part in self.all() {
                let mut results = [0.0; ROWS * LANES];
                let len = residual.len().next_multiple_of(LANES);
                let results = cut::first_mut(&mut results, len);
                let x = middle.inputs_from(part.columns.start);
                part.mlp.down.rows(isa, row, &x, results);
                for (residual, result) in residual.iter_mut().zip(results) {
                    *residual += part.weight * *result;
                }
            }
        }
    }
}

/// One expert of a pass.
struct Part<'p> {
    mlp: Gated<'p>,
    weight: f32,
    /// Chosen by the router; otherwise the shared one.
    chosen: bool,
    /// Its columns of the middle.
    columns: core::ops::Range<usize>,
}
