//! Products of packed matrices with vectors.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::matrices::{CubeMatrices, MatrixShape};
use super::tensors::{cubes_for, room};
use super::unpack::{LANES, block_words, code_sum, dots, half_at, number};
use crate::quant::NumberFormat;

/// Groups that a cube works on at a time.
pub(super) const SLOTS: usize = 16;

/// Tokens that share a weight once it is unpacked.
const TILE: usize = 8;

/// Groups whose terms one unit keeps before they are added up, with one token.
const ROUNDS: usize = 4;

/// What matrices meet: codes and their scales, or plain numbers, in whole
/// groups of 32.
#[derive(Debug, Clone)]
pub(super) struct Vectors<R: CubeRuntime> {
    /// `[vectors, groups, 32]`.
    pub(super) numbers: CubeTensor<R>,
    /// `[vectors, groups]`; for plain weights anything.
    pub(super) scales: CubeTensor<R>,
    /// How many, matrix after matrix within a token.
    pub(super) count: usize,
}

/// Each matrix times its vector of each token: `[tokens, count, rows]`.
pub(super) fn project<R: CubeRuntime>(
    matrices: &CubeMatrices<R>,
    input: Vectors<R>,
    count: usize,
) -> CubeTensor<R> {
    let shape = matrices.shape;
    let tokens = input.count / count;
    let tile = if tokens == 1 { 1 } else { TILE };
    let out = room(&input.numbers, [tokens, count, shape.rows], DType::F32);
    let client = out.client.clone();
    let words = matrices.words.clone().into_array_arg();
    if shape.is_router {
        let (cubes, units) = cubes_for(tokens * shape.rows);
        let numbers = input.numbers.into_array_arg();
        let out_arg = out.clone().into_array_arg();
        let rows = shape.rows as u32;
        router_kernel::launch::<R>(
            &client, cubes, units, words, numbers, out_arg, rows, shape.cols,
        );
        return out;
    }
    let cubes = CubeCount::Static(
        shape.block_rows() as u32,
        tokens.div_ceil(tile) as u32,
        count as u32,
    );
    linear_kernel::launch::<R>(
        &client,
        cubes,
        CubeDim::new_2d(LANES as u32, SLOTS as u32),
        words,
        input.numbers.into_array_arg(),
        input.scales.into_array_arg(),
        out.clone().into_array_arg(),
        shape.rows as u32,
        tokens as u32,
        RowPlan::new(&shape, tile),
    );
    out
}

/// What a sum over a row is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RowPlan {
    format: NumberFormat,
    /// Groups of a row.
    pub(super) groups: usize,
    /// Vectors that share the weights.
    tile: usize,
    /// Terms of a group: one, and one for its minimum.
    parts: usize,
    /// Groups of one unit before terms are added up.
    rounds: usize,
}

impl RowPlan {
    pub(super) const fn new(shape: &MatrixShape, tile: usize) -> Self {
        let has_minima = matches!(shape.format, NumberFormat::Q4Affine);
        Self {
            format: shape.format,
            groups: shape.groups(),
            tile,
            parts: if has_minima { 2 } else { 1 },
            rounds: if tile == 1 { ROUNDS } else { 1 },
        }
    }

    /// Terms that a cube keeps at a time.
    pub(super) const fn terms(&self) -> usize {
        SLOTS * self.rounds * self.parts * self.tile * LANES
    }

    /// Words of a row of blocks.
    pub(super) const fn row_words(&self) -> usize {
        self.groups * block_words(self.format)
    }
}

/// A cube has 16 rows of one matrix, and a tile of tokens.
#[cube(launch)]
fn linear_kernel(
    words: &Array<u32>,
    input: &Array<f32>,
    scales: &Array<f32>,
    out: &mut Array<f32>,
    rows: u32,
    tokens: u32,
    #[comptime] plan: RowPlan,
) {
    let tile = comptime!(plan.tile);
    let count = CUBE_COUNT_Z as usize;
    let matrix = CUBE_POS_Z as usize;
    let first = CUBE_POS_Y as usize * tile;
    let mut vectors = Array::<u32>::new(tile);
    #[unroll]
    for t in 0..tile {
        let token = min(first + t, tokens as usize - 1);
        vectors[t] = (token * count + matrix) as u32;
    }
    let mut terms = SharedMemory::<f32>::new(comptime!(plan.terms()));
    let row_of_blocks = matrix * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    let at = row_of_blocks * comptime!(plan.row_words());
    let sum = row_sum(words, at, input, scales, &vectors, &mut terms, plan);
    let token = first + UNIT_POS_Y as usize;
    let row = CUBE_POS_X as usize * LANES + UNIT_POS_X as usize;
    if (UNIT_POS_Y as usize) < tile && token < tokens as usize && row < rows as usize {
        out[(token * count + matrix) * rows as usize + row] = sum;
    }
}

