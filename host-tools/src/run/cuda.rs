//! Whether there is an NVIDIA GPU, and how much memory it has free.
//!
//! burn panics where something is missing, so the driver is asked beforehand.

#![expect(unsafe_code, reason = "calls the driver's C functions")]

use std::ffi::c_void;
use std::path::PathBuf;
use std::ptr;

use libloading::Library;

/// Why CUDA cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver.
    #[error("no CUDA driver: {0}; install NVIDIA's, or use `--backend cpu`")]
    NoDriver(#[source] libloading::Error),
    /// The driver is too old.
    #[error("the CUDA driver is too old: {0}")]
    OldDriver(#[from] libloading::Error),
    /// The driver refuses.
    #[error("the CUDA driver reports error {0} (see CUresult in NVIDIA's documentation)")]
    Driver(i32),
    /// The driver sees no GPU.
    #[error("there is no CUDA device")]
    NoDevice,
    /// Kernels cannot be compiled.
    #[error(
        "NVRTC, CUDA's run-time compiler, is missing ({}); install the package `cuda-nvrtc` of your \
         CUDA version, or set LD_LIBRARY_PATH to where it is",
        NVRTC[0]
    )]
    NoCompiler,
    /// Kernels cannot be compiled.
    #[error(
        "CUDA's header cuda_runtime.h, which kernels are compiled with, is neither under CUDA_PATH nor \
         in its usual places; install the package `cuda-cudart-dev` of your CUDA version, or set \
         CUDA_PATH to the folder that has `include/cuda_runtime.h`"
    )]
    NoHeaders,
}

/// The first GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    /// Bytes of its memory that are free.
    pub free: u64,
    /// Whether its memory is the processor's, as on Jetson. The driver then
    /// does not count what the system would give up, such as cached files.
    pub is_integrated: bool,
}

/// Names of NVRTC, of those that burn looks for.
const NVRTC: [&str; 4] = [
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so.11",
];

/// Where burn looks for CUDA without the variable CUDA_PATH.
const PLACES: [&str; 3] = ["/usr/local/cuda", "/opt/cuda", "/usr"];

/// Asks the driver for its first GPU, and looks for what compiles kernels.
///
/// # Errors
/// If one of these is missing, or the driver refuses.
pub fn probe() -> Result<Gpu, CudaError> {
    let driver = Driver::load()?;
    if driver.count()? == 0 {
        return Err(CudaError::NoDevice);
    }
    // SAFETY: NVRTC has no initialisers that ask anything of the caller, and
    // burn is about to load it too.
    let has_compiler = NVRTC
        .iter()
        .any(|name| unsafe { Library::new(*name) }.is_ok());
    if !has_compiler {
        return Err(CudaError::NoCompiler);
    }
    if !has_headers() {
        return Err(CudaError::NoHeaders);
    }
    driver.gpu()
}

fn has_headers() -> bool {
    let given = std::env::var_os("CUDA_PATH").map(PathBuf::from);
    let usual = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    let path = given.or_else(usual);
    path.is_some_and(|path| path.join("include/cuda_runtime.h").exists())
}

/// The driver's library, initialised.
struct Driver(Library);

impl Driver {
    fn load() -> Result<Self, CudaError> {
        // SAFETY: the driver's library has no initialisers that ask anything of
        // the caller, and burn is about to load it too.
        let library = unsafe { Library::new("libcuda.so.1") }.map_err(CudaError::NoDriver)?;
        type Init = unsafe extern "C" fn(u32) -> i32;
        // SAFETY: the function has this signature since CUDA 2.0.
        succeed(unsafe { library.get::<Init>(b"cuInit")?(0) })?;
        Ok(Self(library))
    }

    fn count(&self) -> Result<i32, CudaError> {
        type DeviceGetCount = unsafe extern "C" fn(*mut i32) -> i32;
        let mut count = 0;
        // SAFETY: the function has this signature since CUDA 2.0; `count`
        // outlives the call that writes it.
        succeed(unsafe { self.0.get::<DeviceGetCount>(b"cuDeviceGetCount")?(&raw mut count) })?;
        Ok(count)
    }

    fn gpu(&self) -> Result<Gpu, CudaError> {
        type DeviceGetAttribute = unsafe extern "C" fn(*mut i32, i32, i32) -> i32;
        /// `CU_DEVICE_ATTRIBUTE_INTEGRATED`.
        const INTEGRATED: i32 = 18;
        /// The first device's number.
        const DEVICE: i32 = 0;
        let mut is_integrated = 0;
        // SAFETY: the function has this signature since CUDA 2.0;
        // `is_integrated` outlives the call that writes it.
        succeed(unsafe {
            let attribute = self.0.get::<DeviceGetAttribute>(b"cuDeviceGetAttribute")?;
            attribute(&raw mut is_integrated, INTEGRATED, DEVICE)
        })?;
        Ok(Gpu {
            free: self.free(DEVICE)?,
            is_integrated: is_integrated != 0,
        })
    }

    /// Free bytes; only a current context can be asked.
    fn free(&self, device: i32) -> Result<u64, CudaError> {
        type Retain = unsafe extern "C" fn(*mut *mut c_void, i32) -> i32;
        type SetCurrent = unsafe extern "C" fn(*mut c_void) -> i32;
        type MemGetInfo = unsafe extern "C" fn(*mut usize, *mut usize) -> i32;
        type Release = unsafe extern "C" fn(i32) -> i32;
        let mut context = ptr::null_mut();
        let (mut free, mut total) = (0_usize, 0_usize);
        // SAFETY: the functions have these signatures since CUDA 7.0 (`_v2`:
        // 11.0). What they write outlives the calls. The context is current
        // while it is asked, and released once, when it is so no longer.
        unsafe {
            let set_current = self.0.get::<SetCurrent>(b"cuCtxSetCurrent")?;
            let ask = self.0.get::<MemGetInfo>(b"cuMemGetInfo_v2")?;
            let release = self.0.get::<Release>(b"cuDevicePrimaryCtxRelease_v2")?;
            let retain = self.0.get::<Retain>(b"cuDevicePrimaryCtxRetain")?;
            succeed(retain(&raw mut context, device))?;
            let asked = succeed(set_current(context))
                .and_then(|()| succeed(ask(&raw mut free, &raw mut total)));
            succeed(set_current(ptr::null_mut()))?;
            succeed(release(device))?;
            asked?;
        }
        Ok(free as u64)
    }
}

const fn succeed(code: i32) -> Result<(), CudaError> {
    match code {
        0 => Ok(()),
        code => Err(CudaError::Driver(code)),
    }
}
