//! Activations to eight-bit codes: one scale for 32 numbers.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::tensors::{cubes_for, room};
use crate::kernels::quantize::NEGLIGIBLE;

/// Codes `[vectors, groups, 32]` and scales `[vectors, groups, 1]` of vectors of
/// `width` numbers, as [`crate::kernels::quantize`] makes them.
pub(super) fn quantize<R: CubeRuntime>(x: CubeTensor<R>, width: usize) -> [CubeTensor<R>; 2] {
    let [codes, scales] = code_room(&x, x.meta.num_elements() / width, width);
    let client = x.client.clone();
    let (cubes, units) = cubes_for(scales.meta.num_elements());
    quantize_kernel::launch::<R>(
        &client,
        cubes,
        units,
        x.into_array_arg(),
        codes.clone().into_array_arg(),
        scales.clone().into_array_arg(),
        width,
    );
    [codes, scales]
}

/// Room for the codes and scales of `vectors` vectors.
pub(super) fn code_room<R: CubeRuntime>(
    like: &CubeTensor<R>,
    vectors: usize,
    width: usize,
) -> [CubeTensor<R>; 2] {
    let groups = width.div_ceil(crate::quant::GROUP);
    let codes = room(like, [vectors, groups, crate::quant::GROUP], DType::F32);
    [codes, room(like, [vectors, groups, 1], DType::F32)]
}

/// One unit has one group.
#[cube(launch)]
fn quantize_kernel(
    x: &Array<f32>,
    codes: &mut Array<f32>,
    scales: &mut Array<f32>,
    #[comptime] width: usize,
) {
    if ABSOLUTE_POS >= scales.len() {
        terminate!();
    }
    let groups = comptime!(width.div_ceil(32));
    let vector = ABSOLUTE_POS / groups;
    let first = ABSOLUTE_POS % groups * 32;
    let mut values = Array::<f32>::new(32usize);
    for i in 0..32usize {
        values[i] = 0.0f32;
        if first + i < width {
            values[i] = x[vector * width + first + i];
        }
    }
    store_codes(&values, codes, scales, ABSOLUTE_POS);
}

/// Quantises 32 numbers; they become group number `group`.
#[cube]
pub(super) fn store_codes(
    values: &Array<f32>,
    codes: &mut Array<f32>,
    scales: &mut Array<f32>,
    group: usize,
) {
    let largest = largest_magnitude(values);
    let inverse = inverse_scale(largest);
    for i in 0..32usize {
        codes[group * 32 + i] = (values[i] * inverse).round();
    }
    scales[group] = scale_of(largest);
}

/// The largest magnitude of 32 numbers.
#[cube]
pub(super) fn largest_magnitude(values: &Array<f32>) -> f32 {
    let mut largest = 0.0f32;
    for i in 0..32usize {
        largest = max(largest, values[i].abs());
    }
    largest
}

/// What numbers of a group are multiplied by to become codes.
#[cube]
pub(super) fn inverse_scale(largest: f32) -> f32 {
    let is_zero = largest <= NEGLIGIBLE;
    select(is_zero, 0.0f32, 127.0f32 / select(is_zero, 1.0f32, largest))
}

/// What codes of a group are multiplied by to become numbers.
#[cube]
pub(super) fn scale_of(largest: f32) -> f32 {
    select(largest <= NEGLIGIBLE, 0.0f32, largest / 127.0f32)
}
