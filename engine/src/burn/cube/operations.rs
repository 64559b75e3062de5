//! The kernels as burn's backends call them.

use alloc::vec::Vec;

use burn::tensor::{Int, Tensor};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeRuntime};

use super::attend::{Queries, View};
use super::experts::Chosen;
use super::likeliest::{MOST, likely};
use super::linear::Vectors;
use super::matrices::MatrixShape;
use super::tensors::{Cube, buffer, int_buffer, int_tensor, tensor};
use super::{CubeMatrices, CubeRows};
use crate::EngineError;
use crate::blob::{self, Moe, TensorRecord};
use crate::burn::backend::{Activation, Angles, Attend, DecoderBackend, Likely, Routing};
use crate::burn::codes::Codes;
use crate::burn::plain::pad;
use crate::kv::RowLayout;
use crate::quant::{GROUP, Matrix};

impl<R: CubeRuntime, BT: BoolElement> DecoderBackend for Cube<R, BT> {
    type Matrices = CubeMatrices<R>;
    type Rows = CubeRows<R>;

    fn largest_buffer(device: &Self::Device) -> u64 {
        /// Kernels count words in 32 bits.
        const COUNTED: u64 = 4 << 32;
        let largest = R::client(device).properties().memory.max_page_size;
        largest.min(COUNTED)
    }

    fn reserved_bytes(device: &Self::Device, results: u64, largest: u64) -> u64 {
        super::device::reserved_bytes::<R>(device, results, largest)
    }

    fn attention_bytes(tokens: u64, heads: u64, width: u64, seen: u64) -> u64 {
        super::attend::part_bytes(tokens, heads, width, seen)
    }

    fn matrix_bytes(record: &TensorRecord) -> u64 {
        CubeMatrices::<R>::bytes(record)
    }

    fn load(
        tensor: &blob::Tensor<'_>,
        device: &Self::Device,
    ) -> Result<Self::Matrices, EngineError> {
        CubeMatrices::load(tensor, device)
    }

    fn slots(record: &TensorRecord, count: usize, device: &Self::Device) -> Self::Matrices {
        CubeMatrices::room(record, count, device)
    }

    fn fill(
        matrices: &mut Self::Matrices,
        slot: usize,
        matrix: &Matrix<'_>,
    ) -> Result<(), EngineError> {
        matrices.fill(slot, matrix);
        Ok(())
    }

    fn embed(embedding: &Self::Matrices, tokens: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
        tensor(super::embed::embed(embedding, int_buffer(tokens)))
    }

    fn project(matrices: &Self::Matrices, input: &Activation<Self>) -> Tensor<Self, 2> {
        let [tokens, _] = input.values.dims();
        let vectors = vectors(&matrices.shape, &input.values, &input.codes);
        let product: Tensor<Self, 3> = tensor(super::linear::project(matrices, vectors, 1));
        product.reshape([tokens, matrices.shape.rows])
    }

    fn project_heads(matrices: &Self::Matrices, input: &Activation<Self, 3>) -> Tensor<Self, 3> {
        let [tokens, heads, width] = input.values.dims();
        let values = input.values.clone().reshape([tokens * heads, width]);
        let vectors = vectors(&matrices.shape, &values, &input.codes);
        tensor(super::linear::project(matrices, vectors, heads))
    }

    fn experts(
        matrices: [&Self::Matrices; 3],
        input: &Activation<Self>,
        routing: &Routing<Self>,
        residual: Tensor<Self, 2>,
    ) -> Tensor<Self, 2> {
        let [gate, up, _] = matrices.map(|matrices| matrices.shape);
        let gate_input = vectors(&gate, &input.values, &input.codes);
        let up_input = if gate.format.is_integer() == up.format.is_integer() {
            gate_input.clone()
        } else {
            vectors(&up, &input.values, &input.codes)
        };
        let chosen = Chosen {
            experts: int_buffer(routing.experts.clone()),
            weights: buffer(routing.weights.clone()),
            top_k: routing.experts.dims()[1],
        };
        tensor(super::experts::experts(
            matrices,
            [gate_input, up_input],
            chosen,
            buffer(residual),
        ))
    }

    fn cache_bytes(layout: &RowLayout, heads: usize, context: usize) -> u64 {
        CubeRows::<R>::bytes(layout, heads, context)
    }

    fn new_cache(
        layout: &RowLayout,
        heads: usize,
        context: usize,
        device: &Self::Device,
    ) -> Self::Rows {
        CubeRows::new(layout, heads, context, device)
    }

    fn store(rows: &mut Self::Rows, position: usize, parts: [Tensor<Self, 3>; 2]) {
        for (part, x) in rows.parts.iter().zip(parts) {
            let heads = x.dims()[1];
            part.store(position, buffer(x), heads);
        }
    }

