//! The first half of a layer: attention over the compressed cache.

use burn::tensor::Tensor;

use super::backend::{Activation, Attend, DecoderBackend};
use super::decoder::{Decoder, Step};
use super::layer::{GqaTensors, MlaTensors, QueryTensors};

impl<B: DecoderBackend> Decoder<'_, B> {
    /// Multi-head latent attention in its absorbed form (DeepSeek-V2, section
    /// 2.1.2): queries go down to the latent, scores and sums run on the cached
    /// latents, and the sum comes up through `W_UV`. Returns the heads' results
    /// side by side.
    pub(super) fn latent_attention(
        &mut self,
        index: usize,
        tensors: &MlaTensors<B>,
        input: &Activation<B>,
        step: &Step<B>,
    ) -> Tensor<B, 2> {
        let heads = self.config.num_attention_heads as usize;
        let mla = &tensors.dims;
        let nope = mla.qk_nope_head_dim as usize;
        let rope = mla.qk_rope_head_dim as usize;
        let latent = mla.kv_lora_rank as usize;

        let compressed = tensors.kv_a.apply(input);
        let rows = compressed.clone().narrow(1, 0, latent);
        let rows = B::norm(rows, &tensors.kv_a_norm, mla.latent_norm_eps);
        let key = compressed.narrow(1, latent, rope).unsqueeze_dim(1);
        let key = B::rotate(key, &step.angles);
        B::store(
            &mut self.cache[index],
            step.position,
            [rows.unsqueeze_dim(1), key],
        );

        let query = self.latent_query(tensors, input);
        let query = query.reshape([step.tokens, heads, nope + rope]);
        let rotated = B::rotate(query.clone().narrow(2, nope, rope), &step.angles);
        let query = B::activation(query.narrow(2, 0, nope), self.quantizes);
        let query = B::project_heads(&tensors.key_up.matrices, &query);
        let task = self.task(index, query, Some(rotated), step);
        let mixed = B::attend(&self.cache[index], &task);
        let mixed = B::activation(mixed, self.quantizes);
        let values = B::project_heads(&tensors.value_up.matrices, &mixed);
        self.traffic.weights += tensors.kv_a.bytes + tensors.key_up.bytes + tensors.value_up.bytes;
        values.reshape([step.tokens, heads * mla.v_head_dim as usize])
    }

    /// Grouped-query attention. Returns the heads' results side by side.
    pub(super) fn grouped_attention(
        &mut self,
        index: usize,
        tensors: &GqaTensors<B>,
        input: &Activation<B>,
        step: &Step<B>,
    ) -> Tensor<B, 2> {
        let heads = self.config.num_attention_heads as usize;
        let cached = tensors.dims.num_key_value_heads as usize;
        let width = tensors.dims.head_dim as usize;
        let eps = self.config.rms_norm_eps;
        let prepare = |x: Tensor<B, 2>, heads, norm: Option<&Tensor<B, 1>>| {
            let mut x = x.reshape([step.tokens, heads, width]);
            if let Some(norm) = norm {
                x = B::norm(x, norm, eps);
            }
            B::rotate(x, &step.angles)
        };
        let key = prepare(tensors.key.apply(input), cached, tensors.key_norm.as_ref());
        let value = tensors.value.apply(input);
        let value = value.reshape([step.tokens, cached, width]);
        let value = self.turn_values(value);
        B::store(&mut self.cache[index], step.position, [key, value]);

        let query = tensors.query.apply(input);
        let query = prepare(query, heads, tensors.query_norm.as_ref());
        let task = self.task(index, query, None, step);
        let mixed = self.turn_values(B::attend(&self.cache[index], &task));
        self.traffic.weights += tensors.query.bytes + tensors.key.bytes + tensors.value.bytes;
        mixed.reshape([step.tokens, heads * width])
    }

    /// Rotates grouped values on their way into a cache of four bits, and their sums
    /// on the way out.
    fn turn_values(&self, values: Tensor<B, 3>) -> Tensor<B, 3> {
        match self.rotates_values {
            true => B::hadamard(values),
            false => values,
        }
    }

    fn latent_query(&mut self, tensors: &MlaTensors<B>, input: &Activation<B>) -> Tensor<B, 2> {
        match &tensors.query {
            QueryTensors::Direct(query) => {
                self.traffic.weights += query.bytes;
                query.apply(input)
            }
            QueryTensors::Compressed { down, norm, up } => {
                self.traffic.weights += down.bytes + up.bytes;
                let eps = tensors.dims.latent_norm_eps;
                up.apply(&B::normalize(down.apply(input), norm, eps, self.quantizes))
            }
        }
    }

    /// What the step's heads ask of layer `index`, counted as traffic.
    fn task(
        &mut self,
        index: usize,
        query: Tensor<B, 3>,
        rotated: Option<Tensor<B, 3>>,
        step: &Step<B>,
    ) -> Attend<B> {
        let window = self.windows[index];
        let seen = step.position + step.tokens;
        let first = (step.position + 1).saturating_sub(window);
        self.traffic.kv += (seen - first + step.tokens) as u64 * self.row_bytes;
        Attend {
            query: B::activation(query, self.quantizes_queries),
            rotated,
            scale: self.config.softmax_scale,
            position: step.position,
            window,
        }
    }
}
