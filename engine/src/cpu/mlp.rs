//! The second half of a layer: a dense MLP, or a mixture of experts.

use crate::EngineError;
use crate::kernels::Inputs;
use crate::model::router::{self, Choice};
use crate::quant::Matrix;

use super::decoder::Decoder;
use super::experts::ExpertStore;
use super::layer::{ExpertTensors, Gated, MlpTensors};
use super::linear::{add_bias, add_panel, panel_len, project, project_gated, read_panel};
use super::team::Team;

impl<'a, T: Team> Decoder<'a, T> {
    /// `residual += MLP(input)`.
    pub(super) fn mlp(
        &mut self,
        tensors: &MlpTensors<'a>,
        tokens: usize,
    ) -> Result<(), EngineError> {
        match tensors {
            MlpTensors::Dense(mlp) => self.gated_mlp(mlp, None),
            MlpTensors::Experts {
                router,
                router_bias,
                shared,
                experts,
            } => {
                self.choose_experts(router, router_bias, tokens);
                if let Some(shared) = shared {
                    self.gated_mlp(shared, None);
                }
                // Apart while it lends an expert.
                let mut store = core::mem::take(&mut self.experts);
                let mixed = self.mix_experts(&mut store, experts, tokens);
                self.experts = store;
                mixed?;
            }
        }
        Ok(())
    }

    /// Each expert that some token chose, once for all of them.
    fn mix_experts(
        &mut self,
        store: &mut ExpertStore<'a>,
        tensors: &ExpertTensors<'a>,
        tokens: usize,
    ) -> Result<(), EngineError> {
        let experts = self.config.moe.map_or(0, |moe| moe.num_experts);
        for expert in 0..experts {
            let picked = self.pick_tokens(expert, tokens);
            if picked > 0 {
                let mlp = store.expert(tensors, expert, |other| {
                    other > expert && self.is_chosen(other, tokens)
                })?;
                self.traffic.experts += mlp.bytes();
                self.gated_mlp(&mlp, Some(picked));
            }
        }
        Ok(())
    }

    /// Whether any token of the batch chose `expert`.
    fn is_chosen(&self, expert: u32, tokens: usize) -> bool {
        let top_k = self.config.moe.map_or(1, |moe| moe.top_k) as usize;
        let mut choices = self.buffers.choices.iter().take(tokens * top_k);
        choices.any(|choice| choice.expert == expert)
    }

    /// Fills `choices`: for each token its experts in ascending order.
    fn choose_experts(&mut self, router: &Matrix<'_>, bias: &[f32], tokens: usize) {
        let Some(moe) = self.config.moe else {
            return;
        };
        let buffers = &mut self.buffers;
        let inputs = buffers.input.inputs();
        project(&self.team, self.isa, router, &inputs, buffers.panel);
        self.traffic.weights += router.bytes().len() as u64 + size_of_val(bias) as u64;
        let experts = moe.num_experts as usize;
        let (logits, scratch) = buffers.router.split_at_mut(experts);
        let choices = buffers.choices.chunks_mut(moe.top_k as usize);
        for (token, chosen) in choices.take(tokens).enumerate() {
            read_panel(buffers.panel, tokens, token, logits);
            router::route(&moe, logits, bias, scratch, chosen);
            for choice in chosen {
                self.routing = router::digest(self.routing, choice.expert);
            }
        }
    }

    /// Lists the tokens that chose `expert`; returns how many.
    fn pick_tokens(&mut self, expert: u32, tokens: usize) -> usize {
        let top_k = self.config.moe.map_or(1, |moe| moe.top_k) as usize;
        let buffers = &mut self.buffers;
        let mut count = 0;
        for (token, chosen) in buffers.choices.chunks(top_k).take(tokens).enumerate() {
            let choice: Option<&Choice> = chosen.iter().find(|choice| choice.expert == expert);
            if let Some(choice) = choice {
                buffers.picked[count] = token as u32;
                buffers.picked_weights[count] = choice.weight;
                count += 1;
            }
        }
        count
    }

    /// `residual += weight * down(silu(gate x) * up x)` for the picked tokens,
    /// or for all with weight 1.
    fn gated_mlp(&mut self, mlp: &Gated<'_>, picked: Option<usize>) {
        let buffers = &mut self.buffers;
        let all = buffers.input.inputs();
        let inputs = match picked {
            None => all,
            Some(count) => Inputs {
                picked: Some(&buffers.picked[..count]),
                count,
                ..all
            },
        };
        let tokens = inputs.count;
        project_gated(
            &self.team,
            self.isa,
            [&mlp.gate, &mlp.up],
            [mlp.gate_bias, mlp.up_bias],
            &inputs,
            [&mut *buffers.panel, &mut *buffers.second_panel],
        );

        let width = mlp.down.cols();
        buffers.middle.reshape(tokens, width);
        for token in 0..tokens {
            let (out, padding) = buffers.middle.row_mut(token).split_at_mut(width);
            read_panel(buffers.panel, tokens, token, out);
            padding.fill(0.0);
        }
        buffers.middle.quantize(self.isa);

        let middle = buffers.middle.inputs();
        project(&self.team, self.isa, &mlp.down, &middle, buffers.panel);
        let hidden = self.config.hidden_size as usize;
        let len = panel_len(hidden, tokens);
        add_bias(mlp.down_bias, tokens, &mut buffers.panel[..len]);
        for i in 0..tokens {
            let (token, weight) = match picked {
                None => (i, 1.0),
                Some(_) => (buffers.picked[i] as usize, buffers.picked_weights[i]),
            };
            let out = &mut buffers.residual[token * hidden..(token + 1) * hidden];
            add_panel(&buffers.panel[..len], tokens, i, weight, out);
        }
        let biases = [mlp.gate_bias, mlp.up_bias, mlp.down_bias];
        let bias_bytes: usize = biases.iter().map(|bias| size_of_val(*bias)).sum();
        self.traffic.weights += mlp.bytes() + bias_bytes as u64;
    }
}
