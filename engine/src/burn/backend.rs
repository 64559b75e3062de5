//! The operations that a decoder is made of, as an extension of burn's
//! backends.

use alloc::vec::Vec;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::codes::Codes;
use super::plain;
use crate::EngineError;
use crate::blob::{self, Moe, TensorRecord};
use crate::kv::RowLayout;
use crate::quant::Matrix;

/// Vectors on their way into a matrix.
#[derive(Debug, Clone)]
pub struct Activation<B: Backend, const D: usize = 2> {
    /// What plain weights multiply: vectors along the last dimension.
    pub values: Tensor<B, D>,
    /// What integer weights multiply; nothing if there are none.
    pub codes: Option<Codes<B>>,
}

impl<B: Backend> Activation<B> {
    /// The vector of `token`, `[1, width]`.
    pub(super) fn token(&self, token: usize) -> Self {
        let narrow = |x: Tensor<B, 3>| x.narrow(0, token, 1);
        Self {
            values: self.values.clone().narrow(0, token, 1),
            codes: self.codes.clone().map(|codes| codes.map(narrow)),
        }
    }
}

impl<B: Backend> Activation<B, 3> {
    /// `count` vectors from number `first` on, `[count, width]`.
    pub(super) fn vectors(&self, first: usize, count: usize) -> Activation<B> {
        let [outer, inner, width] = self.values.dims();
        let values = self.values.clone().reshape([outer * inner, width]);
        let narrow = |x: Tensor<B, 3>| x.narrow(0, first, count);
        Activation {
            values: values.narrow(0, first, count),
            codes: self.codes.clone().map(|codes| codes.map(narrow)),
        }
    }
}

/// Cosines and sines of the positions of a batch.
#[derive(Debug, Clone)]
pub struct Angles<B: Backend> {
    /// `[tokens, rope_dim / 2]`.
    pub cos: Tensor<B, 2>,
    /// `[tokens, rope_dim / 2]`.
    pub sin: Tensor<B, 2>,
}

/// The experts that each token goes through, in ascending order. They stay on
/// the device.
#[derive(Debug, Clone)]
pub struct Routing<B: Backend> {
    /// Which of the matrices, `[tokens, top_k]`; -1: none.
    pub experts: Tensor<B, 2, Int>,
    /// Factors on their outputs, `[tokens, top_k]`.
    pub weights: Tensor<B, 2>,
}

/// What the heads of a batch of tokens ask of one layer's cache.
#[derive(Debug, Clone)]
pub struct Attend<B: Backend> {
    /// Queries that meet the rows' first part, `[tokens, heads, width]`.
    pub query: Activation<B, 3>,
    /// Queries that meet the rows' second part (MLA's rotated key),
    /// `[tokens, heads, qk_rope_head_dim]`. Without it the second part holds
    /// the values.
    pub rotated: Option<Tensor<B, 3>>,
    /// Factor on the scores.
    pub scale: f32,
    /// Position of the first token.
    pub position: usize,
    /// Tokens that each token sees, its own included.
    pub window: usize,
}

/// The most tokens of a batch: devices that lay them along an axis of cubes take
/// no more.
pub(super) const LARGEST_BATCH: u32 = 65_535;

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likely {
    /// The token.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
}

/// A backend that can run a decoder.
///
/// Operations on weights and on the cache depend on how these lie in the
/// device's memory, which each backend chooses; the others have a plain form
/// that a backend may replace by a faster one.
pub trait DecoderBackend: Backend {
    /// The matrices of one tensor, in the device's memory.
    type Matrices: core::fmt::Debug + Send;

    /// One layer's cache, in the device's memory.
    type Rows: core::fmt::Debug + Send;

    /// Bytes of the largest tensor that the device can hold.
    fn largest_buffer(_device: &Self::Device) -> u64 {
        u64::MAX
    }

    /// Bytes that the device sets aside, once a model is loaded and a batch has
    /// run, for anything but weights and cache. Results take `results` bytes at a
    /// time, the largest of them `largest`.
    fn reserved_bytes(_device: &Self::Device, results: u64, _largest: u64) -> u64 {
        results
    }

    /// Bytes that scores and partial sums of attention take at a time: `tokens`
    /// tokens that see `seen` others, with values of `width` numbers.
    fn attention_bytes(tokens: u64, heads: u64, width: u64, seen: u64) -> u64;

    /// Bytes that a tensor's matrices take on the device.
    fn matrix_bytes(record: &TensorRecord) -> u64;

    /// Brings a tensor's matrices to the device.
    ///
    /// # Errors
    /// If the tensor holds no matrices.
    fn load(
        tensor: &blob::Tensor<'_>,
        device: &Self::Device,
    ) -> Result<Self::Matrices, EngineError>;

