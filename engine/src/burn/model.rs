//! The weights of a model, in the device's memory.

use alloc::vec::Vec;

use burn::tensor::Tensor;

use super::backend::DecoderBackend;
use super::layer::{Layer, Loader, Projection};
use crate::EngineError;
use crate::blob::{Blob, Role};
use crate::execute::PlanOptions;

/// All tensors.
#[derive(Debug)]
pub(super) struct Model<B: DecoderBackend> {
    pub(super) embedding: Projection<B>,
    pub(super) inverse_frequencies: Vec<f32>,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) final_norm: Tensor<B, 1>,
    /// `None`: the embedding.
    head: Option<Projection<B>>,
}

impl<B: DecoderBackend> Model<B> {
    /// Brings the weights to `device`, a tensor at a time; of experts none, if
    /// `options` have slots for them.
    ///
    /// # Errors
    /// If the file misses a tensor that its manifest promises.
    pub(super) fn load(
        blob: &Blob<'_>,
        options: &PlanOptions,
        device: &B::Device,
    ) -> Result<Self, EngineError> {
        let loader = &mut Loader::<B>::model(blob, device);
        let embedding = loader.matrix(Role::Embedding)?;
        let frequencies = loader.numbers(Role::RopeInverseFrequency);
        let frequencies = frequencies.ok_or(loader.missing(Role::RopeInverseFrequency));
        let final_norm = loader.norm(Role::FinalNorm);
        let head = loader.optional(Role::LmHead)?;
        let layers = 0..blob.manifest().config.num_hidden_layers as usize;
        Ok(Self {
            embedding,
            inverse_frequencies: frequencies?.to_vec(),
            layers: layers
                .map(|layer| Layer::load(blob, layer, options.expert_slots, device))
                .collect::<Result<_, _>>()?,
            final_norm: final_norm?,
            head,
        })
    }

    /// The head, or the embedding that serves as one.
    pub(super) fn head(&self) -> &Projection<B> {
        self.head.as_ref().unwrap_or(&self.embedding)
    }
}
