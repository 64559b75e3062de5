//! Rows of a packed matrix.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::matrices::CubeMatrices;
use super::tensors::{cubes_for, room};
use super::unpack::{LANES, block_words, number};
use crate::quant::NumberFormat;

/// The rows that `ids` name: `[ids, cols]`.
pub(super) fn embed<R: CubeRuntime>(
    matrices: &CubeMatrices<R>,
    ids: CubeTensor<R>,
) -> CubeTensor<R> {
    let shape = matrices.shape;
    let count = ids.meta.num_elements();
    let out = room(&ids, [count, shape.cols], DType::F32);
    let client = out.client.clone();
    let (cubes, units) = cubes_for(count * shape.cols);
    embed_kernel::launch::<R>(
        &client,
        cubes,
        units,
        matrices.words.clone().into_array_arg(),
        ids.into_array_arg(),
        out.clone().into_array_arg(),
        shape.cols,
        shape.format,
    );
    out
}

/// One unit has one number.
#[cube(launch)]
fn embed_kernel(
    words: &Array<u32>,
    ids: &Array<i32>,
    out: &mut Array<f32>,
    #[comptime] cols: usize,
    #[comptime] format: NumberFormat,
) {
    if ABSOLUTE_POS >= out.len() {
        terminate!();
    }
    let column = ABSOLUTE_POS % cols;
    let row = ids[ABSOLUTE_POS / cols] as usize;
    let groups = comptime!(cols.div_ceil(32));
    let block = (row / LANES * groups + column / 32) * comptime!(block_words(format));
    out[ABSOLUTE_POS] = number(words, block, row % LANES, column % 32, format);
}
