//! The device: whether there is one, and what it does with its memory.

use alloc::vec::Vec;

use burn_cubecl::CubeRuntime;

use super::matrices::{IN_FLIGHT, PIECE};
use crate::EngineError;

/// Whether wgpu finds a device. Where it does not, burn's backend of that name
/// panics.
#[cfg(feature = "wgpu")]
pub fn has_wgpu_device() -> bool {
    use burn::backend::wgpu::WgpuRuntime;
    use burn::backend::wgpu::graphics::{AutoGraphicsApi, GraphicsApi};
    use burn_cubecl::cubecl::prelude::Runtime;

    let api = AutoGraphicsApi::backend();
    !WgpuRuntime::enumerate_all_devices(&api).is_empty()
}

/// Bytes of the device's memory that are set aside for this thread's sessions, in
/// use or not.
///
/// # Errors
/// [`EngineError::DeviceFailed`].
pub fn device_memory<R: CubeRuntime>(device: &R::Device) -> Result<u64, EngineError> {
    let usage = R::client(device).memory_usage();
    usage
        .map(|usage| usage.bytes_reserved)
        .map_err(|_| EngineError::DeviceFailed)
}

/// What CubeCL sets aside for results of `results` bytes at a time, the largest of
/// them of `largest` bytes, and for loading: whole pages.
pub(super) fn reserved_bytes<R: CubeRuntime>(
    device: &R::Device,
    results: u64,
    largest: u64,
) -> u64 {
    let client = R::client(device);
    let memory = &client.properties().memory;
    let bytes = results + (IN_FLIGHT * PIECE) as u64;
    let mut reserved = 0;
    for pool in pools(memory.max_page_size, memory.alignment) {
        // Results that fit a smaller pool go there; a page is left behind for each
        // result that finds no gap.
        let filled = (pool.page - pool.largest / 2).max(1);
        reserved += pool.page * bytes.div_ceil(filled);
        if pool.largest >= largest.max(PIECE as u64) {
            break;
        }
    }
    reserved
}

/// Pages of one size, for results up to another.
struct Pool {
    page: u64,
    largest: u64,
}

/// CubeCL's pools, small ones first, as `cubecl-runtime` 0.10 makes them
/// (`MemoryConfiguration::SubSlices`).
fn pools(max_page: u64, alignment: u64) -> Vec<Pool> {
    /// Pages are no smaller than a quarter of this.
    const SMALL: u64 = 32 << 20;
    let mut pools = Vec::new();
    let mut page = max_page;
    let whole = max_page / alignment * alignment;
    pools.push(Pool {
        page: whole,
        largest: whole,
    });
    while page >= SMALL {
        page = (page / 4).next_multiple_of(alignment);
        let largest = page >> pools.len();
        pools.push(Pool { page, largest });
    }
    pools.reverse();
    pools
}
