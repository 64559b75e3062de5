//! Tensors by their roles, taken from the table in file order.

use crate::EngineError;
use crate::blob::{Blob, Role, Tensor, TensorRecord, Tensors};
use crate::quant::Matrix;

use super::linear::Projection;

/// The tensors of one layer, or of the model as a whole. Roles are asked for in
/// file order, so each look-up is one step.
pub(super) struct Lookup<'a> {
    tensors: Tensors<'a>,
    layer: u16,
}

impl<'a> Lookup<'a> {
    /// The tensors that belong to no layer.
    pub(super) fn model(blob: &Blob<'a>) -> Self {
        Self {
            tensors: blob.model_tensors(),
            layer: TensorRecord::MODEL,
        }
    }

    /// The tensors of layer `index`.
    pub(super) fn layer(blob: &Blob<'a>, index: usize) -> Self {
        Self {
            tensors: blob.layer_tensors(index),
            layer: index as u16,
        }
    }

    /// The tensor, if the model has it.
    pub(super) fn optional(&mut self, role: Role) -> Option<Tensor<'a>> {
        let tensors = &mut self.tensors;
        tensors.take(role)
    }

    pub(super) fn tensor(&mut self, role: Role) -> Result<Tensor<'a>, EngineError> {
        self.optional(role).ok_or(self.missing(role))
    }

    /// The vector, or an empty one where the model has none.
    pub(super) fn vector(&mut self, role: Role) -> &'a [f32] {
        self.optional(role).map_or(&[], |tensor| tensor.vector())
    }

    /// The only matrix of a tensor.
    pub(super) fn matrix(&mut self, role: Role) -> Result<Matrix<'a>, EngineError> {
        let tensor = self.tensor(role)?;
        tensor.matrix(0).ok_or(self.missing(role))
    }

    /// As [`Self::matrix`], if the model has the tensor.
    pub(super) fn optional_matrix(
        &mut self,
        role: Role,
    ) -> Result<Option<Matrix<'a>>, EngineError> {
        match self.optional(role) {
            Some(tensor) => tensor.matrix(0).ok_or(self.missing(role)).map(Some),
            None => Ok(None),
        }
    }

    /// The matrix as a projection that has no bias yet: biases may come later in
    /// the file.
    pub(super) fn projection(&mut self, role: Role) -> Result<Projection<'a>, EngineError> {
        self.matrix(role).map(Projection::new)
    }

    const fn missing(&self, role: Role) -> EngineError {
        EngineError::MissingTensor {
            role,
            layer: self.layer,
        }
    }
}