    fn attend(rows: &Self::Rows, task: &Attend<Self>) -> Tensor<Self, 3> {
        let [tokens, heads, _] = task.query.values.dims();
        let values = buffer(task.query.values.clone());
        let (first, scales) = if rows.parts[0].kind.format.is_integer() {
            codes_of(&task.query.values, &task.query.codes)
        } else {
            (values.clone(), values)
        };
        let queries = Queries {
            first,
            scales,
            rotated: task.rotated.clone().map(buffer),
            tokens,
            heads,
        };
        let view = View {
            scale: task.scale,
            position: task.position,
            window: task.window,
        };
        tensor(super::attend::attend(rows, queries, view))
    }

    fn activation<const D: usize>(x: Tensor<Self, D>, quantizes: bool) -> Activation<Self, D> {
        Activation {
            codes: quantizes.then(|| quantize(&x)),
            values: x,
        }
    }

    fn norm<const D: usize>(
        x: Tensor<Self, D>,
        weight: &Tensor<Self, 1>,
        eps: f32,
    ) -> Tensor<Self, D> {
        let dims = x.dims();
        let [out, ..] = super::normalize::normalize(buffer(x), buffer(weight.clone()), eps, false);
        tensor::<R, BT, 2>(out).reshape(dims)
    }

    fn normalize(
        x: Tensor<Self, 2>,
        weight: &Tensor<Self, 1>,
        eps: f32,
        quantizes: bool,
    ) -> Activation<Self> {
        let result = super::normalize::normalize(buffer(x), buffer(weight.clone()), eps, quantizes);
        activation(result, quantizes)
    }

    fn rotate(x: Tensor<Self, 3>, angles: &Angles<Self>) -> Tensor<Self, 3> {
        let dims = x.dims();
        let (cos, sin) = (buffer(angles.cos.clone()), buffer(angles.sin.clone()));
        tensor(super::rope::rotate(buffer(x), cos, sin, dims))
    }

    fn hadamard(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        let dims = x.dims();
        tensor(super::hadamard::hadamard(buffer(x), dims))
    }

    fn route(moe: &Moe, logits: Tensor<Self, 2>, bias: Option<&Tensor<Self, 1>>) -> Routing<Self> {
        let bias = bias.map(|bias| buffer(bias.clone()));
        let [experts, weights] = super::router::route(moe, buffer(logits), bias);
        Routing {
            experts: int_tensor(experts),
            weights: tensor(weights),
        }
    }

    fn gate(gate: Tensor<Self, 2>, up: Tensor<Self, 2>, quantizes: bool) -> Activation<Self> {
        let [_, width] = gate.dims();
        let result = super::gate::gate(buffer(gate), buffer(up), width, quantizes);
        activation(result, quantizes)
    }

    fn likeliest(
        logits: &Tensor<Self, 2>,
        count: usize,
    ) -> Result<Option<Vec<Likely>>, EngineError> {
        let [rows, width] = logits.dims();
        if !(1..=MOST.min(width)).contains(&count) {
            return Ok(None);
        }
        let pairs = super::likeliest::likeliest(buffer(logits.clone()), [rows, width], count);
        let pairs: Tensor<Self, 3, Int> = int_tensor(pairs);
        let data = pairs.try_into_data();
        let data = data.map_err(|_| EngineError::DeviceFailed)?;
        let words: Vec<i32> = data.into_vec().map_err(|_| EngineError::DeviceFailed)?;
        let pairs = words.as_chunks().0.iter();
        Ok(Some(pairs.map(|pair| likely(*pair)).collect()))
    }
}

/// A kernel's values, codes and scales.
fn activation<R: CubeRuntime, BT: BoolElement>(
    [values, codes, scales]: [CubeTensor<R>; 3],
    quantizes: bool,
) -> Activation<Cube<R, BT>> {
    Activation {
        values: tensor(values),
        codes: quantizes.then(|| Codes {
            codes: tensor(codes),
            scales: tensor(scales),
        }),
    }
}

fn quantize<R: CubeRuntime, BT: BoolElement, const D: usize>(
    x: &Tensor<Cube<R, BT>, D>,
) -> Codes<Cube<R, BT>> {
    let width = x.dims()[D - 1];
    let [codes, scales] = super::quantize::quantize(buffer(x.clone()), width);
    Codes {
        codes: tensor(codes),
        scales: tensor(scales),
    }
}

/// Codes and scales, made here if there are none yet.
fn codes_of<R: CubeRuntime, BT: BoolElement, const D: usize>(
    values: &Tensor<Cube<R, BT>, D>,
    codes: &Option<Codes<Cube<R, BT>>>,
) -> (CubeTensor<R>, CubeTensor<R>) {
    let codes = codes.clone().unwrap_or_else(|| quantize(values));
    (buffer(codes.codes), buffer(codes.scales))
}

/// What matrices of `shape` meet.
fn vectors<R: CubeRuntime, BT: BoolElement>(
    shape: &MatrixShape,
    values: &Tensor<Cube<R, BT>, 2>,
    codes: &Option<Codes<Cube<R, BT>>>,
) -> Vectors<R> {
    let count = values.dims()[0];
    let (numbers, scales) = if shape.format.is_integer() {
        codes_of(values, codes)
    } else {
        let numbers = buffer(pad(values.clone(), GROUP));
        (numbers.clone(), numbers)
    };
    Vectors {
        numbers,
        scales,
        count,
    }
}
