//! Multi-head latent attention (DeepSeek-V2, section 2.1), in the expanded
//! form that suits training: keys and values are rebuilt from the latent rows.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};

use super::ModelShape;
use super::initializer::Initializer;
use super::linear::Linear;
use super::norm::RmsNorm;

/// The latent's own norm has this epsilon whatever the config says.
const LATENT_EPS: f32 = 1e-6;

/// The attention of one layer. Field names are those of the checkpoint.
#[derive(Module, Debug)]
pub(super) struct Attention<B: Backend> {
    q_proj: Linear<B>,
    kv_a_proj_with_mqa: Linear<B>,
    kv_a_layernorm: RmsNorm<B>,
    kv_b_proj: Linear<B>,
    o_proj: Linear<B>,
}

/// What all layers share: rotation and mask of one batch.
#[derive(Debug, Clone)]
pub(super) struct Positions<B: Backend> {
    /// [1, 1, length, rope].
    cos: Tensor<B, 4>,
    sin: Tensor<B, 4>,
    /// [rope, rope]: `(a, b)` of every adjacent pair becomes `(-b, a)`.
    quarter_turn: Tensor<B, 2>,
    /// [1, 1, length, length]: true where a token must not look.
    hidden: Tensor<B, 4, Bool>,
    batch: usize,
    length: usize,
}

impl<B: Backend> Positions<B> {
    /// Positions 0 to `length - 1` in each of `batch` rows.
    pub(super) fn new(shape: &ModelShape, batch: usize, length: usize, device: &B::Device) -> Self {
        let rope = shape.qk_rope_head_dim;
        let mut angles = Vec::with_capacity(length * rope);
        for position in 0..length {
            for i in 0..rope {
                let exponent = -((i / 2 * 2) as f32) / rope as f32;
                angles.push(position as f32 * shape.rope_theta.powf(exponent));
            }
        }
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle)).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, length, rope]), device)
        };
        let mut turn = vec![0.0_f32; rope * rope];
        for even in (0..rope).step_by(2) {
            turn[(even + 1) * rope + even] = -1.0;
            turn[even * rope + even + 1] = 1.0;
        }
        Self {
            cos: table(f32::cos),
            sin: table(f32::sin),
            quarter_turn: Tensor::from_data(TensorData::new(turn, [rope, rope]), device),
            hidden: Tensor::<B, 2, Bool>::tril_mask([length, length], 0, device).unsqueeze::<4>(),
            batch,
            length,
        }
    }

    /// Rotates adjacent pairs by position. `x` is [batch, heads, length, rope].
    fn rotate(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let turned = x.clone().matmul(self.quarter_turn.clone().unsqueeze());
        x * self.cos.clone() + turned * self.sin.clone()
    }

    /// [tokens, heads * width] as [batch, heads, length, width].
    fn split_heads(&self, x: Tensor<B, 2>, heads: usize) -> Tensor<B, 4> {
        let width = x.dims()[1] / heads;
        x.reshape([self.batch, self.length, heads, width])
            .swap_dims(1, 2)
    }
}

impl<B: Backend> Attention<B> {
    pub(super) fn new(shape: &ModelShape, start: &mut Initializer<'_, B>) -> Self {
        let device = start.device;
        let mut linear = |out, width| Linear::new(out, width, start);
        let heads = shape.num_attention_heads;
        let (hidden, latent) = (shape.hidden_size, shape.kv_lora_rank);
        let expanded = shape.qk_nope_head_dim + shape.v_head_dim;
        Self {
            q_proj: linear(heads * shape.qk_head_dim(), hidden),
            kv_a_proj_with_mqa: linear(latent + shape.qk_rope_head_dim, hidden),
            kv_a_layernorm: RmsNorm::new(latent, LATENT_EPS, device),
            kv_b_proj: linear(heads * expanded, latent),
            o_proj: linear(hidden, heads * shape.v_head_dim),
        }
    }

    /// `x` is [tokens, hidden].
    pub(super) fn forward(
        &self,
        x: Tensor<B, 2>,
        shape: &ModelShape,
        positions: &Positions<B>,
    ) -> Tensor<B, 2> {
        let heads = shape.num_attention_heads;
        let (nope, latent) = (shape.qk_nope_head_dim, shape.kv_lora_rank);
        let query = positions.split_heads(self.q_proj.forward(x.clone()), heads);
        let [q_nope, q_pe] = split(query, nope);
        let compressed = self.kv_a_proj_with_mqa.forward(x);
        let [tokens, width] = compressed.dims();
        let k_pe = compressed.clone().slice([0..tokens, latent..width]);
        let k_pe = positions.rotate(positions.split_heads(k_pe, 1));
        let rows = compressed.slice([0..tokens, 0..latent]);
        let rows = self.kv_a_layernorm.forward(rows);
        let expanded = positions.split_heads(self.kv_b_proj.forward(rows), heads);
        let [k_nope, value] = split(expanded, nope);

        let q_pe = positions.rotate(q_pe);
        let k_pe = k_pe.repeat_dim(1, heads);
        let query = Tensor::cat(vec![q_nope, q_pe], 3);
        let key = Tensor::cat(vec![k_nope, k_pe], 3);
        let scale = (shape.qk_head_dim() as f32).sqrt().recip();
        let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale);
        let scores = scores.mask_fill(positions.hidden.clone(), f32::MIN);
        let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
        self.o_proj
            .forward(mixed.reshape([tokens, heads * shape.v_head_dim]))
    }
}

/// The first `at` columns and the rest.
fn split<B: Backend>(x: Tensor<B, 4>, at: usize) -> [Tensor<B, 4>; 2] {
    let [batch, heads, length, width] = x.dims();
    let all = [0..batch, 0..heads, 0..length];
    let columns = |range| {
        let [a, b, c] = all.clone();
        x.clone().slice([a, b, c, range])
    };
    [columns(0..at), columns(at..width)]
}
