//! The second half of a layer: a dense MLP, or a mixture of experts.

use crate::EngineError;
use crate::cut;
use crate::execute::router::{self, Choice};
use crate::kernels::Inputs;
use crate::quant::{LANES, Matrix};

use super::decoder::Decoder;
use super::expert_pass::ExpertPass;
use super::experts::ExpertStore;
use super::layer::{ExpertTensors, Gated, MlpTensors};
use super::linear::{add_bias, add_panel_rows, panel_len, project, project_gated, read_panel};
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
                if tokens == 1 && self.all_at_once(shared.as_ref(), experts)? {
                    return Ok(());
                }
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

    /// One token's shared and chosen experts in one pass, if all are in the
    /// file and the buffers, made for a batch, have room for them; otherwise
    /// does nothing and returns `false`.
    fn all_at_once(
        &mut self,
        shared: Option<&Gated<'_>>,
        experts: &ExpertTensors<'_>,
    ) -> Result<bool, EngineError> {
        let Some(moe) = self.config.moe.filter(|_| self.experts.is_mapped()) else {
            return Ok(false);
        };
        let buffers = &mut self.buffers;
        let chosen = cut::first(buffers.choices, moe.top_k as usize);
        let pass = ExpertPass::new(shared, experts, chosen)?;
        let columns = pass.columns();
        let room = buffers.panel.len().min(buffers.second_panel.len());
        if columns > room.min(buffers.middle.capacity()) {
            return Ok(false);
        }
        let (isa, inputs) = (self.isa, buffers.input.inputs());
        let gate = cut::first_mut(buffers.panel, columns);
        let up = cut::first_mut(buffers.second_panel, columns);
        let team = &self.team;
        team.for_each_range_of_two(gate, up, LANES, |first, gate, up| {
            pass.gate_and_up(isa, &inputs, first, [gate, up]);
        });
        let panel = cut::first(buffers.panel, columns);
        let middle = &mut buffers.middle;
        middle.fill(team, isa, [1, columns], |_, out| {
            for (out, value) in out.iter_mut().zip(panel) {
                *out = *value;
            }
        });
        let hidden = self.config.hidden_size as usize;
        let residual = buffers.residual.get_mut(..hidden).unwrap_or_default();
        let middle = &*middle;
        team.for_each_range(residual, LANES, |first, range| {
            pass.add_down(isa, middle, first, range);
        });
        self.traffic.weights += pass.bytes();
        self.traffic.experts += pass.expert_bytes();
        Ok(true)
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
        let (logits, scratch) = cut::split_mut(buffers.router, experts);
        let choices = buffers.choices.chunks_mut((moe.top_k as usize).max(1));
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
        for (token, chosen) in buffers
            .choices
            .chunks(top_k.max(1))
            .take(tokens)
            .enumerate()
        {
            let choice: Option<&Choice> = chosen.iter().find(|choice| choice.expert == expert);
            if let Some(choice) = choice {
                let weights = &mut buffers.picked_weights;
                if let (Some(picked), Some(weight)) =
                    (buffers.picked.get_mut(count), weights.get_mut(count))
                {
                    (*picked, *weight) = (token as u32, choice.weight);
                    count += 1;
                }
            }
        }
        count
    }

    /// `residual += weight * down(silu(gate x) * up x)` for the picked tokens,
    /// or for all with weight 1.
    fn gated_mlp(&mut self, mlp: &Gated<'_>, picked: Option<usize>) {
        let (team, isa) = (&self.team, self.isa);
        let buffers = &mut self.buffers;
        let all = buffers.input.inputs();
        let inputs = match picked {
            None => all,
            Some(count) => Inputs {
                picked: buffers.picked.get(..count),
                count,
                ..all
            },
        };
        let tokens = inputs.count;
        project_gated(
            team,
            isa,
            [&mlp.gate, &mlp.up],
            [mlp.gate_bias, mlp.up_bias],
            &inputs,
            [&mut *buffers.panel, &mut *buffers.second_panel],
        );
        let (panel, middle) = (&*buffers.panel, &mut buffers.middle);
        middle.fill(team, isa, [tokens, mlp.down.cols()], |token, out| {
            read_panel(panel, tokens, token, out);
        });
        project(team, isa, &mlp.down, &middle.inputs(), buffers.panel);

        let hidden = self.config.hidden_size as usize;
        let len = panel_len(hidden, tokens);
        let panel = buffers.panel.get_mut(..len).unwrap_or_default();
        add_bias(mlp.down_bias, tokens, panel);
        let (picks, weights) = (&*buffers.picked, &*buffers.picked_weights);
        let picked = picked.and_then(|count| Some((picks.get(..count)?, weights.get(..count)?)));
        let len = all.count * hidden;
        let rows = buffers.residual.get_mut(..len).unwrap_or_default();
        add_panel_rows(team, panel, tokens, picked, rows, hidden);
        self.traffic.weights += mlp.bytes() + mlp.bias_bytes();
    }
}
