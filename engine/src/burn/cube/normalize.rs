//! Root-mean-square norm (Zhang and Sennrich 2019), and the codes of its result.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::math::sum_of_lanes;
use super::quantize::{code_room, store_codes};
use super::tensors::{cube_count, room};

/// Units of a cube.
const UNITS: usize = 128;

/// Squares that a cube keeps at a time.
const KEPT: usize = 2048;

/// Lanes of a sum, as [`crate::kernels::reduce`] has them.
const SUM_LANES: usize = 16;

/// `weight * (x / sqrt(mean(x^2) + eps))` of vectors as long as `weight`; with
/// codes and scales if `quantizes`.
pub(super) fn normalize<R: CubeRuntime>(
    x: CubeTensor<R>,
    weight: CubeTensor<R>,
    eps: f32,
    quantizes: bool,
) -> [CubeTensor<R>; 3] {
    let width = weight.meta.num_elements();
    let vectors = x.meta.num_elements() / width;
    let out = room(&x, [vectors, width], DType::F32);
    // A kernel's buffers must be there even if it leaves them alone.
    let [codes, scales] = match quantizes {
        true => code_room(&x, vectors, width),
        false => code_room(&x, 1, 1),
    };
    let client = x.client.clone();
    normalize_kernel::launch::<R>(
        &client,
        cube_count(vectors),
        CubeDim::new_1d(UNITS as u32),
        x.into_array_arg(),
        weight.into_array_arg(),
        out.clone().into_array_arg(),
        codes.clone().into_array_arg(),
        scales.clone().into_array_arg(),
        eps,
        vectors as u32,
        width,
        quantizes,
    );
    [out, codes, scales]
}

/// A cube has one vector.
#[cube(launch)]
fn normalize_kernel(
    x: &Array<f32>,
    weight: &Array<f32>,
    out: &mut Array<f32>,
    codes: &mut Array<f32>,
    scales: &mut Array<f32>,
    eps: f32,
    vectors: u32,
    #[comptime] width: usize,
    #[comptime] quantizes: bool,
) {
    let unit = UNIT_POS_X as usize;
    let vector = CUBE_POS;
    // The same for the whole cube.
    if vector >= vectors as usize {
        terminate!();
    }
    let at = vector * width;
    let groups = comptime!(width.div_ceil(32));
    let factor = factor_of(x, at, eps, width);
    for round in 0..comptime!(width.div_ceil(32).div_ceil(UNITS)) {
        let group = round * UNITS + unit;
        if group < groups {
            let mut values = Array::<f32>::new(32usize);
            for i in 0..32usize {
                let column = group * 32 + i;
                values[i] = 0.0f32;
                if column < width {
                    values[i] = (x[at + column] * factor) * weight[column];
                    out[at + column] = values[i];
                }
            }
            if comptime!(quantizes) {
                store_codes(&values, codes, scales, vector * groups + group);
            }
        }
    }
}

/// `1 / sqrt(mean(x^2) + eps)` of the vector that starts at `at`.
#[cube]
fn factor_of(x: &Array<f32>, at: usize, eps: f32, #[comptime] width: usize) -> f32 {
    let unit = UNIT_POS_X as usize;
    let mut squares = SharedMemory::<f32>::new(KEPT);
    let mut lanes = SharedMemory::<f32>::new(SUM_LANES);
    let mut sum = 0.0f32;
    for part in 0..comptime!(width.div_ceil(KEPT)) {
        let first = part * KEPT;
        let here = min(KEPT, width - first);
        let mut i = unit;
        while i < here {
            squares[i] = x[at + first + i] * x[at + first + i];
            i += UNITS;
        }
        sync_cube();
        if unit < SUM_LANES {
            let mut i = unit;
            while i < here {
                sum += squares[i];
                i += SUM_LANES;
            }
        }
        sync_cube();
    }
    if unit < SUM_LANES {
        lanes[unit] = sum;
    }
    sync_cube();
    let mean = sum_of_lanes(&lanes) / comptime!(width as f32);
    1.0f32 / (mean + eps).sqrt()
}
