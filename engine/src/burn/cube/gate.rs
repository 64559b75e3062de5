//! The gated MLP's middle (Shazeer 2020), and its codes.

use burn::tensor::DType;
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::tensor::CubeTensor;

use super::math::silu;
use super::quantize::{code_room, store_codes};
use super::tensors::{cubes_for, room};

/// `silu(gate) * up` of vectors of `width` numbers; with codes and scales if
/// `quantizes`.
pub(super) fn gate<R: CubeRuntime>(
    gate: CubeTensor<R>,
    up: CubeTensor<R>,
    width: usize,
    quantizes: bool,
) -> [CubeTensor<R>; 3] {
    let vectors = gate.meta.num_elements() / width;
    let out = room(&gate, [vectors, width], DType::F32);
    let [codes, scales] = match quantizes {
        true => code_room(&gate, vectors, width),
        false => code_room(&gate, 1, 1),
    };
    let client = gate.client.clone();
    let (cubes, units) = cubes_for(vectors * width.div_ceil(crate::quant::GROUP));
    gate_kernel::launch::<R>(
        &client,
        cubes,
        units,
        gate.into_array_arg(),
        up.into_array_arg(),
        out.clone().into_array_arg(),
        codes.clone().into_array_arg(),
        scales.clone().into_array_arg(),
        vectors as u32,
        width,
        quantizes,
    );
    [out, codes, scales]
}

/// One unit has one group.
#[cube(launch)]
fn gate_kernel(
    gate: &Array<f32>,
    up: &Array<f32>,
    out: &mut Array<f32>,
    codes: &mut Array<f32>,
    scales: &mut Array<f32>,
    vectors: u32,
    #[comptime] width: usize,
    #[comptime] quantizes: bool,
) {
    let groups = comptime!(width.div_ceil(32));
    if ABSOLUTE_POS >= vectors as usize * groups {
        terminate!();
    }
    let vector = ABSOLUTE_POS / groups;
    let first = ABSOLUTE_POS % groups * 32;
    let mut values = Array::<f32>::new(32usize);
    for i in 0..32usize {
        values[i] = 0.0f32;
        if first + i < width {
            let at = vector * width + first + i;
            values[i] = silu(gate[at]) * up[at];
            out[at] = values[i];
        }
    }
    if comptime!(quantizes) {
        store_codes(&values, codes, scales, ABSOLUTE_POS);
    }
}
