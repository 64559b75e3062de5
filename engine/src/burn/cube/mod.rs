//! The decoder's operations as kernels for graphics processors.
//!
//! Written once with CubeCL: the same kernels run on CUDA, Vulkan, Metal and
//! DirectX. Weights and the cache stay packed in the device's memory and are
//! unpacked in registers; nothing waits for the device before the logits are
//! read.
//!
//! Sums are taken in the order that [`crate::kernels`] states, so that codes of
//! activations are those of the processor. A compiler that contracts a product
//! and a sum may still round differently in the last place. Where a kernel
//! shares a sum out, the terms meet in the memory that a cube shares, and are
//! added there in order.
//!
//! Shapes: a *cube* is what CUDA calls a thread block, a *unit* a thread.

mod affine;
mod attend;
mod device;
mod embed;
mod experts;
mod gate;
mod hadamard;
mod likeliest;
mod linear;
mod math;
mod matrices;
mod normalize;
mod operations;
mod quantize;
mod rope;
mod router;
mod rows;
mod tensors;
mod unpack;

#[cfg(all(test, feature = "wgpu", feature = "flex"))]
mod tests;

pub use device::device_memory;
#[cfg(feature = "wgpu")]
pub use device::has_wgpu_device;
pub use matrices::CubeMatrices;
pub use rows::CubeRows;
