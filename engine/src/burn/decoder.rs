//! A whole layer, and what comes before the first and after the last.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};

use super::backend::{Activation, Angles, DecoderBackend};
use super::layer::{AttentionTensors, Layer, Projection};
use super::model::Model;
use super::slots::ExpertSlots;
use crate::EngineError;
use crate::blob::{Attention, Blob, ModelConfig};
use crate::execute::{PlanOptions, Traffic, window};
use crate::kernels::rope;
use crate::kv::RowLayout;
use crate::storage::BlockStorage;

/// What one session's equations need besides the weights: the model's shape,
/// the cache, and the slots for experts.
#[derive(Debug)]
pub(super) struct Decoder<'a, B: DecoderBackend> {
    pub(super) config: ModelConfig,
    /// One layer's cache after the other.
    pub(super) cache: Vec<B::Rows>,
    /// How far back each layer sees.
    pub(super) windows: Vec<usize>,
    /// Whether activations are quantised, for integer weights.
    pub(super) quantizes: bool,
    /// Whether queries are quantised, for integer keys.
    pub(super) quantizes_queries: bool,
    /// Whether grouped values are rotated before they are stored.
    pub(super) rotates_values: bool,
    /// Bytes of one cached row on the device.
    pub(super) row_bytes: u64,
    pub(super) traffic: Traffic,
    device: B::Device,
    /// Where experts come from that are not all on the device.
    pub(super) slots: Option<ExpertSlots<'a>>,
}

/// Where the tokens of one call stand.
#[derive(Debug, Clone)]
pub(super) struct Step<B: DecoderBackend> {
    /// How many tokens.
    pub(super) tokens: usize,
    /// Position of the first.
    pub(super) position: usize,
    /// Of all of them.
    pub(super) angles: Angles<B>,
}

impl<'a, B: DecoderBackend> Decoder<'a, B> {
    /// An empty cache on `device`. If `options` say so, experts have slots there,
    /// filled from `storage` or else from `blob`.
    ///
    /// # Errors
    /// If the experts are nowhere.
    pub(super) fn new(
        blob: &Blob<'a>,
        storage: Option<&'a mut dyn BlockStorage>,
        options: &PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let config = blob.manifest().config;
        let has_slots = options.expert_slots > 0 && config.moe.is_some();
        if !has_slots && blob.lacks_experts() {
            return Err(EngineError::NoExperts);
        }
        let layers = 0..config.num_hidden_layers as usize;
        let layout = RowLayout::new(&config, options.kv);
        let (keys, values) = layout.latent();
        let heads = cached_heads(&config);
        let context = options.context as usize;
        let new_cache = |_| B::new_cache(&layout, heads, context, device);
        Ok(Self {
            config,
            cache: layers.clone().map(new_cache).collect(),
            windows: layers.map(|layer| window(blob, layer)).collect(),
            quantizes: has_integer_weights(blob),
            quantizes_queries: keys.format.is_integer(),
            rotates_values: values.format.is_rotated(),
            row_bytes: B::cache_bytes(&layout, heads, 1),
            traffic: Traffic::default(),
            device: device.clone(),
            slots: has_slots
                .then(|| ExpertSlots::new(blob, storage, options.expert_slots))
                .transpose()?,
        })
    }

    /// Where `tokens` tokens from `position` on stand. The angles are computed as
    /// on the processor, to the bit.
    pub(super) fn step(&self, model: &Model<B>, position: usize, tokens: usize) -> Step<B> {
        let half = model.inverse_frequencies.len();
        let (mut cos, mut sin) = (vec![0.0; tokens * half], vec![0.0; tokens * half]);
        let rows = cos.chunks_mut(half).zip(sin.chunks_mut(half));
        for (i, (cos, sin)) in rows.enumerate() {
            let factor = self.config.rope_attention_factor;
            let position = (position + i) as u32;
            rope::angles(position, &model.inverse_frequencies, factor, cos, sin);
        }
        let tensor =
            |values| Tensor::from_data(TensorData::new(values, [tokens, half]), &self.device);
        Step {
            tokens,
            position,
            angles: Angles {
                cos: tensor(cos),
                sin: tensor(sin),
            },
        }
    }

    /// The tokens' rows of the embedding: `[tokens, hidden_size]`.
    pub(super) fn embed(&mut self, embedding: &Projection<B>, tokens: &[u32]) -> Tensor<B, 2> {
        let ids: Vec<i32> = tokens.iter().map(|token| token.cast_signed()).collect();
        let data = TensorData::new(ids, [tokens.len()]);
        let ids = Tensor::<B, 1, Int>::from_data(data, &self.device);
        let row = embedding.bytes / u64::from(self.config.vocab_size);
        self.traffic.weights += row * tokens.len() as u64;
        embedding.rows(ids)
    }

    /// Layer `index`: attention, then the MLP.
    pub(super) fn layer(
        &mut self,
        index: usize,
        layer: &mut Layer<B>,
        residual: Tensor<B, 2>,
        step: &Step<B>,
    ) -> Result<Tensor<B, 2>, EngineError> {
        let input = self.normalize(residual.clone(), &layer.attention_norm);
        let heads = match &layer.attention {
            AttentionTensors::Mla(mla) => self.latent_attention(index, mla, &input, step),
            AttentionTensors::Gqa(gqa) => self.grouped_attention(index, gqa, &input, step),
        };
        let heads = B::activation(heads, self.quantizes);
        let residual = residual + layer.output.apply(&heads);
        self.traffic.weights += layer.output.bytes;
        let input = self.normalize(residual.clone(), &layer.mlp_norm);
        self.mlp(&mut layer.mlp, &input, residual)
    }

    fn normalize(&mut self, x: Tensor<B, 2>, weight: &Tensor<B, 1>) -> Activation<B> {
        self.traffic.weights += weight.dims()[0] as u64 * 4;
        B::normalize(x, weight, self.config.rms_norm_eps, self.quantizes)
    }

    /// Logits of the tokens of `residual`: `[tokens, vocab_size]`.
    pub(super) fn head(&mut self, model: &Model<B>, residual: Tensor<B, 2>) -> Tensor<B, 2> {
        let input = self.normalize(residual, &model.final_norm);
        self.traffic.weights += model.head().bytes;
        model.head().apply(&input)
    }
}

/// Heads that a cached row holds.
pub(super) const fn cached_heads(config: &ModelConfig) -> usize {
    match config.attention {
        Attention::Mla(_) => 1,
        Attention::Gqa(gqa) => gqa.num_key_value_heads as usize,
    }
}

fn has_integer_weights(blob: &Blob<'_>) -> bool {
    let layers = 0..blob.manifest().config.num_hidden_layers as usize;
    let mut all = layers
        .flat_map(|layer| blob.layer_tensors(layer))
        .chain(blob.model_tensors());
    all.any(|tensor| tensor.record().format.is_integer())
}
