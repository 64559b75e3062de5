//! Tokens in, logits out.

use alloc::vec;
use alloc::vec::Vec;

use burn::tensor::{Int, Tensor, TensorData};

use super::backend::{Activation, Angles, DecoderBackend};
use super::layer::{AttentionTensors, Layer, Loader, Projection};
use super::slots::ExpertSlots;
use crate::EngineError;
use crate::blob::{Attention, Blob, ModelConfig, Role};
use crate::execute::{Logits, PlanOptions, Traffic};
use crate::kernels::rope;
use crate::kv::RowLayout;
use crate::storage::BlockStorage;

/// The decoder of one model: its weights and the cache of one session, in the
/// device's memory.
#[derive(Debug)]
pub(super) struct Decoder<'a, B: DecoderBackend> {
    pub(super) config: ModelConfig,
    /// One layer's cache after the other.
    pub(super) cache: Vec<B::Rows>,
    /// How far each layer sees.
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
    embedding: Projection<B>,
    inverse_frequencies: Vec<f32>,
    layers: Vec<Layer<B>>,
    /// Where experts come from that are not all on the device.
    pub(super) slots: Option<ExpertSlots<'a>>,
    final_norm: Tensor<B, 1>,
    /// `None`: the embedding.
    head: Option<Projection<B>>,
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
    /// Brings the weights to `device`, a tensor at a time. If `options` say so,
    /// experts only have slots there, filled from `storage` or else from `blob`.
    ///
    /// # Errors
    /// If the file misses a tensor that its manifest promises, or the experts are
    /// nowhere.
    pub(super) fn load(
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
        let tensors = &mut blob.model_tensors();
        let loader = &mut Loader::<B>::new(tensors, device);
        let embedding = loader.matrix(Role::Embedding)?;
        let frequencies = loader.numbers(Role::RopeInverseFrequency);
        let final_norm = loader.vector(Role::FinalNorm);
        let head = loader.optional(Role::LmHead)?;

        let layers = 0..config.num_hidden_layers as usize;
        let layout = RowLayout::new(&config, options.kv);
        let (keys, values) = layout.latent();
        let heads = cached_heads(&config);
        let context = options.context as usize;
        let window = |layer| match config.sliding_window {
            Some(window) if blob.layer_kind(layer).is_sliding() => window as usize,
            _ => usize::MAX,
        };
        Ok(Self {
            config,
            cache: layers
                .clone()
                .map(|_| B::new_cache(&layout, heads, context, device))
                .collect(),
            windows: layers.clone().map(window).collect(),
            quantizes: has_integer_weights(blob),
            quantizes_queries: keys.format.is_integer(),
            rotates_values: values.format.is_rotated(),
            row_bytes: B::cache_bytes(&layout, heads, 1),
            traffic: Traffic::default(),
            device: device.clone(),
            embedding,
            inverse_frequencies: frequencies.ok_or(EngineError::MissingTensor)?.to_vec(),
            layers: layers
                .map(|layer| Layer::load(blob, layer, options.expert_slots, device))
                .collect::<Result<_, _>>()?,
            slots: has_slots
                .then(|| ExpertSlots::new(blob, storage, options.expert_slots))
                .transpose()?,
            final_norm: final_norm.ok_or(EngineError::MissingTensor)?,
            head,
        })
    }

    /// What all calls so far have read, in the device's memory.
    pub(super) const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Runs `tokens` through all layers; the first stands at `position`.
    /// Returns the logits asked for, `[tokens, vocab_size]`, which nobody has
    /// waited for yet. The tokens must exist and fit the cache.
    ///
    /// # Errors
    /// If experts have slots and one cannot be brought there.
    pub(super) fn forward(
        &mut self,
        tokens: &[u32],
        position: usize,
        logits: Logits,
    ) -> Result<Option<Tensor<B, 2>>, EngineError> {
        let step = Step {
            tokens: tokens.len(),
            position,
            angles: self.angles(position, tokens.len()),
        };
        let mut residual = self.embed(tokens);
        let mut layers = core::mem::take(&mut self.layers);
        for (index, layer) in layers.iter_mut().enumerate() {
            match self.layer(index, layer, residual, &step) {
                Ok(output) => residual = output,
                Err(error) => {
                    self.layers = layers;
                    return Err(error);
                }
            }
        }
        self.layers = layers;
        Ok(match logits {
            Logits::None => None,
            Logits::Last => Some(self.logits(residual.narrow(0, step.tokens - 1, 1))),
            Logits::All => Some(self.logits(residual)),
        })
    }

    /// Attention, then the MLP.
    fn layer(
        &mut self,
        index: usize,
        layer: &mut Layer<B>,
        residual: Tensor<B, 2>,
        step: &Step<B>,
    ) -> Result<Tensor<B, 2>, EngineError> {
        let input = self.normalize(residual.clone(), &layer.attention_norm);
        let heads = self.attention(index, layer, &input, step);
        let heads = B::activation(heads, self.quantizes);
        let residual = residual + layer.output.apply(&heads);
        self.traffic.weights += layer.output.bytes;
        let input = self.normalize(residual.clone(), &layer.mlp_norm);
        self.mlp(&mut layer.mlp, &input, residual)
    }

    fn embed(&mut self, tokens: &[u32]) -> Tensor<B, 2> {
        let ids: Vec<i32> = tokens.iter().map(|token| token.cast_signed()).collect();
        let data = TensorData::new(ids, [tokens.len()]);
        let ids = Tensor::<B, 1, Int>::from_data(data, &self.device);
        let row = self.embedding.bytes / u64::from(self.config.vocab_size);
        self.traffic.weights += row * tokens.len() as u64;
        self.embedding.rows(ids)
    }

    fn attention(
        &mut self,
        index: usize,
        layer: &Layer<B>,
        input: &Activation<B>,
        step: &Step<B>,
    ) -> Tensor<B, 2> {
        match (&layer.attention, self.config.attention) {
            (AttentionTensors::Mla(tensors), Attention::Mla(mla)) => {
                self.latent_attention(index, &mla, tensors, input, step)
            }
            (AttentionTensors::Gqa(tensors), Attention::Gqa(gqa)) => {
                self.grouped_attention(index, &gqa, tensors, input, step)
            }
            // Loading made the two alike.
            _ => input.values.zeros_like(),
        }
    }

    /// The angles are computed as on the processor, to the bit.
    fn angles(&self, position: usize, tokens: usize) -> Angles<B> {
        let half = self.inverse_frequencies.len();
        let (mut cos, mut sin) = (vec![0.0; tokens * half], vec![0.0; tokens * half]);
        let rows = cos.chunks_mut(half).zip(sin.chunks_mut(half));
        for (i, (cos, sin)) in rows.enumerate() {
            let factor = self.config.rope_attention_factor;
            let position = (position + i) as u32;
            rope::angles(position, &self.inverse_frequencies, factor, cos, sin);
        }
        let tensor =
            |values| Tensor::from_data(TensorData::new(values, [tokens, half]), &self.device);
        Angles {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }

    fn normalize(&mut self, x: Tensor<B, 2>, weight: &Tensor<B, 1>) -> Activation<B> {
        self.traffic.weights += weight.dims()[0] as u64 * 4;
        B::normalize(x, weight, self.config.rms_norm_eps, self.quantizes)
    }

    fn logits(&mut self, residual: Tensor<B, 2>) -> Tensor<B, 2> {
        let weight = self.final_norm.clone();
        let input = self.normalize(residual, &weight);
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        self.traffic.weights += head.bytes;
        head.apply(&input)
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
