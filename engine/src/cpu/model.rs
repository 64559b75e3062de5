//! What a session computes: the file, and the tensors that belong to no layer.

use crate::EngineError;
use crate::blob::{Blob, ModelConfig, Role};
use crate::quant::Matrix;

use super::layer::Layer;
use super::lookup::Lookup;

/// One model, read in place.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) blob: Blob<'a>,
    pub(super) config: ModelConfig,
    pub(super) embedding: Matrix<'a>,
    pub(super) inverse_frequencies: &'a [f32],
    pub(super) final_norm: &'a [f32],
    pub(super) head: Matrix<'a>,
}

impl<'a> Model<'a> {
    /// The model in `blob`.
    pub(super) fn new(blob: Blob<'a>) -> Result<Self, EngineError> {
        let tensors = &mut Lookup::model(&blob);
        let embedding = tensors.matrix(Role::Embedding)?;
        let inverse_frequencies = tensors.vector(Role::RopeInverseFrequency);
        let final_norm = tensors.vector(Role::FinalNorm);
        let head = tensors.optional_matrix(Role::LmHead)?;
        Ok(Self {
            config: blob.manifest().config,
            blob,
            embedding,
            inverse_frequencies,
            final_norm,
            head: head.unwrap_or(embedding),
        })
    }

    /// The tensors of layer `index`.
    pub(super) fn layer(&self, index: usize) -> Result<Layer<'a>, EngineError> {
        Layer::new(&self.blob, index)
    }

    /// Layers of the model itself; one for multi-token prediction comes after.
    pub(super) const fn layers(&self) -> usize {
        self.config.num_hidden_layers as usize
    }

    /// Numbers of the residual stream for each token.
    pub(super) const fn hidden_size(&self) -> usize {
        self.config.hidden_size as usize
    }

    /// Query heads.
    pub(super) const fn heads(&self) -> usize {
        self.config.num_attention_heads as usize
    }
}