    /// Room for `count` matrices of the tensor that `record` describes.
    fn slots(record: &TensorRecord, count: usize, device: &Self::Device) -> Self::Matrices;

    /// Puts a matrix of that tensor in place number `slot`.
    ///
    /// # Errors
    /// If it cannot be unpacked.
    fn fill(
        matrices: &mut Self::Matrices,
        slot: usize,
        matrix: &Matrix<'_>,
    ) -> Result<(), EngineError>;

    /// The rows of an embedding that `tokens` name: `[tokens, cols]`.
    fn embed(embedding: &Self::Matrices, tokens: Tensor<Self, 1, Int>) -> Tensor<Self, 2>;

    /// The first matrix times each vector: `[tokens, cols]` to `[tokens, rows]`.
    fn project(matrices: &Self::Matrices, input: &Activation<Self>) -> Tensor<Self, 2>;

    /// Each head's matrix times that head's vectors: `[tokens, heads, cols]` to
    /// `[tokens, heads, rows]`.
    fn project_heads(matrices: &Self::Matrices, input: &Activation<Self, 3>) -> Tensor<Self, 3>;

    /// `residual + sum over the chosen experts of weight * down(silu(gate x) *
    /// up x)`. Reads the chosen experts' weights only.
    fn experts(
        matrices: [&Self::Matrices; 3],
        input: &Activation<Self>,
        routing: &Routing<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2>;

    /// Bytes that one layer's cache of `context` rows takes on the device.
    fn cache_bytes(layout: &RowLayout, heads: usize, context: usize) -> u64;

    /// An empty cache for one layer.
    fn new_cache(
        layout: &RowLayout,
        heads: usize,
        context: usize,
        device: &Self::Device,
    ) -> Self::Rows;

    /// Stores tokens' rows from `position` on, in the cache's number format.
    /// Both parts are `[tokens, heads, width]`.
    fn store(rows: &mut Self::Rows, position: usize, parts: [Tensor<Self, 3>; 2]);

    /// Softmax attention over the cached rows up to each token's own:
    /// `[tokens, heads, width]` of the values.
    fn attend(rows: &Self::Rows, task: &Attend<Self>) -> Tensor<Self, 3>;

    /// Prepares vectors for a product; `quantizes` if there are integer weights.
    fn activation<const D: usize>(x: Tensor<Self, D>, quantizes: bool) -> Activation<Self, D> {
        Activation {
            codes: quantizes.then(|| plain::quantize(x.clone())),
            values: x,
        }
    }

    /// `weight * (x / sqrt(mean(x^2) + eps))` over the last dimension.
    fn norm<const D: usize>(
        x: Tensor<Self, D>,
        weight: &Tensor<Self, 1>,
        eps: f32,
    ) -> Tensor<Self, D> {
        plain::rms_norm(x, weight, eps)
    }

    /// [`Self::norm`], then [`Self::activation`].
    fn normalize(
        x: Tensor<Self, 2>,
        weight: &Tensor<Self, 1>,
        eps: f32,
        quantizes: bool,
    ) -> Activation<Self> {
        Self::activation(Self::norm(x, weight, eps), quantizes)
    }

    /// Rotates `x`, `[tokens, heads, rope_dim]`: element `i` is paired with
    /// element `i + rope_dim / 2`.
    fn rotate(x: Tensor<Self, 3>, angles: &Angles<Self>) -> Tensor<Self, 3> {
        plain::rotate(x, angles)
    }

    /// Rotates vectors of the last dimension before they are rounded to four bits,
    /// and back: see [`crate::kernels::hadamard`].
    fn hadamard(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::hadamard(x)
    }

    /// Chooses experts from the router's outputs, `[tokens, num_experts]`.
    fn route(moe: &Moe, logits: Tensor<Self, 2>, bias: Option<&Tensor<Self, 1>>) -> Routing<Self> {
        plain::route(moe, logits, bias)
    }

    /// `silu(gate) * up`, prepared for the product that follows.
    fn gate(gate: Tensor<Self, 2>, up: Tensor<Self, 2>, quantizes: bool) -> Activation<Self> {
        Self::activation(plain::silu(gate) * up, quantizes)
    }

    /// The `count` largest of each row of `logits`, `[rows, vocab_size]`, and their
    /// tokens: one row's after the other's. Of equals those of the lowest tokens;
    /// what is not a number counts as the largest. Nothing if whole rows are to be
    /// read instead, as where tensors are in the processor's memory anyway.
    ///
    /// # Errors
    /// If the device fails.
    fn likeliest(
        _logits: &Tensor<Self, 2>,
        _count: usize,
    ) -> Result<Option<Vec<Likely>>, EngineError> {
        Ok(None)
    }
}
