//! The mixture of experts: the router's choice, then the shared expert and the
//! chosen ones in ascending order.

use crate::EngineError;
use crate::cut;
use crate::execute::router;
use crate::quant::LANES;

use super::pass::ExpertPass;
use crate::cpu::buffers::Buffers;
use crate::cpu::decoder::Decoder;
use crate::cpu::layer::MoeTensors;
use crate::cpu::linear::{Projection, read_panel};
use crate::cpu::team::Team;

impl<'a, T: Team> Decoder<'a, T> {
    /// `residual += shared(input) + sum of weight * expert(input)`.
    pub(super) fn mixture(
        &mut self,
        tensors: &MoeTensors<'a>,
        tokens: usize,
    ) -> Result<(), EngineError> {
        self.choose_experts(tensors, tokens);
        if tokens == 1 && self.all_at_once(tensors)? {
            return Ok(());
        }
        if let Some(shared) = &tensors.shared {
            self.gated_mlp(shared);
        }
        self.each_expert(tensors, tokens)
    }

    /// Fills `choices`: for each token its experts in ascending order.
    fn choose_experts(&mut self, tensors: &MoeTensors<'_>, tokens: usize) {
        let (moe, memory) = (&tensors.moe, &mut self.memory);
        let buffers = &mut memory.buffers;
        let router = Projection::new(tensors.router);
        let inputs = buffers.input.inputs();
        self.means.project(&router, &inputs, buffers.panel);
        let (logits, scratch) = cut::split_mut(buffers.router, moe.num_experts as usize);
        let choices = buffers.choices.chunks_mut((moe.top_k as usize).max(1));
        for (token, chosen) in choices.take(tokens).enumerate() {
            read_panel(buffers.panel, tokens, token, logits);
            router::route(moe, logits, tensors.correction, scratch, chosen);
            for choice in chosen {
                memory.routing = router::digest(memory.routing, choice.expert);
            }
        }
        memory.traffic.weights += router.bytes() + size_of_val(tensors.correction) as u64;
    }

    /// One token's shared and chosen experts in one pass, if all are in the
    /// file and the buffers, made for a batch, have room for them; otherwise
    /// does nothing and returns `false`.
    fn all_at_once(&mut self, tensors: &MoeTensors<'_>) -> Result<bool, EngineError> {
        let (means, memory) = (&self.means, &mut self.memory);
        if !memory.experts.is_mapped() {
            return Ok(false);
        }
        let buffers = &mut memory.buffers;
        let chosen = cut::first(buffers.choices, tensors.moe.top_k as usize);
        let pass = ExpertPass::new(tensors.shared.as_ref(), &tensors.experts, chosen)?;
        let columns = pass.columns();
        let room = buffers.panel.len().min(buffers.second_panel.len());
        if columns > room.min(buffers.middle.capacity()) {
            return Ok(false);
        }
        let (isa, team, inputs) = (means.isa, &means.team, buffers.input.inputs());
        let gate = cut::first_mut(buffers.panel, columns);
        let up = cut::first_mut(buffers.second_panel, columns);
        team.for_each_range_of_two(gate, up, LANES, |first, gate, up| {
            pass.gate_and_up(isa, &inputs, first, [gate, up]);
        });
        let panel = cut::first(buffers.panel, columns);
        let middle = &mut buffers.middle;
        middle.fill(means, [1, columns], |_, out| {
            for (out, value) in out.iter_mut().zip(panel) {
                *out = *value;
            }
        });
        let residual = cut::first_mut(buffers.residual, self.model.hidden_size());
        let middle = &*middle;
        team.for_each_range(residual, LANES, |first, range| {
            pass.add_down(isa, middle, first, range);
        });
        memory.traffic.weights += pass.bytes();
        memory.traffic.experts += pass.expert_bytes();
        Ok(true)
    }

    /// Each expert that some token chose, once for all of them.
    fn each_expert(&mut self, tensors: &MoeTensors<'a>, tokens: usize) -> Result<(), EngineError> {
        let (means, memory) = (&self.means, &mut self.memory);
        let (buffers, top_k) = (&mut memory.buffers, tensors.moe.top_k as usize);
        for expert in 0..tensors.moe.num_experts {
            let picked = buffers.pick_tokens(expert, [tokens, top_k]);
            if picked > 0 {
                let later = |other| other > expert && buffers.is_chosen(other, [tokens, top_k]);
                let mlp = memory.experts.expert(&tensors.experts, expert, later)?;
                buffers.add_gated(means, &mlp, Some(picked));
                memory.traffic.weights += mlp.bytes();
                memory.traffic.experts += mlp.bytes();
            }
        }
        Ok(())
    }
}

impl Buffers<'_> {
    /// Lists the tokens that chose `expert`; returns how many.
    fn pick_tokens(&mut self, expert: u32, [tokens, top_k]: [usize; 2]) -> usize {
        let mut count = 0;
        let mut places = self.picked.iter_mut().zip(self.picked_weights.iter_mut());
        let choices = self.choices.chunks(top_k.max(1)).take(tokens);
        for (token, chosen) in choices.enumerate() {
            if let Some(choice) = chosen.iter().find(|choice| choice.expert == expert)
                && let Some((picked, weight)) = places.next()
            {
                (*picked, *weight) = (token as u32, choice.weight);
                count += 1;
            }
        }
        count
    }

    /// Whether any token of the batch chose `expert`.
    fn is_chosen(&self, expert: u32, [tokens, top_k]: [usize; 2]) -> bool {
        let mut choices = self.choices.iter().take(tokens * top_k);
        choices.any(|choice| choice.expert == expert)
    }
}