/// The product of the unit's row (its x) with the unit's vector (its y), of the
/// 16 rows that start at word `at`. Groups are shared out over all units of the
/// cube; units past the tile get nothing of use.
#[cube]
pub(super) fn row_sum(
    words: &Array<u32>,
    at: usize,
    input: &Array<f32>,
    scales: &Array<f32>,
    vectors: &Array<u32>,
    terms: &mut SharedMemory<f32>,
    #[comptime] plan: RowPlan,
) -> f32 {
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize;
    let groups = comptime!(plan.groups);
    let tile = comptime!(plan.tile);
    let parts = comptime!(plan.parts);
    let step = comptime!(SLOTS * plan.rounds);
    let mut sum = 0.0f32;
    for start in 0..comptime!(groups.div_ceil(step)) {
        let first = start * step;
        #[unroll]
        for round in 0..comptime!(plan.rounds) {
            let place = round * SLOTS + slot;
            let group = first + place;
            if group < groups {
                let block = at + group * comptime!(block_words(plan.format));
                group_terms(
                    words, block, group, place, input, scales, vectors, terms, plan,
                );
            }
        }
        sync_cube();
        if slot < tile {
            let here = min(step, groups - first);
            for place in 0..here {
                #[unroll]
                for part in 0..parts {
                    sum += terms[((place * tile + slot) * parts + part) * LANES + lane];
                }
            }
        }
        sync_cube();
    }
    sum
}

/// Stores what one group adds to the sums of the unit's row.
#[cube]
fn group_terms(
    words: &Array<u32>,
    block: usize,
    group: usize,
    place: usize,
    input: &Array<f32>,
    scales: &Array<f32>,
    vectors: &Array<u32>,
    terms: &mut SharedMemory<f32>,
    #[comptime] plan: RowPlan,
) {
    let lane = UNIT_POS_X as usize;
    let tile = comptime!(plan.tile);
    let parts = comptime!(plan.parts);
    let groups = comptime!(plan.groups);
    let mut sums = Array::<f32>::new(tile);
    let mut starts = Array::<u32>::new(tile);
    #[unroll]
    for t in 0..tile {
        sums[t] = 0.0f32;
        starts[t] = (vectors[t] * groups as u32 + group as u32) * 32u32;
    }
    dots(
        words,
        block,
        lane,
        input,
        &starts,
        &mut sums,
        plan.format,
        tile,
    );
    #[unroll]
    for t in 0..tile {
        let to = (place * tile + t) * parts * LANES + lane;
        if comptime!(plan.format.is_integer()) {
            let scale = scales[vectors[t] as usize * groups + group];
            terms[to] = (half_at(words, block, lane) * scale) * sums[t];
            if comptime!(parts == 2) {
                let codes = code_sum(input, starts[t] as usize);
                terms[to + LANES] = half_at(words, block, LANES + lane) * (scale * codes);
            }
        } else {
            terms[to] = sums[t];
        }
    }
}

/// One unit has one row and one token, and takes column after column.
#[cube(launch)]
fn router_kernel(
    words: &Array<u32>,
    input: &Array<f32>,
    out: &mut Array<f32>,
    rows: u32,
    #[comptime] cols: usize,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let row = ABSOLUTE_POS % rows as usize;
    let token = ABSOLUTE_POS / rows as usize;
    let groups = comptime!(cols.div_ceil(32));
    let row_words = comptime!(cols.div_ceil(32) * block_words(NumberFormat::F32));
    let at = row / LANES * row_words;
    let mut sum = 0.0f32;
    for column in 0..cols {
        let block = at + column / 32 * comptime!(block_words(NumberFormat::F32));
        let weight = number(words, block, row % LANES, column % 32, NumberFormat::F32);
        sum += weight * input[token * groups * 32 + column];
    }
    out[ABSOLUTE_POS] = sum;
}
