//! Whether there is an NVIDIA GPU to train on.

use libloading::Library;

/// CUDA's backend of burn.
pub type CudaTrainingBackend = burn::backend::Autodiff<burn::backend::Cuda>;

/// Why CUDA cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver.
    #[error("no CUDA driver: {0}")]
    NoDriver(#[from] libloading::Error),
    /// The driver refuses.
    #[error("the CUDA driver reports error {0}")]
    Driver(i32),
    /// The driver sees no GPU.
    #[error("there is no CUDA device")]
    NoDevice,
}

/// Asks the driver; burn itself would panic without one.
///
/// # Errors
/// If there is no driver, or it finds no device.
pub fn probe() -> Result<(), CudaError> {
    type Init = unsafe extern "C" fn(u32) -> i32;
    type DeviceGetCount = unsafe extern "C" fn(*mut i32) -> i32;
    let succeed = |code| match code {
        0 => Ok(()),
        code => Err(CudaError::Driver(code)),
    };
    // SAFETY: the driver's library has no initialisers that ask anything of
    // the caller, and burn is about to load it too.
    let library = unsafe { Library::new("libcuda.so.1") }?;
    let mut count = 0;
    // SAFETY: both functions have these signatures since CUDA 2.0; `count`
    // outlives the call that writes it.
    unsafe {
        succeed(library.get::<Init>(b"cuInit")?(0))?;
        succeed(library.get::<DeviceGetCount>(b"cuDeviceGetCount")?(
            &raw mut count,
        ))?;
    }
    if count > 0 {
        Ok(())
    } else {
        Err(CudaError::NoDevice)
    }
}
