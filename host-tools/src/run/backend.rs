//! Where a model runs: the engine's executors, by name.

use briquette_engine::blob::Blob;
use briquette_engine::cpu::{Plan, PlanOptions, Threads};
use briquette_engine::{EngineError, Executor, Isa, Session};

use crate::run::{Arena, FileStorage, LoadError};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Backend {
    /// This machine's processor: the engine's own kernels
    #[default]
    Cpu,
    /// This machine's processor: burn's flex tensors, a plain second opinion
    Flex,
    /// This machine's processor: burn on ndarray, another one
    Ndarray,
    /// A graphics processor, through Vulkan, Metal or DirectX; needs a build
    /// with `--features wgpu`
    Wgpu,
    /// An NVIDIA GPU; needs a build with `--features cuda`
    Cuda,
}

impl Backend {
    /// The name that people type and see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Where and how large a session is to be.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// What runs it.
    pub backend: Backend,
    /// Threads of [`Backend::Cpu`].
    pub threads: usize,
    /// Context, batch and cache.
    pub options: PlanOptions,
}

/// Why no session could be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// This build lacks the backend.
    #[error(
        "this build has no `{backend}` backend; make one with: \
         cargo build --release --features {backend}"
    )]
    NotBuilt {
        /// Its name.
        backend: &'static str,
    },
    /// There is no driver, or it finds no device.
    #[cfg(feature = "wgpu")]
    #[error(
        "no graphics processor was found; on Linux a Vulkan driver is needed \
         (Debian: mesa-vulkan-drivers has one for most, and one in software)"
    )]
    NoAdapter,
    /// There is no NVIDIA GPU to use.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::run::cuda::CudaError),
    /// The system refused to start threads.
    #[error("starting threads: {0}")]
    Threads(String),
    /// There is not enough memory.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Tokens that prefill takes at a time on a computer's processor, whatever the
/// file was packed for: enough that an expert which some tokens chose has a full
/// tile of them.
pub(crate) const HOST_BATCH: u32 = 128;

/// Opens a session of `blob`'s model and hands it to `work`. Experts come from
/// `storage`, if there is one.
///
/// # Errors
/// If the backend is not there or has not enough memory.
pub fn with_executor<R>(
    place: &Place,
    blob: Blob<'_>,
    storage: Option<&mut FileStorage>,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    match place.backend {
        Backend::Cpu => on_processor(place, blob, storage, work),
        #[cfg(feature = "flex")]
        Backend::Flex => on_burn::<burn::backend::Flex, R>(
            place,
            blob,
            storage,
            crate::support::machine::free_memory(),
            work,
        ),
        #[cfg(feature = "ndarray")]
        Backend::Ndarray => on_burn::<burn::backend::NdArray, R>(
            place,
            blob,
            storage,
            crate::support::machine::free_memory(),
            work,
        ),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu if !briquette_engine::burn::cube::has_wgpu_device() => {
            Err(ExecutorError::NoAdapter)
        }
        // No interface says how much memory such a device has.
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => on_burn::<burn::backend::Wgpu, R>(place, blob, storage, None, work),
        #[cfg(feature = "cuda")]
        Backend::Cuda => {
            let gpu = crate::run::cuda::probe()?;
            let shared = crate::support::machine::free_memory().filter(|_| gpu.is_integrated);
            let free = shared.unwrap_or(gpu.free);
            on_burn::<burn::backend::Cuda, R>(place, blob, storage, Some(free), work)
        }
        #[cfg(not(all(
            feature = "flex",
            feature = "ndarray",
            feature = "wgpu",
            feature = "cuda"
        )))]
        other => Err(ExecutorError::NotBuilt {
            backend: other.name(),
        }),
    }
}

fn on_processor<R>(
    place: &Place,
    blob: Blob<'_>,
    storage: Option<&mut FileStorage>,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    let plan = Plan::new(blob.manifest(), place.options)?;
    let mut arena = Arena::for_plan(&plan)?;
    let team =
        Threads::new(place.threads).map_err(|error| ExecutorError::Threads(error.to_string()))?;
    let (memory, isa) = (arena.bytes_mut(), Isa::detect());
    let mut session = match storage {
        None => Session::with_team(blob, &plan, memory, team, isa)?,
        Some(storage) => Session::with_storage(blob, storage, &plan, memory, team, isa)?,
    };
    Ok(work(&mut session))
}

/// A session on burn's backend `B`, if a plan fits `free` bytes: with slots for
/// some of the experts if it must be.
#[cfg(any(
    feature = "flex",
    feature = "ndarray",
    feature = "wgpu",
    feature = "cuda"
))]
fn on_burn<B: briquette_engine::burn::DecoderBackend, R>(
    place: &Place,
    blob: Blob<'_>,
    storage: Option<&mut FileStorage>,
    free: Option<u64>,
    work: impl FnOnce(&mut dyn Executor<'_>) -> R,
) -> Result<R, ExecutorError> {
    use briquette_engine::burn::{BurnSession, DevicePlan};

    let device = Default::default();
    let free = free.unwrap_or(u64::MAX);
    let (plan, options) = DevicePlan::fitting::<B>(&blob, place.options, free, &device)?;
    plan.check_buffers(B::largest_buffer(&device))?;
    if options.expert_slots > place.options.expert_slots {
        let all = blob.manifest().expert_sizes().count;
        let slots = options.expert_slots;
        tracing::info!("{slots} of {all} experts fit the device's memory at a time");
    }
    let mut session = match storage {
        None => BurnSession::<B>::new(blob, options, &device)?,
        Some(storage) => BurnSession::with_storage(blob, storage, options, &device)?,
    };
    Ok(work(&mut session))
}
