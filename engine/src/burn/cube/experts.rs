//! A mixture of experts in two launches. The choice is read on the device: only
//! the chosen experts' bytes are touched.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::linear::{RowPlan, SLOTS, Vectors, row_sum};
use super::math::silu;
use super::matrices::CubeMatrices;
use super::quantize::{code_room, inverse_scale, scale_of};
use super::tensors::room;
use super::unpack::LANES;
use crate::quant::GROUP;

/// Experts of each token, `[tokens, top_k]`.
#[derive(Debug)]
pub(super) struct Chosen<R: CubeRuntime> {
    pub(super) experts: CubeTensor<R>,
    pub(super) weights: CubeTensor<R>,
    pub(super) top_k: usize,
}

/// `residual + sum over the chosen experts of weight * down(silu(gate x) * up
/// x)`: `[tokens, rows]`.
pub(super) fn experts<R: CubeRuntime>(
    [gate, up, down]: [&CubeMatrices<R>; 3],
    [gate_input, up_input]: [Vectors<R>; 2],
    chosen: Chosen<R>,
    residual: CubeTensor<R>,
) -> CubeTensor<R> {
    let (tokens, top_k) = (gate_input.count, chosen.top_k);
    let client = residual.client.clone();
    let [middle, scales] = code_room(&residual, tokens * top_k, gate.shape.rows);
    let units = CubeDim::new_2d(LANES as u32, SLOTS as u32);
    let groups = gate.shape.rows.div_ceil(GROUP) as u32;
    gate_kernel::launch::<R>(
        &client,
        CubeCount::Static(groups, top_k as u32, tokens as u32),
        units,
        gate.words.clone().into_array_arg(),
        up.words.clone().into_array_arg(),
        gate_input.numbers.into_array_arg(),
        gate_input.scales.into_array_arg(),
        up_input.numbers.into_array_arg(),
        up_input.scales.into_array_arg(),
        chosen.experts.clone().into_array_arg(),
        middle.clone().into_array_arg(),
        scales.clone().into_array_arg(),
        gate.shape.block_rows(),
        RowPlan::new(&gate.shape, 1),
        RowPlan::new(&up.shape, 1),
        down.shape.format.is_integer(),
    );
    let out = room(&residual, [tokens, down.shape.rows], DType::F32);
    down_kernel::launch::<R>(
        &client,
        CubeCount::Static(down.shape.block_rows() as u32, tokens as u32, 1),
        units,
        down.words.clone().into_array_arg(),
        middle.into_array_arg(),
        scales.into_array_arg(),
        chosen.experts.into_array_arg(),
        chosen.weights.into_array_arg(),
        residual.into_array_arg(),
        out.clone().into_array_arg(),
        down.shape.rows,
        top_k,
        RowPlan::new(&down.shape, 1),
    );
    out
}

/// A cube has 32 rows of one token's expert: those of one group of the next
/// product's codes.
#[cube(launch)]
fn gate_kernel(
    gate: &Array<u32>,
    up: &Array<u32>,
    gate_input: &Array<f32>,
    gate_scales: &Array<f32>,
    up_input: &Array<f32>,
    up_scales: &Array<f32>,
    experts: &Array<i32>,
    middle: &mut Array<f32>,
    middle_scales: &mut Array<f32>,
    #[comptime] block_rows: usize,
    #[comptime] gate_plan: RowPlan,
    #[comptime] up_plan: RowPlan,
    #[comptime] quantizes: bool,
) {
    let top_k = CUBE_COUNT_Y as usize;
    let token = CUBE_POS_Z as usize;
    let group = CUBE_POS_X as usize;
    let vector = token * top_k + CUBE_POS_Y as usize;
    // The same for the whole cube.
    if experts[vector] < 0 {
        terminate!();
    }
    let expert = experts[vector] as usize;
    let lane = UNIT_POS_X as usize;
    let mut vectors = Array::<u32>::new(1usize);
    vectors[0] = token as u32;
    let mut gate_terms = SharedMemory::<f32>::new(comptime!(gate_plan.terms()));
    let mut up_terms = SharedMemory::<f32>::new(comptime!(up_plan.terms()));
    let mut values = SharedMemory::<f32>::new(32usize);
    #[unroll]
    for half in 0..2usize {
        let row = group * 2 + half;
        // The same for the whole cube, so that all of it meets.
        let exists = row < block_rows;
        let row = expert * block_rows + select(exists, row, 0usize);
        let gate_at = row * comptime!(gate_plan.row_words());
        let up_at = row * comptime!(up_plan.row_words());
        let gate = row_sum(
            gate,
            gate_at,
            gate_input,
            gate_scales,
            &vectors,
            &mut gate_terms,
            gate_plan,
        );
        let up = row_sum(
            up,
            up_at,
            up_input,
            up_scales,
            &vectors,
            &mut up_terms,
            up_plan,
        );
        if UNIT_POS_Y == 0 {
            values[half * LANES + lane] = select(exists, silu(gate) * up, 0.0f32);
        }
    }
    sync_cube();
    let groups = CUBE_COUNT_X as usize;
    let place = vector * groups + group;
    let unit = UNIT_POS as usize;
    if unit < 32 {
        let mut value = values[unit];
        if comptime!(quantizes) {
            let mut largest = 0.0f32;
            for i in 0..32usize {
                largest = max(largest, values[i].abs());
            }
            value = (value * inverse_scale(largest)).round();
            if unit == 0 {
                middle_scales[place] = scale_of(largest);
            }
        }
        middle[place * 32 + unit] = value;
    }
}

/// A cube has 16 rows of one token, and takes its experts in ascending order.
#[cube(launch)]
fn down_kernel(
    down: &Array<u32>,
    middle: &Array<f32>,
    scales: &Array<f32>,
    experts: &Array<i32>,
    weights: &Array<f32>,
    residual: &Array<f32>,
    out: &mut Array<f32>,
    #[comptime] rows: usize,
    #[comptime] top_k: usize,
    #[comptime] plan: RowPlan,
) {
    let token = CUBE_POS_Y as usize;
    let row = CUBE_POS_X as usize * LANES + UNIT_POS_X as usize;
    let mine = UNIT_POS_Y == 0 && row < rows;
    let place = token * rows + min(row, rows - 1);
    let mut sum = residual[place];
    let mut vectors = Array::<u32>::new(1usize);
    let mut terms = SharedMemory::<f32>::new(comptime!(plan.terms()));
    for k in 0..top_k {
        let vector = token * top_k + k;
        // The same for the whole cube.
        if experts[vector] >= 0 {
            vectors[0] = vector as u32;
            let expert = experts[vector] as usize;
            let row_of_blocks = expert * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
            let at = row_of_blocks * comptime!(plan.row_words());
            let product = row_sum(down, at, middle, scales, &vectors, &mut terms, plan);
            sum += product * weights[vector];
        }
    }
    if mine {
        out[place] = sum;
    }
}
