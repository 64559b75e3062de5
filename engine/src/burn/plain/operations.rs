//! Which backends run the plain form.

use burn::tensor::{Int, Tensor};

use super::{PlainMatrices, PlainRows};
use crate::EngineError;
use crate::blob::{self, TensorRecord};
use crate::burn::backend::{Activation, Attend, DecoderBackend, Routing};
use crate::kv::RowLayout;
use crate::quant::Matrix;

/// Implements [`DecoderBackend`] with the plain operations.
macro_rules! run_plainly {
    ($backend:ty) => {
        impl DecoderBackend for $backend {
            type Matrices = PlainMatrices<Self>;
            type Rows = PlainRows<Self>;

            fn attention_bytes(tokens: u64, heads: u64, _width: u64, seen: u64) -> u64 {
                // Scores, weights, and the terms of their sums.
                4 * tokens * heads * 3 * seen
            }

            fn matrix_bytes(record: &TensorRecord) -> u64 {
                PlainMatrices::<Self>::bytes(record)
            }

            fn load(
                tensor: &blob::Tensor<'_>,
                device: &Self::Device,
            ) -> Result<Self::Matrices, EngineError> {
                PlainMatrices::load(tensor, device)
            }

            fn slots(record: &TensorRecord, count: usize, device: &Self::Device) -> Self::Matrices {
                PlainMatrices::room(record, count, device)
            }

            fn fill(
                matrices: &mut Self::Matrices,
                slot: usize,
                matrix: &Matrix<'_>,
            ) -> Result<(), EngineError> {
                matrices.fill(slot, matrix)
            }

            fn embed(embedding: &Self::Matrices, tokens: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
                embedding.rows(tokens)
            }

            fn project(matrices: &Self::Matrices, input: &Activation<Self>) -> Tensor<Self, 2> {
                matrices.project(input)
            }

            fn project_heads(
                matrices: &Self::Matrices,
                input: &Activation<Self, 3>,
            ) -> Tensor<Self, 3> {
                matrices.project_heads(input)
            }

            fn experts(
                matrices: [&Self::Matrices; 3],
                input: &Activation<Self>,
                routing: &Routing<Self>,
                residual: Tensor<Self, 2>,
            ) -> Tensor<Self, 2> {
                super::experts(matrices, input, routing, residual)
            }

            fn cache_bytes(layout: &RowLayout, heads: usize, context: usize) -> u64 {
                PlainRows::<Self>::bytes(layout, heads, context)
            }

            fn new_cache(
                layout: &RowLayout,
                heads: usize,
                context: usize,
                device: &Self::Device,
            ) -> Self::Rows {
                PlainRows::new(layout, heads, context, device)
            }

            fn store(rows: &mut Self::Rows, position: usize, parts: [Tensor<Self, 3>; 2]) {
                rows.store(position, parts);
            }

            fn attend(rows: &Self::Rows, task: &Attend<Self>) -> Tensor<Self, 3> {
                super::attend(rows, task)
            }
        }
    };
}

#[cfg(feature = "flex")]
run_plainly!(burn::backend::Flex);

#[cfg(feature = "ndarray")]
run_plainly!(burn::backend::NdArray);
