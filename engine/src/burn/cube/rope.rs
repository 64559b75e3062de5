//! Rotary position embedding (Su et al. 2021), half-split.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::{cubes_for, room};

/// Rotates `x`, `[tokens, heads, rope_dim]`, by angles `[tokens, rope_dim / 2]`.
pub(super) fn rotate<R: CubeRuntime>(
    x: CubeTensor<R>,
    cos: CubeTensor<R>,
    sin: CubeTensor<R>,
    dims: [usize; 3],
) -> CubeTensor<R> {
    let [tokens, heads, width] = dims;
    let out = room(&x, dims, DType::F32);
    let client = x.client.clone();
    let (cubes, units) = cubes_for(tokens * heads * width / 2);
    rotate_kernel::launch::<R>(
        &client,
        cubes,
        units,
        x.into_array_arg(),
        cos.into_array_arg(),
        sin.into_array_arg(),
        out.clone().into_array_arg(),
        heads,
        width / 2,
    );
    out
}

/// One unit has one pair.
#[cube(launch)]
fn rotate_kernel(
    x: &Array<f32>,
    cos: &Array<f32>,
    sin: &Array<f32>,
    out: &mut Array<f32>,
    #[comptime] heads: usize,
    #[comptime] half: usize,
) {
    if ABSOLUTE_POS >= out.len() / 2 {
        terminate!();
    }
    let vector = ABSOLUTE_POS / half;
    let pair = ABSOLUTE_POS % half;
    let angle = vector / heads * half + pair;
    let at = vector * half * 2 + pair;
    let (low, high) = (x[at], x[at + half]);
    let (cos, sin) = (cos[angle], sin[angle]);
    out[at] = low * cos - high * sin;
    out[at + half] = high * cos + low * sin;
}
