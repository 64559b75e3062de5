//! The second half of a layer: a dense MLP, or a mixture of experts.

mod experts;
mod pass;
mod store;

use crate::EngineError;
use crate::cut;
use crate::kernels::Inputs;

use super::buffers::Buffers;
use super::decoder::Decoder;
use super::layer::{Gated, MlpTensors};
use super::linear::{add_panel_rows, read_panel};
use super::means::Means;
use super::plan::panel_len;
use super::team::Team;

pub(super) use store::ExpertStore;

impl<'a, T: Team> Decoder<'a, T> {
    /// `residual += MLP(input)`.
    pub(super) fn mlp(
        &mut self,
        tensors: &MlpTensors<'a>,
        tokens: usize,
    ) -> Result<(), EngineError> {
        match tensors {
            MlpTensors::Dense(mlp) => {
                self.gated_mlp(mlp);
                Ok(())
            }
            MlpTensors::Experts(experts) => self.mixture(experts, tokens),
        }
    }

    /// One gated MLP for all tokens.
    fn gated_mlp(&mut self, mlp: &Gated<'_>) {
        self.memory.buffers.add_gated(&self.means, mlp, None);
        self.memory.traffic.weights += mlp.bytes();
    }
}

impl Buffers<'_> {
    /// `residual += weight * down(silu(gate x) * up x)` for the picked tokens,
    /// or for all with weight 1.
    fn add_gated(&mut self, means: &Means<impl Team>, mlp: &Gated<'_>, picked: Option<usize>) {
        let all = self.input.inputs();
        let inputs = match picked {
            None => all,
            Some(count) => Inputs {
                picked: Some(cut::first(self.picked, count)),
                count,
                ..all
            },
        };
        let tokens = inputs.count;
        let panels = [&mut *self.panel, &mut *self.second_panel];
        means.project_gated([&mlp.gate, &mlp.up], &inputs, panels);
        let (panel, middle) = (&*self.panel, &mut self.middle);
        let columns = mlp.down.matrix.cols();
        middle.fill(means, [tokens, columns], |token, out| {
            read_panel(panel, tokens, token, out);
        });
        means.project(&mlp.down, &middle.inputs(), self.panel);

        let hidden = mlp.down.matrix.rows();
        let panel = cut::first(self.panel, panel_len(hidden, tokens));
        let picked = picked.map(|count| {
            let weights = cut::first(self.picked_weights, count);
            (cut::first(self.picked, count), weights)
        });
        let residual = cut::first_mut(self.residual, all.count * hidden);
        add_panel_rows(&means.team, panel, tokens, picked, residual, hidden);
    }
}
