//! Rotation of vectors before they are rounded to four bits, as
//! [`crate::kernels::hadamard`] (QuaRot, Ashkboos et al. 2024).

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::room;

/// Units of a cube.
const UNITS: usize = 64;

/// Rotates the vectors of `x`, `[tokens, heads, width]`, cut into blocks of powers
/// of two, the largest first.
pub(super) fn hadamard<R: CubeRuntime>(x: CubeTensor<R>, dims: [usize; 3]) -> CubeTensor<R> {
    let [tokens, heads, width] = dims;
    let out = room(&x, dims, DType::F32);
    let client = x.client.clone();
    hadamard_kernel::launch::<R>(
        &client,
        CubeCount::Static(heads as u32, tokens as u32, 1),
        CubeDim::new_1d(UNITS as u32),
        x.into_array_arg(),
        out.clone().into_array_arg(),
        width,
    );
    out
}

/// A cube has one vector.
#[cube(launch)]
fn hadamard_kernel(x: &Array<f32>, out: &mut Array<f32>, #[comptime] width: usize) {
    let unit = UNIT_POS_X as usize;
    let at = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize * width;
    let mut numbers = SharedMemory::<f32>::new(width);
    let mut i = unit;
    while i < width {
        numbers[i] = x[at + i];
        i += UNITS;
    }
    sync_cube();
    #[unroll]
    for bit in 0..comptime!(width.ilog2() as usize + 1) {
        let len = comptime!((1usize << width.ilog2()) >> bit);
        if comptime!(width & len != 0) {
            rotate_block(&mut numbers, comptime!(width & !(2 * len - 1)), len);
        }
    }
    let mut i = unit;
    while i < width {
        out[at + i] = numbers[i];
        i += UNITS;
    }
}

/// Sums and differences of elements half a block apart, a quarter, … 1 apart,
/// then the factor that keeps the length.
#[cube]
fn rotate_block(numbers: &mut SharedMemory<f32>, #[comptime] start: usize, #[comptime] len: usize) {
    let unit = UNIT_POS_X as usize;
    #[unroll]
    for level in 0..comptime!(len.ilog2() as usize) {
        let half = comptime!(len >> (level + 1));
        let mut pair = unit;
        while pair < comptime!(len / 2) {
            let low = start + pair / half * (2 * half) + pair % half;
            let (a, b) = (numbers[low], numbers[low + half]);
            numbers[low] = a + b;
            numbers[low + half] = a - b;
            pair += UNITS;
        }
        sync_cube();
    }
    let mut i = unit;
    while i < len {
        numbers[start + i] = numbers[start + i] * comptime!(1.0 / libm::sqrtf(len as f32));
        i += UNITS;
    }
    sync_cube();
}
