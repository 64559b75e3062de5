//! A small `DeepseekV3ForCausalLM` in burn tensors.

mod attention;
mod experts;
mod initializer;
mod linear;
mod norm;
mod shape;

pub use shape::{ModelShape, ShapeError};

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use attention::{Attention, Positions};
use experts::{Experts, Mlp};
use initializer::Initializer;
use linear::Linear;
use norm::RmsNorm;

/// The whole model. The paths of its tensors are those of the checkpoint,
/// but for the routed experts, which lie side by side in one tensor.
#[derive(Module, Debug)]
pub struct Model<B: Backend> {
    embed_tokens: Linear<B>,
    layers: Vec<Layer<B>>,
    norm: RmsNorm<B>,
    lm_head: Linear<B>,
}

/// One decoder layer: it has an MLP or experts.
#[derive(Module, Debug)]
struct Layer<B: Backend> {
    input_layernorm: RmsNorm<B>,
    self_attn: Attention<B>,
    post_attention_layernorm: RmsNorm<B>,
    mlp: FeedForward<B>,
}

#[expect(clippy::large_enum_variant, reason = "there are only a few layers")]
#[derive(Module, Debug)]
enum FeedForward<B: Backend> {
    Dense(Mlp<B>),
    Experts(Experts<B>),
}

/// The result of a batch.
#[derive(Debug)]
pub struct Output<B: Backend> {
    /// [batch * length, vocabulary].
    pub logits: Tensor<B, 2>,
    /// For each layer with experts: [batch * length, experts], one where an
    /// expert was chosen.
    pub choices: Vec<Tensor<B, 2>>,
}

impl<B: Backend> Model<B> {
    /// Random weights with the standard deviation `0.5 / sqrt(hidden_size)`
    /// (DeepSeek-V3's 0.006 at its width of 7168).
    pub fn new(shape: &ModelShape, seed: u64, device: &B::Device) -> Self {
        let deviation = 0.5 / (shape.hidden_size as f32).sqrt();
        let start = &mut Initializer::new(seed, deviation, device);
        let eps = shape.rms_norm_eps;
        let hidden = shape.hidden_size;
        let embed_tokens = Linear::new(shape.vocab_size, hidden, start);
        let mut layer = |index| Layer {
            input_layernorm: RmsNorm::new(hidden, eps, device),
            self_attn: Attention::new(shape, start),
            post_attention_layernorm: RmsNorm::new(hidden, eps, device),
            mlp: if shape.has_experts(index) {
                FeedForward::Experts(Experts::new(shape, start))
            } else {
                FeedForward::Dense(Mlp::new(hidden, shape.intermediate_size, start))
            },
        };
        Self {
            embed_tokens,
            layers: (0..shape.num_hidden_layers).map(&mut layer).collect(),
            norm: RmsNorm::new(hidden, eps, device),
            lm_head: Linear::new(shape.vocab_size, hidden, start),
        }
    }

    /// `ids` is [batch, length]; every row starts at position 0.
    pub fn forward(&self, ids: Tensor<B, 2, Int>, shape: &ModelShape) -> Output<B> {
        let [batch, length] = ids.dims();
        let positions = Positions::new(shape, batch, length, &ids.device());
        let mut hidden = self.embed_tokens.rows(ids.reshape([batch * length]));
        let mut choices = Vec::new();
        for layer in &self.layers {
            let x = layer.input_layernorm.forward(hidden.clone());
            hidden = hidden + layer.self_attn.forward(x, shape, &positions);
            let x = layer.post_attention_layernorm.forward(hidden.clone());
            let change = match &layer.mlp {
                FeedForward::Dense(mlp) => mlp.forward(x),
                FeedForward::Experts(experts) => {
                    let (change, chosen) = experts.forward(x, shape);
                    choices.push(chosen);
                    change
                }
            };
            hidden = hidden + change;
        }
        Output {
            logits: self.lm_head.forward(self.norm.forward(hidden)),
            choices,
        }
    }

    /// Moves the routers' biases by `step` towards even loads; `loads` has the
    /// tokens of every expert for each layer with experts.
    pub fn balance(mut self, loads: Vec<Tensor<B, 1>>, step: f32) -> Self {
        let mut loads = loads.into_iter();
        let balance = |mut layer: Layer<B>| {
            layer.mlp = match layer.mlp {
                FeedForward::Experts(experts) => match loads.next() {
                    Some(load) => FeedForward::Experts(experts.balance(load, step)),
                    None => FeedForward::Experts(experts),
                },
                dense => dense,
            };
            layer
        };
        self.layers = self.layers.into_iter().map(balance).collect();
        self
    }
}
