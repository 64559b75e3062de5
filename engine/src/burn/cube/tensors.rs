//! Between burn's tensors and the buffers that kernels see.

use burn::tensor::{Int, Tensor, TensorPrimitive};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime};

use burn::tensor::{DType, Shape};

use crate::burn::backend::LARGEST_BATCH;

/// Burn's backend on runtime `R`, in the number formats that the kernels are
/// written for.
pub(super) type Cube<R, BT> = CubeBackend<R, f32, i32, BT>;

/// Cubes along one axis: no device takes more. Batches lie along one.
const LONGEST_AXIS: u32 = LARGEST_BATCH;

/// The tensor's numbers, one row after the other.
pub(super) fn buffer<R: CubeRuntime, BT: BoolElement, const D: usize>(
    tensor: Tensor<Cube<R, BT>, D>,
) -> CubeTensor<R> {
    into_contiguous(tensor.into_primitive().tensor())
}

/// The same of whole numbers.
pub(super) fn int_buffer<R: CubeRuntime, BT: BoolElement, const D: usize>(
    tensor: Tensor<Cube<R, BT>, D, Int>,
) -> CubeTensor<R> {
    into_contiguous(tensor.into_primitive())
}

/// A tensor of a kernel's result.
pub(super) fn tensor<R: CubeRuntime, BT: BoolElement, const D: usize>(
    buffer: CubeTensor<R>,
) -> Tensor<Cube<R, BT>, D> {
    Tensor::from_primitive(TensorPrimitive::Float(buffer))
}

/// The same of whole numbers.
pub(super) fn int_tensor<R: CubeRuntime, BT: BoolElement, const D: usize>(
    buffer: CubeTensor<R>,
) -> Tensor<Cube<R, BT>, D, Int> {
    Tensor::from_primitive(buffer)
}

/// Room for a kernel's result, on the device of `like`.
pub(super) fn room<R: CubeRuntime, const D: usize>(
    like: &CubeTensor<R>,
    dims: [usize; D],
    dtype: DType,
) -> CubeTensor<R> {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, Shape::from(dims), dtype)
}

/// Room for `words` words that stay as long as the session: exactly as many, and
/// not a part of the pages that results come from.
pub(super) fn keep<R: CubeRuntime>(words: usize, device: &R::Device) -> CubeTensor<R> {
    let client = R::client(device);
    let room = |words: usize| client.empty(4 * words);
    let handle = client.memory_persistent_allocation(words, room);
    let handle = handle.unwrap_or_else(|_| client.empty(4 * words));
    let shape = Shape::from([words]);
    CubeTensor::new_contiguous(client, device.clone(), shape, handle, DType::U32)
}

/// As many cubes of `UNITS` as it takes to have `units` units; kernels ignore
/// the units that are too many.
pub(super) fn cubes_for(units: usize) -> (CubeCount, CubeDim) {
    /// Units of a cube that need not meet.
    const UNITS: usize = 64;
    let count = cube_count(units.div_ceil(UNITS));
    (count, CubeDim::new_1d(UNITS as u32))
}

/// At least `cubes` cubes; kernels ignore those that are too many.
pub(super) fn cube_count(cubes: usize) -> CubeCount {
    let cubes = cubes.max(1) as u32;
    let columns = cubes.min(LONGEST_AXIS);
    CubeCount::Static(columns, cubes.div_ceil(columns), 1)
}
